//! Writing: one transaction for all that becomes durable together.

use crate::Storage;
use crate::error::Fault;
use crate::tables::{
    APPLIED, At, COMPACTED, HARD_STATE, LOG, LONGEST_HOLD, META, STATE, encode, meta, whole_log, whole_state,
};
use leasehold_core::{Index, Term};
use leasehold_driver::{Applied, Batch, Change, Disk, GroupId};
use leasehold_raft::wire::{Entry, Membership};
use redb::{Durability, ReadableTable, Table, WriteTransaction};
use std::io;
use wincode::SchemaWrite;

impl Disk for Storage {
    fn commit(&mut self, batches: &[Batch]) -> io::Result<()> {
        self.write(batches).map_err(|fault| fault.in_folder(&self.path).into())
    }
}

impl Storage {
    fn write(&mut self, batches: &[Batch]) -> Result<(), Fault> {
        let mut transaction = self.database.begin_write()?;
        // The default too, but everything rests on it.
        transaction.set_durability(Durability::Immediate)?;
        // A transaction that is dropped on the way out of an error leaves nothing behind.
        let mut tables = Tables::open(&transaction)?;
        for batch in batches {
            tables.write(batch)?;
        }
        drop(tables);
        transaction.commit()?;
        self.check_in_place()
    }
}

struct Tables<'t> {
    log: Table<'t, (GroupId, Index), &'static [u8]>,
    state: Table<'t, (GroupId, &'static [u8]), &'static [u8]>,
    meta: Table<'t, (GroupId, &'static str), &'static [u8]>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Tables<'t>, Fault> {
        Ok(Tables {
            log: transaction.open_table(LOG)?,
            state: transaction.open_table(STATE)?,
            meta: transaction.open_table(META)?,
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<(), Fault> {
        let group = batch.group;
        if let Some(hard_state) = &batch.hard_state {
            self.put_meta(group, HARD_STATE, hard_state)?;
        }
        if batch.reset_log {
            let applied = batch.applied.as_ref().ok_or_else(|| {
                Fault::Refused(format!("the log of group {group} is reset without saying what is applied"))
            })?;
            self.log.retain_in(whole_log(group), |_, _| false)?;
            self.put_meta(group, COMPACTED, &(applied.index, applied.term))?;
        }
        if !batch.entries.is_empty() {
            self.append(group, &batch.entries)?;
        }
        for change in &batch.changes {
            self.change(group, change)?;
        }
        if let Some(Applied { index, term, membership }) = &batch.applied {
            self.put_meta(group, APPLIED, &(*index, *term, membership.clone()))?;
        }
        if let Some(through) = batch.compact_through {
            self.compact(group, through)?;
        }
        if let Some(hold) = &batch.longest_hold {
            self.put_meta(group, LONGEST_HOLD, hold)?;
        }
        Ok(())
    }

    fn append(&mut self, group: GroupId, entries: &[Entry]) -> Result<(), Fault> {
        let first = entries[0].index;
        let (compacted, _) = self.compacted(group)?;
        let last = self.last_index(group)?.unwrap_or(compacted);
        if first <= compacted || first > last.saturating_add(1) {
            return Err(Fault::Refused(format!(
                "entry {first} does not follow the log of group {group}, which holds those after {compacted} through {last}"
            )));
        }
        if first <= last {
            self.log.retain_in((group, first)..=(group, last), |_, _| false)?;
        }
        for (entry, index) in entries.iter().zip(first..) {
            if entry.index != index {
                return Err(Fault::Refused(format!(
                    "entry {} of group {group} comes where entry {index} should",
                    entry.index
                )));
            }
            self.log.insert((group, index), encode(At::Log(group, index), entry)?.as_slice())?;
        }
        Ok(())
    }

    fn change(&mut self, group: GroupId, change: &Change) -> Result<(), Fault> {
        match change {
            Change::Put(record) => {
                self.state.insert((group, &record.key[..]), &record.value[..])?;
            }
            Change::Delete(key) => {
                self.state.remove((group, &key[..]))?;
            }
            Change::Clear => self.state.retain_in(whole_state(group), |_, _| false)?,
        }
        Ok(())
    }

    fn compact(&mut self, group: GroupId, (index, term): (Index, Term)) -> Result<(), Fault> {
        // One that a snapshot overtook has nothing left to drop.
        if index <= self.compacted(group)?.0 {
            return Ok(());
        }
        let applied: Option<(Index, Term, Membership)> = meta(&self.meta, group, APPLIED)?;
        let applied = applied.map_or(0, |(index, _, _)| index);
        if index > applied {
            return Err(Fault::Refused(format!(
                "the log of group {group} is compacted through {index}, but only {applied} is applied"
            )));
        }
        self.log.retain_in((group, Index::MIN)..=(group, index), |_, _| false)?;
        self.put_meta(group, COMPACTED, &(index, term))
    }

    fn compacted(&self, group: GroupId) -> Result<(Index, Term), Fault> {
        Ok(meta(&self.meta, group, COMPACTED)?.unwrap_or_default())
    }

    fn last_index(&self, group: GroupId) -> Result<Option<Index>, Fault> {
        Ok(self.log.range(whole_log(group))?.next_back().transpose()?.map(|(key, _)| key.value().1))
    }

    fn put_meta<T>(&mut self, group: GroupId, name: &'static str, value: &T) -> Result<(), Fault>
    where
        T: SchemaWrite<crate::tables::Encoding, Src = T>,
    {
        self.meta.insert((group, name), encode(At::Meta(group, name), value)?.as_slice())?;
        Ok(())
    }
}
