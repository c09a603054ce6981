//! Counters of a node.

use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of commands by how they were answered, since the process started.
///
/// Each command is counted by the node that its client is connected to. The reads of a
/// transaction count apart.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Reads answered under the lease of this node or of its leader.
    pub reads_lease: Counter,
    /// Reads answered after a quorum round.
    pub reads_quorum: Counter,
    /// Reads for which this node requested an index from the leader, and received one.
    pub reads_forwarded: Counter,
    /// Reads answered from this node's state at an index that the leader granted.
    pub reads_follower: Counter,
    /// Reads that failed, mostly because there was no leader in time.
    pub reads_failed: Counter,
    /// Reads executed in a log entry: between the writes of a pipeline, or in a transaction.
    pub reads_logged: Counter,
    /// Writes that were committed, applied and acknowledged to a client of this node.
    pub writes_acknowledged: Counter,
    /// Writes with an unknown outcome.
    pub writes_uncertain: Counter,
    /// Writes that were not executed, mostly because there was no leader in time.
    pub writes_failed: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: usize) {
        self.0.fetch_add(amount as u64, Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
