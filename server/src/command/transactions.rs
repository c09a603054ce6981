//! Commands that start and end transactions.

use super::kinds::Command;
use super::parse::Parsed;
use super::table::{ALL, NONE, Spec};
use crate::resp::Arguments;

pub(super) static TRANSACTIONS: &[Spec] = &[
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

fn no_watch(_: &Arguments<'_>) -> Parsed {
    Err("ERR optimistic locking is not supported here; omit WATCH and UNWATCH: MULTI and EXEC are atomic without them"
        .to_owned())
}
