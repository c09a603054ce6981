//! Writing: one batch in the journal for all that becomes durable together.

use crate::error::Fault;
use crate::folder::Storage;
use crate::group::Group;
use crate::journal::CommitRecord;
use crate::tables::{
    APPLIED, At, COMMIT, COMPACTED, Encoding, HARD_STATE, LONGEST_HOLD, LONGEST_INLINE_KEY, Table, encode, inline_key,
    log_key, meta_key, numbered_key, numbered_value, prefix, starting_with,
};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode, Slice};
use leasehold_core::{Index, Term};
use leasehold_node::ports::{Applied, Batch, Change, Disk, GroupId, Record};
use leasehold_raft::wire::Entry;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use wincode::SchemaWrite;

/// How many compacted entries a commit removes beyond the number that it adds. A compaction drops many thousands at a time,
/// and removing them all in the commit that says so would delay it by tens of milliseconds; so they go little by little
/// with the commits after it.
const REMOVED_AT_ONCE: usize = 512;

impl Disk for Storage {
    fn commit(&mut self, batches: &[Batch]) -> io::Result<()> {
        self.write(batches).map_err(|fault| fault.in_folder(&self.path).into())
    }
}

/// What a commit writes, `None` to remove. One value a key: within a batch, fjall does not say which write comes last.
type Changes = BTreeMap<Slice, Option<Slice>>;

impl Storage {
    fn write(&mut self, batches: &[Batch]) -> Result<(), Fault> {
        let mut writer = Writer { keyspace: &self.keyspace, groups: &mut self.groups, changes: Changes::new() };
        let outcome = batches.iter().try_for_each(|batch| writer.write(batch)).map(|()| {
            writer.remove_stale(REMOVED_AT_ONCE + batches.iter().map(|batch| batch.entries.len()).sum::<usize>());
            writer.changes
        });
        let outcome = outcome.and_then(|changes| self.store(changes));
        if outcome.is_err() {
            // They may be ahead of what is stored now. Whoever comes next reads it again.
            self.groups.clear();
        }
        outcome?;
        self.check_in_place()
    }

    fn store(&mut self, changes: Changes) -> Result<(), Fault> {
        if changes.is_empty() {
            return Ok(());
        }
        let number = self.commits + 1;
        let batch = OwnedWriteBatch::with_capacity(self.database.clone(), changes.len() + 1);
        let mut batch = batch.durability(Some(PersistMode::SyncData));
        batch.insert(&self.keyspace, COMMIT, CommitRecord { number, salt: self.salt }.encode());
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        // From its first failure on, fjall accepts no more: nothing is acknowledged after what may be torn.
        batch.commit()?;
        self.commits = number;
        Ok(())
    }
}

struct Writer<'s> {
    keyspace: &'s Keyspace,
    groups: &'s mut BTreeMap<GroupId, Group>,
    changes: Changes,
}

impl Writer<'_> {
    fn write(&mut self, batch: &Batch) -> Result<(), Fault> {
        let id = batch.group;
        let group = match self.groups.entry(id) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(new) => new.insert(Group::load(self.keyspace, id)?),
        };
        let mut part = Part { id, group, keyspace: self.keyspace, changes: &mut self.changes };
        part.write(batch)
    }

    /// Removes up to `left` of the entries that were compacted, now or earlier. A commit of nothing is none for this either.
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

/// What a commit does to one group.
struct Part<'w> {
    id: GroupId,
    group: &'w mut Group,
    keyspace: &'w Keyspace,
    changes: &'w mut Changes,
}

impl Part<'_> {
    fn write(&mut self, batch: &Batch) -> Result<(), Fault> {
        if let Some(hard_state) = &batch.hard_state {
            self.put_meta(HARD_STATE, hard_state)?;
        }
        if batch.reset_log {
            let Some(applied) = &batch.applied else {
                return Err(self.refused("is reset without saying what is applied"));
            };
            self.reset(applied.index, applied.term)?;
        }
        if !batch.entries.is_empty() {
            self.append(&batch.entries)?;
        }
        for change in &batch.changes {
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
        Ok(())
    }

    /// Drops the whole log, which goes on after `index`.
    fn reset(&mut self, index: Index, term: Term) -> Result<(), Fault> {
        let mut stored: VecDeque<RangeInclusive<Index>> = std::mem::take(&mut self.group.stale);
        stored.push_back(self.group.compacted.saturating_add(1)..=self.group.last);
        (self.group.compacted, self.group.last) = (index, index);
        for entries in stored {
            let (first, last) = entries.into_inner();
            self.group.retire(first..=last.min(index));
            // Those after it would look like the log if they stayed.
            self.remove(first.max(index.saturating_add(1))..=last);
        }
        self.put_meta(COMPACTED, &(index, term))
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), Fault> {
        let Group { compacted, last, .. } = *self.group;
        let first = entries[0].index;
        if first <= compacted || first > last.saturating_add(1) {
            return Err(self.refused(&format!(
                "holds the entries after {compacted} through {last}, and entry {first} does not follow them"
            )));
        }
        for (entry, index) in entries.iter().zip(first..) {
            if entry.index != index {
                return Err(self.refused(&format!("gets entry {} where entry {index} should come", entry.index)));
            }
            let encoded = encode(At::Log(self.id, index), entry)?;
            self.changes.insert(log_key(self.id, index).into(), Some(encoded.into()));
            self.group.last = index;
        }
        // What was there before and is not overwritten.
        if let Some(next) = self.group.last.checked_add(1) {
            self.remove(next..=last);
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<(), Fault> {
        match change {
            Change::Put(record) if record.key.len() > LONGEST_INLINE_KEY => self.put_numbered(record)?,
            Change::Put(Record { key, value }) => {
                self.changes.insert(inline_key(self.id, key).into(), Some(value[..].into()));
            }
            Change::Delete(key) if key.len() > LONGEST_INLINE_KEY => {
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

    fn clear(&mut self) -> Result<(), Fault> {
        let all = starting_with(prefix(Table::State, self.id));
        for (_, pending) in self.changes.range_mut(Slice::from(&all.start)..Slice::from(&all.end)) {
            *pending = None;
        }
        for stored in self.keyspace.range(all) {
            self.changes.insert(stored.key()?, None);
        }
        self.group.numbered.clear();
        Ok(())
    }

    fn compact(&mut self, index: Index, term: Term) -> Result<(), Fault> {
        let Group { compacted, last, applied, .. } = *self.group;
        // One that a snapshot overtook has nothing left to drop.
        if index <= compacted {
            return Ok(());
        }
        if index > applied {
            return Err(self.refused(&format!("is compacted through {index}, but only {applied} is applied")));
        }
        self.group.retire(compacted + 1..=index.min(last));
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
