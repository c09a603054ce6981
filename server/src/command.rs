//! From the arguments of a request to a command.

mod kinds;
mod parse;
mod table;

pub use kinds::{Command, LocalCommand};
pub(crate) use parse::{shown, wrong_arity};
pub use table::{COMMANDS, Spec};

use crate::resp::Arguments;

impl Command {
    /// Parses a request. An unknown or incorrect one becomes a [`LocalCommand::Wrong`].
    pub fn parse(arguments: &Arguments<'_>) -> Command {
        let Some(spec) = table::find(arguments.peek(0)) else {
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
