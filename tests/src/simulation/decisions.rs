//! Changes of the members of all groups, where one group decides who they are.

use super::failure::FailureKind;
use super::fault::Shape;
use super::marks::Mark;
use super::node::{DECIDING_GROUP, Input};
use super::world::World;
use leasehold::keyspace::Keyspace;
use leasehold_core::NodeId;
use leasehold_node::identity::Contact;
use leasehold_node::members::{Aim, MemberChange, Members};
use leasehold_node::ports::StateMachine as _;
use leasehold_raft::wire::Membership;
use leasehold_testing::dice::Dice;
use std::collections::BTreeSet;

impl World {
    /// Tells the leader of the deciding group about a change that an operator wants.
    pub(super) fn decide(&mut self, to: Shape) {
        self.focus_on(DECIDING_GROUP as usize);
        let draw = if let Shape::Drawn(draw) = to { draw } else { self.dice.any() };
        let Some(leader) = self.leader() else { return };
        let Some(process) = &self.nodes[leader].process else { return };
        let members = process.group().members();
        let Some(change) = draw_change(&mut Dice::new(draw, 1), &members.membership, self.nodes.len() as u64) else {
            return;
        };
        if self.tracing() {
            self.note(leader, "operator", format!("decides {change:?}"));
        }
        self.queue_input(leader, Input::Decide { change });
    }

    /// Checks a configuration that a node makes durable. Links refuse those that the deciding group has removed, so no
    /// other group may need one of them, or come to need it.
    pub(super) fn check_members(&mut self, node: usize, group: usize, membership: &Membership) {
        // What an older copy of a folder lacks was durable before.
        if !self.setup.decides || self.copies {
            return;
        }
        let gone = (1..=membership.highest()).filter(|member| membership.has_removed(*member));
        if group == DECIDING_GROUP as usize {
            let needed = gone.filter_map(|member| Some((member, self.group_that_needs(member)?))).next();
            if let Some((member, other)) = needed {
                let what = format!("n{} removes n{member} from all groups, and group {other} may need it", node + 1);
                self.fail(FailureKind::MemberStillNeeded, what);
            }
        } else {
            let decided = &self.nodes[node].disk.durable(DECIDING_GROUP as usize).applied.membership;
            let released = gone.filter(|member| decided.names(*member)).count();
            self.marks.reach_often(Mark::MemberReleased, released as u64);
        }
    }

    /// Checks, long after faults have healed, that every group has the members that were decided. A node whose replacement
    /// was given up half way has left some groups for good, and an operator has to replace or remove it.
    pub(super) fn check_members_agree(&mut self) {
        if !self.setup.decides {
            return;
        }
        let leader_of = |world: &mut World, group: usize| {
            world.focus_on(group);
            let leader = world.leader()?;
            Some(world.nodes[leader].process.as_ref()?.group().members())
        };
        let all: Option<Vec<Members>> = (0..self.groups.len()).map(|group| leader_of(self, group)).collect();
        // A missing leader is another failure.
        let Some((decided, others)) = all.as_ref().and_then(|all| all.split_first()) else { return };
        let voters = &decided.membership.voters;
        let has_left = |voter: &NodeId| {
            !decided.departs(*voter) && others.iter().any(|other| other.membership.has_removed(*voter))
        };
        if voters.iter().any(has_left) {
            return;
        }
        let is_pending = |member: NodeId| match decided.member(member).aim {
            Aim::Leaving | Aim::Replaces(_) => true,
            Aim::Voter => !voters.contains(&member),
            Aim::Learner => false,
        };
        if let Some(member) = decided.membership.members().find(|member| is_pending(*member)) {
            let what = format!("the change of n{member} is not made long after everything healed: {all:?}");
            return self.fail(FailureKind::Liveness, what);
        }
        let sorted = |numbers: &[NodeId]| numbers.iter().copied().collect::<BTreeSet<_>>();
        let of = |members: &Members| (sorted(&members.membership.voters), sorted(&members.membership.learners));
        if let Some(group) = others.iter().position(|other| of(other) != of(decided)) {
            let what = format!("group {} has other members long after everything healed: {all:?}", group + 1);
            self.fail(FailureKind::Liveness, what);
        }
    }

    /// Returns a group in which no node has released a member durably.
    fn group_that_needs(&self, member: NodeId) -> Option<usize> {
        let has_released_in = |group: usize| {
            let known = |node: &super::node::Node| node.disk.durable(group).applied.membership.has_removed(member);
            self.nodes.iter().any(known)
        };
        (0..self.groups.len()).filter(|group| *group != DECIDING_GROUP as usize).find(|group| !has_released_in(*group))
    }
}

/// Draws a change of the members. Each number is used once, so some nodes are left alone.
fn draw_change(dice: &mut Dice, now: &Membership, nodes: u64) -> Option<MemberChange> {
    let node = 1 + dice.below(nodes);
    if now.learners.contains(&node) && dice.chance(700_000) {
        return Some(MemberChange::Promote { node });
    }
    if now.names(node) {
        return dice.chance(500_000).then_some(MemberChange::Remove { node });
    }
    // A lower number that was never used would be lost.
    let node = now.highest() + 1;
    let contact = Contact { incarnation: node, entries: Keyspace::NEWEST_VERSION, ..Contact::default() };
    let aim = dice.pick(&[Aim::Voter, Aim::Learner, Aim::Replaces(*now.voters.first()?)]);
    (node <= nodes).then_some(MemberChange::Add { node, contact, aim })
}
