//! Commands about a connection.

use super::client::plain;
use super::kinds::{Credentials, LocalCommand};
use super::parse::{Parsed, local, shown, syntax_error, wrong_arity};
use super::table::{NONE, Spec};
use crate::resp::{Arguments, Version, parse_integer};
use bytes::Bytes;

/// The user that `AUTH` with a password alone means.
const DEFAULT_USER: &[u8] = b"default";

pub(super) static CONNECTION: &[Spec] = &[
    Spec {
        name: "ping",
        arity: -1,
        flags: &["fast"],
        keys: NONE,
        group: "connection",
        summary: "Returns PONG, or the message.",
        parse: parse_ping,
    },
    Spec {
        name: "echo",
        arity: 2,
        flags: &["fast"],
        keys: NONE,
        group: "connection",
        summary: "Returns the message.",
        parse: |a| local(LocalCommand::Echo(a.get(1))),
    },
    Spec {
        name: "hello",
        arity: -1,
        flags: &["noscript", "loading", "stale", "fast", "no_auth"],
        keys: NONE,
        group: "connection",
        summary: "Selects the version of the protocol, logs in, and names the connection.",
        parse: parse_hello,
    },
    Spec {
        name: "auth",
        arity: -2,
        flags: &["noscript", "loading", "stale", "fast", "no_auth"],
        keys: NONE,
        group: "connection",
        summary: "Logs in with a password, or with a user and a password.",
        parse: parse_auth,
    },
    Spec {
        name: "client",
        arity: -2,
        flags: &["noscript", "loading", "stale"],
        keys: NONE,
        group: "connection",
        summary: "Describes, names and closes connections.",
        parse: |_| Err(syntax_error()),
    },
    Spec {
        name: "select",
        arity: 2,
        flags: &["loading", "stale", "fast"],
        keys: NONE,
        group: "connection",
        summary: "Selects the database; only number 0 exists.",
        parse: |a| local(LocalCommand::Select(a.get(1))),
    },
    Spec {
        name: "reset",
        arity: 1,
        flags: &["noscript", "loading", "stale", "fast", "no_auth"],
        keys: NONE,
        group: "connection",
        summary: "Logs out, drops the transaction and forgets the name and the version of the protocol.",
        parse: |_| local(LocalCommand::Reset),
    },
    Spec {
        name: "quit",
        arity: -1,
        flags: &["noscript", "loading", "stale", "fast", "no_auth"],
        keys: NONE,
        group: "connection",
        summary: "Closes the connection.",
        parse: |_| local(LocalCommand::Quit),
    },
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
        match arguments.peek(at).to_ascii_uppercase().as_slice() {
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
