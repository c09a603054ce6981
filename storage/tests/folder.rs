//! Locks, identities, and the errors for a folder that cannot be used.

mod support;

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use leasehold_node::identity::{Addresses, Contact, Met, Registry, Roster, Run};
use leasehold_node::ports::{Batch, Disk, Recovered};
use leasehold_storage::{Identity, OpenError, Storage, StorageError};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::{Command, Stdio};
use support::*;
use xxhash_rust::xxh3::xxh3_64;

/// Returns the error of opening the folder. It must be one line that names the folder.
fn refused(dir: &Path, identity: Identity) -> OpenError {
    match Storage::open(dir, identity) {
        Ok(_) => panic!("{} is accepted", dir.display()),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n'), "one line: {text}");
            assert!(text.contains(dir.to_str().expect("a readable path")), "names the folder: {text}");
            error
        }
    }
}

/// Writes a value to a closed folder without this crate, or removes one.
fn tamper(dir: &Path, key: &[u8], value: Option<&[u8]>) {
    let database = Database::builder(dir.join("data/fjall")).open().expect("a closed folder");
    let keyspace = database.keyspace("node", KeyspaceCreateOptions::default).expect("the only keyspace");
    // Each commit begins with its number and the folder's salt.
    let mut record = keyspace.get([0]).expect("readable").expect("something was committed").to_vec();
    let number = u64::from_le_bytes(record[..8].try_into().expect("eight bytes"));
    record[..8].copy_from_slice(&(number + 1).to_le_bytes());
    let mut batch = database.batch().durability(Some(PersistMode::SyncData));
    batch.insert(&keyspace, [0], record);
    match value {
        Some(value) => batch.insert(&keyspace, key, value),
        None => batch.remove(&keyspace, key),
    }
    batch.commit().expect("committed");
}

fn log_key(group: u32, index: u64) -> Vec<u8> {
    [&[1][..], &group.to_be_bytes(), &index.to_be_bytes()].concat()
}

fn meta_key(group: u32, name: &str) -> Vec<u8> {
    [&[3][..], &group.to_be_bytes(), name.as_bytes()].concat()
}

#[test]
fn creates_a_missing_folder_and_its_parents() {
    let dir = folder();
    let deep = dir.path().join("var/lib/leasehold");
    open(&deep).commit(&[a_log_of_ten()]).expect("committed");
    assert_eq!(open(&deep).recover(0).expect("readable").entries.len(), 10);
    #[cfg(unix)]
    for private in [deep.clone(), deep.join("data")] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(private).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o077, 0, "others on the machine cannot read it");
    }
}

#[test]
fn accepts_a_new_file_system_as_empty() {
    let dir = folder();
    fs::create_dir(dir.path().join("lost+found")).expect("as mkfs creates it");
    open(dir.path());
}

#[test]
fn repeats_an_unfinished_first_start() {
    let dir = folder();
    fs::write(dir.path().join("LOCK"), "").expect("a lock file");
    fs::create_dir_all(dir.path().join("data.new/fjall")).expect("an unfinished folder");
    fs::write(dir.path().join("data.new/fjall/version"), "half a file").expect("in it");
    drop(open(dir.path()));
    assert!(!dir.path().join("data.new").exists());
    assert!(!dir.path().join("data/unused").exists());

    // A later point: fjall's folder was begun.
    fs::write(dir.path().join("data/unused"), "").expect("the mark of an unused folder");
    fs::remove_dir_all(dir.path().join("data/fjall/keyspaces")).expect("removed");
    open(dir.path());
    assert!(!dir.path().join("data/unused").exists());
}

#[test]
fn refuses_a_second_open_in_the_same_process_until_the_first_is_dropped() {
    let dir = folder();
    let first = open(dir.path());
    assert!(matches!(refused(dir.path(), identity()), OpenError::InUse { .. }));
    drop(first);
    open(dir.path());
}

const CHILD_FOLDER: &str = "LEASEHOLD_STORAGE_TEST_FOLDER";

/// The body of the test below when it runs itself again, with the variable set.
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
fn another_process_is_refused_until_the_first_is_killed_and_then_reads_its_commits() {
    if let Some(dir) = std::env::var_os(CHILD_FOLDER) {
        hold_the_folder_until_killed(Path::new(&dir));
    }
    let dir = folder();
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "another_process_is_refused_until_the_first_is_killed_and_then_reads_its_commits"])
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
fn refuses_a_folder_of_another_cluster_or_node() {
    let dir = folder();
    drop(open(dir.path()));
    let other_cluster = refused(dir.path(), Identity { cluster: "vineyard".into(), ..identity() });
    assert!(matches!(&other_cluster, OpenError::OtherCluster { stored, .. } if stored == "orchard"), "{other_cluster}");
    let other_node = refused(dir.path(), Identity { node: 4, ..identity() });
    assert!(matches!(other_node, OpenError::OtherNode { stored: 3, given: 4, .. }), "{other_node}");
    open(dir.path());
}

#[test]
fn a_folder_keeps_the_number_of_groups_of_its_founding() {
    let groups = NonZeroU16::new;
    let dir = folder();
    assert_eq!(open(dir.path()).group_count(), NonZeroU16::MIN);
    let error = Storage::open_with_groups(dir.path(), identity(), groups(4)).expect_err("refused").to_string();
    assert!(error.contains("is of a cluster whose number of groups is 1, not 4; omit the number or give 1"), "{error}");

    let dir = folder();
    drop(Storage::open_with_groups(dir.path(), identity(), groups(4)).expect("a new folder"));
    for given in [None, groups(4)] {
        let storage = Storage::open_with_groups(dir.path(), identity(), given).expect("the node's own folder");
        assert_eq!(Some(storage.group_count()), groups(4));
    }
    for given in [1, 5] {
        let error = Storage::open_with_groups(dir.path(), identity(), groups(given)).expect_err("refused");
        assert!(matches!(error, OpenError::OtherGroups { .. }), "{error}");
    }
    // Earlier releases, which would serve the first group only, do not open it.
    let owner = fs::read(dir.path().join("data/identity")).expect("the identity");
    assert_eq!(owner[..4], 7_u32.to_le_bytes());
}

#[test]
fn a_node_that_joins_keeps_the_number_of_groups_that_it_was_given() {
    let joins = Identity { founders: [].into(), ..identity() };
    for given in [None, NonZeroU16::new(2)] {
        let dir = folder();
        drop(Storage::open_with_groups(dir.path(), joins.clone(), given).expect("a new folder"));
        let storage = Storage::open_with_groups(dir.path(), joins.clone(), None).expect("the node's own folder");
        assert_eq!(storage.group_count(), given.unwrap_or(NonZeroU16::MIN));
    }
}

#[test]
fn refuses_other_founders_and_names_both_lists() {
    let dir = folder();
    drop(open(dir.path()));
    for others in [[1, 2].as_slice(), &[3], &[1, 2, 3, 4], &[1, 3, 5]] {
        let error = refused(dir.path(), Identity { founders: others.iter().copied().collect(), ..identity() });
        assert!(matches!(error, OpenError::OtherFounders { .. }), "{error}");
        let numbers: Vec<String> = others.iter().map(u64::to_string).collect();
        let text = format!("is of a cluster founded by the nodes 1, 2, 3, not by {}; give", numbers.join(", "));
        assert!(error.to_string().contains(&text), "{error}");
    }
    open(dir.path());
}

#[test]
fn every_start_is_counted_and_a_copy_continues_from_its_own_count() {
    let dir = folder();
    let incarnation = open(dir.path()).registry().incarnation;
    let copy = crashed_copy(dir.path());
    for starts in 2..=5 {
        let storage = open(dir.path());
        assert_eq!((storage.registry().starts, storage.registry().incarnation), (starts, incarnation));
    }
    let copied = open(copy.path()).registry().clone();
    assert_eq!((copied.starts, copied.boots.len()), (2, 2));
    let own = open(dir.path()).registry().boots.clone();
    assert!(copied.boots[0] == own[0] && copied.boots[1] != own[1], "the same start, but another run");
    let other = folder();
    assert_ne!(open(other.path()).registry().incarnation, incarnation, "another folder");
}

#[test]
fn keeps_the_registry_until_the_folder_is_closed() {
    let dir = folder();
    let storage = open(dir.path());
    let mut registry = storage.registry().clone();
    (registry.cluster, registry.founders) = (7, [(1, 7), (2, 8), (3, registry.incarnation)].into());
    let addresses = Addresses { peers: "one:7000".to_owned(), clients: "one:6379".to_owned() };
    let met = |run| Met { run, addresses: addresses.clone(), entries: 1 };
    registry.peers =
        [(1, met(Run { incarnation: 7, starts: 3, boot: 4 })), (2, met(Run { incarnation: 8, starts: 1, boot: 2 }))]
            .into();
    (registry.addresses, registry.entries) = (addresses.clone(), 2);
    let member = Contact { incarnation: 7, addresses, entries: 1, starts: 3 };
    registry.roster = Roster { changed: 12, highest: 9, members: [(1, member)].into() };
    registry.copies = [(2, 5)].into();
    let file = storage.registry_file();
    file.keep(&registry).expect("kept");
    drop(storage);
    let storage = open(dir.path());
    registry.starts += 1;
    registry.boots.extend(storage.registry().boots.last());
    assert_eq!(storage.registry(), &registry);

    // The first process is gone: it must not overwrite what the second one counts.
    file.keep(&Registry { starts: 1, ..registry.clone() }).expect_err("closed");
    drop(storage);
    assert_eq!(open(dir.path()).registry().starts, registry.starts + 1);
}

#[test]
fn refuses_the_registry_of_another_folder() {
    let (dir, other) = (folder(), folder());
    drop((open(dir.path()), open(other.path())));
    fs::copy(other.path().join("data/registry"), dir.path().join("data/registry")).expect("copied");
    let error = refused(dir.path(), identity());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn a_crash_while_the_registry_is_replaced_leaves_the_old_one() {
    let dir = folder();
    drop(open(dir.path()));
    let whole = fs::read(dir.path().join("data/registry")).expect("the registry");
    for end in [0, 1, whole.len() - 1] {
        fs::write(dir.path().join("data/registry.new"), &whole[..end]).expect("cut");
        let before = fs::read(dir.path().join("data/registry")).expect("the registry");
        let starts = open(dir.path()).registry().starts;
        assert!(starts > 1 && before != fs::read(dir.path().join("data/registry")).expect("the registry"));
    }
}

#[test]
fn refuses_a_folder_of_another_format() {
    let dir = folder();
    drop(open(dir.path()));
    let path = dir.path().join("data/identity");
    let mut identity_file = fs::read(&path).expect("the identity file");
    let checksum = identity_file.len() - 8;
    // The format determines how the rest is read, so it is checked before the identity.
    let mut error = |format| {
        identity_file.truncate(checksum);
        identity_file[0] = format;
        identity_file.extend_from_slice(&xxh3_64(&identity_file).to_le_bytes());
        fs::write(&path, &identity_file).expect("written");
        refused(dir.path(), Identity { node: 4, ..identity() })
    };
    let newer = error(8);
    assert!(matches!(newer, OpenError::NewerFormat { stored: 8, known: 7, .. }), "{newer}");
    let older = error(5);
    assert!(matches!(older, OpenError::OlderFormat { stored: 5, known: 6, .. }), "{older}");
}

#[test]
fn refuses_a_folder_with_other_content_and_does_not_change_it() {
    let dir = folder();
    fs::write(dir.path().join("thesis.tex"), "\\documentclass").expect("a file");
    let error = refused(dir.path(), identity());
    assert!(matches!(&error, OpenError::NotOurs { found, .. } if found == "thesis.tex"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 1, "nothing was added");
}

#[test]
fn refuses_a_folder_that_cannot_be_created() {
    let dir = folder();
    let file = dir.path().join("file");
    fs::write(&file, "").expect("a file");
    assert!(matches!(refused(&file, identity()), OpenError::Unusable { .. }));
    assert!(matches!(refused(&file.join("data"), identity()), OpenError::Unusable { .. }));
}

#[test]
fn refuses_a_folder_without_write_permission() {
    let dir = folder();
    open(dir.path()).commit(&[a_log_of_ten()]).expect("committed");
    let mode = |path: &Path, writable: bool| {
        let mut permissions = fs::metadata(path).expect("it exists").permissions();
        permissions.set_readonly(!writable);
        fs::set_permissions(path, permissions).expect("changed");
    };
    let all = files(dir.path());
    all.iter().for_each(|path| mode(path, false));
    let privileged = fs::OpenOptions::new().write(true).open(&all[0]).is_ok();
    if !privileged {
        assert!(matches!(refused(dir.path(), identity()), OpenError::Unusable { .. }));
    }
    all.iter().for_each(|path| mode(path, true));
    assert_eq!(open(dir.path()).recover(0).expect("readable").entries.len(), 10);
}

#[test]
fn reports_missing_and_overwritten_files_as_damage() {
    let whole = folder();
    open(whole.path()).commit(&[a_log_of_ten()]).expect("committed");
    for lost in ["data/identity", "data/registry", "data/fjall/version", "data/fjall/keyspaces/1/current"] {
        let dir = crashed_copy(whole.path());
        fs::remove_file(dir.path().join(lost)).expect("removed");
        let error = refused(dir.path(), identity());
        assert!(matches!(error, OpenError::Damaged { .. }), "without {lost}: {error}");

        fs::write(dir.path().join(lost), vec![0x5a; 10_000]).expect("garbage");
        let error = refused(dir.path(), identity());
        assert!(matches!(error, OpenError::Damaged { .. }), "garbage in {lost}: {error}");
    }
}

#[test]
fn reports_undecodable_bytes_with_their_table_and_key() {
    let garbage: [(&str, &[u8]); 3] = [("short", b"?"), ("long", &[0xff; 100]), ("absurd", &[0xff; 12])];
    for (what, bytes) in garbage {
        let dir = folder();
        open(dir.path()).commit(&[Batch { group: 5, ..a_log_of_ten() }]).expect("committed");
        tamper(dir.path(), &log_key(5, 7), Some(bytes));
        let error = open(dir.path()).recover(5).expect_err(what);
        assert!(matches!(error, StorageError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("entry 7 of group 5 (table log)"), "{error}");

        for name in ["hard_state", "applied", "compacted", "longest_hold", "orderly_stop"] {
            let dir = folder();
            open(dir.path()).commit(&[a_log_of_ten()]).expect("committed");
            tamper(dir.path(), &meta_key(0, name), Some(bytes));
            let error = open(dir.path()).recover(0).expect_err(what);
            assert!(matches!(error, StorageError::Damaged { .. }), "{what}: {error:?}");
            assert!(error.to_string().contains(&format!("{name} of group 0 (table meta)")), "{error}");
        }
    }
}

#[test]
fn reports_a_changed_byte_anywhere_in_a_closed_file_unless_it_is_unused() {
    let dir = folder();
    let mut storage = open(dir.path());
    let mut before_the_last = storage.recover(0).expect("readable");
    for index in 1..=40 {
        before_the_last = storage.recover(0).expect("readable");
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

    for sorted in [false, true] {
        if sorted {
            // An open moves everything from the journal to tables.
            drop(open(dir.path()));
        }
        let mut reported = 0;
        let tries = if sorted { 60 } else { 30 };
        for file in files(dir.path()) {
            let name = file.strip_prefix(dir.path()).expect("a file in it").to_owned();
            let (whole, length) = read_sparse(&file);
            for at in (0..whole.len()).step_by(1 + whole.len() / tries) {
                let copy = crashed_copy(dir.path());
                let mut changed = whole.clone();
                changed[at] ^= 0x55;
                write_sparse(&copy.path().join(&name), &changed, length);
                let name = name.display();
                match Storage::open(copy.path(), identity()) {
                    Err(error) => {
                        assert!(matches!(error, OpenError::Damaged { .. }), "byte {at} of {name}: {error}");
                        reported += 1;
                    }
                    Ok(storage) => match storage.recover(0) {
                        Err(error) => {
                            assert!(matches!(error, StorageError::Damaged { .. }), "byte {at} of {name}: {error}");
                            reported += 1;
                        }
                        Ok(found) if found == written => {}
                        // Damage in the last commit of the journal looks like an unfinished commit, but the record of
                        // the newest commit shows that it was acknowledged. Damage in that record may hide a loss.
                        Ok(found) => {
                            let expected = if found.entries.len() == 40 { &written } else { &before_the_last };
                            assert_eq!(
                                found,
                                Recovered { log_may_be_cut: true, ..expected.clone() },
                                "byte {at} of {name}"
                            );
                            reported += 1;
                        }
                    },
                }
            }
        }
        assert!(reported > 0, "no used byte was tried");
    }
}

#[test]
fn reports_a_missing_entry() {
    let dir = folder();
    open(dir.path()).commit(&[a_log_of_ten()]).expect("committed");
    tamper(dir.path(), &log_key(0, 4), None);
    let error = open(dir.path()).recover(0).expect_err("a gap");
    assert!(error.to_string().contains("entry 5 of group 0 (table log) directly follows entry 3"), "{error}");
}

#[cfg(unix)]
#[test]
fn the_next_commit_fails_after_the_folder_is_removed() {
    for lost in ["", "LOCK", "data", "data/fjall", "data/fjall/0.jnl"] {
        let dir = folder();
        let data = dir.path().join("node");
        let mut storage = open(&data);
        storage.commit(&[a_log_of_ten()]).expect("committed");
        let path = data.join(lost);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("removed");
        let error = storage.commit(&[Batch::default()]).expect_err("further writes would be lost");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(data.to_str().expect("a readable path")), "names the folder: {error}");
    }
}

#[cfg(unix)]
#[test]
fn commits_fail_soon_after_the_folder_is_moved_or_replaced_until_it_is_put_back() {
    let dir = folder();
    let data = dir.path().join("node");
    let mut storage = open(&data);
    storage.commit(&[a_log_of_ten()]).expect("committed");

    let aside = dir.path().join("aside");
    fs::rename(&data, &aside).expect("moved away");
    let error = loop {
        match storage.commit(&[Batch::default()]) {
            Ok(()) => std::thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");

    let other = open(&data);
    storage.commit(&[Batch::default()]).expect_err("another folder has the path");
    drop(other);
    fs::remove_dir_all(&data).expect("removed");
    fs::rename(&aside, &data).expect("put back");
    storage.commit(&[Batch::default()]).expect("the same folder");
}
