//! Recovery: reading a group and checking that an ordered writer could have written it.

use crate::error::{Fault, StorageError, reading};
use crate::folder::Storage;
use crate::group::{self, group_numbers};
use crate::tables::{
    APPLIED, At, COMPACTED, GENERATION, HARD_STATE, LOG_MAY_BE_CUT, LONGEST_HOLD, ORDERLY_STOP, decode,
    generation_keys, index_of, log_key, meta, record,
};
use fjall::Keyspace;
use leasehold_core::{Index, Term};
use leasehold_node::ports::{Applied, GroupId, Record, Recovered, State};
use leasehold_raft::wire::{Entry, HardState, Membership};
use std::time::Duration;

impl Storage {
    /// Returns the groups that have anything in the folder and were not removed, in order. A node must be started with each
    /// of them, or never host it again.
    ///
    /// # Errors
    /// As [`recover_as`](Storage::recover_as).
    pub fn groups(&self) -> Result<Vec<GroupId>, StorageError> {
        let mut groups = reading(|| group_numbers(&self.keyspace)).map_err(|fault| fault.in_folder(&self.path))?;
        groups.retain(|group| !self.removed.contains(group));
        Ok(groups)
    }

    /// Returns the groups that were removed from this node, in order. It can never host them again.
    pub fn removed_groups(&self) -> Vec<GroupId> {
        self.removed.iter().copied().collect()
    }

    /// Returns the state of `group` after the last durable commit, with its records in the order of their keys; the
    /// default for a group never written.
    ///
    /// # Errors
    /// As [`recover_as`](Storage::recover_as).
    pub fn recover(&self, group: GroupId) -> Result<Recovered, StorageError> {
        let mut recovered: Recovered<Vec<Record>> = self.recover_as(group, Vec::new())?;
        // Records with long keys are stored after the others.
        recovered.records.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(recovered)
    }

    /// Returns the state of `group` after the last durable commit, with its records in `state`, into which each is
    /// read as it is found.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if no ordered writer could have written it: start no replica from it.
    /// [`StorageError::Io`] if it cannot be read. [`StorageError::Refused`] if the group was removed.
    pub fn recover_as<S: State>(&self, group: GroupId, state: S) -> Result<Recovered<S>, StorageError> {
        let (recovered, records) = reading(|| self.read(group, state)).map_err(|fault| fault.in_folder(&self.path))?;
        tracing::info!(
            group,
            term = recovered.hard_state.term,
            commit = recovered.hard_state.commit,
            applied = recovered.applied.index,
            compacted = recovered.compacted.0,
            entries = recovered.entries.len(),
            records,
            "recovered from the data folder"
        );
        Ok(recovered)
    }

    /// Returns the state of a group, and the number of its records.
    fn read<S: State>(&self, group: GroupId, mut records: S) -> Result<(Recovered<S>, u64), Fault> {
        if self.removed.contains(&group) {
            return Err(group::removed(group));
        }
        let hard_state: Option<HardState> = meta(&self.keyspace, group, HARD_STATE)?;
        let compacted: (Index, Term) = meta(&self.keyspace, group, COMPACTED)?.unwrap_or_default();
        let applied: Option<(Index, Term, Membership)> = meta(&self.keyspace, group, APPLIED)?;
        let (index, term, membership) = applied.unwrap_or_default();
        let longest_hold = meta(&self.keyspace, group, LONGEST_HOLD)?.unwrap_or_default();
        let first_after_loss = self.newest_file.newest().first_after_loss;
        let log_may_be_cut = match meta::<(bool, u64)>(&self.keyspace, group, LOG_MAY_BE_CUT)? {
            Some((may_be_cut, commit)) => may_be_cut || commit < first_after_loss,
            None => first_after_loss > 0,
        };
        let orderly_stop: Option<Option<Duration>> = meta(&self.keyspace, group, ORDERLY_STOP)?;
        let orderly_stop = orderly_stop.flatten();
        let entries = read_entries(&self.keyspace, group, compacted)?;
        let applied = Applied { index, term, membership };
        check(hard_state, compacted, &entries, &applied)
            .map_err(|detail| Fault::Damaged(format!("group {group} (tables log and meta): {detail}")))?;

        let generation = meta(&self.keyspace, group, GENERATION)?.unwrap_or_default();
        let mut count = 0;
        for stored in self.keyspace.prefix(generation_keys(group, generation)) {
            let (key, value) = stored.into_inner()?;
            let (_, record) = record(group, &key, &value)?;
            records.insert(record).map_err(|error| Fault::Damaged(format!("group {group} (table state): {error}")))?;
            count += 1;
        }
        let hard_state = hard_state.unwrap_or_default();
        let recovered =
            Recovered { hard_state, compacted, entries, applied, records, longest_hold, log_may_be_cut, orderly_stop };
        Ok((recovered, count))
    }
}

fn read_entries(keyspace: &Keyspace, group: GroupId, compacted: (Index, Term)) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new();
    let (mut last, mut term) = compacted;
    // Older entries are compacted but not removed yet.
    let Some(first) = last.checked_add(1) else { return Ok(entries) };
    for stored in keyspace.range(log_key(group, first)..=log_key(group, Index::MAX)) {
        let (key, bytes) = stored.into_inner()?;
        let index = index_of(group, &key)?;
        let at = At::Log(group, index);
        let entry: Entry = decode(at, &bytes)?;
        if last.checked_add(1) != Some(index) {
            return Err(Fault::Damaged(format!("{at} directly follows entry {last}")));
        }
        if entry.index != index {
            return Err(Fault::Damaged(format!("{at} contains entry {}", entry.index)));
        }
        if entry.term < term {
            return Err(Fault::Damaged(format!("{at} has term {}, after one of term {term}", entry.term)));
        }
        (last, term) = (entry.index, entry.term);
        entries.push(entry);
    }
    Ok(entries)
}

/// Checks what holds after every commit of an ordered writer: it writes entries before the commit index that covers
/// them, the commit index before the records that depend on it, and those before the compaction.
fn check(
    hard_state: Option<HardState>,
    compacted: (Index, Term),
    entries: &[Entry],
    applied: &Applied,
) -> Result<(), String> {
    let last = entries.last().map_or(compacted.0, |entry| entry.index);
    let last_term = entries.last().map_or(compacted.1, |entry| entry.term);
    if applied.index < compacted.0 {
        return Err(format!("the log was compacted through {}, but only {} is applied", compacted.0, applied.index));
    }
    if applied.index > last {
        return Err(format!("{} is applied, but the log ends at {last}", applied.index));
    }
    let term_there = match applied.index - compacted.0 {
        0 => compacted.1,
        // Entries are consecutive, and `applied` is not beyond the last.
        offset => usize::try_from(offset - 1).ok().and_then(|at| entries.get(at)).map_or(applied.term, |e| e.term),
    };
    if applied.term != term_there {
        return Err(format!(
            "entry {} was applied with term {}, but the log has it with term {term_there}",
            applied.index, applied.term
        ));
    }
    // A node that was prepared with a state and has not run yet has no hard state.
    let Some(HardState { term, commit, .. }) = hard_state else {
        return if entries.is_empty() { Ok(()) } else { Err("there is a log but no hard state".to_owned()) };
    };
    if commit > last {
        return Err(format!("{commit} is committed, but the log ends at {last}"));
    }
    if commit < applied.index {
        return Err(format!("{} is applied, but only {commit} is committed", applied.index));
    }
    if term < last_term {
        return Err(format!("the log ends in term {last_term}, but the newest term seen is {term}"));
    }
    Ok(())
}
