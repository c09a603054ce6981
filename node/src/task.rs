//! The asynchronous shell of a [`Node`]: it moves bytes, timers and reports, and decides nothing.

use crate::events::{Input, Output, RequestError};
use crate::frames;
use crate::group::{GroupOptions, GroupStart};
use crate::handle::{Answer, Command, Handle, Mailbox, Shared, Statistics};
use crate::node::{Node, NodeOptions};
use crate::ports::{Disk, GroupId, Lane, Links, Recovered, StateMachine};
use crate::snapshot::Work;
use crate::status::Status;
use crate::threads::{self, Commit, Report, Reporter};
use crate::wire::Message;
use async_channel::{Receiver, Sender};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use leasehold_clock::Clock;
use leasehold_core::NodeId;
use leasehold_runtime::{Runtime, ThreadPolicy};
use slab::Slab;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::{fmt, io};

/// The largest number of inputs handled before their outputs are carried out. Each message of a frame counts.
const MAX_INPUTS_PER_TURN: usize = 512;

/// Receives a group's lease trace, some lines at a time. It must not block. Returns false to end the recording.
pub type TraceSink = Box<dyn FnMut(String) -> bool + Send>;

/// Everything a node with one group is started with.
#[expect(missing_debug_implementations, reason = "it holds trait objects, and is gone once the node runs")]
pub struct Start<M: StateMachine, D> {
    /// The node's options.
    pub node: NodeOptions,
    /// The group's options.
    pub group: GroupOptions,
    /// The state machine. The recovered records are read into it.
    pub machine: M,
    /// The disk.
    pub disk: D,
    /// The state read from the disk.
    pub recovered: Recovered<M::State>,
    /// The links to peers.
    pub links: Arc<dyn Links>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The queue of inputs.
    pub mailbox: Mailbox<M>,
    /// Receives the trace, if the replica records one.
    pub trace: Option<TraceSink>,
}

/// A node that could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The recovered state, or the options, make no replica.
    #[error(transparent)]
    Replica(#[from] leasehold_raft::Error),
    /// The first write failed, or a thread could not be started.
    #[error("the data folder cannot be written: {0}")]
    Disk(#[from] io::Error),
}

/// Starts a node in the background and returns a handle to its group.
///
/// # Errors
/// [`StartError`]. Nothing runs then.
pub fn start<R, M, D>(runtime: &R, start: Start<M, D>) -> Result<Handle<M>, StartError>
where
    R: Runtime,
    M: StateMachine,
    D: Disk,
{
    let Start { node, group, machine, mut disk, recovered, links, clock, mailbox, trace } = start;
    let id = group.group;
    let group = GroupStart::new(group, recovered);
    if let Some(batch) = group.first_batch() {
        disk.commit(&[batch])?;
    }
    let request_timeout = node.request_timeout;
    let mut node = Node::new(node);
    node.add_group(clock.now(), group, machine)?;

    let (commits, commit_queue) = async_channel::unbounded();
    let (work, work_queue) = async_channel::unbounded();
    let (report, reports) = async_channel::unbounded();
    let reporter = Reporter::new(threads::DISK, report.clone());
    runtime.spawn_thread(threads::DISK, ThreadPolicy::Batch, threads::commit_all(reporter, disk, commit_queue))?;
    let reporter = Reporter::new(threads::SNAPSHOTS, report);
    runtime.spawn_thread(threads::SNAPSHOTS, ThreadPolicy::Batch, threads::work_all(reporter, work_queue))?;
    let gate = node.group(id).expect("it was added").read_gate().clone();
    let shared = Arc::new(Shared::new(gate, clock.clone()));
    let handle = Handle { inbox: mailbox.sender, shared: shared.clone() };
    let task = Task {
        runtime: runtime.clone(),
        clock,
        links,
        node,
        group: id,
        trace,
        shared,
        inputs: mailbox.receiver,
        answers: Slab::new(),
        request_timeout,
        commits,
        work,
        handled: 0,
    };
    runtime.spawn(task.run(reports));
    Ok(handle)
}

struct Task<R: Runtime, M: StateMachine> {
    runtime: R,
    clock: Arc<dyn Clock>,
    links: Arc<dyn Links>,
    node: Node<M>,
    group: GroupId,
    trace: Option<TraceSink>,
    shared: Arc<Shared>,
    inputs: Receiver<Command<M>>,
    /// The senders of replies, by ticket.
    answers: Slab<Answer<M>>,
    request_timeout: Duration,
    commits: Sender<Commit>,
    work: Sender<Work<M>>,
    /// The number of inputs and messages of this turn.
    handled: usize,
}

/// The cause of a turn.
enum Wake<M: StateMachine> {
    Command(Command<M>),
    Report(Report<M>),
    Timer,
    /// Every handle and inbox is gone.
    Abandoned,
}

/// The end of the task, after an error or when every handle is gone.
struct Ended;

impl<R: Runtime, M: StateMachine> Task<R, M> {
    async fn run(mut self, reports: Receiver<Report<M>>) {
        let mut timer: BoxFuture<'static, ()> = self.runtime.sleep(self.node.tick()).boxed();
        loop {
            // The timer comes first, so that a busy inbox cannot starve it.
            let wake = futures::select_biased! {
                () = (&mut timer).fuse() => Wake::Timer,
                report = reports.recv().fuse() => report.map_or(Wake::Abandoned, Wake::Report),
                command = self.inputs.recv().fuse() => command.map_or(Wake::Abandoned, Wake::Command),
            };
            let timer_fired = matches!(wake, Wake::Timer);
            self.handled = 0;
            if self.dispatch(wake).is_err() {
                return;
            }
            // Tasks that are ready now run first, so that their requests share this turn: its frames, its sync, its
            // replies.
            yield_now().await;
            while self.handled < MAX_INPUTS_PER_TURN {
                let next = reports.try_recv().map(Wake::Report).or_else(|_| self.inputs.try_recv().map(Wake::Command));
                let Ok(wake) = next else { break };
                if self.dispatch(wake).is_err() {
                    return;
                }
            }
            let now = self.clock.now();
            if timer_fired {
                let answers = &self.answers;
                self.node.drop_abandoned(now, |ticket| answers[ticket as usize].is_canceled());
            }
            if timer_fired || self.node.timeout_is_due(now) {
                self.node.handle_timeout(now);
            }
            if self.drain_outputs().is_err() {
                return;
            }
            if timer_fired {
                let now = self.clock.now();
                self.publish_statistics();
                timer = self.runtime.sleep(self.node.until_timeout(now)).boxed();
            }
            self.publish_status();
            if self.node.is_stopped() {
                return self.finish(&reports).await;
            }
        }
    }

    /// Handles one input, with a reading of its own: taken now, it is later than the input's arrival.
    fn dispatch(&mut self, wake: Wake<M>) -> Result<(), Ended> {
        self.handled += 1;
        let input = match wake {
            Wake::Timer => return Ok(()),
            Wake::Abandoned => return Err(Ended),
            Wake::Command(Command::Messages { from, messages, share }) => {
                // They counted while they waited.
                drop(share);
                self.handled += messages.len();
                Input::Messages { from, messages }
            }
            Wake::Command(Command::Request { request, answer, sent }) => {
                // Its client has left, or waited too long.
                let waited = self.clock.now().zip(sent).map(|(now, sent)| now.elapsed_since(sent).at_most);
                let limit = self.request_timeout + request.time_for_its_bytes();
                if answer.is_canceled() || waited.is_some_and(|waited| waited > limit) {
                    let _ = answer.send(Err(RequestError::TimedOut));
                    return Ok(());
                }
                let ticket = self.answers.insert(answer) as u64;
                Input::Request { ticket, group: self.group, request }
            }
            Wake::Command(Command::Transfer { to, answer }) => {
                let _ = answer.send(self.node.transfer(self.clock.now(), self.group, to));
                return Ok(());
            }
            Wake::Command(Command::ChangeMembers { change, answer }) => {
                let _ = answer.send(self.node.change_members(self.clock.now(), self.group, change));
                return Ok(());
            }
            Wake::Command(Command::SetContacts(contacts)) => {
                self.node.set_contacts(&contacts);
                return Ok(());
            }
            Wake::Command(Command::RefuseWrites(refuse)) => {
                self.node.refuse_writes(refuse);
                return Ok(());
            }
            Wake::Command(Command::HandOver { answer }) => {
                let _ = answer.send(self.node.hand_over(self.clock.now(), self.group));
                return Ok(());
            }
            Wake::Command(Command::Stop) => {
                self.node.stop(self.clock.now());
                return Ok(());
            }
            Wake::Report(Report::Committed(Ok(number))) => Input::Committed { number },
            Wake::Report(Report::Committed(Err(error))) => {
                tracing::error!("the disk failed, so this node stops: {error}");
                return Err(Ended);
            }
            Wake::Report(Report::Work(result)) => Input::WorkDone(result),
            Wake::Report(Report::Ended(thread)) => {
                tracing::error!(thread, "a thread of this node ended, so the node stops");
                return Err(Ended);
            }
        };
        self.node.handle(self.clock.now(), input);
        Ok(())
    }

    fn drain_outputs(&mut self) -> Result<(), Ended> {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Send { to, lane, messages } => self.send(to, lane, messages),
                // A thread that ends before this task reports it.
                Output::Commit { number, batches } => drop(self.commits.try_send(Commit { number, batches })),
                Output::Work(work) => drop(self.work.try_send(work)),
                Output::Reply { ticket, outcome } => {
                    // The client may have left.
                    let _ = self.answers.remove(ticket as usize).send(outcome);
                }
                Output::Halted { index, unknown, .. } => {
                    tracing::error!(
                        index,
                        "stopping before a log entry that this release cannot apply: {unknown}; start this node again \
                         with the newer release: it then continues"
                    );
                    return Err(Ended);
                }
            }
        }
        self.pass_on_trace();
        Ok(())
    }

    fn send(&mut self, to: NodeId, lane: Lane, messages: Vec<Message>) {
        let version = self.links.version(to).unwrap_or(frames::VERSION.into());
        let payloads = frames::encode(&messages, version);
        let mut messages = messages.into_iter();
        for frames::Payload { messages: count, bytes } in payloads {
            let sent = bytes.is_ok_and(|payload| self.links.send(to, lane, payload).is_ok());
            let messages: Vec<Message> = messages.by_ref().take(count).collect();
            if !sent {
                self.node.handle(self.clock.now(), Input::NotSent { to, messages });
            }
        }
    }

    /// Passes on the lines of the trace, which are complete once every output was taken.
    fn pass_on_trace(&mut self) {
        if let Some(sink) = &mut self.trace {
            let lines = self.node.take_trace(self.group);
            // A recording with a gap would be of no use, so the first line that is not taken ends it.
            if !lines.is_empty() && !sink(lines) {
                self.trace = None;
                tracing::warn!("the recording could not keep up, and has ended");
            }
        }
    }

    fn publish_status(&self) {
        let status = self.node.status(self.group).expect("the group was added");
        let before = std::mem::replace(&mut *self.shared.status.lock(), status);
        let members_changed = before.members_changed != status.members_changed;
        if members_changed {
            self.publish_members();
            self.shared.status_changed.notify(usize::MAX);
        }
        if before.entry_version != status.entry_version {
            self.shared.status_changed.notify(usize::MAX);
        }
        if (before.role, before.term, before.leader) != (status.role, status.term, status.leader) {
            let Status { role, term, leader, .. } = status;
            tracing::info!(?role, term, leader, "role or leader changed");
            self.shared.status_changed.notify(usize::MAX);
        }
    }

    fn publish_members(&self) {
        let members = self.node.group(self.group).expect("the group was added").members();
        let mut published = self.shared.members.lock();
        if **published != members {
            *published = Arc::new(members);
        }
    }

    fn publish_statistics(&self) {
        self.publish_members();
        let group = self.node.group(self.group).expect("the group was added").statistics();
        *self.shared.statistics.lock() =
            Statistics { group, router: self.node.router_statistics(self.group), disk: self.node.disk_statistics() };
    }

    /// Waits until everything is on disk.
    async fn finish(&mut self, reports: &Receiver<Report<M>>) {
        self.node.finish(self.clock.now());
        if self.drain_outputs().is_err() {
            return;
        }
        self.commits.close();
        self.work.close();
        while let Ok(report) = reports.recv().await {
            match report {
                Report::Committed(Err(error)) => tracing::error!("the last write failed: {error}"),
                // The other thread may still have much to do, and none of it matters now.
                Report::Ended(threads::DISK) => break,
                Report::Committed(Ok(_)) | Report::Work(_) | Report::Ended(_) => {}
            }
        }
    }
}

impl<R: Runtime, M: StateMachine> Drop for Task<R, M> {
    /// Revokes the lease and fails pending requests, however the task ends.
    fn drop(&mut self) {
        for (ticket, outcome) in self.node.abandon() {
            let _ = self.answers.remove(ticket as usize).send(outcome);
        }
        // The queue lives as long as a handle does, and with it the requests that were not taken from it.
        self.inputs.close();
        while let Ok(command) = self.inputs.try_recv() {
            if let Command::Request { answer, .. } = command {
                let _ = answer.send(Err(RequestError::Stopping));
            }
        }
        self.shared.status.lock().stopped = true;
        self.shared.status_changed.notify(usize::MAX);
    }
}

impl<R: Runtime, M: StateMachine> fmt::Debug for Task<R, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Task").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Lets the tasks that are ready run before this one goes on.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
