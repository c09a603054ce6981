//! Commands about keys of any type.

use super::kinds::LocalCommand;
use super::parse::{NO_DATABASE, Parsed, check_keys, check_pattern, integer, local, read, syntax_error, word, write};
use super::table::{ALL, GENERIC, NONE, SERVER, Spec, TWO};
use crate::keyspace::{KeyRead, KeyWrite, ObjectProperty, ReadCommand, Scan, TypeFilter, WriteCommand};
use crate::resp::Arguments;

/// The number of elements that one call of a scan looks at, unless it says another.
const DEFAULT_COUNT: u64 = 10;

pub(super) static COMMANDS: &[Spec] = &[
    GENERIC.keys(ALL).spec(
        "del",
        -2,
        &["write"],
        "Deletes keys and returns the number of those that existed.",
        parse_delete,
    ),
    GENERIC.keys(ALL).spec("exists", -2, &["readonly", "fast"], "Returns the number of the keys that exist.", |a| {
        read(ReadCommand::Exists(a.from(1).collect()))
    }),
    GENERIC.keys(NONE).spec("keys", 2, &["readonly"], "Returns the keys that match a pattern.", parse_keys),
    SERVER.spec("dbsize", 1, &["readonly", "fast"], "Returns the number of keys.", |_| read(ReadCommand::Size)),
    SERVER.spec("flushall", -1, &["write"], "Deletes every key.", parse_flush),
    GENERIC.keys(ALL).spec(
        "unlink",
        -2,
        &["write", "fast"],
        "Deletes keys and returns the number of those that existed.",
        parse_delete,
    ),
    GENERIC.keys(ALL).spec("touch", -2, &["readonly", "fast"], "Returns the number of the keys that exist.", |a| {
        read(ReadCommand::Exists(a.from(1).collect()))
    }),
    GENERIC.spec("type", 2, &["readonly", "fast"], "Returns the type of the value of a key.", |a| {
        look(KeyRead::Type(a.get(1)))
    }),
    GENERIC.keys(TWO).spec("rename", 3, &["write"], "Gives a key another name.", |a| {
        change(KeyWrite::Rename { from: a.get(1), to: a.get(2), only_new: false })
    }),
    GENERIC.keys(TWO).spec("renamenx", 3, &["write", "fast"], "Gives a key another name that does not exist.", |a| {
        change(KeyWrite::Rename { from: a.get(1), to: a.get(2), only_new: true })
    }),
    GENERIC.keys(TWO).spec("copy", -3, &["write", "denyoom"], "Copies the value of a key to another key.", parse_copy),
    GENERIC
        .keys(NONE)
        .spec("randomkey", 1, &["readonly"], "Returns a random key.", |_| look(KeyRead::Random(fastrand::u64(..)))),
    GENERIC.container("object", &[], "Describes how a value is stored."),
    GENERIC.keys(NONE).spec(
        "scan",
        -2,
        &["readonly"],
        "Returns some keys, and the cursor of the next ones.",
        parse_scan_keys,
    ),
    SERVER.spec("flushdb", -1, &["write"], "Deletes every key.", parse_flush),
];

pub(super) static OBJECT: &[Spec] = &[
    GENERIC.keys((2, 2, 1)).spec(
        "object|encoding",
        3,
        &["readonly"],
        "Returns the encoding that Redis would choose for a value.",
        |a| parse_object(a, ObjectProperty::Encoding),
    ),
    GENERIC.keys((2, 2, 1)).spec(
        "object|freq",
        3,
        &["readonly"],
        "Refused: how often a key is used is not counted.",
        |a| parse_object(a, ObjectProperty::Frequency),
    ),
    GENERIC.keys(NONE).spec("object|help", 2, &["loading", "stale"], "Lists the subcommands.", |_| {
        local(LocalCommand::Help("object"))
    }),
    GENERIC.keys((2, 2, 1)).spec(
        "object|idletime",
        3,
        &["readonly"],
        "Returns 0: when a key was used is not recorded.",
        |a| parse_object(a, ObjectProperty::IdleTime),
    ),
    GENERIC.keys((2, 2, 1)).spec(
        "object|refcount",
        3,
        &["readonly"],
        "Returns the number of references that Redis would count.",
        |a| parse_object(a, ObjectProperty::References),
    ),
];

fn parse_delete(arguments: &Arguments<'_>) -> Parsed {
    check_keys(arguments.len() - 1)?;
    write(WriteCommand::Delete(arguments.from(1).collect()))
}

fn parse_flush(arguments: &Arguments<'_>) -> Parsed {
    match word(arguments, 1).as_slice() {
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
        match word(arguments, position).as_slice() {
            b"REPLACE" => replace = true,
            b"DB" if position + 1 < arguments.len() => {
                position += 1;
                if integer(arguments.peek(position))? != 0 {
                    return Err(NO_DATABASE.to_owned());
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
        let option = word(arguments, position);
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
