//! Commands about the node and the cluster.

use super::describe::parse_all;
use super::kinds::{Command, LocalCommand};
use super::parse::{Parsed, local, syntax_error};
use super::table::{NONE, Spec};
use crate::resp::Arguments;

/// The most sections that `INFO` describes at once.
const MAX_INFO_SECTIONS: usize = 32;
/// The most arguments of `LEASEHOLD`, and the longest one, in bytes.
const MAX_ADMIN_ARGUMENTS: usize = 5;
const MAX_ADMIN_ARGUMENT: usize = 1024;

pub(super) static SERVER: &[Spec] = &[
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
        name: "command",
        arity: -1,
        flags: &["loading", "stale"],
        keys: NONE,
        group: "server",
        summary: "Describes the commands.",
        parse: parse_all,
    },
    Spec {
        name: "config",
        arity: -2,
        flags: &["admin", "noscript", "loading", "stale"],
        keys: NONE,
        group: "server",
        summary: "Returns and changes settings.",
        parse: |_| Err(syntax_error()),
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
        name: "leasehold.backup",
        arity: 1,
        flags: &["readonly", "admin", "noscript"],
        keys: NONE,
        group: "server",
        summary: "Streams the whole state in bulk strings; for `leasehold backup`.",
        parse: |_| Ok(Command::Backup),
    },
];

fn parse_info(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len() - 1 > MAX_INFO_SECTIONS {
        return Err(format!("ERR INFO describes at most {MAX_INFO_SECTIONS} sections at once; request everything"));
    }
    local(LocalCommand::Info(arguments.from(1).collect()))
}

fn parse_administer(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len() > MAX_ADMIN_ARGUMENTS || arguments.from(1).any(|argument| argument.len() > MAX_ADMIN_ARGUMENT) {
        return Err("ERR the arguments of LEASEHOLD are too long; LEASEHOLD HELP lists the subcommands".to_owned());
    }
    Ok(Command::Administer(arguments.from(1).collect()))
}
