//! Recovery returns exactly what was committed.

mod support;

use bytes::Bytes;
use leasehold_node::ports::{Batch, Change, Disk, Record, Recovered};
use leasehold_raft::wire::{Entry, Payload, Step, Transition};
use leasehold_storage::StorageError;
use std::io::ErrorKind;
use std::time::Duration;
use support::*;

#[test]
fn a_new_folder_is_empty() {
    let dir = folder();
    assert_eq!(open(dir.path()).recover(0).expect("readable"), Recovered::default());
}

#[test]
fn a_whole_batch_survives_a_restart() {
    let dir = folder();
    let change = Entry {
        term: 2,
        index: 2,
        payload: Payload::Change(leasehold_raft::wire::Change {
            transition: Transition::Explicit,
            steps: vec![Step::AddLearner(9), Step::Remove(1)],
            notes: [(9, Bytes::from_static(b"note"))].into(),
        }),
    };
    let empty = Entry { term: 2, index: 3, payload: Payload::Command(Bytes::new()) };
    let log = vec![entry(1, 1), change, empty];
    open(dir.path())
        .commit(&[Batch {
            hard_state: hard_state(2, 2),
            entries: log.clone(),
            changes: vec![put("a", "1"), put("", "the empty key"), put("b", ""), put("a", "2")],
            applied: applied(2, 2),
            longest_hold: Some(Duration::new(9, 87_654_321)),
            ..Batch::default()
        }])
        .expect("committed");

    let recovered = open(dir.path()).recover(0).expect("readable");
    assert_eq!(Some(recovered.hard_state), hard_state(2, 2));
    assert_eq!(recovered.entries, log);
    assert_eq!(recovered.records, [record("", "the empty key"), record("a", "2"), record("b", "")]);
    assert_eq!(Some(recovered.applied), applied(2, 2));
    assert_eq!(recovered.compacted, (0, 0));
    assert_eq!(recovered.longest_hold, Duration::new(9, 87_654_321));
}

#[test]
fn an_empty_batch_changes_nothing() {
    let dir = folder();
    let mut storage = open(dir.path());
    storage.commit(&[a_log_of_ten()]).expect("committed");
    let before = storage.recover(0).expect("readable");
    storage.commit(&[Batch::default()]).expect("committed");
    storage.commit(&[]).expect("committed");
    assert_eq!(storage.recover(0).expect("readable"), before);
}

#[test]
fn an_append_replaces_a_conflicting_tail_and_drops_the_entries_after_it() {
    let dir = folder();
    let mut storage = open(dir.path());
    storage.commit(&[a_log_of_ten()]).expect("committed");
    storage
        .commit(&[Batch { hard_state: hard_state(2, 6), entries: entries(2, 7..=8), ..Batch::default() }])
        .expect("committed");
    drop(storage);

    let mut expected = entries(1, 1..=6);
    expected.extend(entries(2, 7..=8));
    assert_eq!(open(dir.path()).recover(0).expect("readable").entries, expected);
}

#[test]
fn compaction_drops_a_prefix_and_keeps_the_last_dropped_index_and_term() {
    let dir = folder();
    let mut storage = open(dir.path());
    storage.commit(&[a_log_of_ten(), Batch { compact_through: Some((4, 1)), ..Batch::default() }]).expect("committed");
    drop(storage);

    let mut storage = open(dir.path());
    let recovered = storage.recover(0).expect("readable");
    assert_eq!(recovered.compacted, (4, 1));
    assert_eq!(recovered.entries, entries(1, 5..=10));

    storage
        .commit(&[Batch { compact_through: Some((2, 1)), ..Batch::default() }])
        .expect("an older compaction is no error");
    assert_eq!(storage.recover(0).expect("readable"), recovered);
}

#[test]
fn the_log_continues_after_its_last_entry_was_compacted() {
    let dir = folder();
    let mut storage = open(dir.path());
    let all = Batch { hard_state: hard_state(1, 10), applied: applied(10, 1), ..a_log_of_ten() };
    storage.commit(&[all, Batch { compact_through: Some((10, 1)), ..Batch::default() }]).expect("committed");
    assert_eq!(storage.recover(0).expect("readable").entries, []);
    storage.commit(&[Batch { entries: entries(1, 11..=11), ..Batch::default() }]).expect("committed");
    drop(storage);
    assert_eq!(open(dir.path()).recover(0).expect("readable").entries, entries(1, 11..=11));
}

#[test]
fn a_snapshot_replaces_the_log_and_the_records() {
    let dir = folder();
    let mut storage = open(dir.path());
    storage.commit(&[a_log_of_ten()]).expect("committed");
    storage
        .commit(&[Batch {
            hard_state: hard_state(3, 20),
            reset_log: true,
            entries: entries(3, 21..=22),
            changes: vec![Change::Clear, put("x", "1"), put("y", "2"), Change::Delete(Bytes::from_static(b"x"))],
            applied: applied(20, 3),
            ..Batch::default()
        }])
        .expect("committed");
    drop(storage);

    let recovered = open(dir.path()).recover(0).expect("readable");
    assert_eq!(recovered.compacted, (20, 3));
    assert_eq!(recovered.entries, entries(3, 21..=22));
    assert_eq!(recovered.records, [record("y", "2")]);
    assert_eq!(Some(recovered.applied), applied(20, 3));
}

#[test]
fn groups_in_one_folder_are_independent() {
    let dir = folder();
    let mut storage = open(dir.path());
    let groups = [0, 1, 255, 256, u32::MAX];
    let of = |group| Batch { group, longest_hold: Some(Duration::from_secs(1)), ..a_log_of_ten() };
    storage.commit(&groups.map(of)).expect("committed");
    assert_eq!(storage.groups().expect("readable"), groups);
    let unchanged = storage.recover(0).expect("readable");

    // Every kind of removal, in one group after the other: the others keep their content.
    for (at, &group) in groups.iter().enumerate() {
        storage
            .commit(&[
                Batch { group, hard_state: hard_state(2, 6), entries: entries(2, 8..=8), ..Batch::default() },
                Batch { group, compact_through: Some((5, 1)), ..Batch::default() },
                Batch {
                    group,
                    hard_state: hard_state(2, 30),
                    reset_log: true,
                    changes: vec![Change::Clear],
                    applied: applied(30, 2),
                    ..Batch::default()
                },
            ])
            .expect("committed");
        for (other_at, &other) in groups.iter().enumerate() {
            let recovered = storage.recover(other).expect("readable");
            if other_at <= at {
                assert_eq!((recovered.compacted, recovered.records.len()), ((30, 2), 0), "group {other}");
            } else {
                assert_eq!(recovered, unchanged, "group {other}, after changes to group {group}");
            }
        }
    }
}

#[test]
fn stores_the_longest_keys_values_and_commands() {
    const MIB: usize = 1 << 20;
    let dir = folder();
    let mut storage = open(dir.path());
    let mut long = vec![0xfe; 16 * MIB];
    long[7] = 0;
    let long = Bytes::from(long);
    let command = Bytes::from(vec![7; 33 * MIB]);
    let log = vec![Entry { term: 1, index: 1, payload: Payload::Command(command) }];
    storage
        .commit(&[Batch {
            hard_state: hard_state(1, 0),
            entries: log.clone(),
            changes: vec![Change::Put(Record { key: long.clone(), value: long.clone() }), put("short", "")],
            ..Batch::default()
        }])
        .expect("committed");
    drop(storage);

    let mut storage = open(dir.path());
    let recovered = storage.recover(0).expect("readable");
    assert!(recovered.entries == log, "the command changed");
    assert!(recovered.records == [record("short", ""), Record { key: long.clone(), value: long.clone() }]);
    storage.commit(&[Batch { changes: vec![Change::Delete(long)], ..Batch::default() }]).expect("committed");
    assert_eq!(storage.recover(0).expect("readable").records, [record("short", "")]);
}

#[test]
fn a_crash_between_commits_leaves_exactly_the_last_one() {
    let dir = folder();
    let mut storage = open(dir.path());
    let mut copies = Vec::new();
    for index in 1..=20 {
        // Each commit writes to every table, and every fifth one removes.
        let mut batches = vec![Batch {
            hard_state: hard_state(1, index),
            entries: entries(1, index..=index),
            changes: vec![put("newest", &index.to_string()), put(&format!("key {index}"), "")],
            applied: applied(index, 1),
            ..Batch::default()
        }];
        if index % 5 == 0 {
            let compact_through = Some((index - 2, 1));
            batches.push(Batch { changes: vec![Change::Clear], compact_through, ..Batch::default() });
        }
        storage.commit(&batches).expect("committed");
        copies.push((storage.recover(0).expect("readable"), crashed_copy(dir.path())));
    }
    for (expected, copy) in copies {
        assert_eq!(open(copy.path()).recover(0).expect("readable"), expected);
    }
}

/// Returns the first batch of a new group.
fn founding(group: u32) -> Batch {
    Batch {
        group,
        hard_state: hard_state(1, 1),
        reset_log: true,
        applied: applied(1, 1),
        longest_hold: Some(Duration::from_secs(1)),
        ..Batch::default()
    }
}

#[test]
fn refuses_to_found_a_group_again_that_has_voted() {
    let dir = folder();
    let mut storage = open(dir.path());
    storage.commit(&[founding(7)]).expect("committed");
    storage.commit(&[Batch { group: 7, hard_state: hard_state(3, 1), ..Batch::default() }]).expect("committed");
    for restarted in [false, true] {
        if restarted {
            drop(storage);
            storage = open(dir.path());
        }
        let before = storage.recover(7).expect("readable");
        let error = storage.commit(&[founding(7)]).expect_err("it has voted");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert_eq!(storage.recover(7).expect("readable"), before);
        assert_eq!(storage.groups().expect("readable"), [7]);
    }
    storage.commit(&[founding(8)]).expect("another group");
    assert_eq!(storage.groups().expect("readable"), [7, 8]);
}

#[test]
fn a_crash_leaves_a_group_or_its_removal_and_never_a_part_of_it() {
    let dir = folder();
    let mut storage = open(dir.path());
    storage.commit(&[founding(7), founding(8)]).expect("committed");
    let before = crashed_copy(dir.path());
    let kept = storage.recover(7).expect("readable");
    storage.commit(&[Batch { group: 7, remove: true, ..Batch::default() }]).expect("removed");
    let after = crashed_copy(dir.path());
    let storage = open(before.path());
    assert_eq!((storage.groups().expect("readable"), storage.removed_groups()), (vec![7, 8], vec![]));
    assert_eq!(storage.recover(7).expect("readable"), kept);
    let mut storage = open(after.path());
    assert_eq!((storage.groups().expect("readable"), storage.removed_groups()), (vec![8], vec![7]));
    storage.recover(7).expect_err("it was removed");
    assert_eq!(storage.commit(&[founding(7)]).expect_err("it has voted").kind(), ErrorKind::InvalidInput);
    storage.commit(&[Batch { group: 7, remove: true, ..Batch::default() }]).expect("again");
    assert_eq!(storage.groups().expect("readable"), [8]);
}

#[test]
fn refuses_a_batch_that_would_damage_the_folder_and_writes_none_of_it() {
    let dir = folder();
    let mut storage = open(dir.path());
    storage.commit(&[a_log_of_ten(), Batch { compact_through: Some((3, 1)), ..Batch::default() }]).expect("committed");
    let before = storage.recover(0).expect("readable");

    let too_long = Entry { term: 1, index: 11, payload: Payload::Command(Bytes::from(vec![0; 65 << 20])) };
    let faults = [
        ("a gap after the log", Batch { entries: entries(1, 12..=12), ..Batch::default() }),
        ("a gap inside", Batch { entries: vec![entry(1, 11), entry(1, 13)], ..Batch::default() }),
        ("a compacted entry", Batch { entries: entries(1, 3..=4), ..Batch::default() }),
        ("a command above the limit", Batch { entries: vec![too_long], ..Batch::default() }),
        ("a reset without an applied position", Batch { reset_log: true, ..Batch::default() }),
        ("compaction beyond the applied index", Batch { compact_through: Some((6, 1)), ..Batch::default() }),
    ];
    for (what, fault) in faults {
        let good = Batch { changes: vec![put("written", "first")], ..Batch::default() };
        let error = storage.commit(&[good, fault]).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}: {error}");
        assert_eq!(storage.recover(0).expect("readable"), before, "after {what}");
    }
}

#[test]
fn reports_content_that_no_ordered_writer_leaves_as_damage() {
    let with_log = |hard_state, applied| Batch { hard_state, applied, ..a_log_of_ten() };
    let damages = [
        ("the log ends at 10", with_log(hard_state(1, 11), applied(5, 1))),
        ("11 is applied", with_log(hard_state(1, 6), applied(11, 1))),
        ("only 4 is committed", with_log(hard_state(1, 4), applied(5, 1))),
        ("applied with term 2", with_log(hard_state(2, 6), applied(5, 2))),
        ("the newest term seen is 0", with_log(hard_state(0, 6), applied(5, 1))),
        ("no hard state", with_log(None, applied(5, 1))),
        ("after one of term 1", Batch { entries: vec![entry(1, 1), entry(0, 2)], ..a_log_of_ten() }),
    ];
    for (expected, batch) in damages {
        let dir = folder();
        let mut storage = open(dir.path());
        storage.commit(&[batch]).expect("committed");
        match storage.recover(0) {
            Err(error @ StorageError::Damaged { .. }) => {
                let text = error.to_string();
                assert!(text.contains(expected), "expected {expected:?} in {text:?}");
                assert!(text.contains(dir.path().to_str().expect("a readable path")), "{text:?} names the folder");
            }
            other => panic!("expected damage ({expected}), not {other:?}"),
        }
    }
}

#[test]
fn disk_usage_stays_bounded_when_much_is_written_and_compacted() {
    const COMMITS: u64 = 600;
    let dir = folder();
    let mut storage = open(dir.path());
    let value = |index: u64| Bytes::from(vec![index as u8; 100_000]);
    for index in 1..=COMMITS {
        let command = Entry { term: 1, index, payload: Payload::Command(value(index)) };
        let key = format!("key {}", index % 50);
        let batch = Batch {
            hard_state: hard_state(1, index),
            entries: vec![command],
            changes: vec![Change::Put(Record { key: key.into(), value: value(index) })],
            applied: applied(index, 1),
            compact_through: index.is_multiple_of(40).then(|| (index - 20, 1)),
            ..Batch::default()
        };
        storage.commit(&[batch]).expect("committed");
        if index.is_multiple_of(250) {
            drop(storage);
            storage = open(dir.path());
        }
    }
    let recovered = storage.recover(0).expect("readable");
    assert_eq!(recovered.compacted, (580, 1));
    assert!(recovered.entries.iter().map(|entry| entry.index).eq(581..=COMMITS));
    assert_eq!(recovered.records.len(), 50);
    for record in &recovered.records {
        let newest = recovered.entries.iter().rev().map(|entry| entry.index).chain((551..=580).rev());
        let written = newest.into_iter().find(|index| record.key == format!("key {}", index % 50).as_bytes());
        assert!(record.value == value(written.expect("one of the last fifty")), "{:?}", record.key);
    }
    drop(storage);
    assert!(open(dir.path()).recover(0).expect("readable") == recovered);
    // 120 MB were written, of which 7 are still in use.
    let stored: u64 = files(dir.path()).iter().map(|path| path.metadata().expect("it exists").len()).sum();
    assert!(stored < 200 << 20, "{stored} bytes on the disk");
}
