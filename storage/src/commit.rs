//! Writing: all batches of a commit become one fjall batch in the journal.

use crate::error::Fault;
use crate::folder::Storage;
use crate::group::Group;
use crate::journal::CommitRecord;
use crate::tables::{
    APPLIED, At, COMMIT, COMPACTED, Encoding, HARD_STATE, LOG_MAY_BE_CUT, LONGEST_HOLD, MAX_INLINE_KEY_BYTES, Table,
    encode, inline_key, log_key, meta_key, numbered_key, numbered_value, prefix, starting_with,
};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode, Slice};
use leasehold_core::{Index, Term};
use leasehold_node::ports::{Applied, Batch, Change, Disk, GroupId, Record};
use leasehold_raft::wire::Entry;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use wincode::SchemaWrite;

/// The number of compacted entries that a commit removes beyond the number that it adds. A compaction drops many
/// thousands, and removing all of them in one commit would delay it by tens of milliseconds. So the following commits
/// remove them in portions.
const MAX_EXTRA_REMOVALS: usize = 512;

impl Disk for Storage {
    fn commit(&mut self, batches: &[Batch]) -> io::Result<()> {
        self.write(batches).map_err(|fault| fault.in_folder(&self.path).into())
    }
}

/// The writes of a commit; `None` removes a key. A map, because fjall does not define which of two writes to a key wins
/// within a batch.
type Changes = BTreeMap<Slice, Option<Slice>>;

impl Storage {
    fn write(&mut self, batches: &[Batch]) -> Result<(), Fault> {
        let number = self.newest_file.newest().commit + 1;
        let mut writer = Writer { number, keyspace: &self.keyspace, groups: &mut self.groups, changes: Changes::new() };
        let superseded = superseded(batches);
        let outcome =
            batches.iter().zip(superseded).try_for_each(|(batch, skip)| writer.write(batch, skip)).map(|()| {
                writer
                    .remove_stale(MAX_EXTRA_REMOVALS + batches.iter().map(|batch| batch.entries.len()).sum::<usize>());
                writer.changes
            });
        let outcome = outcome.and_then(|changes| self.store(number, changes));
        if outcome.is_err() {
            // They may be ahead of what is stored. The next commit loads them again.
            self.groups.clear();
        }
        outcome?;
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

/// Returns for each batch how many of its changes come before the last clear of its group, and so have no effect. A
/// clear reads the key of every stored record, so a commit must not do it twice.
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
    changes: Changes,
}

impl Writer<'_> {
    /// Writes a batch without the first `superseded` of its changes.
    fn write(&mut self, batch: &Batch, superseded: usize) -> Result<(), Fault> {
        let id = batch.group;
        let group = match self.groups.entry(id) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(new) => new.insert(Group::load(self.keyspace, id)?),
        };
        let mut writer =
            GroupWriter { id, number: self.number, group, keyspace: self.keyspace, changes: &mut self.changes };
        writer.write(batch, superseded)
    }

    /// Removes up to `left` compacted entries. A commit that changes nothing removes none, so that it need not be
    /// written.
    fn remove_stale(&mut self, mut left: usize) {
        if self.changes.is_empty() {
            return;
        }
        for (&id, group) in self.groups.iter_mut() {
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
        }
    }
}

/// The writes of a commit to one group.
struct GroupWriter<'w> {
    id: GroupId,
    number: u64,
    group: &'w mut Group,
    keyspace: &'w Keyspace,
    changes: &'w mut Changes,
}

impl GroupWriter<'_> {
    fn write(&mut self, batch: &Batch, superseded: usize) -> Result<(), Fault> {
        if let Some(hard_state) = &batch.hard_state {
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
        Ok(())
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
            Change::Put(record) if record.key.len() > MAX_INLINE_KEY_BYTES => self.put_numbered(record)?,
            Change::Put(Record { key, value }) => {
                self.changes.insert(inline_key(self.id, key).into(), Some(value[..].into()));
            }
            Change::Delete(key) if key.len() > MAX_INLINE_KEY_BYTES => {
                if let Some(number) = self.group.numbered.remove(key) {
                    self.changes.insert(numbered_key(self.id, number).into(), None);
                }
            }
            Change::Delete(key) => {
                self.changes.insert(inline_key(self.id, key).into(), None);
            }
            Change::Clear => self.clear()?,
        }
        Ok(())
    }

    fn put_numbered(&mut self, record: &Record) -> Result<(), Fault> {
        let group = &mut *self.group;
        let number = *group.numbered.entry(record.key.clone()).or_insert_with(|| {
            group.next_number += 1;
            group.next_number - 1
        });
        self.changes.insert(numbered_key(self.id, number).into(), Some(numbered_value(record)?.into()));
        Ok(())
    }

    /// Removes every stored record. Changes that come before it in the commit were skipped.
    fn clear(&mut self) -> Result<(), Fault> {
        for stored in self.keyspace.range(starting_with(prefix(Table::State, self.id))) {
            self.changes.insert(stored.key()?, None);
        }
        self.group.numbered.clear();
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_before_the_last_clear_of_their_group_are_skipped() {
        let put = Change::Put(Record { key: "k".into(), value: "v".into() });
        let batch = |group, changes: &[Change]| Batch { group, changes: changes.to_vec(), ..Batch::default() };
        let batches = [
            batch(0, &[put.clone(), Change::Clear, put.clone()]),
            batch(1, &[put.clone()]),
            batch(0, &[Change::Clear, put.clone(), Change::Clear, put.clone()]),
            batch(0, &[put]),
        ];
        assert_eq!(superseded(&batches), [3, 0, 2, 0]);
    }
}
