//! `COMMAND`, `ACL CAT` and `HELP`.

use super::client::number;
use crate::command::{CATEGORIES, DescribeCommand, ListFilter, Spec, all, commands, find, shown, subcommands};
use crate::glob::Pattern;
use crate::resp::ReplyBuffer;
use bytes::Bytes;

/// Executes `COMMAND`.
pub(super) fn execute(command: &DescribeCommand, out: &mut ReplyBuffer) {
    match command {
        DescribeCommand::Count => out.integer(number(commands().count() as u64)),
        DescribeCommand::All => {
            out.array(commands().count());
            commands().for_each(|spec| describe(spec, out));
        }
        DescribeCommand::Info(names) => {
            out.array(names.len());
            for name in names {
                match find(name) {
                    Some(spec) => describe(spec, out),
                    None => out.null_array(),
                }
            }
        }
        DescribeCommand::Docs(names) => {
            let chosen: Vec<_> = if names.is_empty() {
                commands().collect()
            } else {
                names.iter().filter_map(|name| find(name)).collect()
            };
            out.map(chosen.len());
            chosen.into_iter().for_each(|spec| document(spec, out));
        }
        DescribeCommand::List(filter) => {
            let names = list(filter);
            out.array(names.len());
            names.into_iter().for_each(|name| out.bulk(name));
        }
        DescribeCommand::GetKeys { command, with_flags } => match keys(command) {
            Err(error) => out.error(error),
            Ok((spec, positions)) => {
                out.array(positions.len());
                for position in positions {
                    if *with_flags {
                        out.array(2);
                        out.bulk(&command[position]);
                        statuses(key_flags(spec, command), out);
                    } else {
                        out.bulk(&command[position]);
                    }
                }
            }
        },
    }
}

fn statuses(names: &[&str], out: &mut ReplyBuffer) {
    out.set(names.len());
    names.iter().for_each(|name| out.status(name));
}

/// Encodes an element of `COMMAND INFO`.
fn describe(spec: &Spec, out: &mut ReplyBuffer) {
    out.array(10);
    out.bulk(spec.name);
    out.integer(spec.arity);
    statuses(spec.flags, out);
    for position in [spec.keys.0, spec.keys.1, spec.keys.2] {
        out.integer(position);
    }
    let categories: Vec<_> = spec.categories().map(|category| format!("@{category}")).collect();
    out.set(categories.len());
    categories.iter().for_each(|category| out.status(category));
    // The tips for clusters of many shards.
    out.array(0);
    describe_keys(spec, out);
    let subcommands = subcommands(spec.name);
    out.array(subcommands.len());
    subcommands.iter().for_each(|spec| describe(spec, out));
}

/// Encodes the key specification: the position of the first key, and from it those of the others.
fn describe_keys(spec: &Spec, out: &mut ReplyBuffer) {
    let (first, last, step) = spec.keys;
    if first == 0 {
        return out.array(0);
    }
    out.array(1);
    out.map(3);
    out.bulk("flags");
    statuses(spec.key_flags(), out);
    out.bulk("begin_search");
    numbers("index", &[("index", first)], out);
    out.bulk("find_keys");
    let last = if last < 0 { last } else { last - first };
    numbers("range", &[("lastkey", last), ("keystep", step), ("limit", 0)], out);
}

fn numbers(kind: &str, fields: &[(&str, i64)], out: &mut ReplyBuffer) {
    out.map(2);
    out.bulk("type");
    out.bulk(kind);
    out.bulk("spec");
    out.map(fields.len());
    for (field, value) in fields {
        out.bulk(field);
        out.integer(*value);
    }
}

/// Encodes an element of `COMMAND DOCS`.
fn document(spec: &Spec, out: &mut ReplyBuffer) {
    out.bulk(spec.name);
    let subcommands = subcommands(spec.name);
    out.map(if subcommands.is_empty() { 3 } else { 4 });
    for (field, value) in [("summary", spec.summary), ("since", spec.since()), ("group", spec.group)] {
        out.bulk(field);
        out.bulk(value);
    }
    if !subcommands.is_empty() {
        out.bulk("subcommands");
        out.map(subcommands.len());
        subcommands.iter().for_each(|spec| document(spec, out));
    }
}

fn list(filter: &ListFilter) -> Vec<&'static str> {
    let names = |chosen: &dyn Fn(&Spec) -> bool| all().filter(|spec| chosen(spec)).map(|spec| spec.name).collect();
    match filter {
        ListFilter::Module => Vec::new(),
        ListFilter::Category(category) => {
            let category = shown(category).to_ascii_lowercase();
            if CATEGORIES.contains(&&*category) { names(&|spec| spec.is_in(&category)) } else { Vec::new() }
        }
        ListFilter::Pattern(pattern) => {
            let pattern = Pattern::new(&pattern.to_ascii_lowercase());
            names(&|spec| pattern.matches(spec.name.as_bytes()))
        }
    }
}

/// Returns a command and the positions of its keys.
fn keys(command: &[Bytes]) -> Result<(&'static Spec, Vec<usize>), &'static str> {
    let name = command.first().map(|name| &name[..]).unwrap_or_default();
    let spec = find(name).ok_or("ERR Invalid command specified")?;
    let subcommand = command.get(1).and_then(|word| find(&[name, b"|", word].concat()));
    let spec = subcommand.unwrap_or(spec);
    if spec.keys.0 == 0 {
        return Err("ERR The command has no key arguments");
    }
    if !spec.takes(command.len()) {
        return Err("ERR Invalid number of arguments specified for command");
    }
    Ok((spec, spec.key_positions(command.len()).collect()))
}

/// Returns the flags of the keys of a command with these arguments.
fn key_flags(spec: &Spec, command: &[Bytes]) -> &'static [&'static str] {
    // Without GET, it does not depend on the old value.
    let gets = || command.iter().skip(3).any(|option| option.eq_ignore_ascii_case(b"get"));
    match spec.name {
        "set" if gets() => &["RW", "access", "update"],
        "set" => &["OW", "update"],
        _ => spec.key_flags(),
    }
}

/// Executes `ACL CAT`.
pub(super) fn categories(out: &mut ReplyBuffer) {
    out.array(CATEGORIES.len());
    CATEGORIES.iter().for_each(|category| out.bulk(category));
}

/// Executes `ACL CAT` with a category.
pub(super) fn category(category: &Bytes, out: &mut ReplyBuffer) {
    if !CATEGORIES.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(category)) {
        return out.error(&format!("ERR Unknown category '{}'", shown(category)));
    }
    let names = list(&ListFilter::Category(category.clone()));
    out.array(names.len());
    names.into_iter().for_each(|name| out.bulk(name));
}

/// Executes `HELP` of a command with subcommands.
pub(super) fn help(command: &str, out: &mut ReplyBuffer) {
    let subcommands = subcommands(command);
    out.array(1 + 2 * subcommands.len());
    out.status(&format!("{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", command.to_ascii_uppercase()));
    for spec in subcommands {
        out.status(&spec.name.split('|').nth(1).unwrap_or_default().to_ascii_uppercase());
        out.status(&format!("    {}", spec.summary));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_listed_too() {
        let named = |pattern: &'static str| list(&ListFilter::Pattern(Bytes::from_static(pattern.as_bytes())));
        assert!(["get", "client", "client|list"].iter().all(|name| named("*").contains(name)));
        assert_eq!(named("CLIENT|L*"), ["client|list"]);
    }
}
