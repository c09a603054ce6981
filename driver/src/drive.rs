//! The one loop.

use crate::disk::{Applied, Batch, Change, Disk, Recovered};
use crate::handle::{Handle, Input, ReadError, ReadGrant, Role, Shared, Statistics, Status, WriteError};
use crate::machine::StateMachine;
use crate::network::{Body, Frame, GroupId, Links};
use crate::pending::{Reads, Writes};
use crate::snapshot;
use crate::writer::{self, Write, Written};
use async_channel::{Receiver, Sender};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use leasehold_clock::Clock;
use leasehold_core::{Index, Instant, LeaseCell, NodeId, Read, Reading};
use leasehold_raft::wire::{Envelope, Snapshot};
use leasehold_raft::{Committed, Effect, Memory, Output, Persist, Position, ProposeError, Replica, StateRole};
use leasehold_runtime::{Runtime, ThreadPolicy};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

/// The most inputs waiting for the loop; whoever brings more waits.
const INBOX: usize = 4_096;
/// The most inputs taken before their outputs are carried out.
const TURN: usize = 512;
/// Changes of records that wait for a write to ride with, in bytes, before they get one of their own.
const CHANGES: usize = 4 << 20;
/// Entries and bytes of the log beyond which its older half is forgotten, once that is applied and durable.
const LOG_ENTRIES: usize = 32_768;
const LOG_BYTES: u64 = 128 << 20;

/// How reads are granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// By the lease while it is valid, else by a quorum round.
    #[default]
    Lease,
    /// Always by a quorum round. The published lease stays empty.
    Quorum,
}

/// What a driver is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The group it drives.
    pub group: GroupId,
    /// The replica's own options.
    pub replica: leasehold_raft::Options,
    /// The voters with which the group was founded, the same on every node. They matter only while the disk is new.
    pub founders: Vec<NodeId>,
    /// How reads are granted.
    pub reads: ReadMode,
    /// Where the trace goes, if the replica keeps one: some lines at a time. Whoever receives them must keep up.
    pub trace: Option<Sender<String>>,
}

/// Why a driver could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The disk's memory, or the options, make no replica.
    #[error(transparent)]
    Replica(#[from] leasehold_raft::Error),
    /// The first write failed, or the disk's thread could not be started.
    #[error("the data folder cannot be written: {0}")]
    Disk(#[from] io::Error),
}

/// Starts driving one replica in the background and returns the handle to it.
///
/// # Errors
/// [`StartError`]. Nothing runs then.
pub fn start<R: Runtime, M: StateMachine, D: Disk>(
    runtime: &R,
    options: Options,
    mut machine: M,
    mut disk: D,
    recovered: Recovered,
    links: Arc<dyn Links>,
    clock: Arc<dyn Clock>,
) -> Result<Handle<M>, StartError> {
    let Options { group, replica, founders, reads, trace } = options;
    let hold = replica.config.hold();
    let longest_hold = recovered.longest_hold.max(hold);
    let (memory, applied) = recall(&recovered, founders);
    if recovered.applied.index == 0 || longest_hold > recovered.longest_hold {
        // Before the first echo, how long its hold may last; before the first message, where the log begins.
        let founding = (recovered.applied.index == 0).then(|| applied.clone());
        let first = Batch {
            group,
            hard_state: founding.is_some().then_some(memory.hard_state),
            reset_log: founding.is_some(),
            applied: founding,
            longest_hold: Some(longest_hold),
            ..Batch::default()
        };
        disk.commit(&[first])?;
    }
    let replica = Replica::restarted(replica, memory, longest_hold, clock.now())?;
    machine.restore(recovered.records);

    let (inbox, inputs) = async_channel::bounded(INBOX);
    let (writes, queue) = async_channel::unbounded();
    let (report, written) = async_channel::unbounded();
    runtime.spawn_thread("disk", ThreadPolicy::Batch, writer::write_all(disk, queue, report))?;
    let shared = Arc::new(Shared::default());
    shared.applied.store(applied.index, Ordering::Release);
    let driver = Driver {
        group,
        runtime: runtime.clone(),
        clock,
        links,
        machine,
        replica,
        read_mode: reads,
        trace,
        unused_cell: LeaseCell::new(),
        shared: shared.clone(),
        durable_applied: applied.index,
        applied,
        lower_hold_to: (longest_hold > hold).then_some(hold),
        unwritten: Batch { group, ..Batch::default() },
        unwritten_bytes: 0,
        disk: writes,
        writes: Writes::new(),
        reads: Reads::default(),
        unreachable: Vec::new(),
        stopping: false,
    };
    runtime.spawn(driver.run(inputs, written));
    Ok(Handle { inbox, shared })
}

/// What the replica and the loop remember of what the disk holds.
fn recall(recovered: &Recovered, founders: Vec<NodeId>) -> (Memory, Applied) {
    if recovered.applied.index == 0 {
        let memory = Memory::founding(founders);
        let (index, term) = memory.compacted;
        let membership = memory.membership.clone();
        return (memory, Applied { index, term, membership });
    }
    let memory = Memory {
        hard_state: recovered.hard_state,
        compacted: recovered.compacted,
        entries: recovered.entries.clone(),
        applied: recovered.applied.index,
        membership: recovered.applied.membership.clone(),
    };
    (memory, recovered.applied.clone())
}

struct Driver<R: Runtime, M: StateMachine> {
    group: GroupId,
    runtime: R,
    clock: Arc<dyn Clock>,
    links: Arc<dyn Links>,
    machine: M,
    replica: Replica,
    read_mode: ReadMode,
    trace: Option<Sender<String>>,
    /// Where the replica publishes the lease while nobody may use it.
    unused_cell: LeaseCell,
    shared: Arc<Shared>,
    applied: Applied,
    /// The applied position that is on disk.
    durable_applied: Index,
    /// The hold to record once the longer one of an earlier process has run out.
    lower_hold_to: Option<Duration>,
    /// What rides with the next write.
    unwritten: Batch,
    unwritten_bytes: usize,
    disk: Sender<Write>,
    writes: Writes<M::Output>,
    reads: Reads,
    /// Peers to report to the engine as unreachable, and whether a snapshot was on its way.
    unreachable: Vec<(NodeId, bool)>,
    stopping: bool,
}

/// What woke the loop.
enum Wake<O> {
    Input(Input<O>),
    Written(io::Result<Written>),
    Timer,
    /// Every handle is gone.
    Abandoned,
}

impl<R: Runtime, M: StateMachine> Driver<R, M> {
    async fn run(mut self, inputs: Receiver<Input<M::Output>>, written: Receiver<io::Result<Written>>) {
        let mut timer: BoxFuture<'static, ()> = self.runtime.sleep(self.replica.tick()).boxed();
        loop {
            // The timer comes first, so that a busy inbox cannot starve it.
            let wake = futures::select_biased! {
                () = (&mut timer).fuse() => Wake::Timer,
                outcome = written.recv().fuse() => outcome.map_or(Wake::Abandoned, Wake::Written),
                input = inputs.recv().fuse() => input.map_or(Wake::Abandoned, Wake::Input),
            };
            let timed_out = matches!(wake, Wake::Timer);
            if !self.take(wake) {
                return;
            }
            // Whoever else is ready now goes first. What they bring shares this turn: its frames, its sync, its answers.
            others_first().await;
            for _ in 1..TURN {
                // Taken out only to be dealt with: what this turn has no room for stays in its channel.
                let next = written.try_recv().map(Wake::Written).or_else(|_| inputs.try_recv().map(Wake::Input));
                let Ok(wake) = next else { break };
                if !self.take(wake) {
                    return;
                }
            }
            // Due deadlines are met on every turn: a loop that is never idle must not be one that never opens a round.
            self.take_timeout(timed_out);
            self.carry_out();
            self.pass_on_trace();
            if timed_out {
                self.sweep();
                timer = self.runtime.sleep(self.until_next_timeout()).boxed();
            }
            self.publish();
            if self.stopping && self.writes.is_empty() {
                self.finish(&written).await;
                return;
            }
        }
    }

    /// Returns whether the loop goes on.
    fn take(&mut self, wake: Wake<M::Output>) -> bool {
        match wake {
            Wake::Input(input) => self.take_input(input),
            Wake::Written(outcome) => return self.take_written(outcome),
            Wake::Timer => {}
            Wake::Abandoned => return false,
        }
        true
    }

    /// Takes one input, with a reading of its own: taken now, it is later than the input's arrival.
    fn take_input(&mut self, input: Input<M::Output>) {
        let now = self.clock.now();
        match input {
            Input::Envelope { from, envelope } => {
                if snapshots_are_sound(&envelope) {
                    let cell = cell(&self.shared, &self.unused_cell, self.read_mode);
                    self.replica.handle_envelope(now, from, envelope, cell);
                } else {
                    tracing::warn!(
                        peer = from,
                        "refused a snapshot that cannot be read; is the peer of another version?"
                    );
                }
            }
            Input::Write { command, answer } => match self.propose(now, command) {
                Ok(position) => self.writes.park(position, now, answer),
                // Who asked may have left.
                Err(error) => drop(answer.send(Err(error))),
            },
            Input::Read { answer } => self.read(now, answer),
            Input::Transfer { to } => {
                let cell = cell(&self.shared, &self.unused_cell, self.read_mode);
                self.replica.transfer(now, to, cell);
            }
            Input::Stop => {
                self.stopping = true;
                let cell = cell(&self.shared, &self.unused_cell, self.read_mode);
                self.replica.retire(now, cell);
            }
        }
    }

    fn propose(&mut self, now: Reading, command: Bytes) -> Result<Position, WriteError> {
        if self.stopping {
            return Err(WriteError::Stopping);
        }
        if self.writes.is_full() {
            return Err(WriteError::Overloaded);
        }
        let cell = cell(&self.shared, &self.unused_cell, self.read_mode);
        self.replica.propose(now, command, cell).map_err(|error| match error {
            ProposeError::NotLeader | ProposeError::HandingOver => WriteError::NotLeader,
            ProposeError::Busy | ProposeError::Voters(_) => WriteError::Overloaded,
        })
    }

    fn read(&mut self, now: Reading, answer: oneshot::Sender<Result<ReadGrant, ReadError>>) {
        if self.stopping {
            let _ = answer.send(Err(ReadError::Stopping));
            return;
        }
        let cell = cell(&self.shared, &self.unused_cell, self.read_mode);
        let read = match self.read_mode {
            ReadMode::Lease => self.replica.read(now, cell),
            ReadMode::Quorum => self.replica.quorum_read(now, cell).map(Read::Quorum),
        };
        let outcome = match read {
            Ok(Read::Lease(permit)) => Ok(ReadGrant { index: permit.index, by_lease: true }),
            Ok(Read::Quorum(_)) if self.reads.is_full() => Err(ReadError::Overloaded),
            Ok(Read::Quorum(ticket)) => return self.reads.park(ticket, now, answer),
            Err(_) => Err(ReadError::NotLeader),
        };
        let _ = answer.send(outcome);
    }

    /// Returns whether the disk is still good.
    fn take_written(&mut self, outcome: io::Result<Written>) -> bool {
        match outcome {
            Ok(Written { number, applied }) => {
                let now = self.clock.now();
                self.durable_applied = applied.unwrap_or(self.durable_applied);
                let cell = cell(&self.shared, &self.unused_cell, self.read_mode);
                self.replica.handle_persisted(now, number, cell);
                self.compact();
                true
            }
            Err(error) => {
                tracing::error!("the disk failed, so this node stops: {error}");
                false
            }
        }
    }

    fn take_timeout(&mut self, timed_out: bool) {
        let now = self.clock.now();
        // When the timer fires the replica sees a reading, due or not: a leader that nobody reaches would otherwise not learn
        // that its clock went back until it shows what it did before, and readers would trust its lease as long.
        let due =
            timed_out || now.zip(self.replica.poll_timeout()).is_some_and(|(now, (at, _))| !at.is_surely_after(now));
        if due {
            let cell = cell(&self.shared, &self.unused_cell, self.read_mode);
            self.replica.handle_timeout(now, cell);
        }
    }

    /// Does everything the replica wants done.
    fn carry_out(&mut self) {
        loop {
            while let Some(output) = self.replica.poll_output(cell(&self.shared, &self.unused_cell, self.read_mode)) {
                match output {
                    Output::Send { to, envelope } => self.send(to, envelope),
                    Output::Persist(persist) => self.persist(persist),
                    Output::Apply(committed) => self.apply(committed),
                    Output::ReadsConfirmed { through } => self.reads.confirmed(through),
                    Output::ReadsAborted { through } => {
                        let why = if self.stopping { ReadError::Stopping } else { ReadError::NotLeader };
                        self.reads.aborted(through, why);
                    }
                    Output::SnapshotWanted => {
                        let Applied { index, term, membership } = self.applied.clone();
                        let data = snapshot::encode(&self.machine.records());
                        self.replica.offer_snapshot(Snapshot { index, term, membership, data });
                    }
                }
            }
            if self.unreachable.is_empty() {
                break;
            }
            let now = self.clock.now();
            for (peer, snapshot) in std::mem::take(&mut self.unreachable) {
                let cell = cell(&self.shared, &self.unused_cell, self.read_mode);
                self.replica.handle_unreachable(now, peer, snapshot, cell);
            }
        }
        if self.unwritten_bytes > CHANGES {
            self.write(0);
        }
    }

    fn send(&mut self, to: NodeId, envelope: Envelope) {
        let bulk = envelope.is_bulk();
        let snapshot = envelope.messages.iter().any(|message| message.snapshot.is_some());
        let frame = Frame { group: self.group, body: Body::Raft(envelope) };
        // What is not bulk is repeated by itself.
        if self.links.send(to, frame).is_err() && bulk {
            self.unreachable.push((to, snapshot));
        }
    }

    fn persist(&mut self, persist: Persist) {
        let Persist { number, awaited, hard_state, snapshot, entries } = persist;
        self.unwritten.hard_state = Some(hard_state);
        if let Some(snapshot) = snapshot {
            self.install(snapshot);
        }
        self.unwritten.entries = entries;
        if awaited {
            self.write(number);
        }
    }

    /// Puts a leader's snapshot in the place of the state and the log.
    fn install(&mut self, snapshot: Snapshot) {
        let records = snapshot::decode(snapshot.data).expect("snapshots were looked at when they arrived");
        tracing::info!(index = snapshot.index, records = records.len(), "took the leader's snapshot");
        self.applied = Applied { index: snapshot.index, term: snapshot.term, membership: snapshot.membership };
        self.unwritten.reset_log = true;
        self.unwritten.compact_through = None;
        self.unwritten.changes.clear();
        self.unwritten.changes.push(Change::Clear);
        self.unwritten.changes.extend(records.iter().cloned().map(Change::Put));
        self.unwritten.applied = Some(self.applied.clone());
        self.machine.restore(records);
        self.writes.skipped(snapshot.index);
        self.announce_applied();
    }

    fn apply(&mut self, committed: Vec<Committed>) {
        for Committed { position, effect } in committed {
            let before = self.unwritten.changes.len();
            let output = match effect {
                Effect::Command(command) => {
                    self.unwritten_bytes += command.len();
                    Some(self.machine.apply(position.index, &command, &mut self.unwritten.changes))
                }
                Effect::Nothing => None,
                Effect::Membership(membership) => {
                    self.applied.membership = membership;
                    None
                }
            };
            self.unwritten_bytes += 64 * (self.unwritten.changes.len() - before);
            self.applied.index = position.index;
            self.applied.term = position.term;
            // Readers may see the effect before its writer learns of it; never the other way about.
            self.shared.applied.store(position.index, Ordering::Release);
            self.writes.applied(position, output);
        }
        self.unwritten.applied = Some(self.applied.clone());
        self.announce_applied();
    }

    fn announce_applied(&self) {
        self.shared.applied.store(self.applied.index, Ordering::Release);
        self.shared.applied_moved.notify(usize::MAX);
    }

    /// Sends everything unwritten to the disk.
    fn write(&mut self, number: u64) {
        let batch = std::mem::replace(&mut self.unwritten, Batch { group: self.group, ..Batch::default() });
        self.unwritten_bytes = 0;
        // The thread ends before the loop does only when the disk has failed; the loop learns of that by itself.
        let _ = self.disk.try_send(Write { batch, number });
    }

    /// Forgets the older half of a log that has grown long, as far as its effects are on disk.
    fn compact(&mut self) {
        let Some(index) = self.replica.compactable(LOG_ENTRIES, LOG_BYTES) else { return };
        let index = index.min(self.durable_applied);
        if let Some(term) = self.replica.compact(index) {
            self.unwritten.compact_through = Some((index, term));
        }
    }

    /// What is done once per wake of the timer.
    fn sweep(&mut self) {
        let now = self.clock.now();
        *self.shared.statistics.lock() =
            Statistics { replica: *self.replica.statistics(), holder: *self.replica.holder().statistics() };
        self.writes.expire(now);
        self.reads.expire(now);
        if self.lower_hold_to.is_some() && self.replica.grantor().restart_hold_is_over() {
            self.unwritten.longest_hold = self.lower_hold_to.take();
        }
        let nothing = Batch { group: self.group, ..Batch::default() };
        if self.unwritten != nothing {
            self.write(0);
        }
    }

    /// Passes on what was recorded. Nothing is left to take: the trace's lines are complete.
    fn pass_on_trace(&mut self) {
        if let Some(trace) = &self.trace {
            let lines = self.replica.take_trace();
            // A recording that is full, or that nobody keeps any more, ends here: one with a gap would be of no use.
            if !lines.is_empty() && trace.try_send(lines).is_err() {
                trace.close();
                self.trace = None;
                tracing::warn!("the recording could not keep up, and has ended");
            }
        }
    }

    fn until_next_timeout(&self) -> Duration {
        let longest = self.replica.tick();
        let next = |(at, _): (Instant, _)| {
            let now = self.clock.now()?;
            Some(at.elapsed_since(now).at_least.min(longest))
        };
        self.replica.poll_timeout().and_then(next).unwrap_or(longest)
    }

    fn publish(&self) {
        let status = Status {
            role: match self.replica.role() {
                StateRole::Leader => Role::Leader,
                StateRole::Follower => Role::Follower,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            },
            term: self.replica.term(),
            leader: self.replica.leader(),
            commit: self.replica.commit(),
            applied: self.applied.index,
            stopped: false,
        };
        let before = std::mem::replace(&mut *self.shared.status.lock(), status);
        if (before.role, before.term, before.leader) != (status.role, status.term, status.leader) {
            tracing::info!(role = ?status.role, term = status.term, leader = status.leader, "role or leader changed");
            self.shared.status_changed.notify(usize::MAX);
        }
    }

    /// Waits until all is on disk.
    async fn finish(&mut self, written: &Receiver<io::Result<Written>>) {
        self.write(0);
        self.disk.close();
        while let Ok(outcome) = written.recv().await {
            if let Err(error) = outcome {
                tracing::error!("the last write failed: {error}");
            }
        }
    }
}

impl<R: Runtime, M: StateMachine> Drop for Driver<R, M> {
    /// However the loop ends, no lease outlives it and nobody waits for it in vain.
    fn drop(&mut self) {
        self.replica.retire(None, cell(&self.shared, &self.unused_cell, self.read_mode));
        self.writes.fail_all();
        self.reads.aborted(u64::MAX, ReadError::Stopping);
        self.shared.status.lock().stopped = true;
        self.shared.status_changed.notify(usize::MAX);
        self.shared.applied_moved.notify(usize::MAX);
    }
}

/// Lets the tasks that are ready run before this one goes on.
async fn others_first() {
    let mut gone = false;
    poll_fn(|context| {
        if std::mem::replace(&mut gone, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The cell the replica publishes to.
fn cell<'a>(shared: &'a Shared, unused: &'a LeaseCell, mode: ReadMode) -> &'a LeaseCell {
    match mode {
        ReadMode::Lease => &shared.lease,
        ReadMode::Quorum => unused,
    }
}

fn snapshots_are_sound(envelope: &Envelope) -> bool {
    let snapshots = envelope.messages.iter().filter_map(|message| message.snapshot.as_ref());
    snapshots.into_iter().all(|snapshot| snapshot::decode(snapshot.data.clone()).is_some())
}
