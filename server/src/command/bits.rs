//! Commands about the bits of strings.

use super::parse::{Parsed, integer, read, syntax_error, word, write};
use super::table::{BITMAP, Spec};
use crate::keyspace::{BitRange, ReadCommand, StringRead, StringWrite, WriteCommand};
use crate::resp::{Arguments, MAX_BULK};

/// The number of bits of the longest value.
const MAX_BITS: u32 = 8 * MAX_BULK as u32;

pub(super) static COMMANDS: &[Spec] = &[
    BITMAP.spec(
        "setbit",
        4,
        &["write", "denyoom"],
        "Sets a bit of the value of a key and returns the old one.",
        parse_set_bit,
    ),
    BITMAP.spec("getbit", 3, &["readonly", "fast"], "Returns a bit of the value of a key.", |a| {
        read(ReadCommand::String(StringRead::Bit { key: a.get(1), bit: bit_number(a.peek(2))? }))
    }),
    BITMAP.spec(
        "bitcount",
        -2,
        &["readonly"],
        "Returns the number of bits of the value of a key that are 1.",
        parse_count,
    ),
    BITMAP.spec("bitpos", -3, &["readonly"], "Returns the place of the first bit with a value.", parse_find),
];

fn bit_number(argument: &[u8]) -> Result<u32, String> {
    let number = integer(argument).ok().and_then(|number| u32::try_from(number).ok());
    let number = number.filter(|number| *number < MAX_BITS);
    number.ok_or_else(|| "ERR bit offset is not an integer or out of range".to_owned())
}

fn parse_set_bit(arguments: &Arguments<'_>) -> Parsed {
    let bit = bit_number(arguments.peek(2))?;
    let value = match arguments.peek(3) {
        b"0" => false,
        b"1" => true,
        _ => return Err("ERR bit is not an integer or out of range".to_owned()),
    };
    write(WriteCommand::String(StringWrite::SetBit { key: arguments.get(1), bit, value }))
}

fn parse_count(arguments: &Arguments<'_>) -> Parsed {
    let part = match arguments.len() {
        2 => None,
        4 | 5 => Some(parse_part(arguments, 2)?),
        _ => return Err(syntax_error()),
    };
    read(ReadCommand::String(StringRead::CountBits { key: arguments.get(1), part }))
}

fn parse_find(arguments: &Arguments<'_>) -> Parsed {
    let value = match integer(arguments.peek(2))? {
        0 => false,
        1 => true,
        _ => return Err("ERR The bit argument must be 1 or 0.".to_owned()),
    };
    let part = match arguments.len() {
        3 => BitRange { first: 0, last: None, in_bits: false },
        4..=6 => parse_part(arguments, 3)?,
        _ => return Err(syntax_error()),
    };
    read(ReadCommand::String(StringRead::FindBit { key: arguments.get(1), value, part }))
}

/// Parses a first and a last number and their unit, of which the last two may be missing.
fn parse_part(arguments: &Arguments<'_>, position: usize) -> Result<BitRange, String> {
    let first = integer(arguments.peek(position))?;
    let in_bits = match word(arguments, position + 2).as_slice() {
        b"BYTE" => false,
        b"BIT" => true,
        b"" if arguments.len() <= position + 2 => false,
        _ => return Err(syntax_error()),
    };
    let has_last = arguments.len() > position + 1;
    let last = has_last.then(|| integer(arguments.peek(position + 1))).transpose()?;
    Ok(BitRange { first, last, in_bits })
}
