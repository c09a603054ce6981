//! Transactions: commands after `MULTI` are queued, and `EXEC` executes them as one log entry.

use crate::command::{Command, LocalCommand};
use crate::keyspace::{MAX_ENTRY_KEYS, ReadCommand, WriteCommand};
use crate::resp::MAX_COMMAND;

/// The most bytes of commands in one log entry, unless one command has more.
pub(super) const MAX_ENTRY_BYTES: usize = MAX_COMMAND;

/// The state of a connection's transaction.
#[derive(Debug, Default)]
pub(super) enum Transaction {
    /// Not between `MULTI` and `EXEC`.
    #[default]
    None,
    Queue {
        commands: Vec<WriteCommand>,
        keys: usize,
        bytes: usize,
    },
    /// A command could not be queued, so `EXEC` executes none.
    Aborted,
}

impl Transaction {
    /// Takes the connection's next command and returns the one to execute now: the same outside a transaction; in one,
    /// the acknowledgement that it is queued, or everything queued.
    pub(super) fn next(&mut self, command: Command) -> Command {
        match command {
            Command::Multi => self.multi(),
            Command::Exec => self.exec(),
            Command::Discard => match std::mem::take(self) {
                Transaction::None => wrong("ERR DISCARD without MULTI"),
                Transaction::Queue { .. } | Transaction::Aborted => status("OK"),
            },
            Command::Local(LocalCommand::Reset) => {
                *self = Transaction::None;
                command
            }
            Command::Local(LocalCommand::Quit | LocalCommand::Http) => command,
            command if matches!(self, Transaction::None) => command,
            // Every node would have to match every key before it applies the next entry.
            Command::Read(ReadCommand::Keys(_)) => {
                self.abort("ERR KEYS takes too long for a transaction; send it before MULTI or after EXEC")
            }
            Command::Read(command) => self.queue(WriteCommand::Read(command)),
            Command::Write(command) => self.queue(command),
            Command::Local(LocalCommand::Wrong(error)) => self.abort(&error),
            Command::Local(_) | Command::Backup | Command::Administer(_) | Command::Entry(_) => self.abort(
                "ERR a command about the connection or the node cannot be part of a transaction; send it before MULTI \
                 or after EXEC",
            ),
        }
    }

    /// Returns the size of the queued commands.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Transaction::Queue { commands, bytes, .. } => bytes + commands.len() * size_of::<WriteCommand>(),
            Transaction::None | Transaction::Aborted => 0,
        }
    }

    /// Returns the number of queued commands, or -1 outside a transaction.
    pub(super) fn queued(&self) -> i64 {
        match self {
            Transaction::None => -1,
            Transaction::Queue { commands, .. } => i64::try_from(commands.len()).unwrap_or(i64::MAX),
            Transaction::Aborted => 0,
        }
    }

    fn multi(&mut self) -> Command {
        if !matches!(self, Transaction::None) {
            return wrong("ERR MULTI calls can not be nested");
        }
        *self = Transaction::Queue { commands: Vec::new(), keys: 0, bytes: 0 };
        status("OK")
    }

    fn exec(&mut self) -> Command {
        match std::mem::take(self) {
            Transaction::None => wrong("ERR EXEC without MULTI"),
            Transaction::Queue { commands, .. } => Command::Entry(commands),
            Transaction::Aborted => wrong("EXECABORT Transaction discarded because of previous errors."),
        }
    }

    fn queue(&mut self, command: WriteCommand) -> Command {
        if let Transaction::Queue { commands, keys, bytes } = self {
            *keys += command.keys().max(1);
            *bytes += command.bytes();
            if *keys > MAX_ENTRY_KEYS || *bytes > MAX_ENTRY_BYTES {
                return self.abort(&format!(
                    "ERR a transaction exceeds {MAX_ENTRY_KEYS} keys or {MAX_ENTRY_BYTES} bytes; split it into several"
                ));
            }
            commands.push(command);
        }
        status("QUEUED")
    }

    fn abort(&mut self, error: &str) -> Command {
        *self = Transaction::Aborted;
        wrong(error)
    }
}

fn status(line: &'static str) -> Command {
    Command::Local(LocalCommand::Status(line))
}

fn wrong(error: &str) -> Command {
    Command::Local(LocalCommand::Wrong(error.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::MAX_BULK;
    use bytes::Bytes;

    fn append(length: usize) -> WriteCommand {
        WriteCommand::Append { key: Bytes::from_static(b"k"), suffix: Bytes::from(vec![0; length]) }
    }

    fn get() -> ReadCommand {
        ReadCommand::Get(Bytes::from_static(b"k"))
    }

    fn error(command: Command) -> String {
        match command {
            Command::Local(LocalCommand::Wrong(error)) => error,
            other => panic!("an error was expected, not {other:?}"),
        }
    }

    #[test]
    fn commands_wait_for_exec_between_multi_and_exec_and_nowhere_else() {
        let mut transaction = Transaction::default();
        assert_eq!(transaction.next(Command::Read(get())), Command::Read(get()));
        assert_eq!(transaction.next(Command::Multi), status("OK"));
        assert_eq!(transaction.next(Command::Write(append(1))), status("QUEUED"));
        assert_eq!(transaction.next(Command::Read(get())), status("QUEUED"));
        assert_eq!(transaction.next(Command::Exec), Command::Entry(vec![append(1), WriteCommand::Read(get())]));
        assert_eq!(transaction.next(Command::Write(append(1))), Command::Write(append(1)));
    }

    #[test]
    fn misplaced_brackets_get_the_errors_that_redis_gives_and_do_not_end_a_transaction() {
        let mut transaction = Transaction::default();
        assert_eq!(error(transaction.next(Command::Exec)), "ERR EXEC without MULTI");
        assert_eq!(error(transaction.next(Command::Discard)), "ERR DISCARD without MULTI");
        transaction.next(Command::Multi);
        assert_eq!(error(transaction.next(Command::Multi)), "ERR MULTI calls can not be nested");
        assert_eq!(transaction.next(Command::Exec), Command::Entry(Vec::new()));
    }

    #[test]
    fn a_command_that_cannot_be_queued_aborts_the_transaction_until_it_ends() {
        let wrong = Command::Local(LocalCommand::Wrong("ERR unknown".to_owned()));
        let keys = Command::Read(ReadCommand::Keys(Bytes::from_static(b"*")));
        for command in [wrong, keys, Command::Local(LocalCommand::Ping(None))] {
            let mut transaction = Transaction::default();
            transaction.next(Command::Multi);
            transaction.next(Command::Write(append(1)));
            assert!(error(transaction.next(command)).starts_with("ERR "));
            assert_eq!(transaction.next(Command::Write(append(1))), status("QUEUED"));
            assert!(error(transaction.next(Command::Exec)).starts_with("EXECABORT "));
            assert_eq!(error(transaction.next(Command::Exec)), "ERR EXEC without MULTI");
        }
    }

    #[test]
    fn discard_drops_what_was_queued_and_what_was_wrong() {
        let mut transaction = Transaction::default();
        for command in [Command::Write(append(1)), Command::Local(LocalCommand::Ping(None))] {
            transaction.next(Command::Multi);
            transaction.next(command);
            assert_eq!(transaction.next(Command::Discard), status("OK"));
            assert_eq!(transaction.next(Command::Write(append(1))), Command::Write(append(1)));
            transaction.next(Command::Multi);
            assert_eq!(transaction.next(Command::Local(LocalCommand::Reset)), Command::Local(LocalCommand::Reset));
            assert_eq!(error(transaction.next(Command::Exec)), "ERR EXEC without MULTI");
        }
    }

    #[test]
    fn a_transaction_is_no_larger_than_an_entry() {
        let mut transaction = Transaction::default();
        let mut fits = |commands: Vec<WriteCommand>| {
            let count = commands.len();
            transaction.next(Command::Multi);
            commands.into_iter().for_each(|command| drop(transaction.next(Command::Write(command))));
            match transaction.next(Command::Exec) {
                Command::Entry(queued) => queued.len() == count,
                aborted => error(aborted).is_empty(),
            }
        };
        assert!(fits(vec![append(0); MAX_ENTRY_KEYS]));
        assert!(!fits(vec![append(0); MAX_ENTRY_KEYS + 1]));
        assert!(fits(vec![append(MAX_BULK); 2]));
        assert!(!fits(vec![append(MAX_BULK); 4]));
        let mget = |keys| WriteCommand::Read(ReadCommand::Mget(vec![Bytes::new(); keys]));
        assert!(fits(vec![mget(MAX_ENTRY_KEYS - 1), append(0)]));
        assert!(!fits(vec![mget(MAX_ENTRY_KEYS), append(0)]));
    }
}
