//! Syncs that fail. The system then drops what it could not write, still shows it to readers, and reports that the next
//! sync succeeded.
#![cfg(target_os = "linux")]

mod support;

use leasehold_node::ports::{Batch, Disk};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::*;
use tempfile::TempDir;

const PHASE: &str = "LEASEHOLD_STORAGE_TEST_PHASE";
const FOLDER: &str = "LEASEHOLD_STORAGE_TEST_FOLDER";
const FAIL_IF: &str = "SYNCS_FAIL_IF";

fn step(index: u64) -> Batch {
    Batch {
        hard_state: hard_state(1, index),
        entries: entries(1, index..=index),
        changes: vec![put("newest", &index.to_string())],
        applied: applied(index, 1),
        ..Batch::default()
    }
}

/// A library that fails syncs, and the folder of a node that runs with it.
struct Shim {
    dir: TempDir,
    library: PathBuf,
}

impl Shim {
    /// Compiles the library; `None` without a compiler.
    fn build() -> Option<Shim> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let library = dir.path().join("syncs.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/syncs.c");
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]).status();
        if !compiled.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no C compiler");
            return None;
        }
        Some(Shim { dir, library })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a test of this file in a process of its own, in which syncs of paths with `pattern` fail while the file
    /// "fail" exists. Returns the number that it prints.
    fn run(&self, test: &str, phase: &str, pattern: &str) -> u64 {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", test, "--nocapture"])
            .env("LD_PRELOAD", &self.library)
            .env("SYNCS_LOG", self.path("log"))
            .env(FAIL_IF, self.path("fail"))
            .env("SYNCS_FAIL_FOR", pattern)
            .env(PHASE, phase)
            .env(FOLDER, self.dir.path())
            .output()
            .expect("a second process");
        let text = String::from_utf8_lossy(&output.stdout);
        let number = text.lines().find_map(|line| line.strip_prefix("number ")?.parse().ok());
        number.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// The body of a test that runs itself again. It ends the process without closing the folder.
fn phase(phase: &str) -> ! {
    let dir = PathBuf::from(std::env::var_os(FOLDER).expect("set with the phase"));
    let fail = PathBuf::from(std::env::var_os(FAIL_IF).expect("set with the phase"));
    let mut storage = open(&dir.join("node"));
    let mut number = storage.recover(0).expect("readable").applied.index;
    if phase == "fail" {
        (1..=3).for_each(|index| storage.commit(&[step(index)]).expect("committed"));
        copy_files(&dir.join("node"), &dir.join("disk"));
        fs::write(&fail, "").expect("written");
        storage.commit(&[step(4)]).expect_err("it is not durable");
        fs::remove_file(&fail).expect("removed");
        storage.commit(&[step(4)]).expect_err("a later sync proves nothing");
        storage.commit(&[step(5)]).expect_err("a later sync proves nothing");
        number = 3;
    }
    if phase == "fail the record" {
        // fjall then starts another journal, some time before or after the commit returns.
        let large = "v".repeat(64 << 20);
        fs::write(&fail, "").expect("written");
        let large = storage.commit(&[Batch { changes: vec![put("large", &large)], ..Batch::default() }]);
        while !dir.join("node/data/fjall/1.jnl").exists() {
            std::thread::yield_now();
        }
        large.and_then(|()| storage.commit(&[step(1)])).expect_err("its journal is not recorded");
        fs::remove_file(&fail).expect("removed");
        storage.commit(&[step(1)]).expect_err("a later sync proves nothing");
    }
    println!("\nnumber {number}");
    std::process::exit(0);
}

/// Writes to `disk` what is there after a power loss. It holds what was there when the first sync failed. `shown` is
/// what the system showed before the folder was opened again, and `now` what it shows after that. Only what was changed
/// in between and then synced has reached the disk.
fn write_back(disk: &Path, shown: &Path, now: &Path, synced: &BTreeSet<PathBuf>) {
    let relative = |root: &Path| -> BTreeSet<PathBuf> {
        files(root).iter().map(|path| path.strip_prefix(root).expect("in it").to_path_buf()).collect()
    };
    let (before, after) = (relative(shown), relative(now));
    for removed in before.difference(&after) {
        fs::remove_file(disk.join(removed)).expect("removed");
    }
    for name in after.iter().filter(|name| synced.contains(*name)) {
        let (now, length) = read_sparse(&now.join(name));
        let read = |root: &Path| if root.join(name).exists() { read_sparse(&root.join(name)).0 } else { Vec::new() };
        let (shown, mut disk_content) = (read(shown), read(disk));
        disk_content.resize(now.len(), 0);
        for (at, byte) in now.iter().enumerate() {
            if shown.get(at).unwrap_or(&0) != byte {
                disk_content[at] = *byte;
            }
        }
        fs::create_dir_all(disk.join(name).parent().expect("a folder")).expect("created");
        write_sparse(&disk.join(name), &disk_content, length);
    }
}

#[test]
fn an_open_after_a_failed_sync_returns_only_what_is_on_the_disk() {
    if let Ok(name) = std::env::var(PHASE) {
        phase(&name);
    }
    let Some(shim) = Shim::build() else { return };
    let test = "an_open_after_a_failed_sync_returns_only_what_is_on_the_disk";
    let acknowledged = shim.run(test, "fail", ".jnl");
    copy_files(&shim.path("node"), &shim.path("shown"));
    fs::remove_file(shim.path("log")).expect("syncs were logged");
    let recovered = shim.run(test, "open again", ".jnl");
    assert!((acknowledged..=acknowledged + 1).contains(&recovered), "commit {recovered} is the last");

    let synced = fs::read_to_string(shim.path("log")).expect("syncs were logged");
    let synced = synced.lines().filter_map(|path| Path::new(path).strip_prefix(shim.path("node")).ok());
    write_back(&shim.path("disk"), &shim.path("shown"), &shim.path("node"), &synced.map(Path::to_path_buf).collect());
    let on_disk = open(&shim.path("disk")).recover(0).expect("readable");
    assert_eq!((on_disk.applied.index, on_disk.log_may_be_cut), (recovered, false));
}

#[test]
fn no_commit_succeeds_after_the_record_of_the_newest_journal_could_not_be_synced() {
    if let Ok(name) = std::env::var(PHASE) {
        phase(&name);
    }
    let Some(shim) = Shim::build() else { return };
    let test = "no_commit_succeeds_after_the_record_of_the_newest_journal_could_not_be_synced";
    shim.run(test, "fail the record", "/newest");
}
