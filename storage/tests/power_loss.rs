//! Power loss at any point of a commit, and full disks.

mod support;

use bytes::Bytes;
use leasehold_node::ports::{Applied, Batch, Change, Disk, Record, Recovered};
use leasehold_raft::wire::{Entry, HardState, Membership, Payload};
use leasehold_storage::{OpenError, Storage};
use leasehold_testing::dice::Dice;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::*;
use tempfile::TempDir;

/// Returns a batch that writes to every table: entry `index`, appended and applied, and a value of `length` under two
/// keys.
fn step(index: u64, length: usize) -> Batch {
    let value = Bytes::from((0..length).map(|at| (at as u64 * index) as u8).collect::<Vec<u8>>());
    let put = |key: u64| Change::Put(Record { key: Bytes::from(format!("key {key}")), value: value.clone() });
    Batch {
        hard_state: Some(HardState { term: 1, vote: 1, commit: index }),
        entries: vec![Entry { term: 1, index, payload: Payload::Command(value.clone()) }],
        changes: vec![put(0), put(index)],
        applied: Some(Applied { index, term: 1, membership: Membership::default() }),
        compact_through: index.is_multiple_of(7).then(|| (index - 3, 1)),
        ..Batch::default()
    }
}

/// A folder after some commits, and the position in its journal at which each of them ended.
struct History {
    dir: TempDir,
    journal: Vec<u8>,
    ends: Vec<usize>,
    states: Vec<Recovered>,
    /// The record of the newest commit after each of them. Not synced: a power loss may leave an older one.
    newest: Vec<Vec<u8>>,
    /// The commits before the journal was started. The record after them is synced.
    sorted: usize,
}

impl History {
    fn of(lengths: &[usize], reopened: bool) -> History {
        let dir = folder();
        let mut storage = open(dir.path());
        let newest = vec![newest_file(dir.path())];
        let states = vec![Recovered::default()];
        let mut history = History { dir, journal: Vec::new(), ends: vec![0], states, newest, sorted: 0 };
        for (index, length) in (1..).zip(lengths) {
            if reopened && index == 3 {
                drop(storage);
                storage = open(history.dir.path());
                history.sorted = 2;
                history.ends[2] = 0;
                history.newest[2] = newest_file(history.dir.path());
            }
            storage.commit(&[step(index, *length)]).expect("committed");
            history.states.push(storage.recover(0).expect("readable"));
            history.journal = read_sparse(&journal(history.dir.path())).0;
            history.ends.push(history.journal.len());
            history.newest.push(newest_file(history.dir.path()));
        }
        history
    }

    fn commits(&self) -> usize {
        self.ends.len() - 1
    }

    /// Returns a copy of the folder with this content in its journal, as a power loss after commit `number` leaves it.
    fn with_journal(&self, number: usize, content: &[u8]) -> TempDir {
        let copy = crashed_copy(self.dir.path());
        write_sparse(&journal(copy.path()), content, PREALLOCATED.max(content.len() as u64));
        let unsynced = content.len() % (number - self.sorted + 1);
        fs::write(copy.path().join("data/newest"), &self.newest[number - unsynced]).expect("written");
        copy
    }

    /// Opens the folder that a power loss during commit `number` left, and checks that it holds that commit or the
    /// previous one, and that nothing seems to be lost. Returns true if it holds that commit.
    fn check(&self, number: usize, left: &[u8], what: &str) -> bool {
        let whole = left.get(..self.ends[number]) == Some(&self.journal[..self.ends[number]]);
        let expected = if whole { number } else { number - 1 };
        let dir = self.with_journal(number - 1, left);
        let mut storage = Storage::open(dir.path(), identity()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = storage.recover(0).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(!found.log_may_be_cut, "{what} counts as a loss");
        assert!(found == self.states[expected], "{what} has another state than that after commit {expected}");
        // The folder accepts further commits and keeps them.
        let next = expected as u64 + 1;
        storage.commit(&[step(next, 50)]).expect("committed");
        drop(storage);
        let found = open(dir.path()).recover(0).expect("readable");
        assert_eq!((found.applied.index, found.log_may_be_cut), (next, false), "{what}");
        whole
    }
}

const PREALLOCATED: u64 = 64 << 20;

fn newest_file(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("data/newest")).expect("the record of the newest commit")
}

#[test]
fn a_journal_cut_anywhere_in_a_commit_keeps_the_earlier_commits() {
    let history = History::of(&[40, 9_000, 0, 300, 2_000, 20, 70, 600], false);
    for number in [1, 2, 3, 7, 8] {
        let (start, end) = (history.ends[number - 1], history.ends[number]);
        let step = (end - start) / 10 + 1;
        for cut in (start..end).step_by(step).chain(end - 4..=end) {
            let left = &history.journal[..cut];
            let whole = history.check(number, left, &format!("commit {number}, cut at {cut}"));
            assert_eq!(whole, cut == end);
        }
    }
}

#[test]
fn a_commit_whose_sectors_were_written_in_any_order_is_complete_or_absent() {
    let mut dice = Dice::new(7, 0);
    let (mut none, mut all) = (0, 0);
    for reopened in [false, true] {
        let history = History::of(&[40, 9_000, 100, 30_000, 2_000, 20, 5_000, 700], reopened);
        for round in 0..45 {
            let number = 4 + round % (history.commits() - 3);
            let (start, end) = (history.ends[number - 1], history.ends[number]);
            let mut left = history.journal[..end].to_vec();
            // The sector in which the previous commit ends is rewritten as a whole.
            for sector in (start / 512)..=(end / 512) {
                let range = (sector * 512).max(start)..(sector * 512 + 512).min(end);
                match dice.below(12) {
                    0 => left[range].fill(0),
                    1 => left[range].iter_mut().for_each(|byte| *byte = dice.below(256) as u8),
                    _ if dice.below(40) == 0 => left.truncate(range.start.max(start)),
                    _ => {}
                }
                if left.len() < end {
                    break;
                }
            }
            match history.check(number, &left, &format!("round {round}, commit {number}")) {
                true => all += 1,
                false => none += 1,
            }
        }
    }
    assert!(none > 20 && all > 10, "an outcome is too rare: {none} absent, {all} complete");
}

#[test]
fn a_power_loss_after_a_commit_keeps_it_whatever_follows_in_the_journal() {
    let mut dice = Dice::new(11, 0);
    let history = History::of(&[40, 3_000, 100, 700], false);
    for number in 1..=history.commits() {
        for round in 0..6 {
            let mut left = history.journal[..history.ends[number]].to_vec();
            // An incomplete next commit, or bytes that never were a commit.
            match round % 3 {
                0 => left.extend((0..dice.below(3_000)).map(|_| dice.below(256) as u8)),
                1 => left.extend_from_slice(&[1; 700]),
                _ => {
                    left.extend_from_slice(&[0; 512]);
                    left.extend((0..512).map(|_| dice.below(256) as u8));
                }
            }
            assert!(history.check(number, &left, &format!("after commit {number}, round {round}")));
        }
    }
}

#[test]
fn reports_damage_to_a_commit_that_others_follow_and_truncates_nothing() {
    let history = History::of(&[40, 3_000, 100, 700, 20], false);
    for number in 1..history.commits() {
        let (start, end) = (history.ends[number - 1], history.ends[number]);
        for at in (start..end).step_by((end - start) / 12 + 1).chain([end - 1]) {
            for value in [0, history.journal[at] ^ 0x10] {
                let mut left = history.journal.clone();
                if left[at] == value {
                    continue;
                }
                left[at] = value;
                let dir = history.with_journal(history.commits(), &left);
                match Storage::open(dir.path(), identity()) {
                    Err(OpenError::Damaged { .. }) => {}
                    Err(error) => panic!("byte {at}: {error}"),
                    // A byte that fjall ignores too.
                    Ok(storage) => assert_eq!(
                        storage.recover(0).expect("readable"),
                        *history.states.last().expect("some"),
                        "byte {at}"
                    ),
                }
                let after = read_sparse(&journal(dir.path())).0;
                assert!(after == left, "byte {at}: the journal was truncated");
            }
        }
    }
}

#[test]
fn a_value_that_looks_like_a_later_commit_does_not_count_as_one() {
    let history = History::of(&[40, 300], false);
    let dir = history.with_journal(2, &history.journal);
    // A client may know everything in a journal except the folder's salt.
    let salt = &fs::read(dir.path().join("data/identity")).expect("the identity file")[12..20];
    let mut lookalike = history.journal[history.ends[1]..].to_vec();
    let position = lookalike.windows(8).position(|bytes| bytes == salt).expect("each commit contains it");
    lookalike[position] ^= 1;
    let mut storage = open(dir.path());
    let before = storage.recover(0).expect("readable");
    let newest = newest_file(dir.path());
    let value = Bytes::from(lookalike.repeat(3));
    storage
        .commit(&[Batch {
            changes: vec![Change::Put(Record { key: Bytes::from_static(b"k"), value })],
            ..Batch::default()
        }])
        .expect("committed");
    drop(storage);

    let path = journal(dir.path());
    let (mut left, length) = read_sparse(&path);
    left[2] ^= 1;
    write_sparse(&path, &left, length);
    fs::write(dir.path().join("data/newest"), newest).expect("written");
    assert_eq!(open(dir.path()).recover(0).expect("the last commit was not finished"), before);
}

const FULL_DISK: &str = "LEASEHOLD_STORAGE_TEST_FULL_DISK";

/// The body of the test below when it runs itself again, with the variable set and a limit on the length of files.
/// Prints the last acknowledged index.
fn fill_the_disk(dir: &Path) {
    let mut storage = open(dir);
    let mut applied = storage.recover(0).expect("readable").applied.index;
    // fjall starts another journal after 64 MB, and may have room for that. So the last commit is a large one.
    let lengths = std::iter::repeat_n(2 << 20, 9).chain(std::iter::repeat(10 << 20));
    for length in lengths.take(20) {
        match storage.commit(&[step(applied + 1, length)]) {
            Ok(()) => applied += 1,
            Err(error) => {
                assert!(error.to_string().contains("free space"), "{error}");
                break;
            }
        }
    }
    storage.commit(&[step(applied + 1, 1)]).expect_err("it fails until the folder is opened again");
    println!("\nacknowledged {applied}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_fails_the_commit_and_keeps_the_earlier_ones() {
    if let Some(dir) = std::env::var_os(FULL_DISK) {
        return fill_the_disk(Path::new(&dir));
    }
    let dir = folder();
    drop(open(dir.path()));
    // A little more than the length of a new journal. With SIGXFSZ ignored, a write beyond the limit fails and does not
    // kill the process.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 140000; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "a_full_disk_fails_the_commit_and_keeps_the_earlier_ones", "--nocapture"])
        .env(FULL_DISK, dir.path())
        .output()
        .expect("a second process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let acknowledged: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("acknowledged ")?.parse().ok())
        .expect("the last acknowledged index");
    assert!(acknowledged > 5, "some commits fit");
    let recovered = open(dir.path()).recover(0).expect("a full disk does not damage the folder");
    assert_eq!(recovered.applied.index, acknowledged);
}
