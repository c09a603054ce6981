//! From the arguments of a request to a command.

mod bits;
mod client;
mod cluster;
mod config;
mod connection;
mod describe;
mod details;
mod expiry;
mod hashes;
mod keys;
mod kinds;
mod missing;
mod monitoring;
mod parse;
mod refused;
mod server;
mod strings;
mod subcommands;
mod table;
mod transactions;

pub(crate) use details::CATEGORIES;
pub use kinds::{Command, Credentials, Fixed, LocalCommand, SlotSearch};
pub(crate) use parse::{shown, wrong_arity};
pub use subcommands::{
    ClientCommand, ClientFilter, ClusterCommand, ConfigCommand, DescribeCommand, ListFilter, ReplyMode, SlowlogCommand,
};
pub use table::Spec;

use crate::resp::Arguments;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The commands, by group.
static GROUPS: &[&[Spec]] = &[
    strings::COMMANDS,
    bits::COMMANDS,
    hashes::COMMANDS,
    expiry::COMMANDS,
    keys::COMMANDS,
    transactions::COMMANDS,
    connection::COMMANDS,
    cluster::COMMANDS,
    server::COMMANDS,
    monitoring::COMMANDS,
    refused::COMMANDS,
];

/// The commands that have subcommands. The names of these begin with that of the command: `client|list`.
static CONTAINERS: &[(&str, &[Spec])] = &[
    ("acl", refused::ACL),
    ("client", client::CLIENT),
    ("cluster", cluster::CLUSTER_COMMANDS),
    ("command", describe::COMMAND),
    ("config", config::CONFIG),
    ("function", refused::FUNCTION),
    ("latency", monitoring::LATENCY),
    ("memory", monitoring::MEMORY),
    ("module", refused::MODULE),
    ("object", keys::OBJECT),
    ("script", refused::SCRIPT),
    ("slowlog", monitoring::SLOWLOG),
];

/// The longest name of a command, in bytes.
const MAX_NAME: usize = 32;

/// A command of the table. Its number is its place in [`all`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) number: u16,
    pub(crate) spec: &'static Spec,
    subcommands: &'static [Spec],
    /// The number of the first subcommand.
    first: u16,
}

/// Returns the descriptions of all commands.
pub fn commands() -> impl Iterator<Item = &'static Spec> {
    GROUPS.iter().copied().flatten()
}

/// Returns the descriptions of all commands and of their subcommands.
pub(crate) fn all() -> impl Iterator<Item = &'static Spec> {
    commands().chain(CONTAINERS.iter().flat_map(|(_, subcommands)| *subcommands))
}

/// Returns the descriptions of the subcommands of a command.
pub(crate) fn subcommands(name: &str) -> &'static [Spec] {
    CONTAINERS.iter().find(|(container, _)| *container == name).map_or(&[], |(_, subcommands)| subcommands)
}

/// Returns the command with this name, in any case.
fn find_known(name: &[u8]) -> Option<Known> {
    static BY_NAME: LazyLock<HashMap<&'static [u8], Known>> = LazyLock::new(|| {
        let numbered = (0..).zip(all()).take(commands().count());
        let number_of = |wanted: &Spec| all().position(|spec| spec.name == wanted.name).unwrap_or_default() as u16;
        numbered
            .map(|(number, spec)| {
                let subcommands = subcommands(spec.name);
                let first = subcommands.first().map_or(0, number_of);
                (spec.name.as_bytes(), Known { number, spec, subcommands, first })
            })
            .collect()
    });
    let mut lower = [0; MAX_NAME];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    BY_NAME.get(&*lower).copied()
}

impl Known {
    /// Returns the subcommand with this name, in any case.
    fn subcommand(self, name: &[u8]) -> Option<Known> {
        let is_it = |spec: &Spec| {
            let own = spec.name.split('|').nth(1).unwrap_or_default();
            own.as_bytes().eq_ignore_ascii_case(name)
        };
        let (number, spec) = (self.first..).zip(self.subcommands).find(|(_, spec)| is_it(spec))?;
        Some(Known { number, spec, subcommands: &[], first: 0 })
    }
}

/// Returns the description of the command with this name, in any case; `client|list` is a subcommand.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    match name.iter().position(|byte| *byte == b'|') {
        None => find_known(name).map(|known| known.spec),
        Some(at) => find_known(&name[..at])?.subcommand(&name[at + 1..]).map(|known| known.spec),
    }
}

impl Command {
    /// Parses a request. An unknown one or one with a wrong number of arguments becomes a [`LocalCommand::Rejected`], and
    /// any other incorrect request a [`LocalCommand::Wrong`].
    pub fn parse(arguments: &Arguments<'_>) -> Command {
        Command::recognize(arguments).1
    }

    /// Returns the command for a request that was read to its end and dropped.
    pub(crate) fn refused(name: &[u8], reason: String) -> Command {
        if name.eq_ignore_ascii_case(b"watch") { Command::AbortWatch(reason) } else { parse::rejected(reason) }
    }

    /// Parses a request, and returns which command of the table it is too.
    pub(crate) fn recognize(arguments: &Arguments<'_>) -> (Option<Known>, Command) {
        let Some(mut known) = find_known(arguments.peek(0)) else {
            let name = arguments.peek(0);
            // No client sends these. What follows them may be commands that a web page has put into a request.
            if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
                return (None, Command::Local(LocalCommand::Http));
            }
            return (None, parse::rejected(parse::unknown(arguments)));
        };
        if !known.subcommands.is_empty() && arguments.len() > 1 {
            match known.subcommand(arguments.peek(1)) {
                Some(subcommand) => known = subcommand,
                None => {
                    let error = parse::unknown_subcommand(known.spec.name, arguments.peek(1));
                    return (Some(known), parse::rejected(error));
                }
            }
        }
        if !known.spec.takes(arguments.len()) {
            let error = wrong_arity(known.spec.name);
            let is_exec = known.spec.name == "exec";
            return (Some(known), if is_exec { Command::AbortExec(error) } else { parse::rejected(error) });
        }
        (Some(known), (known.spec.parse)(arguments).unwrap_or_else(parse::wrong))
    }
}

#[cfg(test)]
mod tests;
