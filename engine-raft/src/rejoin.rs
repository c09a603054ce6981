//! The way back of a node whose log may have been cut: it may have lost entries that it acknowledged, or a vote.
//!
//! See "A log that may have been cut" in docs/protocol.md.

use crate::wire;
use leasehold_core::{Index, NodeId, Round, Term};
use std::collections::BTreeMap;

/// Both sides of rejoining: that of the node that returns, and that of the leader to which it returns.
pub(crate) struct Rejoin {
    /// Identifies the present attempt: no other attempt of this node has this number.
    attempt: u64,
    standing: Standing,
    /// The mark that the log may be cut is durable.
    recorded: bool,
    /// The leader to ask for admission, and its term.
    ask: Option<(NodeId, Term)>,
    /// The attempt that the leader of this term admitted: of this process, or of an earlier one.
    admitted: Option<(Term, u64)>,
    /// As leader of `term`: the members that asked.
    term: Term,
    returning: BTreeMap<NodeId, Returning>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The log holds everything that this node acknowledged.
    Whole,
    /// The log may have been cut, and no leader has admitted this node since.
    Outside,
    /// A leader has admitted this node. The log is whole once everything through this index is committed and durable
    /// here.
    CatchingUp(Index),
}

struct Returning {
    attempt: u64,
    /// The round that every other voter has to acknowledge.
    round: Round,
    /// The last index of the leader's log once they all had.
    through: Option<Index>,
}

impl Rejoin {
    /// Returns the standing of a process that has just started.
    pub(crate) fn new(attempt: u64, may_be_cut: bool) -> Rejoin {
        let standing = if may_be_cut { Standing::Outside } else { Standing::Whole };
        Rejoin {
            attempt,
            standing,
            recorded: may_be_cut,
            ask: None,
            admitted: None,
            term: 0,
            returning: BTreeMap::new(),
        }
    }

    /// Returns true if the log holds everything that this node acknowledged.
    pub(crate) fn is_whole(&self) -> bool {
        self.standing == Standing::Whole
    }

    /// Returns true while nothing that a leader sends may reach the engine.
    pub(crate) fn is_outside(&self) -> bool {
        self.standing == Standing::Outside
    }

    /// Notes that the log was cut. Returns false if this node is outside already.
    pub(crate) fn lose(&mut self) -> bool {
        let was_inside = !self.is_outside();
        if was_inside {
            self.standing = Standing::Outside;
            self.attempt = self.attempt.wrapping_add(1);
            self.recorded = false;
        }
        was_inside
    }

    /// Notes that the mark is durable.
    pub(crate) fn note_recorded(&mut self) {
        self.recorded = true;
    }

    /// Returns true if this is the number of the present attempt.
    pub(crate) fn is_present(&self, attempt: u64) -> bool {
        attempt == self.attempt
    }

    /// Notes a leader to ask for admission.
    pub(crate) fn note_leader(&mut self, leader: NodeId, term: Term) {
        self.ask = Some((leader, term));
    }

    /// Returns the leader to ask, and the request, once each time that a leader was noted.
    pub(crate) fn take_request(&mut self, last: Index) -> Option<(NodeId, wire::Rejoin)> {
        let (leader, term) = self.ask.take().filter(|_| self.is_outside() && self.recorded)?;
        Some((leader, wire::Rejoin::Request { term, last, attempt: self.attempt }))
    }

    /// Handles an admission by the leader of `term`. Outside, one that answers an earlier attempt means nothing.
    pub(crate) fn handle_admission(&mut self, term: Term, attempt: u64, through: Index) {
        if self.is_outside() {
            if attempt != self.attempt {
                return;
            }
            self.standing = Standing::CatchingUp(through);
        }
        self.admitted = Some((term, attempt));
    }

    /// Returns what every envelope of a follower in `term` carries.
    pub(crate) fn membership(&self, term: Term) -> Option<wire::Rejoin> {
        let (_, attempt) = self.admitted.filter(|(of, _)| *of == term)?;
        Some(wire::Rejoin::Member { attempt })
    }

    /// Ends the way back if everything through the index of the admission is committed and durable. Returns true if it
    /// ended now.
    pub(crate) fn has_caught_up(&mut self, committed: Index, durable: Index) -> bool {
        let caught_up = matches!(self.standing, Standing::CatchingUp(through) if through <= committed.min(durable));
        if caught_up {
            self.standing = Standing::Whole;
        }
        caught_up
    }

    /// As leader of `term`: handles a request of `node`, for which `open_round` opens a round. Returns false if this
    /// attempt was known.
    pub(crate) fn handle_request(
        &mut self,
        term: Term,
        node: NodeId,
        attempt: u64,
        open_round: impl FnOnce() -> Option<Round>,
    ) -> bool {
        if self.term != term {
            self.term = term;
            self.returning.clear();
        }
        if self.returning.get(&node).is_some_and(|returning| returning.attempt == attempt) {
            return false;
        }
        let Some(round) = open_round() else { return false };
        self.returning.insert(node, Returning { attempt, round, through: None });
        true
    }

    /// As leader of `term`: admits every node whose round all the other voters have acknowledged. `last` is the last
    /// index of this node's log.
    pub(crate) fn admit(&mut self, term: Term, last: Index, voters: &[NodeId], acked: impl Fn(NodeId, Round) -> bool) {
        for (node, returning) in self.returning.iter_mut().filter(|_| self.term == term) {
            let mut others = voters.iter().filter(|voter| *voter != node);
            if returning.through.is_none() && others.all(|voter| acked(*voter, returning.round)) {
                returning.through = Some(last);
            }
        }
    }

    /// As leader of `term`: returns true if an acknowledgement from `from` may be older than its request.
    pub(crate) fn may_be_lost(&self, term: Term, from: NodeId, sent: Option<wire::Rejoin>) -> bool {
        let returning = self.returning.get(&from).filter(|_| self.term == term);
        returning.is_some_and(|returning| sent != Some(wire::Rejoin::Member { attempt: returning.attempt }))
    }

    /// As leader of `term`: returns true if `node` returns and does not hold everything through its admission's index,
    /// given the last index that it holds.
    pub(crate) fn is_returning(&self, term: Term, node: NodeId, matched: Index) -> bool {
        let returning = self.returning.get(&node).filter(|_| self.term == term);
        returning.is_some_and(|returning| returning.through.is_none_or(|through| matched < through))
    }

    /// As leader of `term`: returns the admission that envelopes to `to` carry.
    pub(crate) fn admission_for(&self, to: NodeId, term: Term) -> Option<wire::Rejoin> {
        let returning = self.returning.get(&to).filter(|_| self.term == term)?;
        Some(wire::Rejoin::Admitted { term, attempt: returning.attempt, through: returning.through? })
    }
}
