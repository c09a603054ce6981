//! What a node counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many commands were answered in which way, since the process started.
///
/// Writes are counted by the leader, which executes them, also those that another node forwarded. Reads are counted by the
/// node that a client asked, and so is what failed. The commands of a transaction count as writes, its reads too.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reads answered under the lease: this node's own, or its leader's.
    pub reads_lease: Counter,
    /// Reads answered after a quorum round.
    pub reads_quorum: Counter,
    /// Reads for which this node asked the leader for an index; again for each time it had to ask.
    pub reads_forwarded: Counter,
    /// Reads answered from this node's own state while another led.
    pub reads_follower: Counter,
    /// Reads that found no leader in time.
    pub reads_failed: Counter,
    /// Writes that are committed, applied and answered.
    pub writes_acknowledged: Counter,
    /// Writes whose outcome was unknown.
    pub writes_uncertain: Counter,
    /// Writes that found no leader in time and were not executed.
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

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
