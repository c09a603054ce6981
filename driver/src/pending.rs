//! Writes and reads that wait for their fate.

use crate::handle::{ReadError, ReadGrant, WriteError};
use futures::channel::oneshot::Sender;
use leasehold_core::{Index, Reading, Round, Term, Ticket};
use leasehold_raft::Position;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long a write or a read may wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most writes that may wait.
const WRITES: usize = 65_536;
/// The most reads that may wait.
const READS: usize = 65_536;

struct Waiting<T> {
    since: Reading,
    answer: Sender<T>,
}

impl<T> Waiting<T> {
    /// Answers, if anyone still wants to know.
    fn answer(self, outcome: T) {
        let _ = self.answer.send(outcome);
    }

    fn is_overdue(&mut self, now: Reading) -> bool {
        // What was parked while the clock gave nothing has waited since the first reading after it.
        self.since = self.since.or(now);
        now.zip(self.since).is_some_and(|(now, since)| now.elapsed_since(since).at_most >= PATIENCE)
    }
}

/// Proposed writes by the place in the log where each can be committed, and nowhere else.
///
/// Two may wait for one index: this node led, lost its leadership, and led again. Which of them is committed, if any, shows
/// when something is applied at that index, and not before.
pub(crate) struct Writes<O> {
    waiting: BTreeMap<(Index, Term), Waiting<Result<O, WriteError>>>,
}

impl<O> Writes<O> {
    pub(crate) fn new() -> Self {
        Self { waiting: BTreeMap::new() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= WRITES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn park(&mut self, position: Position, since: Reading, answer: Sender<Result<O, WriteError>>) {
        self.waiting.insert((position.index, position.term), Waiting { since, answer });
    }

    /// An entry was applied: who wrote it learns the output, who hoped for its place learns that it was taken.
    pub(crate) fn applied(&mut self, position: Position, output: Option<O>) {
        let mut output = output;
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= position.index
        {
            let ((index, term), write) = entry.remove_entry();
            let outcome = match output.take_if(|_| (index, term) == (position.index, position.term)) {
                Some(output) => Ok(output),
                None if index == position.index => Err(WriteError::NotLeader),
                // Something took this place unseen, inside a snapshot.
                None => Err(WriteError::Uncertain),
            };
            write.answer(outcome);
        }
    }

    /// A snapshot took the place of everything through `index`.
    pub(crate) fn skipped(&mut self, index: Index) {
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= index
        {
            entry.remove().answer(Err(WriteError::Uncertain));
        }
    }

    pub(crate) fn expire(&mut self, now: Reading) {
        for (_, write) in self.waiting.extract_if(.., |_, write| write.is_overdue(now)) {
            write.answer(Err(WriteError::Uncertain));
        }
    }

    pub(crate) fn fail_all(&mut self) {
        self.skipped(Index::MAX);
    }
}

/// Quorum reads, in the order of their rounds.
#[derive(Default)]
pub(crate) struct Reads {
    waiting: VecDeque<(Ticket, Waiting<Result<ReadGrant, ReadError>>)>,
}

impl Reads {
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= READS
    }

    pub(crate) fn park(&mut self, ticket: Ticket, since: Reading, answer: Sender<Result<ReadGrant, ReadError>>) {
        debug_assert!(self.waiting.back().is_none_or(|(last, _)| last.round <= ticket.round));
        self.waiting.push_back((ticket, Waiting { since, answer }));
    }

    pub(crate) fn confirmed(&mut self, through: Round) {
        while let Some((ticket, read)) = self.waiting.pop_front_if(|(ticket, _)| ticket.round <= through) {
            read.answer(Ok(ReadGrant { index: ticket.index, by_lease: false }));
        }
    }

    pub(crate) fn aborted(&mut self, through: Round, why: ReadError) {
        while let Some((_, read)) = self.waiting.pop_front_if(|(ticket, _)| ticket.round <= through) {
            read.answer(Err(why));
        }
    }

    pub(crate) fn expire(&mut self, now: Reading) {
        while let Some((_, read)) = self.waiting.pop_front_if(|(_, read)| read.is_overdue(now)) {
            read.answer(Err(ReadError::TimedOut));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::oneshot::{self, Receiver};
    use leasehold_core::Instant;

    fn park(writes: &mut Writes<&'static str>, term: Term, index: Index) -> Receiver<Result<&'static str, WriteError>> {
        let (answer, outcome) = oneshot::channel();
        writes.park(Position { term, index }, None, answer);
        outcome
    }

    #[test]
    fn a_write_is_acknowledged_only_in_its_own_place_and_term() {
        let mut writes = Writes::new();
        let mut mine = park(&mut writes, 2, 7);
        let mut next = park(&mut writes, 2, 8);
        writes.applied(Position { term: 2, index: 7 }, Some("done"));
        assert_eq!(mine.try_recv(), Ok(Some(Ok("done"))));
        assert_eq!(next.try_recv(), Ok(None));
        writes.applied(Position { term: 3, index: 8 }, Some("another's"));
        assert_eq!(next.try_recv(), Ok(Some(Err(WriteError::NotLeader))), "its place was taken: it never happened");
    }

    #[test]
    fn of_two_writes_for_one_place_the_committed_one_is_acknowledged() {
        let mut writes = Writes::new();
        let mut old = park(&mut writes, 2, 7);
        let mut new = park(&mut writes, 5, 7);
        writes.applied(Position { term: 2, index: 7 }, Some("the old one, after all"));
        assert_eq!(old.try_recv(), Ok(Some(Ok("the old one, after all"))));
        assert_eq!(new.try_recv(), Ok(Some(Err(WriteError::NotLeader))));
    }

    #[test]
    fn what_is_parked_without_a_reading_expires_all_the_same() {
        let at = |seconds: u64| Some(Instant::from_nanos(seconds * 1_000_000_000, seconds * 1_000_000_000));
        let mut writes = Writes::new();
        let mut parked = park(&mut writes, 2, 7);
        for still_waits in [None, at(60), None, at(64)] {
            writes.expire(still_waits);
            assert_eq!(parked.try_recv(), Ok(None));
        }
        writes.expire(at(65));
        assert_eq!(parked.try_recv(), Ok(Some(Err(WriteError::Uncertain))));
    }

    #[test]
    fn a_write_that_a_snapshot_swallowed_is_uncertain() {
        let mut writes = Writes::new();
        let mut lost = park(&mut writes, 2, 7);
        writes.skipped(9);
        assert_eq!(lost.try_recv(), Ok(Some(Err(WriteError::Uncertain))));
        assert!(writes.is_empty());
    }
}
