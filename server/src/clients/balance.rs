//! Spreads the leaders of the groups over the nodes. A node that leads at least two groups more than another one hands one
//! over, and then looks again.

use super::shared::Clients;
use leasehold_core::NodeId;
use leasehold_node::REQUEST_TIMEOUT;
use leasehold_runtime::Runtime;
use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

/// The shortest interval of the looks, which is the hold otherwise. A node hands over at most one group in each.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The looks in a row that must find the same leaders and the same nodes before a group is handed over.
const STEADY_LOOKS: u32 = 3;
/// The time for which these looks go on at least: a node that stops has handed over its groups, and waits for so long for
/// its clients and for the end of its holds.
const MIN_STEADY: Duration = REQUEST_TIMEOUT.saturating_add(Duration::from_secs(5));
/// The looks for which a node waits after a group could not be handed over.
const PAUSE_LOOKS: u32 = 30;

/// The leaders of all groups, and the number of groups that each connected voter leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spread {
    leaders: Vec<Option<NodeId>>,
    led: BTreeMap<NodeId, usize>,
}

impl Spread {
    fn new(leaders: Vec<Option<NodeId>>, voters: impl Iterator<Item = NodeId>) -> Spread {
        let count = |voter| leaders.iter().filter(|leader| **leader == Some(voter)).count();
        let led = voters.map(|voter| (voter, count(voter))).collect();
        Spread { leaders, led }
    }

    /// Returns the group that `own` hands over, and the node that takes it. Nothing is handed over while a group has no
    /// leader: the cluster is changing by itself. A difference of one is no reason, so that no group goes back and forth.
    /// Nor is one given to `failed`, which did not take over before.
    fn surplus(&self, own: NodeId, failed: Option<NodeId>) -> Option<(u16, NodeId)> {
        if self.leaders.iter().any(|leader| leader.is_none_or(|leader| !self.led.contains_key(&leader))) {
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
}

/// Hands groups over for as long as the node runs.
pub(crate) async fn balance<R: Runtime>(runtime: R, clients: Weak<Clients<R>>) {
    let (mut before, mut looks, mut pause, mut failed) = (Spread::default(), 0, 0, None);
    let mut interval = MIN_INTERVAL;
    loop {
        runtime.sleep(interval).await;
        let Some(clients) = clients.upgrade() else { return };
        if clients.is_closing() || clients.status().stopped {
            return;
        }
        interval = interval.max(clients.facts.timing.hold());
        let spread = clients.spread();
        looks = if spread == before { looks + 1 } else { 0 };
        before = spread;
        if pause > 0 {
            pause -= 1;
            continue;
        }
        let steady = STEADY_LOOKS.max(MIN_STEADY.div_duration_f64(interval).ceil() as u32);
        if looks < steady {
            continue;
        }
        let Some((group, to)) = before.surplus(clients.node(), failed) else {
            failed = None;
            continue;
        };
        match clients.hand_over(group, to).await {
            Ok(()) => {
                // Nothing else has changed, and there may be more to hand over.
                before = clients.spread();
                looks = steady - 1;
                failed = None;
            }
            Err(error) => {
                tracing::info!(group, to, "a group is not handed over to spread the leaders: {error}");
                pause = PAUSE_LOOKS;
                failed = Some(to);
            }
        }
    }
}

impl<R: Runtime> Clients<R> {
    fn spread(&self) -> Spread {
        let leaders = self.executors.iter().map(|executor| self.reachable_leader(&executor.handle().status()));
        let members = self.executor.handle().members();
        let is_up = |voter: &NodeId| *voter == self.node() || self.transport.peer_up(*voter);
        Spread::new(leaders.collect(), members.membership.voters.iter().copied().filter(is_up))
    }

    async fn hand_over(&self, group: u16, to: NodeId) -> Result<(), String> {
        let Some(_alone) = self.changing.try_lock() else { return Err("a client makes a change".to_owned()) };
        tracing::info!(group, to, "handing leadership over to spread the leaders of the groups");
        self.transfer(group, to).await
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
                let found = (1..=3).find_map(|own| now.surplus(own, None));
                let Some((group, to)) = found else { break };
                leaders[usize::from(group)] = to;
                moves += 1;
                assert!(moves <= leaders.len(), "each group moves once at most: {leaders:?}");
            }
            let led = spread(&leaders, 3).led;
            assert!(
                led.values().max().zip(led.values().min()).is_some_and(|(most, least)| most - least <= 1),
                "{led:?}"
            );
        }
    }
}
