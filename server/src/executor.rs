//! Executes reads and writes: here if this node leads, else by whoever does.

use crate::counters::Counters;
use crate::follower::ReadIndexes;
use crate::forward::{Forwarder, PeerAnswer, PeerRequest};
use crate::keyspace::{Keyspace, ReadCommand, Reply, View, WriteCommand};
use bytes::Bytes;
use futures::future::{Either, select};
use leasehold_clock::Clock;
use leasehold_core::{NodeId, Reading};
use leasehold_driver::{Handle, ReadError, ReadGrant, Runtime, Status, WriteError};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a command waits for a leader and its answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a forwarded write still waits for its answer when another node than the one asked leads. The old leader, if
/// it lives, learns that it was deposed and says so.
const LATE_ANSWER: Duration = Duration::from_secs(1);
/// How long to wait for news of a leader before trying again all the same.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a node did not execute what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was executed, nor will be; try again, perhaps elsewhere.
    NotExecuted,
    /// This node stops; nothing was executed.
    Stopping,
    /// Too much waits already; nothing was executed. Whoever sends should slow down.
    Busy,
    /// A write may be executed, now or later, or never.
    Uncertain,
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        match error {
            ReadError::NotLeader | ReadError::TimedOut => Failure::NotExecuted,
            ReadError::Overloaded => Failure::Busy,
            ReadError::Stopping => Failure::Stopping,
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        match error {
            WriteError::NotLeader => Failure::NotExecuted,
            WriteError::Overloaded => Failure::Busy,
            WriteError::Stopping => Failure::Stopping,
            WriteError::Uncertain => Failure::Uncertain,
        }
    }
}

/// The parts that an executor is made of.
pub(crate) struct Parts<R> {
    pub(crate) runtime: R,
    pub(crate) node: NodeId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) handle: Handle<Keyspace>,
    pub(crate) view: View,
    pub(crate) forwarder: Arc<Forwarder>,
}

/// Executes commands for every connection and peer of a node.
pub(crate) struct Executor<R> {
    parts: Parts<R>,
    read_indexes: Arc<ReadIndexes<R>>,
    pub(crate) counters: Counters,
}

impl<R: Runtime> Executor<R> {
    pub(crate) fn new(parts: Parts<R>) -> Self {
        let read_indexes = ReadIndexes::new(parts.runtime.clone(), parts.handle.clone(), parts.forwarder.clone());
        Self { parts, read_indexes, counters: Counters::default() }
    }

    pub(crate) fn runtime(&self) -> &R {
        &self.parts.runtime
    }

    pub(crate) fn node(&self) -> NodeId {
        self.parts.node
    }

    pub(crate) fn handle(&self) -> &Handle<Keyspace> {
        &self.parts.handle
    }

    pub(crate) fn view(&self) -> &View {
        &self.parts.view
    }

    pub(crate) fn forwarder(&self) -> &Forwarder {
        &self.parts.forwarder
    }

    /// A clock reading. It belongs to what arrived before it.
    pub(crate) fn now(&self) -> Reading {
        self.parts.clock.now()
    }

    /// Executes reads under the lease, at once, if it is valid at `now` and everything known to be committed is applied.
    /// `now` was taken after the reads arrived, and nothing was waited for since.
    pub(crate) fn read_at_once(&self, now: Reading, commands: &[ReadCommand], replies: &mut Vec<Reply>) -> bool {
        let Parts { handle, view, .. } = &self.parts;
        match handle.lease().try_read(now) {
            Some(permit) if handle.applied() >= permit.index => {
                view.read(commands, replies);
                self.counters.reads_lease.add(commands.len());
                true
            }
            _ => false,
        }
    }

    /// Executes reads wherever the leader is, within [`PATIENCE`]; appends a reply for each, if only an error.
    pub(crate) async fn read(&self, commands: &[ReadCommand], replies: &mut Vec<Reply>) {
        let wanted = replies.len() + commands.len();
        let outcome = within(self.runtime(), PATIENCE, self.read_somewhere(commands, replies)).await;
        let missing = wanted - replies.len();
        if missing > 0 {
            let error = match outcome {
                None => no_leader(),
                Some(Err(Failure::Busy)) => busy(),
                Some(Ok(()) | Err(_)) => stopping(),
            };
            self.counters.reads_failed.add(missing);
            replies.resize(wanted, Reply::Error(error));
        }
    }

    async fn read_somewhere(&self, commands: &[ReadCommand], replies: &mut Vec<Reply>) -> Result<(), Failure> {
        loop {
            let status = self.parts.handle.status();
            let outcome = if status.stopped {
                Err(Failure::Stopping)
            } else if status.leader == self.parts.node {
                self.read_as_leader(commands, replies).await
            } else if status.leader == 0 {
                Err(Failure::NotExecuted)
            } else {
                self.read_as_follower(commands, replies).await
            };
            match outcome {
                Err(Failure::NotExecuted | Failure::Uncertain) => self.pause(&status).await,
                done => return done,
            }
        }
    }

    /// Executes reads if this node leads: under the lease, or else after a quorum round.
    async fn read_as_leader(&self, commands: &[ReadCommand], replies: &mut Vec<Reply>) -> Result<(), Failure> {
        let handle = &self.parts.handle;
        let grant = match handle.lease().try_read(self.now()) {
            Some(permit) => ReadGrant { index: permit.index, by_lease: true },
            None => handle.read().await?,
        };
        self.read_at(grant, commands, replies).await
    }

    /// Executes reads from this node's own state, once that is as recent as the leader says it must be.
    async fn read_as_follower(&self, commands: &[ReadCommand], replies: &mut Vec<Reply>) -> Result<(), Failure> {
        self.counters.reads_forwarded.add(commands.len());
        let grant = self.read_indexes.grant().await?;
        self.read_at(grant, commands, replies).await?;
        self.counters.reads_follower.add(commands.len());
        Ok(())
    }

    async fn read_at(
        &self,
        grant: ReadGrant,
        commands: &[ReadCommand],
        replies: &mut Vec<Reply>,
    ) -> Result<(), Failure> {
        let Parts { handle, view, .. } = &self.parts;
        if !handle.wait_applied(grant.index).await {
            return Err(Failure::Stopping);
        }
        view.read(commands, replies);
        let counter = if grant.by_lease { &self.counters.reads_lease } else { &self.counters.reads_quorum };
        counter.add(commands.len());
        Ok(())
    }

    /// Executes writes in order, as one log entry, wherever the leader is; appends a reply for each, if only an error.
    pub(crate) async fn write(&self, commands: &[WriteCommand], replies: &mut Vec<Reply>) {
        match self.commit(commands).await {
            Ok(answered) => replies.extend(answered),
            Err(error) => replies.resize(replies.len() + commands.len(), Reply::Error(error)),
        }
    }

    /// Executes commands in order and all together, as one log entry, wherever the leader is. A reply for each, or the
    /// error to answer for all of them.
    pub(crate) async fn commit(&self, commands: &[WriteCommand]) -> Result<Vec<Reply>, String> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let entry = WriteCommand::encode_batch(commands);
        // Whether an attempt is on its way that may have taken effect.
        let attempted = AtomicBool::new(false);
        let outcome = match within(self.runtime(), PATIENCE, self.write_somewhere(&entry, &attempted)).await {
            Some(outcome) => outcome,
            None if attempted.load(Ordering::Relaxed) => Err(Failure::Uncertain),
            None => Err(Failure::NotExecuted),
        };
        let (counter, error) = match outcome {
            Ok(answered) if answered.len() == commands.len() => return Ok(answered),
            Err(Failure::NotExecuted) => (&self.counters.writes_failed, no_leader()),
            Err(Failure::Stopping) => (&self.counters.writes_failed, stopping()),
            Err(Failure::Busy) => (&self.counters.writes_failed, busy()),
            Ok(_) | Err(Failure::Uncertain) => (&self.counters.writes_uncertain, uncertain()),
        };
        counter.add(commands.len());
        Err(error)
    }

    async fn write_somewhere(&self, entry: &Bytes, attempted: &AtomicBool) -> Result<Vec<Reply>, Failure> {
        loop {
            let status = self.parts.handle.status();
            if status.stopped {
                return Err(Failure::Stopping);
            }
            if status.leader != 0 {
                attempted.store(true, Ordering::Relaxed);
                let outcome = if status.leader == self.parts.node {
                    self.write_here(entry.clone()).await
                } else {
                    self.write_there(status.leader, entry).await
                };
                match outcome {
                    // Only what surely was not executed may be tried again.
                    Err(Failure::NotExecuted) => attempted.store(false, Ordering::Relaxed),
                    done => return done,
                }
            }
            self.pause(&status).await;
        }
    }

    /// Executes a log entry if this node leads.
    pub(crate) async fn write_here(&self, entry: Bytes) -> Result<Vec<Reply>, Failure> {
        match self.parts.handle.write(entry).await? {
            Ok(replies) => {
                self.counters.writes_acknowledged.add(replies.len());
                Ok(replies)
            }
            // Committed, and by every node found to be nothing it knows; who proposed it has another version.
            Err(unknown) => {
                tracing::error!("{unknown}");
                Ok(Vec::new())
            }
        }
    }

    /// Asks the leader to execute a log entry. Once it was sent, only an answer tells what became of it; when another
    /// node leads, there is little hope of one.
    async fn write_there(&self, leader: NodeId, entry: &Bytes) -> Result<Vec<Reply>, Failure> {
        let Parts { handle, forwarder, runtime, .. } = &self.parts;
        let asked = pin!(forwarder.ask(leader, PeerRequest::Entry(entry.clone()).encode()));
        let hopeless = pin!(async {
            handle.wait_status(|news| news.leader != leader && news.leader != 0).await;
            runtime.sleep(LATE_ANSWER).await;
        });
        let Either::Left((answer, _)) = select(asked, hopeless).await else { return Err(Failure::Uncertain) };
        match answer.map(|payload| PeerAnswer::decode(&payload)) {
            Ok(Some(PeerAnswer::Replies(replies))) => Ok(replies),
            Ok(Some(PeerAnswer::Uncertain | PeerAnswer::ReadIndex { .. }) | None) => Err(Failure::Uncertain),
            Ok(Some(PeerAnswer::Busy)) => Err(Failure::Busy),
            Ok(Some(PeerAnswer::NotExecuted)) | Err(_) => Err(Failure::NotExecuted),
        }
    }

    /// Waits for news of a leader, but not for long: the one known may only have been busy.
    async fn pause(&self, seen: &Status) {
        let news = self.parts.handle.wait_status(|status| {
            (status.leader, status.term, status.stopped) != (seen.leader, seen.term, seen.stopped)
        });
        within(self.runtime(), PAUSE, news).await;
    }
}

/// What `future` gives, if it does so before `limit` has passed.
pub(crate) async fn within<R: Runtime, F: Future>(runtime: &R, limit: Duration, future: F) -> Option<F::Output> {
    match select(pin!(future), pin!(runtime.sleep(limit))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

fn no_leader() -> String {
    format!("TRYAGAIN no leader answered within {} s; try again", PATIENCE.as_secs())
}

fn stopping() -> String {
    "TRYAGAIN this node is shutting down; ask another".to_owned()
}

fn busy() -> String {
    "BUSY too much waits to be executed; nothing was done; send less at once and try again".to_owned()
}

fn uncertain() -> String {
    "UNCERTAIN the write may or may not have been executed: its leader was lost before it answered; read before you try again"
        .to_owned()
}
