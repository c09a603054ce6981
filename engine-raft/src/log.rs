//! The log as the engine reads it: in memory, ahead of the disk by what is on its way there.

use crate::convert;
use crate::wire::{Entry, HardState, Membership, Snapshot};
use leasehold_core::{Index, Term};
use raft::eraftpb;
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};
use std::cell::Cell;
use std::collections::VecDeque;

/// What a replica remembers from before a restart. The default is a node that has never been part of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersistentState {
    /// The durable hard state.
    pub hard_state: HardState,
    /// The last index that the log no longer holds, and its term.
    pub compacted: (Index, Term),
    /// The log from there on.
    pub entries: Vec<Entry>,
    /// The last index applied to the durable state machine.
    pub applied: Index,
    /// The configuration at that index.
    pub membership: Membership,
}

impl PersistentState {
    /// What every founding member of a group remembers of its foundation: an entry 1 of term 1 that is committed, applied and
    /// compacted, with these voters. A node that joins later gets it in a snapshot, as its log cannot begin before it.
    pub fn founding(voters: Vec<u64>) -> PersistentState {
        PersistentState {
            hard_state: HardState { term: 1, vote: 0, commit: 1 },
            compacted: (1, 1),
            entries: Vec::new(),
            applied: 1,
            membership: Membership { voters, ..Membership::default() },
        }
    }
}

pub(crate) struct Log {
    hard_state: HardState,
    membership: Membership,
    compacted: (Index, Term),
    entries: VecDeque<eraftpb::Entry>,
    /// The bytes of all entries' data.
    bytes: u64,
    /// What to send a follower whose place in the log is compacted.
    snapshot: Option<Snapshot>,
    snapshot_is_wanted: Cell<bool>,
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
            snapshot: None,
            snapshot_is_wanted: Cell::new(false),
        }
    }

    pub(crate) fn append(&mut self, entries: &[eraftpb::Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.compacted.0, "entry {} is compacted through {}", first.index, self.compacted.0);
        let keep = (first.index - self.compacted.0 - 1) as usize;
        assert!(keep <= self.entries.len(), "a gap before entry {}", first.index);
        self.bytes -= data_bytes(self.entries.range(keep..));
        self.entries.truncate(keep);
        self.bytes += data_bytes(entries);
        self.entries.extend(entries.iter().cloned());
    }

    /// Takes the place that a leader's snapshot gives.
    pub(crate) fn install(&mut self, index: Index, term: Term, membership: Membership) {
        self.entries.clear();
        self.bytes = 0;
        self.compacted = (index, term);
        self.membership = membership;
        self.snapshot = None;
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(crate) fn set_membership(&mut self, membership: Membership) {
        self.membership = membership;
    }

    /// Forgets entries through `index`; returns its term. `None` if there is nothing to forget.
    pub(crate) fn compact(&mut self, index: Index) -> Option<Term> {
        let drop = index.checked_sub(self.compacted.0).filter(|drop| *drop > 0)?;
        let last = self.entries.get(drop as usize - 1)?;
        let term = last.term;
        self.compacted = (index, term);
        self.bytes -= data_bytes(self.entries.range(..drop as usize));
        self.entries.drain(..drop as usize);
        // The log goes on after the snapshot, or the snapshot is of no use.
        if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.index < index) {
            self.snapshot = None;
        }
        Some(term)
    }

    /// The last index that is no longer held.
    pub(crate) fn compacted(&self) -> Index {
        self.compacted.0
    }

    /// The index in the middle of the log, by count or by bytes, if it is longer than that.
    pub(crate) fn middle_if_longer_than(&self, entries: usize, bytes: u64) -> Option<Index> {
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

    /// Whether the engine wanted a snapshot since this was last asked.
    pub(crate) fn take_snapshot_wanted(&mut self) -> bool {
        self.snapshot_is_wanted.take()
    }

    pub(crate) fn offer_snapshot(&mut self, snapshot: Snapshot) {
        if snapshot.index >= self.compacted.0 {
            self.snapshot = Some(snapshot);
        }
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
        assert!(high <= self.last() + 1, "entries up to {high} asked of a log that ends at {}", self.last());
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

    fn snapshot(&self, request_index: u64, to: u64) -> Result<eraftpb::Snapshot> {
        // A node throws away a snapshot whose configuration it is not in: one made for an earlier newcomer is of no use.
        let serves = |snapshot: &Snapshot| snapshot.index >= request_index && snapshot.membership.names(to);
        match &self.snapshot {
            Some(snapshot) if serves(snapshot) => Ok(convert::snapshot_in(snapshot.clone())),
            _ => {
                self.snapshot_is_wanted.set(true);
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}
