//! Spreads the leaders of the groups over the nodes. A node that leads at least two groups more than another one hands one
//! over, and then looks again.

use super::shared::Clients;
use crate::spread::Spread;
use leasehold_core::NodeId;
use leasehold_node::REQUEST_TIMEOUT;
use leasehold_runtime::Runtime;
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
        // One that departs would hand everything over again.
        let stays =
            |voter: &NodeId| !members.departs(*voter) && self.share(*voter).is_none_or(|share| share.is_complete());
        let voters = members.membership.voters.iter().copied();
        Spread::new(leaders.collect(), voters.filter(|voter| is_up(voter) && stays(voter)))
    }

    async fn hand_over(&self, group: u16, to: NodeId) -> Result<(), String> {
        let Some(_alone) = self.changing.try_lock() else { return Err("a client makes a change".to_owned()) };
        tracing::info!(group, to, "handing leadership over to spread the leaders of the groups");
        self.transfer(group, to).await
    }
}
