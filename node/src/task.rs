//! The asynchronous shell of a [`Node`]: it moves bytes, timers and reports, and decides nothing.

use crate::events::{Input, Output, RequestError};
use crate::frames;
use crate::group::GroupStart;
use crate::handle::{Answer, Command, Directory, Handle, Mailbox, Shared, Statistics};
use crate::node::{AddGroupError, Node, NodeOptions};
use crate::ports::{Batch, Disk, GroupId, Lane, Links, StateMachine};
use crate::setup::{StartGroup, TraceSink};
use crate::status::Status;
use crate::threads::{self, Commit, Report, Thread, Workers};
use crate::wire::Message;
use async_channel::{Receiver, Sender};
use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use leasehold_clock::Clock;
use leasehold_core::NodeId;
use leasehold_raft::Role;
use leasehold_runtime::Runtime;
use parking_lot::Mutex;
use slab::Slab;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::{fmt, io};

/// The largest number of inputs handled before their outputs are carried out. Each message of a frame counts.
const MAX_INPUTS_PER_TURN: usize = 512;

/// Everything a node is started with.
#[expect(missing_debug_implementations, reason = "it holds trait objects, and is gone once the node runs")]
pub struct Start<M: StateMachine, D> {
    /// The node's options.
    pub node: NodeOptions,
    /// The groups, each with a number of its own.
    pub groups: Vec<StartGroup<M>>,
    /// The groups that were removed from the disk. They are never hosted again.
    pub removed: Vec<GroupId>,
    /// The disk of all groups.
    pub disk: D,
    /// The links to peers.
    pub links: Arc<dyn Links>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The queue of inputs.
    pub mailbox: Mailbox<M>,
}

/// A node that could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A group cannot be hosted.
    #[error(transparent)]
    Group(#[from] AddGroupError),
    /// The first write failed, or a thread could not be started.
    #[error("the data folder cannot be written: {0}")]
    Disk(#[from] io::Error),
}

/// Starts a node in the background and returns a handle to each of its groups.
///
/// # Errors
/// [`StartError`]. Nothing runs then.
pub fn start<R, M, D>(runtime: &R, start: Start<M, D>) -> Result<BTreeMap<GroupId, Handle<M>>, StartError>
where
    R: Runtime,
    M: StateMachine,
    D: Disk,
{
    let Start { node, groups, removed, mut disk, links, clock, mailbox } = start;
    let mut starting = BTreeMap::new();
    for StartGroup { options, machine, recovered, trace } in groups {
        let id = options.group;
        if starting.insert(id, (GroupStart::new(options, recovered), machine, trace)).is_some() {
            return Err(AddGroupError::SameGroup(id).into());
        }
    }
    let first: Vec<Batch> = starting.values().filter_map(|(group, ..)| group.first_batch()).collect();
    if !first.is_empty() {
        disk.commit(&first)?;
    }
    let request_timeout = node.request_timeout;
    let mut node = Node::new(node);
    node.note_removed(removed);
    let (mut published, mut traces) = (BTreeMap::new(), BTreeMap::new());
    for (id, (group, machine, trace)) in starting {
        node.add_group(clock.now(), group, machine)?;
        published.insert(id, Arc::new(Shared::new(node.group(id).expect("it was added"), clock.clone())));
        traces.extend(trace.map(|trace| (id, trace)));
    }

    let (commits, commit_queue) = async_channel::unbounded();
    let (report, reports) = async_channel::unbounded();
    Thread::Disk.start(runtime, &report, |reporter| threads::commit_all(reporter, disk, commit_queue))?;
    let workers = Workers::start(runtime.clone(), report)?;
    let directory: Directory = Arc::new(Mutex::new(published.clone()));
    let handle = |shared: &Arc<Shared>| Handle {
        inbox: mailbox.sender.clone(),
        shared: shared.clone(),
        directory: directory.clone(),
    };
    let handles = published.iter().map(|(id, shared)| (*id, handle(shared))).collect();
    let task = Task {
        runtime: runtime.clone(),
        clock,
        links,
        node,
        published,
        traces,
        directory,
        creating: BTreeMap::new(),
        removing: BTreeMap::new(),
        inputs: mailbox.receiver,
        answers: Slab::new(),
        request_timeout,
        commits,
        disk_has_leftovers: false,
        workers,
        handled: 0,
    };
    runtime.spawn(task.run(reports));
    Ok(handles)
}

/// A group that is created while the node runs.
struct Creating {
    trace: Option<TraceSink>,
    answer: oneshot::Sender<Result<Arc<Shared>, AddGroupError>>,
}

struct Task<R: Runtime, M: StateMachine> {
    runtime: R,
    clock: Arc<dyn Clock>,
    links: Arc<dyn Links>,
    node: Node<M>,
    /// What it publishes of the groups.
    published: BTreeMap<GroupId, Arc<Shared>>,
    /// The recordings of the groups that have one.
    traces: BTreeMap<GroupId, TraceSink>,
    /// What handles find groups by.
    directory: Directory,
    /// The groups whose first batch is not durable yet.
    creating: BTreeMap<GroupId, Creating>,
    /// The groups whose removal is not durable yet.
    removing: BTreeMap<GroupId, oneshot::Sender<bool>>,
    inputs: Receiver<Command<M>>,
    /// The senders of replies, by ticket.
    answers: Slab<Answer<M>>,
    request_timeout: Duration,
    commits: Sender<Commit>,
    /// The disk has data left to delete.
    disk_has_leftovers: bool,
    workers: Workers<R, M>,
    /// The number of inputs and messages of this turn.
    handled: usize,
}

/// The cause of a turn.
enum Wake<M: StateMachine> {
    Command(Command<M>),
    Report(Report<M>),
    Timer,
    /// Groups have work left from the last turn.
    Backlog,
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
                () = ready_if(self.node.has_backlog()).fuse() => Wake::Backlog,
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
            // Without a reading there is no lease either. It is looked for again when there is one.
            if let Some(now) = now.filter(|_| timer_fired && self.clock.is_disrupted()) {
                tracing::warn!("the hypervisor reports a disruption of this machine's clock, so no lease rests on it");
                self.node.handle_disruption(now);
            }
            if timer_fired {
                let answers = &self.answers;
                self.node.drop_abandoned(now, |ticket| answers[ticket as usize].is_canceled());
            }
            let is_due = timer_fired || self.node.timeout_is_due(now);
            let ticked = is_due && self.node.handle_timeout(now);
            if self.node.has_backlog() {
                self.node.resume(now);
            }
            if self.drain_outputs().is_err() {
                return;
            }
            if ticked {
                // Other commits delete a portion, too.
                if self.disk_has_leftovers && self.commits.is_empty() {
                    drop(self.commits.try_send(Commit { number: 0, batches: Vec::new() }));
                }
                self.publish_statistics();
            }
            if timer_fired {
                timer = self.runtime.sleep(self.node.until_timeout(self.clock.now())).boxed();
            }
            self.publish_created();
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
            Wake::Timer | Wake::Backlog => return Ok(()),
            Wake::Abandoned => return Err(Ended),
            Wake::Command(Command::Messages { from, messages, share }) => {
                // They counted while they waited.
                drop(share);
                self.handled += messages.len();
                Input::Messages { from, messages }
            }
            Wake::Command(Command::Request { group, request, answer, sent }) => {
                // Its client has left, or waited too long.
                let waited = self.clock.now().zip(sent).map(|(now, sent)| now.elapsed_since(sent).at_most);
                let limit = self.request_timeout + request.time_for_its_bytes();
                if answer.is_canceled() || waited.is_some_and(|waited| waited > limit) {
                    let _ = answer.send(Err(RequestError::TimedOut));
                    return Ok(());
                }
                let ticket = self.answers.insert(answer) as u64;
                Input::Request { ticket, group, request }
            }
            Wake::Command(Command::Transfer { group, to, answer }) => {
                let _ = answer.send(self.node.transfer(self.clock.now(), group, to));
                return Ok(());
            }
            Wake::Command(Command::ChangeMembers { group, change, answer }) => {
                let _ = answer.send(self.node.change_members(self.clock.now(), group, change));
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
            Wake::Command(Command::SetLocalReads(enabled)) => {
                self.node.set_local_reads(self.clock.now(), enabled);
                return Ok(());
            }
            Wake::Command(Command::HandOver { group, answer }) => {
                let _ = answer.send(self.node.hand_over(self.clock.now(), group));
                return Ok(());
            }
            Wake::Command(Command::CreateGroup { group, answer }) => {
                self.create_group(*group, answer);
                return Ok(());
            }
            Wake::Command(Command::RemoveGroup { group, answer }) => {
                if self.node.remove_group(self.clock.now(), group) {
                    self.directory.lock().remove(&group);
                    self.workers.end_applier(group);
                    self.end_published(group);
                    self.removing.insert(group, answer);
                } else {
                    let _ = answer.send(false);
                }
                return Ok(());
            }
            Wake::Command(Command::Stop) => {
                self.node.stop(self.clock.now());
                self.creating.clear();
                return Ok(());
            }
            Wake::Report(Report::Committed(Ok(number))) => Input::Committed { number },
            Wake::Report(Report::Committed(Err(error))) => {
                tracing::error!("the disk failed, so this node stops: {error}");
                return Err(Ended);
            }
            Wake::Report(Report::Leftovers(has_leftovers)) => {
                self.disk_has_leftovers = has_leftovers;
                return Ok(());
            }
            Wake::Report(Report::Work(result)) => Input::WorkDone(result),
            Wake::Report(Report::Ended(Thread::Apply(group))) => {
                // A group that was removed needs its thread no more.
                if !self.node.fail_group(self.clock.now(), group) {
                    return Ok(());
                }
                tracing::error!(group, "the thread that applies the entries of this group ended, so the group stops");
                return self.note_halted(group);
            }
            Wake::Report(Report::Ended(thread)) => {
                tracing::error!(?thread, "a thread of this node ended, so the node stops");
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
                Output::Work(work) => self.workers.pass(work),
                Output::Reply { ticket, outcome } => {
                    // The client may have left.
                    let _ = self.answers.remove(ticket as usize).send(outcome);
                }
                Output::Halted { group, index, unknown } => {
                    tracing::error!(
                        group,
                        index,
                        "this group stops before a log entry that this release cannot apply: {unknown}; start this node \
                         again with the newer release: the group then continues"
                    );
                    self.note_halted(group)?;
                }
            }
        }
        self.pass_on_trace();
        Ok(())
    }

    /// Publishes that a group has stopped, and that it stays where its handles find it. A node without any group left
    /// ends.
    fn note_halted(&mut self, group: GroupId) -> Result<(), Ended> {
        self.workers.end_applier(group);
        self.end_published(group);
        if self.node.groups().next().is_none() { Err(Ended) } else { Ok(()) }
    }

    fn end_published(&mut self, group: GroupId) {
        self.traces.remove(&group);
        self.published.remove(&group).iter().for_each(|shared| shared.end());
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

    /// Passes on the lines of the traces, which are complete once every output was taken.
    fn pass_on_trace(&mut self) {
        for (id, sink) in &mut self.traces {
            let lines = self.node.take_trace(*id);
            // A recording with a gap would be of no use, so the first line that is not taken ends it.
            if !lines.is_empty() && !sink(lines) {
                // The replica goes on recording.
                *sink = Box::new(|_| true);
                tracing::warn!("the recording could not keep up, and has ended");
            }
        }
    }

    fn create_group(&mut self, group: StartGroup<M>, answer: oneshot::Sender<Result<Arc<Shared>, AddGroupError>>) {
        let StartGroup { options, machine, recovered, trace } = group;
        let id = options.group;
        match self.node.create_group(self.clock.now(), GroupStart::new(options, recovered), machine) {
            Ok(()) => drop(self.creating.insert(id, Creating { trace, answer })),
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Publishes the groups that are hosted now, and reports those that are removed durably.
    fn publish_created(&mut self) {
        let node = &self.node;
        for (_, answer) in self.removing.extract_if(.., |id, _| !node.is_removing(*id)) {
            let _ = answer.send(true);
        }
        for (id, Creating { trace, answer }) in self.creating.extract_if(.., |id, _| node.group(*id).is_some()) {
            let shared = Arc::new(Shared::new(node.group(id).expect("it was just found"), self.clock.clone()));
            self.published.insert(id, shared.clone());
            self.traces.extend(trace.map(|trace| (id, trace)));
            self.directory.lock().insert(id, shared.clone());
            let _ = answer.send(Ok(shared));
        }
    }

    /// Publishes the status of the groups that had an input.
    fn publish_status(&mut self) {
        for id in self.node.take_changed() {
            let (Some(group), Some(shared)) = (self.node.group(id), self.published.get(&id)) else {
                continue;
            };
            let status = group.status();
            let before = std::mem::replace(&mut *shared.status.lock(), status);
            let members_changed = before.members_changed != status.members_changed;
            let changed = (before.role, before.term, before.leader) != (status.role, status.term, status.leader);
            if members_changed || changed {
                shared.publish_members(group.members());
            }
            if changed {
                let Status { role, term, leader, .. } = status;
                tracing::info!(group = id, ?role, term, leader, "role or leader changed");
            }
            if changed || members_changed || before.entry_version != status.entry_version {
                shared.status_changed.notify(usize::MAX);
            }
        }
    }

    fn publish_statistics(&self) {
        let disk = self.node.disk_statistics();
        for (id, shared) in &self.published {
            let Some(group) = self.node.group(*id) else { continue };
            // Only a leader knows of progress.
            if group.replica().role() == Role::Leader {
                shared.publish_members(group.members());
            }
            let router = self.node.router_statistics(*id);
            *shared.statistics.lock() = Statistics { group: group.statistics(), router, disk };
        }
    }

    /// Waits until everything is on disk.
    async fn finish(&mut self, reports: &Receiver<Report<M>>) {
        self.node.finish(self.clock.now());
        if self.drain_outputs().is_err() {
            return;
        }
        self.commits.close();
        self.workers.close();
        while let Ok(report) = reports.recv().await {
            match report {
                Report::Committed(Err(error)) => tracing::error!("the last write failed: {error}"),
                // The other thread may still have much to do, and none of it matters now.
                Report::Ended(Thread::Disk) => break,
                Report::Committed(Ok(_)) | Report::Leftovers(_) | Report::Work(_) | Report::Ended(_) => {}
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
        self.published.values().for_each(|shared| shared.end());
    }
}

impl<R: Runtime, M: StateMachine> fmt::Debug for Task<R, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Task").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Waits for ever, unless `ready`.
async fn ready_if(ready: bool) {
    if !ready {
        std::future::pending().await
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
