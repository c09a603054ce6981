//! The options of a group.

use crate::ports::GroupId;
use leasehold_core::NodeId;

/// The way in which a group grants reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadMode {
    /// By the lease while it is valid, otherwise by a quorum round.
    #[default]
    Lease,
    /// Always by a quorum round. The published lease stays empty.
    Quorum,
}

/// The options of one group on a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupOptions {
    /// The group.
    pub group: GroupId,
    /// The replica's own options.
    pub replica: leasehold_raft::Options,
    /// The voters with which the group is founded, the same on every founder. They matter only while the disk is new. A
    /// node that joins the group later has none: it starts from a leader's state.
    pub founders: Vec<NodeId>,
    /// The version of commands that a member can apply whose version is not known: no note of the configuration has it.
    pub unnoted_version: u32,
    /// The way in which reads are granted. In quorum mode this node neither grants subleases nor asks for any.
    pub reads: ReadMode,
    /// True if this node asks its leaders for subleases, and answers reads by them. Each write then waits for this node.
    /// It has no effect without [`starts`](leasehold_raft::Options::starts) in the replica's options.
    pub local_reads: bool,
    /// The number of log entries beyond which the older half of the log is compacted.
    pub max_log_entries: usize,
    /// The number of bytes in the log beyond which its older half is compacted.
    pub max_log_bytes: u64,
    /// True if a log that may have been cut is taken for whole, as an operator decides who has no other copy of the data.
    /// Entries that were cut off are then lost for good.
    pub accept_data_loss: bool,
    /// The number of log entries that are kept at most for a follower that makes progress: one that catches up, or is sent
    /// a snapshot.
    pub max_kept_log_entries: usize,
    /// The number of bytes in the log that are kept at most for such a follower.
    pub max_kept_log_bytes: u64,
    /// The largest size of a chunk of a snapshot with more than one record.
    pub max_chunk_bytes: usize,
    /// True if entries are applied on a thread of the group's own instead of in the node's task. It costs each write two
    /// changes of threads. A state machine whose `apply` hangs then stops the reads and writes of its own group only.
    pub applies_on_thread: bool,
}

impl GroupOptions {
    /// Returns options with the default mode of reads and the default limits of the log.
    pub fn new(group: GroupId, replica: leasehold_raft::Options, founders: Vec<NodeId>) -> GroupOptions {
        GroupOptions {
            group,
            replica,
            founders,
            unnoted_version: 1,
            reads: ReadMode::default(),
            local_reads: false,
            max_log_entries: 32_768,
            max_log_bytes: 128 << 20,
            accept_data_loss: false,
            max_kept_log_entries: 2 << 20,
            max_kept_log_bytes: 1 << 30,
            max_chunk_bytes: 512 << 10,
            applies_on_thread: false,
        }
    }
}
