//! Says which group changes its leader, so that each node leads as many groups as another one.

use leasehold_core::NodeId;
use std::collections::BTreeMap;

/// The leaders of all groups, and the number of groups that each connected voter leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spread {
    leaders: Vec<Option<NodeId>>,
    led: BTreeMap<NodeId, usize>,
}

impl Spread {
    /// Returns the spread of these leaders, in the order of their groups, over the connected voters.
    pub(crate) fn new(leaders: Vec<Option<NodeId>>, voters: impl Iterator<Item = NodeId>) -> Spread {
        let count = |voter| leaders.iter().filter(|leader| **leader == Some(voter)).count();
        let led = voters.map(|voter| (voter, count(voter))).collect();
        Spread { leaders, led }
    }

    /// Returns the group that `own` hands over, and the node that takes it. Nothing is handed over while a group has no
    /// leader: the cluster is changing by itself. A difference of one is no reason, so that no group goes back and forth.
    /// Nor is one given to `failed`, which did not take over before.
    pub(crate) fn surplus(&self, own: NodeId, failed: Option<NodeId>) -> Option<(u16, NodeId)> {
        if self.leaderless().is_some() {
            return None;
        }
        let led = *self.led.get(&own)?;
        let is_most = self.led.values().all(|others| *others <= led);
        let others = self.led.iter().filter(|(voter, _)| Some(**voter) != failed);
        let (to, least) = others.min_by_key(|(_, led)| **led)?;
        if !is_most || led < least + 2 {
            return None;
        }
        let group = self.leaders.iter().rposition(|leader| *leader == Some(own))?;
        Some((u16::try_from(group).ok()?, *to))
    }

    /// Returns the group that is handed over next, and the node that takes it; `None` if the shares are equal, but for a
    /// difference of one, or a group has no connected leader.
    pub(crate) fn next_move(&self) -> Option<(u16, NodeId)> {
        self.led.keys().find_map(|voter| self.surplus(*voter, None))
    }

    /// Returns a group whose leader is unknown or not connected.
    pub(crate) fn leaderless(&self) -> Option<usize> {
        self.leaders.iter().position(|leader| leader.is_none_or(|leader| !self.led.contains_key(&leader)))
    }

    /// Returns the number of groups that each connected voter leads.
    pub(crate) fn led(&self) -> &BTreeMap<NodeId, usize> {
        &self.led
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(leaders: &[u64], voters: u64) -> Spread {
        let leaders = leaders.iter().map(|leader| Some(*leader).filter(|leader| *leader > 0));
        Spread::new(leaders.collect(), 1..=voters)
    }

    #[test]
    fn a_node_hands_over_its_last_group_only_if_another_one_leads_two_fewer() {
        for (leaders, of_one) in [
            (&[1, 1, 1, 1][..], Some((3, 2))),
            (&[1, 1, 2, 3], None),
            (&[1, 1, 2, 2], Some((1, 3))),
            (&[2, 2, 2, 1], None),
            (&[1, 3, 1, 3, 1, 3, 2], Some((4, 2))),
            // A group has no leader, or one that is not connected.
            (&[1, 1, 1, 0], None),
            (&[1, 1, 1, 4], None),
        ] {
            assert_eq!(spread(leaders, 3).surplus(1, None), of_one, "{leaders:?}");
        }
        assert_eq!(spread(&[1, 1, 1], 1).surplus(1, None), None, "it is alone");
        assert_eq!(spread(&[1, 1, 1], 3).surplus(4, None), None, "it does not vote");
        assert_eq!(spread(&[1, 1, 1], 3).surplus(1, Some(2)), Some((2, 3)), "another one takes it");
        assert_eq!(spread(&[1, 1, 2], 2).surplus(1, Some(2)), None);
    }

    #[test]
    fn handing_over_ends_with_equal_shares_from_any_start() {
        for seed in 0..200_u64 {
            let draw = |group: u64| 1 + (seed * 31 + group * group * 7 + seed * group) % 3;
            let mut leaders: Vec<_> = (0..seed % 17 + 1).map(draw).collect();
            let mut moves = 0;
            loop {
                let now = spread(&leaders, 3);
                let Some((group, to)) = now.next_move() else { break };
                leaders[usize::from(group)] = to;
                moves += 1;
                assert!(moves <= leaders.len(), "each group moves once at most: {leaders:?}");
            }
            let spread = spread(&leaders, 3);
            let led = spread.led();
            assert!(
                led.values().max().zip(led.values().min()).is_some_and(|(most, least)| most - least <= 1),
                "{led:?}"
            );
        }
    }
}
