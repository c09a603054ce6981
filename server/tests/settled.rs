//! The reads that a node with a sublease answers although it has received entries that it has not applied.

use bytes::Bytes;
use leasehold::keyspace::{
    Entry, FieldsRead, HashRead, Keyspace, NewExpiry, ReadCommand, SetCommand, View, WallClock, When, WriteCommand,
};
use leasehold_node::ports::StateMachine as _;
use std::slice::from_ref;

/// Returns a view of a key without a deadline, `stays`, and of one that dies at 1000, `dies`.
fn view() -> View {
    let mut keyspace = Keyspace::new("test", WallClock::new(|| 900));
    let set = |key, expiry| WriteCommand::Set(SetCommand { expiry, ..SetCommand::new(bytes(key), bytes("v")) });
    let sets = [set("stays", NewExpiry::None), set("dies", NewExpiry::Dies(When::In(100)))];
    let entry = keyspace.preparer()(Entry::encode(&[], true, &sets));
    keyspace.apply(1, &entry, &mut Vec::new()).expect("a known entry");
    assert_eq!(keyspace.view().first_deadline(), Some(1000));
    keyspace.view()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn get(key: &'static str) -> ReadCommand {
    ReadCommand::Get(bytes(key))
}

/// Returns how many of the reads are settled while these keys are in flight, in entries up to this time.
fn settled(reads: &[ReadCommand], in_flight: &[&str], time: u64) -> usize {
    view().settled(reads, |key| in_flight.iter().any(|other| other.as_bytes() == key), || time)
}

#[test]
fn a_read_of_a_key_in_flight_waits_and_others_do_not() {
    let hash = || ReadCommand::Hash(HashRead { key: bytes("hash"), what: FieldsRead::Length });
    let many = || ReadCommand::Mget(vec![bytes("none"), bytes("stays")]);
    for read in [get("stays"), hash(), many()] {
        assert_eq!(settled(from_ref(&read), &["other"], 0), 1, "{read:?}");
        assert_eq!(settled(from_ref(&read), &["other", "stays", "hash"], 0), 0, "{read:?}");
    }
    assert_eq!(settled(&[get("none")], &["none"], 0), 0, "it may be created");
    // A command of all keys waits for every entry.
    assert_eq!(settled(&[ReadCommand::Size], &[], 0), 0);
}

#[test]
fn a_read_of_a_key_waits_for_an_entry_by_which_the_key_is_dead() {
    for (time, expected) in [(999, 1), (1000, 0), (1001, 0)] {
        assert_eq!(settled(&[get("dies")], &["other"], time), expected, "at {time}");
        assert_eq!(settled(&[get("stays")], &["other"], time), 1, "it has no deadline");
        assert_eq!(settled(&[get("none")], &["other"], time), 1, "it does not exist");
    }
}

#[test]
fn the_reads_before_the_first_one_that_waits_are_settled() {
    let reads = [get("stays"), get("none"), get("dies"), get("stays")];
    assert_eq!(settled(&reads, &[], 0), 4);
    assert_eq!(settled(&reads, &[], 1000), 2);
    assert_eq!(settled(&reads, &["none"], 1000), 1);
    assert_eq!(settled(&reads, &["dies"], 0), 2);
    assert_eq!(settled(&reads, &["stays"], 0), 0);
}
