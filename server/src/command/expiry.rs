//! Commands about the time at which keys die, and compare-and-delete.

use super::parse::{Parsed, integer, read, shown, syntax_error, word, write, wrong_arity};
use super::table::{GENERIC, STRING, Spec};
use crate::keyspace::{
    DeadlineForm, ExpireCondition, ExpiryWrite, NewExpiry, ReadCommand, SetCommand, SetCondition, When, WriteCommand,
};
use crate::resp::Arguments;

/// The longest time from now, in milliseconds: a number that clients can read is left for the deadline.
const MAX_MILLISECONDS_LEFT: i64 = i64::MAX - (1 << 43);

/// The unit and the origin in which a command gives a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
}

pub(super) static COMMANDS: &[Spec] = &[
    GENERIC.spec("expire", -3, &["write", "fast"], "Sets the time after which a key dies, in seconds.", |a| {
        parse_expire(a, Unit::Seconds, "expire")
    }),
    GENERIC.spec("pexpire", -3, &["write", "fast"], "Sets the time after which a key dies, in milliseconds.", |a| {
        parse_expire(a, Unit::Milliseconds, "pexpire")
    }),
    GENERIC.spec("expireat", -3, &["write", "fast"], "Sets the Unix time at which a key dies, in seconds.", |a| {
        parse_expire(a, Unit::UnixSeconds, "expireat")
    }),
    GENERIC.spec(
        "pexpireat",
        -3,
        &["write", "fast"],
        "Sets the Unix time at which a key dies, in milliseconds.",
        |a| parse_expire(a, Unit::UnixMilliseconds, "pexpireat"),
    ),
    GENERIC.spec("persist", 2, &["write", "fast"], "Removes the deadline of a key.", |a| {
        write(WriteCommand::Expiry(ExpiryWrite::Persist(a.get(1))))
    }),
    GENERIC.spec("ttl", 2, &["readonly", "fast"], "Returns the seconds until a key dies.", |a| {
        parse_deadline(a, DeadlineForm::SecondsLeft)
    }),
    GENERIC.spec("pttl", 2, &["readonly", "fast"], "Returns the milliseconds until a key dies.", |a| {
        parse_deadline(a, DeadlineForm::MillisecondsLeft)
    }),
    GENERIC.spec(
        "expiretime",
        2,
        &["readonly", "fast"],
        "Returns the Unix time at which a key dies, in seconds.",
        |a| parse_deadline(a, DeadlineForm::Seconds),
    ),
    GENERIC.spec(
        "pexpiretime",
        2,
        &["readonly", "fast"],
        "Returns the Unix time at which a key dies, in milliseconds.",
        |a| parse_deadline(a, DeadlineForm::Milliseconds),
    ),
    STRING.spec("setex", 4, &["write", "denyoom"], "Sets the value of a key that dies after so many seconds.", |a| {
        parse_setex(a, Unit::Seconds, "setex")
    }),
    STRING.spec(
        "psetex",
        4,
        &["write", "denyoom"],
        "Sets the value of a key that dies after so many milliseconds.",
        |a| parse_setex(a, Unit::Milliseconds, "psetex"),
    ),
    STRING.spec("getex", -2, &["write", "fast"], "Returns the value of a key and changes when it dies.", parse_getex),
    GENERIC.spec(
        "delex",
        -2,
        &["write", "fast"],
        "Deletes a key if its value is (IFEQ) or is not (IFNE) the given one.",
        |a| {
            let condition = match (a.len(), word(a, 2).as_slice()) {
                (2, _) => SetCondition::Always,
                (4, b"IFEQ") => SetCondition::Equals(a.get(3)),
                (4, b"IFNE") => SetCondition::Differs(a.get(3)),
                (3, _) => return Err(wrong_arity("delex")),
                _ => return Err(syntax_error()),
            };
            write(WriteCommand::DeleteIf { key: a.get(1), condition })
        },
    ),
    GENERIC.spec("delifeq", 3, &["write", "fast"], "Deletes a key if its value is the given one.", |a| {
        write(WriteCommand::DeleteIf { key: a.get(1), condition: SetCondition::Equals(a.get(2)) })
    }),
];

impl Unit {
    /// Returns the unit that an option names, in upper case.
    pub(super) fn of(option: &[u8]) -> Option<Unit> {
        match option {
            b"EX" => Some(Unit::Seconds),
            b"PX" => Some(Unit::Milliseconds),
            b"EXAT" => Some(Unit::UnixSeconds),
            b"PXAT" => Some(Unit::UnixMilliseconds),
            _ => None,
        }
    }

    /// Returns the unit that an option names. It may be given again, but not with another unit.
    pub(super) fn again(option: &[u8], former: Option<(Unit, usize)>) -> Option<Unit> {
        Unit::of(option).filter(|unit| former.is_none_or(|(former, _)| former == *unit))
    }

    /// Parses the deadline of a value that a command sets.
    pub(super) fn parse(self, argument: &[u8], command: &str) -> Result<When, String> {
        let number = integer(argument)?;
        if number <= 0 { Err(invalid(command)) } else { self.when(number, command) }
    }

    fn when(self, number: i64, command: &str) -> Result<When, String> {
        let milliseconds = match self {
            Unit::Seconds | Unit::UnixSeconds => number.checked_mul(1000),
            Unit::Milliseconds | Unit::UnixMilliseconds => Some(number),
        };
        let milliseconds = milliseconds.ok_or_else(|| invalid(command))?;
        match self {
            Unit::UnixSeconds | Unit::UnixMilliseconds => Ok(When::At(milliseconds)),
            Unit::Seconds | Unit::Milliseconds if milliseconds > MAX_MILLISECONDS_LEFT => Err(invalid(command)),
            Unit::Seconds | Unit::Milliseconds => Ok(When::In(milliseconds)),
        }
    }
}

fn invalid(command: &str) -> String {
    format!("ERR invalid expire time in '{command}' command")
}

fn parse_expire(arguments: &Arguments<'_>, unit: Unit, command: &str) -> Parsed {
    let (mut missing, mut exists, mut later, mut earlier) = (false, false, false, false);
    for position in 3..arguments.len() {
        let option = arguments.peek(position);
        match word(arguments, position).as_slice() {
            b"NX" => missing = true,
            b"XX" => exists = true,
            b"GT" => later = true,
            b"LT" => earlier = true,
            _ => return Err(format!("ERR Unsupported option {}", shown(option))),
        }
    }
    if missing && (exists || later || earlier) {
        return Err("ERR NX and XX, GT or LT options at the same time are not compatible".to_owned());
    }
    if later && earlier {
        return Err("ERR GT and LT options at the same time are not compatible".to_owned());
    }
    let condition = match (exists, later, earlier) {
        // A key without a deadline counts as the latest, so GT implies XX.
        (_, true, _) => ExpireCondition::Later,
        (true, _, true) => ExpireCondition::ExistsAndEarlier,
        (false, _, true) => ExpireCondition::Earlier,
        (true, _, false) => ExpireCondition::Exists,
        (false, _, false) if missing => ExpireCondition::Missing,
        (false, _, false) => ExpireCondition::Always,
    };
    let when = unit.when(integer(arguments.peek(2))?, command)?;
    write(WriteCommand::Expiry(ExpiryWrite::Expire { key: arguments.get(1), when, condition }))
}

fn parse_deadline(arguments: &Arguments<'_>, form: DeadlineForm) -> Parsed {
    read(ReadCommand::Deadline { key: arguments.get(1), form })
}

fn parse_setex(arguments: &Arguments<'_>, unit: Unit, command: &str) -> Parsed {
    let expiry = NewExpiry::Dies(unit.parse(arguments.peek(2), command)?);
    write(WriteCommand::Set(SetCommand { expiry, ..SetCommand::new(arguments.get(1), arguments.get(3)) }))
}

fn parse_getex(arguments: &Arguments<'_>) -> Parsed {
    let key = arguments.get(1);
    if arguments.len() == 2 {
        return read(ReadCommand::Get(key));
    }
    // As in Redis, an option may be repeated. The last number counts, and it is checked after all options.
    let (mut persists, mut expiry, mut position) = (false, None, 2);
    while position < arguments.len() {
        let option = word(arguments, position);
        if option == b"PERSIST" && expiry.is_none() {
            persists = true;
        } else {
            let unit = Unit::again(&option, expiry).filter(|_| !persists && position + 1 < arguments.len());
            position += 1;
            expiry = Some((unit.ok_or_else(syntax_error)?, position));
        }
        position += 1;
    }
    let expiry = match expiry {
        Some((unit, position)) => NewExpiry::Dies(unit.parse(arguments.peek(position), "getex")?),
        None => NewExpiry::None,
    };
    write(WriteCommand::Expiry(ExpiryWrite::GetAndExpire { key, expiry }))
}
