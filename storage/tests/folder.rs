//! Whose folder it is, who may have it, and what a stranger is told.

mod support;

use leasehold_driver::{Batch, Disk};
use leasehold_storage::{Identity, OpenError, Storage, StorageError};
use redb::{Database, TableDefinition};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use support::*;

/// The error, which must be one line that names the folder.
fn refused(dir: &Path, identity: Identity) -> OpenError {
    match Storage::open(dir, identity) {
        Ok(_) => panic!("{} should have been refused", dir.display()),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n'), "one line: {text}");
            assert!(text.contains(dir.to_str().expect("a readable path")), "names the folder: {text}");
            error
        }
    }
}

/// The file of a closed folder, opened behind the back of the crate.
fn tamper(dir: &Path) -> Database {
    Database::open(dir.join("leasehold.redb")).expect("a closed file")
}

fn write<K: redb::Key + 'static>(dir: &Path, table: &str, key: K::SelfType<'_>, value: &[u8]) {
    let transaction = tamper(dir).begin_write().expect("a transaction");
    let table: TableDefinition<'_, K, &[u8]> = TableDefinition::new(table);
    transaction.open_table(table).expect("a table").insert(key, value).expect("a value");
    transaction.commit().expect("committed");
}

#[test]
fn a_missing_folder_is_created_with_those_above_it() {
    let dir = folder();
    let deep = dir.path().join("var/lib/leasehold");
    open(&deep).commit(&[a_log_of_ten()]).expect("committed");
    assert_eq!(open(&deep).recover(0).expect("readable").entries.len(), 10);
}

#[test]
fn a_new_file_system_counts_as_empty() {
    let dir = folder();
    fs::create_dir(dir.path().join("lost+found")).expect("as mkfs leaves it");
    open(dir.path());
}

#[test]
fn a_first_start_that_did_not_finish_is_begun_again() {
    let dir = folder();
    fs::write(dir.path().join("LOCK"), "").expect("a lock file");
    fs::write(dir.path().join("leasehold.redb.new"), "half a file").expect("an unfinished file");
    open(dir.path());
    assert!(!dir.path().join("leasehold.redb.new").exists());
}

#[test]
fn a_second_open_in_the_same_process_is_refused_until_the_first_is_dropped() {
    let dir = folder();
    let first = open(dir.path());
    assert!(matches!(refused(dir.path(), identity()), OpenError::InUse { .. }));
    drop(first);
    open(dir.path());
}

const CHILD_FOLDER: &str = "LEASEHOLD_STORAGE_TEST_FOLDER";

/// The test below runs itself again with the variable set, and then this is what it does.
fn hold_the_folder_until_killed(dir: &Path) -> ! {
    let mut storage = open(dir);
    storage.commit(&[a_log_of_ten()]).expect("committed");
    let mut out = std::io::stdout();
    writeln!(out, "\nholding").and_then(|()| out.flush()).expect("the parent reads");
    loop {
        std::thread::park();
    }
}

#[test]
fn another_process_is_refused_until_the_first_is_killed_and_then_finds_its_commits() {
    if let Some(dir) = std::env::var_os(CHILD_FOLDER) {
        hold_the_folder_until_killed(Path::new(&dir));
    }
    let dir = folder();
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "another_process_is_refused_until_the_first_is_killed_and_then_finds_its_commits"])
        .arg("--nocapture")
        .env(CHILD_FOLDER, dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second process");
    let out = BufReader::new(child.stdout.take().expect("its output"));
    let holding = out.lines().map_while(Result::ok).any(|line| line == "holding");
    let while_held = holding.then(|| refused(dir.path(), identity()));
    child.kill().expect("killed");
    child.wait().expect("gone");

    assert!(matches!(while_held, Some(OpenError::InUse { .. })), "{while_held:?}");
    let recovered = open(dir.path()).recover(0).expect("readable");
    assert_eq!(recovered.entries, entries(1, 1..=10));
    assert_eq!(recovered.records, [record("a", "1")]);
}

#[test]
fn a_folder_of_another_cluster_or_node_is_refused() {
    let dir = folder();
    drop(open(dir.path()));
    let other_cluster = refused(dir.path(), Identity { cluster: "vineyard".into(), ..identity() });
    assert!(matches!(&other_cluster, OpenError::OtherCluster { stored, .. } if stored == "orchard"), "{other_cluster}");
    let other_node = refused(dir.path(), Identity { node: 4, ..identity() });
    assert!(matches!(other_node, OpenError::OtherNode { stored: 3, asked: 4, .. }), "{other_node}");
    open(dir.path());
}

#[test]
fn a_folder_of_a_newer_release_is_refused() {
    let dir = folder();
    drop(open(dir.path()));
    write::<&str>(dir.path(), "folder", "format", &2_u32.to_le_bytes());
    // The format decides how the rest is read, so it comes before whose the folder is.
    let error = refused(dir.path(), Identity { node: 4, ..identity() });
    assert!(matches!(error, OpenError::NewerFormat { stored: 2, known: 1, .. }), "{error}");
}

#[test]
fn a_folder_with_other_content_is_refused_and_left_as_it_was() {
    let dir = folder();
    fs::write(dir.path().join("thesis.tex"), "\\documentclass").expect("somebody's work");
    let error = refused(dir.path(), identity());
    assert!(matches!(&error, OpenError::NotOurs { found, .. } if found == "thesis.tex"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 1, "nothing was added");
}

#[test]
fn a_folder_that_cannot_be_made_is_refused() {
    let dir = folder();
    let file = dir.path().join("file");
    fs::write(&file, "").expect("a file");
    assert!(matches!(refused(&file, identity()), OpenError::Unusable { .. }));
    assert!(matches!(refused(&file.join("data"), identity()), OpenError::Unusable { .. }));
}

#[test]
fn a_file_that_says_not_whose_it_is_or_is_no_database_is_called_damaged() {
    let dir = folder();
    drop(open(dir.path()));
    write::<&str>(dir.path(), "folder", "node", b"three");
    let error = refused(dir.path(), identity());
    assert!(matches!(&error, OpenError::Damaged { detail, .. } if detail.contains("node (table folder)")), "{error}");

    fs::write(dir.path().join("leasehold.redb"), vec![0x5a; 10_000]).expect("garbage");
    let error = refused(dir.path(), identity());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");

    fs::write(dir.path().join("leasehold.redb"), "").expect("an empty file");
    let error = refused(dir.path(), identity());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn undecodable_bytes_are_reported_with_their_table_and_key() {
    let garbage: [(&str, &[u8]); 3] = [("short", b"?"), ("long", &[0xff; 100]), ("absurd", &[0xff; 12])];
    for (what, bytes) in garbage {
        let dir = folder();
        open(dir.path()).commit(&[Batch { group: 5, ..a_log_of_ten() }]).expect("committed");
        write::<(u32, u64)>(dir.path(), "log", (5, 7), bytes);
        let error = open(dir.path()).recover(5).expect_err(what);
        assert!(matches!(error, StorageError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("entry 7 of group 5 (table log)"), "{error}");

        for name in ["hard_state", "applied", "compacted", "longest_hold"] {
            let dir = folder();
            open(dir.path()).commit(&[a_log_of_ten()]).expect("committed");
            write::<(u32, &str)>(dir.path(), "meta", (0, name), bytes);
            let error = open(dir.path()).recover(0).expect_err(what);
            assert!(matches!(error, StorageError::Damaged { .. }), "{what}: {error:?}");
            assert!(error.to_string().contains(&format!("{name} of group 0 (table meta)")), "{error}");
        }
    }
}

#[test]
fn a_byte_that_changed_anywhere_in_a_closed_file_is_reported_or_was_in_no_use() {
    let dir = folder();
    let mut storage = open(dir.path());
    for index in 1..=40 {
        let value = "some value".repeat(50);
        storage
            .commit(&[Batch {
                hard_state: hard_state(1, index),
                entries: entries(1, index..=index),
                changes: vec![put(&format!("key {index}"), &value)],
                applied: applied(index, 1),
                ..Batch::default()
            }])
            .expect("committed");
    }
    let written = storage.recover(0).expect("readable");
    drop(storage);

    let file = dir.path().join("leasehold.redb");
    let whole = fs::read(&file).expect("the file");
    let mut reported = 0;
    for at in (0..512).chain((512..whole.len()).step_by(whole.len() / 400)) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        fs::write(&file, changed).expect("written");
        match Storage::open(dir.path(), identity()) {
            Err(error) => {
                assert!(matches!(error, OpenError::Damaged { .. }), "byte {at}: {error}");
                reported += 1;
            }
            Ok(storage) => assert_eq!(storage.recover(0).expect("readable"), written, "byte {at}"),
        }
    }
    assert!(reported > 0, "no byte that mattered was tried");
}

#[test]
fn a_missing_entry_is_reported() {
    let dir = folder();
    open(dir.path()).commit(&[a_log_of_ten()]).expect("committed");
    let transaction = tamper(dir.path()).begin_write().expect("a transaction");
    let log: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("log");
    transaction.open_table(log).expect("the log").remove((0, 4)).expect("removed");
    transaction.commit().expect("committed");
    let error = open(dir.path()).recover(0).expect_err("a gap");
    assert!(error.to_string().contains("entry 5 of group 0 (table log) is stored right after entry 3"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_folder_removed_or_replaced_under_a_running_node_fails_the_next_commit() {
    let dir = folder();
    let data = dir.path().join("data");
    let mut storage = open(&data);
    storage.commit(&[a_log_of_ten()]).expect("committed");

    let aside = dir.path().join("aside");
    fs::rename(&data, &aside).expect("moved away");
    let error = storage.commit(&[Batch::default()]).expect_err("the folder is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");

    let stranger = open(&data);
    storage.commit(&[Batch::default()]).expect_err("another folder is there");
    drop(stranger);
    fs::remove_dir_all(&data).expect("removed");
    fs::rename(&aside, &data).expect("put back");
    storage.commit(&[Batch::default()]).expect("it is the same again");

    fs::remove_file(data.join("LOCK")).expect("removed");
    storage.commit(&[Batch::default()]).expect_err("without it another process could come in");
}
