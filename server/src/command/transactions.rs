//! Commands that start and end transactions.

use super::kinds::{Command, LocalCommand};
use super::parse::local;
use super::table::{ALL, NONE, Spec};

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
        summary: "Lets EXEC execute nothing if one of the keys has changed.",
        parse: |a| Ok(Command::Watch(a.from(1).collect())),
    },
    Spec {
        name: "unwatch",
        arity: 1,
        flags: &["noscript", "loading", "stale", "fast"],
        keys: NONE,
        group: "transactions",
        summary: "Forgets the watched keys.",
        parse: |_| local(LocalCommand::Unwatch),
    },
];
