//! What the tests share: folders, and short ways to say batches.
#![allow(dead_code, reason = "each test file uses its own part")]

use bytes::Bytes;
use leasehold_driver::{Applied, Batch, Change, Record};
use leasehold_raft::wire::{Entry, HardState, Membership, Payload};
use leasehold_storage::{Identity, Storage};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use tempfile::TempDir;

pub(crate) fn identity() -> Identity {
    Identity { cluster: "orchard".into(), node: 3 }
}

pub(crate) fn open(dir: &Path) -> Storage {
    Storage::open(dir, identity()).expect("our own folder")
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A copy of the files as they are now, as a crash would leave them.
pub(crate) fn crashed_copy(dir: &Path) -> TempDir {
    let copy = folder();
    for file in fs::read_dir(dir).expect("the folder") {
        let file = file.expect("a file");
        fs::copy(file.path(), copy.path().join(file.file_name())).expect("a copy");
    }
    copy
}

pub(crate) fn entry(term: u64, index: u64) -> Entry {
    Entry { term, index, payload: Payload::Command(format!("command {index} of term {term}").into()) }
}

pub(crate) fn entries(term: u64, indexes: RangeInclusive<u64>) -> Vec<Entry> {
    indexes.map(|index| entry(term, index)).collect()
}

pub(crate) fn hard_state(term: u64, commit: u64) -> Option<HardState> {
    Some(HardState { term, vote: 3, commit })
}

pub(crate) fn membership() -> Membership {
    Membership { voters: vec![1, 2, 3], learners: vec![4], ..Membership::default() }
}

pub(crate) fn applied(index: u64, term: u64) -> Option<Applied> {
    Some(Applied { index, term, membership: membership() })
}

pub(crate) fn record(key: &str, value: &str) -> Record {
    Record { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

pub(crate) fn put(key: &str, value: &str) -> Change {
    Change::Put(record(key, value))
}

/// Ten entries of term 1 in the log, five of them applied, and a record.
pub(crate) fn a_log_of_ten() -> Batch {
    Batch {
        hard_state: hard_state(1, 6),
        entries: entries(1, 1..=10),
        changes: vec![put("a", "1")],
        applied: applied(5, 1),
        ..Batch::default()
    }
}
