//! Journals that lost their end, or all of it.

mod support;

use leasehold_core::{Config, Options as Timing};
use leasehold_node::ports::{Batch, Disk, Record, Recovered};
use leasehold_node::{GroupOptions, GroupStart};
use leasehold_storage::{OpenError, Storage};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::*;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

const JOURNAL_BYTES: u64 = 64 << 20;
/// The number of the journal after the second open.
const JOURNAL: u64 = 2;

/// A stopped node's folder: two commits in tables, and four in a journal.
struct Stopped {
    dir: TempDir,
    /// The state after each commit.
    states: Vec<Recovered>,
    /// The end of each commit in the journal.
    ends: Vec<u64>,
}

fn commit(storage: &mut Storage, index: u64) {
    let batch = Batch {
        hard_state: hard_state(1, index),
        entries: entries(1, index..=index),
        changes: vec![put("newest", &index.to_string()), put(&format!("key {index}"), "")],
        applied: applied(index, 1),
        ..Batch::default()
    };
    storage.commit(&[batch]).expect("committed");
}

impl Stopped {
    fn new() -> Stopped {
        let dir = folder();
        let mut storage = open(dir.path());
        let mut stopped = Stopped { dir, states: vec![Recovered::default()], ends: vec![0] };
        for index in 1..=6 {
            if index == 3 {
                drop(storage);
                storage = open(stopped.dir.path());
            }
            commit(&mut storage, index);
            stopped.states.push(storage.recover(0).expect("readable"));
            stopped.ends.push(read_sparse(&stopped.journal()).0.len() as u64);
        }
        stopped.ends[2] = 0;
        stopped
    }

    fn journal(&self) -> PathBuf {
        journal(self.dir.path())
    }

    fn copy(&self) -> TempDir {
        crashed_copy(self.dir.path())
    }

    /// Opens a copy, and checks that it has the state after commit `number`, with a mark if commits are lost.
    fn check(&self, copy: &Path, number: usize, lost: bool, what: &str) {
        let found = Storage::open(copy, identity()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = found.recover(0).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found, Recovered { log_may_be_cut: lost, ..self.states[number].clone() }, "{what}");
    }
}

fn cut(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).expect("a file").set_len(length).expect("cut");
}

/// Writes the record of the newest journal and commit: `None` while the journals are being replaced.
fn write_newest(dir: &Path, journal: Option<u64>, commit: u64) {
    let identity = fs::read(dir.join("data/identity")).expect("the identity file");
    let mut record = identity[12..20].to_vec();
    for field in [journal.map_or(0, |journal| journal + 1), commit, 0] {
        record.extend_from_slice(&field.to_le_bytes());
    }
    record.extend_from_slice(&xxh3_64(&record).to_le_bytes());
    fs::write(dir.join("data/newest"), record).expect("written");
}

#[test]
fn a_journal_that_lost_its_end_is_noticed_even_between_two_commits() {
    let stopped = Stopped::new();
    for (number, end) in stopped.ends.iter().enumerate().skip(2) {
        // After a power loss, the record may name an older commit, or the last one before this journal.
        for (length, acknowledged) in [(*end, 6), (*end, 2), (end + 20, 4), (end + 20, 2), (JOURNAL_BYTES - 1, 2)] {
            let kept = stopped.ends.iter().rposition(|end| *end <= length).expect("the first is zero");
            let copy = stopped.copy();
            cut(&journal(copy.path()), length);
            write_newest(copy.path(), Some(JOURNAL), acknowledged);
            stopped.check(copy.path(), kept, true, &format!("commit {number}, cut to {length}, {acknowledged}"));
        }
    }
}

#[test]
fn a_missing_journal_is_noticed() {
    let stopped = Stopped::new();
    for acknowledged in [6, 2] {
        let copy = stopped.copy();
        fs::remove_file(journal(copy.path())).expect("removed");
        write_newest(copy.path(), Some(JOURNAL), acknowledged);
        stopped.check(copy.path(), 2, true, "without its journal");
    }
}

#[test]
fn a_journal_with_an_unreadable_or_older_end_is_noticed_while_the_system_runs() {
    let stopped = Stopped::new();
    let (whole, length) = read_sparse(&stopped.journal());
    for number in 2..6 {
        // Zeros, as in an older copy or a hole that reaches to the end.
        let older = stopped.copy();
        write_sparse(&journal(older.path()), &whole[..stopped.ends[number] as usize], length);
        stopped.check(older.path(), number, true, "an older journal");
    }
    let flipped = stopped.copy();
    let mut content = whole.clone();
    content[stopped.ends[5] as usize + 40] ^= 4;
    write_sparse(&journal(flipped.path()), &content, length);
    stopped.check(flipped.path(), 5, true, "a changed bit in the last commit");

    let hole = stopped.copy();
    let mut content = whole;
    content[stopped.ends[3] as usize..stopped.ends[4] as usize].fill(0);
    write_sparse(&journal(hole.path()), &content, length);
    let error = Storage::open(hole.path(), identity()).expect_err("commits follow the hole");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("/2.jnl"), "names the file: {error}");
}

#[test]
fn a_missing_or_damaged_record_of_the_newest_commit_counts_as_a_loss() {
    let stopped = Stopped::new();
    let path = |copy: &TempDir| copy.path().join("data/newest");
    let missing = stopped.copy();
    fs::remove_file(path(&missing)).expect("removed");
    stopped.check(missing.path(), 6, true, "without the record");
    let both = stopped.copy();
    fs::remove_file(path(&both)).expect("removed");
    fs::remove_file(journal(both.path())).expect("removed");
    stopped.check(both.path(), 2, true, "without record and journal");
    let mut storage = open(both.path());
    commit(&mut storage, 3);
    drop(storage);
    assert_eq!(open(both.path()).recover(0).expect("readable").applied.index, 3, "new commits replace older ones");
    for length in [0, 39, 41, 1 << 20] {
        let copy = stopped.copy();
        cut(&path(&copy), length);
        stopped.check(copy.path(), 6, true, "a record of another length");
    }
    let other = stopped.copy();
    let other_folder = Stopped::new();
    fs::copy(other_folder.dir.path().join("data/newest"), path(&other)).expect("copied");
    stopped.check(other.path(), 6, true, "the record of another folder");
}

#[test]
fn the_mark_of_a_loss_stays_until_a_batch_clears_it_in_its_group() {
    let stopped = Stopped::new();
    let copy = stopped.copy();
    cut(&journal(copy.path()), 0);
    for _ in 0..3 {
        stopped.check(copy.path(), 2, true, "opened again");
    }
    let mut storage = open(copy.path());
    commit(&mut storage, 3);
    storage.commit(&[Batch { group: 7, log_may_be_cut: Some(false), ..a_log_of_ten() }]).expect("committed");
    drop(storage);
    let mut storage = open(copy.path());
    // A group of which nothing is left may have been lost too.
    for (group, lost) in [(0, true), (7, false), (9, true)] {
        assert_eq!(storage.recover(group).expect("readable").log_may_be_cut, lost, "group {group}");
    }
    storage.commit(&[Batch { log_may_be_cut: Some(false), ..Batch::default() }]).expect("committed");
    commit(&mut storage, 4);
    for _ in 0..2 {
        assert!(!storage.recover(0).expect("readable").log_may_be_cut);
        drop(storage);
        storage = open(copy.path());
    }
    // A second loss marks it again, also if the number of commits is then smaller.
    drop(storage);
    cut(&journal(copy.path()), 0);
    assert!(open(copy.path()).recover(0).expect("readable").log_may_be_cut);
    assert!(open(copy.path()).recover(7).expect("readable").log_may_be_cut);
}

#[test]
fn a_batch_sets_and_clears_the_mark() {
    let dir = folder();
    let mut storage = open(dir.path());
    for may_be_cut in [true, false, true] {
        storage.commit(&[Batch { log_may_be_cut: Some(may_be_cut), ..Batch::default() }]).expect("committed");
        assert_eq!(storage.recover(0).expect("readable").log_may_be_cut, may_be_cut);
        drop(storage);
        storage = open(dir.path());
        assert_eq!(storage.recover(0).expect("readable").log_may_be_cut, may_be_cut);
    }
}

/// Splits the journal of a folder as fjall does when it starts another one, before the commit after `number`.
fn split(stopped: &Stopped, number: usize) -> (TempDir, PathBuf, PathBuf) {
    let copy = stopped.copy();
    let (content, _) = read_sparse(&stopped.journal());
    let (first, second) = content.split_at(stopped.ends[number] as usize);
    let paths = [JOURNAL, JOURNAL + 1].map(|journal| copy.path().join(format!("data/fjall/{journal}.jnl")));
    write_sparse(&paths[0], first, JOURNAL_BYTES);
    write_sparse(&paths[1], second, JOURNAL_BYTES);
    write_newest(copy.path(), Some(JOURNAL + 1), number as u64);
    let [first, second] = paths;
    (copy, first, second)
}

#[test]
fn a_loss_in_one_of_several_journals_is_noticed_or_refused() {
    let stopped = Stopped::new();
    let (copy, ..) = split(&stopped, 4);
    stopped.check(copy.path(), 6, false, "two journals");

    let (copy, _, second) = split(&stopped, 4);
    fs::remove_file(second).expect("removed");
    stopped.check(copy.path(), 4, true, "without the second");

    let (copy, first, second) = split(&stopped, 4);
    fs::remove_file(first).expect("removed");
    let error = Storage::open(copy.path(), identity()).expect_err("commits in the middle are missing");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(
        error.to_string().contains(&format!("the commits 3 to 4 before commit 5 in {}", second.display())),
        "{error}"
    );

    // The second journal was started, and nothing was acknowledged in it.
    let (copy, first, second) = split(&stopped, 4);
    write_sparse(&second, &[], JOURNAL_BYTES);
    stopped.check(copy.path(), 4, false, "an empty second journal");
    let (copy, ..) = split(&stopped, 4);
    let second_of = |copy: &TempDir| copy.path().join("data/fjall/3.jnl");
    cut(&second_of(&copy), 0);
    stopped.check(copy.path(), 4, true, "a second journal that was cut");
    let (copy, ..) = split(&stopped, 4);
    cut(&second_of(&copy), 0);
    write_newest(copy.path(), Some(JOURNAL), 4);
    stopped.check(copy.path(), 4, false, "a second journal whose creation was interrupted");

    for (what, change) in [("cut", None), ("changed", Some(stopped.ends[3] as usize + 30))] {
        let (copy, ..) = split(&stopped, 4);
        let path = copy.path().join("data/fjall/2.jnl");
        let (mut content, _) = read_sparse(&path);
        match change {
            None => cut(&path, stopped.ends[3]),
            Some(at) => {
                content[at] ^= 1;
                write_sparse(&path, &content, JOURNAL_BYTES);
            }
        }
        let with_second = crashed_copy(copy.path());
        Storage::open(with_second.path(), identity()).expect_err("commits follow those that are missing");
        cut(&second_of(&copy), 0);
        cut(&second_of(&copy), JOURNAL_BYTES);
        write_newest(copy.path(), Some(JOURNAL + 1), 3);
        stopped.check(copy.path(), 3, true, &format!("a first journal that was {what}"));
    }
    drop(first);
}

#[test]
fn a_crash_while_the_journals_are_replaced_is_no_loss() {
    let stopped = Stopped::new();
    let (content, _) = read_sparse(&stopped.journal());
    let end = content.len() as u64;
    let fresh = |copy: &TempDir| copy.path().join("data/fjall/3.jnl");
    // The write at the end of the extended journal, which is not a commit.
    let mut appended = content.clone();
    appended.resize(JOURNAL_BYTES as usize, 0);
    appended.extend_from_slice(&[1, 1, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]);

    let journals: [(&str, &[u8], u64, Option<u64>); 5] = [
        ("truncated", &content, end, None),
        ("extended", &content, JOURNAL_BYTES, None),
        ("appended to", &appended, JOURNAL_BYTES, None),
        ("replaced", &appended, JOURNAL_BYTES, Some(JOURNAL_BYTES)),
        ("being replaced", &appended, JOURNAL_BYTES, Some(0)),
    ];
    for (what, content, length, second) in journals {
        let copy = stopped.copy();
        write_sparse(&journal(copy.path()), content, length.max(content.len() as u64));
        if let Some(length) = second {
            write_sparse(&fresh(&copy), &[], length);
        }
        write_newest(copy.path(), None, 6);
        stopped.check(copy.path(), 6, false, what);
        stopped.check(copy.path(), 6, false, "opened again");
    }
    let copy = stopped.copy();
    cut(&journal(copy.path()), stopped.ends[5]);
    write_newest(copy.path(), None, 6);
    stopped.check(copy.path(), 5, true, "cut while the journals were replaced");
}

#[test]
fn every_journal_that_is_written_to_has_its_full_length() {
    let dir = folder();
    for index in 1..=5 {
        let mut storage = open(dir.path());
        commit(&mut storage, index);
        let length = || fs::metadata(journal(dir.path())).expect("the journal").len();
        assert_eq!(length(), JOURNAL_BYTES);
        drop(storage);
        assert_eq!(length(), JOURNAL_BYTES);
    }
}

#[test]
fn a_new_journal_is_recorded_before_a_commit_in_it_is_acknowledged() {
    let dir = folder();
    let mut storage = open(dir.path());
    let second = dir.path().join("data/fjall/1.jnl");
    let mut commit = |length: usize| {
        let changes = vec![put("key", &"v".repeat(length))];
        storage.commit(&[Batch { changes, ..Batch::default() }]).expect("committed");
        let record = fs::read(dir.path().join("data/newest")).expect("the record");
        u64::from_le_bytes(record[8..16].try_into().expect("eight bytes")) - 1
    };
    assert_eq!(commit(1), 0);
    commit(JOURNAL_BYTES as usize);
    while !second.exists() {
        std::thread::yield_now();
    }
    assert_eq!(commit(1), 1);
    fs::remove_file(second).expect("removed");
    let changes = vec![put("key", "")];
    storage.commit(&[Batch { changes, ..Batch::default() }]).expect_err("the current journal was removed");
}

#[test]
fn a_group_that_is_created_after_a_loss_is_whole() {
    let stopped = Stopped::new();
    let copy = stopped.copy();
    cut(&journal(copy.path()), stopped.ends[4]);
    let mut storage = Storage::open(copy.path(), identity()).expect("the node's own folder");
    assert!(storage.recover(0).expect("readable").log_may_be_cut);
    let config = Config::new(Timing::new(Duration::from_secs(1), 1000)).expect("it fits together");
    let first = |group, founders: &[u64], recovered: Recovered| {
        let options = GroupOptions::new(group, leasehold_raft::Options::new(3, config, 7), founders.to_vec());
        GroupStart::<Vec<Record>>::new(options, recovered).first_batch().expect("a new group")
    };
    let created = first(7, &[1, 2, 3], Recovered::default());
    let joined = first(8, &[], Recovered::default());
    // The loss may have taken everything of this one.
    let found = first(9, &[1, 2, 3], storage.recover(9).expect("readable"));
    storage.commit(&[created, joined, found]).expect("committed");
    drop(storage);
    let storage = Storage::open(copy.path(), identity()).expect("the node's own folder");
    let cut = |group| storage.recover(group).expect("readable").log_may_be_cut;
    assert_eq!([0, 7, 8, 9].map(cut), [true, false, false, true]);
}
