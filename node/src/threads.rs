//! The threads that work for a node: one owns the disk, one does what takes time in proportion to the state, and some
//! apply the entries of a group.

use crate::commits::bytes_of;
use crate::ports::{Batch, Disk, GroupId, StateMachine};
use crate::snapshot::{Work, WorkResult};
use async_channel::{Receiver, Sender};
use leasehold_runtime::{Runtime, ThreadPolicy};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;

/// The largest number of batches in one transaction. It bounds how long the first of them waits.
const MAX_BATCHES: usize = 256;
/// The bytes of a transaction beyond which no further batch joins it. A slow disk must show progress within a hold.
const MAX_BATCH_BYTES: usize = 16 << 20;

/// A thread of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thread {
    /// It owns the disk.
    Disk,
    /// It does what takes time in proportion to the state.
    Snapshots,
    /// It applies the entries of a group.
    Apply(GroupId),
}

impl Thread {
    fn name(self) -> &'static str {
        match self {
            Thread::Disk => "disk",
            Thread::Snapshots => "snapshots",
            Thread::Apply(_) => "apply",
        }
    }

    /// Starts it. It is reported to have ended if that fails.
    pub(crate) fn start<R: Runtime, M: StateMachine, F: Future<Output = ()> + Send + 'static>(
        self,
        runtime: &R,
        reports: &Sender<Report<M>>,
        run: impl FnOnce(Reporter<M>) -> F,
    ) -> io::Result<()> {
        let reporter = Reporter { thread: self, reports: reports.clone() };
        runtime.spawn_thread(self.name(), ThreadPolicy::Batch, run(reporter))
    }
}

/// A commit for the disk's thread. One of number 0 has no batches: it deletes a portion of what is left.
pub(crate) struct Commit {
    pub(crate) number: u64,
    pub(crate) batches: Vec<Batch>,
}

/// A report of a thread that works for the node.
pub(crate) enum Report<M: StateMachine> {
    /// The commits through this number are durable, or the disk failed.
    Committed(io::Result<u64>),
    /// The disk has data left to delete from now on, or has none any more.
    Leftovers(bool),
    /// Work is done.
    Work(WorkResult<M>),
    /// The thread has ended.
    Ended(Thread),
}

/// Sends a thread's reports. Its drop reports the thread's end, even after a panic.
pub(crate) struct Reporter<M: StateMachine> {
    thread: Thread,
    reports: Sender<Report<M>>,
}

impl<M: StateMachine> Reporter<M> {
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
    let mut has_leftovers = false;
    loop {
        let had_leftovers = std::mem::replace(&mut has_leftovers, disk.has_leftovers());
        if has_leftovers != had_leftovers {
            reporter.send(Report::Leftovers(has_leftovers));
        }
        let Ok(Commit { mut number, mut batches }) = commits.recv().await else { break };
        let mut bytes: usize = batches.iter().map(bytes_of).sum();
        while batches.len() < MAX_BATCHES
            && bytes < MAX_BATCH_BYTES
            && let Ok(next) = commits.try_recv()
        {
            number = number.max(next.number);
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

/// The queues of the threads that work for a node, except the disk's.
pub(crate) struct Workers<R: Runtime, M: StateMachine> {
    runtime: R,
    reports: Sender<Report<M>>,
    snapshots: Sender<Work<M>>,
    /// Of the groups that apply on threads of their own, once they had something to apply.
    appliers: BTreeMap<GroupId, Sender<Work<M>>>,
}

impl<R: Runtime, M: StateMachine> Workers<R, M> {
    pub(crate) fn start(runtime: R, reports: Sender<Report<M>>) -> io::Result<Workers<R, M>> {
        let (snapshots, queue) = async_channel::unbounded();
        Thread::Snapshots.start(&runtime, &reports, |reporter| work_all(reporter, queue))?;
        Ok(Workers { runtime, reports, snapshots, appliers: BTreeMap::new() })
    }

    /// Passes work to its thread. A thread that ends before the node's task reports it.
    pub(crate) fn pass(&mut self, work: Work<M>) {
        let Work::Apply(applying) = &work else { return drop(self.snapshots.try_send(work)) };
        let group = applying.group();
        let applier = self.appliers.entry(group).or_insert_with(|| {
            let (sender, queue) = async_channel::unbounded();
            if let Err(error) =
                Thread::Apply(group).start(&self.runtime, &self.reports, |reporter| work_all(reporter, queue))
            {
                tracing::error!(group, "no thread could be started to apply the entries of a group: {error}");
            }
            sender
        });
        drop(applier.try_send(work));
    }

    /// Ends the thread of a group. It may still be busy.
    pub(crate) fn end_applier(&mut self, group: GroupId) {
        self.appliers.remove(&group);
    }

    /// Lets all threads end once they are idle.
    pub(crate) fn close(&mut self) {
        self.snapshots.close();
        self.appliers.clear();
    }
}

/// Runs work that takes time in proportion to the state or may block, one piece after another.
pub(crate) async fn work_all<M: StateMachine>(reporter: Reporter<M>, work: Receiver<Work<M>>) {
    while let Ok(work) = work.recv().await {
        if let Some(result) = work.run()
            && !reporter.send(Report::Work(result))
        {
            break;
        }
    }
}
