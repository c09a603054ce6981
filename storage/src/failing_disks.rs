//! Disks that fill up and disks that lose power: what a commit promises on them.

use crate::{Identity, Storage};
use bytes::Bytes;
use leasehold_driver::{Applied, Batch, Change, Disk, Record};
use leasehold_raft::wire::{Entry, HardState, Membership, Payload};
use redb::StorageBackend;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A disk in memory that keeps apart what is synced and what a power loss may still take.
#[derive(Clone, Debug, Default)]
struct Fragile(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Write>,
    /// Syncs left before the power goes, in the middle of one.
    syncs_left: Option<u32>,
    full: bool,
}

#[derive(Clone, Debug)]
enum Write {
    Length(usize),
    Data(usize, Vec<u8>),
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Write::Length(length) => content.resize(*length, 0),
            Write::Data(offset, data) => {
                let end = offset + data.len();
                content.resize(content.len().max(end), 0);
                content[*offset..end].copy_from_slice(data);
            }
        }
    }
}

impl Fragile {
    fn holding(path: &Path) -> Fragile {
        let synced = fs::read(path).expect("the file");
        Fragile(Arc::new(Mutex::new(Content { now: synced.clone(), synced, ..Content::default() })))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        change(&mut self.0.lock().expect("no test panics while it holds this"))
    }

    fn write_one(&self, write: Write) -> io::Result<()> {
        self.change(|content| {
            if content.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            write.apply(&mut content.now);
            content.unsynced.push(write);
            Ok(())
        })
    }
}

impl StorageBackend for Fragile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.change(|content| content.now.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        self.change(|content| out.copy_from_slice(&content.now[start..start + out.len()]));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write_one(Write::Length(len as usize))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_one(Write::Data(offset as usize, data.to_vec()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|content| {
            match &mut content.syncs_left {
                Some(0) => return Err(io::Error::other("the power is gone")),
                Some(left) => *left -= 1,
                None => {}
            }
            for write in std::mem::take(&mut content.unsynced) {
                write.apply(&mut content.synced);
            }
            Ok(())
        })
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, redb::BackendError> {
        Ok(true)
    }
}

/// A small generator: the same disks fail in the same way every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

impl Content {
    /// The disk as the power loss left it: any part of what was not synced and now and then all of it, in whole sectors.
    fn after_power_loss(&self, dice: &mut Dice) -> Vec<u8> {
        let mut left = self.synced.clone();
        let lucky = dice.below(4) == 0;
        for write in &self.unsynced {
            match (dice.below(4), write) {
                _ if lucky => write.apply(&mut left),
                (0 | 1, _) => write.apply(&mut left),
                (2, Write::Data(offset, data)) => {
                    let sectors = dice.below(data.len() / 512 + 1);
                    Write::Data(*offset, data[..sectors * 512].to_vec()).apply(&mut left);
                }
                _ => {}
            }
        }
        // The file's length is in its inode, and is synced with what lies beyond the old end.
        left.resize(left.len().max(self.synced.len()), 0);
        left
    }
}

fn identity() -> Identity {
    Identity { cluster: "fragile".into(), node: 1 }
}

/// Something in every table: entry `index` appended and applied, and `value` under two keys.
fn step(index: u64) -> Batch {
    let command = Bytes::from(vec![index as u8; 700]);
    let put = |key: u64| {
        let key = Bytes::from(format!("key {key}"));
        Change::Put(Record { key, value: Bytes::from(vec![index as u8; 1_500]) })
    };
    Batch {
        hard_state: Some(HardState { term: 1, vote: 1, commit: index }),
        entries: vec![Entry { term: 1, index, payload: Payload::Command(command) }],
        changes: vec![put(0), put(index)],
        applied: Some(Applied { index, term: 1, membership: Membership::default() }),
        compact_through: index.is_multiple_of(7).then(|| (index - 3, 1)),
        ..Batch::default()
    }
}

#[test]
fn a_power_loss_inside_a_commit_leaves_all_of_it_or_nothing() {
    let mut dice = Dice(7);
    let (mut none, mut all) = (0, 0);
    for round in 0..150 {
        let dir = tempfile::tempdir().expect("a folder");
        let mut disk = Fragile::default();
        let mut storage = Storage::open(dir.path(), identity()).expect("a new folder").on(|file| {
            disk = Fragile::holding(file);
            disk.clone()
        });
        let commits = 1 + round % 12;
        for index in 1..=commits {
            storage.commit(&[step(index)]).expect("the power is on");
        }
        let before = storage.recover(0).expect("readable");

        // Only the commit's sync fails: its writes are on their way.
        disk.change(|content| content.syncs_left = Some(0));
        storage.commit(&[step(commits + 1)]).expect_err("the power is gone");
        let left = disk.change(|content| content.after_power_loss(&mut dice));
        drop(storage);

        fs::write(dir.path().join("leasehold.redb"), left).expect("what is left of it");
        let mut storage = Storage::open(dir.path(), identity()).expect("a crash is no damage");
        let found = storage.recover(0).expect("nor is it any in the data");
        if found == before {
            none += 1;
            storage.commit(&[step(commits + 1)]).expect("it goes on from there");
        } else {
            all += 1;
            let mut reference = Storage::open(&dir.path().join("reference"), identity()).expect("a new folder");
            for index in 1..=commits + 1 {
                reference.commit(&[step(index)]).expect("committed");
            }
            assert_eq!(found, reference.recover(0).expect("readable"), "in round {round}");
        }
    }
    assert!(none > 20 && all > 20, "one side was hardly tried: {none} left nothing, {all} left all");
}

#[test]
fn a_power_loss_after_a_commit_takes_nothing_of_it() {
    let mut dice = Dice(11);
    for commits in 1..=20 {
        let dir = tempfile::tempdir().expect("a folder");
        let mut disk = Fragile::default();
        let mut storage = Storage::open(dir.path(), identity()).expect("a new folder").on(|file| {
            disk = Fragile::holding(file);
            disk.clone()
        });
        for index in 1..=commits {
            storage.commit(&[step(index)]).expect("the power is on");
        }
        let before = storage.recover(0).expect("readable");
        let left = disk.change(|content| content.after_power_loss(&mut dice));
        drop(storage);
        fs::write(dir.path().join("leasehold.redb"), left).expect("what is left of it");
        let storage = Storage::open(dir.path(), identity()).expect("a crash is no damage");
        assert_eq!(storage.recover(0).expect("readable"), before);
    }
}

#[test]
fn a_full_disk_fails_the_commit_and_keeps_the_one_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut disk = Fragile::default();
    let mut storage = Storage::open(dir.path(), identity()).expect("a new folder").on(|file| {
        disk = Fragile::holding(file);
        disk.clone()
    });
    storage.commit(&[step(1)]).expect("there is room");
    let before = storage.recover(0).expect("readable");

    disk.change(|content| content.full = true);
    let error = storage.commit(&[step(2)]).expect_err("the disk is full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("free space"), "{error}");
    storage.commit(&[step(2)]).expect_err("it stays failed until the folder is opened again");
    drop(storage);

    let left = disk.change(|content| content.synced.clone());
    fs::write(dir.path().join("leasehold.redb"), left).expect("what is left of it");
    let storage = Storage::open(dir.path(), identity()).expect("a full disk is no damage");
    assert_eq!(storage.recover(0).expect("readable"), before);
}
