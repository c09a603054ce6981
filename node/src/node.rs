//! A node: its groups, their routers and its disk, as one synchronous machine.

mod groups;
mod turn;

pub use groups::AddGroupError;

use crate::apply::ApplyBudget;
use crate::commits::{Commits, Part};
use crate::events::{Input, Outcome, Output, RequestError};
use crate::group::Group;
use crate::identity::Contact;
use crate::members::{ChangeError, MemberChange};
use crate::outputs::Outputs;
use crate::ports::{Batch, GroupId, StateMachine};
use crate::router::{Common, Router};
use crate::status::{DiskStatistics, RouterStatistics, Status};
use crate::stopwatch::Stopwatch;
use crate::wire::{Body, Message};
use leasehold_core::{Index, Instant, NodeId, Reading, Term};
use leasehold_raft::wire::Change;
use leasehold_raft::{CampaignError, Position, ProposeError, TransferError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// The interval at which the timer of a node without groups fires.
const MAX_TICK: Duration = Duration::from_millis(50);

/// The longest time that a node that stops waits for the end of its hold.
const MAX_HOLD_WAIT: Duration = Duration::from_secs(2);

/// A tick is this many times as long as something that is due in one of several groups may be late, so that it shares its
/// frames with those of other groups.
const TICK_PER_DELAY: u32 = 8;

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
    /// The bytes of committed entries, and of what they change, that all groups together apply in a turn, in about equal
    /// parts. The node then turns to its timer and to further inputs before it applies more.
    pub max_apply_bytes: usize,
    /// The group that decides who the members of all groups are, if they are the same: the others follow it. Every node
    /// then has a replica of every group. `None` if each group has members of its own, or if there is one group.
    pub deciding_group: Option<GroupId>,
}

impl NodeOptions {
    /// Returns options with the default [`REQUEST_TIMEOUT`](crate::REQUEST_TIMEOUT).
    pub fn new(node: NodeId, boot: u64) -> NodeOptions {
        let request_timeout = crate::REQUEST_TIMEOUT;
        NodeOptions { node, boot, request_timeout, max_apply_bytes: 256 << 10, deciding_group: None }
    }
}

/// A node: replicated groups that share links, a disk and a timer, and the routing of requests to them. It performs no
/// I/O, reads no clock and starts no thread.
///
/// To drive it: give it one input or several, each with a reading sampled after that input arrived; call
/// [`handle_timeout`](Node::handle_timeout) when it is due; then take [`poll_output`](Node::poll_output) until it
/// returns `None`, and carry out each output. That was a turn. If it [has a backlog](Node::has_backlog) then,
/// [`resume`](Node::resume) it in the next one.
///
/// * *Inputs* are [`handle`](Node::handle), [`handle_timeout`](Node::handle_timeout), and the commands
///   [`transfer`](Node::transfer), [`campaign`](Node::campaign), [`propose_change`](Node::propose_change),
///   [`change_members`](Node::change_members), [`set_contacts`](Node::set_contacts),
///   [`refuse_writes`](Node::refuse_writes), [`set_local_reads`](Node::set_local_reads),
///   [`drop_abandoned`](Node::drop_abandoned),
///   [`create_group`](Node::create_group), [`remove_group`](Node::remove_group), [`fail_group`](Node::fail_group),
///   [`hand_over`](Node::hand_over) and [`stop`](Node::stop).
/// * *Outputs* are [`poll_output`](Node::poll_output) and [`poll_timeout`](Node::poll_timeout).
///
/// Reads under the lease need not pass through it: see [`ReadGate`](crate::ReadGate).
pub struct Node<M: StateMachine> {
    groups: BTreeMap<GroupId, Hosted<M>>,
    /// The groups whose first batch is not durable yet.
    founding: BTreeMap<GroupId, Group<M>>,
    /// The groups that were removed or failed, with the answer to requests.
    ended: BTreeMap<GroupId, RequestError>,
    /// The groups whose removal is not durable yet.
    removing: BTreeSet<GroupId>,
    /// What this node knows of the members, for groups that are added later too.
    contacts: BTreeMap<NodeId, Contact>,
    deciding_group: Option<GroupId>,
    /// The groups that had an input since all outputs were taken. Only these can have something to do.
    active: Vec<GroupId>,
    /// The groups that have more to apply than they could in their last turn, in the order in which they go on.
    backlog: Vec<GroupId>,
    max_apply_bytes: usize,
    apply_budget: ApplyBudget,
    /// The groups that were active since [`take_changed`](Node::take_changed).
    changed: Vec<GroupId>,
    boot: u64,
    common: Common,
    outputs: Outputs<M>,
    /// Batches of the commit that is being gathered.
    batches: Vec<Batch>,
    parts: Vec<Part>,
    commits: Commits,
    /// The reading of the last input.
    now: Reading,
    /// Since when the node stops, while it waits for the end of its hold.
    awaits_hold: Option<Duration>,
    stopwatch: Stopwatch,
    /// The shortest tick of any group.
    tick: Duration,
    /// The time of the last tick: that at which the groups ticked, if any did.
    ticked_at: Reading,
    /// The first reading of this process, and the longest hold that a process before it may have promised in any group.
    started: Reading,
    longest_hold: Duration,
    /// The newest reading that was not missing, and true if it was before an earlier one since the last tick.
    latest: Reading,
    went_back: bool,
    /// A time at which a group that is not active has something to do, or an earlier one.
    earliest: Option<Instant>,
}

/// A group with its router.
struct Hosted<M: StateMachine> {
    group: Group<M>,
    router: Router,
    /// The leader, the term and the applied index that the router has acted on.
    seen: (Option<NodeId>, Term, Index),
    /// It is among the active groups.
    is_active: bool,
    /// It is among the changed groups.
    is_changed: bool,
    /// It is in the backlog.
    is_behind: bool,
    /// The time since its last tick, while the clock fails.
    since_tick: Option<Duration>,
    /// The bytes that it had to apply when it was last looked at.
    unapplied: usize,
}

impl<M: StateMachine> Hosted<M> {
    fn view(&self) -> (Option<NodeId>, Term, Index) {
        (self.group.replica().leader(), self.group.replica().term(), self.group.applied().index)
    }

    /// Returns false if the clock fails and the group's own tick has not passed, at a tick of the node.
    fn may_tick(&mut self, now: Reading, tick: Duration) -> bool {
        let elapsed = self.since_tick.map(|since| since + tick);
        let may = now.is_some() || elapsed.is_none_or(|elapsed| elapsed >= self.group.replica().tick());
        self.since_tick = if now.is_some() { None } else { elapsed.filter(|_| !may).or(Some(Duration::ZERO)) };
        may
    }

    /// Returns when the group or its router has something to do; `None` while that is unknown.
    fn poll_timeout(&self) -> Option<Instant> {
        let at = self.group.poll_timeout()?;
        Some(earlier(self.router.poll_timeout(), at))
    }
}

/// Returns the earlier of two times.
fn earlier(one: Option<Instant>, other: Instant) -> Instant {
    one.filter(|one| one.awake_nanos() <= other.awake_nanos()).unwrap_or(other)
}

impl<M: StateMachine> fmt::Debug for Node<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: BTreeMap<_, _> = self.groups.iter().map(|(id, hosted)| (id, hosted.seen)).collect();
        formatter.debug_struct("Node").field("groups", &groups).field("common", &self.common).finish_non_exhaustive()
    }
}

impl<M: StateMachine> Node<M> {
    /// Returns a node without groups.
    pub fn new(options: NodeOptions) -> Node<M> {
        let NodeOptions { node, boot, request_timeout, max_apply_bytes, deciding_group } = options;
        Node {
            groups: BTreeMap::new(),
            founding: BTreeMap::new(),
            ended: BTreeMap::new(),
            removing: BTreeSet::new(),
            contacts: BTreeMap::new(),
            deciding_group,
            active: Vec::new(),
            backlog: Vec::new(),
            max_apply_bytes,
            apply_budget: ApplyBudget::new(max_apply_bytes, 0),
            changed: Vec::new(),
            boot,
            common: Common::new(node, boot, request_timeout),
            outputs: Outputs::default(),
            batches: Vec::new(),
            parts: Vec::new(),
            commits: Commits::default(),
            now: None,
            awaits_hold: None,
            stopwatch: Stopwatch::default(),
            tick: MAX_TICK,
            ticked_at: None,
            started: None,
            longest_hold: Duration::ZERO,
            latest: None,
            went_back: false,
            earliest: None,
        }
    }

    /// Returns the numbers of this node's groups, in order.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.groups.keys().copied()
    }

    /// Returns a group of this node.
    pub fn group(&self, group: GroupId) -> Option<&Group<M>> {
        self.groups.get(&group).map(|hosted| &hosted.group)
    }

    /// Returns this node's view of a group.
    pub fn status(&self, group: GroupId) -> Option<Status> {
        self.group(group).map(Group::status)
    }

    /// Returns the counts of a group's router.
    pub fn router_statistics(&self, group: GroupId) -> RouterStatistics {
        self.groups.get(&group).map(|hosted| hosted.router.statistics()).unwrap_or_default()
    }

    /// Returns the state of the disk, as of the last timeout.
    pub fn disk_statistics(&self) -> DiskStatistics {
        self.commits.statistics()
    }

    /// Returns the groups whose status may have changed since the last call.
    pub fn take_changed(&mut self) -> Vec<GroupId> {
        let changed = std::mem::take(&mut self.changed);
        for id in &changed {
            if let Some(hosted) = self.groups.get_mut(id) {
                hosted.is_changed = false;
            }
        }
        changed
    }

    /// Returns the number of requests that have no outcome yet.
    pub fn pending_requests(&self) -> usize {
        self.common.pending()
    }

    /// Returns the lines of a group's lease trace since the last call, if its replica records one.
    pub fn take_trace(&mut self, group: GroupId) -> String {
        self.groups.get_mut(&group).map(|hosted| hosted.group.take_trace()).unwrap_or_default()
    }

    /// Handles an input. `now` was sampled after it arrived.
    pub fn handle(&mut self, now: Reading, input: Input<M>) {
        self.set_now(now);
        self.common.note_time(now);
        match input {
            Input::Messages { from, messages } => {
                messages.into_iter().for_each(|message| self.handle_message(now, from, message));
            }
            Input::Request { ticket, group, request } => {
                if let Some((router, mut context)) = self.router(group) {
                    router.submit(&mut context, ticket, request);
                } else {
                    let error = self.ended.get(&group).copied().unwrap_or(RequestError::NoGroup);
                    self.outputs.push(Output::Reply { ticket, outcome: Err(error) });
                }
            }
            Input::Committed { number } => self.handle_committed(now, number),
            Input::WorkDone(result) => {
                if let Some(group) = self.group_mut(result.group()) {
                    group.handle_work_result(result);
                } else if let Some(work) = result.into_work() {
                    self.outputs.push(Output::Work(work));
                }
            }
            Input::NotSent { to, messages } => {
                messages.into_iter().for_each(|message| self.handle_not_sent(now, to, message));
            }
        }
    }

    fn handle_not_sent(&mut self, now: Reading, to: NodeId, Message { group, body }: Message) {
        // The node that asked has a deadline.
        if let Body::Answer { .. } = body {
            return;
        }
        let Some((router, mut context)) = self.router(group) else { return };
        match body {
            Body::Raft(envelope) => context.group.handle_not_sent(now, to, &envelope),
            Body::Request { id, request } => router.handle_not_sent(&mut context, id, &request),
            Body::Transfer { id, transfer } => context.group.handle_transfer_not_sent(to, id, &transfer),
            Body::Answer { .. } => {}
        }
    }

    fn handle_message(&mut self, now: Reading, from: NodeId, message: Message) {
        let Message { group: id, body } = message;
        let mut withheld = 0;
        let Some((router, mut context)) = self.router(id) else {
            tracing::debug!(from, group = id, "dropping message for unknown group");
            return;
        };
        match body {
            Body::Raft(mut envelope) => {
                if context.is_overloaded {
                    // The leader repeats them, a few at a time, until they are acknowledged.
                    let before = envelope.messages.len();
                    envelope.messages.retain(|message| message.entries.is_empty());
                    withheld = before - envelope.messages.len();
                }
                context.group.handle_envelope(now, from, envelope);
            }
            Body::Transfer { id, transfer } => context.group.handle_transfer(now, from, id, transfer),
            Body::Request { id, request } => router.handle_peer_request(&mut context, from, id, request),
            Body::Answer { id, answer } => router.handle_answer(&mut context, from, id, answer),
        }
        self.commits.count_withheld(withheld);
    }

    fn handle_committed(&mut self, now: Reading, number: u64) {
        self.commits.note_durable(now);
        while let Some(parts) = self.commits.pop_through(number) {
            for Part { group, number, applied, staged, cut, removes } in parts {
                if removes {
                    self.removing.remove(&group);
                }
                if let Some(founded) = self.founding.remove(&group) {
                    self.host(founded);
                }
                if let Some(group) = self.group_mut(group) {
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
        let active = self.active.iter().filter_map(|id| self.groups.get(id));
        let due = self
            .earliest
            .into_iter()
            .chain(active.filter_map(Hosted::poll_timeout))
            .reduce(|one, at| earlier(Some(one), at));
        now.zip(due).is_some_and(|(now, due)| !self.gathered(due).is_surely_after(now))
    }

    /// Returns when to do what is due at `due` in some group. No tick is put off.
    fn gathered(&self, due: Instant) -> Instant {
        if self.groups.len() < 2 {
            return due;
        }
        let tick = self.ticked_at.map(|at| at.plus(self.tick));
        earlier(tick, due.plus(self.tick / TICK_PER_DELAY))
    }

    /// Does what is due: in the groups for which something is, and once per [`tick`](Node::tick) in all. Call it
    /// whenever the timer fires, due or not: a leader that no message reaches would otherwise not learn that its clock
    /// went back until the clock shows again what it had shown before, and readers would trust its lease that long. Returns
    /// true if it was a tick of all groups.
    pub fn handle_timeout(&mut self, now: Reading) -> bool {
        self.set_now(now);
        let all = self.tick_is_due(now);
        self.common.note_time(now);
        self.common.handle_timeout(now, self.tick);
        self.commits.handle_timeout(now, self.tick);
        // That of a group that becomes active is found again once it has nothing left to do.
        self.earliest = None;
        let guide = self.guide();
        let mut due = Vec::new();
        for (id, hosted) in &mut self.groups {
            if !hosted.may_tick(now, self.tick) {
                continue;
            }
            match hosted.poll_timeout().filter(|at| !all && now.is_some_and(|now| at.is_surely_after(now))) {
                Some(at) => self.earliest = Some(earlier(self.earliest, at)),
                None => {
                    hosted.group.handle_timeout(now, guide.as_ref());
                    due.push(*id);
                }
            }
        }
        if all {
            let ticked = self.groups.values().filter_map(|hosted| hosted.group.replica().ticked_at());
            (self.ticked_at, self.went_back) = (ticked.max_by_key(|at| at.awake_nanos()), false);
            // No group ticked: those that are left have longer ticks.
            if self.tick_is_due(now) {
                self.ticked_at = now;
            }
        }
        if self.awaits_hold.is_some() {
            self.await_hold(now);
        }
        for id in due {
            if let Some((router, mut context)) = self.router(id) {
                let tick = context.group.replica().tick();
                router.handle_timeout(&mut context, tick);
            }
        }
        all
    }

    /// Returns true if groups have entries to apply that they could not apply in their last turn: the others come first.
    /// Call [`resume`](Node::resume) soon.
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Begins another turn of the groups that have a backlog. Call it at most once in a turn.
    pub fn resume(&mut self, now: Reading) {
        self.set_now(now);
        self.apply_budget = ApplyBudget::new(self.max_apply_bytes, self.backlog.len());
        // They come before those that had an input, which could otherwise take the whole turn each time.
        let groups = &mut self.groups;
        self.active.retain(|id| groups.get(id).is_some_and(|hosted| !hosted.is_behind));
        for id in &self.backlog {
            if let Some(hosted) = groups.get_mut(id) {
                (hosted.is_active, hosted.is_behind) = (true, false);
            }
        }
        self.backlog.append(&mut self.active);
        std::mem::swap(&mut self.backlog, &mut self.active);
    }

    /// Returns when to call [`handle_timeout`](Node::handle_timeout). `None` while that is unknown because the clock
    /// gave no reading: then call it after [`tick`](Node::tick).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut earliest = None;
        for hosted in self.groups.values() {
            earliest = Some(earlier(earliest, hosted.poll_timeout()?));
        }
        earliest.map(|due| self.gathered(due))
    }

    /// Returns the longest time between two calls of [`handle_timeout`](Node::handle_timeout): half a heartbeat, and at
    /// least a small part of a hold.
    pub fn tick(&self) -> Duration {
        self.tick
    }

    /// Returns how long to let the timer sleep from `now`: until the next timeout, and no longer than a tick.
    pub fn until_timeout(&self, now: Reading) -> Duration {
        let ticked = now.zip(self.ticked_at).map(|(now, at)| now.elapsed_since(at).at_least);
        let longest = self.tick.saturating_sub(ticked.unwrap_or_default());
        let until = |(now, at): (Instant, Instant)| at.elapsed_since(now).at_least.min(longest);
        now.zip(self.poll_timeout()).map_or(longest, until)
    }

    /// Starts to hand leadership of a group to `to`, if this node leads it.
    ///
    /// # Errors
    /// [`TransferError`]: no transfer started.
    pub fn transfer(&mut self, now: Reading, group: GroupId, to: NodeId) -> Result<(), TransferError> {
        self.set_now(now);
        self.group_mut(group).map_or(Err(TransferError::NotLeader), |group| group.transfer(now, to))
    }

    /// Campaigns for the leadership of a group now, if the hold allows it.
    ///
    /// # Errors
    /// [`CampaignError`]. A group that is not on this node has no voter here.
    pub fn campaign(&mut self, now: Reading, group: GroupId) -> Result<(), CampaignError> {
        self.set_now(now);
        self.group_mut(group).map_or(Err(CampaignError::NotVoter), |group| group.campaign(now))
    }

    /// Proposes a change of a group's configuration.
    ///
    /// # Errors
    /// [`ProposeError`]: it was not taken.
    pub fn propose_change(&mut self, now: Reading, group: GroupId, change: &Change) -> Result<Position, ProposeError> {
        self.set_now(now);
        self.group_mut(group).map_or(Err(ProposeError::NotLeader), |group| group.propose_change(now, change))
    }

    /// Proposes a change of a group's members that an operator asks for. If [one group
    /// decides](NodeOptions::deciding_group) for all, the change is one of that group: a removal is then recorded, and made
    /// once the other groups have made theirs.
    ///
    /// # Errors
    /// [`ChangeError`]: nothing was changed.
    pub fn change_members(
        &mut self,
        now: Reading,
        group: GroupId,
        change: MemberChange,
    ) -> Result<Position, ChangeError> {
        self.set_now(now);
        let decides = match self.deciding_group {
            Some(deciding) if deciding != group => return Err(ChangeError::Follows(deciding)),
            deciding => deciding.is_some(),
        };
        let group = self.group_mut(group).ok_or(ChangeError::NotLeader)?;
        if decides { group.decide_members(now, change) } else { group.change_members(now, change) }
    }

    /// Takes over what this node knows of the members of all its groups, also of later ones. A leader records it in the
    /// configuration.
    pub fn set_contacts(&mut self, contacts: &BTreeMap<NodeId, Contact>) {
        self.contacts.clone_from(contacts);
        self.groups.values_mut().for_each(|hosted| hosted.group.set_contacts(contacts.clone()));
    }

    /// Refuses every write that this node would propose, of its own clients and of peers, or accepts them again: for a
    /// node whose disk is almost full. Reads and replication go on.
    pub fn refuse_writes(&mut self, refuse: bool) {
        self.common.refuses_writes = refuse;
    }

    /// Has this node ask the leaders of its groups for subleases, or return those that it has and ask for no more.
    pub fn set_local_reads(&mut self, now: Reading, enabled: bool) {
        self.set_now(now);
        self.for_each_router(|_, context| context.group.set_local_reads(now, enabled));
        self.founding.values_mut().for_each(|group| group.set_local_reads(now, enabled));
    }

    /// Drops the requests that wait to be tried again and whose clients have left, by their tickets. They are answered
    /// all the same.
    pub fn drop_abandoned(&mut self, now: Reading, is_abandoned: impl Fn(u64) -> bool) {
        self.set_now(now);
        // The others stay idle.
        let waiting = self.groups.iter().filter(|(_, hosted)| hosted.router.has_waiting()).map(|(id, _)| *id);
        for id in waiting.collect::<Vec<_>>() {
            if let Some((router, mut context)) = self.router(id) {
                router.drop_abandoned(&mut context, &is_abandoned);
            }
        }
    }

    /// Starts to hand leadership of a group over, if this node leads it, because it is about to stop. It goes on serving
    /// until [`stop`](Node::stop). Returns the target.
    ///
    /// # Errors
    /// [`TransferError`]: no transfer started.
    pub fn hand_over(&mut self, now: Reading, group: GroupId) -> Result<NodeId, TransferError> {
        self.set_now(now);
        self.group_mut(group).map_or(Err(TransferError::NotLeader), |group| group.hand_over(now))
    }

    /// Stops: gives up every lease, takes no more requests, and fails those that were certainly not executed. The node
    /// goes on until [`is_stopped`](Node::is_stopped), so that what it proposed can still be committed.
    pub fn stop(&mut self, now: Reading) {
        self.set_now(now);
        self.common.stopping = true;
        // They have promised nothing yet, and take no part any more.
        self.founding.clear();
        self.for_each_router(|router, context| {
            router.stop(context);
            context.group.retire(now);
        });
        self.awaits_hold = Some(self.stopwatch.at(now));
        self.await_hold(now);
    }

    /// Checks if the hold of a node that stops is over. Its successor is then free from the start. A long hold is
    /// not waited for: what remains is recorded.
    fn await_hold(&mut self, now: Reading) {
        let elapsed = self.stopwatch.at_timer(now, self.tick);
        let has_waited = self.awaits_hold.is_none_or(|since| elapsed.saturating_sub(since) >= MAX_HOLD_WAIT);
        if has_waited || !self.groups.values_mut().any(|hosted| hosted.group.is_held(now)) {
            self.awaits_hold = None;
        }
    }

    /// Returns true once the node was stopped, every request has its outcome, and the hold of this node is over or was
    /// waited for long enough. What is left to write comes with
    /// [`finish`](Node::finish).
    pub fn is_stopped(&self) -> bool {
        self.common.stopping && self.common.pending() == 0 && self.awaits_hold.is_none()
    }

    /// Ends a node that [is stopped](Node::is_stopped): everything that waits for a write to disk is written with the
    /// next outputs, and with it how much longer its promises bind. The node must get no input and send nothing after
    /// this.
    pub fn finish(&mut self, now: Reading) {
        self.set_now(now);
        self.for_each_router(|_, context| context.group.finish(now));
    }

    /// Ends the node where it stands: revokes every lease, and returns the tickets that have no reply yet, each with
    /// its outcome.
    pub fn abandon(&mut self) -> Vec<(u64, Outcome<M>)> {
        let failed = self.groups.values_mut().flat_map(|hosted| {
            hosted.group.retire(None);
            hosted.router.abandon()
        });
        let failed: Vec<_> = failed.map(|(ticket, error)| (ticket, Err(error))).collect();
        let outputs = std::iter::from_fn(|| self.outputs.pop());
        let replies = outputs.filter_map(|output| match output {
            Output::Reply { ticket, outcome } => Some((ticket, outcome)),
            _ => None,
        });
        replies.chain(failed).collect()
    }
}
