//! The tables, which are ranges of one ordered key space, and how values are encoded in them. A change here is a new
//! format.
//!
//! One key space and not one for each table, so that all of them are flushed together: a journal is then never kept for
//! the sake of a table that is hardly written.

use crate::error::Fault;
use bytes::Bytes;
use fjall::Keyspace;
use leasehold_core::Index;
use leasehold_node::ports::{GroupId, Record};
use std::fmt;
use std::ops::Range;
use wincode::config::{Configuration, DefaultConfig};
use wincode::{SchemaRead, SchemaWrite};

/// The format that this release writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 2;

/// The only keyspace.
pub(crate) const KEYSPACE: &str = "node";

/// The first byte of a key; the rest starts with the group.
#[derive(Clone, Copy)]
pub(crate) enum Table {
    /// The log, by index.
    Log = 1,
    /// The state machine's records.
    State = 2,
    /// One value each, under the names below.
    Meta = 3,
}

/// The number of the newest commit and the folder's salt: written first in each commit, and the only key of no group.
pub(crate) const COMMIT: &[u8] = &[0];

/// The hard state.
pub(crate) const HARD_STATE: &str = "hard_state";
/// Index, term and configuration that the records include.
pub(crate) const APPLIED: &str = "applied";
/// Index and term just before the log's first entry. Older entries may still be there.
pub(crate) const COMPACTED: &str = "compacted";
/// The longest hold promised under.
pub(crate) const LONGEST_HOLD: &str = "longest_hold";

/// A record's key up to this length is part of the key it is stored under. A longer one is stored with its value, under a
/// number: fjall's keys end at 64 KiB, ours do not.
pub(crate) const LONGEST_INLINE_KEY: usize = 4096;
/// What comes after the group in the key of a record.
const INLINE: u8 = 0;
const NUMBERED: u8 = 1;

/// No one field may be longer. A command with the longest key and value, 16 MiB each, fits with room to spare; a length
/// that a damaged disk made up does not get this much memory many times over.
const LONGEST_FIELD: usize = 64 << 20;

pub(crate) type Encoding = Configuration<true, LONGEST_FIELD>;
const ENCODING: Encoding = DefaultConfig::new().with_preallocation_size_limit::<LONGEST_FIELD>();

/// `value` as it is stored.
pub(crate) fn encode<T: SchemaWrite<Encoding, Src = T>>(what: impl fmt::Display, value: &T) -> Result<Vec<u8>, Fault> {
    wincode::config::serialize(value, ENCODING)
        .map_err(|error| Fault::Refused(format!("{what} cannot be encoded: {error}")))
}

/// What was stored as `bytes`, all of them.
pub(crate) fn decode<T>(what: impl fmt::Display, bytes: &[u8]) -> Result<T, Fault>
where
    T: for<'de> SchemaRead<'de, Encoding, Dst = T>,
{
    wincode::config::deserialize_exact(bytes, ENCODING)
        .map_err(|error| Fault::Damaged(format!("{what} cannot be decoded: {error}")))
}

/// Reads one value of a group's `META`.
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
    // In this order keys sort as indexes do.
    key[5..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The index in a key of the log.
pub(crate) fn index_of(group: GroupId, key: &[u8]) -> Result<Index, Fault> {
    let index = key.get(prefix(Table::Log, group).len()..).and_then(|index| index.try_into().ok());
    index
        .map(Index::from_be_bytes)
        .ok_or_else(|| Fault::Damaged(format!("a key of group {group} (table log) is no index")))
}

/// The key of a record whose own key is short enough to be part of it.
pub(crate) fn inline_key(group: GroupId, key: &[u8]) -> Vec<u8> {
    let mut stored = prefix(Table::State, group);
    stored.push(INLINE);
    stored.extend_from_slice(key);
    stored
}

/// The start of the keys of all records with longer keys.
pub(crate) fn numbered_keys(group: GroupId) -> Vec<u8> {
    let mut stored = prefix(Table::State, group);
    stored.push(NUMBERED);
    stored
}

/// The key of a record with a longer key, given its number.
pub(crate) fn numbered_key(group: GroupId, number: u64) -> Vec<u8> {
    let mut stored = numbered_keys(group);
    stored.extend_from_slice(&number.to_be_bytes());
    stored
}

/// What is stored under a number: the key's length, the key, the value.
pub(crate) fn numbered_value(record: &Record) -> Result<Vec<u8>, Fault> {
    let too_long = |_| Fault::Refused("a record's key is longer than 4 GiB".to_owned());
    let length = u32::try_from(record.key.len()).map_err(too_long)?;
    let mut stored = Vec::with_capacity(4 + record.key.len() + record.value.len());
    stored.extend_from_slice(&length.to_le_bytes());
    stored.extend_from_slice(&record.key);
    stored.extend_from_slice(&record.value);
    Ok(stored)
}

/// A record as it is stored: its number if its key is long, and the record.
pub(crate) fn record(group: GroupId, key: &[u8], value: &[u8]) -> Result<(Option<u64>, Record), Fault> {
    let damaged = || Fault::Damaged(format!("a record of group {group} (table state) cannot be decoded"));
    let (kind, key) = key.get(prefix(Table::State, group).len()..).and_then(<[u8]>::split_first).ok_or_else(damaged)?;
    if *kind == INLINE {
        let record = Record { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) };
        return Ok((None, record));
    }
    let number = key.try_into().map(u64::from_be_bytes).map_err(|_| damaged())?;
    let (length, rest) = value.split_first_chunk().ok_or_else(damaged)?;
    let (key, value) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
    Ok((Some(number), Record { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) }))
}

/// The start of every key of a group in a table.
pub(crate) fn prefix(table: Table, group: GroupId) -> Vec<u8> {
    let mut key = vec![table as u8];
    key.extend_from_slice(&group.to_be_bytes());
    key
}

/// All keys that start so. No table's number is the last, so there is a key after them.
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

/// A place in the folder, as an error names it.
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
