//! From the arguments of a request to a command.

mod connection;
mod expiry;
mod keys;
mod kinds;
mod parse;
mod server;
mod strings;
mod table;
mod transactions;

pub use kinds::{Command, Credentials, LocalCommand};
pub(crate) use parse::{shown, wrong_arity};
pub use table::Spec;

use crate::resp::Arguments;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The commands, by group.
static GROUPS: &[&[Spec]] =
    &[strings::STRINGS, expiry::EXPIRY, keys::KEYS, transactions::TRANSACTIONS, connection::CONNECTION, server::SERVER];

/// The longest name of a command, in bytes.
const MAX_NAME: usize = 32;

/// Returns the descriptions of all commands.
pub fn commands() -> impl Iterator<Item = &'static Spec> {
    GROUPS.iter().copied().flatten()
}

/// Returns the description of the command with this name, in any case.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    static BY_NAME: LazyLock<HashMap<&'static [u8], &'static Spec>> =
        LazyLock::new(|| commands().map(|spec| (spec.name.as_bytes(), spec)).collect());
    let mut lower = [0; MAX_NAME];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    BY_NAME.get(&*lower).copied()
}

impl Command {
    /// Parses a request. An unknown or incorrect one becomes a [`LocalCommand::Wrong`].
    pub fn parse(arguments: &Arguments<'_>) -> Command {
        let Some(spec) = find(arguments.peek(0)) else {
            let name = arguments.peek(0);
            // No client sends these. What follows them may be commands that a web page has put into a request.
            if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
                return Command::Local(LocalCommand::Http);
            }
            return parse::wrong(parse::unknown(arguments));
        };
        if !spec.takes(arguments.len()) {
            return parse::wrong(wrong_arity(spec.name));
        }
        (spec.parse)(arguments).unwrap_or_else(parse::wrong)
    }
}

#[cfg(test)]
mod tests;
