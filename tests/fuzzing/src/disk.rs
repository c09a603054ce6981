//! Damaged data folders.

use crate::source::Source;
use bytes::Bytes;
use leasehold_node::ports::{Applied, Batch, Change, Disk as _, Record, Recovered, Stage};
use leasehold_raft::wire::{Entry, HardState, Membership, Payload};
use leasehold_storage::{Identity, Storage};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The most commits in one run.
const COMMITS: usize = 12;

/// Writes batches to a folder, damages its files, and opens it. Either it is refused, or it holds the state after the last
/// commit or a marked earlier one, and accepts writes.
pub fn stored_folders(bytes: &[u8]) {
    let mut source = Source(bytes);
    let folder = folder();
    let Some(states) = write(folder.path(), &mut source) else { return };
    let damaged = !source.is_empty();
    if damaged {
        damage(folder.path(), &mut source);
    }
    let storage = match Storage::open(folder.path(), identity()) {
        Ok(storage) => storage,
        Err(error) => {
            assert!(damaged, "an undamaged folder is refused: {error}");
            return;
        }
    };
    let recovered = match storage.recover(0) {
        Ok(recovered) => recovered,
        Err(error) => {
            assert!(damaged, "an undamaged folder cannot be read: {error}");
            return;
        }
    };
    let found = Recovered { log_may_be_cut: false, ..recovered.clone() };
    let newest = states.iter().rposition(|state| *state == found);
    let newest = newest.unwrap_or_else(|| panic!("no commit left this: {recovered:?}"));
    let lost = states.len() - 1 - newest;
    assert!(lost == 0 || recovered.log_may_be_cut, "the loss of {lost} commits went unnoticed");
    assert!(damaged || !recovered.log_may_be_cut, "an undamaged folder seems to have lost commits");
    write_on(storage, recovered);
}

fn identity() -> Identity {
    Identity { cluster: "fuzz".to_owned(), node: 1, founders: [1].into() }
}

/// Returns a folder in memory where the system has one, because this runs often.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a temporary folder")
}

/// Commits batches until the source ends. Returns the readable state before the first and after each batch; `None` if storage
/// refused them as invalid.
fn write(folder: &Path, source: &mut Source<'_>) -> Option<Vec<Recovered>> {
    let mut storage = Storage::open(folder, identity()).expect("an empty folder");
    let mut states = vec![storage.recover(0).expect("a new folder")];
    while states.len() <= COMMITS && source.byte() > 0 {
        let before = states.last().expect("there is one");
        let batch = batch(before, source);
        let orderly = orderly(before, &batch);
        match storage.commit(&[batch]) {
            // A batch that no ordered writer writes may be refused now or when it is read.
            Ok(()) => match storage.recover(0) {
                Ok(recovered) => states.push(recovered),
                Err(error) => {
                    assert!(!orderly, "what was written in order cannot be read: {error}");
                    return None;
                }
            },
            Err(error) => {
                assert!(!orderly, "what is in order is refused: {error}");
                assert_eq!(storage.recover(0).expect("as before"), *before, "nothing of it was written");
            }
        }
    }
    Some(states)
}

/// Takes a batch. The batches of a node need few bytes.
fn batch(before: &Recovered, source: &mut Source<'_>) -> Batch {
    let parts = source.byte();
    let has = |bit: u8| parts & 1 << bit > 0;
    let last = before.compacted.0 + before.entries.len() as u64;
    let term = before.hard_state.term;
    let entries: Vec<Entry> = if has(0) {
        let first = source.near(last.saturating_add(1));
        let indexes = (0..=source.below(4) as u64).map(|place| first.saturating_add(place));
        indexes.map(|index| Entry { term, index, payload: Payload::Command(source.bytes()) }).collect()
    } else {
        Vec::new()
    };
    let last = entries.last().map_or(last, |entry| entry.index);
    let applied = has(1).then(|| Applied {
        index: source.near(last),
        term: source.near(term),
        membership: Membership { voters: vec![1, 2, 3], ..Membership::default() },
    });
    let changes = (0..if has(2) { source.below(4) } else { 0 })
        .map(|_| match source.below(6) {
            0 => Change::Clear,
            1 => Change::Delete(source.bytes()),
            // Long keys are stored differently.
            2 => Change::Put(Record { key: source.bytes().repeat(40).into(), value: source.bytes() }),
            _ => Change::Put(Record { key: source.bytes(), value: source.bytes() }),
        })
        .collect();
    let stage = has(7).then(|| match source.below(4) {
        0 => Stage::Clear,
        1 => Stage::Install,
        _ => Stage::Add(vec![Record { key: source.bytes(), value: source.bytes() }]),
    });
    let hard_state = HardState {
        term: source.near(term),
        vote: 1,
        commit: source.near(applied.as_ref().map_or(before.hard_state.commit, |applied| applied.index)),
    };
    Batch {
        group: 0,
        hard_state: Some(hard_state),
        reset_log: has(3) && has(4),
        compact_through: has(5).then(|| (source.near(before.applied.index), source.near(term))),
        longest_hold: has(6).then(|| Duration::from_millis(source.near(1000))),
        orderly_stop: has(7).then(|| has(1).then(|| Duration::from_millis(source.near(1000)))),
        entries,
        applied,
        stage,
        changes,
        ..Batch::default()
    }
}

/// Returns true only if an ordered writer may write this batch next. Some such batches are not recognised.
fn orderly(before: &Recovered, batch: &Batch) -> bool {
    let last = before.compacted.0 + before.entries.len() as u64;
    let Some(hard_state) = batch.hard_state else { return false };
    let follow =
        batch.entries.iter().enumerate().all(|(place, entry)| entry.index == last.saturating_add(1 + place as u64));
    let end = last.saturating_add(batch.entries.len() as u64);
    follow
        && !batch.reset_log
        && batch.applied.is_none()
        && batch.compact_through.is_none()
        && hard_state.term >= before.hard_state.term
        && (before.hard_state.commit..=end).contains(&hard_state.commit)
}

/// Changes bytes of the files, and may cut the last of them.
fn damage(folder: &Path, source: &mut Source<'_>) {
    let mut files = files(folder);
    files.retain(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0));
    files.sort();
    for _ in 0..8 {
        if source.is_empty() {
            break;
        }
        let path = &files[source.below(files.len())];
        let mut content = fs::read(path).expect("a file that was just written");
        let length = content.len();
        // Files may consist mostly of zeros. Damage to any of them has the same effect as damage to the first.
        let used = content.iter().rposition(|byte| *byte > 0).map_or(1, |last| last + 2).min(length);
        let place = usize::from(source.byte()) + (usize::from(source.byte()) << 8);
        let place = place % used;
        let cut = match source.byte() {
            0 => {
                content.truncate(place);
                true
            }
            flipped => {
                content[place] ^= flipped;
                false
            }
        };
        content.truncate(used);
        fs::write(path, &content).expect("a file that was just written");
        let file = fs::OpenOptions::new().write(true).open(path).expect("a file that was just written");
        file.set_len(if cut { content.len() } else { length } as u64).expect("its length");
        if cut {
            break;
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Writes one more record, and checks that it is there and that nothing else changed.
fn write_on(mut storage: Storage, mut recovered: Recovered) {
    let record = Record { key: Bytes::from_static(b"more"), value: Bytes::from_static(b"still") };
    let batch = Batch {
        hard_state: Some(recovered.hard_state),
        changes: vec![Change::Put(record.clone())],
        ..Batch::default()
    };
    storage.commit(&[batch]).expect("a folder that was found in order");
    recovered.records.retain(|other| other.key != record.key);
    recovered.records.push(record);
    recovered.records.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(storage.recover(0).expect("a folder that was just written"), recovered);
}
