//! Commands about the node and the cluster.

use super::describe::parse_all;
use super::kinds::{Command, LocalCommand};
use super::parse::{Parsed, local};
use super::table::{SERVER, Spec};
use crate::resp::Arguments;

/// The most sections that `INFO` describes at once.
const MAX_INFO_SECTIONS: usize = 32;
/// The most arguments of `LEASEHOLD`, and the longest one, in bytes.
const MAX_ADMIN_ARGUMENTS: usize = 5;
const MAX_ADMIN_ARGUMENT: usize = 1024;

pub(super) static COMMANDS: &[Spec] = &[
    SERVER.spec(
        "info",
        -1,
        &["loading", "stale"],
        "Describes this node and its role in the cluster; INFO lease describes its lease.",
        parse_info,
    ),
    SERVER.spec("command", -1, &["loading", "stale"], "Describes the commands.", parse_all),
    SERVER.container("config", &["admin", "noscript", "loading", "stale"], "Returns and changes settings."),
    SERVER.spec(
        "leasehold",
        -2,
        &["admin", "noscript", "stale"],
        "Describes the cluster and changes its members; LEASEHOLD HELP lists the subcommands.",
        parse_administer,
    ),
    SERVER.spec(
        "leasehold.backup",
        1,
        &["readonly", "admin", "noscript"],
        "Streams the whole state in bulk strings; for `leasehold backup`.",
        |_| Ok(Command::Backup),
    ),
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
