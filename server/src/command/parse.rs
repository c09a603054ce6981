//! The parts that the parsers of commands share.

use super::kinds::{Command, LocalCommand};
use crate::keyspace::{MAX_ENTRY_KEYS, ReadCommand, WriteCommand};
use crate::resp::Arguments;

/// A command, or the error to reply with.
pub(super) type Parsed = Result<Command, String>;

pub(super) fn wrong(error: String) -> Command {
    Command::Local(LocalCommand::Wrong(error))
}

pub(super) fn read(command: ReadCommand) -> Parsed {
    Ok(Command::Read(command))
}

pub(super) fn write(command: WriteCommand) -> Parsed {
    Ok(Command::Write(command))
}

pub(super) fn local(command: LocalCommand) -> Parsed {
    Ok(Command::Local(command))
}

/// Returns text that a client sent, shortened for an error.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(128)]).into_owned()
}

pub(super) fn unknown(arguments: &Arguments<'_>) -> String {
    let mut error = format!("ERR unknown command '{}', with args beginning with: ", shown(arguments.peek(0)));
    for position in 1..arguments.len() {
        if error.len() > 256 {
            break;
        }
        error.push_str(&format!("'{}' ", shown(arguments.peek(position))));
    }
    error
}

pub(crate) fn wrong_arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

pub(super) fn syntax_error() -> String {
    "ERR syntax error".to_owned()
}

/// Refuses a write of so many keys that applying it would hold up the node.
pub(super) fn check_keys(keys: usize) -> Result<(), String> {
    if keys > MAX_ENTRY_KEYS {
        return Err(format!("ERR a command changes more than {MAX_ENTRY_KEYS} keys; split it into several"));
    }
    Ok(())
}
