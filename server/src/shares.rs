//! The part that a member plays in each group of a cluster of several, whose members group 0 decides.

use leasehold_core::NodeId;
use leasehold_node::members::{Aim, Members};

/// A member's part in all groups, as a node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// The number of groups in which it votes.
    pub(crate) votes_in: usize,
    /// The groups that have not made the change yet that group 0 has decided.
    pub(crate) behind: Vec<u16>,
    /// The groups that it has left although it is to vote: another node was to take its place, and was removed itself.
    pub(crate) left: Vec<u16>,
}

impl Share {
    /// Returns true if the member plays the same part in every group.
    pub(crate) fn is_complete(&self) -> bool {
        self.behind.is_empty() && self.left.is_empty()
    }

    /// Returns the share of a member. `groups` are the members of each group, that of group 0 first.
    pub(crate) fn new<'a>(node: NodeId, mut groups: impl Iterator<Item = &'a Members>) -> Share {
        let mut share = Share::default();
        let Some(decided) = groups.next() else { return share };
        let aim = decided.member(node).aim;
        let is_voter = decided.membership.voters.contains(&node);
        let stays = is_voter && !decided.departs(node);
        share.votes_in = usize::from(is_voter || decided.membership.voters_outgoing.contains(&node));
        for (group, Members { membership, .. }) in (1..).zip(groups) {
            let (votes, is_member) = (membership.voters.contains(&node), membership.names(node));
            share.votes_in += usize::from(votes || membership.voters_outgoing.contains(&node));
            let is_unused = node > membership.highest();
            let is_behind = match aim {
                Aim::Leaving => is_member || is_unused,
                Aim::Learner if !is_voter => is_unused,
                Aim::Replaces(old) if !is_voter && membership.names(old) => true,
                Aim::Learner | Aim::Voter | Aim::Replaces(_) => !votes && (is_member || is_unused),
            };
            if is_behind {
                share.behind.push(group);
            } else if stays && !votes {
                share.left.push(group);
            }
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use leasehold_node::members::Member;
    use std::collections::BTreeMap;

    fn members(voters: &[NodeId], learners: &[NodeId], aims: &[(NodeId, Aim)], highest: NodeId) -> Members {
        let note = |(node, aim): &(NodeId, Aim)| {
            let member = Member { aim: *aim, ..Member::default() };
            (*node, Bytes::from(wincode::serialize(&member).expect("a member encodes")))
        };
        let mut members = Members::default();
        members.membership.voters = voters.to_vec();
        members.membership.learners = learners.to_vec();
        members.membership.highest_before = highest;
        members.membership.notes = aims.iter().map(note).collect::<BTreeMap<_, _>>();
        members
    }

    fn share(node: NodeId, groups: &[Members]) -> Share {
        Share::new(node, groups.iter())
    }

    #[test]
    fn a_member_that_joins_is_behind_in_the_groups_in_which_it_does_not_vote() {
        let all = [
            members(&[1, 2, 3, 4], &[], &[(4, Aim::Voter)], 4),
            members(&[1, 2, 3, 4], &[], &[(4, Aim::Voter)], 4),
            members(&[1, 2, 3], &[4], &[(4, Aim::Voter)], 4),
            members(&[1, 2, 3], &[], &[], 3),
        ];
        assert_eq!(share(4, &all), Share { votes_in: 2, behind: vec![2, 3], left: vec![] });
        assert_eq!(share(1, &all), Share { votes_in: 4, ..Share::default() });
    }

    #[test]
    fn a_learner_is_behind_where_it_is_no_member() {
        let decided = members(&[1, 2, 3], &[4], &[(4, Aim::Learner)], 4);
        let all = [decided.clone(), decided, members(&[1, 2, 3], &[], &[], 3)];
        assert_eq!(share(4, &all), Share { votes_in: 0, behind: vec![2], left: vec![] });
    }

    #[test]
    fn a_member_that_leaves_is_behind_where_it_is_still_one_or_may_become_one() {
        let all = [
            members(&[1, 2, 3], &[4], &[(3, Aim::Leaving), (4, Aim::Leaving)], 4),
            members(&[1, 2, 3], &[], &[], 4),
            members(&[1, 2], &[], &[], 3),
        ];
        assert_eq!(share(3, &all), Share { votes_in: 2, behind: vec![1], left: vec![] });
        assert_eq!(share(4, &all), Share { votes_in: 0, behind: vec![2], left: vec![] });
    }

    #[test]
    fn a_replacement_is_behind_while_the_old_node_is_there_and_one_that_was_given_up_shows() {
        let all = [
            members(&[1, 2, 3], &[4], &[(4, Aim::Replaces(3))], 4),
            members(&[1, 2, 4], &[], &[(4, Aim::Voter)], 4),
            members(&[1, 2, 3], &[4], &[(4, Aim::Replaces(3))], 4),
        ];
        assert_eq!(share(4, &all), Share { votes_in: 1, behind: vec![2], left: vec![] });
        assert_eq!(share(3, &all), Share { votes_in: 2, ..Share::default() }, "it goes on");
        let all = [members(&[1, 2, 3], &[], &[], 4), members(&[1, 2], &[], &[], 4), members(&[1, 2, 3], &[], &[], 4)];
        assert_eq!(share(3, &all), Share { votes_in: 2, behind: vec![], left: vec![1] });
    }
}
