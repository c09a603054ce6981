//! Commands about the node and the cluster.

use super::kinds::{Command, LocalCommand};
use super::parse::{Parsed, local, shown, wrong_arity};
use super::table::{NONE, Spec};
use crate::resp::Arguments;

/// The most patterns of `CONFIG GET`, and the longest one, in bytes.
const MAX_CONFIG_PATTERNS: usize = 16;
const MAX_CONFIG_PATTERN: usize = 64;
/// The most names that `COMMAND` and `INFO` describe at once.
const MAX_COMMAND_NAMES: usize = 512;
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

fn parse_command(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len() - 1 > MAX_COMMAND_NAMES {
        return Err(format!("ERR COMMAND describes fewer than {MAX_COMMAND_NAMES} commands at once; omit the names"));
    }
    local(LocalCommand::Command(arguments.from(1).collect()))
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
    if arguments.len() - 2 > MAX_CONFIG_PATTERNS || arguments.from(2).any(|pattern| pattern.len() > MAX_CONFIG_PATTERN)
    {
        return Err(format!(
            "ERR CONFIG GET takes at most {MAX_CONFIG_PATTERNS} patterns of at most {MAX_CONFIG_PATTERN} bytes"
        ));
    }
    local(LocalCommand::ConfigGet(arguments.from(2).collect()))
}

fn parse_administer(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len() > MAX_ADMIN_ARGUMENTS || arguments.from(1).any(|argument| argument.len() > MAX_ADMIN_ARGUMENT) {
        return Err("ERR the arguments of LEASEHOLD are too long; LEASEHOLD HELP lists the subcommands".to_owned());
    }
    Ok(Command::Administer(arguments.from(1).collect()))
}
