//! Counters of a node.

use leasehold_core::NoLease;
use leasehold_node::RequestError;
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
    /// Reads answered under the sublease of this node.
    pub reads_local: Counter,
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
    /// Reads that this node could not answer at once, by their reasons in the order of [`Miss::ALL`].
    pub(crate) misses: [Counter; Miss::ALL.len()],
    /// The reads in `reads_failed`, by their reasons in the order of [`Failure::ALL`].
    pub(crate) read_failures: [Counter; Failure::ALL.len()],
    /// The writes in `writes_failed`, likewise.
    pub(crate) write_failures: [Counter; Failure::ALL.len()],
}

impl Counters {
    /// Counts reads that this node could not answer at once.
    pub(crate) fn miss(&self, reason: Miss, reads: usize) {
        self.misses[reason as usize].add(reads);
    }

    /// Counts reads and writes that failed.
    pub(crate) fn fail(&self, reason: Failure, reads: usize, writes: usize) {
        self.reads_failed.add(reads);
        self.read_failures[reason as usize].add(reads);
        self.writes_failed.add(writes);
        self.write_failures[reason as usize].add(writes);
    }
}

/// The reason why a node cannot answer a read at once, under its own lease or sublease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// Another node leads, or none.
    NotLeader,
    /// The node runs with `--reads quorum`.
    QuorumMode,
    /// The clock gives no reading.
    NoClock,
    /// The entry that opens the leader's term is not committed yet.
    Barrier,
    /// The leader released its rounds, to hand leadership over.
    Released,
    /// No quorum has acknowledged a round of this term.
    NoQuorum,
    /// The time of the round that a quorum acknowledged is not known.
    NoAnchor,
    /// The lease has run out.
    Expired,
    /// The lease is valid, and what is committed is not applied yet.
    NotApplied,
    /// A sublease is valid, and a write to what is read was received and is not applied yet.
    InFlight,
}

impl Miss {
    /// The reasons, with the names that metrics have for them.
    pub(crate) const ALL: [(Miss, &'static str); 10] = [
        (Miss::NotLeader, "not_leader"),
        (Miss::QuorumMode, "quorum_mode"),
        (Miss::NoClock, "no_clock"),
        (Miss::Barrier, "barrier"),
        (Miss::Released, "released"),
        (Miss::NoQuorum, "no_quorum"),
        (Miss::NoAnchor, "no_anchor"),
        (Miss::Expired, "expired"),
        (Miss::NotApplied, "not_applied"),
        (Miss::InFlight, "in_flight"),
    ];
}

impl From<NoLease> for Miss {
    fn from(reason: NoLease) -> Miss {
        match reason {
            NoLease::NotLeader => Miss::NotLeader,
            NoLease::Barrier => Miss::Barrier,
            NoLease::Released => Miss::Released,
            NoLease::NoAnchor => Miss::NoAnchor,
            _ => Miss::NoQuorum,
        }
    }
}

/// The reason why a read or a write failed. None was executed, except perhaps one whose outcome is uncertain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No leader answered in time.
    NoLeader,
    /// Too much was pending, or the leader's disk is almost full.
    Busy,
    /// This node stops.
    Stopping,
    /// The cluster has removed this node, or refuses it.
    NoMember,
    /// A member runs a release that does not know the command.
    OlderMember,
    /// The node lags behind its leader, and the leader could not execute the read either.
    Lagging,
    /// The disk of this node is almost full, or there is more in memory than is permitted.
    NoRoom,
    /// A watched key had changed.
    Conflict,
    /// The leader of the entry with it was lost.
    Uncertain,
}

impl Failure {
    /// The reasons, with the names that metrics have for them.
    pub(crate) const ALL: [(Failure, &'static str); 9] = [
        (Failure::NoLeader, "no_leader"),
        (Failure::Busy, "busy"),
        (Failure::Stopping, "stopping"),
        (Failure::NoMember, "no_member"),
        (Failure::OlderMember, "older_member"),
        (Failure::Lagging, "lagging"),
        (Failure::NoRoom, "no_room"),
        (Failure::Conflict, "conflict"),
        (Failure::Uncertain, "uncertain"),
    ];
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Failure {
        match error {
            RequestError::Busy => Failure::Busy,
            RequestError::Stopping => Failure::Stopping,
            RequestError::Lagging => Failure::Lagging,
            RequestError::Uncertain => Failure::Uncertain,
            _ => Failure::NoLeader,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_under_its_own_name() {
        for (place, (reason, _)) in Miss::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        for (place, (reason, _)) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        let counters = Counters::default();
        counters.miss(Miss::Expired, 3);
        counters.fail(Failure::Busy, 2, 1);
        assert_eq!(counters.misses.iter().map(Counter::get).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 0, 0, 3, 0, 0]);
        assert_eq!((counters.reads_failed.get(), counters.read_failures[1].get()), (2, 2));
        assert_eq!((counters.writes_failed.get(), counters.write_failures[1].get()), (1, 1));
    }
}
