//! What a node has promised, watched from outside: its hold by true time, and the disk behind what it sends.
//!
//! A broken promise need not do harm, for there must also be a leader who relied on it, and a reader. Watching the promises
//! themselves finds in seconds what harm alone would show in hours.

use super::failure::FailureKind;
use super::node::Promise;
use super::types::Clocks;
use super::world::World;
use leasehold_core::{Instant, NodeId, Reading, Round, Term, TermRound};
use leasehold_node::Role;
use leasehold_raft::wire::{Envelope, MessageKind};

impl World {
    /// A frame with a round was handled: if it was echoed for the first time, the node has promised a hold.
    pub(super) fn note_promise(&mut self, node: usize) {
        let hold = self.setup.timings[self.nodes[node].timing as usize].hold().as_nanos() as u64;
        // By a clock that is as fast as may be, and rounds in its favour.
        let shortest = hold * 1_000_000 / (1_000_000 + u64::from(self.setup.drift_ppm)) - 2;
        let until = self.now + shortest;
        let machine = &mut self.nodes[node];
        let Some(echoed) = machine.process.as_ref().and_then(|process| process.replica().grantor().newest()) else {
            return;
        };
        let (boot, earlier) = (machine.boot, machine.promise);
        // What it echoed it echoed, whatever it thinks its newest is.
        if machine.echoed >= Some((boot, echoed)) {
            return;
        }
        machine.echoed = Some((boot, echoed));
        // A later promise takes the place of one that ends earlier; one of an earlier process may end later.
        if earlier.is_none_or(|earlier| earlier.until <= until) {
            machine.promise = Some(Promise { echoed, boot, until });
        }
    }

    /// A node was shown a release. It is true for ever, so what it covers binds nobody, echoed before or repeated later; but what
    /// was promised before a restart, no release covers.
    pub(super) fn note_release(&mut self, node: usize, (term, round): (Term, Round)) {
        let machine = &mut self.nodes[node];
        let through = TermRound { term, round };
        let known = machine.released.filter(|(boot, known)| *boot == machine.boot && *known >= through);
        machine.released = known.or(Some((machine.boot, through)));
    }

    /// What keeps a node from helping to elect anyone now, if something does.
    fn bound(&self, node: usize) -> Option<Promise> {
        let machine = &self.nodes[node];
        let released = |promise: &Promise| {
            let of_this_process = machine.released.filter(|(boot, _)| *boot == promise.boot && *boot == machine.boot);
            of_this_process.is_some_and(|(_, through)| promise.echoed <= through)
        };
        let in_time = machine.promise.filter(|promise| self.now < promise.until && self.clocks == Clocks::Within);
        in_time.filter(|promise| !released(promise))
    }

    /// A request for a vote reached a node's engine.
    pub(super) fn check_vote(&mut self, node: usize, from: NodeId) {
        if let Some(promise) = self.bound(node) {
            let what = format!(
                "n{} considers a vote for n{from} {} us before it may: it echoed round {} of term {}",
                node + 1,
                (promise.until - self.now).div_ceil(1_000),
                promise.echoed.round,
                promise.echoed.term
            );
            self.fail(FailureKind::PromiseBroken, what);
        }
    }

    /// A timeout was handled; before, a tick was due at `due`, and so many campaigns had been withheld. A tick that would have begun
    /// a campaign during the hold is kept back, and the first one after it begins the campaign.
    pub(super) fn check_kept_back(&mut self, node: usize, reading: Reading, due: Option<Instant>, withheld: u64) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let replica = process.replica();
        let next = replica.poll_timeout().map(|(at, _)| at);
        // After a backward reading the interval to the next tick begins anew.
        let later = |(due, next): (Instant, Instant)| next != due && !next.is_before_on_either_counter(due);
        let ticked = reading.is_none() || due.zip(next).is_some_and(later);
        let kept_back = replica.statistics().campaigns_withheld > withheld;
        let forgotten = process.watched.kept_back && ticked && !kept_back && replica.role() == Role::Follower;
        process.watched.kept_back = kept_back || (process.watched.kept_back && !ticked);
        if forgotten {
            let what = format!("n{} was held when it would have campaigned, is free now, and does not", node + 1);
            self.fail(FailureKind::Liveness, what);
        }
    }

    /// An envelope is about to leave.
    pub(super) fn check_sent(&mut self, node: usize, to: NodeId, envelope: &Envelope) {
        let machine = &self.nodes[node];
        let Some(process) = &machine.process else { return };
        let replica = process.replica();
        let permit = process.gate.lease().try_read(machine.clock.peek(self.now));
        // "Campaign now" may leave after its transfer was given up, but then the lease rests on later rounds than it releases.
        let hands_over = envelope.messages.iter().any(|message| message.kind == MessageKind::TimeoutNow)
            && envelope.release.is_none_or(|(_, round)| replica.holder().quorum_round() <= Some(round));
        if let Some(permit) = permit
            && (replica.role() != Role::Leader || replica.term() != permit.term || hands_over)
        {
            let what = format!(
                "n{} sends to n{to} while its lease of term {} is valid, and leads no more",
                node + 1,
                permit.term
            );
            return self.fail(FailureKind::LeaseOutlivedLeadership, what);
        }
        let durable = machine.disk.durable();
        let hold = self.setup.timings[machine.timing as usize].hold();
        if envelope.ack.is_some() && durable.longest_hold < hold {
            let what =
                format!("n{} echoes under a hold of {hold:?}, but {:?} is on disk", node + 1, durable.longest_hold);
            return self.fail(FailureKind::NotDurable, what);
        }
        let last = durable.entries.last().map_or(durable.compacted.0, |entry| entry.index);
        for message in &envelope.messages {
            let term_is_told =
                !matches!(message.kind, MessageKind::RequestPreVote | MessageKind::RequestPreVoteResponse);
            let hard_state = durable.hard_state;
            let missing = match message.kind {
                _ if term_is_told && message.term > hard_state.term => Some("its term"),
                MessageKind::RequestVote if message.term == hard_state.term && hard_state.vote != machine.id => {
                    Some("its vote for itself")
                }
                MessageKind::RequestVoteResponse
                    if !message.reject && message.term == hard_state.term && hard_state.vote != to =>
                {
                    Some("the vote")
                }
                // What was acknowledged in an earlier term may have been overwritten since by the leader of a later one, as far as
                // it was not committed.
                MessageKind::AppendResponse
                    if !message.reject && message.term == hard_state.term && message.index > last =>
                {
                    Some("the entries")
                }
                _ => None,
            };
            if let Some(missing) = missing {
                let what = format!("n{} sends {:?} to n{to}, but {missing} is not on disk", node + 1, message.kind);
                return self.fail(FailureKind::NotDurable, what);
            }
            if message.kind == MessageKind::RequestVote
                && let Some(promise) = self.bound(node)
                && promise.echoed.term < message.term
            {
                let what = format!(
                    "n{} campaigns in term {} {} us before it may: it echoed round {} of term {}",
                    node + 1,
                    message.term,
                    (promise.until - self.now).div_ceil(1_000),
                    promise.echoed.round,
                    promise.echoed.term
                );
                return self.fail(FailureKind::PromiseBroken, what);
            }
        }
    }
}
