//! Commands about a connection.

use super::client::plain;
use super::kinds::{Credentials, LocalCommand};
use super::parse::{NO_DATABASE, Parsed, integer, local, shown, syntax_error, word, wrong_arity};
use super::table::{CONNECTION, Spec};
use crate::resp::{Arguments, Version, parse_integer};
use bytes::Bytes;

/// The user that `AUTH` with a password alone means.
const DEFAULT_USER: &[u8] = b"default";

pub(super) static COMMANDS: &[Spec] = &[
    CONNECTION.spec("ping", -1, &["fast"], "Returns PONG, or the message.", parse_ping),
    CONNECTION.spec("echo", 2, &["fast"], "Returns the message.", |a| local(LocalCommand::Echo(a.get(1)))),
    CONNECTION.spec(
        "hello",
        -1,
        &["noscript", "loading", "stale", "fast", "no_auth"],
        "Selects the version of the protocol, logs in, and names the connection.",
        parse_hello,
    ),
    CONNECTION.spec(
        "auth",
        -2,
        &["noscript", "loading", "stale", "fast", "no_auth"],
        "Logs in with a password, or with a user and a password.",
        parse_auth,
    ),
    CONNECTION.container("client", &["noscript", "loading", "stale"], "Describes, names and closes connections."),
    CONNECTION.spec(
        "select",
        2,
        &["loading", "stale", "fast"],
        "Selects the database; only number 0 exists.",
        parse_select,
    ),
    CONNECTION.spec(
        "reset",
        1,
        &["noscript", "loading", "stale", "fast", "no_auth"],
        "Logs out, drops the transaction and forgets the name and the version of the protocol.",
        |_| local(LocalCommand::Reset),
    ),
    CONNECTION.spec("quit", -1, &["noscript", "loading", "stale", "fast", "no_auth"], "Closes the connection.", |_| {
        local(LocalCommand::Quit)
    }),
];

fn parse_ping(arguments: &Arguments<'_>) -> Parsed {
    match arguments.len() {
        1 => local(LocalCommand::Ping(None)),
        2 => local(LocalCommand::Ping(Some(arguments.get(1)))),
        _ => Err(wrong_arity("ping")),
    }
}

fn parse_hello(arguments: &Arguments<'_>) -> Parsed {
    let version = (arguments.len() > 1).then(|| parse_version(arguments.peek(1))).transpose()?;
    let (mut login, mut name) = (None, None);
    let mut at = 2;
    while at < arguments.len() {
        match word(arguments, at).as_slice() {
            b"AUTH" if at + 2 < arguments.len() => {
                login = Some(Credentials { user: arguments.get(at + 1), password: arguments.get(at + 2) });
                at += 3;
            }
            b"SETNAME" if at + 1 < arguments.len() => {
                name = Some(plain(arguments.get(at + 1))?);
                at += 2;
            }
            _ => return Err(format!("ERR Syntax error in HELLO option '{}'", shown(arguments.peek(at)))),
        }
    }
    local(LocalCommand::Hello { version, login, name })
}

/// Parses the version of the protocol that `HELLO` selects.
fn parse_version(text: &[u8]) -> Result<Version, String> {
    match parse_integer(text) {
        Some(2) => Ok(Version::Two),
        Some(3) => Ok(Version::Three),
        Some(_) => Err("NOPROTO unsupported protocol version".to_owned()),
        None => Err("ERR Protocol version is not an integer or out of range".to_owned()),
    }
}

fn parse_auth(arguments: &Arguments<'_>) -> Parsed {
    let (user, password) = match arguments.len() {
        2 => (Bytes::from_static(DEFAULT_USER), arguments.get(1)),
        3 => (arguments.get(1), arguments.get(2)),
        _ => return Err(syntax_error()),
    };
    local(LocalCommand::Auth(Credentials { user, password }))
}

fn parse_select(arguments: &Arguments<'_>) -> Parsed {
    match integer(arguments.peek(1))? {
        0 => local(LocalCommand::Status("OK")),
        _ => Err(NO_DATABASE.to_owned()),
    }
}
