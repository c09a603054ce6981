//! The table of all commands.

use super::kinds::{Command, LocalCommand};
use super::parse::*;
use crate::keyspace::{ReadCommand, WriteCommand};
use crate::resp::Arguments;
use std::fmt;

/// The static description of a command.
#[derive(Clone, Copy)]
pub struct Spec {
    /// The name, in lower case.
    pub name: &'static str,
    /// The number of arguments, including the name; negative for at least so many.
    pub arity: i64,
    /// Redis flags, on which clients may rely: `readonly`, `write`, `fast` and the like.
    pub flags: &'static [&'static str],
    /// The positions of the first and the last key (negative from the end) and the step between keys; zeros for no
    /// keys.
    pub keys: (i64, i64, i64),
    /// The group in which Redis documents it.
    pub group: &'static str,
    /// One line for `COMMAND DOCS`.
    pub summary: &'static str,
    pub(super) parse: fn(&Arguments<'_>) -> Parsed,
}

impl fmt::Debug for Spec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Spec").field("name", &self.name).field("arity", &self.arity).finish_non_exhaustive()
    }
}

impl Spec {
    /// Returns whether the command takes this number of arguments.
    pub(super) fn takes(&self, arguments: usize) -> bool {
        let arguments = i64::try_from(arguments).unwrap_or(i64::MAX);
        if self.arity < 0 { arguments >= -self.arity } else { arguments == self.arity }
    }
}

/// Returns the command with this name, in any case.
pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    COMMANDS.iter().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
}

const NONE: (i64, i64, i64) = (0, 0, 0);
const ONE: (i64, i64, i64) = (1, 1, 1);
const ALL: (i64, i64, i64) = (1, -1, 1);
const PAIRS: (i64, i64, i64) = (1, -1, 2);

/// The commands, the most frequent first, because a name is looked up in this order.
pub static COMMANDS: &[Spec] = &[
    Spec {
        name: "get",
        arity: 2,
        flags: &["readonly", "fast"],
        keys: ONE,
        group: "string",
        summary: "Returns the value of a key.",
        parse: |a| read(ReadCommand::Get(a.get(1))),
    },
    Spec {
        name: "set",
        arity: -3,
        flags: &["write", "denyoom"],
        keys: ONE,
        group: "string",
        summary: "Sets the value of a key; NX: only if it has none; XX: only if it has one; GET: returns the old one.",
        parse: parse_set,
    },
    Spec {
        name: "incr",
        arity: 2,
        flags: &["write", "denyoom", "fast"],
        keys: ONE,
        group: "string",
        summary: "Adds one to the integer value of a key.",
        parse: |a| write(WriteCommand::Add { key: a.get(1), amount: 1 }),
    },
    Spec {
        name: "mset",
        arity: -3,
        flags: &["write", "denyoom"],
        keys: PAIRS,
        group: "string",
        summary: "Sets the values of several keys at once.",
        parse: parse_mset,
    },
    Spec {
        name: "mget",
        arity: -2,
        flags: &["readonly", "fast"],
        keys: ALL,
        group: "string",
        summary: "Returns the values of several keys at one moment.",
        parse: |a| read(ReadCommand::Mget(a.from(1).collect())),
    },
    Spec {
        name: "del",
        arity: -2,
        flags: &["write"],
        keys: ALL,
        group: "generic",
        summary: "Deletes keys and returns the number of those that existed.",
        parse: parse_delete,
    },
    Spec {
        name: "exists",
        arity: -2,
        flags: &["readonly", "fast"],
        keys: ALL,
        group: "generic",
        summary: "Returns the number of the keys that exist.",
        parse: |a| read(ReadCommand::Exists(a.from(1).collect())),
    },
    Spec {
        name: "incrby",
        arity: 3,
        flags: &["write", "denyoom", "fast"],
        keys: ONE,
        group: "string",
        summary: "Adds to the integer value of a key.",
        parse: |a| parse_add(a, false),
    },
    Spec {
        name: "decr",
        arity: 2,
        flags: &["write", "denyoom", "fast"],
        keys: ONE,
        group: "string",
        summary: "Subtracts one from the integer value of a key.",
        parse: |a| write(WriteCommand::Add { key: a.get(1), amount: -1 }),
    },
    Spec {
        name: "decrby",
        arity: 3,
        flags: &["write", "denyoom", "fast"],
        keys: ONE,
        group: "string",
        summary: "Subtracts from the integer value of a key.",
        parse: |a| parse_add(a, true),
    },
    Spec {
        name: "append",
        arity: 3,
        flags: &["write", "denyoom", "fast"],
        keys: ONE,
        group: "string",
        summary: "Appends to the value of a key and returns its length.",
        parse: |a| write(WriteCommand::Append { key: a.get(1), suffix: a.get(2) }),
    },
    Spec {
        name: "strlen",
        arity: 2,
        flags: &["readonly", "fast"],
        keys: ONE,
        group: "string",
        summary: "Returns the length of the value of a key.",
        parse: |a| read(ReadCommand::Strlen(a.get(1))),
    },
    Spec {
        name: "keys",
        arity: 2,
        flags: &["readonly"],
        keys: NONE,
        group: "generic",
        summary: "Returns the keys that match a pattern.",
        parse: parse_keys,
    },
    Spec {
        name: "dbsize",
        arity: 1,
        flags: &["readonly", "fast"],
        keys: NONE,
        group: "server",
        summary: "Returns the number of keys.",
        parse: |_| read(ReadCommand::Size),
    },
    Spec {
        name: "flushall",
        arity: -1,
        flags: &["write"],
        keys: NONE,
        group: "server",
        summary: "Deletes every key.",
        parse: parse_flush,
    },
    Spec {
        name: "multi",
        arity: 1,
        flags: &["noscript", "loading", "stale", "fast"],
        keys: NONE,
        group: "transactions",
        summary: "Starts a transaction: the commands after it are queued.",
        parse: |_| Ok(Command::Multi),
    },
    Spec {
        name: "exec",
        arity: 1,
        flags: &["noscript", "loading", "stale"],
        keys: NONE,
        group: "transactions",
        summary: "Executes the queued commands atomically and returns their replies.",
        parse: |_| Ok(Command::Exec),
    },
    Spec {
        name: "discard",
        arity: 1,
        flags: &["noscript", "loading", "stale", "fast"],
        keys: NONE,
        group: "transactions",
        summary: "Drops the queued commands and ends the transaction.",
        parse: |_| Ok(Command::Discard),
    },
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
        name: "client",
        arity: -2,
        flags: &["noscript", "loading", "stale"],
        keys: NONE,
        group: "connection",
        summary: "Describes or names this connection.",
        parse: |a| local(LocalCommand::Client(a.from(1).collect())),
    },
    Spec {
        name: "command",
        arity: -1,
        flags: &["loading", "stale"],
        keys: NONE,
        group: "server",
        summary: "Describes the commands.",
        parse: parse_command,
    },
    Spec {
        name: "config",
        arity: -2,
        flags: &["admin", "noscript", "loading", "stale"],
        keys: NONE,
        group: "server",
        summary: "Returns settings.",
        parse: parse_config,
    },
    Spec {
        name: "info",
        arity: -1,
        flags: &["loading", "stale"],
        keys: NONE,
        group: "server",
        summary: "Describes this node and its role in the cluster; INFO lease describes its lease.",
        parse: parse_info,
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
        name: "quit",
        arity: -1,
        flags: &["noscript", "loading", "stale", "fast", "no_auth"],
        keys: NONE,
        group: "connection",
        summary: "Closes the connection.",
        parse: |_| local(LocalCommand::Quit),
    },
    Spec {
        name: "leasehold.backup",
        arity: 1,
        flags: &["readonly", "admin", "noscript"],
        keys: NONE,
        group: "server",
        summary: "Streams the whole state in bulk strings; for `leasehold backup`.",
        parse: |_| Ok(Command::Backup),
    },
    Spec {
        name: "leasehold",
        arity: -2,
        flags: &["admin", "noscript", "stale"],
        keys: NONE,
        group: "server",
        summary: "Describes the cluster and changes its members; LEASEHOLD HELP lists the subcommands.",
        parse: parse_administer,
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
        name: "reset",
        arity: 1,
        flags: &["noscript", "loading", "stale", "fast", "no_auth"],
        keys: NONE,
        group: "connection",
        summary: "Logs out, drops the transaction and forgets the name and the version of the protocol.",
        parse: |_| local(LocalCommand::Reset),
    },
    Spec {
        name: "watch",
        arity: -2,
        flags: &["noscript", "loading", "stale", "fast"],
        keys: ALL,
        group: "transactions",
        summary: "Refused: optimistic locking is not supported.",
        parse: no_watch,
    },
    Spec {
        name: "unwatch",
        arity: 1,
        flags: &["noscript", "loading", "stale", "fast"],
        keys: NONE,
        group: "transactions",
        summary: "Refused: optimistic locking is not supported.",
        parse: no_watch,
    },
];
