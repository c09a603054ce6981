//! What a disk gives the driver: batches of writes, each durable as a whole and in order.

use crate::network::GroupId;
use bytes::Bytes;
use leasehold_core::{Index, Term};
use leasehold_raft::wire::{Entry, HardState, Membership};
use std::time::Duration;

/// One record of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// What applying a command did to the state machine's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This record is now so.
    Put(Record),
    /// There is no record with this key now.
    Delete(Bytes),
    /// There are no records now.
    Clear,
}

/// How far the records include the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last index applied.
    pub index: Index,
    /// The term of the entry at that index.
    pub term: Term,
    /// The configuration at that index.
    pub membership: Membership,
}

/// Writes that become durable together. Empty parts leave what is stored as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The group it belongs to.
    pub group: GroupId,
    /// Replaces the stored hard state.
    pub hard_state: Option<HardState>,
    /// Drops every stored entry before the others are written: a snapshot took their place. The log then starts after
    /// `applied`, which must be given too.
    pub reset_log: bool,
    /// Appends these entries, after dropping any stored entry at or after the first of them. Their indexes are consecutive.
    pub entries: Vec<Entry>,
    /// Changes of records, in order.
    pub changes: Vec<Change>,
    /// Replaces the stored applied position.
    pub applied: Option<Applied>,
    /// Drops stored entries at or before this index, which is at or before `applied`; the term of the entry at it is kept.
    pub compact_through: Option<(Index, Term)>,
    /// Replaces the longest hold this node may have promised under.
    pub longest_hold: Option<Duration>,
}

/// What a group's disk holds at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The hard state; all zero on a new disk.
    pub hard_state: HardState,
    /// The last index that the log no longer holds, and its term; zeros while the log is whole.
    pub compacted: (Index, Term),
    /// The log from there on, consecutive.
    pub entries: Vec<Entry>,
    /// How far the records include the log.
    pub applied: Applied,
    /// The state machine's records.
    pub records: Vec<Record>,
    /// The longest hold this node may have promised under; zero on a new disk.
    pub longest_hold: Duration,
}

/// A disk that keeps batches. Called from a thread of its own, where it may block.
pub trait Disk: Send + 'static {
    /// Writes all the batches, in order, in one synced transaction: after `Ok` they survive a crash, and a crash before
    /// it leaves all of them or none.
    ///
    /// # Errors
    /// Any: the node then stops, for it can keep no promise that it cannot write down.
    fn commit(&mut self, batches: &[Batch]) -> std::io::Result<()>;
}
