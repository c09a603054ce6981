//! The commands about strings, bits, keys and hashes.

use super::*;
use ports::Record;
use std::collections::BTreeMap;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// A keyspace, and the records that its changes left behind.
struct Node {
    keyspace: Keyspace,
    records: BTreeMap<Bytes, Bytes>,
    index: Index,
}

impl Node {
    fn new() -> Node {
        Node { keyspace: super::new(), records: BTreeMap::new(), index: 0 }
    }

    /// Applies an entry and returns its replies and the number of changed records.
    fn apply(&mut self, commands: &[WriteCommand]) -> (Vec<Reply>, usize) {
        self.index += 1;
        let (outcome, changes) = apply_at(&mut self.keyspace, self.index, 1000, commands);
        let changed = changes.len();
        for change in changes {
            match change {
                Change::Put(Record { key, value }) => drop(self.records.insert(key, value)),
                Change::Delete(key) => drop(self.records.remove(&key)),
                Change::Clear => self.records.clear(),
            }
        }
        (replies(outcome), changed)
    }

    fn execute(&mut self, command: WriteCommand) -> Reply {
        self.apply(&[command]).0.remove(0)
    }

    /// Returns a node that starts from the records.
    fn restarted(&self) -> Node {
        let mut state = self.keyspace.empty_state();
        for (key, value) in &self.records {
            state.insert(Record { key: key.clone(), value: value.clone() }).expect("a record that was written");
        }
        let mut keyspace = super::new();
        drop(keyspace.replace(state));
        Node { keyspace, records: self.records.clone(), index: self.index }
    }

    fn all(&self, key: &str) -> Reply {
        get(&self.keyspace, fields(key, FieldsRead::All))
    }
}

fn fields(key: &str, what: FieldsRead) -> ReadCommand {
    ReadCommand::Hash(HashRead { key: bytes(key), what })
}

fn change(key: &str, change: FieldsWrite) -> WriteCommand {
    WriteCommand::Hash(HashWrite { key: bytes(key), change })
}

fn hset(key: &str, numbers: impl IntoIterator<Item = usize>) -> WriteCommand {
    let field = |number: usize| (bytes(&format!("f{number}")), bytes(&number.to_string()));
    change(key, FieldsWrite::Set { fields: numbers.into_iter().map(field).collect(), counted: true })
}

fn hdel(key: &str, numbers: impl IntoIterator<Item = usize>) -> WriteCommand {
    change(key, FieldsWrite::Delete(numbers.into_iter().map(|number| bytes(&format!("f{number}"))).collect()))
}

fn rename(from: &str, to: &str, only_new: bool) -> WriteCommand {
    WriteCommand::Key(KeyWrite::Rename { from: bytes(from), to: bytes(to), only_new })
}

fn copy(from: &str, to: &str, replace: bool) -> WriteCommand {
    WriteCommand::Key(KeyWrite::Copy { from: bytes(from), to: bytes(to), replace })
}

fn set_bit(key: &str, bit: u32) -> WriteCommand {
    WriteCommand::String(StringWrite::SetBit { key: bytes(key), bit, value: true })
}

fn set_part(key: &str, first: u32, part: &str) -> WriteCommand {
    WriteCommand::String(StringWrite::SetPart { key: bytes(key), first, bytes: bytes(part) })
}

fn expiring(key: &str) -> WriteCommand {
    let expiry = NewExpiry::Dies(When::At(5000));
    WriteCommand::Set(SetCommand { expiry, ..SetCommand::new(bytes(key), bytes("v")) })
}

fn deadline(node: &Node, key: &str) -> Reply {
    get(&node.keyspace, ReadCommand::Deadline { key: bytes(key), form: DeadlineForm::Milliseconds })
}

#[test]
fn every_command_refuses_a_value_of_another_type_and_changes_nothing() {
    let mut node = Node::new();
    node.apply(&[set("s", "v"), hset("h", 0..2)]);
    let records = node.records.clone();
    let (s, h) = (bytes("s"), bytes("h"));
    let part = BitRange { first: 0, last: None, in_bits: false };
    for command in [
        WriteCommand::String(StringWrite::GetAndDelete(h.clone())),
        set_part("h", 0, "x"),
        set_part("h", 0, ""),
        set_bit("h", 0),
        WriteCommand::String(StringWrite::AddDecimal { key: h.clone(), amount: bytes("1") }),
        WriteCommand::Read(ReadCommand::String(StringRead::Part { key: h.clone(), first: 0, last: -1 })),
        WriteCommand::Read(ReadCommand::String(StringRead::Bit { key: h.clone(), bit: 0 })),
        WriteCommand::Read(ReadCommand::String(StringRead::CountBits { key: h.clone(), part: None })),
        WriteCommand::Read(ReadCommand::String(StringRead::FindBit { key: h, value: false, part })),
        hset("s", 0..1),
        hdel("s", 0..1),
        change("s", FieldsWrite::SetNew { field: s.clone(), value: s.clone() }),
        change("s", FieldsWrite::Add { field: s.clone(), amount: 1 }),
        change("s", FieldsWrite::AddDecimal { field: s.clone(), amount: bytes("1") }),
        WriteCommand::Read(fields("s", FieldsRead::Get(s.clone()))),
        WriteCommand::Read(fields("s", FieldsRead::GetMany(vec![s.clone()]))),
        WriteCommand::Read(fields("s", FieldsRead::Exists(s.clone()))),
        WriteCommand::Read(fields("s", FieldsRead::ValueLength(s))),
        WriteCommand::Read(fields("s", FieldsRead::Length)),
        WriteCommand::Read(fields("s", FieldsRead::All)),
        WriteCommand::Read(fields("s", FieldsRead::Names)),
        WriteCommand::Read(fields("s", FieldsRead::Values)),
        WriteCommand::Read(fields("s", FieldsRead::Random { seed: 1 })),
        WriteCommand::Read(fields("s", FieldsRead::RandomMany { seed: 1, count: 1, with_values: true })),
        WriteCommand::Read(fields("s", FieldsRead::Scan(Scan { cursor: 0, count: 1, pattern: None }))),
    ] {
        assert_eq!(node.execute(command.clone()), error(WRONG_TYPE), "{command:?}");
    }
    assert_eq!(node.records, records);
}

#[test]
fn strings_are_changed_in_part_and_keep_their_deadline() {
    let mut node = Node::new();
    assert_eq!(node.execute(set_part("k", 3, "")), Reply::Integer(0));
    assert!(node.keyspace.view().is_empty());
    assert_eq!(node.execute(set_part("k", 2, "ab")), Reply::Integer(4));
    assert_eq!(get(&node.keyspace, ReadCommand::Get(bytes("k"))), value("\0\0ab"));
    node.execute(expiring("k"));
    assert_eq!(node.execute(set_bit("k", 15)), Reply::Integer(0));
    assert_eq!(node.execute(set_bit("k", 15)), Reply::Integer(1));
    assert_eq!(get(&node.keyspace, ReadCommand::Get(bytes("k"))), value("v\x01"));
    assert_eq!(node.execute(set_part("k", 1, "wxy")), Reply::Integer(4));
    let part = |first, last| ReadCommand::String(StringRead::Part { key: bytes("k"), first, last });
    assert_eq!(get(&node.keyspace, part(-3, 2)), value("wx"));
    assert_eq!(get(&node.keyspace, part(4, 9)), value(""));
    assert_eq!(deadline(&node, "k"), Reply::Integer(5000));
    let longest = u32::try_from(MAX_BULK).expect("short");
    let refusal = error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_eq!(node.execute(set_part("k", longest, "x")), refusal);
    assert_eq!(node.execute(set_part("k", u32::MAX, "x")), refusal);
    assert_eq!(node.execute(set_part("k", longest - 1, "x")), Reply::Integer(longest.into()));
    let add = |amount: &str| WriteCommand::String(StringWrite::AddDecimal { key: bytes("n"), amount: bytes(amount) });
    assert_eq!(node.execute(add("0.1")), value("0.1"));
    assert_eq!(node.execute(add("0.2")), value("0.3"));
    assert_eq!(node.execute(add("x")), error("ERR value is not a valid float"));
    assert_eq!(node.execute(add("inf")), error("ERR increment would produce NaN or Infinity"));
    let get_and_delete = |key: &str| WriteCommand::String(StringWrite::GetAndDelete(bytes(key)));
    assert_eq!(node.execute(get_and_delete("n")), value("0.3"));
    assert_eq!(node.execute(get_and_delete("n")), Reply::Value(None));
    let set_new = |key: &str| WriteCommand::String(StringWrite::SetNew { key: bytes(key), value: bytes("new") });
    assert_eq!([node.execute(set_new("n")), node.execute(set_new("n"))], [Reply::Integer(1), Reply::Integer(0)]);
    let all = |keys: [&str; 2]| WriteCommand::String(StringWrite::SetAllNew(keys.map(|k| (bytes(k), bytes(k))).into()));
    assert_eq!(node.execute(all(["m", "n"])), Reply::Integer(0));
    assert_eq!(node.execute(all(["m", "m"])), Reply::Integer(1));
    assert_eq!(get(&node.restarted().keyspace, ReadCommand::Get(bytes("m"))), value("m"));
}

#[test]
fn a_key_that_is_dead_is_not_changed_in_part() {
    let mut node = Node::new();
    node.apply(&[expiring("k"), expiring("l"), expiring("m")]);
    // In one entry, because the dead keys are removed at its end.
    let set_new = WriteCommand::String(StringWrite::SetNew { key: bytes("l"), value: bytes("") });
    let commands = [set_part("k", 1, "x"), rename("l", "n", false), copy("m", "n", false), set_new];
    let (outcome, _) = apply_at(&mut node.keyspace, 2, 5000, &commands);
    // The dead value had one byte.
    let expected = [Reply::Integer(2), error("ERR no such key"), Reply::Integer(0), Reply::Integer(1)];
    assert_eq!(replies(outcome), expected);
    assert_eq!(get(&node.keyspace, ReadCommand::Get(bytes("k"))), value("\0x"));
}

#[test]
fn a_renamed_hash_keeps_its_records_and_a_copied_one_gets_its_own() {
    let mut node = Node::new();
    node.apply(&[hset("a", 0..500), expiring("b")]);
    let (renamed, changed) = node.apply(&[rename("a", "b", false)]);
    assert_eq!(renamed, [Reply::Ok]);
    assert!(changed <= 4, "{changed} records, but the fields are where they were");
    assert_eq!(deadline(&node, "b"), Reply::Integer(-1), "the deadline is the one of the former key");
    assert_eq!(node.all("b"), node.restarted().all("b"));
    assert_eq!(node.apply(&[rename("b", "b", false), rename("b", "b", true)]).0, [Reply::Ok, Reply::Integer(0)]);
    assert_eq!(node.execute(copy("b", "c", false)), Reply::Integer(1));
    assert_eq!(node.execute(copy("b", "c", false)), Reply::Integer(0));
    node.apply(&[hdel("b", 0..250), expiring("d"), rename("d", "e", true), copy("e", "f", true)]);
    assert_eq!([deadline(&node, "e"), deadline(&node, "f")], [Reply::Integer(5000), Reply::Integer(5000)]);
    let restarted = node.restarted();
    for key in ["b", "c"] {
        assert_eq!(node.all(key), restarted.all(key));
    }
    assert_eq!(get(&node.keyspace, fields("b", FieldsRead::Length)), Reply::Integer(250));
    assert_eq!(get(&node.keyspace, fields("c", FieldsRead::Length)), Reply::Integer(500));
    assert_eq!(node.execute(rename("none", "b", true)), error("ERR no such key"));
    assert_eq!(node.execute(rename("b", "c", true)), Reply::Integer(0));
    // Changed, renamed and changed again in one entry.
    node.apply(&[
        hset("c", 600..601),
        rename("c", "g", false),
        hset("g", 601..602),
        copy("g", "b", true),
        hdel("b", 0..9),
    ]);
    let restarted = node.restarted();
    for key in ["b", "c", "g"] {
        assert_eq!(node.all(key), restarted.all(key), "{key}");
    }
}

#[test]
fn fields_are_set_counted_and_deleted_as_in_redis() {
    let mut node = Node::new();
    assert_eq!(node.execute(hset("h", [1, 2, 1])), Reply::Integer(2));
    let set = FieldsWrite::Set { fields: vec![(bytes("f1"), bytes("x"))], counted: false };
    assert_eq!(node.execute(change("h", set)), Reply::Ok);
    let set_new = |field: &str| change("h", FieldsWrite::SetNew { field: bytes(field), value: bytes("7") });
    assert_eq!([node.execute(set_new("f1")), node.execute(set_new("n"))], [Reply::Integer(0), Reply::Integer(1)]);
    let add = |field: &str, amount| change("h", FieldsWrite::Add { field: bytes(field), amount });
    assert_eq!(node.execute(add("n", 3)), Reply::Integer(10));
    assert_eq!(node.execute(add("n", i64::MAX)), error("ERR increment or decrement would overflow"));
    assert_eq!(node.execute(add("f1", 1)), error("ERR hash value is not an integer"));
    let decimal =
        |field: &str, amount: &str| change("h", FieldsWrite::AddDecimal { field: bytes(field), amount: bytes(amount) });
    assert_eq!(node.execute(decimal("n", "0.5")), value("10.5"));
    assert_eq!(node.execute(decimal("f1", "0.5")), error("ERR hash value is not a float"));
    assert_eq!(node.execute(decimal("f1", "inf")), error("ERR value is NaN or Infinity"));
    assert_eq!(node.execute(decimal("f1", "y")), error("ERR value is not a valid float"));
    assert_eq!(get(&node.keyspace, fields("h", FieldsRead::Get(bytes("n")))), value("10.5"));
    assert_eq!(get(&node.keyspace, fields("h", FieldsRead::ValueLength(bytes("n")))), Reply::Integer(4));
    let many = FieldsRead::GetMany(vec![bytes("f2"), bytes("none")]);
    assert_eq!(get(&node.keyspace, fields("h", many)), Reply::Values(vec![Some(bytes("2")), None]));
    let removed = FieldsWrite::Delete(vec![bytes("n"), bytes("f1"), bytes("f2"), bytes("f2")]);
    assert_eq!(node.execute(change("h", removed)), Reply::Integer(3));
    assert!(node.keyspace.view().is_empty(), "a hash without fields does not exist");
    assert_eq!(node.all("h"), Reply::Map(Vec::new()));
}

#[test]
fn random_fields_are_distinct_or_repeated_as_requested_and_the_same_on_every_node() {
    let mut node = Node::new();
    node.apply(&[hset("h", 0..1000)]);
    node.apply(&[hset("few", 0..3)]);
    let other = node.restarted();
    for (key, count, expected) in [
        ("h", 10, 10),
        ("h", 900, 900),
        ("h", 2000, 1000),
        ("h", -1500, 1500),
        ("few", 2, 2),
        ("few", -10, 10),
        ("x", -5, 0),
    ] {
        let read = fields(key, FieldsRead::RandomMany { seed: 9, count, with_values: false });
        let reply = get(&node.keyspace, read.clone());
        assert_eq!(reply, get(&other.keyspace, read));
        let Reply::Values(mut values) = reply else { panic!("{reply:?}") };
        assert_eq!(values.len(), expected, "{key} {count}");
        values.sort();
        values.dedup();
        assert_eq!(values.len() == expected, count > 0 || expected == 0, "{key} {count}");
    }
    let too_many = fields("h", FieldsRead::RandomMany { seed: 9, count: i64::MIN + 1, with_values: false });
    assert!(matches!(get(&node.keyspace, too_many), Reply::Error(_)));
    let random = ReadCommand::Key(KeyRead::Random(5));
    assert_eq!(get(&node.keyspace, random.clone()), get(&other.keyspace, random));
}

#[test]
fn a_random_key_is_live_and_takes_few_draws() {
    let mut node = Node::new();
    let dead: Vec<_> = (0..3000).map(|number| expiring(&format!("dead{number}"))).collect();
    node.apply(&dead);
    // More keys die at once than one entry removes.
    let random = WriteCommand::Read(ReadCommand::Key(KeyRead::Random(5)));
    let (outcome, _) = apply_at(&mut node.keyspace, 9, 5000, &vec![random; 3000]);
    let replies = replies(outcome);
    assert_eq!((&replies[0], &replies[2999]), (&Reply::Value(None), &too_long()));
    let mut drawn = 0;
    let mut random = fastrand::Rng::with_seed(1);
    let draw = |below| {
        drawn += 1;
        random.u64(..below)
    };
    assert_eq!(
        node.keyspace.view().with(|content| (content.len() > 1500, content.random_key(draw).cloned())),
        (true, None)
    );
    assert!(drawn <= 60, "{drawn} draws");
    let mut few = Node::new();
    few.apply(&(0..500).map(|number| expiring(&format!("dead{number}"))).collect::<Vec<_>>());
    few.apply(&[set("live", "")]);
    let random = |seed| WriteCommand::Read(ReadCommand::Key(KeyRead::Random(seed)));
    let (outcome, _) = apply_at(&mut few.keyspace, 9, 5000, &(0..20).map(random).collect::<Vec<_>>());
    assert_eq!(super::replies(outcome), vec![value("live"); 20]);
}

#[test]
fn a_scan_returns_the_live_keys_that_match() {
    let mut node = Node::new();
    let keys: Vec<_> = (0..100).map(|number| set(&format!("k{number}"), "")).collect();
    node.apply(&keys);
    node.apply(&[hset("hash", 0..1)]);
    // More than one entry removes.
    node.apply(&(0..3000).map(|number| expiring(&format!("dead{number}"))).collect::<Vec<_>>());
    let mut scan = |pattern: Option<&str>, only| {
        let (mut cursor, mut all) = (0, Vec::new());
        loop {
            let scan = Scan { cursor, count: 10, pattern: pattern.map(bytes) };
            let read = WriteCommand::Read(ReadCommand::Key(KeyRead::Scan { scan, only }));
            let (outcome, _) = apply_at(&mut node.keyspace, 9, 5000, &[read]);
            let Reply::Scanned { cursor: next, found } = replies(outcome).remove(0) else { panic!("a scan") };
            assert!(found.len() <= 10);
            all.extend(found);
            cursor = next;
            if cursor == 0 {
                return all;
            }
        }
    };
    assert_eq!(scan(None, None).len(), 101);
    assert_eq!(scan(Some("*"), Some(TypeFilter::Hash)), ["hash"]);
    assert_eq!(scan(Some("k1?"), Some(TypeFilter::String)).len(), 10);
    assert_eq!(scan(Some("none"), None).len(), 0);
    assert_eq!(scan(None, Some(TypeFilter::Other)).len(), 0);
}

#[test]
fn an_entry_makes_and_returns_a_limited_number_of_bytes_and_fields() {
    let mut node = Node::new();
    let last = u32::try_from(8 * MAX_BULK - 1).expect("short");
    let bits: Vec<_> = (0..5).map(|number| set_bit(&number.to_string(), last)).collect();
    let (replies, _) = node.apply(&bits);
    assert_eq!(replies[..3], [Reply::Integer(0), Reply::Integer(0), Reply::Integer(0)]);
    assert_eq!(replies[3..], [too_long(), too_long()]);
    let copies: Vec<_> = (0..5).map(|number| copy("0", &format!("c{number}"), true)).collect();
    let (replies, _) = node.apply(&copies);
    assert_eq!(replies.iter().filter(|reply| **reply == Reply::Integer(1)).count(), 3);
    assert_eq!(node.keyspace.view().len(), 6);
    node.apply(&[hset("h", 0..10_000)]);
    let all = || WriteCommand::Read(fields("h", FieldsRead::All));
    let (replies, _) = node.apply(&[all(), all(), copy("h", "i", false)]);
    assert!(matches!(&replies[0], Reply::Map(fields) if fields.len() == 10_000));
    assert_eq!(replies[1..], [too_long(), too_long()]);
    let random = WriteCommand::Read(fields("h", FieldsRead::Random { seed: 1 }));
    let (replies, _) = node.apply(&vec![random; 9000]);
    assert_eq!((replies[0] == too_long(), &replies[8999]), (false, &too_long()));
    let bits = ReadCommand::String(StringRead::CountBits { key: bytes("0"), part: None });
    let (replies, _) = node.apply(&vec![WriteCommand::Read(bits); 4]);
    assert_eq!(replies, [Reply::Integer(1), Reply::Integer(1), Reply::Integer(1), too_long()]);
    node.apply(&[hset("h", 10_000..20_000)]);
    assert!(matches!(node.execute(copy("h", "i", false)), Reply::Error(text) if text.contains("16384 fields")));
}

#[test]
fn a_part_of_a_long_string_does_not_keep_it_in_memory() {
    let mut node = Node::new();
    node.execute(set_part("k", 999_999, "x"));
    let part = |last| ReadCommand::String(StringRead::Part { key: bytes("k"), first: 0, last });
    let Reply::Value(Some(short)) = get(&node.keyspace, part(99)) else { panic!("a value") };
    assert_eq!(short.len(), 100);
    assert!(short.try_into_mut().is_ok(), "it is a copy");
    let Reply::Value(Some(long)) = get(&node.keyspace, part(500_000)) else { panic!("a value") };
    assert!(long.try_into_mut().is_err(), "it is not copied");
}

#[test]
fn objects_have_the_properties_that_redis_gives_new_values() {
    let mut node = Node::new();
    let long = "v".repeat(45);
    node.apply(&[set("int", "12"), set("short", "v"), set("long", &long), hset("h", 0..512), hset("large", 0..513)]);
    node.apply(&[change("wide", FieldsWrite::SetNew { field: bytes("f"), value: bytes(&"v".repeat(65)) })]);
    let object =
        |key: &str, property| get(&node.keyspace, ReadCommand::Key(KeyRead::Object { key: bytes(key), property }));
    for (key, encoding) in [
        ("int", "int"),
        ("short", "embstr"),
        ("long", "raw"),
        ("h", "listpack"),
        ("large", "hashtable"),
        ("wide", "hashtable"),
    ] {
        assert_eq!(object(key, ObjectProperty::Encoding), value(encoding), "{key}");
    }
    assert_eq!(object("int", ObjectProperty::References), Reply::Integer(i32::MAX.into()));
    assert_eq!(object("h", ObjectProperty::References), Reply::Integer(1));
    assert_eq!(object("h", ObjectProperty::IdleTime), Reply::Integer(0));
    assert!(matches!(object("h", ObjectProperty::Frequency), Reply::Error(_)));
    assert_eq!(object("none", ObjectProperty::Frequency), Reply::Value(None));
    let type_of = |key: &str| get(&node.keyspace, ReadCommand::Key(KeyRead::Type(bytes(key))));
    assert_eq!(
        ["int", "h", "none"].map(type_of),
        ["string", "hash", "none"].map(|name| Reply::Status(name.to_owned()))
    );
}

/// Commands that store the string of a key again, which they do not contain.
fn rewriting(key: &str) -> [WriteCommand; 7] {
    let when = When::In(1000);
    let expire = ExpiryWrite::Expire { key: bytes(key), when, condition: ExpireCondition::Always };
    let get = ExpiryWrite::GetAndExpire { key: bytes(key), expiry: NewExpiry::Dies(when) };
    let rename = KeyWrite::Rename { from: bytes(key), to: bytes(&format!("{key}'")), only_new: false };
    [
        WriteCommand::Expiry(expire),
        WriteCommand::Expiry(ExpiryWrite::Persist(bytes(key))),
        WriteCommand::Expiry(get),
        WriteCommand::Key(rename),
        set_bit(key, 0),
        set_part(key, 0, "x"),
        WriteCommand::Append { key: bytes(key), suffix: bytes("x") },
    ]
}

#[test]
fn an_entry_stores_long_strings_again_only_as_far_as_it_has_room_for_them() {
    const LENGTH: usize = MAX_BULK / 2;
    for kind in 0..rewriting("k").len() {
        let mut node = Node::new();
        let keys: Vec<_> = (0..8).map(|number| format!("{number}")).collect();
        let dies = NewExpiry::Dies(When::In(100_000));
        for key in &keys {
            let value = Bytes::from(vec![0; LENGTH]);
            node.execute(WriteCommand::Set(SetCommand { expiry: dies, ..SetCommand::new(bytes(key), value) }));
        }
        let commands: Vec<_> = keys.iter().map(|key| rewriting(key)[kind].clone()).collect();
        let (replies, changed) = node.apply(&commands);
        let done = replies.iter().filter(|reply| !matches!(reply, Reply::Error(_))).count();
        // GETEX needs room for the string in its reply too.
        let expected = if kind == 2 { 2..=3 } else { 5..=6 };
        assert!(expected.contains(&done), "{kind}: {done}");
        assert!(changed <= 2 * done, "{kind}: {changed}");
    }
}

#[test]
fn a_long_string_that_one_entry_changes_repeatedly_takes_room_once() {
    let mut node = Node::new();
    node.execute(WriteCommand::Set(SetCommand::new(bytes("k"), Bytes::from(vec![0; MAX_BULK / 2]))));
    let appends = vec![WriteCommand::Append { key: bytes("k"), suffix: bytes("x") }; 1000];
    let (replies, changed) = node.apply(&appends);
    assert_eq!((replies.last(), changed), (Some(&Reply::Integer((MAX_BULK / 2 + 1000) as i64)), 1));
}

#[test]
fn a_copy_of_a_hash_takes_room_for_its_bytes() {
    let mut node = Node::new();
    for number in 0..5 {
        let field = (bytes(&format!("{number}")), Bytes::from(vec![0; MAX_BULK / 4]));
        let change = FieldsWrite::Set { fields: vec![field], counted: true };
        node.execute(WriteCommand::Hash(HashWrite { key: bytes("h"), change }));
    }
    let copies: Vec<_> = (0..5).map(|number| copy("h", &format!("{number}"), false)).collect();
    let (replies, _) = node.apply(&copies);
    assert_eq!(replies[..2], [1, 1].map(Reply::Integer), "20 MiB each");
    assert!(replies[2..].iter().all(|reply| matches!(reply, Reply::Error(_))), "{:?}", &replies[2..]);
}
