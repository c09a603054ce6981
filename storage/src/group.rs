//! The state of each group that is kept in memory, so that commits need not read from the disk.

use crate::error::Fault;
use crate::tables::{APPLIED, COMPACTED, Table, index_of, log_key, meta, numbered_keys, prefix, record, starting_with};
use bytes::Bytes;
use fjall::Keyspace;
use leasehold_core::{Index, Term};
use leasehold_node::ports::GroupId;
use leasehold_raft::wire::Membership;
use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;

/// A group as stored, including the commit in progress.
pub(crate) struct Group {
    /// The last index that the log no longer contains.
    pub(crate) compacted: Index,
    /// The log's last index; `compacted` if the log is empty.
    pub(crate) last: Index,
    /// The last index applied.
    pub(crate) applied: Index,
    /// Compacted entries that are still stored.
    pub(crate) stale: VecDeque<RangeInclusive<Index>>,
    /// The numbers of the records with long keys.
    pub(crate) numbered: HashMap<Bytes, u64>,
    /// A number that no record uses.
    pub(crate) next_number: u64,
}

impl Group {
    pub(crate) fn load(keyspace: &Keyspace, group: GroupId) -> Result<Group, Fault> {
        let (compacted, _): (Index, Term) = meta(keyspace, group, COMPACTED)?.unwrap_or_default();
        let applied: Option<(Index, Term, Membership)> = meta(keyspace, group, APPLIED)?;
        let mut loaded = Group {
            compacted,
            last: compacted,
            applied: applied.map_or(0, |(index, ..)| index),
            stale: VecDeque::new(),
            numbered: HashMap::new(),
            next_number: 0,
        };
        if let Some(newest) = keyspace.prefix(prefix(Table::Log, group)).next_back() {
            loaded.last = index_of(group, &newest.key()?)?.max(compacted);
        }
        for old in keyspace.range(log_key(group, Index::MIN)..=log_key(group, compacted)) {
            let index = index_of(group, &old.key()?)?;
            loaded.add_stale(index..=index);
        }
        for stored in keyspace.range(starting_with(numbered_keys(group))) {
            let (key, value) = stored.into_inner()?;
            if let (Some(number), record) = record(group, &key, &value)? {
                loaded.numbered.insert(record.key, number);
                loaded.next_number = loaded.next_number.max(number.saturating_add(1));
            }
        }
        Ok(loaded)
    }

    /// Adds compacted entries to those that are still stored.
    pub(crate) fn add_stale(&mut self, entries: RangeInclusive<Index>) {
        match self.stale.back_mut() {
            _ if entries.is_empty() => {}
            Some(before) if before.end().checked_add(1) == Some(*entries.start()) => {
                *before = *before.start()..=*entries.end();
            }
            _ => self.stale.push_back(entries),
        }
    }
}
