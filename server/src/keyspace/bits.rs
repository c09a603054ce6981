//! The bits of a string. Bit 0 is the highest one of the first byte.

use std::iter;
use std::ops::Range;
use wincode::{SchemaRead, SchemaWrite};

/// A part of a string, by its first and last byte or bit. Negative numbers count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct BitRange {
    /// The first byte or bit.
    pub first: i64,
    /// The last one, or `None` for all that follow.
    pub last: Option<i64>,
    /// True if both numbers are those of bits.
    pub in_bits: bool,
}

/// Returns the indexes from `first` to `last` of something with `length` elements. Negative ones count from the end.
pub(super) fn range(first: i64, last: i64, length: usize) -> Range<usize> {
    if first < 0 && last < 0 && first > last { 0..0 } else { searched(first, last, length) }
}

/// As [`range`], but for a last index before the first one: if both are before the start, `BITPOS` searches the first
/// element, as in Redis, while `BITCOUNT` and `GETRANGE` select nothing.
fn searched(first: i64, last: i64, length: usize) -> Range<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let absolute = |index: i64| if index < 0 { (length + index.max(-length)).max(0) } else { index };
    let (first, end) = (absolute(first), absolute(last).min(length - 1) + 1);
    // Both are between 0 and the length.
    if first >= end { 0..0 } else { first as usize..end as usize }
}

/// Returns the value of a bit; those after the end are 0.
pub(super) fn get(bytes: &[u8], bit: u32) -> u8 {
    let byte = bytes.get((bit / 8) as usize).copied().unwrap_or(0);
    byte >> (7 - bit % 8) & 1
}

/// Sets a bit of a byte to 0 or 1.
pub(super) fn set(byte: &mut u8, bit: u32, value: bool) {
    let mask = 1 << (7 - bit % 8);
    if value { *byte |= mask } else { *byte &= !mask }
}

impl BitRange {
    /// Returns the bits that it selects by [`range`] or [`searched`].
    fn of(self, bytes: &[u8], range: fn(i64, i64, usize) -> Range<usize>) -> Range<usize> {
        let last = self.last.unwrap_or(-1);
        if self.in_bits {
            range(self.first, last, 8 * bytes.len())
        } else {
            let Range { start, end } = range(self.first, last, bytes.len());
            8 * start..8 * end
        }
    }
}

/// Returns the byte at an index, with its bits that are not in the range as `outside`. The range has a bit of it.
fn masked(bytes: &[u8], at: usize, bits: &Range<usize>, outside: bool) -> u8 {
    let (last, mut inside) = (bits.end - 1, 0xff);
    if at == bits.start / 8 {
        inside &= 0xff_u8 >> (bits.start % 8);
    }
    if at == last / 8 {
        inside &= 0xff_u8 << (7 - last % 8);
    }
    if outside { bytes[at] | !inside } else { bytes[at] & inside }
}

/// Returns the number of bits that are 1. Eight bytes at once are about twenty times as fast as one by one.
fn ones(bytes: &[u8]) -> i64 {
    let (words, rest) = bytes.as_chunks();
    let words: i64 = words.iter().map(|word| i64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    words + rest.iter().map(|byte| i64::from(byte.count_ones())).sum::<i64>()
}

/// Returns the number of bits that are 1.
pub(super) fn count(bytes: &[u8], part: Option<BitRange>) -> i64 {
    let bits = part.map_or(0..8 * bytes.len(), |part| part.of(bytes, range));
    if bits.is_empty() {
        return 0;
    }
    let (first, last) = (bits.start / 8, (bits.end - 1) / 8);
    let edge = |at| ones(&[masked(bytes, at, &bits, false)]);
    if first == last { edge(first) } else { edge(first) + ones(&bytes[first + 1..last]) + edge(last) }
}

/// Returns the place of the first bit with a value, or -1. A string is taken to be followed by zeros, unless a last byte
/// or bit is given.
pub(super) fn find(bytes: &[u8], value: bool, part: BitRange) -> i64 {
    let bits = part.of(bytes, searched);
    if bits.is_empty() {
        return -1;
    }
    let (first, end) = (bits.start / 8, bits.end.div_ceil(8));
    // Words of the other bit are skipped after the first byte, of which a part may not be in the range.
    let blank = [if value { 0 } else { 0xff }; 8];
    let blanks = bytes[first + 1..end].as_chunks().0.iter().take_while(|word| **word == blank).count();
    let found = iter::once(first).chain(first + 1 + 8 * blanks..end).find_map(|at| {
        let byte = masked(bytes, at, &bits, !value);
        let leading = if value { byte.leading_zeros() } else { byte.leading_ones() };
        (leading < 8).then(|| 8 * at + leading as usize)
    });
    match found {
        Some(bit) => i64::try_from(bit).unwrap_or(-1),
        None if !value && part.last.is_none() => i64::try_from(8 * bytes.len()).unwrap_or(-1),
        None => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn of(first: i64, last: Option<i64>, in_bits: bool) -> BitRange {
        BitRange { first, last, in_bits }
    }

    #[test]
    fn parts_are_those_of_redis() {
        for (first, last, expected) in [
            (0, -1, 0..5),
            (1, 3, 1..4),
            (-2, -1, 3..5),
            (-100, 100, 0..5),
            (3, 1, 0..0),
            (5, 9, 0..0),
            (0, -6, 0..1),
            (-1, -2, 0..0),
            (i64::MIN, i64::MAX, 0..5),
        ] {
            assert_eq!(range(first, last, 5), expected, "{first} {last}");
        }
        assert_eq!(range(0, -1, 0), 0..0);
        assert_eq!(range(-1, 0, 0), 0..0);
    }

    quickcheck! {
        fn bits_are_counted_and_found_in_any_part(bytes: Vec<u8>, first: i8, last: Option<i8>, in_bits: bool) -> bool {
            let part = of(first.into(), last.map(i64::from), in_bits);
            let (counted, bits) = (part.of(&bytes, range), part.of(&bytes, searched));
            let bit = |at: &usize| get(&bytes, *at as u32) == 1;
            let place = |at: Option<usize>| at.map_or(-1, |at| at as i64);
            let ones = counted.filter(bit).count() as i64;
            let one = bits.clone().find(bit);
            let after = (!bits.is_empty() && last.is_none()).then_some(8 * bytes.len());
            let zero = bits.clone().find(|at| !bit(at)).or(after);
            count(&bytes, Some(part)) == ones
                && find(&bytes, true, part) == place(one)
                && find(&bytes, false, part) == place(zero)
        }

        fn a_bit_that_is_set_is_read(byte: u8, bit: u8, value: bool) -> bool {
            let mut changed = byte;
            set(&mut changed, bit.into(), value);
            get(&[changed], u32::from(bit) % 8) == u8::from(value) && (changed ^ byte).count_ones() <= 1
        }
    }

    #[test]
    fn a_string_is_followed_by_zeros_unless_its_part_has_an_end() {
        assert_eq!(find(&[0xff], false, of(0, None, false)), 8);
        assert_eq!(find(&[0xff], false, of(0, Some(-1), false)), -1);
        assert_eq!(find(&[0x00], true, of(0, None, false)), -1);
        assert_eq!(find(&[], false, of(0, None, false)), -1);
        assert_eq!((get(&[0x80], 0), get(&[0x80], 1), get(&[0x80], 8)), (1, 0, 0));
    }

    #[test]
    fn a_search_of_nothing_before_the_start_is_of_the_first_byte() {
        // The last byte is before the first one, and both are clamped to the first.
        let part = of(-1, Some(-3), false);
        assert_eq!([find(&[0x0f], false, part), find(&[0x0f], true, part), count(&[0x0f], Some(part))], [0, 4, 0]);
        assert_eq!([find(&[0x0f; 3], false, part), find(&[], false, part)], [-1, -1]);
        assert_eq!(find(&[0x80], true, of(-9, Some(-12), true)), 0);
    }

    #[test]
    fn a_bit_is_found_after_any_number_of_others() {
        for bit in 0..200 {
            let mut bytes = [0; 25];
            set(&mut bytes[bit as usize / 8], bit, true);
            let inverse = bytes.map(|byte| !byte);
            let place = i64::from(bit);
            for (first, last, expected) in [(0, -1, place), (place, place, place), (place + 1, -1, -1)] {
                let part = of(first, Some(last), true);
                assert_eq!([find(&bytes, true, part), find(&inverse, false, part)], [expected; 2], "{bit} {first}");
                assert_eq!(count(&bytes, Some(part)), i64::from(expected >= 0), "{bit} {first}");
            }
        }
    }
}
