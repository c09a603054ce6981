//! A cluster of nodes on virtual time, in one thread: the test decides when messages arrive, when commits become
//! durable and when work is done.

#![allow(dead_code, reason = "each test program uses a part of it")]

use bytes::Bytes;
use leasehold_core::{Config, Index, Instant, NodeId, Options as Timing, Reading};
use leasehold_node::ports::{Batch, Change, GroupId, Record, Recovered, Stage, StateMachine, UnknownCommand};
use leasehold_node::snapshot::Work;
use leasehold_node::wire::{Body, Message, PeerRequest};
use leasehold_node::{
    AddGroupError, GroupOptions, GroupStart, Input, Node, NodeOptions, Output, ReadGrant, ReadMode, Reply, Request,
    RequestError, Role,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The only group.
pub(crate) const GROUP: u32 = 0;
/// The hold of every node.
pub(crate) const HOLD: Duration = Duration::from_millis(1000);
/// The interval at which timers fire: half a heartbeat.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// A command that only a newer release knows.
pub(crate) const NEWER: &str = "newer";
/// A command that claims to be of version 1, but that only a newer release can apply: it stands for one that a leader of
/// such a release has proposed.
pub(crate) const UNKNOWN: &str = "unknown";
/// The beginning of a command of version 2.
pub(crate) const SECOND: &str = "second";

/// Returns the leader of a group of [`Cluster::with_leaders`].
pub(crate) fn leader_of(group: GroupId) -> NodeId {
    1 + u64::from(group) % 3
}

/// Keeps every command, in order. The output of a command is its number, from 1.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// The commands under their numbers.
    pub(crate) records: Vec<Record>,
}

impl StateMachine for List {
    type Output = u64;
    type State = Vec<Record>;

    const NEWEST_VERSION: u32 = 2;

    fn version(command: &Bytes) -> u32 {
        if command == NEWER { 3 } else { 1 + u32::from(command.starts_with(SECOND.as_bytes())) }
    }

    fn apply(&mut self, _: Index, command: &Bytes, changes: &mut Vec<Change>) -> Result<u64, UnknownCommand> {
        if command == UNKNOWN {
            return Err(UnknownCommand { reason: "a newer command".to_owned() });
        }
        let number = self.records.len() as u64 + 1;
        let record = Record { key: Bytes::copy_from_slice(&number.to_be_bytes()), value: command.clone() };
        self.records.push(record.clone());
        changes.push(Change::Put(record));
        Ok(number)
    }

    /// A command is the only key that it may change.
    fn touches(command: &Bytes, touch: &mut dyn FnMut(&[u8])) -> Option<u64> {
        touch(command);
        Some(0)
    }

    fn empty_state(&self) -> Vec<Record> {
        Vec::new()
    }

    fn state(&self) -> Vec<Record> {
        self.records.clone()
    }

    fn replace(&mut self, state: Vec<Record>) -> Vec<Record> {
        std::mem::replace(&mut self.records, state)
    }

    fn encode_output(output: &u64) -> Bytes {
        Bytes::copy_from_slice(&output.to_le_bytes())
    }

    fn decode_output(bytes: &[u8]) -> Option<u64> {
        bytes.try_into().ok().map(u64::from_le_bytes)
    }
}

/// The outcome of a request.
pub(crate) type Outcome = Result<Reply<u64>, RequestError>;

/// A message in flight.
#[derive(Clone, Debug)]
pub(crate) struct InTransit {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
}

impl InTransit {
    /// Returns true for a message from replica to replica.
    pub(crate) fn is_raft(&self) -> bool {
        matches!(self.message.body, Body::Raft(_))
    }

    /// Returns true for a forwarded write.
    pub(crate) fn is_write(&self) -> bool {
        matches!(self.message.body, Body::Request { request: PeerRequest::Propose { .. }, .. })
    }

    /// Returns true for a request for a read index.
    pub(crate) fn is_read_index(&self) -> bool {
        matches!(self.message.body, Body::Request { request: PeerRequest::ReadIndex, .. })
    }

    /// Returns true for an answer.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self.message.body, Body::Answer { .. })
    }
}

/// A group on the disk of a node.
#[derive(Default)]
pub(crate) struct Stored {
    /// The durable state.
    pub(crate) disk: Recovered,
    /// The staged records.
    pub(crate) staged: Vec<Record>,
}

/// One node, its disk and its clock.
pub(crate) struct Member {
    pub(crate) node: Node<List>,
    /// Commits that are not durable yet.
    pub(crate) commits: VecDeque<(u64, Vec<Batch>)>,
    /// The disk.
    pub(crate) groups: BTreeMap<GroupId, Stored>,
    /// The options of the node, but for the number of its process.
    node_options: NodeOptions,
    /// The options of every group, but for its number.
    pub(crate) options: GroupOptions,
    /// Work that is not done yet.
    pub(crate) work: VecDeque<Work<List>>,
    /// True while its clock gives no readings.
    pub(crate) clock_failed: bool,
    /// The number of nanoseconds by which its clock is behind.
    pub(crate) clock_behind: u64,
    /// True while nothing becomes durable.
    pub(crate) disk_stalled: bool,
    /// True while no work is done.
    pub(crate) work_stalled: bool,
    /// The groups that were removed from the disk.
    pub(crate) removed: BTreeSet<GroupId>,
    /// The groups whose state machines hang in a thread of their own.
    pub(crate) hung: BTreeSet<GroupId>,
    /// True while it gets no turn to apply what a first one left.
    pub(crate) applying_stalled: bool,
    /// True while no message of its can be sent.
    pub(crate) cannot_send: bool,
    /// The position of a command that it cannot apply.
    pub(crate) halted: Option<Index>,
    /// Nodes to which no message of its can be sent.
    pub(crate) unreachable: BTreeSet<NodeId>,
}

impl Member {
    fn new(node: NodeOptions, options: GroupOptions, groups: u32) -> Member {
        Member {
            node: Node::new(node),
            node_options: node,
            commits: VecDeque::new(),
            groups: (0..groups).map(|group| (group, Stored::default())).collect(),
            options,
            work: VecDeque::new(),
            clock_failed: false,
            clock_behind: 0,
            disk_stalled: false,
            work_stalled: false,
            removed: BTreeSet::new(),
            hung: BTreeSet::new(),
            applying_stalled: false,
            cannot_send: false,
            halted: None,
            unreachable: BTreeSet::new(),
        }
    }

    fn start(&mut self, id: NodeId, now: Reading) {
        self.node.note_removed(self.removed.iter().copied());
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            let mut options = self.options.clone();
            options.group = group;
            let start = GroupStart::new(options, self.groups[&group].disk.clone());
            if let Some(batch) = start.first_batch() {
                self.write(batch);
            }
            self.node.add_group(now, start, List::default()).unwrap_or_else(|error| panic!("node {id}: {error}"));
        }
    }

    /// Makes a batch durable.
    fn write(&mut self, batch: Batch) {
        if batch.remove {
            self.groups.remove(&batch.group);
            self.removed.insert(batch.group);
            return;
        }
        let Batch { group, hard_state, reset_log, entries, stage, changes, applied, compact_through, .. } = batch;
        let Stored { disk, staged } = self.groups.get_mut(&group).expect("a group of this node");
        let longest_hold = batch.longest_hold;
        disk.hard_state = hard_state.unwrap_or(disk.hard_state);
        disk.longest_hold = longest_hold.unwrap_or(disk.longest_hold);
        disk.applied = applied.unwrap_or(std::mem::take(&mut disk.applied));
        if reset_log {
            disk.entries.clear();
            disk.compacted = (disk.applied.index, disk.applied.term);
        }
        if let Some(first) = entries.first() {
            disk.entries.retain(|entry| entry.index < first.index);
            disk.entries.extend(entries);
        }
        match stage {
            Some(Stage::Clear) => staged.clear(),
            Some(Stage::Add(records)) => staged.extend(records),
            Some(Stage::Install) => disk.records = std::mem::take(staged),
            None => {}
        }
        for change in changes {
            match change {
                Change::Put(record) => disk.records.push(record),
                other => panic!("a list only grows: {other:?}"),
            }
        }
        if let Some((index, term)) = compact_through.filter(|(index, _)| *index > disk.compacted.0) {
            disk.entries.retain(|entry| entry.index > index);
            disk.compacted = (index, term);
        }
    }
}

/// The cluster and its world.
pub(crate) struct Cluster {
    pub(crate) members: BTreeMap<NodeId, Member>,
    /// Messages in flight.
    pub(crate) wire: VecDeque<InTransit>,
    /// Directions, from and to, in which messages are lost.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// Messages that stay in flight.
    pub(crate) held: fn(&InTransit) -> bool,
    /// The outcomes of requests by ticket.
    pub(crate) replies: BTreeMap<u64, Outcome>,
    /// The tickets of all requests, and the node that each was sent to.
    pub(crate) tickets: BTreeMap<u64, NodeId>,
    /// The groups that they concern.
    groups_of: BTreeMap<u64, GroupId>,
    now: Duration,
}

impl Cluster {
    /// Returns a cluster of nodes `1..=size` that have just started.
    pub(crate) fn new(size: u64) -> Cluster {
        Cluster::with_options(size, |_| {})
    }

    /// Returns a cluster whose groups have other options.
    pub(crate) fn with_options(size: u64, options: impl Fn(&mut GroupOptions)) -> Cluster {
        Cluster::with_all_options(size, |_, group| options(group))
    }

    /// Returns a cluster whose nodes and groups have other options.
    pub(crate) fn with_all_options(size: u64, options: impl Fn(&mut NodeOptions, &mut GroupOptions)) -> Cluster {
        Cluster::with_groups(size, 1, options)
    }

    /// Returns a cluster of three nodes, each of which leads every third group: see [`leader_of`].
    pub(crate) fn with_leaders(groups: u32, options: impl Fn(&mut NodeOptions, &mut GroupOptions)) -> Cluster {
        let mut cluster = Cluster::with_groups(3, groups, options);
        cluster.leap(HOLD + TICK);
        cluster.settle();
        (0..groups).for_each(|group| cluster.elect_in(leader_of(group), group));
        cluster.run(2 * TICK);
        cluster
    }

    /// Returns a cluster whose nodes host several groups, from 0.
    pub(crate) fn with_groups(
        size: u64,
        groups: u32,
        options: impl Fn(&mut NodeOptions, &mut GroupOptions),
    ) -> Cluster {
        let now = Duration::from_secs(100);
        let mut cluster = Cluster {
            members: BTreeMap::new(),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            held: |_| false,
            replies: BTreeMap::new(),
            tickets: BTreeMap::new(),
            groups_of: BTreeMap::new(),
            now,
        };
        for id in 1..=size {
            let timing = Timing::new(HOLD, 1000).with_heartbeat(2 * TICK);
            let config = Config::new(timing).expect("it fits together");
            let founders = (1..=size).collect();
            let mut group = GroupOptions::new(GROUP, leasehold_raft::Options::new(id, config, 7), founders);
            let mut node = NodeOptions::new(id, 1000 + id);
            options(&mut node, &mut group);
            let mut member = Member::new(node, group, groups);
            member.start(id, cluster.instant());
            cluster.members.insert(id, member);
        }
        cluster
    }

    /// Starts a node that joins: it has no founding state.
    pub(crate) fn join(&mut self, id: NodeId) {
        let (_, founder) = self.members.first_key_value().expect("a founder");
        let (mut node, mut group) = (founder.node_options, founder.options.clone());
        (node.node, node.boot) = (id, 1000 + id);
        group.founders.clear();
        group.replica.id = id;
        let groups = if node.deciding_group.is_some() { founder.groups.len() as u32 } else { 1 };
        let mut member = Member::new(node, group, groups);
        member.start(id, self.instant());
        self.members.insert(id, member);
    }

    /// Creates a group on a node that runs, with all nodes as its founders.
    pub(crate) fn create_group(&mut self, id: NodeId, group: GroupId) {
        self.try_to_create(id, group).expect("a new group");
        self.drain(id);
    }

    /// Tries to create a group, and takes no outputs.
    pub(crate) fn try_to_create(&mut self, id: NodeId, group: GroupId) -> Result<(), AddGroupError> {
        let now = self.reading(id);
        let member = self.member(id);
        let mut options = member.options.clone();
        options.group = group;
        let disk = &member.groups.entry(group).or_default().disk;
        let start = GroupStart::new(options, disk.clone());
        member.node.create_group(now, start, List::default())
    }

    /// Restarts the process of a node. What is not durable is lost.
    pub(crate) fn restart(&mut self, id: NodeId) {
        let now = self.reading(id);
        let boot = self.now.as_nanos() as u64 + id;
        let member = self.member(id);
        member.commits.clear();
        member.work.clear();
        member.groups.values_mut().for_each(|stored| stored.staged.clear());
        member.node_options.boot = boot;
        member.node = Node::new(member.node_options);
        member.start(id, now);
    }

    /// Returns a cluster in which `leader` leads.
    pub(crate) fn led_by(leader: NodeId, size: u64) -> Cluster {
        let mut cluster = Cluster::new(size);
        cluster.elect(leader);
        cluster
    }

    fn instant(&self) -> Reading {
        let nanos = self.now.as_nanos() as u64;
        Some(Instant::from_nanos(nanos, nanos))
    }

    /// Reads the clock of a node.
    pub(crate) fn reading(&self, id: NodeId) -> Reading {
        let member = &self.members[&id];
        let nanos = self.now.as_nanos() as u64 - member.clock_behind;
        (!member.clock_failed).then_some(Instant::from_nanos(nanos, nanos))
    }

    pub(crate) fn member(&mut self, id: NodeId) -> &mut Member {
        self.members.get_mut(&id).expect("a node of the cluster")
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node<List> {
        &mut self.member(id).node
    }

    /// Gives a node one input and carries out what follows.
    pub(crate) fn input(&mut self, id: NodeId, input: Input<List>) {
        let now = self.reading(id);
        self.node(id).handle(now, input);
        self.drain(id);
    }

    /// Gives a node a request, without taking its outputs.
    pub(crate) fn submit(&mut self, id: NodeId, request: Request) -> u64 {
        self.submit_to(id, GROUP, request)
    }

    /// Gives a node a request for any group, without taking its outputs.
    pub(crate) fn submit_to(&mut self, id: NodeId, group: GroupId, request: Request) -> u64 {
        let ticket = self.tickets.len() as u64;
        self.tickets.insert(ticket, id);
        self.groups_of.insert(ticket, group);
        let now = self.reading(id);
        self.node(id).handle(now, Input::Request { ticket, group, request });
        ticket
    }

    /// Has a node execute a command. Returns the ticket.
    pub(crate) fn write(&mut self, id: NodeId, command: impl Into<Bytes>) -> u64 {
        self.write_in(id, GROUP, command)
    }

    /// Asks a node for a read. Returns the ticket.
    pub(crate) fn read(&mut self, id: NodeId) -> u64 {
        self.read_in(id, GROUP)
    }

    /// Has a node execute a command in a group. Returns the ticket.
    pub(crate) fn write_in(&mut self, id: NodeId, group: GroupId, command: impl Into<Bytes>) -> u64 {
        let ticket = self.submit_to(id, group, Request::Write(command.into()));
        self.drain(id);
        ticket
    }

    /// Asks a node for a read in a group. Returns the ticket.
    pub(crate) fn read_in(&mut self, id: NodeId, group: GroupId) -> u64 {
        let ticket = self.submit_to(id, group, Request::Read(ReadMode::Lease));
        self.drain(id);
        ticket
    }

    /// Returns the outcome of a request, if it has one.
    pub(crate) fn reply(&self, ticket: u64) -> Option<Outcome> {
        self.replies.get(&ticket).cloned()
    }

    /// Returns the grant of a read that was permitted.
    #[track_caller]
    pub(crate) fn grant(&self, ticket: u64) -> ReadGrant {
        match self.reply(ticket) {
            Some(Ok(Reply::Readable(grant))) => grant,
            other => panic!("the read was not granted: {other:?}"),
        }
    }

    /// Returns the output of a write that was executed.
    #[track_caller]
    pub(crate) fn output(&self, ticket: u64) -> u64 {
        match self.reply(ticket) {
            Some(Ok(Reply::Written { output, .. })) => output,
            other => panic!("the write was not executed: {other:?}"),
        }
    }

    /// Returns the commands that a node has applied.
    pub(crate) fn applied(&self, id: NodeId) -> Vec<String> {
        self.applied_in(id, GROUP)
    }

    /// Returns the commands of a group that a node has applied.
    pub(crate) fn applied_in(&self, id: NodeId, group: GroupId) -> Vec<String> {
        let machine = self.members[&id].node.group(group).expect("the group").machine().expect("it is back");
        machine.records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect()
    }

    pub(crate) fn leads(&self, id: NodeId) -> bool {
        self.leads_in(id, GROUP)
    }

    pub(crate) fn leads_in(&self, id: NodeId, group: GroupId) -> bool {
        self.members[&id].node.status(group).expect("the group").role == Role::Leader
    }

    /// Takes the outputs of a node, turn after turn.
    pub(crate) fn drain(&mut self, id: NodeId) {
        self.drain_turn(id);
        while self.node(id).has_backlog() && !self.member(id).applying_stalled {
            let now = self.reading(id);
            self.node(id).resume(now);
            self.drain_turn(id);
        }
    }

    /// Takes the outputs of one turn.
    pub(crate) fn drain_turn(&mut self, id: NodeId) {
        while let Some(output) = self.node(id).poll_output() {
            match output {
                Output::Send { to, messages, .. }
                    if self.member(id).cannot_send || self.member(id).unreachable.contains(&to) =>
                {
                    let now = self.reading(id);
                    self.node(id).handle(now, Input::NotSent { to, messages });
                }
                Output::Send { to, messages, .. } => {
                    self.wire.extend(messages.into_iter().map(|message| InTransit { from: id, to, message }));
                }
                Output::Commit { number, batches } => self.member(id).commits.push_back((number, batches)),
                Output::Work(work) => self.member(id).work.push_back(work),
                Output::Halted { index, .. } => {
                    let before = self.member(id).halted.replace(index);
                    assert_eq!(before, None, "it halts once");
                }
                Output::Reply { ticket, outcome } => {
                    if let Ok(Reply::Readable(grant)) = &outcome {
                        let group = self.groups_of[&ticket];
                        let applied = self.members[&id].node.status(group).expect("the group").applied;
                        assert!(grant.index <= applied, "a read at {} when {applied} is applied", grant.index);
                    }
                    assert_eq!(self.tickets.get(&ticket), Some(&id), "ticket {ticket} belongs to another node");
                    let before = self.replies.insert(ticket, outcome);
                    assert_eq!(before, None, "ticket {ticket} is answered twice");
                }
            }
        }
    }

    /// Delivers a message, unless its direction is cut.
    pub(crate) fn deliver(&mut self, transit: InTransit) {
        let InTransit { from, to, message } = transit;
        if !self.cut.contains(&(from, to)) && self.members.contains_key(&to) {
            self.input(to, Input::Messages { from, messages: vec![message] });
        }
    }

    /// Reports everything that a node has handed to its disk as durable.
    pub(crate) fn sync(&mut self, id: NodeId) -> bool {
        let member = self.member(id);
        let Some((number, _)) = member.commits.back() else { return false };
        let number = *number;
        for (_, batches) in std::mem::take(&mut member.commits) {
            batches.into_iter().for_each(|batch| member.write(batch));
        }
        self.input(id, Input::Committed { number });
        true
    }

    /// Does one piece of a node's work.
    pub(crate) fn work(&mut self, id: NodeId) -> bool {
        let Member { work, hung, .. } = self.member(id);
        let hangs = |work: &Work<List>| matches!(work, Work::Apply(applying) if hung.contains(&applying.group()));
        let next = work.iter().position(|work| !hangs(work));
        let Some(work) = next.and_then(|next| work.remove(next)) else { return false };
        if let Some(result) = work.run() {
            self.input(id, Input::WorkDone(result));
        }
        true
    }

    /// Delivers, syncs and works until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut idle = true;
            for id in self.members.keys().copied().collect::<Vec<_>>() {
                if !self.members[&id].disk_stalled {
                    idle &= !self.sync(id);
                }
                if !self.members[&id].work_stalled {
                    idle &= !self.work(id);
                }
            }
            let held = self.held;
            if let Some(next) = self.wire.iter().position(|transit| !held(transit)) {
                idle = false;
                let transit = self.wire.remove(next).expect("it was found");
                self.deliver(transit);
            }
            if idle {
                return;
            }
        }
        panic!("the cluster does not settle");
    }

    /// Lets time pass, a tick at a time.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += TICK;
            for id in self.members.keys().copied().collect::<Vec<_>>() {
                self.fire_timer(id);
            }
            self.settle();
        }
    }

    /// Lets time pass in which no timer fires.
    pub(crate) fn leap(&mut self, duration: Duration) {
        self.now += duration;
    }

    /// Fires the timer of a node.
    pub(crate) fn fire_timer(&mut self, id: NodeId) {
        let now = self.reading(id);
        self.node(id).handle_timeout(now);
        self.drain(id);
    }

    /// Lets time pass until another node than `former` leads.
    #[track_caller]
    pub(crate) fn elect_other_than(&mut self, former: NodeId) -> NodeId {
        for _ in 0..100 {
            self.run(TICK);
            let leader = self.members.keys().copied().find(|id| *id != former && self.leads(*id));
            if let Some(leader) = leader {
                return leader;
            }
        }
        panic!("no other node was elected");
    }

    /// Has a node of a new cluster campaign once every hold is over, and win.
    #[track_caller]
    pub(crate) fn elect(&mut self, id: NodeId) {
        self.leap(HOLD + TICK);
        self.settle();
        self.elect_in(id, GROUP);
    }

    /// Has a node campaign in a group, and win.
    #[track_caller]
    pub(crate) fn elect_in(&mut self, id: NodeId, group: GroupId) {
        let now = self.reading(id);
        self.node(id).campaign(now, group).expect("nothing holds it");
        self.drain(id);
        self.settle();
        assert!(self.leads_in(id, group), "node {id} did not win");
    }

    /// Cuts all links of a node.
    pub(crate) fn isolate(&mut self, id: NodeId) {
        for other in self.members.keys().copied().filter(|other| *other != id) {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    /// Repairs all links.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Removes and returns the messages in flight that `which` selects.
    pub(crate) fn intercept(&mut self, which: impl Fn(&InTransit) -> bool) -> Vec<InTransit> {
        let (taken, left) = std::mem::take(&mut self.wire).into_iter().partition(|transit| which(transit));
        self.wire = left;
        taken.into()
    }
}
