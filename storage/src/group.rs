//! The state of each group that is kept in memory, so that commits need not read from the disk.

use crate::error::Fault;
use crate::tables::{
    APPLIED, COMPACTED, GENERATION, HARD_STATE, REMOVED, Table, generation_keys, generation_of, index_of, log_key,
    meta, numbered_keys, prefix, record, starting_with,
};
use bytes::Bytes;
use fjall::Keyspace;
use leasehold_core::{Index, Term};
use leasehold_node::ports::GroupId;
use leasehold_raft::wire::{HardState, Membership};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::{Range, RangeInclusive};

/// A group as stored, including the commit in progress.
pub(crate) struct Group {
    /// It was removed, and what is left of it is among the dropped keys.
    pub(crate) removed: bool,
    /// The newest term that it has seen.
    pub(crate) term: Term,
    /// The last index that the log no longer contains.
    pub(crate) compacted: Index,
    /// The log's last index; `compacted` if the log is empty.
    pub(crate) last: Index,
    /// The last index applied.
    pub(crate) applied: Index,
    /// Compacted entries that are still stored.
    pub(crate) stale: VecDeque<RangeInclusive<Index>>,
    /// The state machine's records.
    pub(crate) records: Records,
    /// The staged records.
    pub(crate) staged: Records,
    /// A generation that no stored record has.
    pub(crate) next_generation: u64,
    /// The ranges of stored keys of dropped generations.
    pub(crate) dropped: VecDeque<Range<Vec<u8>>>,
}

/// The records of one generation. Dropping all of them is another generation.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) generation: u64,
    /// The numbers of the records with long keys.
    pub(crate) numbered: HashMap<Bytes, u64>,
    /// A number that no record uses.
    pub(crate) next_number: u64,
}

impl Group {
    /// Returns a group that was removed. Its entries and records may still be stored.
    pub(crate) fn removed(group: GroupId) -> Group {
        Group {
            removed: true,
            term: 0,
            compacted: 0,
            last: 0,
            applied: 0,
            stale: VecDeque::new(),
            records: Records::default(),
            staged: Records::default(),
            next_generation: 0,
            dropped: [Table::Log, Table::State].map(|table| starting_with(prefix(table, group))).into(),
        }
    }

    pub(crate) fn load(keyspace: &Keyspace, group: GroupId) -> Result<Group, Fault> {
        let (compacted, _): (Index, Term) = meta(keyspace, group, COMPACTED)?.unwrap_or_default();
        let applied: Option<(Index, Term, Membership)> = meta(keyspace, group, APPLIED)?;
        let hard_state: Option<HardState> = meta(keyspace, group, HARD_STATE)?;
        let mut loaded = Group {
            removed: false,
            term: hard_state.map_or(0, |hard_state| hard_state.term),
            compacted,
            last: compacted,
            applied: applied.map_or(0, |(index, ..)| index),
            stale: VecDeque::new(),
            records: Records {
                generation: meta(keyspace, group, GENERATION)?.unwrap_or_default(),
                ..Records::default()
            },
            staged: Records::default(),
            next_generation: 0,
            dropped: VecDeque::new(),
        };
        if let Some(newest) = keyspace.prefix(prefix(Table::Log, group)).next_back() {
            loaded.last = index_of(group, &newest.key()?)?.max(compacted);
        }
        for old in keyspace.range(log_key(group, Index::MIN)..=log_key(group, compacted)) {
            let index = index_of(group, &old.key()?)?;
            loaded.add_stale(index..=index);
        }
        let records = &mut loaded.records;
        for stored in keyspace.range(starting_with(numbered_keys(group, records.generation))) {
            let (key, value) = stored.into_inner()?;
            if let (Some(number), record) = record(group, &key, &value)? {
                records.numbered.insert(record.key, number);
                records.next_number = records.next_number.max(number.saturating_add(1));
            }
        }
        loaded.find_generations(keyspace, group)?;
        Ok(loaded)
    }

    /// Finds the stored generations. All but that of the state machine are dropped.
    fn find_generations(&mut self, keyspace: &Keyspace, group: GroupId) -> Result<(), Fault> {
        let Range { mut start, end } = starting_with(prefix(Table::State, group));
        let mut newest = self.records.generation;
        while let Some(stored) = keyspace.range(start..end.clone()).next() {
            let generation = generation_of(group, &stored.key()?)?;
            let keys = starting_with(generation_keys(group, generation));
            start = keys.end.clone();
            newest = newest.max(generation);
            if generation != self.records.generation {
                self.dropped.push_back(keys);
            }
        }
        self.next_generation = newest.saturating_add(1);
        self.staged = self.new_generation();
        Ok(())
    }

    /// Returns a new generation without records.
    pub(crate) fn new_generation(&mut self) -> Records {
        let generation = self.next_generation;
        self.next_generation = self.next_generation.saturating_add(1);
        Records { generation, ..Records::default() }
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

/// Finds the groups by the keys of their single values, of which each has some from its first batch on.
pub(crate) fn group_numbers(keyspace: &Keyspace) -> Result<Vec<GroupId>, Fault> {
    let mut groups = Vec::new();
    let Range { mut start, end } = starting_with(vec![Table::Meta as u8]);
    while let Some(stored) = keyspace.range(start..end.clone()).next() {
        let key = stored.key()?;
        let number = key.get(1..).and_then(<[u8]>::first_chunk);
        let group = number.copied().map(GroupId::from_be_bytes);
        let group = group.ok_or_else(|| Fault::Damaged("a key of table meta has no group".to_owned()))?;
        groups.push(group);
        start = starting_with(prefix(Table::Meta, group)).end;
    }
    Ok(groups)
}

/// Finds the groups that were removed.
pub(crate) fn removed_groups(keyspace: &Keyspace) -> Result<BTreeSet<GroupId>, Fault> {
    let mut groups = BTreeSet::new();
    for group in group_numbers(keyspace)? {
        if meta(keyspace, group, REMOVED)?.unwrap_or(false) {
            groups.insert(group);
        }
    }
    Ok(groups)
}

/// Returns the fault of a use of a removed group.
pub(crate) fn removed(group: GroupId) -> Fault {
    Fault::Refused(format!(
        "group {group} was removed from this node, which has forgotten its votes; give a new group a number that was \
         never used"
    ))
}
