//! Visits every state of a small world, breadth first.
//!
//! A world is up to four [`Node`]s, their clocks, and every message ever sent. Each message may arrive at any later moment, any
//! number of times, or never. Time moves in ticks, in which a clock advances by the least or the most that the drift allows.
//! A node is a function of its state, its reading and its input, so it runs once for each combination.

use crate::checker::Checker;
use crate::node::{Body, Input, Message, Node, Setup};
use crate::{FAST_TICK, SLOW_TICK};
use leasehold_core::{Instant, NodeId, Reading, Term};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The distance by which a clock steps back: more than a tick, so that the step is visible.
const STEP: u64 = FAST_TICK + 1_000_000;
/// A bug of the world, and not of the machines, makes it larger.
const MAX_STATES: usize = 1_000_000;
/// Kinds of bounded events.
const KINDS: usize = 13;
/// Of distinct messages.
const MAX_MESSAGES: usize = 512;

/// Limits on what may happen in a world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) ticks: u8,
    pub(crate) terms: Term,
    /// Rounds of node 1 after its first one.
    pub(crate) heartbeats: u8,
    /// Times that a leader sends its log.
    pub(crate) replications: u8,
    pub(crate) writes: u8,
    /// Changes of voters.
    pub(crate) changes: u8,
    pub(crate) crashes: u8,
    pub(crate) stops: u8,
    pub(crate) transfers: u8,
    pub(crate) step_downs: u8,
    pub(crate) returns: u8,
    pub(crate) failures: u8,
    pub(crate) steps_back: u8,
    pub(crate) suspends: u8,
    /// The node that crashes, stops, or has a clock that fails.
    pub(crate) faulty: NodeId,
    /// The node that may campaign.
    pub(crate) candidate: NodeId,
    /// Pairs of nodes that do not hear each other.
    pub(crate) cut: &'static [(NodeId, NodeId)],
    /// The nodes whose clocks are as fast as the drift allows; the others are as slow.
    pub(crate) fast: &'static [NodeId],
}

/// The result of a search.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) nodes: usize,
    pub(crate) runs: usize,
    /// The states in which a follower may read on its own.
    pub(crate) local: usize,
    /// The states in which something is committed and waits for a reader.
    pub(crate) delayed: usize,
    /// The highest term that elected a leader.
    pub(crate) elected: Term,
    /// The shortest path to a world that breaks a guarantee.
    pub(crate) violation: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Deliver(u8, usize),
    Input(u8, usize),
    Tick { suspended: Option<u8> },
    Fail(u8),
    Recover(u8),
    StepBack(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    node: Node,
    at: Instant,
    fast: bool,
    failing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    places: Vec<u32>,
    sent: [u64; MAX_MESSAGES / 64],
    /// The number of times that each bounded event has occurred.
    used: [u8; KINDS],
    elected: Term,
    checker: Checker,
}

struct Search<'a> {
    setup: &'a Setup,
    bounds: &'a Bounds,
    places: Vec<Place>,
    numbers: HashMap<Place, u32>,
    messages: Vec<Message>,
    message_numbers: HashMap<Message, usize>,
    inputs: Vec<Input>,
    steps: HashMap<(u32, Act), (u32, Vec<usize>)>,
    seen: HashSet<u64>,
    paths: Vec<(usize, Option<Act>)>,
    frontier: Vec<(usize, World)>,
    found: Found,
}

/// Visits every world within the bounds. At the start node 1 leads in term 1, every node has its log, no node is held, and
/// the frames of a round are in flight.
pub(crate) fn explore(setup: &Setup, bounds: &Bounds) -> Found {
    let found = Found { states: 0, nodes: 0, runs: 0, local: 0, delayed: 0, elected: 1, violation: None };
    let mut search = Search {
        setup,
        bounds,
        places: Vec::new(),
        numbers: HashMap::new(),
        messages: Vec::new(),
        message_numbers: HashMap::new(),
        inputs: Vec::new(),
        steps: HashMap::new(),
        seen: HashSet::new(),
        paths: Vec::new(),
        frontier: Vec::new(),
        found,
    };
    search.start();
    while search.found.violation.is_none() && !search.frontier.is_empty() {
        for (number, world) in std::mem::take(&mut search.frontier) {
            search.expand(number, &world);
            if search.found.violation.is_some() {
                break;
            }
        }
    }
    Found { states: search.paths.len(), nodes: search.places.len(), runs: search.steps.len(), ..search.found }
}

impl Search<'_> {
    fn start(&mut self) {
        let silent = Setup { readers: &[], ..self.setup.clone() };
        let (hold, start) = (self.setup.config.hold(), Instant::from_nanos(1_000_000_000, 1_000_000_000));
        let at = start.plus(hold).plus(hold);
        let mut nodes: Vec<Node> = (1..=self.setup.nodes).map(|id| Node::new(id, self.setup, Some(start))).collect();
        for input in [Input::Campaign, Input::Replicate, Input::Replicate] {
            let mut queue = std::collections::VecDeque::from(nodes[0].handle(Some(at), input, &silent));
            while let Some(message) = queue.pop_front() {
                let to = message.to as usize - 1;
                queue.extend(nodes[to].handle(Some(at), Input::Deliver(message), &silent));
            }
        }
        // What was echoed so far holds no node any more, and gives no lease.
        let at = at.plus(hold);
        let first = nodes[0].handle(Some(at), Input::Heartbeat, &silent);
        assert!(
            nodes[0].leads()
                && nodes.iter().all(|node| node.log == [(1, false)] && node.exposed == 1)
                && !first.is_empty()
        );
        let (fast, mut sent) = (self.bounds.fast, [0; MAX_MESSAGES / 64]);
        for message in first {
            let number = self.message(message);
            sent[number / 64] |= 1 << (number % 64);
        }
        let place = |node: Node| Place { fast: fast.contains(&node.id), node, at, failing: false };
        let places: Vec<u32> = nodes.into_iter().map(|node| self.place(place(node))).collect();
        let world = World { places, sent, used: [0; KINDS], elected: 1, checker: Checker::default() };
        self.reach(None, None, world);
    }

    fn place(&mut self, place: Place) -> u32 {
        if let Some(number) = self.numbers.get(&place) {
            return *number;
        }
        let number = u32::try_from(self.places.len()).expect("a small world");
        self.numbers.insert(place.clone(), number);
        self.places.push(place);
        number
    }

    fn message(&mut self, message: Message) -> usize {
        if let Some(number) = self.message_numbers.get(&message) {
            return *number;
        }
        let number = self.messages.len();
        assert!(number < MAX_MESSAGES, "too many distinct messages");
        self.messages.push(message.clone());
        self.message_numbers.insert(message, number);
        number
    }

    fn input(&mut self, input: Input) -> usize {
        let known = self.inputs.iter().position(|known| *known == input);
        known.unwrap_or_else(|| {
            self.inputs.push(input);
            self.inputs.len() - 1
        })
    }

    /// Executes a step of one node, or returns the result of its earlier execution.
    fn step(&mut self, number: u32, act: Act) -> (u32, Vec<usize>) {
        if let Some(step) = self.steps.get(&(number, act)) {
            return step.clone();
        }
        let mut place = self.places[number as usize].clone();
        let mut input = Input::Look;
        match act {
            Act::Deliver(_, message) => input = Input::Deliver(self.messages[message].clone()),
            Act::Input(_, given) => input = self.inputs[given].clone(),
            Act::Tick { suspended } => {
                let tick = if place.fast { FAST_TICK } else { SLOW_TICK };
                let awake = if suspended.is_some() { 0 } else { tick };
                place.at = Instant::from_nanos(place.at.awake_nanos() + awake, place.at.total_nanos() + tick);
            }
            Act::Fail(_) => place.failing = true,
            Act::Recover(_) => place.failing = false,
            Act::StepBack(_) => {
                place.at = Instant::from_nanos(place.at.awake_nanos() - STEP, place.at.total_nanos() - STEP);
            }
        }
        let now: Reading = (!place.failing).then_some(place.at);
        let messages = place.node.handle(now, input, self.setup);
        // Counters would tell states apart that behave alike.
        place.node.forget_counters();
        let cut = |message: &Message| {
            let (from, to) = (message.from, message.to);
            self.bounds.cut.iter().any(|pair| *pair == (from, to) || *pair == (to, from))
        };
        let messages: Vec<Message> = messages.into_iter().filter(|message| !cut(message)).collect();
        let sent = messages.into_iter().map(|message| self.message(message)).collect();
        let step = (self.place(place), sent);
        self.steps.insert((number, act), step.clone());
        step
    }

    /// Applies an act to a world.
    fn act(&mut self, world: &mut World, act: Act) {
        let (first, last) = match act {
            Act::Tick { .. } => (0, world.places.len() - 1),
            Act::Deliver(at, _) | Act::Input(at, _) | Act::Fail(at) | Act::Recover(at) | Act::StepBack(at) => {
                (usize::from(at), usize::from(at))
            }
        };
        for at in first..=last {
            let act = match act {
                Act::Tick { suspended } => Act::Tick { suspended: suspended.filter(|node| usize::from(*node) == at) },
                other => other,
            };
            let (place, sent) = self.step(world.places[at], act);
            world.places[at] = place;
            for message in sent {
                world.sent[message / 64] |= 1 << (message % 64);
            }
        }
        for place in &world.places {
            let node = &self.places[*place as usize].node;
            if node.leads() {
                world.elected = world.elected.max(node.term);
            }
        }
    }

    fn reach(&mut self, from: Option<usize>, act: Option<Act>, mut world: World) {
        let mut violation = None;
        let places: Vec<&Place> = world.places.iter().map(|place| &self.places[*place as usize]).collect();
        for place in &places {
            violation = violation.or(world.checker.note(&place.node).err());
        }
        let (mut local, mut delayed) = (false, false);
        for place in &places {
            match world.checker.judge(&place.node, place.at) {
                Ok(true) if place.node.term < world.elected => {
                    let (id, term) = (place.node.id, place.node.term);
                    let what =
                        format!("node {id} may read in term {term}, and term {} has elected a leader", world.elected);
                    violation = violation.or(Some(what));
                }
                Ok(reads) => local |= reads && !place.node.leads(),
                Err(what) => violation = violation.or(Some(what)),
            }
            delayed |= place.node.leads() && place.node.lender.exposed() < place.node.commit;
        }
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        let number = self.paths.len();
        assert!(number < MAX_STATES, "the world is too large");
        self.paths.push((from.unwrap_or(0), act));
        self.found.elected = self.found.elected.max(world.elected);
        self.found.local += usize::from(local);
        self.found.delayed += usize::from(delayed);
        self.found.violation = violation.map(|what| self.tell(number, &what));
        self.frontier.push((number, world));
    }

    fn expand(&mut self, number: usize, world: &World) {
        let bounds = self.bounds;
        // Of a world in which the last leader is elected, only what nodes of earlier terms may still read is of interest.
        let is_last = world.elected == bounds.terms && bounds.terms > 1;
        let mut acts = vec![(0, bounds.ticks, Act::Tick { suspended: None })];
        for at in 0..world.places.len() {
            let id = at as NodeId + 1;
            let place = self.places[world.places[at] as usize].clone();
            let at = at as u8;
            for message in 0..self.messages.len() {
                let Message { to, body, .. } = &self.messages[message];
                let is_over = is_last && !matches!(body, Body::Granted(_));
                if *to == id && has(&world.sent, message) && !is_over {
                    acts.push((KINDS, 1, Act::Deliver(at, message)));
                }
            }
            if is_last {
                continue;
            }
            if id == bounds.faulty {
                acts.push((1, bounds.suspends, Act::Tick { suspended: Some(at) }));
                let recovery = (KINDS, 1, Act::Recover(at));
                acts.push(if place.failing { recovery } else { (2, bounds.failures, Act::Fail(at)) });
                acts.push((3, bounds.steps_back, Act::StepBack(at)));
            }
            for input in place.node.inputs(self.setup) {
                let (kind, bound) = match input {
                    Input::Heartbeat => (4, bounds.heartbeats),
                    Input::Replicate => (5, bounds.replications),
                    Input::Write => (6, bounds.writes),
                    Input::Crash | Input::Stop if id != bounds.faulty => continue,
                    Input::Crash => (7, bounds.crashes),
                    Input::Stop => (8, bounds.stops),
                    Input::StartTransfer { .. } => (9, bounds.transfers),
                    Input::StepDown => (10, bounds.step_downs),
                    Input::Return => (11, bounds.returns),
                    Input::Change => (12, bounds.changes),
                    Input::Campaign if id != bounds.candidate || place.node.term >= bounds.terms => continue,
                    _ => (KINDS, 1),
                };
                acts.push((kind, bound, Act::Input(at, self.input(input))));
            }
        }
        for (kind, bound, act) in acts {
            let mut next = world.clone();
            if let Some(used) = next.used.get_mut(kind) {
                if *used >= bound {
                    continue;
                }
                *used += 1;
            }
            if kind == 1 {
                // A suspended tick is a tick.
                next.used[0] += 1;
                if next.used[0] > bounds.ticks {
                    continue;
                }
            }
            self.act(&mut next, act);
            self.reach(Some(number), Some(act), next);
            if self.found.violation.is_some() {
                return;
            }
        }
    }

    /// Tells the path to a world.
    fn tell(&self, mut number: usize, what: &str) -> String {
        let mut acts = Vec::new();
        while let (from, Some(act)) = self.paths[number] {
            acts.push(act);
            number = from;
        }
        let mut text = String::new();
        for act in acts.iter().rev() {
            let line = match act {
                Act::Deliver(_, message) => {
                    let Message { from, to, term, body } = &self.messages[*message];
                    format!("n{to} handles from n{from}, in term {term}: {body:?}")
                }
                Act::Input(at, input) => format!("n{} does: {:?}", at + 1, self.inputs[*input]),
                other => format!("{other:?}"),
            };
            writeln!(text, "  {line}").expect("a string takes everything");
        }
        text + what
    }
}

fn has(sent: &[u64], message: usize) -> bool {
    sent[message / 64] >> (message % 64) & 1 == 1
}
