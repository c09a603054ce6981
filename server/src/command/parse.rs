//! Parsing the arguments of each command.

use super::kinds::{Command, Credentials, LocalCommand};
use crate::glob::MAX_PATTERN;
use crate::keyspace::{MAX_ENTRY_KEYS, ReadCommand, WriteCommand};
use crate::resp::{Arguments, parse_integer};
use bytes::Bytes;

/// The most patterns of `CONFIG GET`, and the longest one, in bytes.
const MAX_CONFIG_PATTERNS: usize = 16;
const MAX_CONFIG_PATTERN: usize = 64;
/// The most names that `COMMAND` and `INFO` describe at once.
const MAX_COMMAND_NAMES: usize = 512;
const MAX_INFO_SECTIONS: usize = 32;
/// The most arguments of `LEASEHOLD`, and the longest one, in bytes.
const MAX_ADMIN_ARGUMENTS: usize = 5;
const MAX_ADMIN_ARGUMENT: usize = 1024;

/// The user that `AUTH` with a password alone means.
const DEFAULT_USER: &[u8] = b"default";

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

pub(super) fn no_watch(_: &Arguments<'_>) -> Parsed {
    Err("ERR optimistic locking is not supported here; omit WATCH and UNWATCH: MULTI and EXEC are atomic without them"
        .to_owned())
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

fn syntax_error() -> String {
    "ERR syntax error".to_owned()
}

pub(super) fn parse_set(arguments: &Arguments<'_>) -> Parsed {
    let (mut only_if_exists, mut get_old) = (None, false);
    for position in 3..arguments.len() {
        match arguments.peek(position).to_ascii_uppercase().as_slice() {
            b"NX" if only_if_exists != Some(true) => only_if_exists = Some(false),
            b"XX" if only_if_exists != Some(false) => only_if_exists = Some(true),
            b"GET" => get_old = true,
            b"EX" | b"PX" | b"EXAT" | b"PXAT" | b"KEEPTTL" => {
                return Err("ERR keys do not expire here; omit EX, PX, EXAT, PXAT and KEEPTTL".to_owned());
            }
            _ => return Err(syntax_error()),
        }
    }
    write(WriteCommand::Set { key: arguments.get(1), value: arguments.get(2), only_if_exists, get_old })
}

pub(super) fn parse_mset(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len().is_multiple_of(2) {
        return Err(wrong_arity("mset"));
    }
    check_keys(arguments.len() / 2)?;
    let pairs = (1..arguments.len()).step_by(2).map(|at| (arguments.get(at), arguments.get(at + 1)));
    write(WriteCommand::SetAll(pairs.collect()))
}

pub(super) fn parse_delete(arguments: &Arguments<'_>) -> Parsed {
    check_keys(arguments.len() - 1)?;
    write(WriteCommand::Delete(arguments.from(1).collect()))
}

/// Refuses a write of so many keys that applying it would hold up the node.
fn check_keys(keys: usize) -> Result<(), String> {
    if keys > MAX_ENTRY_KEYS {
        return Err(format!("ERR a command changes more than {MAX_ENTRY_KEYS} keys; split it into several"));
    }
    Ok(())
}

/// Parses `INCRBY` and `DECRBY`.
pub(super) fn parse_add(arguments: &Arguments<'_>, down: bool) -> Parsed {
    let amount =
        parse_integer(arguments.peek(2)).ok_or_else(|| "ERR value is not an integer or out of range".to_owned())?;
    let amount =
        if down { amount.checked_neg().ok_or_else(|| "ERR decrement would overflow".to_owned())? } else { amount };
    write(WriteCommand::Add { key: arguments.get(1), amount })
}

pub(super) fn parse_flush(arguments: &Arguments<'_>) -> Parsed {
    match arguments.peek(1).to_ascii_uppercase().as_slice() {
        b"" if arguments.len() == 1 => write(WriteCommand::Clear),
        b"ASYNC" | b"SYNC" if arguments.len() == 2 => write(WriteCommand::Clear),
        _ => Err(syntax_error()),
    }
}

pub(super) fn parse_keys(arguments: &Arguments<'_>) -> Parsed {
    let pattern = arguments.get(1);
    if pattern.len() > MAX_PATTERN {
        return Err(format!("ERR the pattern exceeds {MAX_PATTERN} bytes; use a shorter one"));
    }
    read(ReadCommand::Keys(pattern))
}

pub(super) fn parse_ping(arguments: &Arguments<'_>) -> Parsed {
    match arguments.len() {
        1 => local(LocalCommand::Ping(None)),
        2 => local(LocalCommand::Ping(Some(arguments.get(1)))),
        _ => Err(wrong_arity("ping")),
    }
}

pub(super) fn parse_hello(arguments: &Arguments<'_>) -> Parsed {
    let version = (arguments.len() > 1).then(|| arguments.get(1));
    let (mut login, mut name) = (None, None);
    let mut at = 2;
    while at < arguments.len() {
        match arguments.peek(at).to_ascii_uppercase().as_slice() {
            b"AUTH" if at + 2 < arguments.len() => {
                login = Some(Credentials { user: arguments.get(at + 1), password: arguments.get(at + 2) });
                at += 3;
            }
            b"SETNAME" if at + 1 < arguments.len() => {
                name = Some(arguments.get(at + 1));
                at += 2;
            }
            _ => return Err(format!("ERR Syntax error in HELLO option '{}'", shown(arguments.peek(at)))),
        }
    }
    local(LocalCommand::Hello { version, login, name })
}

pub(super) fn parse_auth(arguments: &Arguments<'_>) -> Parsed {
    let (user, password) = match arguments.len() {
        2 => (Bytes::from_static(DEFAULT_USER), arguments.get(1)),
        3 => (arguments.get(1), arguments.get(2)),
        _ => return Err(syntax_error()),
    };
    local(LocalCommand::Auth(Credentials { user, password }))
}

pub(super) fn parse_administer(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len() > MAX_ADMIN_ARGUMENTS || arguments.from(1).any(|argument| argument.len() > MAX_ADMIN_ARGUMENT) {
        return Err("ERR the arguments of LEASEHOLD are too long; LEASEHOLD HELP lists the subcommands".to_owned());
    }
    Ok(Command::Administer(arguments.from(1).collect()))
}

pub(super) fn parse_command(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len() - 1 > MAX_COMMAND_NAMES {
        return Err(format!("ERR COMMAND describes fewer than {MAX_COMMAND_NAMES} commands at once; omit the names"));
    }
    local(LocalCommand::Command(arguments.from(1).collect()))
}

pub(super) fn parse_info(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len() - 1 > MAX_INFO_SECTIONS {
        return Err(format!("ERR INFO describes at most {MAX_INFO_SECTIONS} sections at once; request everything"));
    }
    local(LocalCommand::Info(arguments.from(1).collect()))
}

pub(super) fn parse_config(arguments: &Arguments<'_>) -> Parsed {
    if !arguments.peek(1).eq_ignore_ascii_case(b"get") {
        return Err(format!(
            "ERR CONFIG {} is not supported; a node is configured by the flags it is started with",
            shown(arguments.peek(1)).to_ascii_uppercase()
        ));
    }
    if arguments.len() < 3 {
        return Err(wrong_arity("config|get"));
    }
    if arguments.len() - 2 > MAX_CONFIG_PATTERNS || arguments.from(2).any(|pattern| pattern.len() > MAX_CONFIG_PATTERN)
    {
        return Err(format!(
            "ERR CONFIG GET takes at most {MAX_CONFIG_PATTERNS} patterns of at most {MAX_CONFIG_PATTERN} bytes"
        ));
    }
    local(LocalCommand::ConfigGet(arguments.from(2).collect()))
}
