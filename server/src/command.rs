//! From the arguments of a request to a command.

mod kinds;
mod parse;
mod table;

pub use kinds::{Command, Credentials, LocalCommand};
pub(crate) use parse::{shown, wrong_arity};
pub use table::{COMMANDS, Spec};

use crate::resp::Arguments;

impl Command {
    /// Parses a request. An unknown or incorrect one becomes a [`LocalCommand::Wrong`].
    pub fn parse(arguments: &Arguments<'_>) -> Command {
        let Some(spec) = table::find(arguments.peek(0)) else {
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
