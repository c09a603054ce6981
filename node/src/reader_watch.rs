//! The readers that hold a sublease of a leader, as the log mentions them.

use crate::ports::GroupId;
use leasehold_core::NodeId;
use leasehold_core::local::Lender;
use std::collections::BTreeSet;

/// The readers that held a sublease at the last tick, and what was counted of them then.
#[derive(Debug, Default)]
pub(crate) struct ReaderWatch {
    readers: BTreeSet<NodeId>,
    expired: u64,
    slow: u64,
}

impl ReaderWatch {
    /// Logs the readers for which writes waited since the last tick.
    pub(crate) fn observe(&mut self, group: GroupId, lender: &Lender) {
        let (expired, slow) = (lender.statistics().expired, lender.statistics().slow);
        let before = std::mem::replace(self, ReaderWatch { readers: lender.obligations().collect(), expired, slow });
        if slow > before.slow {
            let nodes: Vec<_> = lender.slow_readers().collect();
            tracing::warn!(
                group,
                ?nodes,
                "nodes that read locally do not keep up, so writes wait for them; each gets no sublease until it has \
                 caught up; check their disks and their links"
            );
        }
        let lost: Vec<_> = before.readers.difference(&self.readers).collect();
        if expired > before.expired && !lost.is_empty() {
            tracing::warn!(
                group,
                nodes = ?lost,
                "nodes that read locally did not renew their subleases, and writes waited until these ended; each gets \
                 another once it has caught up"
            );
        }
    }
}
