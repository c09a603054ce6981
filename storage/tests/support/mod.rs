//! Shared by the tests: folders, and short constructors for batches.
#![allow(dead_code, reason = "each test file uses a part of it")]

use bytes::Bytes;
use leasehold_node::ports::{Applied, Batch, Change, Record};
use leasehold_raft::wire::{Entry, HardState, Membership, Payload};
use leasehold_storage::{Identity, Storage};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) fn identity() -> Identity {
    Identity { cluster: "orchard".into(), node: 3, founders: [1, 2, 3].into() }
}

pub(crate) fn open(dir: &Path) -> Storage {
    Storage::open(dir, identity()).expect("the node's own folder")
}

/// Returns a temporary folder, in memory where the system supports it: some tests open hundreds.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a temporary folder")
}

/// Copies the files in their current state, as a crash would leave them.
pub(crate) fn crashed_copy(dir: &Path) -> TempDir {
    let copy = folder();
    copy_files(dir, copy.path());
    copy
}

pub(crate) fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for file in fs::read_dir(from).expect("the folder") {
        let file = file.expect("a file");
        let to = to.join(file.file_name());
        if file.file_type().expect("a kind").is_dir() {
            copy_files(&file.path(), &to);
        } else {
            let (content, length) = read_sparse(&file.path());
            write_sparse(&to, &content, length);
        }
    }
}

/// Returns a file's content without trailing zeros, and its whole length. A new journal consists mostly of zeros.
pub(crate) fn read_sparse(path: &Path) -> (Vec<u8>, u64) {
    let mut file = File::open(path).expect("a file");
    let (mut content, mut length) = (Vec::new(), 0);
    let mut chunk = vec![0; 64 << 10];
    let zeros = chunk.clone();
    loop {
        let read = file.read(&mut chunk).expect("readable");
        if read == 0 {
            break;
        }
        if chunk[..read] != zeros[..read] {
            content.resize(length, 0);
            content.extend_from_slice(&chunk[..read]);
        }
        length += read;
    }
    content.truncate(content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    (content, length as u64)
}

pub(crate) fn write_sparse(path: &Path, content: &[u8], length: u64) {
    fs::write(path, content).expect("written");
    let file = OpenOptions::new().write(true).open(path).expect("a file");
    file.set_len(length).expect("extended with zeros");
}

/// Returns every file in the folder and below.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir).expect("the folder") {
        let path = file.expect("a file").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Returns the only journal of a folder with few writes.
pub(crate) fn journal(dir: &Path) -> PathBuf {
    let mut journals = files(dir);
    journals.retain(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    assert_eq!(journals.len(), 1, "{journals:?}");
    journals.remove(0)
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

/// Returns a batch with ten entries of term 1, five of them applied, and a record.
pub(crate) fn a_log_of_ten() -> Batch {
    Batch {
        hard_state: hard_state(1, 6),
        entries: entries(1, 1..=10),
        changes: vec![put("a", "1")],
        applied: applied(5, 1),
        ..Batch::default()
    }
}
