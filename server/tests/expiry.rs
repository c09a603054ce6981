//! Keys that die, on the state machine as the node drives it. `docs/protocol.md` has the rules.

use bytes::Bytes;
use leasehold::keyspace::{
    Entry, ExpireCondition, ExpiryWrite, Keyspace, NewExpiry, Outcome, ReadCommand, Reply, SetCommand, WallClock, When,
    WriteCommand,
};
use leasehold_node::ports::StateMachine as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
        let entry = self.keyspace.prepare(Entry::encode(&[], true, commands));
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
fn the_log_time_never_goes_back_and_the_dead_stay_dead() {
    let mut leader = Leader::new();
    with_dead_keys(&mut leader, &[set("k", 50), set("l", 51)]);
    assert!(!leader.exists("k") && leader.exists("l"));
    leader.at(20, &[]);
    assert!(!leader.exists("k") && leader.exists("l"), "the clock was set back");
    leader.at(20, &[set("m", 10)]);
    leader.at(159, &[]);
    assert!(leader.exists("m"), "its deadline counts from the log time");
    leader.at(160, &[]);
    assert!(!leader.exists("m"));
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
