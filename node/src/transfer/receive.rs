//! The receiving side of a transfer.

use super::{MAX_BYTES_AHEAD, MAX_CHUNKS_AHEAD, idle_timeout};
use crate::wire::{RequestId, Transfer};
use bytes::Bytes;
use leasehold_core::NodeId;
use leasehold_raft::wire::Snapshot;
use std::collections::BTreeMap;
use std::time::Duration;

/// A chunk that arrived: the number of all records, if it is the last one, and its records.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) total: Option<u64>,
    pub(crate) records: Bytes,
}

/// A state that arrives.
#[derive(Debug)]
pub(crate) struct Receiving<S> {
    pub(crate) from: NodeId,
    pub(crate) id: RequestId,
    pub(crate) snapshot: Snapshot,
    /// The chunks that arrived and were not added yet.
    arrived: BTreeMap<u64, Arrival>,
    /// The state of the chunks that were added. `None` while one is being added.
    state: Option<S>,
    /// The number of chunks that were added, and of their records.
    added: u64,
    records: u64,
    /// The number of chunks that are durable.
    stored: u64,
    /// The total of the chunk that is being added.
    adding: Option<u64>,
    /// The number of all chunks, once the last was added.
    end: Option<u64>,
    progress_at: Duration,
}

impl<S> Receiving<S> {
    pub(crate) fn new(from: NodeId, id: RequestId, snapshot: Snapshot, empty: S, now: Duration) -> Self {
        Receiving {
            from,
            id,
            snapshot,
            arrived: BTreeMap::new(),
            state: Some(empty),
            added: 0,
            records: 0,
            stored: 0,
            adding: None,
            end: None,
            progress_at: now,
        }
    }

    /// Returns the answer to an offer of this transfer.
    pub(crate) fn lacking(&self, sent: u64) -> Transfer {
        let being_added = self.added + u64::from(self.state.is_none());
        let from = (being_added..).find(|number| !self.arrived.contains_key(number)).unwrap_or(being_added);
        Transfer::Lacking { stored: self.stored, from, sent }
    }

    /// Returns the number of records that were added.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Takes a chunk. Returns false for one that is not needed, or for which there is no room.
    pub(crate) fn handle_chunk(&mut self, now: Duration, number: u64, arrival: Arrival) -> bool {
        let first = self.added + u64::from(self.state.is_none());
        let held: usize = self.arrived.values().map(|chunk| chunk.records.len()).sum();
        let has_room = number == first || held + arrival.records.len() <= MAX_BYTES_AHEAD;
        let is_needed = (first..self.stored + MAX_CHUNKS_AHEAD as u64 + 1).contains(&number)
            && self.end.is_none()
            && !self.arrived.contains_key(&number);
        if !is_needed || !has_room {
            return false;
        }
        self.progress_at = now;
        self.arrived.insert(number, arrival);
        true
    }

    /// Returns the state and the records to add to it next.
    pub(crate) fn poll(&mut self) -> Option<(S, Bytes)> {
        let arrival = self.arrived.first_entry().filter(|first| *first.key() == self.added)?;
        let state = self.state.take()?;
        let Arrival { total, records } = arrival.remove();
        self.adding = total;
        Some((state, records))
    }

    /// Handles the state after a chunk was added. Returns the chunk's number; `None` if the number of records is not what
    /// the sender says.
    pub(crate) fn handle_added(&mut self, state: S, records: usize) -> Option<u64> {
        let number = self.added;
        self.state = Some(state);
        (self.added, self.records) = (number + 1, self.records + records as u64);
        if let Some(total) = self.adding.take() {
            self.end = Some(self.added);
            if total != self.records {
                return None;
            }
        }
        Some(number)
    }

    /// Handles the report that a chunk is durable.
    pub(crate) fn handle_stored(&mut self, now: Duration, number: u64) -> Transfer {
        self.stored = self.stored.max(number + 1);
        self.progress_at = now;
        Transfer::Stored { chunks: self.stored }
    }

    /// Returns true if every chunk is durable.
    pub(crate) fn is_complete(&self) -> bool {
        self.end == Some(self.stored)
    }

    /// Returns true if nothing has arrived for long.
    pub(crate) fn is_idle(&self, now: Duration, hold: Duration) -> bool {
        // Longer than the sender, so that the receiver keeps what the sender can still continue.
        now.saturating_sub(self.progress_at) > 2 * idle_timeout(hold)
    }

    /// Returns the state, unless a chunk is being added.
    pub(crate) fn into_state(self) -> Option<S> {
        self.state
    }
}
