//! Commands about keys of any type.

use super::kinds::LocalCommand;
use super::parse::{Parsed, check_keys, integer, local, read, syntax_error, write};
use super::table::{ALL, NONE, ONE, Spec, TWO, keyless};
use crate::glob::MAX_PATTERN;
use crate::keyspace::{KeyRead, KeyWrite, ObjectProperty, ReadCommand, Scan, TypeFilter, WriteCommand};
use crate::resp::Arguments;

/// The number of elements that one call of a scan looks at, unless it says another.
const DEFAULT_COUNT: u64 = 10;

pub(super) static KEYS: &[Spec] = &[
    Spec {
        name: "del",
        arity: -2,
        flags: &["write"],
        keys: ALL,
        group: "generic",
        summary: "Deletes keys and returns the number of those that existed.",
        parse: parse_delete,
    },
    Spec {
        name: "exists",
        arity: -2,
        flags: &["readonly", "fast"],
        keys: ALL,
        group: "generic",
        summary: "Returns the number of the keys that exist.",
        parse: |a| read(ReadCommand::Exists(a.from(1).collect())),
    },
    Spec {
        name: "keys",
        arity: 2,
        flags: &["readonly"],
        keys: NONE,
        group: "generic",
        summary: "Returns the keys that match a pattern.",
        parse: parse_keys,
    },
    Spec {
        name: "dbsize",
        arity: 1,
        flags: &["readonly", "fast"],
        keys: NONE,
        group: "server",
        summary: "Returns the number of keys.",
        parse: |_| read(ReadCommand::Size),
    },
    Spec {
        name: "flushall",
        arity: -1,
        flags: &["write"],
        keys: NONE,
        group: "server",
        summary: "Deletes every key.",
        parse: parse_flush,
    },
    Spec {
        name: "unlink",
        arity: -2,
        flags: &["write", "fast"],
        keys: ALL,
        group: "generic",
        summary: "Deletes keys and returns the number of those that existed.",
        parse: parse_delete,
    },
    Spec {
        name: "touch",
        arity: -2,
        flags: &["readonly", "fast"],
        keys: ALL,
        group: "generic",
        summary: "Returns the number of the keys that exist.",
        parse: |a| read(ReadCommand::Exists(a.from(1).collect())),
    },
    Spec {
        name: "type",
        arity: 2,
        flags: &["readonly", "fast"],
        keys: ONE,
        group: "generic",
        summary: "Returns the type of the value of a key.",
        parse: |a| look(KeyRead::Type(a.get(1))),
    },
    Spec {
        name: "rename",
        arity: 3,
        flags: &["write"],
        keys: TWO,
        group: "generic",
        summary: "Gives a key another name.",
        parse: |a| change(KeyWrite::Rename { from: a.get(1), to: a.get(2), only_new: false }),
    },
    Spec {
        name: "renamenx",
        arity: 3,
        flags: &["write", "fast"],
        keys: TWO,
        group: "generic",
        summary: "Gives a key another name that does not exist.",
        parse: |a| change(KeyWrite::Rename { from: a.get(1), to: a.get(2), only_new: true }),
    },
    Spec {
        name: "copy",
        arity: -3,
        flags: &["write", "denyoom"],
        keys: TWO,
        group: "generic",
        summary: "Copies the value of a key to another key.",
        parse: parse_copy,
    },
    Spec {
        name: "randomkey",
        arity: 1,
        flags: &["readonly"],
        keys: NONE,
        group: "generic",
        summary: "Returns a random key.",
        parse: |_| look(KeyRead::Random(fastrand::u64(..))),
    },
    Spec {
        name: "object",
        arity: -2,
        flags: &[],
        keys: NONE,
        group: "generic",
        summary: "Describes how a value is stored.",
        parse: |_| Err(syntax_error()),
    },
    Spec {
        name: "scan",
        arity: -2,
        flags: &["readonly"],
        keys: NONE,
        group: "generic",
        summary: "Returns some keys, and the cursor of the next ones.",
        parse: parse_scan_keys,
    },
    Spec {
        name: "flushdb",
        arity: -1,
        flags: &["write"],
        keys: NONE,
        group: "server",
        summary: "Deletes every key.",
        parse: parse_flush,
    },
];

pub(super) static OBJECT: &[Spec] = &[
    object("object|encoding", "Returns the encoding that Redis would choose for a value.", |a| {
        parse_object(a, ObjectProperty::Encoding)
    }),
    object("object|freq", "Refused: how often a key is used is not counted.", |a| {
        parse_object(a, ObjectProperty::Frequency)
    }),
    keyless("generic", "object|help", 2, &["loading", "stale"], "Lists the subcommands.", |_| {
        local(LocalCommand::Help("object"))
    }),
    object("object|idletime", "Returns 0: when a key was used is not recorded.", |a| {
        parse_object(a, ObjectProperty::IdleTime)
    }),
    object("object|refcount", "Returns the number of references that Redis would count.", |a| {
        parse_object(a, ObjectProperty::References)
    }),
];

const fn object(name: &'static str, summary: &'static str, parse: fn(&Arguments<'_>) -> Parsed) -> Spec {
    Spec { name, arity: 3, flags: &["readonly"], keys: (2, 2, 1), group: "generic", summary, parse }
}

fn parse_delete(arguments: &Arguments<'_>) -> Parsed {
    check_keys(arguments.len() - 1)?;
    write(WriteCommand::Delete(arguments.from(1).collect()))
}

fn parse_flush(arguments: &Arguments<'_>) -> Parsed {
    match arguments.peek(1).to_ascii_uppercase().as_slice() {
        b"" if arguments.len() == 1 => write(WriteCommand::Clear),
        b"ASYNC" | b"SYNC" if arguments.len() == 2 => write(WriteCommand::Clear),
        _ => Err(syntax_error()),
    }
}

fn parse_keys(arguments: &Arguments<'_>) -> Parsed {
    check_pattern(arguments.peek(1))?;
    read(ReadCommand::Keys(arguments.get(1)))
}

fn look(command: KeyRead) -> Parsed {
    read(ReadCommand::Key(command))
}

fn change(command: KeyWrite) -> Parsed {
    write(WriteCommand::Key(command))
}

fn parse_copy(arguments: &Arguments<'_>) -> Parsed {
    let (mut replace, mut position) = (false, 3);
    while position < arguments.len() {
        match arguments.peek(position).to_ascii_uppercase().as_slice() {
            b"REPLACE" => replace = true,
            b"DB" if position + 1 < arguments.len() => {
                position += 1;
                if integer(arguments.peek(position))? != 0 {
                    return Err("ERR DB index is out of range".to_owned());
                }
            }
            _ => return Err(syntax_error()),
        }
        position += 1;
    }
    let (from, to) = (arguments.get(1), arguments.get(2));
    if from == to {
        return Err("ERR source and destination objects are the same".to_owned());
    }
    change(KeyWrite::Copy { from, to, replace })
}

fn parse_object(arguments: &Arguments<'_>, property: ObjectProperty) -> Parsed {
    look(KeyRead::Object { key: arguments.get(2), property })
}

fn parse_scan_keys(arguments: &Arguments<'_>) -> Parsed {
    let mut only = None;
    let scan = parse_scan(arguments, 1, |option, value| {
        if option != b"TYPE" {
            return Err(syntax_error());
        }
        only = Some(match value.to_ascii_lowercase().as_slice() {
            b"string" => TypeFilter::String,
            b"hash" => TypeFilter::Hash,
            _ => TypeFilter::Other,
        });
        Ok(())
    })?;
    look(KeyRead::Scan { scan, only })
}

/// Parses the cursor and the options of a scan. `other` is given each option that only one of these commands has, in
/// upper case, and its value.
pub(super) fn parse_scan(
    arguments: &Arguments<'_>,
    position: usize,
    mut other: impl FnMut(&[u8], &[u8]) -> Result<(), String>,
) -> Result<Scan, String> {
    let cursor = parse_cursor(arguments.peek(position)).ok_or_else(|| "ERR invalid cursor".to_owned())?;
    let mut scan = Scan { cursor, count: DEFAULT_COUNT, pattern: None };
    for position in (position + 1..arguments.len()).step_by(2) {
        let option = arguments.peek(position).to_ascii_uppercase();
        if position + 1 == arguments.len() {
            return Err(syntax_error());
        }
        let value = arguments.peek(position + 1);
        match option.as_slice() {
            b"COUNT" => {
                let count = u64::try_from(integer(value)?).ok().filter(|count| *count > 0);
                scan.count = count.ok_or_else(syntax_error)?;
            }
            b"MATCH" => {
                check_pattern(value)?;
                scan.pattern = Some(arguments.get(position + 1));
            }
            option => other(option, value)?,
        }
    }
    Ok(scan)
}

/// Parses a cursor as C does.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return Some(0);
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    Some(if negative { number.wrapping_neg() } else { number })
}

fn check_pattern(pattern: &[u8]) -> Result<(), String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("ERR the pattern exceeds {MAX_PATTERN} bytes; use a shorter one"));
    }
    Ok(())
}
