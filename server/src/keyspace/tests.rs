mod commands;
mod touched;

use super::*;
use crate::resp::{MAX_ARGUMENTS, MAX_BULK, MAX_COMMAND};
use ports::{Change, Cursor, State as _, StateMachine as _};
use value::Value;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn set(key: &str, value: &str) -> WriteCommand {
    WriteCommand::Set(SetCommand::new(bytes(key), bytes(value)))
}

fn value(text: &str) -> Reply {
    Reply::Value(Some(bytes(text)))
}

fn error(text: &str) -> Reply {
    Reply::Error(text.to_owned())
}

/// Returns the reply to a command whose reply is too long for its entry.
fn too_long() -> Reply {
    error("ERR the replies of a transaction exceed 50331648 bytes; this command was not executed; request less at once")
}

/// The index of every entry, unless a test says otherwise.
const INDEX: Index = 7;

/// Returns a keyspace without keys.
fn new() -> Keyspace {
    Keyspace::new("test", WallClock::new(|| 0))
}

/// Applies an entry that was proposed at `time`.
fn apply_at(keyspace: &mut Keyspace, index: Index, time: u64, commands: &[WriteCommand]) -> (Outcome, Vec<Change>) {
    let mut changes = Vec::new();
    let entry = Entry::stamp(Entry::encode(&[], true, commands), time);
    let outcome = keyspace.apply(index, &entry, &mut changes).expect("a valid entry");
    (outcome, changes)
}

fn replies(outcome: Outcome) -> Vec<Reply> {
    match outcome {
        Outcome::Replies(replies) => replies,
        Outcome::Conflict => panic!("nothing is watched"),
    }
}

/// Applies one entry; returns its replies and what it changed, without the record of the time.
fn apply(keyspace: &mut Keyspace, commands: &[WriteCommand]) -> (Vec<Reply>, Vec<Change>) {
    let (outcome, mut changes) = apply_at(keyspace, INDEX, 0, commands);
    changes.retain(|change| *change != Change::Put(record::encode_time(0)));
    (replies(outcome), changes)
}

fn execute(keyspace: &mut Keyspace, command: WriteCommand) -> Reply {
    apply(keyspace, &[command]).0.remove(0)
}

fn get(keyspace: &Keyspace, command: ReadCommand) -> Reply {
    let mut replies = Vec::new();
    keyspace.view().read(&[command], &mut replies);
    replies.remove(0)
}

#[test]
fn set_respects_its_conditions() {
    let mut keyspace = new();
    let mut set = |new: &str, only_if_exists, get_old| {
        let condition = match only_if_exists {
            None => SetCondition::Always,
            Some(true) => SetCondition::Exists,
            Some(false) => SetCondition::Missing,
        };
        let command = SetCommand { condition, get_old, ..SetCommand::new(bytes("k"), bytes(new)) };
        execute(&mut keyspace, WriteCommand::Set(command))
    };
    assert_eq!(set("0", Some(true), false), Reply::Value(None), "XX on no value");
    assert_eq!(set("0", Some(true), true), Reply::Value(None));
    assert_eq!(set("1", Some(false), true), Reply::Value(None), "NX GET on no value sets");
    assert_eq!(set("2", Some(false), false), Reply::Value(None), "NX on a value");
    assert_eq!(set("2", Some(false), true), value("1"));
    assert_eq!(set("3", Some(true), true), value("1"));
    assert_eq!(set("4", None, false), Reply::Ok);
    assert_eq!(set("5", None, true), value("4"));
}

#[test]
fn numbers_are_added_within_their_limits() {
    let mut keyspace = new();
    let mut add = |amount| execute(&mut keyspace, WriteCommand::Add { key: bytes("n"), amount });
    assert_eq!(add(1), Reply::Integer(1));
    assert_eq!(add(i64::MAX - 1), Reply::Integer(i64::MAX));
    assert_eq!(add(1), error("ERR increment or decrement would overflow"));
    assert_eq!(add(-1), Reply::Integer(i64::MAX - 1));
    execute(&mut keyspace, set("n", "12a"));
    let more = WriteCommand::Add { key: bytes("n"), amount: 1 };
    assert_eq!(execute(&mut keyspace, more), error("ERR value is not an integer or out of range"));
}

#[test]
fn append_stops_at_the_longest_value() {
    let mut keyspace = new();
    let append = |suffix| WriteCommand::Append { key: bytes("k"), suffix };
    assert_eq!(execute(&mut keyspace, append(bytes("ab"))), Reply::Integer(2));
    assert_eq!(execute(&mut keyspace, append(bytes("c"))), Reply::Integer(3));
    let (replies, changes) = apply(&mut keyspace, &[append(Bytes::from(vec![b'x'; MAX_BULK - 2]))]);
    assert_eq!(replies, [error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]);
    assert_eq!(changes, []);
    assert_eq!(get(&keyspace, ReadCommand::Get(bytes("k"))), value("abc"));
}

fn deleted(key: &str) -> Change {
    Change::Delete([&[2], key.as_bytes()].concat().into())
}

fn put(key: &str, value: &str) -> Change {
    let value = Value { data: value::Data::String(bytes(value)), deadline: None, changed: INDEX };
    Change::Put(record::encode(key.as_bytes(), &value))
}

#[test]
fn an_entry_is_applied_in_order_and_reports_its_changes() {
    let mut keyspace = new();
    let (replies, changes) = apply(
        &mut keyspace,
        &[
            WriteCommand::SetAll(vec![(bytes("a"), bytes("1")), (bytes("b"), bytes("2"))]),
            WriteCommand::Delete(vec![bytes("a"), bytes("a"), bytes("none")]),
            WriteCommand::Add { key: bytes("b"), amount: 3 },
        ],
    );
    assert_eq!(replies, [Reply::Ok, Reply::Integer(1), Reply::Integer(5)]);
    assert_eq!(changes, [put("b", "5")], "what is left of each key");
}

#[test]
fn an_entry_reports_one_change_for_each_key_however_often_it_changed() {
    let mut keyspace = new();
    let value = "v".repeat(1000);
    let mut entry = Vec::new();
    for _ in 0..1000 {
        entry.push(set("k", &value));
        entry.push(WriteCommand::Append { key: bytes("k"), suffix: bytes("x") });
        entry.push(WriteCommand::Add { key: bytes("n"), amount: 1 });
        entry.push(WriteCommand::SetAll(vec![(bytes("k"), bytes("w")), (bytes("k"), bytes("x"))]));
        entry.push(WriteCommand::Delete(vec![bytes("k")]));
    }
    entry.push(set("z", "1"));
    let (_, changes) = apply(&mut keyspace, &entry);
    assert_eq!(changes, [put("n", "1000"), put("z", "1")]);
}

#[test]
fn repeated_clears_are_one_change_and_drop_the_changes_before_them() {
    let mut keyspace = new();
    let entry: Vec<_> = (0..100).flat_map(|_| [set("a", "1"), WriteCommand::Clear]).chain([set("b", "2")]).collect();
    let (replies, changes) = apply(&mut keyspace, &entry);
    assert_eq!(replies, vec![Reply::Ok; 201]);
    assert_eq!(changes, [Change::Clear, put("b", "2")]);
    assert_eq!(keyspace.view().len(), 1);
    let delete = || WriteCommand::Delete(vec![bytes("b")]);
    let (_, changes) = apply(&mut keyspace, &[delete(), WriteCommand::Clear]);
    assert_eq!(changes, [deleted("b")], "there was nothing left to clear");
    apply(&mut keyspace, &[set("a", "1")]);
    let (_, changes) = apply(&mut keyspace, &[WriteCommand::Clear, set("b", "2"), delete()]);
    assert_eq!(changes, [Change::Clear], "nothing is stored that had to be deleted");
}

#[test]
fn repeated_appends_report_the_final_value_only() {
    let mut keyspace = new();
    apply(&mut keyspace, &[set("k", "0")]);
    let entry: Vec<_> = (0..1000).map(|_| WriteCommand::Append { key: bytes("k"), suffix: bytes("x") }).collect();
    let before = keyspace.state();
    let (replies, changes) = apply(&mut keyspace, &entry);
    assert_eq!(replies.last(), Some(&Reply::Integer(1001)));
    assert_eq!(changes, [put("k", &format!("0{}", "x".repeat(1000)))]);
    let append = |key| WriteCommand::Append { key: bytes(key), suffix: bytes("y") };
    let delete = WriteCommand::Delete(vec![bytes("k")]);
    let (_, changes) = apply(&mut keyspace, &[append("k"), append("b"), append("a"), delete]);
    assert_eq!(changes, [put("a", "y"), put("b", "y"), deleted("k")]);
    let record = before.records(Cursor::default()).next().map(|(record, _)| Change::Put(record));
    assert_eq!(record, Some(put("k", "0")));
}

#[test]
fn a_read_in_an_entry_sees_the_writes_before_it_and_none_after() {
    let mut keyspace = new();
    let read = || WriteCommand::Read(ReadCommand::Get(bytes("k")));
    let (replies, changes) = apply(&mut keyspace, &[read(), set("k", "1"), read(), set("k", "2")]);
    assert_eq!(replies, [Reply::Value(None), Reply::Ok, value("1"), Reply::Ok]);
    assert_eq!(changes, [put("k", "2")]);
}

#[test]
fn keys_in_an_entry_is_refused_by_every_node() {
    let mut keyspace = new();
    let keys = WriteCommand::Read(ReadCommand::Keys(bytes("*")));
    assert_eq!(execute(&mut keyspace, keys), error("ERR KEYS cannot be part of a log entry"));
}

#[test]
fn the_replies_to_an_entry_are_no_longer_than_a_message() {
    let mut keyspace = new();
    let long = Bytes::from(vec![0; MAX_BULK]);
    let replace = |key, value: &Bytes| {
        WriteCommand::Set(SetCommand { get_old: true, ..SetCommand::new(bytes(key), value.clone()) })
    };
    apply(&mut keyspace, &[replace("k", &long)]);
    let read = || WriteCommand::Read(ReadCommand::Get(bytes("k")));
    let (replies, changes) = apply(
        &mut keyspace,
        &[read(), read(), read(), read(), replace("k", &Bytes::new()), replace("new", &bytes("v"))],
    );
    assert_eq!(replies[..3], vec![Reply::Value(Some(long)); 3]);
    assert_eq!(replies[3..5], [too_long(), too_long()]);
    assert_eq!(replies[5], Reply::Value(None));
    assert_eq!(changes.len(), 1, "a command without room for its reply was not executed");
}

#[test]
fn reads_return_what_redis_returns() {
    let mut keyspace = new();
    apply(&mut keyspace, &[set("a", "one"), set("b", "")]);
    assert_eq!(get(&keyspace, ReadCommand::Get(bytes("c"))), Reply::Value(None));
    assert_eq!(get(&keyspace, ReadCommand::Strlen(bytes("a"))), Reply::Integer(3));
    assert_eq!(get(&keyspace, ReadCommand::Exists(vec![bytes("a"), bytes("a"), bytes("c")])), Reply::Integer(2));
    assert_eq!(get(&keyspace, ReadCommand::Size), Reply::Integer(2));
    assert_eq!(
        get(&keyspace, ReadCommand::Mget(vec![bytes("b"), bytes("c"), bytes("a")])),
        Reply::Values(vec![Some(bytes("")), None, Some(bytes("one"))])
    );
    assert_eq!(get(&keyspace, ReadCommand::Keys(bytes("[a]"))), Reply::Values(vec![Some(bytes("a"))]));
}

#[test]
fn noise_in_an_entry_changes_nothing_and_an_entry_of_another_version_stops_the_node() {
    let mut keyspace = new();
    apply(&mut keyspace, &[set("k", "v")]);
    let good = Entry::encode(&[], true, &[WriteCommand::Clear]);
    let old = Entry::encode_as(1, &[], true, &[WriteCommand::Clear]).expect("an old command");
    let mut cases = vec![vec![1], vec![2], [&good[..], &[0]].concat(), [&old[..], &[0]].concat()];
    cases.extend((2..good.len()).map(|cut| good[..cut].to_vec()));
    // The longest length that can be encoded, for the batch and for a key.
    cases.push([&[1][..], &[0xff; 9]].concat());
    cases.push([&[1, 1, 0][..], &[0xff; 9]].concat());
    for entry in cases {
        let mut changes = Vec::new();
        assert_eq!(keyspace.apply(2, &Bytes::from(entry), &mut changes), Ok(Outcome::Replies(Vec::new())));
        assert_eq!(changes, []);
    }
    for entry in [vec![], vec![3], vec![0], [&[3], &good[1..]].concat()] {
        let (entry, mut changes) = (Bytes::from(entry), Vec::new());
        assert!(keyspace.apply(2, &entry, &mut changes).is_err());
        assert_eq!(changes, []);
    }
    assert_eq!(get(&keyspace, ReadCommand::Get(bytes("k"))), value("v"));
}

#[test]
fn the_largest_batches_survive_their_encoding() {
    let many = WriteCommand::SetAll((0..MAX_PAIRS).map(|_| (Bytes::new(), Bytes::new())).collect());
    let large = WriteCommand::Append { key: bytes("k"), suffix: Bytes::from(vec![7; MAX_BULK]) };
    let commands = vec![many, large];
    for version in [1, 2] {
        let entry = Entry::encode_as(version, &[], true, &commands).expect("old commands");
        assert!(entry.len() < MAX_COMMAND);
        let decoded = Entry { time: 0, watched: Vec::new(), whole: true, commands: commands.clone() };
        assert_eq!(Entry::decode(&entry), Some(decoded));
    }
}

/// The pairs that fit into the longest request.
const MAX_PAIRS: usize = (MAX_ARGUMENTS - 1) / 2;

#[test]
fn stored_values_do_not_keep_their_entry_in_memory() {
    let entry = Entry::encode(&[], true, &[set("k", "v")]);
    let mut keyspace = new();
    keyspace.apply(1, &entry, &mut Vec::new()).expect("a valid entry");
    assert!(entry.is_unique());
}

#[test]
fn a_replaced_state_holds_the_records_and_nothing_else() {
    let mut keyspace = new();
    apply(&mut keyspace, &[set("b", "2"), set("a", "1")]);
    let mut state = keyspace.empty_state();
    for (record, _) in keyspace.state().records(Cursor::default()) {
        state.insert(record).expect("a valid record");
    }
    let mut other = new();
    apply(&mut other, &[set("c", "3")]);
    let view = other.view();
    let former = other.replace(state);
    assert_eq!(view.len(), 2);
    assert_eq!(get(&other, ReadCommand::Get(bytes("b"))), value("2"));
    assert_eq!(former.content().map.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn a_snapshot_keeps_its_state_while_writes_go_on_even_after_its_map_is_reclaimed() {
    let mut keyspace = new();
    let pairs =
        |value: &str| WriteCommand::SetAll((0..10_000).map(|key| (bytes(&key.to_string()), bytes(value))).collect());
    apply(&mut keyspace, &[pairs("old")]);
    let snapshot = keyspace.state();
    apply(&mut keyspace, &[pairs("new")]);
    drop(keyspace.state());
    apply(&mut keyspace, &[WriteCommand::Clear, set("k", "v")]);
    assert!(snapshot.content().map.iter().all(|(key, _)| snapshot.content().string(key) == Ok(Some(&bytes("old")))));
    assert_eq!(snapshot.records(Cursor::default()).count(), 10_001, "with the record of the time");
    drop(snapshot);
    assert_eq!(keyspace.view().len(), 1);
}

#[test]
fn outputs_survive_their_encoding_and_noise_does_not() {
    let some = vec![Reply::Ok, Reply::Values(vec![None]), error("ERR no"), Reply::NoValues];
    for output in [Outcome::Replies(some), Outcome::Replies(Vec::new()), Outcome::Conflict] {
        let encoded = Keyspace::encode_output(&output);
        assert_eq!(Keyspace::decode_output(&encoded), Some(output));
        assert_eq!(Keyspace::decode_output(&[&encoded[..], b"x"].concat()), None);
    }
    assert_eq!(Keyspace::decode_output(&[0xff; 9]), None);
}
