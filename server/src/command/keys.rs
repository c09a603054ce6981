//! Commands about keys of any type.

use super::parse::{Parsed, check_keys, read, syntax_error, write};
use super::table::{ALL, NONE, Spec};
use crate::glob::MAX_PATTERN;
use crate::keyspace::{ReadCommand, WriteCommand};
use crate::resp::Arguments;

pub(super) static KEYS: &[Spec] = &[
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
];

fn parse_delete(arguments: &Arguments<'_>) -> Parsed {
    check_keys(arguments.len() - 1)?;
    write(WriteCommand::Delete(arguments.from(1).collect()))
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
        return Err(format!("ERR the pattern exceeds {MAX_PATTERN} bytes; use a shorter one"));
    }
    read(ReadCommand::Keys(pattern))
}
