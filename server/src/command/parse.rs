//! The parts that the parsers of commands share.

use super::kinds::{Command, LocalCommand};
use super::missing::subject_of;
use crate::glob::MAX_PATTERN;
use crate::keyspace::{MAX_ENTRY_KEYS, ReadCommand, WriteCommand};
use crate::resp::{Arguments, parse_integer};

/// The error of a command about another database than number 0.
pub(super) const NO_DATABASE: &str = "ERR DB index is out of range; there is only database 0";
/// The part of an argument that is compared with words: longer than every one.
const MAX_WORD: usize = 64;

/// A command, or the error to reply with.
pub(super) type Parsed = Result<Command, String>;

pub(super) fn wrong(error: String) -> Command {
    Command::Local(LocalCommand::Wrong(error))
}

pub(super) fn rejected(error: String) -> Command {
    Command::Local(LocalCommand::Rejected(error))
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
    if let Some(subject) = subject_of(arguments.peek(0)) {
        let name = shown(arguments.peek(0));
        return format!("ERR unknown command '{name}': {subject} are not supported here; docs/redis.md lists what is");
    }
    let mut error = format!("ERR unknown command '{}', with args beginning with: ", shown(arguments.peek(0)));
    for position in 1..arguments.len() {
        if error.len() > 256 {
            break;
        }
        error.push_str(&format!("'{}' ", shown(arguments.peek(position))));
    }
    error
}

pub(super) fn unknown_subcommand(command: &str, subcommand: &[u8]) -> String {
    format!("ERR unknown subcommand '{}'. Try {} HELP.", shown(subcommand), command.to_ascii_uppercase())
}

pub(crate) fn wrong_arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

/// Returns the error of Redis for a subcommand that does not take so many arguments, although its arity allows them.
pub(super) fn wrong_use(arguments: &Arguments<'_>, container: &str) -> String {
    let subcommand = shown(arguments.peek(1));
    format!("ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try {container} HELP.")
}

/// Returns the argument at `position` in upper case, to be compared with the words that a command knows.
pub(super) fn word(arguments: &Arguments<'_>, position: usize) -> Vec<u8> {
    let argument = arguments.peek(position);
    argument[..argument.len().min(MAX_WORD)].to_ascii_uppercase()
}

fn not_an_integer() -> String {
    "ERR value is not an integer or out of range".to_owned()
}

/// Parses an argument that is an integer.
pub(super) fn integer(argument: &[u8]) -> Result<i64, String> {
    parse_integer(argument).ok_or_else(not_an_integer)
}

/// Checks an argument that is a timeout.
pub(super) fn check_timeout(argument: &[u8]) -> Result<(), String> {
    match parse_integer(argument) {
        None => Err("ERR timeout is not an integer or out of range".to_owned()),
        Some(..0) => Err("ERR timeout is negative".to_owned()),
        Some(_) => Ok(()),
    }
}

/// Checks the length of an argument that is a pattern.
pub(super) fn check_pattern(pattern: &[u8]) -> Result<(), String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("ERR the pattern exceeds {MAX_PATTERN} bytes; use a shorter one"));
    }
    Ok(())
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
