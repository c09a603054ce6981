//! Keys that die, on the state machine as the node drives it. `docs/protocol.md` has the rules.

use bytes::Bytes;
use leasehold::keyspace::{
    Entry, ExpireCondition, ExpiryWrite, Keyspace, NewExpiry, Outcome, ReadCommand, Reply, SetCommand, WallClock, When,
    WriteCommand,
};
use leasehold_node::ports::StateMachine as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A leader that proposes and applies entries, with a wall clock that a test sets.
struct Leader {
    keyspace: Keyspace,
    wall: Arc<AtomicU64>,
    index: u64,
}

impl Leader {
    fn new() -> Leader {
        let wall = Arc::new(AtomicU64::new(0));
        let read = wall.clone();
        let keyspace = Keyspace::new("test", WallClock::new(move || read.load(Ordering::Relaxed)));
        Leader { keyspace, wall, index: 1 }
    }

    /// Executes commands in an entry that is proposed when the wall clock shows `time`.
    fn at(&mut self, time: u64, commands: &[WriteCommand]) -> Vec<Reply> {
        self.wall.store(time, Ordering::Relaxed);
        let entry = self.keyspace.preparer()(Entry::encode(&[], true, commands));
        self.index += 1;
        match self.keyspace.apply(self.index, &entry, &mut Vec::new()) {
            Ok(Outcome::Replies(replies)) => replies,
            other => panic!("{other:?}"),
        }
    }

    fn exists(&self, key: &str) -> bool {
        let mut replies = Vec::new();
        self.keyspace.view().read(&[ReadCommand::Exists(vec![bytes(key)])], &mut replies);
        replies == [Reply::Integer(1)]
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn set(key: &str, lifetime: i64) -> WriteCommand {
    let expiry = NewExpiry::Dies(When::In(lifetime));
    WriteCommand::Set(SetCommand { expiry, ..SetCommand::new(bytes(key), bytes("v")) })
}

/// Sets more keys than one entry removes, which die before the others, and waits until they are dead.
fn with_dead_keys(leader: &mut Leader, others: &[WriteCommand]) {
    for batch in 0..3 {
        let keys: Vec<_> = (0..1000).map(|number| set(&format!("{batch} {number}"), 10)).collect();
        leader.at(100, &keys);
    }
    leader.at(100, others);
    leader.at(150, &[]);
}

#[test]
fn the_dead_stay_dead_while_they_wait_to_be_removed() {
    let mut leader = Leader::new();
    with_dead_keys(&mut leader, &[set("k", 50), set("l", 51)]);
    assert!(!leader.exists("k") && leader.exists("l"));
    leader.at(20, &[set("m", 10)]);
    assert!(!leader.exists("k") && leader.exists("l"), "the clock was set back");
    assert_eq!(leader.keyspace.view().next_tick(20), Some(Duration::ZERO), "the rest is removed at once");
    leader.at(20, &[]);
    assert!(!leader.exists("k") && leader.exists("l"));
    assert!(leader.exists("m"), "its deadline counts from the log time");
    leader.at(160, &[]);
    assert!(!leader.exists("m"));
}

#[test]
fn an_entry_whose_time_is_far_ahead_decides_nothing_for_those_after_it() {
    const AHEAD: u64 = 1_000_000_000;
    let mut leader = Leader::new();
    leader.at(100, &[set("dies early", 500), set("late", 2 * AHEAD as i64)]);
    leader.at(AHEAD, &[set("too late", 10)]);
    assert!(!leader.exists("dies early") && leader.exists("late") && leader.exists("too late"));
    leader.at(200, &[set("k", 10), set("l", 10)]);
    let at = NewExpiry::Dies(When::At(300));
    leader.at(200, &[WriteCommand::Set(SetCommand { expiry: at, ..SetCommand::new(bytes("m"), bytes("v")) })]);
    assert!(leader.exists("k") && leader.exists("m"), "its deadline is ahead");
    assert_eq!(leader.keyspace.view().next_tick(200), Some(Duration::from_millis(10)));
    leader.at(210, &[]);
    assert_eq!(["k", "l", "m", "late"].map(|key| leader.exists(key)), [false, false, true, true]);
}

#[test]
fn dead_keys_are_hidden_before_they_are_removed() {
    let mut leader = Leader::new();
    with_dead_keys(&mut leader, &[set("k", 50)]);
    assert!(leader.keyspace.view().len() > 1000, "most are not removed yet");
    assert!(!["0 0", "1 500", "2 999", "k"].into_iter().any(|key| leader.exists(key)));
    let exists = WriteCommand::Read(ReadCommand::Exists(vec![bytes("2 999"), bytes("k")]));
    assert_eq!(leader.at(150, &[exists]), [Reply::Integer(0)]);
}

#[test]
fn a_renewed_key_survives_its_former_deadline() {
    let mut leader = Leader::new();
    leader.at(100, &[set("k", 50), set("l", 50), set("m", 50)]);
    let renewed = ExpiryWrite::Expire { key: bytes("k"), when: When::In(100), condition: ExpireCondition::Always };
    let persists = ExpiryWrite::Persist(bytes("l"));
    leader.at(149, &[WriteCommand::Expiry(renewed), WriteCommand::Expiry(persists), set("m", 60)]);
    leader.at(200, &[]);
    assert!(leader.exists("k") && leader.exists("l") && leader.exists("m"));
    leader.at(249, &[]);
    assert_eq!(["k", "l", "m"].map(|key| leader.exists(key)), [false, true, false]);
}
