//! Writing: all batches of a commit become one fjall batch in the journal.

use crate::error::Fault;
use crate::folder::Storage;
use crate::group::{self, Group, Records};
use crate::journal::CommitRecord;
use crate::tables::{
    APPLIED, At, COMMIT, COMPACTED, DELETED_BY_REMOVAL, Encoding, GENERATION, HARD_STATE, LOG_MAY_BE_CUT, LONGEST_HOLD,
    ORDERLY_STOP, REMOVED, Table, encode, generation_keys, inline_key, is_inline, log_key, meta_key, numbered_key,
    numbered_value, prefix, starting_with,
};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode, Slice};
use leasehold_core::{Index, Term};
use leasehold_node::ports::{Applied, Batch, Change, Disk, GroupId, Record, Stage};
use leasehold_raft::wire::Entry;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use wincode::SchemaWrite;

/// The number of compacted entries and dropped records that a commit removes beyond the number that it adds. A
/// compaction drops many thousands, and removing all of them in one commit would delay it by tens of milliseconds. So
/// the following commits remove them in portions.
const MAX_EXTRA_REMOVALS: usize = 512;
/// The size of the dropped records that a commit reads to remove them.
const MAX_REMOVED_BYTES: usize = 4 << 20;

impl Disk for Storage {
    fn commit(&mut self, batches: &[Batch]) -> io::Result<()> {
        self.write(batches).map_err(|fault| fault.in_folder(&self.path).into())
    }

    fn has_leftovers(&self) -> bool {
        self.groups.values().any(|group| group.removed)
    }
}

/// The writes of a commit; `None` removes a key. A map, because fjall does not define which of two writes to a key wins
/// within a batch.
type Changes = BTreeMap<Slice, Option<Slice>>;

impl Storage {
    fn write(&mut self, batches: &[Batch]) -> Result<(), Fault> {
        let number = self.newest_file.newest().commit + 1;
        let mut writer = Writer {
            number,
            keyspace: &self.keyspace,
            groups: &mut self.groups,
            removed: &self.removed,
            removal_ended: &mut self.removal_ended,
            changes: Changes::new(),
        };
        let superseded = superseded(batches);
        let outcome =
            batches.iter().zip(superseded).try_for_each(|(batch, skip)| writer.write(batch, skip)).map(|()| {
                let added = |batch: &Batch| {
                    let staged = if let Some(Stage::Add(records)) = &batch.stage { records.len() } else { 0 };
                    batch.entries.len() + staged
                };
                // A commit that changes nothing need not be written.
                if writer.changes.is_empty() && !batches.is_empty() {
                    return Ok(writer.changes);
                }
                writer.remove_stale(MAX_EXTRA_REMOVALS + batches.iter().map(added).sum::<usize>())?;
                Ok(writer.changes)
            });
        let outcome = outcome.flatten().and_then(|changes| self.store(number, changes));
        if outcome.is_err() {
            // They may be ahead of what is stored. The next commit loads them again, except those that were removed.
            self.groups = self.removed.iter().map(|id| (*id, Group::removed(*id))).collect();
        }
        outcome?;
        self.removed.extend(batches.iter().filter(|batch| batch.remove).map(|batch| batch.group));
        self.check_in_place()
    }

    fn store(&mut self, number: u64, changes: Changes) -> Result<(), Fault> {
        if changes.is_empty() {
            return Ok(());
        }
        let batch = OwnedWriteBatch::with_capacity(self.database.clone(), changes.len() + 1);
        let mut batch = batch.durability(Some(PersistMode::SyncData));
        batch.insert(&self.keyspace, COMMIT, CommitRecord { number, salt: self.salt }.encode());
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        // After its first failure fjall accepts no more commits, so none is acknowledged after one that may be torn.
        batch.commit()?;
        Ok(self.newest_file.note(number)?)
    }
}

/// Returns for each batch how many of its changes come before the last clear of its group, and so have no effect. Each
/// clear begins another generation and looks at every change of the commit, so many of them would delay a commit.
fn superseded(batches: &[Batch]) -> Vec<usize> {
    let mut cleared = BTreeSet::new();
    let mut superseded = vec![0; batches.len()];
    for (batch, superseded) in batches.iter().zip(&mut superseded).rev() {
        if cleared.contains(&batch.group) {
            *superseded = batch.changes.len();
        } else if let Some(clear) = batch.changes.iter().rposition(|change| *change == Change::Clear) {
            *superseded = clear;
            cleared.insert(batch.group);
        }
    }
    superseded
}

struct Writer<'s> {
    /// The commit's number.
    number: u64,
    keyspace: &'s Keyspace,
    groups: &'s mut BTreeMap<GroupId, Group>,
    /// The groups that earlier commits removed.
    removed: &'s BTreeSet<GroupId>,
    /// The group in which the last commit stopped removing.
    removal_ended: &'s mut GroupId,
    changes: Changes,
}

impl Writer<'_> {
    /// Writes a batch without the first `superseded` of its changes.
    fn write(&mut self, batch: &Batch, superseded: usize) -> Result<(), Fault> {
        let id = batch.group;
        let group = match self.groups.entry(id) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(_) if self.removed.contains(&id) => {
                return if batch.remove { Ok(()) } else { Err(group::removed(id)) };
            }
            Slot::Vacant(new) => new.insert(Group::load(self.keyspace, id)?),
        };
        let mut writer = GroupWriter { id, number: self.number, group, changes: &mut self.changes };
        writer.write(batch, superseded)
    }

    /// Removes up to `left` compacted entries and dropped records; a range without records counts as one.
    fn remove_stale(&mut self, mut left: usize) -> Result<(), Fault> {
        let mut bytes = 0;
        // Each commit begins with the next group, so that none waits for another with much to remove.
        let first = self.removal_ended.wrapping_add(1);
        let ids: Vec<GroupId> =
            self.groups.range(first..).chain(self.groups.range(..first)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(group) = self.groups.get_mut(&id).filter(|_| left > 0) else { break };
            *self.removal_ended = id;
            while left > 0
                && let Some((first, last)) = group.stale.pop_front().map(RangeInclusive::into_inner)
            {
                let through = last.min(first.saturating_add(left as Index - 1));
                self.changes.extend((first..=through).map(|index| (log_key(id, index).into(), None)));
                left -= (through - first + 1) as usize;
                if through < last {
                    group.stale.push_front(through + 1..=last);
                }
            }
            while left > 0
                && bytes < MAX_REMOVED_BYTES
                && let Some(mut keys) = group.dropped.pop_front()
            {
                // Looking for the first key takes time, too.
                left -= 1;
                for stored in self.keyspace.range(keys.clone()) {
                    if left == 0 || bytes >= MAX_REMOVED_BYTES {
                        group.dropped.push_front(keys);
                        break;
                    }
                    let (key, value) = stored.into_inner()?;
                    // The next range starts right after it.
                    keys.start = [&key[..], &[0]].concat();
                    bytes += key.len() + value.len();
                    left -= 1;
                    self.changes.insert(key, None);
                }
            }
            if group.removed && group.dropped.is_empty() {
                self.groups.remove(&id);
            }
        }
        Ok(())
    }
}

/// The writes of a commit to one group.
struct GroupWriter<'w> {
    id: GroupId,
    number: u64,
    group: &'w mut Group,
    changes: &'w mut Changes,
}

impl GroupWriter<'_> {
    fn write(&mut self, batch: &Batch, superseded: usize) -> Result<(), Fault> {
        if self.group.removed {
            return if batch.remove { Ok(()) } else { Err(group::removed(self.id)) };
        }
        if batch.remove {
            return self.remove_group();
        }
        if let Some(hard_state) = &batch.hard_state {
            if hard_state.term < self.group.term {
                let Group { term, .. } = self.group;
                return Err(Fault::Refused(format!(
                    "group {} has seen term {term} and would forget its votes and its log if it began again in term {}; \
                     start the node with what it recovers of this group",
                    self.id, hard_state.term
                )));
            }
            self.group.term = hard_state.term;
            self.put_meta(HARD_STATE, hard_state)?;
        }
        if batch.reset_log {
            let Some(applied) = &batch.applied else {
                return Err(self.refused("is reset without an applied position"));
            };
            self.reset(applied.index, applied.term)?;
        }
        if !batch.entries.is_empty() {
            self.append(&batch.entries)?;
        }
        match &batch.stage {
            Some(Stage::Clear) => {
                let former = self.group.staged.generation;
                self.group.staged = self.group.new_generation();
                self.drop_generation(former);
            }
            Some(Stage::Add(records)) => {
                for record in records {
                    put(self.id, &mut self.group.staged, record, self.changes)?;
                }
            }
            Some(Stage::Install) => {
                let staged = self.group.new_generation();
                let staged = std::mem::replace(&mut self.group.staged, staged);
                self.replace_records(staged)?;
            }
            None => {}
        }
        for change in &batch.changes[superseded..] {
            self.change(change)?;
        }
        if let Some(Applied { index, term, membership }) = &batch.applied {
            self.group.applied = *index;
            self.put_meta(APPLIED, &(*index, *term, membership.clone()))?;
        }
        if let Some((index, term)) = batch.compact_through {
            self.compact(index, term)?;
        }
        if let Some(hold) = &batch.longest_hold {
            self.put_meta(LONGEST_HOLD, hold)?;
        }
        if let Some(may_be_cut) = batch.log_may_be_cut {
            self.put_meta(LOG_MAY_BE_CUT, &(may_be_cut, self.number))?;
        }
        if let Some(stop) = &batch.orderly_stop {
            self.put_meta(ORDERLY_STOP, stop)?;
        }
        Ok(())
    }

    /// Drops everything but the fact that the group was removed, in constant time. Later commits remove the entries and the
    /// records.
    fn remove_group(&mut self) -> Result<(), Fault> {
        *self.group = Group::removed(self.id);
        // What this commit would add is not stored yet, so it would not be found.
        for keys in [Table::Log, Table::State].map(|table| prefix(table, self.id)) {
            self.changes.retain(|key, _| !key.starts_with(&keys));
        }
        self.changes.extend(DELETED_BY_REMOVAL.map(|name| (meta_key(self.id, name).into(), None)));
        self.put_meta(REMOVED, &true)
    }

    /// Drops the whole log, which then continues after `index`.
    fn reset(&mut self, index: Index, term: Term) -> Result<(), Fault> {
        let mut stored: VecDeque<RangeInclusive<Index>> = std::mem::take(&mut self.group.stale);
        stored.push_back(self.group.compacted.saturating_add(1)..=self.group.last);
        (self.group.compacted, self.group.last) = (index, index);
        for entries in stored {
            let (first, last) = entries.into_inner();
            self.group.add_stale(first..=last.min(index));
            // Entries after `index` would look like part of the new log.
            self.remove(first.max(index.saturating_add(1))..=last);
        }
        self.put_meta(COMPACTED, &(index, term))
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), Fault> {
        let Group { compacted, last, .. } = *self.group;
        let first = entries[0].index;
        if first <= compacted || first > last.saturating_add(1) {
            return Err(self.refused(&format!(
                "holds the entries after {compacted} through {last}, and entry {first} neither follows nor replaces one"
            )));
        }
        for (entry, index) in entries.iter().zip(first..) {
            if entry.index != index {
                return Err(self.refused(&format!("gets entry {} where entry {index} is expected", entry.index)));
            }
            let encoded = encode(At::Log(self.id, index), entry)?;
            self.changes.insert(log_key(self.id, index).into(), Some(encoded.into()));
            self.group.last = index;
        }
        // The rest of the old tail.
        if let Some(next) = self.group.last.checked_add(1) {
            self.remove(next..=last);
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<(), Fault> {
        match change {
            Change::Put(record) => put(self.id, &mut self.group.records, record, self.changes)?,
            Change::Delete(key) => {
                let Records { generation, numbered, .. } = &mut self.group.records;
                let stored = if !is_inline(key) {
                    numbered.remove(key).map(|number| numbered_key(self.id, *generation, number))
                } else {
                    Some(inline_key(self.id, *generation, key))
                };
                self.changes.extend(stored.map(|stored| (stored.into(), None)));
            }
            Change::Clear => {
                let none = self.group.new_generation();
                self.replace_records(none)?;
            }
        }
        Ok(())
    }

    /// Replaces all records by those of another generation, in constant time. Later commits remove the former ones.
    fn replace_records(&mut self, records: Records) -> Result<(), Fault> {
        let generation = records.generation;
        let former = std::mem::replace(&mut self.group.records, records);
        self.put_meta(GENERATION, &generation)?;
        self.drop_generation(former.generation);
        Ok(())
    }

    /// Drops the records of a generation that is not used any more.
    fn drop_generation(&mut self, generation: u64) {
        let keys = generation_keys(self.id, generation);
        // Those that this commit would add are not stored yet, so they would not be found.
        self.changes.retain(|key, _| !key.starts_with(&keys));
        self.group.dropped.push_back(starting_with(keys));
    }

    fn compact(&mut self, index: Index, term: Term) -> Result<(), Fault> {
        let Group { compacted, last, applied, .. } = *self.group;
        // A later compaction or a snapshot already dropped these entries.
        if index <= compacted {
            return Ok(());
        }
        if index > applied {
            return Err(self.refused(&format!("is compacted through {index}, but only {applied} is applied")));
        }
        self.group.add_stale(compacted + 1..=index.min(last));
        (self.group.compacted, self.group.last) = (index, last.max(index));
        self.put_meta(COMPACTED, &(index, term))
    }

    fn remove(&mut self, entries: RangeInclusive<Index>) {
        self.changes.extend(entries.map(|index| (log_key(self.id, index).into(), None)));
    }

    fn put_meta<T>(&mut self, name: &'static str, value: &T) -> Result<(), Fault>
    where
        T: SchemaWrite<Encoding, Src = T>,
    {
        let encoded = encode(At::Meta(self.id, name), value)?;
        self.changes.insert(meta_key(self.id, name).into(), Some(encoded.into()));
        Ok(())
    }

    fn refused(&self, what: &str) -> Fault {
        Fault::Refused(format!("the log of group {} {what}", self.id))
    }
}

/// Inserts or replaces a record of a generation.
fn put(id: GroupId, records: &mut Records, record: &Record, changes: &mut Changes) -> Result<(), Fault> {
    let Record { key, value } = record;
    if is_inline(key) {
        changes.insert(inline_key(id, records.generation, key).into(), Some(value[..].into()));
        return Ok(());
    }
    let next = &mut records.next_number;
    let number = *records.numbered.entry(key.clone()).or_insert_with(|| {
        *next += 1;
        *next - 1
    });
    changes.insert(numbered_key(id, records.generation, number).into(), Some(numbered_value(record)?.into()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StorageError;
    use crate::folder::Identity;
    use leasehold_raft::wire::{HardState, Payload};
    use std::time::Duration;

    fn record(number: usize) -> Record {
        // Some keys are long, and those are stored differently.
        let key = if number.is_multiple_of(10) { number.to_string().repeat(3000) } else { number.to_string() };
        Record { key: key.into(), value: "value".into() }
    }

    fn stored_records(storage: &Storage) -> usize {
        storage.keyspace.prefix(prefix(Table::State, 0)).count()
    }

    #[test]
    fn dropped_records_are_removed_in_portions_and_after_a_restart_too() {
        const RECORDS: usize = 2 * MAX_EXTRA_REMOVALS + 100;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = Identity { cluster: "orchard".into(), node: 3, founders: [3].into() };
        let mut storage = Storage::open(folder.path(), identity.clone()).expect("a new folder");
        let commit = |storage: &mut Storage, stage: Option<Stage>, changes: Vec<Change>| {
            let batch = Batch { stage, changes, ..Batch::default() };
            storage.commit(&[batch]).expect("committed");
        };
        let put = || vec![Change::Put(record(1))];
        for (what, drop) in [("staged", Some(Stage::Clear)), ("replaced", Some(Stage::Install)), ("cleared", None)] {
            let records: Vec<Record> = (0..RECORDS).map(record).collect();
            match what {
                "staged" => commit(&mut storage, Some(Stage::Add(records)), put()),
                _ => commit(&mut storage, None, records.into_iter().map(Change::Put).collect()),
            }
            assert!(stored_records(&storage) >= RECORDS);
            let clear = if drop.is_none() { vec![Change::Clear] } else { Vec::new() };
            commit(&mut storage, drop, clear);
            commit(&mut storage, None, put());
            assert!((50..RECORDS).contains(&stored_records(&storage)), "{what}: some are removed with each commit");
            std::mem::drop(storage);
            storage = Storage::open(folder.path(), identity.clone()).expect("its own folder");
            for _ in 0..3 {
                commit(&mut storage, None, put());
            }
            assert_eq!(stored_records(&storage), 1, "{what}");
            assert_eq!(storage.recover(0).expect("readable").records, [record(1)]);
        }
    }

    #[test]
    fn a_removed_group_is_deleted_in_portions_and_after_a_restart_too() {
        const RECORDS: usize = 5 * MAX_EXTRA_REMOVALS;
        const REMOVED: GroupId = 7;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = Identity { cluster: "orchard".into(), node: 3, founders: [3].into() };
        let mut storage = Storage::open(folder.path(), identity.clone()).expect("a new folder");
        let stored = |storage: &Storage| {
            let tables = [Table::Log, Table::State, Table::Meta].map(|table| prefix(table, REMOVED));
            tables.map(|keys| storage.keyspace.prefix(keys).count())
        };
        let entry = |index| Entry { term: 1, index, payload: Payload::Command("a".into()) };
        let filled = Batch {
            group: REMOVED,
            hard_state: Some(HardState { term: 1, vote: 3, commit: 0 }),
            entries: (1..=10).map(entry).collect(),
            changes: [Change::Clear].into_iter().chain((0..RECORDS).map(record).map(Change::Put)).collect(),
            applied: Some(Applied { index: 5, term: 1, ..Applied::default() }),
            compact_through: Some((3, 1)),
            longest_hold: Some(Duration::from_secs(1)),
            log_may_be_cut: Some(true),
            orderly_stop: Some(Some(Duration::from_secs(1))),
            stage: Some(Stage::Add(vec![record(1), record(2)])),
            ..Batch::default()
        };
        let other = |storage: &mut Storage| {
            let changes = vec![Change::Put(record(1))];
            storage.commit(&[Batch { changes, ..Batch::default() }]).expect("another group");
        };
        storage.commit(std::slice::from_ref(&filled)).expect("committed");
        assert_eq!(stored(&storage)[2], DELETED_BY_REMOVAL.len(), "every single value");
        let removal = Batch { group: REMOVED, remove: true, ..Batch::default() };
        // What comes before the removal in its own commit is not stored either.
        let late = Batch { changes: vec![Change::Put(record(RECORDS + 1))], group: REMOVED, ..Batch::default() };
        storage.commit(&[late, removal.clone()]).expect("removed");
        assert_eq!(stored(&storage)[2], 1, "the fact that it was removed");
        for restart in [false, true, true] {
            if restart {
                std::mem::drop(storage);
                storage = Storage::open(folder.path(), identity.clone()).expect("its own folder");
            }
            let [_, before, _] = stored(&storage);
            assert!(before > 0, "they are removed in portions");
            assert_eq!((storage.groups().expect("readable"), storage.removed_groups()), (vec![], vec![REMOVED]));
            assert!(matches!(storage.recover(REMOVED), Err(StorageError::Refused { .. })));
            let error = storage.commit(std::slice::from_ref(&filled)).expect_err("its number is never used again");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            other(&mut storage);
            assert!(stored(&storage)[1] < before);
            storage.commit(std::slice::from_ref(&removal)).expect("again");
        }
        // While nothing is written, commits without batches delete the rest.
        for restart in [false, true] {
            if restart {
                std::mem::drop(storage);
                storage = Storage::open(folder.path(), identity.clone()).expect("its own folder");
            }
            assert!(storage.has_leftovers());
            while storage.has_leftovers() {
                storage.commit(&[]).expect("it deletes some");
            }
            assert_eq!(stored(&storage), [0, 0, 1]);
            assert!(!storage.groups.contains_key(&REMOVED), "later commits do not look at it");
        }
        storage.commit(std::slice::from_ref(&filled)).expect_err("its number is never used again");
        storage.commit(&[removal]).expect("again");
        assert_eq!(storage.removed_groups(), [REMOVED]);
    }

    #[test]
    fn a_commit_after_a_start_looks_at_some_of_many_removed_groups() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = Identity { cluster: "orchard".into(), node: 3, founders: [3].into() };
        let mut storage = Storage::open(folder.path(), identity.clone()).expect("a new folder");
        let removed = 1..=MAX_EXTRA_REMOVALS as GroupId;
        let batch = |group, remove| Batch { group, remove, ..Batch::default() };
        let hold = Some(Duration::from_secs(1));
        let created = removed.clone().map(|group| Batch { longest_hold: hold, ..batch(group, false) });
        storage.commit(&created.collect::<Vec<_>>()).expect("committed");
        storage.commit(&removed.clone().map(|group| batch(group, true)).collect::<Vec<_>>()).expect("removed");
        std::mem::drop(storage);
        let mut storage = Storage::open(folder.path(), identity).expect("its own folder");
        for left in [MAX_EXTRA_REMOVALS / 2, 0] {
            storage.commit(&[Batch { longest_hold: hold, ..Batch::default() }]).expect("another group");
            assert_eq!(storage.groups.len(), left + 1);
        }
        assert!(storage.removed_groups().into_iter().eq(removed));
    }

    #[test]
    fn groups_with_records_to_remove_take_turns() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = Identity { cluster: "orchard".into(), node: 3, founders: [3].into() };
        let mut storage = Storage::open(folder.path(), identity).expect("a new folder");
        let batch = |group, changes| Batch { group, changes, ..Batch::default() };
        let put = |number| Change::Put(record(number));
        let many = |group| batch(group, (0..6 * MAX_EXTRA_REMOVALS).map(put).collect());
        storage.commit(&[many(0), many(7)]).expect("committed");
        storage.commit(&[batch(0, vec![Change::Clear]), batch(7, vec![Change::Clear])]).expect("committed");
        for _ in 0..4 {
            storage.commit(&[batch(3, vec![put(1)])]).expect("committed");
        }
        for group in [0, 7] {
            let left = storage.keyspace.prefix(prefix(Table::State, group)).count();
            assert!((1..5 * MAX_EXTRA_REMOVALS).contains(&left), "group {group} has {left}");
        }
    }

    #[test]
    fn records_that_are_dropped_in_the_commit_that_adds_them_are_never_stored() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut storage =
            Storage::open(folder.path(), Identity { cluster: "orchard".into(), node: 3, founders: [3].into() })
                .expect("a new folder");
        let stage = |stage| Batch { stage: Some(stage), ..Batch::default() };
        storage.commit(&[stage(Stage::Add(vec![record(1)])), stage(Stage::Clear)]).expect("committed");
        assert_eq!(stored_records(&storage), 0);
        let add = |number| stage(Stage::Add(vec![record(number)]));
        storage.commit(&[add(2), stage(Stage::Clear), add(3), stage(Stage::Install), add(4)]).expect("committed");
        assert_eq!(storage.recover(0).expect("readable").records, [record(3)]);
    }

    #[test]
    fn changes_before_the_last_clear_of_their_group_are_skipped() {
        let put = Change::Put(Record { key: "k".into(), value: "v".into() });
        let batch = |group, changes: &[Change]| Batch { group, changes: changes.to_vec(), ..Batch::default() };
        let batches = [
            batch(0, &[put.clone(), Change::Clear, put.clone()]),
            batch(1, std::slice::from_ref(&put)),
            batch(0, &[Change::Clear, put.clone(), Change::Clear, put.clone()]),
            batch(0, &[put]),
        ];
        assert_eq!(superseded(&batches), [3, 0, 2, 0]);
    }
}
