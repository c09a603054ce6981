//! Random damage to the files of a stopped node: changed bits, cut and missing files.

mod support;

use leasehold_node::ports::{Batch, Disk, Recovered};
use leasehold_storage::{OpenError, Storage, StorageError};
use leasehold_testing::dice::Dice;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use support::*;
use tempfile::TempDir;

/// The limit of what one open may add to the process's memory. The folder has a few megabytes.
const MAX_EXTRA_BYTES: u64 = 256 << 20;

/// Returns the folder of a stopped node with several tables and a journal, and its state after each commit.
fn stopped() -> (TempDir, Vec<Recovered>) {
    let dir = folder();
    let mut dice = Dice::new(5, 0);
    let mut storage = open(dir.path());
    let mut states = vec![storage.recover(0).expect("a new folder")];
    for index in 1..=300 {
        if index % 60 == 0 {
            drop(storage);
            storage = open(dir.path());
        }
        let value: String = (0..dice.below(300)).map(|_| char::from(b'a' + dice.below(26) as u8)).collect();
        let key = format!("{}{}", "k".repeat(if index % 20 == 0 { 5_000 } else { 1 }), dice.below(100));
        let batch = Batch {
            hard_state: hard_state(1, index),
            entries: entries(1, index..=index),
            changes: vec![put(&key, &value)],
            applied: applied(index, 1),
            compact_through: (index % 70 == 0).then(|| (index - 30, 1)),
            ..Batch::default()
        };
        storage.commit(&[batch]).expect("committed");
        states.push(storage.recover(0).expect("readable"));
    }
    (dir, states)
}

/// Damages a file of the folder. Returns a description that starts with the file's name.
fn damage(dir: &Path, dice: &mut Dice) -> (PathBuf, String) {
    let all = files(dir);
    let file = &all[dice.below(all.len() as u64) as usize];
    let (mut content, length) = read_sparse(file);
    let used = content.len() as u64;
    let what = match dice.below(20) {
        0 => {
            fs::remove_file(file).expect("removed");
            "removed".to_owned()
        }
        1..=6 => {
            let to = match dice.below(4) {
                0 => 0,
                1 => used.saturating_sub(1 + dice.below(300)),
                2 => dice.below(length.max(1)),
                _ => dice.below(used.max(1)),
            };
            OpenOptions::new().write(true).open(file).expect("a file").set_len(to).expect("cut");
            format!("cut from {length} to {to} bytes")
        }
        _ => {
            // Most of a journal is unused.
            let end = if dice.below(8) == 0 { length } else { used };
            let bits = if end == 0 { 0 } else { 1 + dice.below(3) };
            let places: Vec<u64> = (0..bits).map(|_| dice.below(end)).collect();
            for at in &places {
                content.resize(content.len().max(*at as usize + 1), 0);
                content[*at as usize] ^= 1 << dice.below(8);
            }
            write_sparse(file, &content, length);
            format!("with bits changed at {places:?}")
        }
    };
    let name = file.strip_prefix(dir).expect("in it").to_path_buf();
    let what = format!("{} {what}", name.display());
    (name, what)
}

/// Returns the largest size of this process so far.
#[cfg(target_os = "linux")]
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the system's report");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:")?.trim().strip_suffix(" kB")?.parse().ok());
    peak.map_or(0, |kilobytes: u64| kilobytes << 10)
}

#[cfg(not(target_os = "linux"))]
fn peak_bytes() -> u64 {
    0
}

/// Damages `rounds` copies of a folder, and checks what opening each of them yields. Returns how often it was what.
fn check(seed: u64, rounds: u64) -> BTreeMap<&'static str, u64> {
    println!("seed {seed}");
    let (dir, states) = stopped();
    let last = states.last().expect("some");
    let mut outcomes = BTreeMap::new();
    drop(open(crashed_copy(dir.path()).path()));
    let peak = peak_bytes();
    for round in 0..rounds {
        let mut dice = Dice::new(seed, round);
        let copy = crashed_copy(dir.path());
        let (name, what) = damage(copy.path(), &mut dice);
        let recovered = match Storage::open(copy.path(), identity()) {
            Ok(storage) => {
                storage.recover(0).map_err(|error| (matches!(error, StorageError::Damaged { .. }), error.to_string()))
            }
            Err(error) => Err((
                matches!(
                    error,
                    OpenError::Damaged { .. } | OpenError::NewerFormat { .. } | OpenError::OlderFormat { .. }
                ),
                error.to_string(),
            )),
        };
        let outcome = match recovered {
            Ok(found) => {
                let log_may_be_cut = found.log_may_be_cut;
                let unmarked = Recovered { log_may_be_cut: false, ..found };
                assert!(states.contains(&unmarked), "round {round}: {what}: the node never had this state");
                match (unmarked == *last, log_may_be_cut) {
                    (true, false) => "whole",
                    (true, true) => "whole and marked",
                    (false, true) => "cut and marked",
                    (false, false) => panic!("round {round}: {what}: a loss went unnoticed"),
                }
            }
            Err((damaged, error)) => {
                assert!(damaged, "round {round}: {what}: {error}");
                let file = name.file_name().expect("a file").to_str().expect("a readable name");
                assert!(error.contains(file), "round {round}: {what}: the error does not name the file: {error}");
                "refused"
            }
        };
        let extra = peak_bytes().saturating_sub(peak);
        assert!(extra < MAX_EXTRA_BYTES, "round {round}: {what}: {extra} bytes of memory");
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:?}");
    outcomes
}

#[test]
fn damage_is_refused_or_marked_or_harmless() {
    let outcomes = check(1, 60);
    assert!(outcomes.len() >= 3, "an outcome is too rare: {outcomes:?}");
}

/// Run it with `cargo test -p leasehold-storage --test damage -- --ignored --nocapture`. `LEASEHOLD_DAMAGE_SEED` chooses
/// other damage.
#[test]
#[ignore = "500 rounds: about ten seconds"]
fn much_damage_is_refused_or_marked_or_harmless() {
    let seed = std::env::var("LEASEHOLD_DAMAGE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2);
    check(seed, 500);
}
