//! From a request's arguments to a command: what it asks for, and who has to execute it.

mod table;

pub use table::{COMMANDS, Spec};

use crate::keyspace::{ReadCommand, WriteCommand};
use crate::resp::{Arguments, parse_integer};
use bytes::Bytes;

/// The longest pattern of `KEYS`: matching takes up to the product of the pattern's and the key's length.
const MAX_PATTERN: usize = 1024;

/// A command, by who executes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The leader, or whoever it gives leave.
    Read(ReadCommand),
    /// All nodes, through the log.
    Write(WriteCommand),
    /// This node by itself, on this connection.
    Local(LocalCommand),
    /// This connection, which queues what is between them.
    Transaction(TransactionCommand),
}

/// A command that begins or ends a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionCommand {
    /// `MULTI`.
    Multi,
    /// `EXEC`.
    Exec,
    /// `DISCARD`.
    Discard,
}

/// A command about the connection or the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalCommand {
    /// `PING`, perhaps with something to send back.
    Ping(Option<Bytes>),
    /// `ECHO`.
    Echo(Bytes),
    /// `HELLO`: another version of the protocol, and a name for the connection.
    Hello {
        /// The version asked for, if any.
        version: Option<Bytes>,
        /// The name, if any.
        name: Option<Bytes>,
    },
    /// `CLIENT` and its subcommand.
    Client(Vec<Bytes>),
    /// `COMMAND` and its subcommand.
    Command(Vec<Bytes>),
    /// `CONFIG GET` and its patterns.
    ConfigGet(Vec<Bytes>),
    /// `INFO` and its sections.
    Info(Vec<Bytes>),
    /// `SELECT`.
    Select(Bytes),
    /// `QUIT`.
    Quit,
    /// A command that is done by being answered, with this line.
    Status(&'static str),
    /// Not a command, or not a correct one; the error to answer.
    Wrong(String),
}

impl Command {
    /// What a request asks for. One that makes no sense becomes a [`LocalCommand::Wrong`].
    pub fn parse(arguments: &Arguments<'_>) -> Command {
        let name = arguments.peek(0);
        let Some(spec) = table::find(name) else {
            return wrong(unknown(arguments));
        };
        if !spec.takes(arguments.len()) {
            return wrong(wrong_arity(spec.name));
        }
        (spec.parse)(arguments).unwrap_or_else(wrong)
    }
}

type Parsed = Result<Command, String>;

fn wrong(error: String) -> Command {
    Command::Local(LocalCommand::Wrong(error))
}

fn read(command: ReadCommand) -> Parsed {
    Ok(Command::Read(command))
}

fn write(command: WriteCommand) -> Parsed {
    Ok(Command::Write(command))
}

fn local(command: LocalCommand) -> Parsed {
    Ok(Command::Local(command))
}

fn transaction(command: TransactionCommand) -> Parsed {
    Ok(Command::Transaction(command))
}

fn no_watch(_: &Arguments<'_>) -> Parsed {
    Err("ERR optimistic locking is not supported here; leave out WATCH and UNWATCH, MULTI and EXEC are atomic without"
        .to_owned())
}

/// Text that a client sent, short and printable enough for an error.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(128)]).into_owned()
}

fn unknown(arguments: &Arguments<'_>) -> String {
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

fn parse_set(arguments: &Arguments<'_>) -> Parsed {
    let (mut only_if_exists, mut get_old) = (None, false);
    for position in 3..arguments.len() {
        match arguments.peek(position).to_ascii_uppercase().as_slice() {
            b"NX" if only_if_exists != Some(true) => only_if_exists = Some(false),
            b"XX" if only_if_exists != Some(false) => only_if_exists = Some(true),
            b"GET" => get_old = true,
            b"EX" | b"PX" | b"EXAT" | b"PXAT" | b"KEEPTTL" => {
                return Err("ERR keys do not expire here; leave out EX, PX, EXAT, PXAT and KEEPTTL".to_owned());
            }
            _ => return Err(syntax_error()),
        }
    }
    write(WriteCommand::Set { key: arguments.get(1), value: arguments.get(2), only_if_exists, get_old })
}

fn parse_mset(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len().is_multiple_of(2) {
        return Err(wrong_arity("mset"));
    }
    let pairs = (1..arguments.len()).step_by(2).map(|at| (arguments.get(at), arguments.get(at + 1)));
    write(WriteCommand::SetAll(pairs.collect()))
}

/// `INCRBY` and `DECRBY`.
fn parse_add(arguments: &Arguments<'_>, down: bool) -> Parsed {
    let amount =
        parse_integer(arguments.peek(2)).ok_or_else(|| "ERR value is not an integer or out of range".to_owned())?;
    let amount =
        if down { amount.checked_neg().ok_or_else(|| "ERR decrement would overflow".to_owned())? } else { amount };
    write(WriteCommand::Add { key: arguments.get(1), amount })
}

fn parse_flush(arguments: &Arguments<'_>) -> Parsed {
    match arguments.peek(1).to_ascii_uppercase().as_slice() {
        b"" if arguments.len() == 1 => write(WriteCommand::Clear),
        b"ASYNC" | b"SYNC" if arguments.len() == 2 => write(WriteCommand::Clear),
        _ => Err(syntax_error()),
    }
}

fn parse_keys(arguments: &Arguments<'_>) -> Parsed {
    let pattern = arguments.get(1);
    if pattern.len() > MAX_PATTERN {
        return Err(format!("ERR the pattern exceeds {MAX_PATTERN} bytes; shorten it"));
    }
    read(ReadCommand::Keys(pattern))
}

fn parse_ping(arguments: &Arguments<'_>) -> Parsed {
    match arguments.len() {
        1 => local(LocalCommand::Ping(None)),
        2 => local(LocalCommand::Ping(Some(arguments.get(1)))),
        _ => Err(wrong_arity("ping")),
    }
}

fn parse_hello(arguments: &Arguments<'_>) -> Parsed {
    let version = (arguments.len() > 1).then(|| arguments.get(1));
    let mut name = None;
    let mut at = 2;
    while at < arguments.len() {
        match arguments.peek(at).to_ascii_uppercase().as_slice() {
            b"AUTH" => return Err("ERR there are no users or passwords here; leave out AUTH".to_owned()),
            b"SETNAME" if at + 1 < arguments.len() => name = Some(arguments.get(at + 1)),
            _ => return Err(format!("ERR syntax error in HELLO option '{}'", shown(arguments.peek(at)))),
        }
        at += 2;
    }
    local(LocalCommand::Hello { version, name })
}

fn parse_config(arguments: &Arguments<'_>) -> Parsed {
    if !arguments.peek(1).eq_ignore_ascii_case(b"get") {
        return Err(format!(
            "ERR CONFIG {} is not supported; a node is configured by the flags it is started with",
            shown(arguments.peek(1)).to_ascii_uppercase()
        ));
    }
    if arguments.len() < 3 {
        return Err(wrong_arity("config|get"));
    }
    local(LocalCommand::ConfigGet(arguments.from(2).collect()))
}

#[cfg(test)]
mod tests;
