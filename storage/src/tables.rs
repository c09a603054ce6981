//! The tables, which are ranges of one ordered keyspace, and the encoding of their keys and values. A change here is a
//! new format.
//!
//! All tables share one keyspace so that they are flushed together: otherwise a table with few writes would keep old
//! journals from being deleted.

use crate::error::Fault;
use bytes::Bytes;
use fjall::Keyspace;
use leasehold_core::Index;
use leasehold_node::ports::{GroupId, Record};
use std::fmt;
use std::ops::Range;
use wincode::config::{Configuration, DefaultConfig};
use wincode::{SchemaRead, SchemaWrite};

/// The format that this release writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 6;
/// The format of a folder with several groups, which earlier releases must not open: they would serve the first one only.
pub(crate) const SEVERAL_GROUPS_FORMAT: u32 = 7;

/// The only keyspace.
pub(crate) const KEYSPACE: &str = "node";

/// The first byte of a key. The group follows it.
#[derive(Clone, Copy)]
pub(crate) enum Table {
    /// The log, by index.
    Log = 1,
    /// The state machine's records, by generation and key.
    State = 2,
    /// Single values, by the names below.
    Meta = 3,
}

/// The key of the newest commit's number and the folder's salt: the first item of each commit, and the only key without
/// a group.
pub(crate) const COMMIT: &[u8] = &[0];

/// The hard state.
pub(crate) const HARD_STATE: &str = "hard_state";
/// Index, term and configuration up to which the records include the log.
pub(crate) const APPLIED: &str = "applied";
/// Index and term just before the log's first entry. Older entries may still be stored.
pub(crate) const COMPACTED: &str = "compacted";
/// The generation of the state machine's records; 0 if absent. Records of other generations are staged, or are removed
/// step by step.
pub(crate) const GENERATION: &str = "generation";
/// The longest hold this node may have promised under.
pub(crate) const LONGEST_HOLD: &str = "longest_hold";
/// True if the log may be cut, and the number of the commit that says so.
pub(crate) const LOG_MAY_BE_CUT: &str = "log_may_be_cut";
/// The time for which the promises of the last process still bound when it stopped in an orderly way, if it did.
pub(crate) const ORDERLY_STOP: &str = "orderly_stop";

/// True once the group was removed for good. Nothing else is kept of it, and its number is never used again.
pub(crate) const REMOVED: &str = "removed";
/// The single values of a group that its removal deletes.
pub(crate) const DELETED_BY_REMOVAL: [&str; 7] =
    [HARD_STATE, APPLIED, COMPACTED, GENERATION, LONGEST_HOLD, LOG_MAY_BE_CUT, ORDERLY_STOP];

/// A record's key up to this length is part of its stored key. A longer one is stored next to its value, under a
/// number: fjall limits keys to 64 KiB, and a record's key has no such limit.
const MAX_INLINE_KEY_BYTES: usize = 4096;
/// The byte after the generation in the stored key of a record. Earlier releases know the first two only: they stored
/// records of kind 0, without the byte for the kind, and so does this release. Records of other kinds are stored with it.
const INLINE: u8 = 0;
const NUMBERED: u8 = 1;
const INLINE_OF_KIND: u8 = 2;
/// The bit in the length of a long key that marks a record of another kind than 0.
const OF_KIND: u32 = 1 << 31;

/// The longest field. A command with the longest key and value, 16 MiB each, fits. A damaged length cannot cause a
/// larger allocation.
const MAX_FIELD_BYTES: usize = 64 << 20;

pub(crate) type Encoding = Configuration<true, MAX_FIELD_BYTES>;
const ENCODING: Encoding = DefaultConfig::new().with_preallocation_size_limit::<MAX_FIELD_BYTES>();

/// Encodes a value for storage. `what` names it in errors.
pub(crate) fn encode<T: SchemaWrite<Encoding, Src = T>>(what: impl fmt::Display, value: &T) -> Result<Vec<u8>, Fault> {
    wincode::config::serialize(value, ENCODING)
        .map_err(|error| Fault::Refused(format!("{what} cannot be encoded: {error}")))
}

/// Decodes a stored value, which takes all the bytes. `what` names it in errors.
pub(crate) fn decode<T>(what: impl fmt::Display, bytes: &[u8]) -> Result<T, Fault>
where
    T: for<'de> SchemaRead<'de, Encoding, Dst = T>,
{
    wincode::config::deserialize_exact(bytes, ENCODING)
        .map_err(|error| Fault::Damaged(format!("{what} cannot be decoded: {error}")))
}

/// Reads a value of a group's meta table.
pub(crate) fn meta<T>(keyspace: &Keyspace, group: GroupId, name: &'static str) -> Result<Option<T>, Fault>
where
    T: for<'de> SchemaRead<'de, Encoding, Dst = T>,
{
    match keyspace.get(meta_key(group, name))? {
        Some(bytes) => decode(At::Meta(group, name), &bytes).map(Some),
        None => Ok(None),
    }
}

pub(crate) fn meta_key(group: GroupId, name: &'static str) -> Vec<u8> {
    let mut key = prefix(Table::Meta, group);
    key.extend_from_slice(name.as_bytes());
    key
}

pub(crate) fn log_key(group: GroupId, index: Index) -> [u8; 13] {
    let mut key = [0; 13];
    key[0] = Table::Log as u8;
    key[1..5].copy_from_slice(&group.to_be_bytes());
    // Big-endian, so that keys sort like indexes.
    key[5..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Returns the index in a key of the log.
pub(crate) fn index_of(group: GroupId, key: &[u8]) -> Result<Index, Fault> {
    let index = key.get(prefix(Table::Log, group).len()..).and_then(|index| index.try_into().ok());
    index
        .map(Index::from_be_bytes)
        .ok_or_else(|| Fault::Damaged(format!("a key of group {group} (table log) has no index")))
}

/// Returns the prefix of the stored keys of all records of a generation.
pub(crate) fn generation_keys(group: GroupId, generation: u64) -> Vec<u8> {
    let mut stored = prefix(Table::State, group);
    stored.extend_from_slice(&generation.to_be_bytes());
    stored
}

/// Returns the generation in the stored key of a record.
pub(crate) fn generation_of(group: GroupId, key: &[u8]) -> Result<u64, Fault> {
    let generation = key.get(prefix(Table::State, group).len()..).and_then(<[u8]>::first_chunk);
    let damaged = || Fault::Damaged(format!("a key of group {group} (table state) has no generation"));
    generation.copied().map(u64::from_be_bytes).ok_or_else(damaged)
}

/// Returns true and the key if it is stored with its kind, and false and the rest of it if its kind is 0.
fn split_kind(key: &[u8]) -> (bool, &[u8]) {
    match key.split_first() {
        Some((0, rest)) => (false, rest),
        _ => (true, key),
    }
}

/// Returns a key that was stored without its kind.
fn with_kind_0(key: &[u8]) -> Bytes {
    [&[0], key].concat().into()
}

/// Returns true if a record's key is part of its stored key.
pub(crate) fn is_inline(key: &[u8]) -> bool {
    split_kind(key).1.len() <= MAX_INLINE_KEY_BYTES
}

/// Returns the stored key of a record with a short key.
pub(crate) fn inline_key(group: GroupId, generation: u64, key: &[u8]) -> Vec<u8> {
    let (has_kind, key) = split_kind(key);
    let mut stored = generation_keys(group, generation);
    stored.push(if has_kind { INLINE_OF_KIND } else { INLINE });
    stored.extend_from_slice(key);
    stored
}

/// Returns the prefix of the stored keys of all records with long keys.
pub(crate) fn numbered_keys(group: GroupId, generation: u64) -> Vec<u8> {
    let mut stored = generation_keys(group, generation);
    stored.push(NUMBERED);
    stored
}

/// Returns the stored key of a record with a long key, given its number.
pub(crate) fn numbered_key(group: GroupId, generation: u64, number: u64) -> Vec<u8> {
    let mut stored = numbered_keys(group, generation);
    stored.extend_from_slice(&number.to_be_bytes());
    stored
}

/// Encodes a record with a long key: the key's length with a mark, the key, the value.
pub(crate) fn numbered_value(record: &Record) -> Result<Vec<u8>, Fault> {
    let too_long = || Fault::Refused("a record's key is longer than 2 GiB".to_owned());
    let (has_kind, key) = split_kind(&record.key);
    let length = u32::try_from(key.len()).ok().filter(|length| length & OF_KIND == 0).ok_or_else(too_long)?;
    let length = if has_kind { length | OF_KIND } else { length };
    let mut stored = Vec::with_capacity(4 + key.len() + record.value.len());
    stored.extend_from_slice(&length.to_le_bytes());
    stored.extend_from_slice(key);
    stored.extend_from_slice(&record.value);
    Ok(stored)
}

/// Decodes a record. Returns its number too if its key is long.
pub(crate) fn record(group: GroupId, key: &[u8], value: &[u8]) -> Result<(Option<u64>, Record), Fault> {
    let damaged = || Fault::Damaged(format!("a record of group {group} (table state) cannot be decoded"));
    let (kind, key) = key.get(generation_keys(group, 0).len()..).and_then(<[u8]>::split_first).ok_or_else(damaged)?;
    let inline = match *kind {
        INLINE => Some(with_kind_0(key)),
        INLINE_OF_KIND if key.first() != Some(&0) => Some(Bytes::copy_from_slice(key)),
        NUMBERED => None,
        _ => return Err(damaged()),
    };
    if let Some(key) = inline {
        return Ok((None, Record { key, value: Bytes::copy_from_slice(value) }));
    }
    let number = key.try_into().map(u64::from_be_bytes).map_err(|_| damaged())?;
    let (length, rest) = value.split_first_chunk().ok_or_else(damaged)?;
    let length = u32::from_le_bytes(*length);
    let (key, value) = rest.split_at_checked((length & !OF_KIND) as usize).ok_or_else(damaged)?;
    let key = if length & OF_KIND == 0 { with_kind_0(key) } else { Bytes::copy_from_slice(key) };
    Ok((Some(number), Record { key, value: Bytes::copy_from_slice(value) }))
}

/// Returns the prefix of every key of a group in a table.
pub(crate) fn prefix(table: Table, group: GroupId) -> Vec<u8> {
    let mut key = vec![table as u8];
    key.extend_from_slice(&group.to_be_bytes());
    key
}

/// Returns the range of all keys with this prefix. It has an end: no table's number is 255.
pub(crate) fn starting_with(prefix: Vec<u8>) -> Range<Vec<u8>> {
    let mut end = prefix.clone();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    prefix..end
}

/// A location in the folder, for error texts.
#[derive(Clone, Copy)]
pub(crate) enum At {
    Log(GroupId, Index),
    Meta(GroupId, &'static str),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Log(group, index) => write!(f, "entry {index} of group {group} (table log)"),
            At::Meta(group, name) => write!(f, "{name} of group {group} (table meta)"),
        }
    }
}
