//! The data folder of a small node.

use super::{from_hex, golden_text, hex};
use bytes::Bytes;
use leasehold_node::ports::{Applied, Batch, Change, Disk as _, Record, Recovered};
use leasehold_raft::wire::{Entry, HardState, Membership, Payload};
use leasehold_storage::{Identity, Storage};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

const NAME: &str = "data-folder.hex";

fn identity() -> Identity {
    Identity { cluster: "orchard".to_owned(), node: 3, founders: [1, 2, 3].into() }
}

fn record(key: &str, value: &str) -> Record {
    Record { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

fn batch(index: u64) -> Batch {
    // A long key is stored under a number.
    let long = format!("\0{}", "long ".repeat(1_000));
    Batch {
        group: 2,
        hard_state: Some(HardState { term: 4, vote: 3, commit: index }),
        entries: vec![Entry { term: 4, index, payload: Payload::Command(Bytes::from(format!("command {index}"))) }],
        changes: vec![
            // Of kind 0, as earlier releases wrote them.
            Change::Put(record(&format!("\0key {index}"), "value")),
            Change::Put(record(&long, &index.to_string())),
            Change::Delete(Bytes::from_static(b"\0key 2")),
        ],
        applied: Some(Applied {
            index,
            term: 4,
            membership: Membership { voters: vec![1, 2, 3], learners: vec![4], ..Membership::default() },
        }),
        compact_through: (index == 3).then_some((1, 4)),
        longest_hold: Some(Duration::from_millis(1_500)),
        orderly_stop: Some((index == 3).then_some(Duration::from_millis(700))),
        ..Batch::default()
    }
}

/// Returns the state after the three batches.
fn expected() -> Recovered {
    let batch = batch(3);
    let entries = (2..=3).flat_map(|index| self::batch(index).entries).collect();
    Recovered {
        hard_state: batch.hard_state.expect("in each batch"),
        compacted: (1, 4),
        entries,
        applied: batch.applied.expect("in each batch"),
        records: vec![
            record("\0key 1", "value"),
            record("\0key 3", "value"),
            record(&format!("\0{}", "long ".repeat(1_000)), "3"),
        ],
        longest_hold: Duration::from_millis(1_500),
        orderly_stop: Some(Duration::from_millis(700)),
        ..Recovered::default()
    }
}

/// Returns every file as a line with its path and length, and then its content without trailing zeros.
fn write(folder: &Path, root: &Path, out: &mut String) {
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            write(&path, root, out);
            continue;
        }
        let mut content = fs::read(&path).expect("readable");
        let length = content.len();
        content.truncate(content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        let name = path.strip_prefix(root).expect("in it").display();
        writeln!(out, "> {name} {length}\n{}", hex(&content)).expect("text");
    }
}

fn content(text: &str, name: &str) -> Vec<u8> {
    let (_, rest) = text.split_once(&format!("> {name} ")).expect("the folder has the file");
    let (_, rest) = rest.split_once('\n').expect("content follows");
    from_hex(rest.split('>').next().expect("content"))
}

/// Returns the items of the commit in the journal, without the folder's random salt.
fn items_of_the_journal(text: &str) -> Vec<u8> {
    let salt = content(text, "data/identity")[12..20].to_vec();
    let mut journal = content(text, "data/fjall/2.jnl");
    let at = journal.windows(8).position(|bytes| *bytes == salt).expect("the first item has it");
    journal[at..at + 8].fill(0);
    // Before the items are a tag, their number and a sequence number; after them a tag, a checksum and a mark.
    journal[13..journal.len() - 13].to_vec()
}

fn create() -> String {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut storage = Storage::open(dir.path(), identity()).expect("a new folder");
    storage.commit(&[batch(1)]).expect("committed");
    storage.commit(&[batch(2)]).expect("committed");
    drop(storage);
    // The first two are then in a table, and the third in the journal.
    let mut storage = Storage::open(dir.path(), identity()).expect("a node's folder");
    storage.commit(&[batch(3)]).expect("committed");
    drop(storage);
    let mut text = String::new();
    write(dir.path(), dir.path(), &mut text);
    text
}

#[test]
fn the_data_folder() {
    let text = golden_text(NAME, create);
    let dir = tempfile::tempdir().expect("a temporary folder");
    for file in text.split("> ").skip(1) {
        let (head, content) = file.split_once('\n').expect("a line with the path and the length");
        let (name, length) = head.rsplit_once(' ').expect("a length");
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(&path, from_hex(content)).expect("written");
        let file = File::options().write(true).open(path).expect("it exists");
        file.set_len(length.parse().expect("a number")).expect("extended");
    }
    let mut storage = Storage::open(dir.path(), identity()).expect("it can be opened");
    assert_eq!(storage.recover(2).expect("readable"), expected());
    assert!(items_of_the_journal(&create()) == items_of_the_journal(&text), "a commit is written in another way");
    storage.commit(&[batch(4)]).expect("committed");
    assert_eq!(storage.recover(2).expect("readable").applied.index, 4);
}
