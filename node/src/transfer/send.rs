//! The sending side of a transfer.

use super::{MAX_BYTES_AHEAD, MAX_CHUNKS_AHEAD, RETRY_HOLDS, idle_timeout};
use crate::chunk::Chunk;
use crate::ports::Cursor;
use crate::wire::{RequestId, Transfer};
use leasehold_core::{Index, Term};
use leasehold_raft::wire::Snapshot;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A chunk that was read, and may not be stored by the receiver yet.
#[derive(Clone, Copy, Debug)]
struct Known {
    bytes: usize,
    /// The cursor after it, and the number of records through it.
    cursor: Cursor,
    records: u64,
}

/// The next step of a sender.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read this chunk, which starts at this cursor.
    Read { number: u64, cursor: Cursor },
    /// Send this message.
    Send(Transfer),
    /// Give the transfer up: it made no progress.
    GiveUp,
}

/// A state that is being sent to a follower.
#[derive(Debug)]
pub(crate) struct Sending<S> {
    pub(crate) id: RequestId,
    pub(crate) state: Arc<S>,
    pub(crate) snapshot: Snapshot,
    /// The log is kept from this index on: once the follower has the state, the engine continues there.
    pub(crate) keep_from: Index,
    /// The number of chunks that the receiver has stored, with the cursor and the records after them.
    stored: u64,
    cursor: Cursor,
    records: u64,
    /// The chunks after those that were read at least once.
    known: VecDeque<Known>,
    /// The chunks after the stored ones that are on their way.
    sent: usize,
    /// The number of all chunks, once the last was read.
    end: Option<u64>,
    reading: bool,
    /// Set until the receiver has answered the first offer.
    is_new: bool,
    /// Set after a message could not be sent, until the timer fires.
    blocked: bool,
    hold: Duration,
    progress_at: Duration,
    heard_at: Duration,
    retry_after: Duration,
}

impl<S> Sending<S> {
    pub(crate) fn new(
        id: RequestId,
        state: Arc<S>,
        snapshot: Snapshot,
        keep_from: Index,
        hold: Duration,
        now: Duration,
    ) -> Self {
        Sending {
            id,
            state,
            snapshot,
            keep_from,
            stored: 0,
            cursor: Cursor::default(),
            records: 0,
            known: VecDeque::new(),
            sent: 0,
            end: None,
            reading: false,
            is_new: true,
            blocked: false,
            hold,
            progress_at: now,
            heard_at: now,
            retry_after: hold * RETRY_HOLDS,
        }
    }

    /// Returns a transfer of the same state from its start, for a receiver that lost what it had stored.
    pub(crate) fn restarted(self, id: RequestId, now: Duration) -> Self {
        let Sending { state, snapshot, keep_from, hold, .. } = self;
        Sending::new(id, state, snapshot, keep_from, hold, now)
    }

    /// Returns the offer, for the term in which this node leads.
    pub(crate) fn offer(&self, term: Term) -> Transfer {
        let sent = self.stored + self.sent as u64;
        Transfer::Offer { term, stored: self.stored, sent, snapshot: self.snapshot.clone() }
    }

    /// Returns the number of records that the receiver has stored.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Handles the report that the receiver has stored this many chunks.
    pub(crate) fn handle_stored(&mut self, now: Duration, stored: u64) {
        self.heard_at = now;
        while self.stored < stored
            && let Some(Known { cursor, records, .. }) = self.known.pop_front()
        {
            (self.stored, self.cursor, self.records) = (self.stored + 1, cursor, records);
            self.sent = self.sent.saturating_sub(1);
            (self.progress_at, self.retry_after) = (now, self.hold * RETRY_HOLDS);
        }
    }

    /// Handles the answer to an offer, before which chunks through `sent` had been sent: the receiver has stored the first
    /// chunks, and has received those before `from`. Returns true if chunks were lost and the transfer resumes after others.
    pub(crate) fn handle_lacking(&mut self, now: Duration, stored: u64, from: u64, sent: u64) -> bool {
        if std::mem::take(&mut self.is_new) {
            self.progress_at = now;
        }
        self.handle_stored(now, stored);
        let received = usize::try_from(from.saturating_sub(self.stored)).unwrap_or(usize::MAX);
        let are_lost = from < sent && received < self.sent;
        if are_lost {
            self.sent = received;
        }
        are_lost && from > 0
    }

    /// Handles a chunk that was read. Returns the message to send, if it is still the next one.
    pub(crate) fn handle_read(&mut self, number: u64, chunk: Chunk) -> Option<Transfer> {
        self.reading = false;
        let at = usize::try_from(number.checked_sub(self.stored)?).ok()?;
        if at == self.known.len() {
            let records = self.known.back().map_or(self.records, |known| known.records) + chunk.count;
            self.known.push_back(Known { bytes: chunk.records.len(), cursor: chunk.cursor, records });
            if chunk.is_last {
                self.end = Some(number + 1);
            }
        }
        if at != self.sent {
            return None;
        }
        self.sent += 1;
        let total = (self.end == Some(number + 1)).then(|| self.known[at].records);
        Some(Transfer::Chunk { number, total, records: chunk.records })
    }

    /// Handles the report that a message certainly did not leave.
    pub(crate) fn handle_not_sent(&mut self, message: &Transfer) {
        self.blocked = true;
        if let Transfer::Chunk { number, .. } = message {
            let before = number.saturating_sub(self.stored);
            self.sent = self.sent.min(usize::try_from(before).unwrap_or(usize::MAX));
        }
    }

    /// Returns what to do when the timer fires, besides [`poll`](Sending::poll).
    pub(crate) fn handle_timeout(&mut self, now: Duration, term: Term) -> Option<Step> {
        self.blocked = false;
        if now.saturating_sub(self.progress_at) > idle_timeout(self.hold) {
            return Some(Step::GiveUp);
        }
        if now.saturating_sub(self.heard_at) < self.retry_after {
            return None;
        }
        // The offer queues behind the chunks that are on their way, so its answer says which of them were lost.
        (self.heard_at, self.retry_after) = (now, (self.retry_after * 2).min(self.hold * 8));
        Some(Step::Send(self.offer(term)))
    }

    /// Returns the chunk to read next, unless enough are on their way.
    pub(crate) fn poll(&mut self) -> Option<Step> {
        let number = self.stored + self.sent as u64;
        let on_their_way = self.known.iter().take(self.sent).map(|known| known.bytes).sum::<usize>();
        let is_full = self.sent >= MAX_CHUNKS_AHEAD || (self.sent > 0 && on_their_way >= MAX_BYTES_AHEAD);
        if self.is_new || self.reading || self.blocked || is_full || self.end.is_some_and(|end| number >= end) {
            return None;
        }
        self.reading = true;
        let before = self.sent.checked_sub(1).map(|at| self.known[at].cursor);
        Some(Step::Read { number, cursor: before.unwrap_or(self.cursor) })
    }
}
