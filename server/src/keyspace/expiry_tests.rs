use super::record::FIELD;
use super::*;
use ports::{Change, Cursor, Record, State as _, StateMachine as _};
use quickcheck::quickcheck;
use std::collections::BTreeMap;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A node: its state and its disk.
struct Node {
    keyspace: Keyspace,
    disk: BTreeMap<Bytes, Bytes>,
    index: Index,
}

impl Node {
    fn new() -> Node {
        Node { keyspace: keyspace(), disk: BTreeMap::new(), index: 1 }
    }

    fn apply(&mut self, entry: &Bytes) -> Outcome {
        self.index += 1;
        let mut changes = Vec::new();
        let outcome = self.keyspace.apply(self.index, entry, &mut changes).expect("a valid entry");
        for change in changes {
            match change {
                Change::Put(Record { key, value }) => drop(self.disk.insert(key, value)),
                Change::Delete(key) => drop(self.disk.remove(&key)),
                Change::Clear => self.disk.clear(),
            }
        }
        outcome
    }

    /// Applies an entry that was proposed at `time`, and returns its replies.
    fn at(&mut self, time: u64, commands: &[WriteCommand]) -> Vec<Reply> {
        match self.apply(&Entry::stamp(Entry::encode(&[], true, commands), time)) {
            Outcome::Replies(replies) => replies,
            Outcome::Conflict => panic!("nothing is watched"),
        }
    }

    fn get(&self, key: &str) -> Option<Bytes> {
        self.keyspace.view().with(|content| content.string(key.as_bytes()).expect("a string").cloned())
    }

    fn log_time(&self) -> u64 {
        self.keyspace.view().with(|content| content.log_time)
    }

    /// Returns a node that starts on what this one has stored.
    fn restarted(&self) -> Node {
        let mut keyspace = keyspace();
        let mut state = keyspace.empty_state();
        for (key, value) in &self.disk {
            state.insert(Record { key: key.clone(), value: value.clone() }).expect("a valid record");
        }
        drop(keyspace.replace(state));
        Node { keyspace, disk: self.disk.clone(), index: self.index }
    }

    /// Returns a node that gets the state of this one in pieces.
    fn installed(&self) -> Node {
        let (from, mut cursor, mut disk) = (self.keyspace.state(), Cursor::default(), BTreeMap::new());
        loop {
            let before = disk.len();
            for (Record { key, value }, after) in from.records(cursor).take(100) {
                assert_eq!(disk.insert(key, value), None, "each once");
                cursor = after;
            }
            if disk.len() == before {
                return Node { keyspace: keyspace(), disk, index: self.index }.restarted();
            }
        }
    }

    fn records(&self) -> BTreeMap<Bytes, Bytes> {
        let state = self.keyspace.state();
        state.records(Cursor::default()).map(|(Record { key, value }, _)| (key, value)).collect()
    }
}

/// A keyspace whose own wall clock is far ahead of every entry.
fn keyspace() -> Keyspace {
    Keyspace::new("test", WallClock::new(|| 1_000_000_000))
}

fn set(key: &str, expiry: NewExpiry) -> WriteCommand {
    WriteCommand::Set(SetCommand { expiry, ..SetCommand::new(bytes(key), bytes("v")) })
}

fn set_in(key: &str, milliseconds: i64) -> WriteCommand {
    set(key, NewExpiry::Dies(When::In(milliseconds)))
}

fn expire(key: &str, when: When, condition: ExpireCondition) -> WriteCommand {
    WriteCommand::Expiry(ExpiryWrite::Expire { key: bytes(key), when, condition })
}

#[test]
fn a_key_dies_when_an_entry_at_its_deadline_is_applied_and_not_by_a_replicas_clock() {
    let mut node = Node::new();
    node.at(100, &[set_in("k", 50)]);
    assert_eq!(node.get("k"), Some(bytes("v")), "the replica's own clock is past the deadline");
    node.at(149, &[]);
    assert_eq!(node.get("k"), Some(bytes("v")));
    node.at(150, &[]);
    assert_eq!(node.get("k"), None);
    assert_eq!(node.keyspace.view().len(), 0, "it is removed");
}

#[test]
fn a_relative_deadline_counts_from_the_time_of_its_entry() {
    let mut node = Node::new();
    node.at(1000, &[set_in("a", 100)]);
    node.at(500, &[set_in("b", 50)]);
    assert_eq!(node.log_time(), 0, "no dead key waits");
    let pttl =
        |key| WriteCommand::Read(ReadCommand::Deadline { key: bytes(key), form: DeadlineForm::MillisecondsLeft });
    assert_eq!(node.at(600, &[pttl("a"), pttl("b"), pttl("c")]), [500, -2, -2].map(Reply::Integer));
    node.at(1099, &[]);
    assert_eq!((node.get("a").is_some(), node.get("b")), (true, None));
    let time = node.disk.get(&bytes("\u{1}")).cloned();
    assert_eq!(time, Some(Bytes::from(vec![0; 8])), "written once, by the first entry");
    node.disk.clear();
    node.at(1099, &[set_in("c", 100), set("d", NewExpiry::None)]);
    assert_eq!(node.disk.len(), 2, "no record but those of the keys");
}

#[test]
fn a_renewed_key_survives_the_deadline_that_it_had() {
    let mut node = Node::new();
    node.at(100, &[set_in("k", 50), set_in("l", 50), set_in("m", 50), set_in("n", 50)]);
    node.at(
        120,
        &[
            expire("k", When::In(100), ExpireCondition::Always),
            WriteCommand::Expiry(ExpiryWrite::Persist(bytes("l"))),
            set("m", NewExpiry::None),
            set("n", NewExpiry::Keep),
        ],
    );
    node.at(200, &[]);
    assert_eq!(["k", "l", "m", "n"].map(|key| node.get(key).is_some()), [true, true, true, false]);
    node.at(220, &[]);
    assert_eq!(node.get("k"), None);
}

#[test]
fn a_deadline_that_has_passed_deletes_the_key_at_once() {
    let mut node = Node::new();
    let past = [When::In(0), When::In(-5), When::At(100), When::At(-1)];
    for when in past {
        let replies = node.at(100, &[set("k", NewExpiry::None), expire("k", when, ExpireCondition::Always)]);
        assert_eq!(replies, [Reply::Ok, Reply::Integer(1)]);
        assert_eq!(node.get("k"), None, "{when:?}");
        assert_eq!(node.at(100, &[set("k", NewExpiry::Dies(when))]), [Reply::Ok]);
        assert_eq!(node.get("k"), None, "{when:?}");
    }
}

#[test]
fn the_conditions_of_expire_compare_deadlines() {
    use ExpireCondition::{Always, Earlier, Exists, ExistsAndEarlier, Later, Missing};
    for (condition, without, later, earlier) in [
        (Always, true, true, true),
        (Missing, true, false, false),
        (Exists, false, true, true),
        (Later, false, true, false),
        (Earlier, true, false, true),
        (ExistsAndEarlier, false, false, true),
    ] {
        let mut node = Node::new();
        node.at(100, &[set("without", NewExpiry::None), set_in("later", 50), set_in("earlier", 150)]);
        let expire = |key| expire(key, When::In(100), condition);
        let replies = node.at(100, &[expire("without"), expire("later"), expire("earlier"), expire("none")]);
        let expected = [without, later, earlier, false].map(|done| Reply::Integer(done.into()));
        assert_eq!(replies, expected, "{condition:?}");
    }
}

#[test]
fn dead_keys_are_hidden_at_once_and_removed_in_bounded_numbers_by_later_entries() {
    let mut node = Node::new();
    for batch in 0..3 {
        let keys: Vec<_> = (0..1000).map(|number| set_in(&format!("{batch} {number}"), 10)).collect();
        node.at(100, &keys);
    }
    let exists = WriteCommand::Read(ReadCommand::Exists(vec![bytes("0 0"), bytes("2 999")]));
    assert_eq!(node.at(110, &[exists]), [Reply::Integer(0)]);
    let (view, mut left) = (node.keyspace.view(), Vec::new());
    assert_eq!(view.with(|content| content.matching(&crate::glob::Pattern::new(b"*")).count()), 0);
    node.at(100, &[set("lives", NewExpiry::Dies(When::At(1000)))]);
    while node.log_time() > 0 {
        assert_eq!((node.log_time(), view.next_tick(0)), (110, Some(std::time::Duration::ZERO)));
        left.push(view.len());
        node.at(0, &[]);
    }
    assert_eq!(left, [953]);
    assert_eq!(view.len(), 1);
    assert_eq!(node.records(), node.disk);
}

#[test]
fn a_dead_key_can_be_written_again_and_does_not_pass_on_its_value() {
    let mut node = Node::new();
    // More dead keys that die earlier than an entry removes.
    node.at(100, &(0..2000).map(|number| set_in(&format!("{number}"), 10)).collect::<Vec<_>>());
    node.at(100, &[set_in("z", 11), set_in("y", 11), set_in("x", 11)]);
    let replies = node.at(
        111,
        &[
            WriteCommand::Append { key: bytes("z"), suffix: bytes("w") },
            WriteCommand::Add { key: bytes("y"), amount: 1 },
            WriteCommand::Delete(vec![bytes("x")]),
        ],
    );
    assert_eq!(replies, [1, 1, 0].map(Reply::Integer));
    node.at(200, &[]);
    node.at(200, &[]);
    assert_eq!((node.get("z"), node.get("y")), (Some(bytes("w")), Some(bytes("1"))), "they have no deadline");
    assert_eq!(node.records(), node.disk);
}

#[test]
fn a_watched_key_that_was_changed_or_has_died_prevents_the_entry() {
    let mut node = Node::new();
    assert_eq!(node.keyspace.view().watch(vec![bytes("k")]), None, "no index is recorded yet");
    node.at(100, &[set_in("k", 50), set("l", NewExpiry::None)]);
    let watch = |node: &Node, key| node.keyspace.view().watch(vec![bytes(key)]).expect("indexes are recorded");
    let execute = |node: &mut Node, watched: &[Watched], time| {
        let entry = Entry::encode(watched, true, &[set("done", NewExpiry::None)]);
        node.apply(&Entry::stamp(entry, time)) != Outcome::Conflict
    };
    let (k, l, none) = (watch(&node, "k"), watch(&node, "l"), watch(&node, "none"));
    assert!(execute(&mut node, &[&k[..], &l[..], &none[..]].concat(), 100));
    node.at(100, &[set("l", NewExpiry::None), set("none", NewExpiry::None)]);
    assert!(!execute(&mut node, &l, 100), "it was set to the same value");
    assert!(!execute(&mut node, &none, 100), "it exists now");
    assert!(execute(&mut node, &k, 149));
    assert!(!execute(&mut node, &k, 150), "it is dead at the time of this entry");
    let l = watch(&node, "l");
    node.at(200, &[WriteCommand::Clear]);
    assert!(!execute(&mut node, &l, 200));
    let none = watch(&node, "k");
    assert!(execute(&mut node, &none, 200));
}

#[test]
fn an_entry_that_need_not_be_whole_stops_before_a_reply_without_room() {
    let mut node = Node::new();
    let long = Bytes::from(vec![b'v'; crate::resp::MAX_BULK]);
    let read = || WriteCommand::Read(ReadCommand::Get(bytes("k")));
    node.at(1, &[WriteCommand::Set(SetCommand::new(bytes("k"), long))]);
    let commands = [read(), read(), read(), read(), set("after", NewExpiry::None)];
    let stopped = node.apply(&Entry::encode(&[], false, &commands));
    assert!(matches!(stopped, Outcome::Replies(replies) if replies.len() == 3));
    assert_eq!(node.get("after"), None);
    let many = WriteCommand::Read(ReadCommand::Mget(vec![bytes("k"); 4]));
    let alone = node.apply(&Entry::encode(&[], false, &[many, set("after", NewExpiry::None)]));
    assert!(matches!(alone, Outcome::Replies(replies) if matches!(&replies[..], [Reply::Error(_), Reply::Ok])));
}

#[test]
fn entries_of_version_1_have_the_records_that_earlier_releases_know_until_the_first_of_version_2() {
    let mut node = Node::new();
    let old = |commands: &[WriteCommand]| Entry::encode_as(1, &[], true, commands).expect("old commands");
    node.apply(&old(&[set("a", NewExpiry::None), set("b", NewExpiry::None), set("c", NewExpiry::None)]));
    let plain = |key: &str| (bytes(&format!("\0{key}")), bytes("v"));
    assert_eq!(node.disk, BTreeMap::from([plain("a"), plain("b"), plain("c")]));
    node.at(100, &[set("a", NewExpiry::None), WriteCommand::Delete(vec![bytes("b")])]);
    let kinds = |node: &Node| node.disk.keys().map(|key| (key[0], key.slice(1..))).collect::<Vec<_>>();
    assert_eq!(kinds(&node), [(0, bytes("c")), (1, bytes("")), (2, bytes("a"))]);
    node.apply(&old(&[set("c", NewExpiry::None)]));
    assert_eq!(kinds(&node), [(1, bytes("")), (2, bytes("a")), (2, bytes("c"))]);
    assert_eq!(node.records(), node.disk);
    assert_eq!(Entry::encode_as(1, &[], true, &[set_in("k", 1)]), None);
    assert_eq!(Entry::encode_as(1, &[(bytes("k"), 0)], true, &[]), None);
}

#[test]
fn the_time_is_set_in_an_entry_of_version_2_only() {
    let commands = [set("k", NewExpiry::None)];
    let new = Entry::stamp(Entry::encode(&[], false, &commands), 300);
    let decoded = Entry { time: 300, watched: Vec::new(), whole: false, commands: commands.to_vec() };
    assert_eq!(Entry::decode(&new), Some(decoded));
    let shared = new.clone();
    assert_eq!(Entry::decode(&Entry::stamp(new, 7)).map(|entry| entry.time), Some(7));
    assert_eq!(Entry::decode(&shared).map(|entry| entry.time), Some(300), "a shared entry is not changed");
    let old = Entry::encode_as(1, &[], true, &commands).expect("an old command");
    assert_eq!(Entry::stamp(old.clone(), 300), old);
    for short in [&[][..], &[2], &[2, 0, 0, 0]] {
        assert_eq!(Entry::stamp(Bytes::copy_from_slice(short), 300), short);
    }
}

fn hash(key: &str, change: FieldsWrite) -> WriteCommand {
    WriteCommand::Hash(HashWrite { key: bytes(key), change })
}

fn set_fields(key: &str, count: usize) -> WriteCommand {
    let fields = (0..count).map(|number| (bytes(&number.to_string()), bytes(key))).collect();
    hash(key, FieldsWrite::Set { fields, counted: true })
}

fn command((kind, key, number): (u8, u8, u8)) -> WriteCommand {
    let (key, by) = (format!("{}", key % 5), i64::from(number) - 20);
    let other = bytes(&format!("{}", number % 5));
    let condition =
        [ExpireCondition::Always, ExpireCondition::Missing, ExpireCondition::Later, ExpireCondition::Earlier];
    match kind % 18 {
        0 | 1 => set_in(&key, by),
        2 => set(&key, NewExpiry::None),
        3 => set(&key, NewExpiry::Keep),
        4 => expire(&key, When::In(by), condition[usize::from(number % 4)]),
        5 => expire(&key, When::At(by * 10), condition[usize::from(number % 4)]),
        6 => WriteCommand::Expiry(ExpiryWrite::Persist(bytes(&key))),
        7 => WriteCommand::Delete(vec![bytes(&key), bytes("0")]),
        8 => WriteCommand::Append { key: bytes(&key), suffix: bytes("w") },
        9 => WriteCommand::SetAll(vec![(bytes(&key), bytes("w")), (bytes("4"), bytes("x"))]),
        10 if number % 8 == 0 => WriteCommand::Clear,
        // A few hashes have more fields than one entry removes.
        11..=13 => set_fields(&key, if number >= 250 { 1500 } else { usize::from(number % 4) + 1 }),
        14 => hash(&key, FieldsWrite::Delete(vec![bytes("0"), bytes("1"), bytes("2")])),
        15 => WriteCommand::Key(KeyWrite::Rename { from: bytes(&key), to: other, only_new: number % 2 == 0 }),
        16 => WriteCommand::Key(KeyWrite::Copy { from: bytes(&key), to: other, replace: number % 2 == 0 }),
        _ => WriteCommand::Read(ReadCommand::Size),
    }
}

/// A time, whether the entry has version 1 if it can, what happens to the other node after it, and its commands.
type Step = (u8, bool, u8, Vec<(u8, u8, u8)>);

quickcheck! {
    fn what_is_stored_is_the_state_and_a_restarted_node_goes_on_as_the_others(
        steps: Vec<Step>
    ) -> bool {
        let (mut node, mut other) = (Node::new(), Node::new());
        for (time, is_old, event, commands) in steps {
            let commands: Vec<_> = commands.into_iter().map(command).collect();
            let old = Entry::encode_as(1, &[], true, &commands).filter(|_| is_old);
            let entry = Entry::stamp(old.unwrap_or_else(|| Entry::encode(&[], true, &commands)), u64::from(time) * 4);
            assert_eq!(node.apply(&entry), other.apply(&entry));
            let records = node.records();
            assert_eq!(node.keyspace.state().has_kinds(), node.disk.keys().any(|key| key[0] != 0));
            let left: BTreeMap<_, _> = node.disk.iter().filter(|(key, _)| !records.contains_key(*key)).collect();
            assert!(left.keys().all(|key| key[0] == FIELD), "the fields of deleted hashes");
            assert_eq!(node.disk.len(), records.len() + left.len(), "every record is stored");
            assert!(records.iter().all(|(key, value)| node.disk.get(key) == Some(value)));
            match event % 4 {
                0 => other = other.restarted(),
                1 => other = node.installed(),
                _ => {}
            }
            assert_eq!(records, other.records());
            let deadlines = |node: &Node| {
                let view = node.keyspace.view();
                (view.first_deadline(), view.keys_with_deadline())
            };
            assert_eq!(deadlines(&node), deadlines(&other));
            let values = node.keyspace.state();
            let with_deadline = values.content().map.iter().filter(|(_, value)| value.deadline.is_some()).count();
            assert_eq!(with_deadline as u64, deadlines(&node).1);
        }
        // What is left of deleted hashes vanishes, on a node that knows it from its disk too.
        for node in [&mut node, &mut other] {
            while node.keyspace.view().next_tick(0).is_some_and(|left| left.is_zero()) {
                node.at(0, &[]);
            }
            assert_eq!(node.disk, node.records());
        }
        assert_eq!(node.records(), other.records());
        assert_eq!(node.keyspace.view().used_bytes(), other.keyspace.view().used_bytes());
        true
    }
}

#[test]
fn what_is_left_of_a_deleted_hash_counts_and_is_removed_by_ticks() {
    let mut node = Node::new();
    node.at(100, &[set_fields("h", 3000)]);
    let used = node.keyspace.view().used_bytes();
    node.at(100, &[WriteCommand::Delete(vec![bytes("h")])]);
    let view = node.keyspace.view();
    assert!(view.is_empty() && view.used_bytes() > used / 2);
    let mut ticks = 0;
    while view.next_tick(100).is_some() {
        node.at(100, &[]);
        ticks += 1;
    }
    assert_eq!((ticks, view.used_bytes(), node.disk.len()), (2, 0, 1), "the record of the time is left");
}
