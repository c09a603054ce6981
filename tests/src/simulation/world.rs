//! The world: virtual time, the event queue, and all nodes, links and clients.

use super::client::{Client, OperationRef, Step};
use super::clock::Clock;
use super::disk::Disk;
use super::failure::{Agreed, FailureKind};
use super::fault::{Fault, Planned};
use super::marks::{Mark, Marks};
use super::network::{InTransit, Link, is_campaign_now};
use super::node::{Input, Node, Promises};
use super::outcome::{Failure, Operations, Options};
use super::setup::{SECOND, Setup};
use super::types::{Clocks, Nanos};
use super::walls::Walls;
use crate::linearizability::{History, Limit, Violation};
use leasehold::keyspace::Keyspace;
use leasehold_core::{Index, NodeId, Term};
use leasehold_node::Role;
use leasehold_node::identity::Registry;
use leasehold_node::ports::{GroupId, Lane};
use leasehold_node::wire::Message;
use leasehold_testing::dice::Dice;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tempfile::TempDir;

/// The maximum number of events of a run. A run with more is stuck in a loop.
const MAX_EVENTS: u64 = 20_000_000;
/// The bits of an event's number that hold its slot.
const SLOTS: u64 = (1 << 24) - 1;

/// A scheduled event.
pub(super) enum Event {
    /// A frame arrives.
    Arrival(Box<InTransit>),
    /// A node's timer fires.
    Timer { node: u8, boot: u32 },
    /// A node's task takes a turn.
    Turn { node: u8, boot: u32 },
    /// A sync completes.
    Synced { node: u8, epoch: u32 },
    /// A node starts.
    Start { node: u8 },
    /// A node may resume.
    Resume { node: u8 },
    /// A client starts its next operation.
    Client(u16),
    /// A server continues an operation.
    Step(OperationRef, u32, Step),
    /// A client's deadline may have passed.
    Deadline(u16),
    /// The snapshot thread reports its result.
    WorkDone { node: u8, boot: u32, report: Box<leasehold_node::Input<Keyspace>> },
    /// A node creates the group that passes, or removes it.
    Passing { node: u8 },
    /// A planned fault ends.
    Ends(Ending),
    /// All faults heal.
    Heal,
    /// Liveness is checked, and clients stop.
    Judge,
    /// In the calm cluster, an operator transfers leadership.
    HandOver { alone: bool },
    /// The transfer must have completed.
    HandedOver { to: u8, alone: bool },
    /// The leader is cut off.
    CutOff,
    /// It must have stepped down.
    SteppedDown { node: u8, term: Term },
    /// Nothing may be pending, and the run ends.
    End,
}

/// The end of a planned fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// A link direction is no longer cut.
    Cut { from: u8, to: u8 },
    /// A clock gives readings again.
    NoReadings { node: u8 },
    /// A clock's counters continue.
    Standing { node: u8 },
    /// A disk returns to its normal speed.
    SlowDisk { node: u8 },
    /// A process that was told to stop has had time to hand leadership over.
    HandOver { node: u8, boot: u32 },
    /// A disk finishes its syncs again.
    HungDisk { node: u8, epoch: u32 },
    /// A clock that fell back recovers, if the process that saw the step still runs.
    Behind { node: u8, boot: u32, by: Nanos },
    /// An operator puts a node's own folder back.
    Displaced { node: u8 },
}

/// What is known of a group.
pub(super) struct Oracle {
    /// The time of the last entry that was proposed because of a deadline, and the number of them.
    pub ticked: (Nanos, u32),
    /// That on which all nodes must agree.
    pub agreed: Agreed,
    /// The newest index that any answer has reflected.
    pub seen_index: Index,
    /// The newest term won.
    pub elected: Term,
    /// The time of the last read that a lease permitted.
    pub last_lease_read: Nanos,
}

impl Default for Oracle {
    fn default() -> Oracle {
        Oracle { ticked: (0, 0), agreed: Agreed::default(), seen_index: 1, elected: 0, last_lease_read: 0 }
    }
}

/// The complete state of a run.
pub(super) struct World {
    /// Virtual nanoseconds since the start.
    pub now: Nanos,
    pub(super) seed: u64,
    pub(super) setup: Setup,
    pub(super) clocks: Clocks,
    /// Ordered by time, then by insertion. The low bits of each number hold the event's slot.
    queue: BinaryHeap<Reverse<(Nanos, u64)>>,
    slots: Vec<Option<Event>>,
    free: Vec<u32>,
    sequence: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
    pub(super) clients: Vec<Client>,
    /// Draws that belong to no node, link or client.
    pub(super) dice: Dice,
    plan: Vec<Planned>,
    /// The number of planned faults that have happened. They are kept out of the queue to keep it short.
    done: usize,
    pub(super) faults: [u64; Fault::KINDS],
    pub(super) marks: Marks,
    pub(super) operations: Operations,
    pub(super) elections: u64,
    pub(super) history: History,
    pub(super) walls: Walls,
    /// What is known of each group.
    pub(super) groups: Vec<Oracle>,
    /// The group that checks, faults and clients look at: see [`World::focus_on`].
    pub(super) focus: usize,
    /// The time from which on the group that passes is removed.
    pub(super) passing_until: Nanos,
    /// Draws the groups of clients' requests.
    pub(super) group_dice: Dice,
    pub(super) invoked: u64,
    pub(super) rush_until: Nanos,
    pub(super) silence_until: Nanos,
    pub(super) healed: bool,
    pub(super) clients_stopped: bool,
    /// "Campaign now" between these two nodes is delayed by this much, until the given time.
    pub(super) late_campaign: Option<(NodeId, NodeId, Nanos, Nanos)>,
    /// Folders are copied while their nodes are down, for the faults that put a copy back.
    pub(super) copies: bool,
    pub(super) failure: Option<Failure>,
    pub(super) events: u64,
    ended: bool,
    trace: Option<String>,
    _folder: Option<TempDir>,
}

impl World {
    /// Creates the world at time zero.
    pub(super) fn new(seed: u64, setup: Setup, plan: Vec<Planned>, options: &Options) -> World {
        let count = setup.nodes();
        let folder = setup.real_disks.then(|| {
            let folder = tempfile::Builder::new().prefix("leasehold-simulation").tempdir_in(memory_folder());
            folder.expect("a folder for data")
        });
        let node = |at: usize| {
            let clock = setup.clocks[at];
            let dice = Dice::new(seed, 1_000 + at as u64);
            let id = at as NodeId + 1;
            Node {
                id,
                clock: Clock::new(dice, clock.wild, clock.rate_ppm, clock.flaky_ppm),
                disk: Disk::new(
                    Registry::new(id, id, 1..=count as NodeId),
                    setup.groups,
                    setup.most_groups(),
                    folder.as_ref().map(|folder| folder.path().join(format!("n{id}"))).as_deref(),
                    setup.cut_logs,
                ),
                process: None,
                boot: 0,
                timing: 0,
                paused_until: 0,
                stalled_until: 0,
                paused_with_lease: false,
                starts_at: None,
                stops: None,
                promises: vec![Promises::default(); setup.groups],
            }
        };
        let link = |at: usize| Link::new(Dice::new(seed, 2_000 + at as u64));
        let client = |at: usize| Client::new(Dice::new(seed, 3_000 + at as u64), at % count);
        let mut world = World {
            now: 0,
            seed,
            clocks: options.clocks,
            queue: BinaryHeap::with_capacity(256),
            slots: Vec::with_capacity(256),
            free: Vec::new(),
            sequence: 0,
            nodes: (0..count).map(node).collect(),
            links: (0..count * count).map(link).collect(),
            clients: (0..setup.load.clients).map(client).collect(),
            dice: Dice::new(seed, 4_000),
            copies: plan.iter().any(|planned| matches!(planned.fault, Fault::OlderCopy { .. })),
            plan,
            done: 0,
            faults: [0; Fault::KINDS],
            marks: Marks::default(),
            operations: Operations::default(),
            elections: 0,
            history: History::new(),
            walls: Walls::new(seed, count),
            groups: (0..setup.groups).map(|_| Oracle::default()).collect(),
            focus: 0,
            passing_until: 0,
            group_dice: Dice::new(seed, 7),
            invoked: 0,
            rush_until: 0,
            silence_until: 0,
            healed: false,
            clients_stopped: false,
            late_campaign: None,
            failure: None,
            events: 0,
            ended: false,
            trace: options.trace.then(String::new),
            _folder: folder,
            setup,
        };
        world.found_cluster();
        world.fill();
        world
    }

    fn fill(&mut self) {
        for node in 0..self.nodes.len() {
            self.at(0, Event::Start { node: node as u8 });
        }
        for client in 0..self.clients.len() {
            let first = self.setup.hold() + self.dice.below(self.setup.load.think);
            self.at(first, Event::Client(client as u16));
        }
        self.plan_passing_group();
        let heal = self.setup.faults_for;
        let judge = heal + self.time_to_recover();
        self.at(heal, Event::Heal);
        self.at(judge, Event::Judge);
        let calm = judge + self.setup.load.patience + 6 * SECOND + 2 * self.setup.longest_hold();
        let again = calm + self.time_to_hand_over() + 2 * self.setup.longest_hold();
        self.at(calm, Event::HandOver { alone: false });
        self.at(again, Event::HandOver { alone: true });
        let alone = again + self.time_to_hand_over() + 2 * self.setup.longest_hold();
        self.at(alone, Event::CutOff);
        self.at(alone + self.time_to_step_down() + 6 * self.setup.longest_hold(), Event::End);
    }

    /// Returns an upper bound on the recovery time. A transfer of a state may wait up to eight holds until it tries again,
    /// and a leader that is to be removed up to twenty until it hands over again.
    fn time_to_recover(&self) -> Nanos {
        let holds = if self.setup.decides { 80 } else { 20 };
        holds * self.setup.longest_hold() + 150 * self.setup.heartbeat() + 10 * SECOND
    }

    /// Runs until the end or the first failure.
    pub(super) fn run(&mut self) {
        while !self.ended && self.failure.is_none() {
            self.events += 1;
            if self.events > MAX_EVENTS {
                self.fail(FailureKind::RanAway, format!("no end after {MAX_EVENTS} events"));
                break;
            }
            if !self.next() {
                break;
            }
        }
        self.judge_history();
    }

    /// Handles the next event. Returns false if there is none.
    fn next(&mut self) -> bool {
        let queued = self.queue.peek().map(|Reverse((at, _))| *at);
        if let Some(Planned { at, fault, number }) = self.plan.get(self.done).copied()
            && queued.is_none_or(|queued| at <= queued)
        {
            self.set_now(at);
            self.done += 1;
            self.focus_on(number % self.groups.len());
            self.inject(fault);
            return true;
        }
        let Some(Reverse((at, number))) = self.queue.pop() else { return false };
        self.set_now(at);
        let slot = (number & SLOTS) as usize;
        self.free.push(slot as u32);
        if let Some(event) = self.slots[slot].take() {
            self.handle_event(event);
        }
        true
    }

    fn set_now(&mut self, now: Nanos) {
        self.now = now;
        self.walls.set_now(now);
    }

    fn judge_history(&mut self) {
        match self.history.check(Limit { bytes: 256 << 20 }) {
            Ok(()) => {}
            Err(Violation::GaveUp { .. }) => self.operations.undecided_keys += 1,
            Err(violation) => match &mut self.failure {
                Some(failure) => failure.what.push_str(&format!("; visible to clients: {violation}")),
                None => self.fail(FailureKind::NotLinearizable, violation.to_string()),
            },
        }
    }

    /// Schedules an event.
    pub(super) fn at(&mut self, at: Nanos, event: Event) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = Some(event);
        self.sequence += SLOTS + 1;
        self.queue.push(Reverse((at.max(self.now), self.sequence | u64::from(slot))));
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Arrival(frame) => self.handle_arrival(*frame),
            Event::Timer { node, boot } => {
                let machine = &mut self.nodes[node as usize];
                if machine.boot == boot
                    && let Some(process) = machine.process.as_mut()
                {
                    process.timer_fired = true;
                    self.turn(node as usize);
                }
            }
            Event::Turn { node, boot } => {
                if self.nodes[node as usize].boot == boot {
                    self.turn(node as usize);
                }
            }
            Event::Synced { node, epoch } => self.handle_synced(node as usize, epoch),
            Event::Start { node } => {
                let due = self.nodes[node as usize].starts_at.is_none_or(|at| at <= self.now);
                if due {
                    self.start(node as usize);
                }
            }
            Event::Resume { node } => self.resume(node as usize),
            Event::Client(client) => self.client_acts(client as usize),
            Event::Step(reference, steps, step) => self.take_step(reference, steps, step),
            Event::Deadline(client) => self.deadline(client),
            Event::WorkDone { node, boot, report } => {
                if self.nodes[node as usize].boot == boot
                    && let Some(process) = self.nodes[node as usize].process.as_mut()
                {
                    process.reports.push_back(*report);
                    self.wake_task(node as usize);
                }
            }
            Event::Passing { node } => self.pass(node as usize),
            Event::Ends(ending) => self.end_fault(ending),
            Event::Heal => self.heal(),
            Event::Judge => {
                self.clients_stopped = true;
                self.check_liveness();
            }
            Event::HandOver { .. } | Event::HandedOver { .. } | Event::CutOff | Event::SteppedDown { .. } => {
                // One group is enough: the others have other seeds.
                self.focus_on(self.seed as usize % self.groups.len());
                match event {
                    Event::HandOver { alone } => self.hand_over(alone),
                    Event::HandedOver { to, alone } => self.check_handed_over(to as usize, alone),
                    Event::SteppedDown { node, term } => self.check_stepped_down(node as usize, term),
                    _ => self.cut_off(),
                }
            }
            Event::End => {
                self.check_end();
                self.ended = true;
            }
        }
    }

    /// Sends a frame. Returns false if the sender learns that it was not sent.
    pub(super) fn send_frame(&mut self, node: usize, to: NodeId, lane: Lane, messages: Vec<Message>) -> bool {
        let count = self.nodes.len();
        let target = (to as usize).wrapping_sub(1);
        if target >= count {
            return false;
        }
        let (from, now) = (node as NodeId + 1, self.now);
        let link = &mut self.links[node * count + target];
        let mut arrivals = link.send(now, lane, &messages, &self.setup.links, self.healed);
        if let Some((sender, receiver, by, until)) = self.late_campaign
            && (sender, receiver) == (from, to)
            && now < until
            && is_campaign_now(&messages)
            && let Some(first) = arrivals.first
        {
            arrivals.first = Some(first + by);
        }
        let cut = link.cuts > 0;
        if arrivals.first.is_none() && self.trace.is_some() {
            for message in &messages {
                let text = format!("{} to n{to} is lost", super::trace::describe(message));
                self.note(node, "frame", text);
            }
        }
        let (from_boot, from_timing, to_boot) =
            (self.nodes[node].boot, self.nodes[node].timing, self.nodes[target].boot);
        let frame = |messages| Box::new(InTransit { from, from_boot, from_timing, to, to_boot, messages });
        if let Some(second) = arrivals.second {
            self.at(second, Event::Arrival(frame(messages.clone())));
        }
        if let Some(first) = arrivals.first {
            self.at(first, Event::Arrival(frame(messages)));
        }
        !(cut && self.setup.links.cuts_are_noticed)
    }

    fn handle_arrival(&mut self, frame: InTransit) {
        let InTransit { from, from_boot, from_timing, to, to_boot, messages } = frame;
        let (sender, node) = (from as usize - 1, to as usize - 1);
        let outlives = self.setup.links.outlives_processes;
        let of_the_past = self.nodes[sender].boot != from_boot || self.nodes[node].boot != to_boot;
        if self.nodes[node].process.is_none()
            || self.links[sender * self.nodes.len() + node].cuts > 0
            || (of_the_past && !outlives)
        {
            return;
        }
        let (theirs, ours) =
            (&self.setup.timings[from_timing as usize], &self.setup.timings[self.nodes[node].timing as usize]);
        if from_timing != self.nodes[node].timing
            && (ours.accept_peer(theirs.timing()).is_err() || theirs.accept_peer(ours.timing()).is_err())
        {
            return self.marks.reach(Mark::PeersRefusedEachOther);
        }
        if !self.shake_hands(sender, from_boot, node) {
            return;
        }
        if self.nodes[node].boot != to_boot {
            self.marks.reach(Mark::FrameForAnEarlierProcess);
        }
        if self.tracing() {
            for message in &messages {
                let text = format!("{} from n{from}", super::trace::describe(message));
                self.note(node, "frame", text);
            }
        }
        if let Some(process) = self.nodes[node].process.as_mut()
            && process.inbox.len() < 4_096
        {
            process.inbox.push_back(Input::Node(leasehold_node::Input::Messages { from, messages }));
        }
        if self.setup.loop_delay == 0 || self.healed { self.turn(node) } else { self.wake_task(node) }
    }

    fn handle_synced(&mut self, node: usize, epoch: u32) {
        if self.nodes[node].disk.epoch != epoch {
            return;
        }
        if self.nodes[node].disk.fails && self.nodes[node].process.is_some() {
            self.marks.reach(Mark::DiskStoppedNode);
            return self.kill(node, "stops because its disk failed");
        }
        if self.nodes[node].disk.hangs {
            self.nodes[node].disk.held_back = true;
            return;
        }
        match self.nodes[node].disk.finish() {
            Ok(number) => {
                self.begin_sync(node);
                if let Some(process) = self.nodes[node].process.as_mut() {
                    process.reports.push_back(leasehold_node::Input::Committed { number });
                    if self.setup.loop_delay == 0 || self.healed { self.turn(node) } else { self.wake_task(node) }
                }
            }
            Err(what) => self.fail(FailureKind::DiskOutOfOrder, format!("n{}: {what}", node + 1)),
        }
    }

    fn resume(&mut self, node: usize) {
        let now = self.now;
        if !self.nodes[node].readers_run(now) {
            return;
        }
        let machine = &mut self.nodes[node];
        let reading = machine.clock.peek(now);
        let Some(process) = machine.process.as_mut() else { return };
        if machine.paused_with_lease {
            machine.paused_with_lease = !process.has_lease(reading);
            self.marks.reach_often(Mark::PausedLeaderLostLease, u64::from(machine.paused_with_lease));
        }
        if self.nodes[node].task_runs(now) {
            self.turn(node);
        }
    }

    /// Draws the time between the end of a pause and the first step after it, because the order of threads is
    /// unpredictable.
    pub(super) fn draw_resume_delay(&mut self) -> Nanos {
        let heartbeat = self.setup.heartbeat();
        if self.dice.chance(500_000) { 0 } else { self.dice.below(heartbeat / 20) }
    }

    /// Has checks, faults and clients look at a group.
    pub(super) fn focus_on(&mut self, group: usize) {
        self.focus = group;
        self.nodes.iter_mut().flat_map(|node| &mut node.process).for_each(|process| process.focus = group);
    }

    /// Adds the number of the group that is looked at to a line of the trace.
    pub(super) fn of_group(&self, text: String) -> String {
        if self.groups.len() > 1 { format!("g{}: {text}", self.focus) } else { text }
    }

    /// Returns the node that leads in the newest term, if any.
    pub(super) fn leader(&self) -> Option<usize> {
        let running =
            self.nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.process.as_ref()?.replica())));
        let leaders = running.filter(|(_, replica)| replica.role() == Role::Leader);
        leaders.max_by_key(|(_, replica)| replica.term()).map(|(at, _)| at)
    }

    /// Records a violated rule, which ends the run.
    pub(super) fn fail(&mut self, kind: FailureKind, what: String) {
        if self.failure.is_none() {
            let what = self.of_group(what);
            if self.trace.is_some() {
                (0..self.nodes.len()).for_each(|node| self.note_lease(node));
                self.note_all("broken", format!("{}: {what}", kind.name()));
            }
            self.failure = Some(Failure { kind, what, at: self.now });
        }
    }

    /// Returns true if a trace is recorded.
    pub(super) fn tracing(&self) -> bool {
        self.trace.is_some()
    }

    /// Adds a line to the trace.
    pub(super) fn note(&mut self, node: usize, what: &str, text: String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            super::trace::line(trace, now, Some(node as NodeId + 1), what, &text);
        }
    }

    /// Adds a line to the trace that concerns no single node.
    pub(super) fn note_all(&mut self, what: &str, text: String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            super::trace::line(trace, now, None, what, &text);
        }
    }

    /// Adds the trace that a replica recorded of its lease.
    pub(super) fn note_lease(&mut self, node: usize) {
        let now = self.now;
        if let (Some(trace), Some(process)) = (&mut self.trace, self.nodes[node].process.as_mut()) {
            for group in 0..process.groups.len() as GroupId {
                for recorded in process.node.take_trace(group).lines() {
                    super::trace::lease_line(trace, now, node as NodeId + 1, group, recorded);
                }
            }
        }
    }

    /// Returns the trace, if one was recorded.
    pub(super) fn take_trace(&mut self) -> String {
        self.trace.take().unwrap_or_default()
    }
}

/// Returns the folder for data folders: in memory if the system has one.
fn memory_folder() -> std::path::PathBuf {
    let memory = std::path::PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}
