//! Commands about strings.

use super::expiry::Unit;
use super::parse::{Parsed, check_keys, integer, read, syntax_error, word, write, wrong_arity};
use super::table::{ALL, PAIRS, STRING, Spec};
use crate::keyspace::{NewExpiry, ReadCommand, SetCommand, SetCondition, StringRead, StringWrite, WriteCommand};
use crate::resp::Arguments;
use bytes::Bytes;

pub(super) static COMMANDS: &[Spec] = &[
    STRING.spec("get", 2, &["readonly", "fast"], "Returns the value of a key.", |a| read(ReadCommand::Get(a.get(1)))),
    STRING.spec(
        "set",
        -3,
        &["write", "denyoom"],
        "Sets the value of a key; NX, XX, IFEQ, IFNE: on a condition; EX, PX, EXAT, PXAT: with a deadline; \
         KEEPTTL: keeps it; GET: returns the old value.",
        parse_set,
    ),
    STRING.spec("incr", 2, &["write", "denyoom", "fast"], "Adds one to the integer value of a key.", |a| {
        write(WriteCommand::Add { key: a.get(1), amount: 1 })
    }),
    STRING.keys(PAIRS).spec("mset", -3, &["write", "denyoom"], "Sets the values of several keys at once.", |a| {
        write(WriteCommand::SetAll(parse_pairs(a, "mset")?))
    }),
    STRING.keys(ALL).spec(
        "mget",
        -2,
        &["readonly", "fast"],
        "Returns the values of several keys at one moment.",
        |a| read(ReadCommand::Mget(a.from(1).collect())),
    ),
    STRING.spec("incrby", 3, &["write", "denyoom", "fast"], "Adds to the integer value of a key.", |a| {
        parse_add(a, false)
    }),
    STRING.spec("decr", 2, &["write", "denyoom", "fast"], "Subtracts one from the integer value of a key.", |a| {
        write(WriteCommand::Add { key: a.get(1), amount: -1 })
    }),
    STRING.spec("decrby", 3, &["write", "denyoom", "fast"], "Subtracts from the integer value of a key.", |a| {
        parse_add(a, true)
    }),
    STRING.spec(
        "append",
        3,
        &["write", "denyoom", "fast"],
        "Appends to the value of a key and returns its length.",
        |a| write(WriteCommand::Append { key: a.get(1), suffix: a.get(2) }),
    ),
    STRING.spec("strlen", 2, &["readonly", "fast"], "Returns the length of the value of a key.", |a| {
        read(ReadCommand::Strlen(a.get(1)))
    }),
    STRING.spec("setnx", 3, &["write", "denyoom", "fast"], "Sets the value of a key that has none.", |a| {
        change(StringWrite::SetNew { key: a.get(1), value: a.get(2) })
    }),
    STRING.spec("getset", 3, &["write", "denyoom", "fast"], "Sets the value of a key and returns the old one.", |a| {
        write(WriteCommand::Set(SetCommand { get_old: true, ..SetCommand::new(a.get(1), a.get(2)) }))
    }),
    STRING.spec("getdel", 2, &["write", "fast"], "Deletes a key and returns its value.", |a| {
        change(StringWrite::GetAndDelete(a.get(1)))
    }),
    STRING.spec("getrange", 4, &["readonly"], "Returns a part of the value of a key.", parse_range),
    STRING.spec("substr", 4, &["readonly"], "Returns a part of the value of a key.", parse_range),
    STRING.spec(
        "setrange",
        4,
        &["write", "denyoom"],
        "Overwrites a part of the value of a key and returns its length.",
        parse_set_range,
    ),
    STRING.keys(PAIRS).spec(
        "msetnx",
        -3,
        &["write", "denyoom"],
        "Sets the values of several keys at once, if none of them exists.",
        |a| change(StringWrite::SetAllNew(parse_pairs(a, "msetnx")?)),
    ),
    STRING.spec("incrbyfloat", 3, &["write", "denyoom", "fast"], "Adds to the decimal value of a key.", |a| {
        change(StringWrite::AddDecimal { key: a.get(1), amount: a.get(2) })
    }),
];

fn change(command: StringWrite) -> Parsed {
    write(WriteCommand::String(command))
}

fn parse_range(arguments: &Arguments<'_>) -> Parsed {
    let (first, last) = (integer(arguments.peek(2))?, integer(arguments.peek(3))?);
    read(ReadCommand::String(StringRead::Part { key: arguments.get(1), first, last }))
}

fn parse_set_range(arguments: &Arguments<'_>) -> Parsed {
    let first = integer(arguments.peek(2))?;
    if first < 0 {
        return Err("ERR offset is out of range".to_owned());
    }
    // A larger number is an error too, unless there are no bytes to write.
    let first = u32::try_from(first).unwrap_or(u32::MAX);
    change(StringWrite::SetPart { key: arguments.get(1), first, bytes: arguments.get(3) })
}

/// Parses `SET`.
fn parse_set(arguments: &Arguments<'_>) -> Parsed {
    let mut set = SetCommand::new(arguments.get(1), arguments.get(2));
    let mut expiry = None;
    let mut position = 3;
    while position < arguments.len() {
        let has_next = position + 1 < arguments.len();
        let is_free = set.condition == SetCondition::Always;
        match word(arguments, position).as_slice() {
            b"NX" if is_free || set.condition == SetCondition::Missing => set.condition = SetCondition::Missing,
            b"XX" if is_free || set.condition == SetCondition::Exists => set.condition = SetCondition::Exists,
            b"IFEQ" if is_free && has_next => {
                position += 1;
                set.condition = SetCondition::Equals(arguments.get(position));
            }
            b"IFNE" if is_free && has_next => {
                position += 1;
                set.condition = SetCondition::Differs(arguments.get(position));
            }
            b"GET" => set.get_old = true,
            b"KEEPTTL" if expiry.is_none() => set.expiry = NewExpiry::Keep,
            option => {
                let unit = Unit::again(option, expiry).filter(|_| has_next && set.expiry == NewExpiry::None);
                position += 1;
                expiry = Some((unit.ok_or_else(syntax_error)?, position));
            }
        }
        position += 1;
    }
    // As in Redis, the number is checked after all options.
    if let Some((unit, position)) = expiry {
        set.expiry = NewExpiry::Dies(unit.parse(arguments.peek(position), "set")?);
    }
    write(WriteCommand::Set(set))
}

/// Parses the keys and values of `MSET` and `MSETNX`.
fn parse_pairs(arguments: &Arguments<'_>, command: &str) -> Result<Vec<(Bytes, Bytes)>, String> {
    if arguments.len().is_multiple_of(2) {
        return Err(wrong_arity(command));
    }
    check_keys(arguments.len() / 2)?;
    Ok((1..arguments.len()).step_by(2).map(|at| (arguments.get(at), arguments.get(at + 1))).collect())
}

/// Parses `INCRBY` and `DECRBY`.
fn parse_add(arguments: &Arguments<'_>, down: bool) -> Parsed {
    let amount = integer(arguments.peek(2))?;
    let amount =
        if down { amount.checked_neg().ok_or_else(|| "ERR decrement would overflow".to_owned())? } else { amount };
    write(WriteCommand::Add { key: arguments.get(1), amount })
}
