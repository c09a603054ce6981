//! The log as the engine reads it. It is in memory, and ahead of the disk by the writes in flight.

use crate::wire::{Entry, HardState, Membership, Snapshot, convert};
use leasehold_core::{Index, Term};
use raft::eraftpb;
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};
use std::collections::VecDeque;

/// The durable state from which a replica starts. The default is that of a node that has never been part of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersistentState {
    /// The durable hard state.
    pub hard_state: HardState,
    /// The last index that the log no longer holds, and its term.
    pub compacted: (Index, Term),
    /// The entries after that index.
    pub entries: Vec<Entry>,
    /// The last index applied to the durable state machine.
    pub applied: Index,
    /// The configuration at that index.
    pub membership: Membership,
    /// True if the log may lack entries that this node acknowledged, or its hard state a vote. The node then takes no
    /// part in elections until it has caught up: see [`Output::LogMayBeCut`](crate::Output::LogMayBeCut).
    pub may_be_cut: bool,
}

impl PersistentState {
    /// Returns the first state of every founding member of a group with these voters. Entry 1 of term 1 is committed,
    /// applied and compacted. The log of a node that joins later cannot begin before that entry, so such a node starts
    /// from a snapshot.
    pub fn founding(voters: Vec<u64>) -> PersistentState {
        PersistentState {
            hard_state: HardState { term: 1, vote: 0, commit: 1 },
            compacted: (1, 1),
            entries: Vec::new(),
            applied: 1,
            membership: Membership::founding(voters),
            may_be_cut: false,
        }
    }
}

/// The entries that the log holds, with the hard state and the configuration.
#[derive(Debug)]
pub(crate) struct Log {
    hard_state: HardState,
    membership: Membership,
    compacted: (Index, Term),
    entries: VecDeque<eraftpb::Entry>,
    /// The size of all entries' data.
    bytes: u64,
    /// The last index handed out for applying.
    applied: Index,
}

impl Log {
    pub(crate) fn new(state: PersistentState) -> Log {
        let entries: VecDeque<_> = state.entries.into_iter().map(convert::entry_in).collect();
        Log {
            hard_state: state.hard_state,
            membership: state.membership,
            compacted: state.compacted,
            bytes: data_bytes(&entries),
            entries,
            applied: state.applied,
        }
    }

    /// Appends entries, after dropping all entries from the first one's index on.
    pub(crate) fn append(&mut self, entries: &[eraftpb::Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.compacted.0,
            "entry {} is at or before the compacted index {}",
            first.index,
            self.compacted.0
        );
        let keep = (first.index - self.compacted.0 - 1) as usize;
        assert!(keep <= self.entries.len(), "the log has a gap before entry {}", first.index);
        self.bytes -= data_bytes(self.entries.range(keep..));
        self.entries.truncate(keep);
        self.bytes += data_bytes(entries);
        self.entries.extend(entries.iter().cloned());
    }

    /// Replaces the log by the position of a leader's snapshot.
    pub(crate) fn install(&mut self, index: Index, term: Term, membership: Membership) {
        self.entries.clear();
        self.bytes = 0;
        self.compacted = (index, term);
        self.membership = membership;
        self.applied = index;
    }

    /// Notes that the entries through `index` were handed out for applying.
    pub(crate) fn note_applied(&mut self, index: Index) {
        self.applied = index;
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(crate) fn set_membership(&mut self, membership: Membership) {
        self.membership = membership;
    }

    /// Drops the entries through `index`. Returns the term of the entry there, or `None` if there is nothing to drop.
    pub(crate) fn compact(&mut self, index: Index) -> Option<Term> {
        let drop = index.checked_sub(self.compacted.0).filter(|drop| *drop > 0)?;
        let last = self.entries.get(drop as usize - 1)?;
        let term = last.term;
        self.compacted = (index, term);
        self.bytes -= data_bytes(self.entries.range(..drop as usize));
        self.entries.drain(..drop as usize);
        Some(term)
    }

    /// Returns the last index that the log no longer holds.
    pub(crate) fn compacted(&self) -> Index {
        self.compacted.0
    }

    /// Returns the index in the middle of the log, by size or by count, if the log exceeds `bytes` or `entries`.
    pub(crate) fn midpoint_if_longer_than(&self, entries: usize, bytes: u64) -> Option<Index> {
        if self.bytes > bytes {
            let mut passed = 0;
            let before = self.entries.iter().take_while(|entry| {
                passed += entry.data.len() as u64;
                passed <= self.bytes / 2
            });
            return Some(self.compacted.0 + before.count() as u64);
        }
        (self.entries.len() > entries).then(|| self.compacted.0 + (self.entries.len() / 2) as u64)
    }

    /// Returns the index and the term of the last entry.
    pub(crate) fn end(&self) -> (Index, Term) {
        self.entries.back().map_or(self.compacted, |last| (last.index, last.term))
    }

    /// Returns the number of entries, and the size of their data.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.entries.len(), self.bytes)
    }

    fn last(&self) -> Index {
        self.compacted.0 + self.entries.len() as u64
    }
}

fn data_bytes<'a>(entries: impl IntoIterator<Item = &'a eraftpb::Entry>) -> u64 {
    entries.into_iter().map(|entry| entry.data.len() as u64).sum()
}

impl Storage for Log {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState {
            hard_state: convert::hard_state_in(self.hard_state),
            conf_state: convert::membership_in(&self.membership),
        })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<eraftpb::Entry>> {
        if low <= self.compacted.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        assert!(
            high <= self.last() + 1,
            "the engine requested entries before {high}, but the log ends at {}",
            self.last()
        );
        let range = (low - self.compacted.0 - 1) as usize..(high - self.compacted.0 - 1) as usize;
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0;
        let within = self.entries.range(range).enumerate().take_while(|(at, entry)| {
            size += entry.data.len() as u64 + 16;
            *at == 0 || size <= limit
        });
        Ok(within.map(|(_, entry)| entry.clone()).collect())
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.compacted.0 {
            return Ok(self.compacted.1);
        }
        if index < self.compacted.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get((index - self.compacted.0 - 1) as usize);
        entry.map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.compacted.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    /// Returns the position of the state as applied. The state itself does not pass through the engine.
    fn snapshot(&self, _request_index: u64, _to: u64) -> Result<eraftpb::Snapshot> {
        let (index, term) = (self.applied, self.term(self.applied)?);
        Ok(convert::snapshot_in(Snapshot { index, term, membership: self.membership.clone() }))
    }
}
