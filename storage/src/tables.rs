//! The tables of the file and how values are encoded in them. A change here is a new format.

use crate::error::Fault;
use bytes::Bytes;
use leasehold_core::Index;
use leasehold_driver::GroupId;
use redb::{ReadableTable, TableDefinition};
use std::fmt;
use std::ops::{Bound, RangeInclusive};
use wincode::config::{Configuration, DefaultConfig};
use wincode::{SchemaRead, SchemaWrite};

/// The format that this release writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;

/// Whose folder it is: `format`, `cluster` and `node`.
pub(crate) const FOLDER: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("folder");
/// The log, by group and index.
pub(crate) const LOG: TableDefinition<'_, (GroupId, Index), &[u8]> = TableDefinition::new("log");
/// The state machine's records, by group and key.
pub(crate) const STATE: TableDefinition<'_, (GroupId, &[u8]), &[u8]> = TableDefinition::new("state");
/// One value each per group, under the names below.
pub(crate) const META: TableDefinition<'_, (GroupId, &str), &[u8]> = TableDefinition::new("meta");

/// The hard state.
pub(crate) const HARD_STATE: &str = "hard_state";
/// Index, term and configuration that the records include.
pub(crate) const APPLIED: &str = "applied";
/// Index and term just before the log's first entry.
pub(crate) const COMPACTED: &str = "compacted";
/// The longest hold promised under.
pub(crate) const LONGEST_HOLD: &str = "longest_hold";

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
pub(crate) fn meta<T>(
    table: &impl ReadableTable<(GroupId, &'static str), &'static [u8]>,
    group: GroupId,
    name: &'static str,
) -> Result<Option<T>, Fault>
where
    T: for<'de> SchemaRead<'de, Encoding, Dst = T>,
{
    match table.get((group, name))? {
        Some(bytes) => decode(At::Meta(group, name), bytes.value()).map(Some),
        None => Ok(None),
    }
}

/// Every possible index of a group.
pub(crate) fn whole_log(group: GroupId) -> RangeInclusive<(GroupId, Index)> {
    (group, Index::MIN)..=(group, Index::MAX)
}

type StateBound = Bound<(GroupId, &'static [u8])>;

/// Every possible record of a group.
pub(crate) fn whole_state(group: GroupId) -> (StateBound, StateBound) {
    const FIRST: &[u8] = &[];
    let end = group.checked_add(1).map_or(Bound::Unbounded, |next| Bound::Excluded((next, FIRST)));
    (Bound::Included((group, FIRST)), end)
}

/// A place in the file, as an error names it.
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

/// A copy that outlives the transaction.
pub(crate) fn owned(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
