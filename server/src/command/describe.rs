//! `COMMAND` and its subcommands.

use super::kinds::LocalCommand;
use super::parse::{Parsed, check_pattern, local, syntax_error, word};
use super::subcommands::{DescribeCommand, ListFilter};
use super::table::{SERVER, Spec};
use crate::resp::Arguments;
use bytes::Bytes;

/// The most commands that are described at once.
const MAX_NAMES: usize = 512;

const ANYTIME: &[&str] = &["loading", "stale"];

pub(super) static COMMAND: &[Spec] = &[
    SERVER.spec("command|count", 2, ANYTIME, "Returns the number of commands.", |_| describe(DescribeCommand::Count)),
    SERVER.spec("command|docs", -2, ANYTIME, "Documents commands.", |a| {
        names(a).and_then(|names| describe(DescribeCommand::Docs(names)))
    }),
    SERVER.spec("command|getkeys", -4, ANYTIME, "Returns the keys of a command.", |a| parse_get_keys(a, false)),
    SERVER.spec("command|getkeysandflags", -4, ANYTIME, "Returns the keys of a command and their flags.", |a| {
        parse_get_keys(a, true)
    }),
    SERVER.spec("command|help", 2, ANYTIME, "Lists the subcommands.", |_| local(LocalCommand::Help("command"))),
    SERVER.spec("command|info", -2, ANYTIME, "Describes commands.", parse_info),
    SERVER.spec("command|list", -2, ANYTIME, "Lists the commands.", parse_list),
];

/// Parses `COMMAND` without a subcommand.
pub(super) fn parse_all(_: &Arguments<'_>) -> Parsed {
    describe(DescribeCommand::All)
}

fn describe(command: DescribeCommand) -> Parsed {
    local(LocalCommand::Describe(command))
}

fn names(arguments: &Arguments<'_>) -> Result<Vec<Bytes>, String> {
    if arguments.len() - 2 > MAX_NAMES {
        return Err(format!("ERR COMMAND describes at most {MAX_NAMES} commands at once; omit the names"));
    }
    Ok(arguments.from(2).collect())
}

fn parse_info(arguments: &Arguments<'_>) -> Parsed {
    let names = names(arguments)?;
    describe(if names.is_empty() { DescribeCommand::All } else { DescribeCommand::Info(names) })
}

fn parse_list(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len() == 2 {
        return describe(DescribeCommand::List(ListFilter::Pattern(Bytes::from_static(b"*"))));
    }
    if arguments.len() != 5 || word(arguments, 2) != b"FILTERBY" {
        return Err(syntax_error());
    }
    let value = arguments.get(4);
    check_pattern(&value)?;
    describe(DescribeCommand::List(match word(arguments, 3).as_slice() {
        b"MODULE" => ListFilter::Module,
        b"ACLCAT" => ListFilter::Category(value),
        b"PATTERN" => ListFilter::Pattern(value),
        _ => return Err(syntax_error()),
    }))
}

fn parse_get_keys(arguments: &Arguments<'_>, with_flags: bool) -> Parsed {
    describe(DescribeCommand::GetKeys { command: arguments.from(2).collect(), with_flags })
}
