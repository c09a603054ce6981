//! The records of a state in chunks of bounded size, as transfers and backups carry them.
//!
//! A chunk is a sequence of records: each key and value with its length before it, four bytes in little-endian order. The
//! highest bit of a key's length is set, unless the key's first byte is 0: then this byte is omitted.

use crate::ports::{Cursor, Record, State};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

/// The bit in the length of a key that marks a record of another kind than 0.
const OF_KIND: u32 = 1 << 31;

/// Consecutive records of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The records, encoded.
    pub records: Bytes,
    /// The number of records.
    pub count: u64,
    /// The cursor of the next chunk.
    pub cursor: Cursor,
    /// True if no records follow.
    pub is_last: bool,
}

/// Returns the chunk of a state at `cursor`. It is at most `max_bytes` long, or has one record.
pub fn read<S: State>(state: &S, mut cursor: Cursor, max_bytes: usize) -> Chunk {
    let (mut data, mut count) = (BytesMut::new(), 0);
    for (Record { key, value }, next) in state.records(cursor) {
        if count > 0 && data.len() + 8 + key.len() + value.len() > max_bytes {
            return Chunk { records: data.freeze(), count, cursor, is_last: false };
        }
        let (mark, key) = match key.split_first() {
            Some((0, rest)) => (0, rest),
            _ => (OF_KIND, &key[..]),
        };
        for (mark, part) in [(mark, key), (0, &value[..])] {
            let length = u32::try_from(part.len()).ok().filter(|length| length & OF_KIND == 0);
            data.put_u32_le(length.expect("keys and values are shorter than 2 GiB") | mark);
            data.put_slice(part);
        }
        (cursor, count) = (next, count + 1);
    }
    Chunk { records: data.freeze(), count, cursor, is_last: true }
}

/// Decodes the records of a chunk. They are copied: a record in use must not keep a whole chunk in memory. Returns `None`
/// for bytes that [`read`] does not produce.
pub fn decode(mut records: &[u8]) -> Option<Vec<Record>> {
    let mut decoded = Vec::new();
    while !records.is_empty() {
        let length = records.try_get_u32_le().ok()?;
        let key = part(&mut records, length & !OF_KIND)?;
        let key = match length & OF_KIND {
            0 => [&[0], key].concat().into(),
            _ if key.first() == Some(&0) => return None,
            _ => Bytes::copy_from_slice(key),
        };
        let length = records.try_get_u32_le().ok()?;
        decoded.push(Record { key, value: Bytes::copy_from_slice(part(&mut records, length)?) });
    }
    Some(decoded)
}

fn part<'a>(data: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (part, rest) = data.split_at_checked(length as usize)?;
    *data = rest;
    Some(part)
}

/// Returns the checksum of a chunk's records, which differs for the same bytes at another position.
pub fn checksum(position: u64, records: &[u8]) -> u64 {
    xxh3_64(records).rotate_left(1) ^ xxh3_64(&position.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &'static [u8], value: &'static [u8]) -> Record {
        Record { key: Bytes::from_static(key), value: Bytes::from_static(value) }
    }

    #[test]
    fn records_survive_encoding_and_damage_is_noticed() {
        let records = vec![record(b"a", b""), record(b"\x00\xff", b"value"), record(b"\0", b""), record(b"", b"w")];
        let Chunk { records: data, is_last, .. } = read(&records, Cursor::default(), 1000);
        assert!(is_last);
        assert_eq!(decode(&data), Some(records));
        for cut in 1..4 {
            assert_eq!(decode(&data[..data.len() - cut]), None);
        }
        assert_eq!(decode(&[255; 8]), None);
        let kind_0_with_its_kind = [1, 0, 0, 128, 0, 0, 0, 0, 0];
        assert_eq!(decode(&kind_0_with_its_kind), None, "each record has one encoding");
    }

    #[test]
    fn chunks_are_bounded_and_together_hold_every_record_once() {
        let records: Vec<Record> =
            vec![record(b"a", b"1"), record(b"long", &[7; 100]), record(b"b", b"2"), record(b"c", b"")];
        for max_bytes in [0, 10, 20, 110, 119, 1000] {
            let (mut cursor, mut found) = (Cursor::default(), Vec::new());
            loop {
                let chunk = read(&records, cursor, max_bytes);
                assert!(chunk.records.len() <= max_bytes || chunk.count == 1);
                found.extend(decode(&chunk.records).expect("whole"));
                cursor = chunk.cursor;
                if chunk.is_last {
                    break;
                }
            }
            assert_eq!(found, records, "{max_bytes}");
        }
        let none = read(&Vec::<Record>::new(), Cursor::default(), 10);
        assert!(none.is_last && none.count == 0 && none.records.is_empty());
    }
}
