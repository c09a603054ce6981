//! `CONFIG` and its subcommands.

use super::kinds::LocalCommand;
use super::parse::{Parsed, local, syntax_error};
use super::subcommands::ConfigCommand;
use super::table::{SERVER, Spec};
use crate::resp::Arguments;

/// The most settings of `CONFIG GET` and `CONFIG SET`, and the longest pattern or value, in bytes.
const MAX_SETTINGS: usize = 16;
const MAX_SETTING_BYTES: usize = 64;

const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];

pub(super) static CONFIG: &[Spec] = &[
    SERVER.spec("config|get", -3, ADMIN, "Returns settings.", parse_get),
    SERVER.spec("config|help", 2, &["loading", "stale"], "Lists the subcommands.", |_| {
        local(LocalCommand::Help("config"))
    }),
    SERVER.spec("config|resetstat", 2, ADMIN, "Sets the counts of commands and errors to zero.", |_| {
        local(LocalCommand::Config(ConfigCommand::ResetStatistics))
    }),
    SERVER.spec("config|rewrite", 2, ADMIN, "Refused: change the file of --config.", |_| {
        Err("ERR CONFIG REWRITE is not supported: a node does not write its own configuration; change the file of \
             --config"
            .to_owned())
    }),
    SERVER.spec("config|set", -4, ADMIN, "Changes settings until the node restarts.", parse_set),
];

fn check(arguments: &Arguments<'_>) -> Result<(), String> {
    if arguments.from(2).any(|argument| argument.len() > MAX_SETTING_BYTES) {
        return Err(format!("ERR a setting of CONFIG has at most {MAX_SETTING_BYTES} bytes"));
    }
    Ok(())
}

fn parse_get(arguments: &Arguments<'_>) -> Parsed {
    check(arguments)?;
    if arguments.len() - 2 > MAX_SETTINGS {
        return Err(format!("ERR CONFIG GET takes at most {MAX_SETTINGS} patterns; use fewer"));
    }
    local(LocalCommand::Config(ConfigCommand::Get(arguments.from(2).collect())))
}

fn parse_set(arguments: &Arguments<'_>) -> Parsed {
    if !arguments.len().is_multiple_of(2) {
        return Err(syntax_error());
    }
    check(arguments)?;
    if (arguments.len() - 2) / 2 > MAX_SETTINGS {
        return Err(format!("ERR CONFIG SET takes at most {MAX_SETTINGS} settings; use fewer"));
    }
    let pairs = (2..arguments.len()).step_by(2).map(|at| (arguments.get(at), arguments.get(at + 1)));
    local(LocalCommand::Config(ConfigCommand::Set(pairs.collect())))
}
