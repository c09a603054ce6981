//! The commits that were handed to the disk and are not durable yet: their order, their size, and the time since the
//! disk last finished one.

use crate::ports::{Batch, Change, GroupId, Stage};
use crate::status::DiskStatistics;
use crate::stopwatch::Stopwatch;
use crate::wire::RequestId;
use leasehold_core::{Index, Reading};
use leasehold_raft::wire::Payload;
use std::collections::VecDeque;
use std::time::Duration;

/// The bytes of commits that are not durable yet beyond which the node takes no more entries. The memory of a node
/// whose disk hangs stays within this and a little more.
const MAX_COMMIT_BYTES: usize = 128 << 20;
/// An estimate of the memory that an entry or a change takes, beyond its content.
const ITEM_BYTES: usize = 64;
/// The time without a finished commit after which a disk is reported.
const SILENT_DISK_TIMEOUT: Duration = Duration::from_secs(2);

/// A batch of a commit: its group, the replica's number, and the applied position and the chunk of a transfer in it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) group: GroupId,
    pub(crate) number: u64,
    pub(crate) applied: Option<Index>,
    pub(crate) staged: Option<(RequestId, u64)>,
    /// The mark in it that the log may be cut.
    pub(crate) cut: bool,
    /// It removes the group.
    pub(crate) removes: bool,
}

#[derive(Debug)]
struct InFlight {
    number: u64,
    parts: Vec<Part>,
    bytes: usize,
}

/// The commits in flight, in order.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    in_flight: VecDeque<InFlight>,
    bytes: usize,
    newest: u64,
    stopwatch: Stopwatch,
    /// The time at which the disk last finished a commit or began with one, while it has one.
    since: Duration,
    silent_for: Duration,
    is_reported: bool,
    appends_withheld: u64,
}

impl Commits {
    /// Adds a commit and returns its number.
    pub(crate) fn push(&mut self, now: Reading, parts: Vec<Part>, batches: &[Batch]) -> u64 {
        let now = self.stopwatch.at(now);
        if self.in_flight.is_empty() {
            self.since = now;
        }
        self.newest += 1;
        let bytes = batches.iter().map(bytes_of).sum();
        self.bytes += bytes;
        self.in_flight.push_back(InFlight { number: self.newest, parts, bytes });
        self.newest
    }

    /// Notes that the commits through `number` are durable.
    pub(crate) fn note_durable(&mut self, now: Reading) {
        self.since = self.stopwatch.at(now);
    }

    /// Removes the first commit if its number is at most `number`, and returns its parts.
    pub(crate) fn pop_through(&mut self, number: u64) -> Option<Vec<Part>> {
        let commit = self.in_flight.pop_front_if(|commit| commit.number <= number)?;
        self.bytes -= commit.bytes;
        Some(commit.parts)
    }

    /// Returns true if so much waits for the disk that the node must take no more entries.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > MAX_COMMIT_BYTES
    }

    /// Counts appends that were withheld because the disk had too much to do.
    pub(crate) fn count_withheld(&mut self, appends: usize) {
        self.appends_withheld += appends as u64;
    }

    /// Looks at the time, once per `tick`, and logs when the disk falls silent and when it answers again.
    pub(crate) fn handle_timeout(&mut self, now: Reading, tick: Duration) {
        let now = self.stopwatch.at_timer(now, tick);
        let silent = if self.in_flight.is_empty() { Duration::ZERO } else { now.saturating_sub(self.since) };
        let before = std::mem::replace(&mut self.silent_for, silent);
        if silent >= SILENT_DISK_TIMEOUT && !self.is_reported {
            self.is_reported = true;
            tracing::warn!(
                "the disk has finished no write for {} ms, and {} writes of {} KiB wait: this node acknowledges nothing \
                 until it answers; check the disk of the data folder",
                silent.as_millis(),
                self.in_flight.len(),
                self.bytes >> 10
            );
        } else if self.is_reported && silent < before {
            self.is_reported = false;
            tracing::info!("the disk answers again after about {} ms", before.as_millis());
        }
    }

    pub(crate) fn statistics(&self) -> DiskStatistics {
        DiskStatistics {
            silent_for: self.silent_for,
            pending_bytes: self.bytes,
            appends_withheld: self.appends_withheld,
        }
    }
}

/// Returns about how much memory a batch takes.
pub(crate) fn bytes_of(batch: &Batch) -> usize {
    let entries = batch.entries.iter().map(|entry| match &entry.payload {
        Payload::Command(command) => command.len(),
        Payload::Change(_) => 0,
    });
    let changes = batch.changes.iter().map(|change| match change {
        Change::Put(record) => record.key.len() + record.value.len(),
        Change::Delete(key) => key.len(),
        Change::Clear => 0,
    });
    let staged = match &batch.stage {
        Some(Stage::Add(records)) => records.as_slice(),
        _ => &[],
    };
    let staged = staged.iter().map(|record| record.key.len() + record.value.len());
    entries.chain(changes).chain(staged).map(|bytes| bytes + ITEM_BYTES).sum()
}
