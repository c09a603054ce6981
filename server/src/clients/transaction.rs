//! Transactions: commands after `MULTI` are queued, and `EXEC` executes them as one log entry.

use crate::command::{Command, LocalCommand, SlotSearch};
use crate::keyspace::{MAX_ENTRY_KEYS, ReadCommand, WriteCommand};
use crate::resp::MAX_COMMAND;
use crate::slots::Place;

/// The most bytes of commands in one log entry, unless one command has more.
pub(super) const MAX_ENTRY_BYTES: usize = MAX_COMMAND;

/// The error of a transaction that executes nothing, because a command could not be queued or a key not be watched.
pub(super) const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";

/// The state of a connection's transaction.
#[derive(Debug, Default)]
pub(super) enum Transaction {
    /// Not between `MULTI` and `EXEC`.
    #[default]
    None,
    /// Commands wait for `EXEC`.
    Open(Queue),
    /// A command could not be queued, so `EXEC` executes none.
    Aborted,
}

/// The commands of a transaction.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    /// Those that are executed as a log entry.
    pub(super) commands: Vec<WriteCommand>,
    /// Those that are executed by the session when their replies are due, with their places among all commands.
    pub(super) locals: Vec<(usize, LocalCommand)>,
    /// The place of the keys of all of them.
    pub(super) place: Place,
    keys: usize,
    bytes: usize,
}

impl Queue {
    /// Returns the number of commands.
    pub(super) fn len(&self) -> usize {
        self.commands.len() + self.locals.len()
    }

    /// Makes room for a command. Returns whether there is enough.
    fn reserve(&mut self, keys: usize, bytes: usize) -> bool {
        self.keys += keys.max(1);
        self.bytes += bytes;
        self.keys <= MAX_ENTRY_KEYS && self.bytes <= MAX_ENTRY_BYTES
    }
}

/// The effect of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Execute a command.
    Execute(Command),
    /// A command was queued.
    Queued,
    /// `EXEC`: execute the queued commands.
    Exec(Queue),
    /// `DISCARD`: forget the watched keys.
    Discard,
    /// `EXEC` that executes nothing: forget the watched keys, and reply with this error.
    Abort(String),
}

impl Transaction {
    /// Takes the connection's next command, whose request had `size` bytes, and whose keys are in `place`.
    pub(super) fn next(&mut self, command: Command, size: usize, place: Place) -> Action {
        match command {
            Command::Multi => self.multi(),
            Command::Exec => match std::mem::take(self) {
                Transaction::None => wrong("ERR EXEC without MULTI"),
                Transaction::Open(queue) => Action::Exec(queue),
                Transaction::Aborted => Action::Abort(ABORTED.to_owned()),
            },
            Command::AbortExec(error) => {
                *self = Transaction::None;
                Action::Abort(discarded_because_of(&error))
            }
            Command::Discard => match std::mem::take(self) {
                Transaction::None => wrong("ERR DISCARD without MULTI"),
                Transaction::Open(_) | Transaction::Aborted => Action::Discard,
            },
            Command::Local(LocalCommand::Reset) => {
                *self = Transaction::None;
                Action::Execute(command)
            }
            Command::Local(LocalCommand::Quit | LocalCommand::Http) => Action::Execute(command),
            command if matches!(self, Transaction::None) => Action::Execute(command),
            Command::Watch(_) => wrong("ERR WATCH inside MULTI is not allowed"),
            Command::AbortWatch(error) => self.abort(error),
            // Every node would have to match every key before it applies the next entry.
            Command::Read(ReadCommand::Keys(_)) => self.abort_too_slow("KEYS"),
            Command::SearchSlot(SlotSearch { most, .. }) => {
                self.abort_too_slow(if most.is_some() { "GETKEYSINSLOT" } else { "COUNTKEYSINSLOT" })
            }
            Command::Backup | Command::Administer(_) => {
                self.abort("ERR Command not allowed inside a transaction".to_owned())
            }
            Command::Local(LocalCommand::Rejected(error)) => self.abort(error),
            Command::Read(command) => self.queue(WriteCommand::Read(command), size, place),
            Command::Write(command) => self.queue(command, size, place),
            Command::Local(command) => self.queue_local(command, size, place),
        }
    }

    /// Returns whether commands are queued or dropped.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self, Transaction::None)
    }

    /// Returns the memory that the queued commands take.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Transaction::Open(Queue { commands, locals, bytes, .. }) => {
                bytes + commands.len() * size_of::<WriteCommand>() + locals.len() * size_of::<(usize, LocalCommand)>()
            }
            Transaction::None | Transaction::Aborted => 0,
        }
    }

    /// Returns the number of queued commands, or -1 outside a transaction.
    pub(super) fn queued(&self) -> i64 {
        match self {
            Transaction::None => -1,
            Transaction::Open(queue) => i64::try_from(queue.len()).unwrap_or(i64::MAX),
            Transaction::Aborted => 0,
        }
    }

    fn multi(&mut self) -> Action {
        if self.is_open() {
            return wrong("ERR MULTI calls can not be nested");
        }
        *self = Transaction::Open(Queue::default());
        Action::Execute(Command::Local(LocalCommand::Status("OK")))
    }

    fn queue(&mut self, command: WriteCommand, size: usize, place: Place) -> Action {
        if let Transaction::Open(queue) = self {
            // The command keeps the memory of its whole request.
            if !queue.reserve(command.keys(), command.bytes().max(size)) {
                return self.abort_too_large();
            }
            queue.place = queue.place.and(place);
            queue.commands.push(command);
        }
        Action::Queued
    }

    fn queue_local(&mut self, command: LocalCommand, size: usize, place: Place) -> Action {
        if let Transaction::Open(queue) = self {
            if !queue.reserve(1, size) {
                return self.abort_too_large();
            }
            queue.place = queue.place.and(place);
            queue.locals.push((queue.len(), command));
        }
        Action::Queued
    }

    fn abort_too_slow(&mut self, name: &str) -> Action {
        self.abort(format!("ERR {name} takes too long for a transaction; send it before MULTI or after EXEC"))
    }

    fn abort_too_large(&mut self) -> Action {
        self.abort(format!(
            "ERR a transaction exceeds {MAX_ENTRY_KEYS} keys or {MAX_ENTRY_BYTES} bytes; split it into several"
        ))
    }

    fn abort(&mut self, error: String) -> Action {
        *self = Transaction::Aborted;
        Action::Execute(Command::Local(LocalCommand::Rejected(error)))
    }
}

/// Returns the error of an `EXEC` that is refused.
pub(super) fn discarded_because_of(error: &str) -> String {
    let error = error.strip_prefix("ERR ").unwrap_or(error);
    format!("EXECABORT Transaction discarded because of: {error}")
}

fn wrong(error: &str) -> Action {
    Action::Execute(Command::Local(LocalCommand::Wrong(error.to_owned())))
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
