//! The state of a leadership, and of the back-off after it.

use leasehold_core::{Index, NodeId};
use std::collections::BTreeMap;

/// The state of this leadership and of the back-off after it, counted in ticks. A tick is at least as long as its name
/// says, and a late call counts one: a process that was paused has not stalled.
#[derive(Debug, Default)]
pub(crate) struct Leadership {
    /// Ticks since the replica was built.
    pub(crate) ticks: u64,
    /// The peers' last acknowledgements of rounds.
    pub(crate) heard: BTreeMap<NodeId, Heard>,
    /// The applied index at the last tick, and the ticks since it last rose while entries were pending.
    pub(crate) applied: Index,
    pub(crate) stalled: usize,
    /// The sum of the indexes that the voters were known to hold at the last tick.
    pub(crate) stored: Index,
    /// Ticks since the first of the transfers that have followed one another.
    pub(crate) transferring: usize,
    /// The target of a transfer that waits until no reader uses a sublease, and the ticks for which it has waited.
    pub(crate) waits_for: Option<NodeId>,
    pub(crate) waited: usize,
    /// Set if this node steps down should the transfer fail.
    pub(crate) yields: bool,
    /// Ticks of this leadership without a stall.
    pub(crate) steady: usize,
    /// Ticks for which this leader has not applied its own removal.
    pub(crate) removal_withheld: usize,
    /// Ticks for which this node does not campaign of its own accord, and the length of the last such time.
    pub(crate) backoff: usize,
    pub(crate) last_backoff: usize,
}

/// The time of a peer's last acknowledgement, and of the first one that followed a silence, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) last: u64,
    pub(crate) since: u64,
}

impl Leadership {
    /// Counts a tick, whether or not the engine sees it.
    pub(crate) fn count_tick(&mut self) {
        self.ticks += 1;
        self.backoff = self.backoff.saturating_sub(1);
    }
}
