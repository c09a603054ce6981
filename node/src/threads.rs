//! The threads that work for a node: one owns the disk, one does what takes time in proportion to the state.

use crate::commits::bytes_of;
use crate::ports::{Batch, Disk, StateMachine};
use crate::snapshot::{Work, WorkResult};
use async_channel::{Receiver, Sender};
use std::io;

/// The largest number of batches in one transaction. It bounds how long the first of them waits.
const MAX_BATCHES: usize = 256;
/// The bytes of a transaction beyond which no further batch joins it. A slow disk must show progress within a hold.
const MAX_BATCH_BYTES: usize = 16 << 20;

/// The name of the thread that owns the disk.
pub(crate) const DISK: &str = "disk";
/// The name of the thread that does what takes time in proportion to the state.
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// A commit for the disk's thread.
pub(crate) struct Commit {
    pub(crate) number: u64,
    pub(crate) batches: Vec<Batch>,
}

/// A report of a thread that works for the node.
pub(crate) enum Report<M: StateMachine> {
    /// The commits through this number are durable, or the disk failed.
    Committed(io::Result<u64>),
    /// Work is done.
    Work(WorkResult<M>),
    /// The thread of this name has ended.
    Ended(&'static str),
}

/// Sends a thread's reports. Its drop reports the thread's end, even after a panic.
pub(crate) struct Reporter<M: StateMachine> {
    thread: &'static str,
    reports: Sender<Report<M>>,
}

impl<M: StateMachine> Reporter<M> {
    pub(crate) fn new(thread: &'static str, reports: Sender<Report<M>>) -> Reporter<M> {
        Reporter { thread, reports }
    }

    /// Returns false if the node's task has ended.
    fn send(&self, report: Report<M>) -> bool {
        self.reports.try_send(report).is_ok()
    }
}

impl<M: StateMachine> Drop for Reporter<M> {
    fn drop(&mut self) {
        self.send(Report::Ended(self.thread));
    }
}

/// Commits until `commits` is closed and empty, or until the first error. The reporter is dropped last, so the end is
/// reported once the disk is closed.
pub(crate) async fn commit_all<D: Disk, M: StateMachine>(
    reporter: Reporter<M>,
    mut disk: D,
    commits: Receiver<Commit>,
) {
    while let Ok(Commit { mut number, mut batches }) = commits.recv().await {
        let mut bytes: usize = batches.iter().map(bytes_of).sum();
        while batches.len() < MAX_BATCHES
            && bytes < MAX_BATCH_BYTES
            && let Ok(next) = commits.try_recv()
        {
            number = next.number;
            bytes += next.batches.iter().map(bytes_of).sum::<usize>();
            batches.extend(next.batches);
        }
        let outcome = disk.commit(&batches).map(|()| number);
        let failed = outcome.is_err();
        if !reporter.send(Report::Committed(outcome)) || failed {
            break;
        }
    }
}

/// Runs work that takes time in proportion to the state, one piece after another.
pub(crate) async fn work_all<M: StateMachine>(reporter: Reporter<M>, work: Receiver<Work<M>>) {
    while let Ok(work) = work.recv().await {
        if let Some(result) = work.run()
            && !reporter.send(Report::Work(result))
        {
            break;
        }
    }
}
