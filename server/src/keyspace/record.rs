//! The records of the state, on disk, in snapshots and in backups.
//!
//! The first byte of a record's key is its kind:
//!
//! | kind | rest of the key | value |
//! | --- | --- | --- |
//! | 0, plain | the key | a string without a deadline, written before the first entry of version 2 |
//! | 1, time | | the log time, from the first entry of version 2 on |
//! | 2, string | the key | head, the string |
//! | 3, hash | the key | head, the number of the hash |
//! | 4, field | the number of the hash, the field | the value of the field |
//!
//! A head is the index of the last change and the deadline or 0, eight bytes each. A number of a hash is the index of the
//! entry that made it, eight bytes, and its place in that entry, four bytes. Numbers are in little-endian order, and in
//! big-endian order in a key.

use super::value::{Data, Deadline, HashId, Value};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use leasehold_core::Index;
use leasehold_node::ports::{Change, InvalidRecord, Record};

const PLAIN: u8 = 0;
const TIME: u8 = 1;
const STRING: u8 = 2;
const HASH: u8 = 3;
pub(super) const FIELD: u8 = 4;

const ID_BYTES: usize = 12;

/// The index of the last change, and the deadline.
pub(super) type Head = (Index, Option<Deadline>);

/// A record, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Time(u64),
    String { key: Bytes, head: Head, value: Bytes },
    Hash { key: Bytes, head: Head, id: HashId },
    Field { id: HashId, field: Bytes, value: Bytes },
}

/// The kind of record that a key has, besides the fields of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    /// Returns the kind of record of a value.
    pub(super) fn of(value: &Value) -> Kind {
        match value.data {
            Data::String(_) if value.changed == 0 => Kind(PLAIN),
            Data::String(_) => Kind(STRING),
            Data::Hash(_) => Kind(HASH),
        }
    }

    /// Returns the change that deletes the record of this kind of a key.
    pub(super) fn delete(self, key: &[u8]) -> Change {
        Change::Delete(prefixed(self.0, key))
    }
}

/// Returns the record of a key, without the fields of a hash.
pub(super) fn encode(key: &[u8], value: &Value) -> Record {
    let Kind(kind) = Kind::of(value);
    let encoded = match &value.data {
        Data::String(string) if kind == PLAIN => string.clone(),
        Data::String(string) => {
            let mut encoded = head((value.changed, value.deadline), string.len());
            encoded.put_slice(string);
            encoded.freeze()
        }
        Data::Hash(hash) => return encode_hash(key, (value.changed, value.deadline), hash.id),
    };
    Record { key: prefixed(kind, key), value: encoded }
}

/// Returns the record of a hash, without its fields.
pub(super) fn encode_hash(key: &[u8], of: Head, id: HashId) -> Record {
    let mut encoded = head(of, ID_BYTES);
    encoded.put_u64_le(id.0);
    encoded.put_u32_le(id.1);
    Record { key: prefixed(HASH, key), value: encoded.freeze() }
}

/// Returns the record of the log time.
pub(super) fn encode_time(log_time: u64) -> Record {
    Record { key: Bytes::from_static(&[TIME]), value: Bytes::copy_from_slice(&log_time.to_le_bytes()) }
}

/// Returns the record of a field.
pub(super) fn encode_field(id: HashId, field: &[u8], value: Bytes) -> Record {
    Record { key: field_key(id, field), value }
}

/// Returns the change that deletes the record of a field.
pub(super) fn delete_field(id: HashId, field: &[u8]) -> Change {
    Change::Delete(field_key(id, field))
}

/// Decodes a record.
pub(super) fn decode(record: Record) -> Result<Decoded, InvalidRecord> {
    let invalid = InvalidRecord { kind: record.key.first().copied().unwrap_or_default() };
    decode_valid(record).ok_or(invalid)
}

fn decode_valid(Record { mut key, mut value }: Record) -> Option<Decoded> {
    Some(match key.try_get_u8().ok()? {
        PLAIN => Decoded::String { key, head: (0, None), value },
        TIME if key.is_empty() => {
            let time = value.try_get_u64_le().ok()?;
            if value.is_empty() { Decoded::Time(time) } else { return None }
        }
        STRING => {
            let head = take_head(&mut value)?;
            Decoded::String { key, head, value }
        }
        HASH => {
            let head = take_head(&mut value)?;
            let id = HashId(value.try_get_u64_le().ok()?, value.try_get_u32_le().ok()?);
            if value.is_empty() { Decoded::Hash { key, head, id } } else { return None }
        }
        FIELD => {
            let id = HashId(key.try_get_u64().ok()?, key.try_get_u32().ok()?);
            Decoded::Field { id, field: key, value }
        }
        _ => return None,
    })
}

/// Takes a head off a value. The index of a last change is not 0.
fn take_head(value: &mut Bytes) -> Option<Head> {
    let (changed, deadline) = (value.try_get_u64_le().ok()?, value.try_get_u64_le().ok()?);
    (changed > 0).then_some((changed, Deadline::new(deadline)))
}

fn head((changed, deadline): Head, more: usize) -> BytesMut {
    let mut head = BytesMut::with_capacity(16 + more);
    head.put_u64_le(changed);
    head.put_u64_le(deadline.map_or(0, Deadline::get));
    head
}

fn prefixed(kind: u8, key: &[u8]) -> Bytes {
    [&[kind], key].concat().into()
}

fn field_key(id: HashId, field: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + ID_BYTES + field.len());
    key.put_u8(FIELD);
    key.put_u64(id.0);
    key.put_u32(id.1);
    key.put_slice(field);
    key.freeze()
}
