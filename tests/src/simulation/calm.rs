//! Bounded checks on the calm cluster at the end of a run: a leadership transfer must complete within a hold, and an
//! isolated leader must step down.

use super::failure::FailureKind;
use super::fault::{Frames, Hitch, Way};
use super::marks::Mark;
use super::types::Nanos;
use super::world::{Event, World};
use leasehold_core::{NodeId, Term};

impl World {
    /// Returns an upper bound on a transfer in a calm cluster. It takes at most five messages ("campaign now", a vote
    /// request and its response, perhaps entries and their acknowledgement) and three syncs, each queued behind another
    /// one. A hold is longer.
    pub(super) fn time_to_hand_over(&self) -> Nanos {
        let (links, (sync, _)) = (&self.setup.links, self.setup.sync);
        // Subleases are recalled and returned first.
        let messages = if self.setup.local_readers > 0 { 7 } else { 5 };
        messages * (links.latency + links.jitter) + 6 * 2 * sync
    }

    /// Transfers leadership. With `alone`, the old leader is cut off as soon as it has sent "campaign now".
    pub(super) fn hand_over(&mut self, alone: bool) {
        let Some(leader) = self.leader() else {
            return self.fail(FailureKind::Liveness, "no leader in a calm cluster".to_owned());
        };
        let process = self.nodes[leader].process.as_ref().expect("a leader runs");
        let members = process.replica().membership();
        let voters = members.voters.len();
        let applied = process.applied();
        let caught_up = |node: &usize| {
            let process = self.nodes[*node].process.as_ref();
            *node != leader
                && members.voters.contains(&(*node as NodeId + 1))
                && process.is_some_and(|process| process.applied() == applied)
        };
        let others = (1..self.nodes.len()).map(|by| (leader + by) % self.nodes.len());
        // Two voters of two, or both halves of a joint configuration, need the old leader's vote.
        let can = members.voters_outgoing.is_empty() && voters > if alone { 2 } else { 1 };
        // A leader that is cut off while it recalls subleases does not get to "campaign now".
        let can = can && !(alone && self.setup.local_readers > 0);
        let Some(target) = others.into_iter().find(caught_up).filter(|_| can) else { return };
        let within = self.time_to_hand_over();
        self.transfer(target, if alone { Hitch::LeaderIsCutOff(within) } else { Hitch::None });
        self.at(self.now + within, Event::HandedOver { to: target as u8, alone });
    }

    /// Checks that the transfer has completed.
    pub(super) fn check_handed_over(&mut self, to: usize, alone: bool) {
        if self.leader() != Some(to) {
            let what = format!("n{} was the target of a transfer in a calm cluster, but does not lead", to + 1);
            return self.fail(FailureKind::Liveness, what);
        }
        self.marks.reach(if alone { Mark::HandedOverAlone } else { Mark::HandedOver });
    }

    /// Returns an upper bound on the time until an isolated leader steps down. It checks its quorum once per hold, and
    /// steps down if it heard from no quorum since the previous check.
    pub(super) fn time_to_step_down(&self) -> Nanos {
        self.setup.longest_hold() * 5 / 2
    }

    /// Cuts the leader off, if it needs other nodes for a quorum.
    pub(super) fn cut_off(&mut self) {
        let Some(leader) = self.leader() else {
            return self.fail(FailureKind::Liveness, "no leader in a calm cluster".to_owned());
        };
        let process = self.nodes[leader].process.as_ref().expect("a leader runs");
        let term = process.replica().term();
        if process.replica().membership().voters.len() > 1 {
            let within = self.time_to_step_down();
            self.isolate(leader, Way::Both, Frames::Lost, within + 1);
            self.at(self.now + within, Event::SteppedDown { node: leader as u8, term });
        }
    }

    /// Checks that the isolated leader has stepped down.
    pub(super) fn check_stepped_down(&mut self, node: usize, term: Term) {
        let process = self.nodes[node].process.as_ref();
        if process.is_some_and(|process| {
            process.replica().role() == leasehold_node::Role::Leader && process.replica().term() == term
        }) {
            self.fail(FailureKind::Liveness, format!("n{} is cut off but still leads term {term}", node + 1));
        }
    }
}
