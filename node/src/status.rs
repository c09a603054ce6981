//! The status and the counts that a node publishes, and the gate for reads.

use crate::touched::TouchedKeys;
use leasehold_core::{Index, LeaseCell, NoLease, NodeId, Permit, Reading, Term};
use leasehold_raft::Role;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A replica's view of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// This node's role.
    pub role: Role,
    /// The newest term it knows.
    pub term: Term,
    /// The leader of that term, as far as it knows.
    pub leader: Option<NodeId>,
    /// The highest index known to be committed.
    pub commit: Index,
    /// The highest index whose effect anyone may see: on a leader, every reader that may be using a sublease has it.
    pub exposed: Index,
    /// The highest index applied to the state machine.
    pub applied: Index,
    /// The index of the change that made the present configuration; 0 if the group was founded with it.
    pub members_changed: Index,
    /// The newest version of commands that every member can apply.
    pub entry_version: u32,
    /// The log may lack entries that this node acknowledged, so it takes no part in elections until it has caught up.
    pub log_may_be_cut: bool,
    /// The reason why it holds no lease; `None` if it has one, whose end may have passed.
    pub no_lease: Option<NoLease>,
    /// The node has stopped, or does not host the group any more; neither changes again.
    pub stopped: bool,
}

impl Default for Status {
    fn default() -> Status {
        Status {
            role: Role::Follower,
            term: 0,
            leader: None,
            commit: 0,
            exposed: 0,
            applied: 0,
            members_changed: 0,
            entry_version: 1,
            log_may_be_cut: false,
            no_lease: Some(NoLease::NotLeader),
            stopped: false,
        }
    }
}

/// Counts of one group since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatistics {
    /// Counts of the replica: what it withheld from its engine, or refused.
    pub replica: leasehold_raft::Statistics,
    /// Counts of the holder of its lease.
    pub holder: leasehold_core::Statistics,
    /// Reads that a quorum round confirmed.
    pub quorum_reads_confirmed: u64,
    /// Reads whose quorum round ended with the leadership.
    pub quorum_reads_aborted: u64,
    /// Writes whose position was taken by another entry.
    pub writes_displaced: u64,
    /// States that were offered to followers.
    pub snapshots_sent: u64,
    /// Leaders' states that replaced this node's.
    pub snapshots_installed: u64,
    /// Compactions of the log that dropped fewer entries, or none, because of a transfer.
    pub compactions_withheld: u64,
    /// Transfers of a state that went on after chunks were lost.
    pub transfers_resumed: u64,
    /// Steps of transfers of a state that were stale, repeated or not expected.
    pub transfer_steps_ignored: u64,
    /// The readers that may be using a sublease of this node, so that its writes wait for them.
    pub obligations: usize,
    /// Subleases that this node granted as a leader.
    pub subleases_granted: u64,
    /// Subleases that this node asked its leaders for.
    pub subleases_requested: u64,
    /// Subleases that it got from them.
    pub subleases_received: u64,
    /// The times at which writes of this node as a leader began to wait only for a reader.
    pub writes_delayed_by_readers: u64,
    /// The time for which this node may neither vote nor campaign, if its leader is silent; `None` while its clock gives
    /// no reading.
    pub held_for: Option<Duration>,
    /// The time for which this node has led without applying anything although entries are pending.
    pub stalled_for: Duration,
    /// The time for which the state machine has applied the entries that it has, on a thread of its own; zero while it has
    /// none.
    pub applying_for: Duration,
}

/// Counts of the router since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouterStatistics {
    /// Writes sent to another node, which leads.
    pub writes_forwarded: u64,
    /// Read indexes asked of another node, which leads. Reads that arrive while one is asked for share the next.
    pub read_indexes_asked: u64,
    /// Requests of peers that arrived again and were not executed again.
    pub requests_repeated: u64,
    /// Requests of peers refused because too many were pending.
    pub requests_refused: u64,
    /// Reads that waited for an index to be applied.
    pub reads_awaited_apply: u64,
    /// Requests that were dropped before they were tried again, because their clients had left.
    pub requests_abandoned: u64,
    /// Requests that ended by their timeout.
    pub requests_timed_out: u64,
}

/// The disk, as the node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskStatistics {
    /// The time for which it has had a write to do and has finished none.
    pub silent_for: Duration,
    /// About the bytes of the writes that are not durable yet.
    pub pending_bytes: usize,
    /// Appends of a leader that were withheld because too much was pending, or waited to be applied. The leader repeats
    /// them.
    pub appends_withheld: u64,
}

/// Permission to answer a read from this node's state, which has applied `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadGrant {
    /// The index as of which the read is linearizable, or a later one.
    pub index: Index,
    /// The ground on which it was granted.
    pub ground: Ground,
    /// Granted by another node, which leads.
    pub as_follower: bool,
}

/// The ground on which a read may be answered from a node's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The leader's lease, without a message between the leader and the others.
    Lease,
    /// A quorum that confirmed the leader after the read arrived.
    Quorum,
    /// This node's sublease, without a message.
    Sublease,
}

impl Ground {
    /// Returns the ground on which a leader granted an index.
    pub(crate) fn of_leader(by_lease: bool) -> Ground {
        if by_lease { Ground::Lease } else { Ground::Quorum }
    }
}

/// Permission to answer a read from this node's state by its sublease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a read without a permit must ask the leader"]
#[non_exhaustive]
pub struct LocalPermit {
    /// The last index that this node had received. Answer once it is applied.
    pub index: Index,
    /// True if it is applied. Otherwise the state answers a read at once if none of the entries that are left may change
    /// what it reads: see [`ReadGate::touched`].
    pub is_applied: bool,
}

/// The published lease, sublease and applied index of one group. A client's thread checks it and then reads the state,
/// without passing through the node.
#[derive(Debug)]
pub struct ReadGate {
    lease: Arc<LeaseCell>,
    sublease: Arc<LeaseCell>,
    applied: AtomicU64,
    touched: TouchedKeys,
}

impl ReadGate {
    pub(crate) fn new(
        lease: Arc<LeaseCell>,
        sublease: Arc<LeaseCell>,
        applied: Index,
        touched: TouchedKeys,
    ) -> ReadGate {
        ReadGate { lease, sublease, applied: AtomicU64::new(applied), touched }
    }

    /// Returns a permit if the lease is valid at `sample` and everything known to be committed is applied: the state
    /// then answers every read that arrived before `sample` was taken.
    pub fn try_read(&self, sample: Reading) -> Option<Permit> {
        self.lease.try_read(sample).filter(|permit| self.applied() >= permit.index)
    }

    /// Returns a permit if a sublease is valid at `sample`, which was sampled after the read arrived.
    pub fn try_read_local(&self, sample: Reading) -> Option<LocalPermit> {
        let index = self.sublease.try_read(sample)?.index;
        // What was received is loaded before what is applied, and both before the keys of the entries between.
        Some(LocalPermit { index, is_applied: self.applied() >= index })
    }

    /// Returns the keys that the entries may change which this node has received and not applied. Check them after
    /// [`try_read_local`](Self::try_read_local), and then read the state.
    pub fn touched(&self) -> &TouchedKeys {
        &self.touched
    }

    /// Returns the published sublease.
    pub fn sublease(&self) -> &LeaseCell {
        &self.sublease
    }

    /// Returns the published lease.
    pub fn lease(&self) -> &LeaseCell {
        &self.lease
    }

    /// Returns the highest index applied. Its effects can be read.
    pub fn applied(&self) -> Index {
        self.applied.load(Ordering::Acquire)
    }

    pub(crate) fn publish_applied(&self, index: Index) {
        self.applied.store(index, Ordering::Release);
    }
}
