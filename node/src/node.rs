//! A node: its groups, its router and its disk, as one synchronous machine.

use crate::commits::{Commits, Part};
use crate::events::{Input, Outcome, Output};
use crate::group::{Group, GroupOutput, GroupStart};
use crate::identity::Contact;
use crate::members::{ChangeError, MemberChange};
use crate::ports::{Batch, GroupId, StateMachine};
use crate::router::{Context, Router};
use crate::status::{DiskStatistics, RouterStatistics, Status};
use crate::stopwatch::Stopwatch;
use crate::wire::{Body, Message};
use leasehold_core::{Index, Instant, NodeId, Reading, Term};
use leasehold_raft::wire::Change;
use leasehold_raft::{CampaignError, Position, ProposeError, TransferError};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

/// The longest time that a node that stops waits for the end of its hold.
const MAX_HOLD_WAIT: Duration = Duration::from_secs(2);

/// The options of a node.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct NodeOptions {
    /// This node's number.
    pub node: NodeId,
    /// A number drawn at random by this process. It makes request ids unique across restarts.
    pub boot: u64,
    /// The time after which a pending request of a client fails.
    pub request_timeout: Duration,
}

impl NodeOptions {
    /// Returns options with the default [`REQUEST_TIMEOUT`](crate::REQUEST_TIMEOUT).
    pub fn new(node: NodeId, boot: u64) -> NodeOptions {
        NodeOptions { node, boot, request_timeout: crate::REQUEST_TIMEOUT }
    }
}

/// A node: replicated groups that share links, a disk and a timer, and the routing of requests to them. It performs no
/// I/O, reads no clock and starts no thread.
///
/// To drive it: give it one input or several, each with a reading sampled after that input arrived; call
/// [`handle_timeout`](Node::handle_timeout) when it is due; then take [`poll_output`](Node::poll_output) until it
/// returns `None`, and carry out each output.
///
/// * *Inputs* are [`handle`](Node::handle), [`handle_timeout`](Node::handle_timeout), and the commands
///   [`transfer`](Node::transfer), [`campaign`](Node::campaign), [`propose_change`](Node::propose_change),
///   [`change_members`](Node::change_members), [`set_contacts`](Node::set_contacts), [`refuse_writes`](Node::refuse_writes) and [`stop`](Node::stop).
/// * *Outputs* are [`poll_output`](Node::poll_output) and [`poll_timeout`](Node::poll_timeout).
///
/// Reads under the lease need not pass through it: see [`ReadGate`](crate::ReadGate).
pub struct Node<M: StateMachine> {
    groups: BTreeMap<GroupId, Group<M>>,
    /// The groups' numbers, in order.
    ids: Vec<GroupId>,
    /// The leader and term of each group that the router has acted on, and the applied index.
    seen: BTreeMap<GroupId, (Option<NodeId>, Term, Index)>,
    boot: u64,
    router: Router,
    outputs: VecDeque<Output<M>>,
    /// Batches of the commit that is being gathered.
    batches: Vec<Batch>,
    parts: Vec<Part>,
    commits: Commits,
    /// The reading of the last input.
    now: Reading,
    stopping: bool,
    /// Since when the node stops, while it waits for the end of its hold.
    awaits_hold: Option<Duration>,
    stopwatch: Stopwatch,
}

impl<M: StateMachine> fmt::Debug for Node<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Node").field("seen", &self.seen).field("router", &self.router).finish_non_exhaustive()
    }
}

impl<M: StateMachine> Node<M> {
    /// Returns a node without groups.
    pub fn new(options: NodeOptions) -> Node<M> {
        let NodeOptions { node, boot, request_timeout } = options;
        Node {
            groups: BTreeMap::new(),
            ids: Vec::new(),
            seen: BTreeMap::new(),
            boot,
            router: Router::new(node, boot, request_timeout),
            outputs: VecDeque::new(),
            batches: Vec::new(),
            parts: Vec::new(),
            commits: Commits::default(),
            now: None,
            stopping: false,
            awaits_hold: None,
            stopwatch: Stopwatch::default(),
        }
    }

    /// Adds a group whose [`first_batch`](GroupStart::first_batch) is durable. Reading the recovered state into
    /// `machine` may take time.
    ///
    /// # Errors
    /// [`leasehold_raft::Error`], when the recovered state or the options make no replica.
    pub fn add_group(
        &mut self,
        now: Reading,
        start: GroupStart<M::State>,
        machine: M,
    ) -> Result<(), leasehold_raft::Error> {
        let id = start.options.group;
        let group = Group::new(start, machine, self.boot, now)?;
        self.seen.insert(id, (group.replica().leader(), group.replica().term(), group.applied().index));
        self.groups.insert(id, group);
        self.ids = self.groups.keys().copied().collect();
        Ok(())
    }

    /// Returns a group of this node.
    pub fn group(&self, group: GroupId) -> Option<&Group<M>> {
        self.groups.get(&group)
    }

    /// Returns this node's view of a group.
    pub fn status(&self, group: GroupId) -> Option<Status> {
        self.groups.get(&group).map(Group::status)
    }

    /// Returns the counts of the router.
    pub fn router_statistics(&self) -> RouterStatistics {
        self.router.statistics()
    }

    /// Returns the state of the disk, as of the last timeout.
    pub fn disk_statistics(&self) -> DiskStatistics {
        self.commits.statistics()
    }

    /// Returns the number of requests that have no outcome yet.
    pub fn pending_requests(&self) -> usize {
        self.router.pending()
    }

    /// Returns the lines of a group's lease trace since the last call, if its replica records one.
    pub fn take_trace(&mut self, group: GroupId) -> String {
        self.groups.get_mut(&group).map(Group::take_trace).unwrap_or_default()
    }

    /// Handles an input. `now` was sampled after it arrived.
    pub fn handle(&mut self, now: Reading, input: Input<M>) {
        self.now = now;
        self.router.note_time(now);
        match input {
            Input::Message { from, message } => self.handle_message(now, from, message),
            Input::Request { ticket, group, request } => {
                let (router, mut context) = self.router();
                router.submit(&mut context, ticket, group, request);
            }
            Input::Committed { number } => self.handle_committed(now, number),
            Input::WorkDone(result) => {
                if let Some(group) = self.groups.get_mut(&result.group()) {
                    group.handle_work_result(result);
                }
            }
            Input::NotSent { to, message: Message { group, body } } => match body {
                Body::Raft(envelope) => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.handle_not_sent(now, to, &envelope);
                    }
                }
                Body::Request { id, request } => {
                    let (router, mut context) = self.router();
                    router.handle_not_sent(&mut context, group, id, &request);
                }
                Body::Transfer { id, transfer } => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.handle_transfer_not_sent(to, id, &transfer);
                    }
                }
                // The node that asked has a deadline.
                Body::Answer { .. } => {}
            },
        }
    }

    fn handle_message(&mut self, now: Reading, from: NodeId, message: Message) {
        let Message { group: id, body } = message;
        let Some(group) = self.groups.get_mut(&id) else {
            tracing::debug!(from, group = id, "dropping message for unknown group");
            return;
        };
        match body {
            Body::Raft(mut envelope) => {
                if self.commits.is_full() {
                    // The leader repeats them, a few at a time, until they are acknowledged.
                    let before = envelope.messages.len();
                    envelope.messages.retain(|message| message.entries.is_empty());
                    self.commits.count_withheld(before - envelope.messages.len());
                }
                group.handle_envelope(now, from, envelope);
            }
            Body::Transfer { id, transfer } => group.handle_transfer(now, from, id, transfer),
            Body::Request { id: request_id, request } => {
                let (router, mut context) = self.router();
                router.handle_peer_request(&mut context, from, id, request_id, request);
            }
            Body::Answer { id: request_id, answer } => {
                let (router, mut context) = self.router();
                router.handle_answer(&mut context, from, id, request_id, answer);
            }
        }
    }

    fn handle_committed(&mut self, now: Reading, number: u64) {
        self.commits.note_durable(now);
        while let Some(parts) = self.commits.pop_through(number) {
            for Part { group, number, applied, staged, cut } in parts {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.handle_written(now, number, applied, staged);
                    if cut {
                        group.handle_cut_recorded();
                    }
                }
            }
        }
    }

    /// Returns true if [`poll_timeout`](Node::poll_timeout) is due at `now`. A node that is never idle must look at its
    /// deadlines too, so ask this on every turn and not only when the timer fired.
    pub fn timeout_is_due(&self, now: Reading) -> bool {
        now.zip(self.poll_timeout()).is_some_and(|(now, at)| !at.is_surely_after(now))
    }

    /// Does what is due. Call it whenever the timer fires, due or not: a leader that no message reaches would otherwise
    /// not learn that its clock went back until the clock shows again what it had shown before, and readers would trust
    /// its lease that long.
    pub fn handle_timeout(&mut self, now: Reading) {
        self.now = now;
        self.router.note_time(now);
        for group in self.groups.values_mut() {
            group.handle_timeout(now);
        }
        let tick = self.tick();
        self.commits.handle_timeout(now, tick);
        if self.awaits_hold.is_some() {
            self.await_hold(now);
        }
        let (router, mut context) = self.router();
        router.handle_timeout(&mut context, tick);
    }

    /// Returns when to call [`handle_timeout`](Node::handle_timeout). `None` while that is unknown because the clock
    /// gave no reading: then call it after [`tick`](Node::tick).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut earliest = self.router.poll_timeout();
        for group in self.groups.values() {
            let at = group.poll_timeout()?;
            earliest = Some(earliest.filter(|earliest| earliest.awake_nanos() <= at.awake_nanos()).unwrap_or(at));
        }
        earliest
    }

    /// Returns the longest time between two calls of [`handle_timeout`](Node::handle_timeout): half a heartbeat, and at
    /// least a small part of a hold.
    pub fn tick(&self) -> Duration {
        self.groups.values().map(|group| group.replica().tick()).min().unwrap_or(Duration::from_millis(50))
    }

    /// Returns how long to let the timer sleep from `now`: until the next timeout, and no longer than a tick.
    pub fn until_timeout(&self, now: Reading) -> Duration {
        let longest = self.tick();
        let until = |(now, at): (Instant, Instant)| at.elapsed_since(now).at_least.min(longest);
        now.zip(self.poll_timeout()).map_or(longest, until)
    }

    /// Starts to hand leadership of a group to `to`, if this node leads it.
    ///
    /// # Errors
    /// [`TransferError`]: no transfer started.
    pub fn transfer(&mut self, now: Reading, group: GroupId, to: NodeId) -> Result<(), TransferError> {
        self.now = now;
        self.groups.get_mut(&group).map_or(Err(TransferError::NotLeader), |group| group.transfer(now, to))
    }

    /// Campaigns for the leadership of a group now, if the hold allows it.
    ///
    /// # Errors
    /// [`CampaignError`]. A group that is not on this node has no voter here.
    pub fn campaign(&mut self, now: Reading, group: GroupId) -> Result<(), CampaignError> {
        self.now = now;
        self.groups.get_mut(&group).map_or(Err(CampaignError::NotVoter), |group| group.campaign(now))
    }

    /// Proposes a change of a group's configuration.
    ///
    /// # Errors
    /// [`ProposeError`]: it was not taken.
    pub fn propose_change(&mut self, now: Reading, group: GroupId, change: &Change) -> Result<Position, ProposeError> {
        self.now = now;
        self.groups.get_mut(&group).map_or(Err(ProposeError::NotLeader), |group| group.propose_change(now, change))
    }

    /// Proposes a change of a group's members that an operator asks for.
    ///
    /// # Errors
    /// [`ChangeError`]: nothing was changed.
    pub fn change_members(
        &mut self,
        now: Reading,
        group: GroupId,
        change: MemberChange,
    ) -> Result<Position, ChangeError> {
        self.now = now;
        self.groups.get_mut(&group).map_or(Err(ChangeError::NotLeader), |group| group.change_members(now, change))
    }

    /// Takes over what this node knows of the members of all its groups. A leader records it in the configuration.
    pub fn set_contacts(&mut self, contacts: &BTreeMap<NodeId, Contact>) {
        self.groups.values_mut().for_each(|group| group.set_contacts(contacts.clone()));
    }

    /// Refuses every write that this node would propose, of its own clients and of peers, or accepts them again: for a
    /// node whose disk is almost full. Reads and replication go on.
    pub fn refuse_writes(&mut self, refuse: bool) {
        self.router.refuse_writes(refuse);
    }

    /// Drops the requests that wait to be tried again and whose clients have left, by their tickets. They are answered
    /// all the same.
    pub fn drop_abandoned(&mut self, now: Reading, is_abandoned: impl Fn(u64) -> bool) {
        self.now = now;
        let (router, mut context) = self.router();
        router.drop_abandoned(&mut context, is_abandoned);
    }

    /// Starts to hand leadership of a group over, if this node leads it, because it is about to stop. It goes on serving
    /// until [`stop`](Node::stop). Returns the target.
    ///
    /// # Errors
    /// [`TransferError`]: no transfer started.
    pub fn hand_over(&mut self, now: Reading, group: GroupId) -> Result<NodeId, TransferError> {
        self.now = now;
        self.groups.get_mut(&group).map_or(Err(TransferError::NotLeader), |group| group.hand_over(now))
    }

    /// Stops: gives up every lease, takes no more requests, and fails those that were certainly not executed. The node
    /// goes on until [`is_stopped`](Node::is_stopped), so that what it proposed can still be committed.
    pub fn stop(&mut self, now: Reading) {
        self.now = now;
        self.stopping = true;
        let (router, mut context) = self.router();
        router.stop(&mut context);
        for group in self.groups.values_mut() {
            group.retire(now);
        }
        self.awaits_hold = Some(self.stopwatch.at(now));
        self.await_hold(now);
    }

    /// Checks if the hold of a node that stops is over. Its successor is then free from the start. A long hold is
    /// not waited for: what remains is recorded.
    fn await_hold(&mut self, now: Reading) {
        let elapsed = self.stopwatch.at_timer(now, self.tick());
        let has_waited = self.awaits_hold.is_none_or(|since| elapsed.saturating_sub(since) >= MAX_HOLD_WAIT);
        if has_waited || !self.groups.values_mut().any(|group| group.is_held(now)) {
            self.awaits_hold = None;
        }
    }

    /// Returns true once the node was stopped, every request has its outcome, and the hold of this node is over or was
    /// waited for long enough. What is left to write comes with
    /// [`finish`](Node::finish).
    pub fn is_stopped(&self) -> bool {
        self.stopping && self.router.pending() == 0 && self.awaits_hold.is_none()
    }

    /// Ends a node that [is stopped](Node::is_stopped): everything that waits for a write to disk is written with the
    /// next outputs, and with it how much longer its promises bind. The node must get no input and send nothing after
    /// this.
    pub fn finish(&mut self, now: Reading) {
        self.now = now;
        self.groups.values_mut().for_each(|group| group.finish(now));
    }

    /// Ends the node where it stands: revokes every lease, and returns the tickets that have no reply yet, each with
    /// its outcome.
    pub fn abandon(&mut self) -> Vec<(u64, Outcome<M>)> {
        for group in self.groups.values_mut() {
            group.retire(None);
        }
        let replies = self.outputs.drain(..).filter_map(|output| match output {
            Output::Reply { ticket, outcome } => Some((ticket, outcome)),
            _ => None,
        });
        let failed = self.router.abandon().into_iter().map(|(ticket, error)| (ticket, Err(error)));
        replies.chain(failed).collect()
    }

    /// Returns the next output; `None` when there is none left.
    pub fn poll_output(&mut self) -> Option<Output<M>> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if !self.drain_groups() && !self.notice_changes() && !self.ask_read_indexes() {
                break;
            }
        }
        self.commit()
    }

    /// Takes every group's outputs. Returns false if there was none.
    fn drain_groups(&mut self) -> bool {
        let mut drained = false;
        let ids = std::mem::take(&mut self.ids);
        for id in &ids {
            while let Some(output) = self.groups.get_mut(id).and_then(Group::poll_output) {
                drained = true;
                self.take_group_output(*id, output);
            }
        }
        self.ids = ids;
        drained
    }

    fn take_group_output(&mut self, id: GroupId, output: GroupOutput<M>) {
        match output {
            GroupOutput::Send { to, envelope } => {
                let message = Message { group: id, body: Body::Raft(envelope) };
                self.outputs.push_back(Output::Send { to, message });
            }
            GroupOutput::SendTransfer { to, id: transfer_id, transfer } => {
                let message = Message { group: id, body: Body::Transfer { id: transfer_id, transfer } };
                self.outputs.push_back(Output::Send { to, message });
            }
            GroupOutput::Write { number, batch, staged } => {
                let applied = batch.applied.as_ref().map(|applied| applied.index);
                let cut = batch.log_may_be_cut == Some(true);
                self.parts.push(Part { group: id, number, applied, staged, cut });
                self.batches.push(batch);
            }
            GroupOutput::Work(work) => self.outputs.push_back(Output::Work(work)),
            GroupOutput::Halted { index, unknown } => {
                self.outputs.push_back(Output::Halted { group: id, index, unknown });
            }
            GroupOutput::Decided { request, index, outcome } => {
                let (router, mut context) = self.router();
                router.decided(&mut context, request, index, outcome);
            }
            GroupOutput::Confirmed { request, index } => {
                let (router, mut context) = self.router();
                router.confirmed(&mut context, request, index);
            }
            GroupOutput::Aborted { request } => {
                let (router, mut context) = self.router();
                router.aborted(&mut context, request);
            }
        }
    }

    /// Lets the router act on new leaders and on what was applied. Returns false if there was nothing new.
    fn notice_changes(&mut self) -> bool {
        let mut noticed = false;
        let ids = std::mem::take(&mut self.ids);
        for id in ids.iter().copied() {
            let group = &self.groups[&id];
            let (leader, term, applied) = (group.replica().leader(), group.replica().term(), group.applied().index);
            let seen = self.seen.insert(id, (leader, term, applied));
            let (router, mut context) = self.router();
            if seen.is_none_or(|(.., before)| before != applied) {
                router.applied(&mut context, id, applied);
                noticed = true;
            }
            if seen.is_none_or(|(known, of, _)| (known, of) != (leader, term)) {
                router.leader_changed(&mut context, id);
                noticed = true;
            }
        }
        self.ids = ids;
        noticed
    }

    /// Asks for read indexes. Returns false if none was needed.
    fn ask_read_indexes(&mut self) -> bool {
        let (router, mut context) = self.router();
        router.ask_read_indexes(&mut context)
    }

    fn commit(&mut self) -> Option<Output<M>> {
        if self.batches.is_empty() {
            return None;
        }
        let (parts, batches) = (std::mem::take(&mut self.parts), std::mem::take(&mut self.batches));
        let number = self.commits.push(self.now, parts, &batches);
        Some(Output::Commit { number, batches })
    }

    fn router(&mut self) -> (&mut Router, Context<'_, M>) {
        let disk_is_full = self.commits.is_full();
        let context = Context { now: self.now, groups: &mut self.groups, outputs: &mut self.outputs, disk_is_full };
        (&mut self.router, context)
    }
}
