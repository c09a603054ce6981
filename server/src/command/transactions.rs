//! Commands that start and end transactions.

use super::kinds::{Command, LocalCommand};
use super::parse::local;
use super::table::{ALL, Spec, TRANSACTION};

pub(super) static COMMANDS: &[Spec] = &[
    TRANSACTION.spec(
        "multi",
        1,
        &["noscript", "loading", "stale", "fast"],
        "Starts a transaction: the commands after it are queued.",
        |_| Ok(Command::Multi),
    ),
    TRANSACTION.spec(
        "exec",
        1,
        &["noscript", "loading", "stale"],
        "Executes the queued commands atomically and returns their replies.",
        |_| Ok(Command::Exec),
    ),
    TRANSACTION.spec(
        "discard",
        1,
        &["noscript", "loading", "stale", "fast"],
        "Drops the queued commands and ends the transaction.",
        |_| Ok(Command::Discard),
    ),
    TRANSACTION.keys(ALL).spec(
        "watch",
        -2,
        &["noscript", "loading", "stale", "fast"],
        "Lets EXEC execute nothing if one of the keys has changed.",
        |a| Ok(Command::Watch(a.from(1).collect())),
    ),
    TRANSACTION.spec("unwatch", 1, &["noscript", "loading", "stale", "fast"], "Forgets the watched keys.", |_| {
        local(LocalCommand::Unwatch)
    }),
];
