//! An in-memory disk that outlives the process that writes to it.

use leasehold_core::Index;
use leasehold_node::ports::{Batch, Change, Disk, Record, Recovered, Stage};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

/// An in-memory disk. Clones share their contents, so that a killed node can be restarted from the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    /// The durable state, and the staged records.
    holds: Arc<Mutex<(Recovered, Vec<Record>)>>,
}

impl MemoryDisk {
    /// Returns the state that a node starting from this disk recovers.
    pub fn recovered(&self) -> Recovered {
        let mut holds = self.holds.lock();
        holds.1.clear();
        holds.0.clone()
    }
}

impl Disk for MemoryDisk {
    fn commit(&mut self, batches: &[Batch]) -> io::Result<()> {
        let mut holds = self.holds.lock();
        batches.iter().for_each(|batch| write(&mut holds, batch));
        Ok(())
    }
}

fn write((holds, staged): &mut (Recovered, Vec<Record>), batch: &Batch) {
    let Batch {
        group: _,
        hard_state,
        reset_log,
        entries,
        stage,
        changes,
        applied,
        compact_through,
        longest_hold,
        log_may_be_cut,
        orderly_stop,
        remove: _,
    } = batch;
    if let Some(hard_state) = hard_state {
        holds.hard_state = *hard_state;
    }
    if *reset_log {
        let applied = applied.as_ref().expect("a log is reset to what is applied");
        holds.entries.clear();
        holds.compacted = (applied.index, applied.term);
    }
    if let Some(first) = entries.first() {
        holds.entries.truncate(position(holds, first.index));
        let next = holds.entries.last().map_or(holds.compacted.0, |last| last.index) + 1;
        assert_eq!(first.index, next, "entries follow the log");
        holds.entries.extend_from_slice(entries);
    }
    match stage {
        Some(Stage::Clear) => staged.clear(),
        Some(Stage::Add(records)) => records.iter().for_each(|record| put(staged, record)),
        Some(Stage::Install) => holds.records = std::mem::take(staged),
        None => {}
    }
    for change in changes {
        match change {
            Change::Put(record) => put(&mut holds.records, record),
            Change::Delete(key) => holds.records.retain(|record| record.key != *key),
            Change::Clear => holds.records.clear(),
        }
    }
    if let Some(applied) = applied {
        holds.applied = applied.clone();
    }
    if let Some((index, term)) = *compact_through
        && index > holds.compacted.0
    {
        holds.entries.drain(..position(holds, index + 1));
        holds.compacted = (index, term);
    }
    if let Some(hold) = longest_hold {
        holds.longest_hold = *hold;
    }
    if let Some(cut) = log_may_be_cut {
        holds.log_may_be_cut = *cut;
    }
    if let Some(stop) = orderly_stop {
        holds.orderly_stop = *stop;
    }
}

/// Returns the number of stored entries before `index`.
fn position(holds: &Recovered, index: Index) -> usize {
    holds.entries.partition_point(|entry| entry.index < index)
}

fn put(records: &mut Vec<Record>, new: &Record) {
    match records.binary_search_by(|record| record.key.cmp(&new.key)) {
        Ok(at) => records[at] = new.clone(),
        Err(at) => records.insert(at, new.clone()),
    }
}
