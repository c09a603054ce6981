//! A cluster of engines on a fake network and fake time.

use crate::engine::{Contents, Engine, Output, Start};
use crate::promise::{Input, Promises};
use crate::subject::{Answer, Broken, ClockFault, Founding, Kind, Links, NotExpressible, ReadId, Subject};
use leasehold_core::{Config, Instant, NodeId, Options, Reading, Tag, Term};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const HOLD: Duration = Duration::from_millis(1000);
const HEARTBEAT: Duration = Duration::from_millis(100);
const MILLISECOND: Duration = Duration::from_millis(1);
/// The most messages on their way. More come only from messages that are answered by two.
const MAX_ON_WIRE: usize = 100_000;
/// The most outputs of one input.
const MAX_OUTPUTS: usize = 100_000;
/// The longest additional delay of a message on a network that reorders, in milliseconds.
const MAX_SCRAMBLED_DELAY: u64 = 60;

/// A cluster of engines. A message takes a millisecond, a disk takes no time, and clocks are exact, unless a schedule says
/// otherwise.
pub(crate) struct World<'a, E: Engine> {
    new: &'a dyn Fn(Start<E::Disk>) -> E,
    founding: Founding,
    nodes: BTreeMap<NodeId, Node<E>>,
    now: Duration,
    latency: Duration,
    scrambled: bool,
    random: SplitMix64,
    links: Links,
    /// The kinds of messages that were held, and those that were sent.
    wanted: BTreeSet<Kind>,
    seen: BTreeSet<Kind>,
    /// Directions between nodes that refuse each other.
    refused: BTreeSet<(NodeId, NodeId)>,
    wire: Vec<InTransit<E::Message>>,
    held: Vec<InTransit<E::Message>>,
    acknowledged: BTreeSet<u64>,
    reads: Vec<Answer>,
    broken: Option<Broken>,
}

struct Node<E: Engine> {
    /// It is there except while the process is replaced.
    engine: Option<E>,
    config: Config,
    promises: Promises,
    inbox: VecDeque<Waiting<E::Message>>,
    /// Reads that were asked and not answered.
    pending: Vec<ReadId>,
    paused: bool,
    tick: Duration,
    since_tick: Duration,
    clock: Clock,
}

/// An input, and whether it arrived while the process was paused.
struct Waiting<M> {
    waited: bool,
    input: Arrival<M>,
}

enum Arrival<M> {
    Message(NodeId, M),
    Read(ReadId),
}

/// A node's clock, relative to the time of the world.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    stepped: i64,
    /// The time that the awake counter stood still.
    behind: Duration,
    stands_still: bool,
    fails: bool,
}

#[derive(Clone)]
struct InTransit<M> {
    at: Duration,
    from: NodeId,
    to: NodeId,
    message: M,
}

impl Clock {
    fn read(&self, now: Duration) -> Reading {
        let total = (now.as_nanos() as u64).saturating_add_signed(self.stepped);
        let awake = total.saturating_sub(self.behind.as_nanos() as u64);
        (!self.fails).then_some(Instant::from_nanos(awake, total))
    }
}

/// Returns the kinds of a message. A round and an acknowledgement may also travel alone.
fn kinds(Contents { kind, tag: Tag { round, ack, .. } }: Contents) -> Vec<Kind> {
    let lease = round.map(|_| Kind::Lead).into_iter().chain(ack.map(|_| Kind::Answer));
    kind.into_iter().chain(lease).collect()
}

impl<'a, E: Engine> World<'a, E> {
    /// Returns a newly founded cluster. `new` starts a process.
    pub(crate) fn founded(founding: Founding, new: &'a dyn Fn(Start<E::Disk>) -> E) -> World<'a, E> {
        let mut world = World {
            new,
            founding,
            nodes: BTreeMap::new(),
            now: Duration::from_secs(100),
            latency: MILLISECOND,
            scrambled: false,
            random: SplitMix64::seed_from_u64(founding.seed),
            links: Links::default(),
            // Every leader of several voters was elected, and its frames were answered.
            wanted: [Kind::Lead, Kind::Answer, Kind::AskVote, Kind::Vote].into(),
            seen: BTreeSet::new(),
            refused: BTreeSet::new(),
            wire: Vec::new(),
            held: Vec::new(),
            acknowledged: BTreeSet::new(),
            reads: Vec::new(),
            broken: None,
        };
        for id in founding.voters.iter().chain(founding.learners).copied() {
            world.start(id, None, Clock::default(), Promises::default(), 1);
        }
        world
    }

    /// Starts a process, with timeouts `shortened` times as short.
    fn start(&mut self, id: NodeId, disk: Option<E::Disk>, clock: Clock, promises: Promises, shortened: u32) {
        let timing = Options::new(HOLD / shortened, 1000).with_heartbeat(HEARTBEAT / shortened);
        let config = Config::new(timing).expect("the hold covers the lease");
        let tick = HEARTBEAT / shortened / 2;
        let start = Start {
            id,
            voters: self.founding.voters.to_vec(),
            learners: self.founding.learners.to_vec(),
            config,
            tick,
            seed: self.random.next_u64(),
            now: clock.read(self.now),
            disk,
        };
        let node = Node {
            engine: Some((self.new)(start)),
            config,
            promises,
            inbox: VecDeque::new(),
            pending: Vec::new(),
            paused: false,
            tick,
            since_tick: Duration::ZERO,
            clock,
        };
        self.nodes.insert(id, node);
        self.drain(id, Input::Request);
        // The handshake of each link.
        for (one, other) in self.nodes.keys().map(|other| (id, *other)).filter(|(one, other)| one != other) {
            let accepts = |at: NodeId, peer: NodeId| self.engine(at).accept_peer(self.nodes[&peer].config.timing());
            let accepted = accepts(one, other) && accepts(other, one);
            for link in [(one, other), (other, one)] {
                if accepted {
                    self.refused.remove(&link)
                } else {
                    self.refused.insert(link)
                };
            }
        }
    }

    fn node(&mut self, id: NodeId) -> &mut Node<E> {
        self.nodes.get_mut(&id).expect("a node of the cluster")
    }

    fn engine(&self, id: NodeId) -> &E {
        self.nodes[&id].engine.as_ref().expect("a process runs")
    }

    /// Gives a node one input with a reading of its own, and executes its outputs.
    fn step<T>(&mut self, id: NodeId, input: Input, give: impl FnOnce(&mut E, Reading) -> T) -> T {
        let now = self.now;
        let node = self.node(id);
        let reading = node.clock.read(now);
        let engine = node.engine.as_mut().expect("a process runs");
        let before = engine.term();
        let outcome = give(engine, reading);
        let after = engine.term();
        let campaigned = self.drain(id, input);
        let broken = self.nodes[&id].promises.judge(now, id, input, campaigned, [before, after]);
        self.broken = self.broken.take().or(broken);
        outcome
    }

    /// Executes outputs. Returns whether a request for a vote was among them.
    fn drain(&mut self, id: NodeId, input: Input) -> bool {
        let mut campaigned = false;
        let mut count = 0;
        while let Some(output) = self.node(id).engine.as_mut().and_then(E::poll_output) {
            count += 1;
            assert!(count <= MAX_OUTPUTS, "n{id} has more than {MAX_OUTPUTS} outputs: poll_output must return None");
            match output {
                Output::Send { to, message } => {
                    let contents = E::contents(&message);
                    self.seen.extend(kinds(contents));
                    campaigned |= contents.kind == Some(Kind::AskVote) && input != Input::Request;
                    let now = self.now;
                    let node = self.node(id);
                    if let Some(ack) = contents.tag.ack {
                        node.promises.acknowledge(now, ack, node.config.hold());
                    }
                    let broken = contents.tag.round.and_then(|round| node.promises.open(id, round));
                    self.broken = self.broken.take().or(broken);
                    self.send(InTransit { at: self.now + self.latency, from: id, to, message });
                }
                Output::Acknowledge(value) => drop(self.acknowledged.insert(value)),
                Output::Answer(read, answer) => {
                    self.node(id).pending.retain(|pending| *pending != read);
                    self.reads[read.0] = answer;
                }
            }
        }
        campaigned
    }

    fn send(&mut self, message: InTransit<E::Message>) {
        if self.scrambled {
            for _ in 0..2 {
                let delay = Duration::from_millis(self.random.next_u64() % MAX_SCRAMBLED_DELAY);
                self.wire.push(InTransit { at: message.at + delay, ..message.clone() });
            }
        } else {
            self.wire.push(message);
        }
        let count = self.wire.len();
        assert!(count <= MAX_ON_WIRE, "{count} messages are on their way: repeated ones must not be answered by more");
    }

    /// Removes held messages from the wire.
    fn sort_wire(&mut self) {
        if self.links.held.is_empty() {
            return;
        }
        let links = &self.links;
        self.wanted.extend(links.held.iter().map(|(_, _, kind)| *kind));
        let (held, on): (Vec<_>, Vec<_>) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition(|message| links.holds(message.from, message.to, &kinds(E::contents(&message.message))));
        self.held.extend(held);
        self.wire = on;
    }

    fn arrive(&mut self, message: InTransit<E::Message>) {
        let InTransit { from, to, message, .. } = message;
        if self.refused.contains(&(from, to)) || !self.nodes.contains_key(&to) {
            return;
        }
        let node = self.node(to);
        node.inbox.push_back(Waiting { waited: node.paused, input: Arrival::Message(from, message) });
    }

    /// Gives a node what waits for it, if its process is not paused.
    fn empty_inbox(&mut self, id: NodeId) {
        while !self.nodes[&id].paused
            && let Some(Waiting { waited, input }) = self.node(id).inbox.pop_front()
        {
            match input {
                Arrival::Message(from, message) => {
                    let now = self.now;
                    let Contents { kind, tag } = E::contents(&message);
                    let promises = &mut self.node(id).promises;
                    if let Some(round) = tag.round {
                        promises.see_round(now, round, waited);
                    }
                    if let Some(release) = tag.release {
                        promises.see_release(release, kind);
                    }
                    self.step(id, Input::Message(kind), |engine, now| engine.receive(now, from, message));
                }
                Arrival::Read(read) => {
                    self.node(id).pending.push(read);
                    self.step(id, Input::Request, |engine, now| engine.read(now, read));
                }
            }
        }
    }
}

impl<E: Engine> Subject for World<'_, E> {
    fn advance(&mut self) {
        self.sort_wire();
        self.now += MILLISECOND;
        for node in self.nodes.values_mut() {
            if node.clock.stands_still {
                node.clock.behind += MILLISECOND;
            } else {
                node.since_tick += MILLISECOND;
            }
        }
        let now = self.now;
        let (mut due, on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.wire).into_iter().partition(|message| message.at <= now);
        self.wire = on;
        due.sort_by_key(|message| message.at);
        for message in due {
            if !self.links.loses(message.from, message.to, &kinds(E::contents(&message.message))) {
                self.arrive(message);
            }
        }
        for id in self.nodes() {
            self.empty_inbox(id);
            let node = self.node(id);
            if !node.paused && node.since_tick >= node.tick {
                node.since_tick = Duration::ZERO;
                self.step(id, Input::Tick, E::tick);
            }
        }
        self.sort_wire();
    }

    fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    fn set_latency(&mut self, latency: Duration) {
        self.latency = latency;
    }

    fn scramble(&mut self, on: bool) -> Result<(), NotExpressible> {
        self.scrambled = on;
        Ok(())
    }

    fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    fn unseen(&self) -> Option<Kind> {
        self.wanted.difference(&self.seen).next().copied()
    }

    fn deliver(&mut self) {
        self.sort_wire();
        for message in std::mem::take(&mut self.held) {
            let to = message.to;
            self.arrive(message);
            self.empty_inbox(to);
        }
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    fn leads(&self, id: NodeId) -> bool {
        self.engine(id).leads()
    }

    fn term(&self, id: NodeId) -> Term {
        self.engine(id).term()
    }

    fn pause(&mut self, id: NodeId) {
        self.node(id).paused = true;
    }

    fn resume(&mut self, id: NodeId) {
        self.node(id).paused = false;
    }

    fn suspend(&mut self, id: NodeId) {
        self.pause(id);
        self.node(id).clock.stands_still = true;
    }

    fn wake(&mut self, id: NodeId) {
        self.node(id).clock.stands_still = false;
        self.resume(id);
    }

    fn restart(&mut self, id: NodeId, shortened: u32) {
        let node = self.node(id);
        let disk = node.engine.take().expect("a process runs").kill();
        let waiting = node.inbox.drain(..).filter_map(|waiting| match waiting.input {
            Arrival::Read(read) => Some(read),
            Arrival::Message(..) => None,
        });
        let pending: Vec<ReadId> = node.pending.drain(..).chain(waiting).collect();
        let clock = node.clock;
        let mut promises = std::mem::take(&mut node.promises);
        promises.restart();
        for read in pending {
            self.reads[read.0] = Answer::Refused;
        }
        self.start(id, Some(disk), clock, promises, shortened);
    }

    fn disturb(&mut self, id: NodeId, fault: ClockFault) -> Result<(), NotExpressible> {
        let clock = &mut self.node(id).clock;
        match fault {
            ClockFault::Back(by) => clock.stepped -= by.as_nanos() as i64,
            ClockFault::Forward(by) => clock.stepped += by.as_nanos() as i64,
            ClockFault::Fails => clock.fails = true,
            ClockFault::Works => clock.fails = false,
            ClockFault::AwakeCounterStops => clock.stands_still = true,
        }
        Ok(())
    }

    fn burst(&mut self, id: NodeId, ticks: u32) -> Result<(), NotExpressible> {
        for _ in 0..ticks {
            self.step(id, Input::Tick, E::tick);
        }
        Ok(())
    }

    fn transfer(&mut self, from: NodeId, to: NodeId) -> Result<(), NotExpressible> {
        self.step(from, Input::Request, |engine, now| engine.transfer(now, to))
    }

    fn campaign(&mut self, id: NodeId) -> Result<(), NotExpressible> {
        self.step(id, Input::Campaign, E::campaign)
    }

    fn delay_reports(&mut self, id: NodeId, on: bool) -> Result<(), NotExpressible> {
        self.step(id, Input::Request, |engine, now| engine.delay_reports(now, on))
    }

    fn change_voters(&mut self, leader: NodeId, voters: &[NodeId]) -> Result<bool, NotExpressible> {
        self.step(leader, Input::Request, |engine, now| engine.change_voters(now, voters))
    }

    fn voters(&self, id: NodeId) -> Vec<NodeId> {
        self.engine(id).voters()
    }

    fn write(&mut self, id: NodeId, value: u64) -> bool {
        !self.nodes[&id].paused && self.step(id, Input::Request, |engine, now| engine.write(now, value))
    }

    fn acknowledged(&self, value: u64) -> bool {
        self.acknowledged.contains(&value)
    }

    fn ask(&mut self, id: NodeId) -> ReadId {
        let read = ReadId(self.reads.len());
        self.reads.push(Answer::Pending);
        let node = self.node(id);
        node.inbox.push_back(Waiting { waited: node.paused, input: Arrival::Read(read) });
        self.empty_inbox(id);
        read
    }

    fn answer(&self, read: ReadId) -> Answer {
        self.reads[read.0]
    }
}
