//! What is tried in the calm at the end of a run, where a bound can be set: leadership is handed over, which must take less than
//! a hold, and a leader is cut off, which must step down.

use super::failure::FailureKind;
use super::fault::{Frames, Hitch, Way};
use super::marks::Mark;
use super::types::Nanos;
use super::world::{Event, World};
use leasehold_core::{NodeId, Term};

impl World {
    /// Within this a transfer ends, when nothing is amiss: five messages ("campaign now", a vote asked for and given, and
    /// before that perhaps entries and their acknowledgement) and three syncs, each behind another one. Holds last longer.
    pub(super) fn time_to_hand_over(&self) -> Nanos {
        let (links, (sync, _)) = (&self.setup.links, self.setup.sync);
        5 * (links.latency + links.jitter) + 6 * 2 * sync
    }

    /// An operator has leadership handed over. If the old leader is to do without itself, it is cut off as soon as it has asked.
    pub(super) fn hand_over(&mut self, alone: bool) {
        let Some(leader) = self.leader() else {
            return self.fail(FailureKind::Liveness, "nobody leads although all is calm".to_owned());
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
        // Two voters of two, or both halves of a joint configuration, cannot do without the old leader.
        let can = members.voters_outgoing.is_empty() && voters > if alone { 2 } else { 1 };
        let Some(target) = others.into_iter().find(caught_up).filter(|_| can) else { return };
        let within = self.time_to_hand_over();
        self.transfer(target, if alone { Hitch::LeaderIsCutOff(within) } else { Hitch::None });
        self.at(self.now + within, Event::HandedOver { to: target as u8, alone });
    }

    /// By now it must have been.
    pub(super) fn check_handed_over(&mut self, to: usize, alone: bool) {
        if self.leader() != Some(to) {
            let what = format!("n{} was to be handed leadership in a calm cluster, and does not lead", to + 1);
            return self.fail(FailureKind::Liveness, what);
        }
        self.marks.reach(if alone { Mark::HandedOverAlone } else { Mark::HandedOver });
    }

    /// Within this a leader steps down that hears from nobody: it looks once a hold, and must have heard nothing since it last
    /// looked.
    pub(super) fn time_to_step_down(&self) -> Nanos {
        self.setup.longest_hold() * 5 / 2
    }

    /// The leader is cut off, if it needs others to be a quorum.
    pub(super) fn cut_off(&mut self) {
        let Some(leader) = self.leader() else {
            return self.fail(FailureKind::Liveness, "nobody leads although all is calm".to_owned());
        };
        let process = self.nodes[leader].process.as_ref().expect("a leader runs");
        let term = process.replica().term();
        if process.replica().membership().voters.len() > 1 {
            let within = self.time_to_step_down();
            self.isolate(leader, Way::Both, Frames::AreLost, within + 1);
            self.at(self.now + within, Event::SteppedDown { node: leader as u8, term });
        }
    }

    /// By now it must have stepped down.
    pub(super) fn check_stepped_down(&mut self, node: usize, term: Term) {
        let process = self.nodes[node].process.as_ref();
        if process.is_some_and(|process| {
            process.replica().role() == leasehold_node::Role::Leader && process.replica().term() == term
        }) {
            self.fail(FailureKind::Liveness, format!("n{} hears from nobody and leads on in term {term}", node + 1));
        }
    }
}
