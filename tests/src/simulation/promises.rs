//! Oracles for a node's promises: its hold in true time, and the durable state behind each message.
//!
//! A broken promise causes visible harm only if some leader and some reader relied on it. Checking the promises
//! directly finds a bug in seconds instead of hours.

use super::failure::FailureKind;
use super::node::Promise;
use super::types::Clocks;
use super::world::World;
use leasehold_core::{Instant, NodeId, Reading, Round, Term, TermRound};
use leasehold_node::Role;
use leasehold_raft::wire::{Envelope, MessageKind};

impl World {
    /// Records the hold a node promised, if it echoed a new round while handling a frame.
    pub(super) fn note_promise(&mut self, node: usize) {
        let hold = self.setup.timings[self.nodes[node].timing as usize].hold().as_nanos() as u64;
        // Assumes the fastest clock within the drift, and rounds down, so that no hold is overestimated.
        let shortest = hold * 1_000_000 / (1_000_000 + u64::from(self.setup.drift_ppm)) - 2;
        let until = self.now + shortest;
        let machine = &mut self.nodes[node];
        let Some(echoed) = machine.process.as_ref().and_then(|process| process.replica().grantor().newest()) else {
            return;
        };
        let (boot, promises) = (machine.boot, &mut machine.promises[self.focus]);
        // An echo counts even if the grantor no longer reports it as its newest.
        if promises.echoed >= Some((boot, echoed)) {
            return;
        }
        promises.echoed = Some((boot, echoed));
        // A later promise replaces one that ends earlier. A promise by an earlier process may end later than this one.
        if promises.promise.is_none_or(|earlier| earlier.until <= until) {
            promises.promise = Some(Promise { echoed, boot, until });
        }
    }

    /// Records a release that a node received. A release is permanent: it covers rounds echoed before it, and later
    /// repetitions of them. It covers nothing that was promised before a restart.
    pub(super) fn note_release(&mut self, node: usize, (term, round): (Term, Round)) {
        let machine = &mut self.nodes[node];
        let (boot, through) = (machine.boot, TermRound { term, round });
        let released = &mut machine.promises[self.focus].released;
        let known = released.filter(|(of, known)| *of == boot && *known >= through);
        *released = known.or(Some((boot, through)));
    }

    /// Returns the promise that forbids a node to help elect another leader, if there is one.
    pub(super) fn binding_promise(&self, node: usize) -> Option<Promise> {
        let machine = &self.nodes[node];
        let promises = machine.promises[self.focus];
        let released = |promise: &Promise| {
            let of_this_process = promises.released.filter(|(boot, _)| *boot == promise.boot && *boot == machine.boot);
            of_this_process.is_some_and(|(_, through)| promise.echoed <= through)
        };
        let in_time = promises.promise.filter(|promise| self.now < promise.until && self.clocks == Clocks::Within);
        in_time.filter(|promise| !released(promise))
    }

    /// Checks a vote request that reached a node's engine.
    pub(super) fn check_vote(&mut self, node: usize, from: NodeId) {
        if let Some(promise) = self.binding_promise(node) {
            let what = format!(
                "n{} considers a vote for n{from} {} us before its hold ends: it echoed round {} of term {}",
                node + 1,
                (promise.until - self.now).div_ceil(1_000),
                promise.echoed.round,
                promise.echoed.term
            );
            self.fail(FailureKind::PromiseBroken, what);
        }
    }

    /// Checks that the first tick after a hold starts the campaign that the hold withheld. Before the timeout was
    /// handled, a tick was due at `due`, and `withheld` campaigns had been withheld.
    pub(super) fn check_kept_back(&mut self, node: usize, reading: Reading, due: Option<Instant>, withheld: u64) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let replica = process.replica();
        let next = replica.poll_timeout().map(|(at, _)| at);
        // After a backward reading, the tick interval starts again.
        let later = |(due, next): (Instant, Instant)| next != due && !next.is_before_on_either_counter(due);
        let ticked = reading.is_none() || due.zip(next).is_some_and(later);
        let kept_back = replica.statistics().campaigns_withheld > withheld;
        let forgotten = process.hosted().watched.kept_back && ticked && !kept_back && replica.role() == Role::Follower;
        process.hosted_mut().watched.kept_back = kept_back || (process.hosted_mut().watched.kept_back && !ticked);
        if forgotten {
            let what = format!("n{} does not campaign after the end of the hold that withheld its campaign", node + 1);
            self.fail(FailureKind::Liveness, what);
        }
    }

    /// Checks an envelope that is about to be sent.
    pub(super) fn check_sent(&mut self, node: usize, to: NodeId, envelope: &Envelope) {
        let machine = &self.nodes[node];
        let Some(process) = &machine.process else { return };
        let replica = process.replica();
        let permit = process.hosted().gate.lease().try_read(machine.clock.peek(self.now));
        // "Campaign now" may be sent after its transfer was abandoned, but then the lease rests on rounds later than
        // the release.
        let hands_over = envelope.messages.iter().any(|message| message.kind == MessageKind::TimeoutNow)
            && envelope.release.is_none_or(|(_, round)| replica.holder().quorum_round() <= Some(round));
        if let Some(permit) = permit
            && (replica.role() != Role::Leader || replica.term() != permit.term || hands_over)
        {
            let what = format!(
                "n{} sends to n{to} while its lease of term {} is valid, but no longer leads",
                node + 1,
                permit.term
            );
            return self.fail(FailureKind::LeaseOutlivedLeadership, what);
        }
        let durable = machine.disk.durable(self.focus);
        let hold = self.setup.timings[machine.timing as usize].hold();
        if envelope.ack.is_some() && durable.longest_hold < hold {
            let what = format!(
                "n{} echoes under a hold of {hold:?}, but the durable hold is {:?}",
                node + 1,
                durable.longest_hold
            );
            return self.fail(FailureKind::NotDurable, what);
        }
        let last = durable.entries.last().map_or(durable.compacted.0, |entry| entry.index);
        for message in &envelope.messages {
            let carries_its_term =
                !matches!(message.kind, MessageKind::RequestPreVote | MessageKind::RequestPreVoteResponse);
            let hard_state = durable.hard_state;
            let missing = match message.kind {
                _ if carries_its_term && message.term > hard_state.term => Some("its term"),
                MessageKind::RequestVote if message.term == hard_state.term && hard_state.vote != machine.id => {
                    Some("its vote for itself")
                }
                MessageKind::RequestVoteResponse
                    if !message.reject && message.term == hard_state.term && hard_state.vote != to =>
                {
                    Some("the vote")
                }
                // Uncommitted entries acknowledged in an earlier term may have been overwritten since by a later
                // leader.
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
                && let Some(promise) = self.binding_promise(node)
                && promise.echoed.term < message.term
            {
                let what = format!(
                    "n{} campaigns in term {} {} us before its hold ends: it echoed round {} of term {}",
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
