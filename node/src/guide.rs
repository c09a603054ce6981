//! Several groups with the same members: one of them decides who the members are, and the others follow it. The rules are
//! those of `docs/protocol.md`, section "Members", from 10 on.

use crate::members::{Aim, Member, MemberChange, understood};
use crate::ports::GroupId;
use leasehold_core::NodeId;
use leasehold_raft::wire::Membership;
use std::collections::BTreeSet;

/// The members that the deciding group has, as this node knows them durably.
#[derive(Debug)]
pub(crate) struct Guide {
    /// The deciding group.
    pub(crate) group: GroupId,
    /// Its configuration.
    pub(crate) membership: Membership,
    /// The members that are to go, of their own or because others take their place.
    pub(crate) departing: BTreeSet<NodeId>,
    /// Those of them that every other group of this node has released. Empty unless this node leads the deciding group.
    pub(crate) released: BTreeSet<NodeId>,
    /// A group that has not released one of them has no leader here, or not this node as a member: it may go on without
    /// this node.
    pub(crate) may_be_left_out: bool,
}

/// Returns the description of a member as another group is to have it. `None` if only a newer release understands it.
fn wanted(decided: &Membership, node: NodeId) -> Option<Member> {
    let Member { contact, aim } = understood(decided, node)?;
    let votes = decided.voters.contains(&node) && aim != Aim::Leaving;
    Some(Member { contact, aim: if votes { Aim::Voter } else { aim } })
}

/// Returns the changes after which a group with the members `own` has those that were decided, in the order in which they
/// are to be tried. One is made after the other, and the rest is found again then.
///
/// `decided` may be of any age, older or newer than what `own` has followed already. So only facts count that never
/// change back: a number that `own` has used is not added again, and a member is removed if it leaves, or if `decided`
/// used its number and does not have it.
pub(crate) fn following(decided: &Membership, own: &Membership) -> Vec<MemberChange> {
    let mut changes = Vec::new();
    let members: BTreeSet<NodeId> = decided.members().collect();
    // The lowest one first: a higher one would use up its number. Also one that leaves: only a number that was used is
    // known not to be added later, by a leader that knows less.
    let missing = members.iter().copied().find(|node| *node > own.highest());
    if let Some((node, Member { contact, aim })) = missing.and_then(|node| Some((node, wanted(decided, node)?))) {
        // Without the other one, there is no place to take.
        let aim = if matches!(aim, Aim::Replaces(old) if !own.names(old)) { Aim::Voter } else { aim };
        changes.push(MemberChange::Add { node, contact, aim });
    }
    let is_promoted = |learner: &NodeId| {
        let (wanted, known) = (wanted(decided, *learner), understood(own, *learner));
        let waits = known.is_some_and(|known| matches!(known.aim, Aim::Learner | Aim::Replaces(_)));
        members.contains(learner) && waits && wanted.is_some_and(|wanted| wanted.aim == Aim::Voter)
    };
    changes.extend(own.learners.iter().copied().filter(is_promoted).map(|node| MemberChange::Promote { node }));
    let leaves = |node: NodeId| understood(decided, node).is_some_and(|member| member.aim == Aim::Leaving);
    let is_gone = |node: &NodeId| leaves(*node) || decided.has_removed(*node);
    let gone: BTreeSet<NodeId> = own.members().filter(is_gone).collect();
    changes.extend(gone.into_iter().map(|node| MemberChange::Remove { node }));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Contact;
    use crate::members::departures;

    fn contact(node: NodeId) -> Contact {
        Contact { incarnation: 10 * node, entries: 2, ..Contact::default() }
    }

    /// Returns a configuration with notes on the members that have an aim.
    fn configuration(voters: &[NodeId], learners: &[NodeId], aims: &[(NodeId, Aim)], highest: NodeId) -> Membership {
        let note = |(node, aim): &(NodeId, Aim)| (*node, Member { contact: contact(*node), aim: *aim }.to_note());
        Membership {
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            notes: aims.iter().map(note).collect(),
            highest_before: highest,
            changed: 1,
            ..Membership::default()
        }
    }

    fn add(node: NodeId, aim: Aim) -> MemberChange {
        MemberChange::Add { node, contact: contact(node), aim }
    }

    #[test]
    fn equal_members_change_nothing() {
        let own = configuration(&[1, 2, 3], &[4], &[(4, Aim::Learner)], 5);
        assert_eq!(following(&own, &own), []);
        let founded = Membership::founding(vec![1, 2, 3]);
        assert_eq!(following(&founded, &founded), []);
    }

    #[test]
    fn new_members_are_added_with_their_aims_and_the_lowest_number_first() {
        let own = Membership::founding(vec![1, 2, 3]);
        let aims = [(4, Aim::Learner), (5, Aim::Replaces(3)), (6, Aim::Replaces(3))];
        let decided = configuration(&[1, 2, 3, 5], &[4, 6], &aims, 6);
        assert_eq!(following(&decided, &own), [add(4, Aim::Learner)]);
        let own = configuration(&[1, 2, 3], &[4], &[(4, Aim::Learner)], 4);
        assert_eq!(following(&decided, &own), [add(5, Aim::Voter)], "it votes already where that was decided");
        let own = configuration(&[1, 2, 3], &[4, 5], &[(4, Aim::Learner), (5, Aim::Voter)], 5);
        assert_eq!(following(&decided, &own), [add(6, Aim::Replaces(3))]);
        let own = configuration(&[1, 2, 5], &[4], &[(4, Aim::Learner), (5, Aim::Voter)], 5);
        assert_eq!(following(&decided, &own), [add(6, Aim::Voter)], "there is nothing left to replace");
    }

    #[test]
    fn a_number_that_a_group_used_is_not_added_again() {
        let own = configuration(&[1, 2, 3], &[], &[], 4);
        let decided = configuration(&[1, 2, 3], &[4], &[(4, Aim::Voter)], 4);
        assert_eq!(following(&decided, &own), []);
    }

    #[test]
    fn a_member_that_leaves_is_added_where_its_number_is_unused_and_then_removed() {
        let decided = configuration(&[1, 2, 3], &[4], &[(4, Aim::Leaving)], 4);
        let own = Membership::founding(vec![1, 2, 3]);
        assert!(!own.has_removed(4));
        assert_eq!(following(&decided, &own), [add(4, Aim::Leaving)]);
        let own = configuration(&[1, 2, 3], &[4], &[(4, Aim::Leaving)], 4);
        assert_eq!(following(&decided, &own), [MemberChange::Remove { node: 4 }]);
        let own = configuration(&[1, 2, 3], &[], &[], 4);
        assert!(own.has_removed(4));
        assert_eq!(following(&decided, &own), []);
    }

    #[test]
    fn an_old_decision_neither_removes_a_newer_member_nor_takes_a_promotion_back() {
        let decided = configuration(&[1, 2, 3], &[4], &[(4, Aim::Learner)], 4);
        let own = configuration(&[1, 2, 3], &[4, 5], &[(4, Aim::Voter), (5, Aim::Voter)], 5);
        assert_eq!(following(&decided, &own), []);
        let decided = Membership::founding(vec![1, 2, 3]);
        assert_eq!(following(&decided, &own), []);
    }

    #[test]
    fn members_that_are_gone_are_removed_and_learners_are_promoted() {
        let decided = configuration(&[1, 3, 6], &[], &[(3, Aim::Leaving), (6, Aim::Voter)], 6);
        let own = configuration(&[1, 2, 3], &[5, 6], &[(5, Aim::Voter), (6, Aim::Replaces(2))], 6);
        let expected = [
            MemberChange::Promote { node: 6 },
            MemberChange::Remove { node: 2 },
            MemberChange::Remove { node: 3 },
            MemberChange::Remove { node: 5 },
        ];
        assert_eq!(following(&decided, &own), expected);
    }

    #[test]
    fn those_depart_that_leave_or_whose_place_is_taken() {
        let aims = [(1, Aim::Leaving), (4, Aim::Replaces(2)), (5, Aim::Replaces(9)), (6, Aim::Leaving)];
        let decided = configuration(&[1, 2, 3], &[4, 5, 6], &aims, 9);
        assert_eq!(departures(&decided), [1, 2, 6].into());
    }

    #[test]
    fn a_note_that_only_a_newer_release_understands_is_not_copied() {
        let mut decided = configuration(&[1, 2, 3], &[4, 5], &[(5, Aim::Voter)], 5);
        decided.notes.insert(4, bytes::Bytes::from_static(b"what a newer release wrote"));
        assert_eq!(following(&decided, &Membership::founding(vec![1, 2, 3])), []);
    }
}
