//! Transactions: what follows `MULTI` is queued, and `EXEC` executes it as one entry of the log.

use super::session::{ENTRY_BYTES, MOST_WRITES};
use crate::command::{Command, LocalCommand, TransactionCommand};
use crate::keyspace::{ReadCommand, WriteCommand};

/// What is to be done for a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    Read(ReadCommand),
    Write(WriteCommand),
    /// All of these or nothing, in one entry of their own.
    Transaction(Vec<WriteCommand>),
    Local(LocalCommand),
}

/// Whether a connection is between `MULTI` and `EXEC`, and what it has queued there.
#[derive(Debug, Default)]
pub(super) enum Transaction {
    #[default]
    None,
    Queue {
        commands: Vec<WriteCommand>,
        bytes: usize,
    },
    /// A command could not be queued, so `EXEC` will execute none.
    Aborted,
}

impl Transaction {
    /// Takes the next command: it is to be executed now, or waits for `EXEC`.
    pub(super) fn take(&mut self, command: Command) -> Task {
        match command {
            Command::Transaction(TransactionCommand::Multi) => self.multi(),
            Command::Transaction(TransactionCommand::Exec) => self.exec(),
            Command::Transaction(TransactionCommand::Discard) => match std::mem::take(self) {
                Transaction::None => wrong("ERR DISCARD without MULTI"),
                Transaction::Queue { .. } | Transaction::Aborted => status("OK"),
            },
            Command::Local(LocalCommand::Quit) => Task::Local(LocalCommand::Quit),
            Command::Read(command) if self.is_none() => Task::Read(command),
            Command::Write(command) if self.is_none() => Task::Write(command),
            Command::Local(command) if self.is_none() => Task::Local(command),
            // Every node would match every key before it applies anything else.
            Command::Read(ReadCommand::Keys(_)) => self.abort("ERR KEYS takes too long for a transaction; send it alone"),
            Command::Read(command) => self.queue(WriteCommand::Read(command)),
            Command::Write(command) => self.queue(command),
            Command::Local(LocalCommand::Wrong(error)) => self.abort(&error),
            Command::Local(_) => self.abort(
                "ERR a command about the connection or the node cannot be part of a transaction; send it before MULTI or after EXEC",
            ),
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, Transaction::None)
    }

    fn multi(&mut self) -> Task {
        if !self.is_none() {
            return wrong("ERR MULTI calls can not be nested");
        }
        *self = Transaction::Queue { commands: Vec::new(), bytes: 0 };
        status("OK")
    }

    fn exec(&mut self) -> Task {
        match std::mem::take(self) {
            Transaction::None => wrong("ERR EXEC without MULTI"),
            Transaction::Queue { commands, .. } => Task::Transaction(commands),
            Transaction::Aborted => wrong("EXECABORT Transaction discarded because of previous errors."),
        }
    }

    fn queue(&mut self, command: WriteCommand) -> Task {
        if let Transaction::Queue { commands, bytes } = self {
            *bytes += command.bytes();
            if commands.len() == MOST_WRITES || *bytes > ENTRY_BYTES {
                return self.abort(&format!(
                    "ERR a transaction exceeds {MOST_WRITES} commands or {ENTRY_BYTES} bytes; split it into several"
                ));
            }
            commands.push(command);
        }
        status("QUEUED")
    }

    fn abort(&mut self, error: &str) -> Task {
        *self = Transaction::Aborted;
        wrong(error)
    }
}

fn status(line: &'static str) -> Task {
    Task::Local(LocalCommand::Status(line))
}

fn wrong(error: &str) -> Task {
    Task::Local(LocalCommand::Wrong(error.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::MAX_BULK;
    use bytes::Bytes;

    const MULTI: Command = Command::Transaction(TransactionCommand::Multi);
    const EXEC: Command = Command::Transaction(TransactionCommand::Exec);
    const DISCARD: Command = Command::Transaction(TransactionCommand::Discard);

    fn append(length: usize) -> WriteCommand {
        WriteCommand::Append { key: Bytes::from_static(b"k"), suffix: Bytes::from(vec![0; length]) }
    }

    fn get() -> ReadCommand {
        ReadCommand::Get(Bytes::from_static(b"k"))
    }

    fn error(task: Task) -> String {
        match task {
            Task::Local(LocalCommand::Wrong(error)) => error,
            other => panic!("an error was expected, not {other:?}"),
        }
    }

    #[test]
    fn what_follows_multi_waits_for_exec_and_what_follows_exec_does_not() {
        let mut transaction = Transaction::default();
        assert_eq!(transaction.take(Command::Read(get())), Task::Read(get()));
        assert_eq!(transaction.take(MULTI), status("OK"));
        assert_eq!(transaction.take(Command::Write(append(1))), status("QUEUED"));
        assert_eq!(transaction.take(Command::Read(get())), status("QUEUED"));
        assert_eq!(transaction.take(EXEC), Task::Transaction(vec![append(1), WriteCommand::Read(get())]));
        assert_eq!(transaction.take(Command::Write(append(1))), Task::Write(append(1)));
    }

    #[test]
    fn brackets_out_of_place_get_the_errors_that_redis_gives_and_harm_no_transaction() {
        let mut transaction = Transaction::default();
        assert_eq!(error(transaction.take(EXEC)), "ERR EXEC without MULTI");
        assert_eq!(error(transaction.take(DISCARD)), "ERR DISCARD without MULTI");
        transaction.take(MULTI);
        assert_eq!(error(transaction.take(MULTI)), "ERR MULTI calls can not be nested");
        assert_eq!(transaction.take(EXEC), Task::Transaction(Vec::new()));
    }

    #[test]
    fn a_command_that_cannot_be_queued_aborts_the_transaction_until_it_ends() {
        let wrong = Command::Local(LocalCommand::Wrong("ERR what".to_owned()));
        let keys = Command::Read(ReadCommand::Keys(Bytes::from_static(b"*")));
        for command in [wrong, keys, Command::Local(LocalCommand::Ping(None))] {
            let mut transaction = Transaction::default();
            transaction.take(MULTI);
            transaction.take(Command::Write(append(1)));
            assert!(error(transaction.take(command)).starts_with("ERR "));
            assert_eq!(transaction.take(Command::Write(append(1))), status("QUEUED"));
            assert!(error(transaction.take(EXEC)).starts_with("EXECABORT "));
            assert_eq!(error(transaction.take(EXEC)), "ERR EXEC without MULTI");
        }
    }

    #[test]
    fn discard_forgets_what_was_queued_and_what_was_wrong() {
        let mut transaction = Transaction::default();
        for command in [Command::Write(append(1)), Command::Local(LocalCommand::Ping(None))] {
            transaction.take(MULTI);
            transaction.take(command);
            assert_eq!(transaction.take(DISCARD), status("OK"));
            assert_eq!(transaction.take(Command::Write(append(1))), Task::Write(append(1)));
        }
    }

    #[test]
    fn a_transaction_is_no_larger_than_an_entry() {
        let mut transaction = Transaction::default();
        let mut fits = |commands: usize, length| {
            transaction.take(MULTI);
            (0..commands).for_each(|_| drop(transaction.take(Command::Write(append(length)))));
            match transaction.take(EXEC) {
                Task::Transaction(queued) => queued.len() == commands,
                aborted => error(aborted).is_empty(),
            }
        };
        assert!(fits(MOST_WRITES, 0));
        assert!(!fits(MOST_WRITES + 1, 0));
        assert!(fits(2, MAX_BULK));
        assert!(!fits(4, MAX_BULK));
    }
}
