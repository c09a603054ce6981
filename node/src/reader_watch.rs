//! The readers that hold a sublease of a leader, as the log mentions them.

use crate::ports::GroupId;
use leasehold_core::NodeId;
use leasehold_raft::{Replica, Role};
use std::collections::BTreeSet;

/// The readers that held a sublease at the last tick, and what was counted of them then.
#[derive(Debug, Default)]
pub(crate) struct ReaderWatch {
    readers: BTreeSet<NodeId>,
    expired: u64,
    slow: u64,
    delays: u64,
    /// Writes waited for a reader.
    delayed: bool,
}

impl ReaderWatch {
    /// Logs the readers for which writes of this leader waited since the last tick. A former leader has readers whose
    /// subleases run out because they have another leader.
    pub(crate) fn observe(&mut self, group: GroupId, replica: &Replica) {
        let (lender, counts) = (replica.lender(), replica.lender().statistics());
        let now = ReaderWatch {
            readers: lender.obligations().collect(),
            expired: counts.expired,
            slow: counts.slow,
            delays: counts.delays,
            delayed: replica.exposed() < replica.commit(),
        };
        let before = std::mem::replace(self, now);
        if replica.role() != Role::Leader {
            return;
        }
        let held = |reader: &NodeId| before.readers.contains(reader) || self.readers.contains(reader);
        let slow: Vec<_> = lender.slow_readers().filter(held).collect();
        if self.slow > before.slow && !slow.is_empty() {
            tracing::warn!(
                group,
                nodes = ?slow,
                "nodes that read locally do not keep up, so writes wait for them; each gets no sublease until it has \
                 caught up; check their disks and their links"
            );
        }
        let delayed = before.delayed || self.delays > before.delays;
        let lost: Vec<_> = before.readers.difference(&self.readers).collect();
        if delayed && self.expired > before.expired && !lost.is_empty() {
            tracing::warn!(
                group,
                nodes = ?lost,
                "nodes that read locally did not renew their subleases, and writes waited until these ended; each gets \
                 another once it has caught up"
            );
        }
    }
}
