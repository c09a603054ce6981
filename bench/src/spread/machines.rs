//! Three nodes on simulated machines of their own.
//!
//! Each machine has a processor, a disk and a network. The node's turns are real, and take as long on the machine as they
//! took here, in processor time. A command of a client takes as long in addition as the caller says.

use crate::groups::{KEYS, set};
use crate::stopwatch::thread_time;
use bytes::Bytes;
use leasehold::keyspace::{Entry, Keyspace, WallClock};
use leasehold_core::{Config, Instant, NodeId, Options as Timing, Reading};
use leasehold_node::ports::{GroupId, Recovered, StateMachine as _};
use leasehold_node::snapshot::Work;
use leasehold_node::{GroupOptions, GroupStart, Input, Node, NodeOptions, Output, Request, Role, frames};
use leasehold_testing::dice::Dice;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const NODES: [NodeId; 3] = [1, 2, 3];
const HOLD: Duration = Duration::from_secs(2);
/// The time that a message takes, also one of a client.
const NETWORK: Nanos = 100_000;
/// The time that a sync takes. Everything that waits for it is synced at once.
const SYNC: Nanos = 500_000;
/// More than the processors can serve.
const CLIENTS: u64 = 4_096;
/// As in the task that runs a node.
const MAX_INPUTS_PER_TURN: usize = 512;
/// The interval at which leaders are looked for, and the time by which every group has the one that it is to have.
const LOOK: Nanos = 50_000_000;
const ELECTED_BY: Nanos = 30_000_000_000;
/// The start of a load, which is not counted.
const WARM_UP: Nanos = 200_000_000;

/// Nanoseconds of simulated time.
type Nanos = u64;

/// The figures of a load.
#[derive(Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) per_second: f64,
    /// The part of the time for which the processor of the busiest machine was in use.
    pub(super) busiest: f64,
}

/// A load: each client sends a command to any group once it has its last reply.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Writes per hundred commands. The others read by the lease.
    pub(super) writes: u32,
    /// The time that a command takes from the processor of the group's leader, in addition to the node's turns.
    pub(super) takes: Duration,
    pub(super) lasts: Duration,
}

/// Runs a load on new machines.
pub(super) fn sample(groups: u32, load: Load) -> Result<Sample, String> {
    let lasts = load.lasts.as_nanos() as Nanos;
    let mut world = World::start(groups, load)?;
    world.spread_leaders()?;
    for client in 0..CLIENTS {
        world.schedule(world.now + client, Event::Request);
    }
    world.run(WARM_UP)?;
    let (replies, busy) = (world.replies, world.machines.each_ref().map(|machine| machine.busy));
    world.run(lasts)?;
    let busy = world.machines.iter().zip(busy).map(|(machine, before)| machine.busy - before);
    Ok(Sample {
        per_second: (world.replies - replies) as f64 * 1e9 / lasts as f64,
        busiest: busy.max().unwrap_or_default() as f64 / lasts as f64,
    })
}

/// The machines, and what is under way between them.
struct World {
    now: Nanos,
    machines: [Machine; NODES.len()],
    /// By their time. Of two at the same time, the one that was scheduled first comes first.
    events: BTreeMap<(Nanos, u64), Event>,
    scheduled: u64,
    groups: u32,
    load: Load,
    dice: Dice,
    replies: u64,
}

/// Something that happens at a time.
enum Event {
    /// A frame arrives at a machine.
    Frame { at: usize, from: NodeId, payload: Bytes },
    /// A request of a client arrives at the leader of a group that is drawn now.
    Request,
    /// The disk of a machine gets a commit.
    Commit { at: usize, number: u64 },
    /// Everything up to this commit is durable on a machine.
    Synced { at: usize, number: u64 },
    /// The timer of a machine fires.
    Timer { at: usize },
    /// A machine has time for its next turn.
    Turn { at: usize },
}

struct Machine {
    node: Node<Keyspace>,
    waiting: VecDeque<Waiting>,
    timer_fired: bool,
    /// The next turn is scheduled.
    turn_is_due: bool,
    /// The processor is in use until then.
    busy_until: Nanos,
    /// The time for which the processor was in use.
    busy: Nanos,
    disk: Disk,
    requests: u64,
}

enum Waiting {
    Frame {
        from: NodeId,
        payload: Bytes,
    },
    Get,
    Set(Input<Keyspace>),
    /// A report of the disk or of other work.
    Report(Input<Keyspace>),
}

/// The state of a disk.
enum Disk {
    Rests,
    /// It syncs, and the commits up to this one wait, if any do.
    Syncs(Option<u64>),
}

/// The outputs of a turn.
#[derive(Default)]
struct Left {
    frames: Vec<(NodeId, Bytes)>,
    commit: Option<u64>,
    /// Commands of clients that were taken.
    commands: u32,
    replies: u64,
    /// Work for other threads, whose time is not the turn's.
    work: Vec<Work<Keyspace>>,
}

impl World {
    fn start(groups: u32, load: Load) -> Result<World, String> {
        let config = Config::new(Timing::new(HOLD, 1000)).map_err(|error| error.to_string())?;
        let mut machines = [machine(1), machine(2), machine(3)];
        for (machine, id) in machines.iter_mut().zip(NODES) {
            for group in 0..groups {
                let replica = leasehold_raft::Options::new(id, config, u64::from(group) * 16 + id);
                let mut options = GroupOptions::new(group, replica, NODES.to_vec());
                options.unnoted_version = Keyspace::NEWEST_VERSION;
                let keyspace = Keyspace::new("spread", WallClock::system());
                let recovered = Recovered::default().into_state(keyspace.empty_state());
                let start = GroupStart::new(options, recovered.map_err(|error| error.to_string())?);
                machine.node.add_group(reading(0), start, keyspace).map_err(|error| error.to_string())?;
            }
        }
        let mut world = World {
            now: 0,
            machines,
            events: BTreeMap::new(),
            scheduled: 0,
            groups,
            load,
            dice: Dice::new(1, 0),
            replies: 0,
        };
        for at in 0..NODES.len() {
            world.schedule(0, Event::Timer { at });
        }
        Ok(world)
    }

    /// Makes each machine in turn the leader of a group.
    fn spread_leaders(&mut self) -> Result<(), String> {
        while self.now < ELECTED_BY {
            self.run(LOOK)?;
            let mut missing = 0;
            for group in 0..self.groups {
                let wanted = leader_of(group);
                if self.leads(wanted, group) {
                    continue;
                }
                missing += 1;
                let other = (0..NODES.len()).find(|at| self.leads(*at, group));
                let (at, now) = (other.unwrap_or(wanted), reading(self.now));
                // It is tried again until it succeeds.
                let node = &mut self.machines[at].node;
                match other {
                    Some(_) => drop(node.transfer(now, group, NODES[wanted])),
                    None => drop(node.campaign(now, group)),
                }
                self.schedule_turn(at);
            }
            if missing == 0 {
                return Ok(());
            }
        }
        Err("a group has not got its leader on the simulated machines".to_owned())
    }

    fn leads(&self, at: usize, group: GroupId) -> bool {
        self.machines[at].node.group(group).is_some_and(|group| group.replica().role() == Role::Leader)
    }

    fn schedule(&mut self, at: Nanos, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn run(&mut self, lasts: Nanos) -> Result<(), String> {
        let end = self.now + lasts;
        while let Some(first) = self.events.first_entry()
            && first.key().0 <= end
        {
            let ((now, _), event) = first.remove_entry();
            self.now = now;
            self.handle(event)?;
        }
        self.now = end;
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Frame { at, from, payload } => self.give(at, Waiting::Frame { from, payload }),
            Event::Request => {
                let group = self.dice.index(self.groups as usize) as GroupId;
                let at = leader_of(group);
                if self.dice.below(100) >= u64::from(self.load.writes) {
                    self.give(at, Waiting::Get);
                    return Ok(());
                }
                let request = Request::Write(Entry::encode(&[], true, &[set(self.dice.index(KEYS))]));
                self.machines[at].requests += 1;
                let ticket = self.machines[at].requests;
                self.give(at, Waiting::Set(Input::Request { ticket, group, request }));
            }
            Event::Commit { at, number } => match &mut self.machines[at].disk {
                Disk::Syncs(next) => *next = Some(number),
                disk @ Disk::Rests => {
                    *disk = Disk::Syncs(None);
                    self.schedule(self.now + SYNC, Event::Synced { at, number });
                }
            },
            Event::Synced { at, number } => {
                self.give(at, Waiting::Report(Input::Committed { number }));
                match std::mem::replace(&mut self.machines[at].disk, Disk::Rests) {
                    Disk::Syncs(Some(number)) => self.handle(Event::Commit { at, number })?,
                    Disk::Syncs(None) | Disk::Rests => {}
                }
            }
            Event::Timer { at } => {
                let machine = &mut self.machines[at];
                machine.timer_fired = true;
                let tick = machine.node.tick().as_nanos() as Nanos;
                self.schedule(self.now + tick, Event::Timer { at });
                self.schedule_turn(at);
            }
            Event::Turn { at } => self.turn(at)?,
        }
        Ok(())
    }

    fn give(&mut self, at: usize, waiting: Waiting) {
        self.machines[at].waiting.push_back(waiting);
        self.schedule_turn(at);
    }

    fn schedule_turn(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if !std::mem::replace(&mut machine.turn_is_due, true) {
            let begins = machine.busy_until.max(self.now);
            self.schedule(begins, Event::Turn { at });
        }
    }

    fn turn(&mut self, at: usize) -> Result<(), String> {
        let machine = &mut self.machines[at];
        machine.turn_is_due = false;
        let before = thread_time();
        let left = machine.turn(reading(self.now))?;
        let took = thread_time() - before + self.load.takes * left.commands;
        let took = took.as_nanos() as Nanos;
        machine.busy += took;
        machine.busy_until = self.now + took;
        let end = machine.busy_until;
        let done = left.work.into_iter().filter_map(Work::run).map(Input::WorkDone);
        machine.waiting.extend(done.map(Waiting::Report));
        if !machine.waiting.is_empty() || machine.node.has_backlog() {
            self.schedule_turn(at);
        }
        for (to, payload) in left.frames {
            let frame = Event::Frame { at: position(to), from: NODES[at], payload };
            self.schedule(end + NETWORK, frame);
        }
        if let Some(number) = left.commit {
            self.schedule(end, Event::Commit { at, number });
        }
        self.replies += left.replies;
        for _ in 0..left.replies {
            // The reply to the client, and the client's next request.
            self.schedule(end + 2 * NETWORK, Event::Request);
        }
        Ok(())
    }
}

impl Machine {
    /// Takes what waits for the node, as far as a turn takes it, and returns what the node does about it.
    fn turn(&mut self, now: Reading) -> Result<Left, String> {
        let mut left = Left::default();
        for _ in 0..MAX_INPUTS_PER_TURN {
            let input = match self.waiting.pop_front() {
                None => break,
                Some(Waiting::Get) => {
                    left.commands += 1;
                    left.replies += 1;
                    continue;
                }
                Some(Waiting::Set(input)) => {
                    left.commands += 1;
                    input
                }
                Some(Waiting::Report(input)) => input,
                Some(Waiting::Frame { from, payload }) => {
                    let messages = frames::decode(&payload).map_err(|error| error.to_string())?;
                    Input::Messages { from, messages }
                }
            };
            self.node.handle(now, input);
        }
        if std::mem::take(&mut self.timer_fired) || self.node.timeout_is_due(now) {
            self.node.handle_timeout(now);
        }
        if self.node.has_backlog() {
            self.node.resume(now);
        }
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Send { to, messages, .. } => {
                    for payload in frames::encode(&messages, frames::VERSION.into()) {
                        left.frames.push((to, payload.bytes.map_err(|error| error.to_string())?));
                    }
                }
                Output::Commit { number, .. } => left.commit = Some(number),
                Output::Reply { outcome, .. } => {
                    outcome.map_err(|error| format!("a simulated write failed: {error}"))?;
                    left.replies += 1;
                }
                Output::Work(work) => left.work.push(work),
                Output::Halted { unknown, .. } => return Err(unknown.to_string()),
            }
        }
        Ok(left)
    }
}

fn machine(id: NodeId) -> Machine {
    Machine {
        node: Node::new(NodeOptions::new(id, id)),
        waiting: VecDeque::new(),
        timer_fired: false,
        turn_is_due: false,
        busy_until: 0,
        busy: 0,
        disk: Disk::Rests,
        requests: 0,
    }
}

/// Returns the machine that is to lead a group.
fn leader_of(group: GroupId) -> usize {
    group as usize % NODES.len()
}

fn position(id: NodeId) -> usize {
    id as usize - 1
}

fn reading(now: Nanos) -> Reading {
    Some(Instant::from_nanos(now, now))
}
