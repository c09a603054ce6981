//! The keys that an entry says it may change, compared with those that it changes.

use super::*;
use crate::keyspace::value::Data;
use quickcheck::quickcheck;
use std::collections::BTreeSet;

/// The keys that the commands are about.
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Returns what an entry may change.
fn touched(entry: &Bytes) -> (BTreeSet<Vec<u8>>, Option<u64>) {
    let mut keys = BTreeSet::new();
    let time = Keyspace::touches(entry, &mut |key| keys.extend([key.to_vec()]));
    (keys, time)
}

/// The part of a key that clients see: its string, or its fields in order, and its deadline.
type Visible = Option<(Option<Bytes>, Vec<(Bytes, Bytes)>, Option<u64>)>;

fn visible(keyspace: &Keyspace, key: &str) -> Visible {
    keyspace.view().with(|content| {
        let value = content.value(key.as_bytes())?;
        let deadline = value.deadline.map(|deadline| deadline.get());
        Some(match &value.data {
            Data::String(string) => (Some(string.clone()), Vec::new(), deadline),
            Data::Hash(hash) => {
                let mut fields: Vec<_> =
                    hash.fields.iter().map(|(field, value)| (field.clone(), value.clone())).collect();
                fields.sort();
                (None, fields, deadline)
            }
        })
    })
}

fn command((kind, key, number): (u8, u8, u8)) -> WriteCommand {
    let key_at = |place: u8| bytes(KEYS[usize::from(place) % KEYS.len()]);
    let (key, other, text) = (key_at(key), key_at(number), bytes(&number.to_string()));
    let soon = When::In(i64::from(number) - 20);
    let pairs = || vec![(key.clone(), text.clone()), (other.clone(), text.clone())];
    let field = || bytes(&(number % 3).to_string());
    let hash = |change| WriteCommand::Hash(HashWrite { key: key.clone(), change });
    match kind % 26 {
        0 | 1 => WriteCommand::Set(SetCommand { expiry: NewExpiry::Dies(soon), ..SetCommand::new(key, text) }),
        2 => WriteCommand::Set(SetCommand { condition: SetCondition::Exists, ..SetCommand::new(key, text) }),
        3 => WriteCommand::Set(SetCommand { expiry: NewExpiry::Keep, ..SetCommand::new(key, text) }),
        4 => WriteCommand::Delete(vec![key, other]),
        5 => WriteCommand::Add { key, amount: number.into() },
        6 => WriteCommand::Append { key, suffix: text },
        7 => WriteCommand::SetAll(pairs()),
        8 if number % 4 == 0 => WriteCommand::Clear,
        9 => WriteCommand::DeleteIf { key, condition: SetCondition::Equals(text) },
        10 => WriteCommand::Expiry(ExpiryWrite::Expire { key, when: soon, condition: ExpireCondition::Always }),
        11 => WriteCommand::Expiry(ExpiryWrite::Persist(key)),
        12 => WriteCommand::Expiry(ExpiryWrite::GetAndExpire { key, expiry: NewExpiry::Dies(soon) }),
        13 => WriteCommand::String(StringWrite::SetNew { key, value: text }),
        14 => WriteCommand::String(StringWrite::SetAllNew(pairs())),
        15 => WriteCommand::String(StringWrite::GetAndDelete(key)),
        16 => WriteCommand::String(StringWrite::SetPart { key, first: number.into(), bytes: text }),
        17 => WriteCommand::String(StringWrite::SetBit { key, bit: number.into(), value: number % 2 == 0 }),
        18 => WriteCommand::String(StringWrite::AddDecimal { key, amount: text }),
        19 => WriteCommand::Key(KeyWrite::Rename { from: key, to: other, only_new: number % 2 == 0 }),
        20 => WriteCommand::Key(KeyWrite::Copy { from: key, to: other, replace: number % 2 == 0 }),
        21 | 22 => hash(FieldsWrite::Set { fields: vec![(field(), text)], counted: true }),
        23 => hash(FieldsWrite::Delete(vec![field()])),
        24 => hash(FieldsWrite::Add { field: field(), amount: number.into() }),
        _ => WriteCommand::Read(ReadCommand::Get(key)),
    }
}

/// A time, whether the entry has version 1 if it can, whether it depends on a watched key, and its commands.
type Step = (u8, bool, bool, Vec<(u8, u8, u8)>);

quickcheck! {
    fn an_entry_changes_no_key_that_it_does_not_touch(steps: Vec<Step>) -> bool {
        let mut keyspace = new();
        for (index, (time, is_old, watches, commands)) in (2..).zip(steps) {
            let commands: Vec<_> = commands.into_iter().map(command).collect();
            let watched = if watches { vec![(bytes(KEYS[0]), index - 1)] } else { Vec::new() };
            let old = Entry::encode_as(1, &[], true, &commands).filter(|_| is_old);
            let entry = old.unwrap_or_else(|| Entry::encode(&watched, true, &commands));
            let entry = Entry::stamp(entry, u64::from(time) * 4);
            let (keys, until) = touched(&entry);
            let before = KEYS.map(|key| visible(&keyspace, key));
            keyspace.apply(index, &entry, &mut Vec::new()).expect("a valid entry");
            for (key, before) in KEYS.into_iter().zip(before) {
                let passes = |at: u64| until.is_none_or(|until| at <= until);
                let ends = |(_, _, deadline): &(_, _, Option<u64>)| deadline.is_some_and(passes);
                let may_change = until.is_none() || keys.contains(key.as_bytes()) || before.as_ref().is_some_and(ends);
                assert!(may_change || visible(&keyspace, key) == before, "{key} changed from {before:?}");
            }
        }
        true
    }
}

#[test]
fn an_entry_touches_the_keys_that_it_names_and_no_other_ones() {
    let stamped = |commands: &[WriteCommand]| Entry::stamp(Entry::encode(&[], true, commands), 9);
    let keys = |keys: &[&str]| keys.iter().map(|key| key.as_bytes().to_vec()).collect::<BTreeSet<_>>();
    let rename = WriteCommand::Key(KeyWrite::Rename { from: bytes("b"), to: bytes("c"), only_new: false });
    let read = WriteCommand::Read(ReadCommand::Size);
    assert_eq!(touched(&stamped(&[set("a", "1"), read, rename])), (keys(&["a", "b", "c"]), Some(9)));
    let old = Entry::encode_as(1, &[], true, &[set("a", "1")]).expect("a command of version 1");
    assert_eq!(touched(&old), (keys(&["a"]), Some(0)));
    assert_eq!(touched(&stamped(&[WriteCommand::Clear])).1, None, "every key");
    assert_eq!(touched(&Bytes::from_static(b"\x02garbage")), (keys(&[]), Some(0)), "it is not executed");
    assert_eq!(touched(&Bytes::from_static(b"\xff")).1, None, "only a newer release knows");
}

#[test]
fn an_entry_ends_keys_that_it_does_not_name() {
    let mut keyspace = new();
    let dies = NewExpiry::Dies(When::At(50));
    let set_k = WriteCommand::Set(SetCommand { expiry: dies, ..SetCommand::new(bytes("k"), bytes("v")) });
    apply_at(&mut keyspace, 2, 10, &[set_k]);
    assert_eq!(get(&keyspace, ReadCommand::Get(bytes("k"))), value("v"));
    apply_at(&mut keyspace, 3, 50, &[set("other", "x")]);
    assert_eq!(get(&keyspace, ReadCommand::Get(bytes("k"))), Reply::Value(None));
}
