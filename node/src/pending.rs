//! Writes and quorum reads of one group that wait for their outcome. Each is known by the key of its request.

use leasehold_core::{Index, Round, Term, Ticket};
use leasehold_raft::Position;
use std::collections::{BTreeMap, VecDeque};

/// Identifies a request on this node. Keys rise and are never reused.
pub(crate) type RequestKey = u64;

/// The outcome of a proposed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome<O> {
    /// It was committed and applied.
    Applied(O),
    /// Another entry was committed at its position: it was not and will not be executed.
    Displaced,
    /// A snapshot covered its position: it may have been executed.
    Unknown,
}

/// Proposed writes by position: the only place in the log, in the only term, in which each can be committed.
///
/// Two writes may wait for one index: this node led, lost leadership, and led again. An entry applied at that index
/// decides which of them was committed, if any.
#[derive(Debug, Default)]
pub(crate) struct PendingWrites {
    waiting: BTreeMap<(Index, Term), RequestKey>,
}

impl PendingWrites {
    pub(crate) fn insert(&mut self, position: Position, request: RequestKey) {
        self.waiting.insert((position.index, position.term), request);
    }

    /// Removes a write whose request has ended.
    pub(crate) fn forget(&mut self, position: Position) {
        self.waiting.remove(&(position.index, position.term));
    }

    /// Returns the writes that an entry applied at `position` decides, each with its outcome.
    pub(crate) fn applied<O>(&mut self, position: Position, output: Option<O>) -> Vec<(RequestKey, WriteOutcome<O>)> {
        let mut output = output;
        let mut decided = Vec::new();
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= position.index
        {
            let ((index, term), request) = entry.remove_entry();
            let outcome = match output.take_if(|_| (index, term) == (position.index, position.term)) {
                Some(output) => WriteOutcome::Applied(output),
                None if index == position.index => WriteOutcome::Displaced,
                // A snapshot covered this position, so the entry there was never seen.
                None => WriteOutcome::Unknown,
            };
            decided.push((request, outcome));
        }
        decided
    }

    /// Returns the writes at or before `index`, which a snapshot covers: their outcome is unknown.
    pub(crate) fn covered_by_snapshot(&mut self, index: Index) -> Vec<RequestKey> {
        let mut covered = Vec::new();
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= index
        {
            covered.push(entry.remove());
        }
        covered
    }
}

/// Quorum reads, in the order of their rounds.
#[derive(Debug, Default)]
pub(crate) struct PendingReads {
    waiting: VecDeque<(Ticket, Term, RequestKey)>,
}

impl PendingReads {
    pub(crate) fn push(&mut self, ticket: Ticket, term: Term, request: RequestKey) {
        debug_assert!(self.waiting.back().is_none_or(|(last, ..)| last.round <= ticket.round));
        self.waiting.push_back((ticket, term, request));
    }

    /// Forgets the reads whose requests are not pending any more.
    pub(crate) fn retain(&mut self, pending: impl Fn(RequestKey) -> bool) {
        self.waiting.retain(|(.., request)| pending(*request));
    }

    /// Returns the next read whose round is at most `through`: the index it must wait for, and its request.
    ///
    /// # Panics
    /// When a read taken in one term is confirmed in another: a later leader may have committed writes that it would
    /// miss.
    pub(crate) fn next_confirmed(&mut self, through: Round, term: Term) -> Option<(Index, RequestKey)> {
        let (ticket, taken_in, request) = self.waiting.pop_front_if(|(ticket, ..)| ticket.round <= through)?;
        assert_eq!(taken_in, term, "a quorum read is confirmed in the term in which it was taken");
        Some((ticket.index, request))
    }

    /// Returns the next read whose round is at most `through`, which will never be confirmed.
    pub(crate) fn next_aborted(&mut self, through: Round) -> Option<RequestKey> {
        self.waiting.pop_front_if(|(ticket, ..)| ticket.round <= through).map(|(.., request)| request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: Term, index: Index) -> Position {
        Position { term, index }
    }

    #[test]
    fn a_write_is_acknowledged_only_at_its_own_index_and_term() {
        let mut writes = PendingWrites::default();
        writes.insert(at(2, 7), 1);
        writes.insert(at(2, 8), 2);
        assert_eq!(writes.applied(at(2, 7), Some("done")), [(1, WriteOutcome::Applied("done"))]);
        assert_eq!(writes.applied(at(3, 8), Some("another's")), [(2, WriteOutcome::Displaced)]);
    }

    #[test]
    fn two_leaderships_may_wait_for_one_index() {
        let mut writes = PendingWrites::default();
        writes.insert(at(2, 7), 1);
        writes.insert(at(5, 7), 2);
        let decided = writes.applied(at(2, 7), Some("the first"));
        assert_eq!(decided, [(1, WriteOutcome::Applied("the first")), (2, WriteOutcome::Displaced)]);
    }

    #[test]
    fn a_write_that_a_snapshot_covers_is_unknown() {
        let mut writes = PendingWrites::default();
        writes.insert(at(2, 7), 1);
        writes.insert(at(2, 10), 2);
        assert_eq!(writes.covered_by_snapshot(9), [1]);
        assert_eq!(writes.applied(at(2, 11), Some(())), [(2, WriteOutcome::Unknown)]);
    }

    #[test]
    fn a_forgotten_write_is_not_decided() {
        let mut writes = PendingWrites::default();
        writes.insert(at(2, 7), 1);
        writes.forget(at(2, 7));
        assert_eq!(writes.applied(at(2, 7), Some(())), []);
    }
}
