//! The place of a backup's records in a new cluster, which may divide its keys among another number of groups.

use super::record::{self, Decoded, FIELD};
use super::value::HashId;
use crate::slots::SlotTable;
use leasehold_core::Index;
use leasehold_node::ports::{InvalidRecord, Record};
use std::collections::{BTreeMap, BTreeSet};

/// Places the records of every group of a backup in the groups of a new cluster.
///
/// A hash gets a new number, because each group numbers its own, and hashes of several groups may meet in one.
#[derive(Debug)]
pub(crate) struct Placement {
    slots: SlotTable,
    /// The hash whose fields come next: its number in the backup, its group, and its new number.
    hash: Option<(HashId, u16, HashId)>,
    hashes: u64,
    index: Index,
    /// The groups that got records of the group whose records come now.
    receivers: BTreeSet<u16>,
    log_times: BTreeMap<u16, u64>,
}

impl Placement {
    /// Creates the placement of a backup that has every write up to this index.
    pub(crate) fn new(slots: SlotTable, index: Index) -> Placement {
        Placement { slots, hash: None, hashes: 0, index, receivers: BTreeSet::new(), log_times: BTreeMap::new() }
    }

    /// Returns the next record of the backup as the new cluster has it, with its group. The log time is kept until the end,
    /// because a new group may get records of several.
    ///
    /// # Errors
    /// [`InvalidRecord`].
    pub(crate) fn place(&mut self, record: Record) -> Result<Option<(u16, Record)>, InvalidRecord> {
        let (group, record) = match record::decode(record.clone())? {
            Decoded::Time(time) => {
                // It is the last record of a state. A key that is dead in its group stays so.
                for group in std::mem::take(&mut self.receivers) {
                    let log_time = self.log_times.entry(group).or_default();
                    *log_time = time.max(*log_time);
                }
                return Ok(None);
            }
            Decoded::String { key, head: (changed, _), .. } => {
                self.index = self.index.max(changed);
                (self.slots.group_of_key(&key), record)
            }
            Decoded::Hash { key, head, id } => {
                let (group, new) = (self.slots.group_of_key(&key), self.next_hash());
                self.index = self.index.max(head.0).max(new.0);
                self.hash = Some((id, group, new));
                (group, record::encode_hash(&key, head, new))
            }
            Decoded::Field { id, field, value } => {
                // A state has the fields of a hash right after it.
                let hash = self.hash.filter(|(of, ..)| *of == id);
                let (_, group, new) = hash.ok_or(InvalidRecord { kind: FIELD })?;
                (group, record::encode_field(new, &field, value))
            }
        };
        self.receivers.insert(group);
        Ok(Some((group, record)))
    }

    /// Returns a new number of a hash. No later hash gets it, because its entry has an index after [`index`](Self::index).
    fn next_hash(&mut self) -> HashId {
        let number = self.hashes;
        self.hashes += 1;
        HashId(1 + (number >> 32), number as u32)
    }

    /// Returns the index after which the log of every group continues, so that no entry has an index that a record names.
    pub(crate) fn index(&self) -> Index {
        self.index
    }

    /// Returns the record of the log time of each group, unless it has records of format 1 only.
    pub(crate) fn log_times(&self) -> impl Iterator<Item = (u16, Record)> {
        self.log_times.iter().map(|(group, time)| (*group, record::encode_time(*time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{
        Content, Entry, FieldsWrite, HashWrite, Keyspace, NewExpiry, SetCommand, Snapshot, WallClock, When,
        WriteCommand,
    };
    use bytes::Bytes;
    use leasehold_node::ports::{Cursor, State as _, StateMachine as _};
    use std::num::NonZeroU16;

    fn table(groups: u16) -> SlotTable {
        SlotTable::new(NonZeroU16::new(groups).expect("not zero"))
    }

    fn keyspace() -> Keyspace {
        Keyspace::new("test", WallClock::new(|| 0))
    }

    fn keys() -> impl Iterator<Item = Bytes> {
        (0..400).map(|key| Bytes::from(key.to_string()))
    }

    fn set(key: &Bytes, expiry: NewExpiry) -> WriteCommand {
        WriteCommand::Set(SetCommand { expiry, ..SetCommand::new(key.clone(), key.clone()) })
    }

    /// Returns a key that is in the same group.
    fn near(key: &[u8], name: &str) -> Bytes {
        [&b"{"[..], key, b"}", name.as_bytes()].concat().into()
    }

    /// Returns the log time of a group. Neither the first nor the last one has the latest.
    fn log_time(group: u16) -> u64 {
        if group % 2 == 1 { 1000 } else { 700 + u64::from(group) }
    }

    /// Returns the states of the groups of a cluster. In each, the same entries made hashes, and more keys have died than an
    /// entry removes.
    fn states(groups: u16) -> Vec<Snapshot> {
        let slots = table(groups);
        let of_group = |group| {
            let mut keyspace = keyspace();
            let mut index = 0;
            let mut apply = |time, commands: &[WriteCommand]| {
                index += 1;
                let entry = Entry::stamp(Entry::encode(&[], true, commands), time);
                keyspace.apply(index, &entry, &mut Vec::new()).expect("a valid entry");
            };
            for key in keys().filter(|key| slots.group_of_key(key) == group) {
                let fields = vec![("own".into(), key.clone()), ("other".into(), Bytes::new())];
                let change = FieldsWrite::Set { fields, counted: true };
                let hash = WriteCommand::Hash(HashWrite { key: near(&key, "hash"), change });
                let mortal = |name: &str, at| set(&near(&key, name), NewExpiry::Dies(When::At(at)));
                let dead = (0..100).map(|number| mortal(&format!("dead {number}"), 100));
                let commands = [set(&key, NewExpiry::None), hash, mortal("lives", 5000)];
                apply(50, &commands.into_iter().chain(dead).collect::<Vec<_>>());
            }
            apply(log_time(group), &[]);
            assert_eq!(keyspace.view().with(|content| content.log_time), log_time(group), "dead keys are left");
            keyspace.state()
        };
        slots.groups().map(of_group).collect()
    }

    /// Places states in so many groups.
    fn place(states: &[Snapshot], groups: u16) -> (Vec<Keyspace>, Index) {
        let mut keyspaces: Vec<_> = (0..groups).map(|_| keyspace()).collect();
        let mut new: Vec<_> = keyspaces.iter().map(|keyspace| keyspace.empty_state()).collect();
        let mut placement = Placement::new(table(groups), 2);
        for state in states {
            for (record, _) in state.records(Cursor::default()) {
                if let Some((group, record)) = placement.place(record).expect("a valid record") {
                    new[usize::from(group)].insert(record).expect("a valid record");
                }
            }
        }
        for (group, time) in placement.log_times() {
            new[usize::from(group)].insert(time).expect("a valid record");
        }
        for (keyspace, state) in keyspaces.iter_mut().zip(new) {
            drop(keyspace.replace(state));
        }
        (keyspaces, placement.index())
    }

    #[test]
    fn every_key_is_in_its_group_whatever_the_number_of_groups_was_and_is() {
        for (from, to) in [(1, 1), (1, 4), (4, 4), (4, 1), (3, 16), (16, 3)] {
            let (keyspaces, index) = place(&states(from), to);
            assert!(index >= keys().count() as u64 / u64::from(from) / 2, "after the entries: {index}");
            let slots = table(to);
            for (group, keyspace) in (0..).zip(&keyspaces) {
                let all_in_place =
                    |content: &Content| content.map.iter().all(|(key, _)| slots.group_of_key(key) == group);
                assert!(keyspace.view().with(all_in_place), "group {group}, from {from} to {to}");
            }
            for group in slots.groups() {
                let sources =
                    keys().filter(|key| slots.group_of_key(key) == group).map(|key| table(from).group_of_key(&key));
                let latest = sources.map(log_time).max();
                let log_time = keyspaces[usize::from(group)].view().with(|content| content.log_time);
                assert_eq!(Some(log_time), latest, "group {group}, from {from} to {to}");
            }
            for key in keys() {
                keyspaces[usize::from(slots.group_of_key(&key))].view().with(|content| {
                    assert_eq!(content.string(&key).expect("a string"), Some(&key), "from {from} to {to}");
                    let fields = &content.hash(&near(&key, "hash")).expect("a hash").expect("it exists").fields;
                    assert_eq!((fields.len(), fields.get(b"own")), (2, Some(&key)), "from {from} to {to}");
                    let lives = content.value(&near(&key, "lives")).and_then(|value| value.deadline);
                    assert_eq!(lives.map(|deadline| deadline.get()), Some(5000), "from {from} to {to}");
                });
            }
            let live: usize =
                keyspaces.iter().map(|keyspace| keyspace.view().with(|content| content.keys().count())).sum();
            assert_eq!(live, 3 * keys().count(), "what is dead stays so: from {from} to {to}");
        }
    }

    #[test]
    fn the_log_continues_after_the_last_change_of_every_key() {
        let mut keyspace = keyspace();
        let set = |key: &'static str| [set(&key.into(), NewExpiry::None)];
        let old = Entry::encode_as(1, &[], true, &set("a")).expect("an old command");
        for (index, entry, newest) in [(7, old, 2), (8, Entry::encode(&[], true, &set("b")), 8)] {
            keyspace.apply(index, &entry, &mut Vec::new()).expect("a valid entry");
            assert_eq!(place(&[keyspace.state()], 4).1, newest);
        }
        let damaged = Record { key: "\u{2}k".into(), value: "short".into() };
        assert!(keyspace.empty_state().insert(damaged.clone()).is_err());
        assert_eq!(Placement::new(table(4), 2).place(damaged), Err(InvalidRecord { kind: 2 }));
    }

    #[test]
    fn a_field_whose_hash_is_not_before_it_is_refused() {
        let mut placement = Placement::new(table(4), 2);
        let field = record::encode_field(HashId(7, 0), b"field", Bytes::new());
        assert_eq!(placement.place(field.clone()), Err(InvalidRecord { kind: FIELD }));
        let other = record::encode_hash(b"key", (7, None), HashId(7, 1));
        placement.place(other).expect("a valid record");
        assert_eq!(placement.place(field), Err(InvalidRecord { kind: FIELD }));
    }
}
