//! Commands about hashes.

use super::keys::parse_scan;
use super::parse::{Parsed, check_keys, integer, read, syntax_error, word, write, wrong_arity};
use super::table::{HASH, Spec};
use crate::keyspace::{FieldsRead, FieldsWrite, HashRead, HashWrite, ReadCommand, WriteCommand};
use crate::resp::Arguments;

pub(super) static COMMANDS: &[Spec] = &[
    HASH.spec(
        "hset",
        -4,
        &["write", "denyoom", "fast"],
        "Sets fields of a hash and returns the number of new ones.",
        |a| parse_set(a, "hset", true),
    ),
    HASH.spec("hsetnx", 4, &["write", "denyoom", "fast"], "Sets a field of a hash that has no value.", |a| {
        change(a, FieldsWrite::SetNew { field: a.get(2), value: a.get(3) })
    }),
    HASH.spec("hget", 3, &["readonly", "fast"], "Returns the value of a field of a hash.", |a| {
        look(a, FieldsRead::Get(a.get(2)))
    }),
    HASH.spec("hmget", -3, &["readonly", "fast"], "Returns the values of several fields of a hash.", |a| {
        look(a, FieldsRead::GetMany(a.from(2).collect()))
    }),
    HASH.spec("hmset", -4, &["write", "denyoom", "fast"], "Sets fields of a hash.", |a| parse_set(a, "hmset", false)),
    HASH.spec("hgetall", 2, &["readonly"], "Returns all fields of a hash and their values.", |a| {
        look(a, FieldsRead::All)
    }),
    HASH.spec(
        "hdel",
        -3,
        &["write", "fast"],
        "Deletes fields of a hash and returns the number of those that existed.",
        parse_delete,
    ),
    HASH.spec("hexists", 3, &["readonly", "fast"], "Returns whether a field of a hash exists.", |a| {
        look(a, FieldsRead::Exists(a.get(2)))
    }),
    HASH.spec("hlen", 2, &["readonly", "fast"], "Returns the number of fields of a hash.", |a| {
        look(a, FieldsRead::Length)
    }),
    HASH.spec("hkeys", 2, &["readonly"], "Returns the names of all fields of a hash.", |a| look(a, FieldsRead::Names)),
    HASH.spec("hvals", 2, &["readonly"], "Returns the values of all fields of a hash.", |a| {
        look(a, FieldsRead::Values)
    }),
    HASH.spec("hincrby", 4, &["write", "denyoom", "fast"], "Adds to the integer value of a field of a hash.", |a| {
        let amount = integer(a.peek(3))?;
        change(a, FieldsWrite::Add { field: a.get(2), amount })
    }),
    HASH.spec(
        "hincrbyfloat",
        4,
        &["write", "denyoom", "fast"],
        "Adds to the decimal value of a field of a hash.",
        |a| change(a, FieldsWrite::AddDecimal { field: a.get(2), amount: a.get(3) }),
    ),
    HASH.spec("hstrlen", 3, &["readonly", "fast"], "Returns the length of the value of a field of a hash.", |a| {
        look(a, FieldsRead::ValueLength(a.get(2)))
    }),
    HASH.spec("hrandfield", -2, &["readonly"], "Returns random fields of a hash.", parse_random),
    HASH.spec(
        "hscan",
        -3,
        &["readonly"],
        "Returns some fields of a hash and their values, and the cursor of the next ones.",
        parse_scan_fields,
    ),
];

fn look(arguments: &Arguments<'_>, what: FieldsRead) -> Parsed {
    read(ReadCommand::Hash(HashRead { key: arguments.get(1), what }))
}

fn change(arguments: &Arguments<'_>, change: FieldsWrite) -> Parsed {
    write(WriteCommand::Hash(HashWrite { key: arguments.get(1), change }))
}

/// Parses `HSET` and `HMSET`.
fn parse_set(arguments: &Arguments<'_>, command: &str, counted: bool) -> Parsed {
    if !arguments.len().is_multiple_of(2) {
        return Err(wrong_arity(command));
    }
    check_keys(arguments.len() / 2 - 1)?;
    let fields = (2..arguments.len()).step_by(2).map(|at| (arguments.get(at), arguments.get(at + 1)));
    change(arguments, FieldsWrite::Set { fields: fields.collect(), counted })
}

fn parse_delete(arguments: &Arguments<'_>) -> Parsed {
    check_keys(arguments.len() - 2)?;
    change(arguments, FieldsWrite::Delete(arguments.from(2).collect()))
}

fn parse_random(arguments: &Arguments<'_>) -> Parsed {
    // The entry or the request has the seed, so that all nodes that execute it choose the same.
    let seed = fastrand::u64(..);
    if arguments.len() == 2 {
        return look(arguments, FieldsRead::Random { seed });
    }
    let count = integer(arguments.peek(2))?;
    if count == i64::MIN {
        let most = i64::MAX;
        return Err(format!("ERR value is out of range, value must between -{most} and {most}"));
    }
    let with_values = match (arguments.len(), word(arguments, 3).as_slice()) {
        (3, _) => false,
        (4, b"WITHVALUES") => true,
        _ => return Err(syntax_error()),
    };
    if with_values && count.unsigned_abs() > (i64::MAX / 2).unsigned_abs() {
        return Err("ERR value is out of range".to_owned());
    }
    look(arguments, FieldsRead::RandomMany { seed, count, with_values })
}

fn parse_scan_fields(arguments: &Arguments<'_>) -> Parsed {
    look(arguments, FieldsRead::Scan(parse_scan(arguments, 2, |_, _| Err(syntax_error()))?))
}
