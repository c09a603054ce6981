//! Durable writes.

use super::GroupId;
use bytes::Bytes;
use leasehold_core::{Index, Term};
use leasehold_raft::wire::{Entry, HardState, Membership};
use std::time::Duration;

/// One record of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// A change that a command made to the state machine's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Inserts or replaces a record.
    Put(Record),
    /// Deletes the record with this key.
    Delete(Bytes),
    /// Deletes every record.
    Clear,
}

/// The position up to which the records include the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last index applied.
    pub index: Index,
    /// The term of the entry at that index.
    pub term: Term,
    /// The configuration at that index.
    pub membership: Membership,
}

/// Writes that become durable together. An empty field leaves what is stored unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The group it belongs to.
    pub group: GroupId,
    /// Replaces the stored hard state.
    pub hard_state: Option<HardState>,
    /// Drops every stored entry before `entries` are written, because a snapshot replaced them. The log then starts
    /// after `applied`, which is required in this case.
    pub reset_log: bool,
    /// Appends these entries, after dropping any stored entry at or after the first of them. Their indexes are
    /// consecutive.
    pub entries: Vec<Entry>,
    /// Changes of records, in order.
    pub changes: Vec<Change>,
    /// Replaces the stored applied position.
    pub applied: Option<Applied>,
    /// Drops stored entries up to and including this index, which is not beyond `applied`. The index and the term of
    /// its entry are kept.
    pub compact_through: Option<(Index, Term)>,
    /// Replaces the longest hold this node may have promised under.
    pub longest_hold: Option<Duration>,
    /// Records that the log may have been cut, or that it is whole again.
    pub log_may_be_cut: Option<bool>,
}

/// A group's durable state, as read at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The hard state; all zero on a new disk.
    pub hard_state: HardState,
    /// The last index that the log no longer contains, and its term; zeros if nothing was compacted.
    pub compacted: (Index, Term),
    /// The log after that index, without gaps.
    pub entries: Vec<Entry>,
    /// The position up to which the records include the log.
    pub applied: Applied,
    /// The state machine's records.
    pub records: Vec<Record>,
    /// The longest hold this node may have promised under; zero on a new disk.
    pub longest_hold: Duration,
    /// True if the log may lack entries that were durable, or the hard state a vote: the disk found its end cut off, or a
    /// batch said so, and no batch has said since that the log is whole.
    pub log_may_be_cut: bool,
}

/// A disk that stores batches. It runs on a thread of its own and may block.
pub trait Disk: Send + 'static {
    /// Writes all the batches, in order, in one synced transaction. After `Ok` they survive a crash. A crash before
    /// `Ok` leaves all of them or none.
    ///
    /// # Errors
    /// Any error stops the node: it must not make promises that are not durable.
    fn commit(&mut self, batches: &[Batch]) -> std::io::Result<()>;
}
