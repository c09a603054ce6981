use super::*;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn set(key: &str, value: &str) -> WriteCommand {
    WriteCommand::Set { key: bytes(key), value: bytes(value), only_if_exists: None, get_old: false }
}

fn value(text: &str) -> Reply {
    Reply::Value(Some(bytes(text)))
}

fn error(text: &str) -> Reply {
    Reply::Error(text.to_owned())
}

/// Applies one entry; returns its replies and what it changed.
fn apply(keyspace: &mut Keyspace, commands: &[WriteCommand]) -> (Vec<Reply>, Vec<Change>) {
    let mut changes = Vec::new();
    let replies = keyspace.apply(1, &WriteCommand::encode_batch(commands), &mut changes).expect("an entry of our own");
    (replies, changes)
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
fn set_keeps_to_its_conditions() {
    let mut keyspace = Keyspace::default();
    let mut set = |new: &str, only_if_exists, get_old| {
        execute(&mut keyspace, WriteCommand::Set { key: bytes("k"), value: bytes(new), only_if_exists, get_old })
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
fn numbers_are_added_up_to_their_limits() {
    let mut keyspace = Keyspace::default();
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
    let mut keyspace = Keyspace::default();
    let append = |suffix| WriteCommand::Append { key: bytes("k"), suffix };
    assert_eq!(execute(&mut keyspace, append(bytes("ab"))), Reply::Integer(2));
    assert_eq!(execute(&mut keyspace, append(bytes("c"))), Reply::Integer(3));
    let (replies, changes) = apply(&mut keyspace, &[append(Bytes::from(vec![b'x'; MAX_BULK - 2]))]);
    assert_eq!(replies, [error("ERR string exceeds maximum allowed size (16777216 bytes)")]);
    assert_eq!(changes, []);
    assert_eq!(get(&keyspace, ReadCommand::Get(bytes("k"))), value("abc"));
}

#[test]
fn an_entry_is_applied_in_order_and_tells_what_it_changed() {
    let mut keyspace = Keyspace::default();
    let (replies, changes) = apply(
        &mut keyspace,
        &[
            WriteCommand::SetAll(vec![(bytes("a"), bytes("1")), (bytes("b"), bytes("2"))]),
            WriteCommand::Delete(vec![bytes("a"), bytes("a"), bytes("none")]),
            WriteCommand::Add { key: bytes("b"), amount: 3 },
        ],
    );
    assert_eq!(replies, [Reply::Ok, Reply::Integer(1), Reply::Integer(5)]);
    let put = |key, value| Change::Put(Record { key: bytes(key), value: bytes(value) });
    assert_eq!(changes, [put("a", "1"), put("b", "2"), Change::Delete(bytes("a")), put("b", "5")]);
    let (replies, changes) = apply(&mut keyspace, &[WriteCommand::Clear, WriteCommand::Clear]);
    assert_eq!((replies, changes), (vec![Reply::Ok, Reply::Ok], vec![Change::Clear]));
}

#[test]
fn a_read_in_an_entry_sees_the_writes_before_it_and_none_after() {
    let mut keyspace = Keyspace::default();
    let read = || WriteCommand::Read(ReadCommand::Get(bytes("k")));
    let (replies, changes) = apply(&mut keyspace, &[read(), set("k", "1"), read(), set("k", "2")]);
    assert_eq!(replies, [Reply::Value(None), Reply::Ok, value("1"), Reply::Ok]);
    assert_eq!(changes.len(), 2);
}

#[test]
fn an_entry_answers_no_more_than_a_node_can_send() {
    let mut keyspace = Keyspace::default();
    let long = Bytes::from(vec![0; MAX_BULK]);
    let replace = |key, value: &Bytes| WriteCommand::Set {
        key: bytes(key),
        value: value.clone(),
        only_if_exists: None,
        get_old: true,
    };
    apply(&mut keyspace, &[replace("k", &long)]);
    let read = || WriteCommand::Read(ReadCommand::Get(bytes("k")));
    let (replies, changes) = apply(
        &mut keyspace,
        &[read(), read(), read(), read(), replace("k", &Bytes::new()), replace("new", &bytes("v"))],
    );
    assert_eq!(replies[..3], vec![Reply::Value(Some(long)); 3]);
    assert_eq!(replies[3..5], [unanswerable(), unanswerable()]);
    assert_eq!(replies[5], Reply::Value(None));
    assert_eq!(changes.len(), 1, "what could not be answered was not executed");
}

#[test]
fn reads_answer_as_redis_does() {
    let mut keyspace = Keyspace::default();
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
fn an_entry_of_another_version_or_of_noise_changes_nothing() {
    let mut keyspace = Keyspace::default();
    apply(&mut keyspace, &[set("k", "v")]);
    let good = WriteCommand::encode_batch(&[WriteCommand::Clear]);
    let mut cases = vec![vec![], vec![2], vec![1], [&good[..], &[0]].concat(), [&[2], &good[1..]].concat()];
    // A length beyond everything, for the batch and for a key.
    cases.push([&[1][..], &[0xff; 9]].concat());
    cases.push([&[1, 1, 0][..], &[0xff; 9]].concat());
    for entry in cases {
        let mut changes = Vec::new();
        assert_eq!(keyspace.apply(2, &Bytes::from(entry), &mut changes), Err(UnknownEntry));
        assert_eq!(changes, []);
    }
    assert_eq!(get(&keyspace, ReadCommand::Get(bytes("k"))), value("v"));
}

#[test]
fn the_largest_batches_survive_their_encoding() {
    let many = WriteCommand::SetAll((0..MAX_PAIRS).map(|_| (Bytes::new(), Bytes::new())).collect());
    let large = WriteCommand::Append { key: bytes("k"), suffix: Bytes::from(vec![7; MAX_BULK]) };
    let commands = vec![many, large];
    let entry = WriteCommand::encode_batch(&commands);
    assert!(entry.len() < crate::resp::MAX_COMMAND);
    assert_eq!(WriteCommand::decode_batch(&entry), Some(commands));
}

/// As many pairs as fit in the longest request.
const MAX_PAIRS: usize = (crate::resp::MAX_ARGUMENTS - 1) / 2;

#[test]
fn what_is_stored_does_not_hold_on_to_the_entry_it_came_in() {
    let entry = WriteCommand::encode_batch(&[set("k", "v")]);
    let mut keyspace = Keyspace::default();
    keyspace.apply(1, &entry, &mut Vec::new()).expect("an entry of our own");
    assert!(entry.is_unique());
}

#[test]
fn a_restored_keyspace_holds_the_records_and_nothing_else() {
    let mut keyspace = Keyspace::default();
    apply(&mut keyspace, &[set("a", "1"), set("b", "2")]);
    let records = keyspace.records();
    let mut other = Keyspace::default();
    apply(&mut other, &[set("c", "3")]);
    let view = other.view();
    other.restore(records);
    assert_eq!(view.len(), 2);
    assert_eq!(get(&other, ReadCommand::Get(bytes("b"))), value("2"));
}
