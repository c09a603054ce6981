//! Durable writes.

use super::GroupId;
use bytes::Bytes;
use leasehold_core::{Index, Term};
use leasehold_raft::wire::{Entry, HardState, Membership};
use std::collections::HashSet;
use std::time::Duration;

/// One record of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key. Its first byte is the kind of the record. A record of kind 0 is stored and sent without this byte, as
    /// releases before the kinds did.
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

/// An estimate of the memory that one change takes beyond its bytes.
const CHANGE_BYTES: usize = 64;

impl Change {
    /// Returns about how many bytes of memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        CHANGE_BYTES
            + match self {
                Change::Put(Record { key, value }) => key.len() + value.len(),
                Change::Delete(key) => key.len(),
                Change::Clear => 0,
            }
    }

    fn key(&self) -> Option<&Bytes> {
        match self {
            Change::Put(Record { key, .. }) | Change::Delete(key) => Some(key),
            Change::Clear => None,
        }
    }
}

/// Removes the changes without effect: those before the last clear, and all of a key but the last.
pub(crate) fn remove_superseded(changes: &mut Vec<Change>) {
    if let Some(clear) = changes.iter().rposition(|change| *change == Change::Clear) {
        changes.drain(..clear);
    }
    let mut seen = HashSet::new();
    let last: Vec<bool> =
        changes.iter().rev().map(|change| change.key().is_none_or(|key| seen.insert(key.clone()))).collect();
    let mut last = last.into_iter().rev();
    changes.retain(|_| last.next().unwrap_or(true));
}

/// A write to the staged records: those of a snapshot that arrives in pieces. They are not part of the state until they
/// are installed, and a restart drops them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Drops the staged records.
    Clear,
    /// Inserts or replaces staged records.
    Add(Vec<Record>),
    /// Replaces the state machine's records by the staged ones. None are staged afterwards.
    Install,
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
    /// A write to the staged records. It comes before `changes`.
    pub stage: Option<Stage>,
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
    /// Drops everything that is stored of the group, for good: its number is kept, and every later batch of it is refused
    /// except another removal. The other fields are empty.
    pub remove: bool,
    /// Replaces the record of an orderly stop: the time for which the promises of the process still bound when it
    /// stopped, or that there is no such record.
    pub orderly_stop: Option<Option<Duration>>,
}

/// A group's durable state, as read at start. The records are collected in an `S`, which can be the state of a state
/// machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered<S = Vec<Record>> {
    /// The hard state; all zero on a new disk.
    pub hard_state: HardState,
    /// The last index that the log no longer contains, and its term; zeros if nothing was compacted.
    pub compacted: (Index, Term),
    /// The log after that index, without gaps.
    pub entries: Vec<Entry>,
    /// The position up to which the records include the log.
    pub applied: Applied,
    /// The state machine's records.
    pub records: S,
    /// The longest hold this node may have promised under; zero on a new disk.
    pub longest_hold: Duration,
    /// True if the log may lack entries that were durable, or the hard state a vote: the disk found its end cut off, or a
    /// batch said so, and no batch has said since that the log is whole.
    pub log_may_be_cut: bool,
    /// The record of an orderly stop, if the last process left one.
    pub orderly_stop: Option<Duration>,
}

/// A disk that stores batches. It runs on a thread of its own and may block.
pub trait Disk: Send + 'static {
    /// Writes all the batches, in order, in one synced transaction. After `Ok` they survive a crash. A crash before
    /// `Ok` leaves all of them or none.
    ///
    /// # Errors
    /// Any error stops the node: it must not make promises that are not durable.
    fn commit(&mut self, batches: &[Batch]) -> std::io::Result<()>;

    /// Returns true if data of removed groups is left to delete, which a commit without batches does a portion of. The node
    /// makes such commits from time to time while nothing else is written.
    fn has_leftovers(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn put(key: u8, value: u8) -> Change {
        Change::Put(Record { key: vec![key].into(), value: vec![value].into() })
    }

    fn after(changes: &[Change]) -> BTreeMap<Bytes, Bytes> {
        let mut records = BTreeMap::from([(Bytes::from_static(&[0]), Bytes::new())]);
        for change in changes {
            match change.clone() {
                Change::Put(Record { key, value }) => drop(records.insert(key, value)),
                Change::Delete(key) => drop(records.remove(&key)),
                Change::Clear => records.clear(),
            }
        }
        records
    }

    #[test]
    fn changes_without_effect_are_removed_and_no_others() {
        let delete = |key: u8| Change::Delete(vec![key].into());
        for (changes, left) in [
            (vec![put(1, 1), put(2, 2), put(1, 3)], vec![put(2, 2), put(1, 3)]),
            (vec![put(1, 1), delete(1), put(2, 2)], vec![delete(1), put(2, 2)]),
            (vec![put(1, 1), Change::Clear, put(1, 2), Change::Clear, put(1, 3)], vec![Change::Clear, put(1, 3)]),
            (vec![delete(0), Change::Clear, put(0, 2), delete(0)], vec![Change::Clear, delete(0)]),
            (vec![], vec![]),
        ] {
            let mut shorter = changes.clone();
            remove_superseded(&mut shorter);
            assert_eq!(shorter, left);
            assert_eq!(after(&shorter), after(&changes));
        }
    }
}
