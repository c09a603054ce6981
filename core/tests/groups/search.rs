//! Visits every state of a small world, breadth first, and heals the world in each of them.
//!
//! A world is two or three [`Node`]s, their clocks, and every message ever sent. Each message may arrive at any later
//! moment, any number of times, or never. Time moves in ticks, in which a clock advances by the least or the most that the
//! drift allows. A node is a function of its state, its reading and its input, so it runs once for each combination.

use crate::node::{Input, Message, Node, Setup};
use leasehold_core::{Instant, NodeId, Reading, Round, Term};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A tick of a clock that runs as slow as the drift allows: 10/11 of what it should show.
pub(crate) const SLOW_TICK: u64 = 10_000_000;
/// A tick of a clock that runs as fast as the drift allows: 12/11 of what it should show.
pub(crate) const FAST_TICK: u64 = 12_000_000;
/// The drift of the two ticks: one eleventh, in parts per million.
pub(crate) const DRIFT_PPM: u32 = 90_909;
/// The distance by which a clock steps back: more than a tick, so that the step is visible.
const STEP: u64 = FAST_TICK + 1_000_000;
/// Ticks within which a healed world must have a leader with a lease.
const MAX_HEALING_TICKS: usize = 80;

/// A bug of the world, and not of the machines, makes it larger.
const MAX_STATES: usize = 4_000_000;

/// Limits on what may happen in a world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) ticks: u8,
    pub(crate) terms: Term,
    /// Rounds opened after the first one of node 1.
    pub(crate) rounds: u8,
    pub(crate) restarts: u8,
    pub(crate) hostings: u8,
    pub(crate) transfers: u8,
    pub(crate) resignations: u8,
    /// Votes in other groups, each of which may withdraw support.
    pub(crate) votes_elsewhere: u8,
    pub(crate) shows: u8,
    pub(crate) failures: u8,
    pub(crate) steps_back: u8,
    pub(crate) suspends: u8,
    /// Nodes that stop for good; the others are a quorum.
    pub(crate) deaths: u8,
    /// Nodes 1 and 3 do not hear each other, and node 2 campaigns only if it is told to: the schedules in which node 2 decides.
    pub(crate) cut: bool,
    /// No message arrives before the faults end.
    pub(crate) silent: bool,
    /// The group begins at rest under node 1, and every message of before may still arrive.
    pub(crate) at_rest: bool,
    /// Every state is healed.
    pub(crate) heals: bool,
}

/// The result of a search.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) nodes: usize,
    pub(crate) runs: usize,
    /// The terms that had a valid lease.
    pub(crate) leases: HashSet<Term>,
    /// The highest term that elected a leader.
    pub(crate) elected: Term,
    /// The shortest path to a world that breaks a guarantee.
    pub(crate) violation: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Input(u8, Input),
    Tick { suspended: Option<u8> },
    Fail(u8),
    Recover(u8),
    StepBack(u8),
    Die(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    node: Node,
    at: Instant,
    fast: bool,
    failing: bool,
    dead: bool,
}

type Sent = [u64; 4];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    places: [u32; 3],
    sent: Sent,
    /// The number of times that each bounded event has occurred.
    used: [u8; 11],
    elected: Term,
    /// The newest round of each node when the last leader was elected: a read that arrives later takes a later round.
    rounds_then: [Round; 3],
}

struct Search<'a> {
    setup: &'a Setup,
    bounds: &'a Bounds,
    places: Vec<Place>,
    leases: Vec<Option<Term>>,
    numbers: HashMap<Place, u32>,
    messages: Vec<Message>,
    message_numbers: HashMap<Message, usize>,
    steps: HashMap<(u32, Act), (u32, Vec<usize>)>,
    seen: HashSet<u64>,
    paths: Vec<(usize, Option<Act>)>,
    frontier: Vec<(usize, World)>,
    healed: HashSet<[u32; 3]>,
    found: Found,
}

/// Visits every world within the bounds, starting with node 1 as leader of term 1.
pub(crate) fn explore(setup: &Setup, bounds: &Bounds) -> Found {
    let found = Found { states: 0, nodes: 0, runs: 0, leases: HashSet::new(), elected: 1, violation: None };
    let mut search = Search {
        setup,
        bounds,
        places: Vec::new(),
        leases: Vec::new(),
        numbers: HashMap::new(),
        messages: Vec::new(),
        message_numbers: HashMap::new(),
        steps: HashMap::new(),
        seen: HashSet::new(),
        paths: Vec::new(),
        frontier: Vec::new(),
        healed: HashSet::new(),
        found,
    };
    search.start();
    while search.found.violation.is_none() && !search.frontier.is_empty() {
        for (number, world) in std::mem::take(&mut search.frontier) {
            search.expand(number, world);
            if search.found.violation.is_some() {
                break;
            }
        }
    }
    Found { states: search.paths.len(), nodes: search.places.len(), runs: search.steps.len(), ..search.found }
}

impl Search<'_> {
    fn start(&mut self) {
        let hold = self.setup.config.hold();
        let start = Instant::from_nanos(1_000_000_000, 1_000_000_000);
        let at = start.plus(hold).plus(hold);
        let mut world = World { places: [0; 3], sent: [0; 4], used: [0; 11], elected: 1, rounds_then: [0; 3] };
        for id in 1..=3 {
            let node = Node::new(id, self.setup, Some(start));
            // The leader's clock is as slow as the drift allows, the others' as fast: the worst for its lease.
            let dead = !self.setup.voters.contains(&id);
            world.places[id as usize - 1] = self.place(Place { node, at, fast: id > 1, failing: false, dead });
        }
        let everyone: Vec<u8> = self.setup.voters.iter().map(|id| *id as u8 - 1).collect();
        self.act(&mut world, Act::Input(0, Input::Campaign));
        self.deliver_all(&mut world, &everyone, |message| !matches!(message, Message::Offer { .. }));
        if self.bounds.at_rest {
            for _ in 0..3 {
                for at in &everyone {
                    self.act(&mut world, Act::Input(*at, Input::Timer));
                }
                self.deliver_all(&mut world, &everyone, |_| true);
                self.act(&mut world, Act::Tick { suspended: None });
            }
            assert!(self.messages.iter().any(|message| matches!(message, Message::Rest { .. })), "the group rests");
        } else {
            // Nothing is attached. The first round and the first offer are in flight.
            self.act(&mut world, Act::Input(0, Input::OpenRound));
        }
        world.used = [0; 11];
        self.reach(None, None, world);
    }

    fn place(&mut self, place: Place) -> u32 {
        if let Some(number) = self.numbers.get(&place) {
            return *number;
        }
        let number = u32::try_from(self.places.len()).expect("a small world");
        let lease = place.node.lease(self.setup).filter(|(_, until)| !place.dead && until.is_surely_after(place.at));
        self.leases.push(lease.map(|(term, _)| term));
        self.numbers.insert(place.clone(), number);
        self.places.push(place);
        number
    }

    fn message(&mut self, message: Message) -> usize {
        if let Some(number) = self.message_numbers.get(&message) {
            return *number;
        }
        self.messages.push(message);
        self.message_numbers.insert(message, self.messages.len() - 1);
        self.messages.len() - 1
    }

    /// Executes a step of one node, or returns the result of its earlier execution.
    fn step(&mut self, number: u32, act: Act) -> (u32, Vec<usize>) {
        if let Some(step) = self.steps.get(&(number, act)) {
            return step.clone();
        }
        let mut place = self.places[number as usize].clone();
        let mut input = Some(Input::Look);
        match act {
            Act::Input(_, given) => input = Some(given),
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
            Act::Die(_) => (place.dead, input) = (true, None),
        }
        let mut sent = Vec::new();
        if let Some(input) = input.filter(|_| !place.dead) {
            let now: Reading = (!place.failing).then_some(place.at);
            let messages = place.node.handle(now, input, self.setup);
            sent.extend(messages.into_iter().map(|message| self.message(message)));
        }
        let step = (self.place(place), sent);
        self.steps.insert((number, act), step.clone());
        step
    }

    /// Applies an act to a world, and returns the messages that it sent.
    fn act(&mut self, world: &mut World, act: Act) -> Vec<usize> {
        let (first, last) = match act {
            Act::Tick { .. } => (0, 2),
            Act::Input(at, _) | Act::Fail(at) | Act::Recover(at) | Act::StepBack(at) | Act::Die(at) => (at, at),
        };
        let mut sent = Vec::new();
        for at in first..=last {
            let act = match act {
                Act::Tick { suspended } => Act::Tick { suspended: suspended.filter(|node| *node == at) },
                other => other,
            };
            let (place, mut messages) = self.step(world.places[usize::from(at)], act);
            world.places[usize::from(at)] = place;
            sent.append(&mut messages);
        }
        for message in &sent {
            // Once the search is over, a healed world has no use for messages that were sent before.
            if let Some(word) = world.sent.get_mut(message / 64) {
                *word |= 1 << (message % 64);
            }
        }
        let nodes = world.places.map(|place| &self.places[place as usize].node);
        let leads = nodes.iter().filter_map(|node| node.leads()).max();
        if leads.is_some_and(|term| term > world.elected) {
            world.elected = leads.unwrap_or(0);
            world.rounds_then = nodes.map(Node::newest_round);
        }
        sent
    }

    /// Delivers what was sent, in order, and what that causes, until nothing is sent.
    fn deliver_all(&mut self, world: &mut World, to: &[u8], wanted: impl Fn(&Message) -> bool) {
        let sent: Vec<usize> = (0..self.messages.len()).filter(|message| has(&world.sent, *message)).collect();
        self.deliver(world, sent, to, wanted);
    }

    fn deliver(&mut self, world: &mut World, sent: Vec<usize>, to: &[u8], wanted: impl Fn(&Message) -> bool) {
        let mut queue = std::collections::VecDeque::from(sent);
        let mut deliveries = 0;
        while let Some(message) = queue.pop_front() {
            let message = self.messages[message];
            for at in to.iter().filter(|at| message.is_for(NodeId::from(**at) + 1) && wanted(&message)) {
                queue.extend(self.act(world, Act::Input(*at, Input::Deliver(message))));
            }
            deliveries += 1;
            assert!(deliveries < 1000, "messages cause messages without end");
        }
    }

    fn reach(&mut self, from: Option<usize>, act: Option<Act>, world: World) {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        let number = self.paths.len();
        assert!(number < MAX_STATES, "the world is too large");
        self.paths.push((from.unwrap_or(0), act));
        self.frontier.push((number, world));
        self.found.elected = self.found.elected.max(world.elected);
        let leases: Vec<Term> = world.places.iter().filter_map(|place| self.leases[*place as usize]).collect();
        self.found.leases.extend(&leases);
        if let Some(term) = leases.into_iter().find(|term| *term < world.elected) {
            let what = format!("the lease of term {term} is valid, and term {} has elected a leader", world.elected);
            self.found.violation = Some(self.tell(number, &what));
        } else if let Some(term) = self.confirms_too_much(&world) {
            let what = format!("term {term} confirms a read that came after the election of term {}", world.elected);
            self.found.violation = Some(self.tell(number, &what));
        } else if self.bounds.heals && self.healed.insert(world.places) {
            for late in [false, true] {
                if !self.heal(world, late) {
                    let what = format!("no leader has a lease after {MAX_HEALING_TICKS} ticks without faults");
                    let late = if late { ", after all old messages" } else { "" };
                    self.found.violation = Some(self.tell(number, &(what + late)));
                    return;
                }
            }
        }
    }

    /// Returns the term of a leader that confirms reads which arrived after a later leader was elected.
    fn confirms_too_much(&self, world: &World) -> Option<Term> {
        let nodes = world.places.map(|place| &self.places[place as usize].node).into_iter().zip(world.rounds_then);
        nodes.into_iter().find_map(|(node, then)| {
            node.leads().filter(|term| *term < world.elected && node.quorum_round(self.setup) > then)
        })
    }

    /// Ends all faults. Returns whether some leader then has a lease in time. Old messages are lost, or arrive `late`.
    fn heal(&mut self, mut world: World, late: bool) -> bool {
        let alive: Vec<u8> = (0..3).filter(|at| !self.places[world.places[usize::from(*at)] as usize].dead).collect();
        for at in &alive {
            self.act(&mut world, Act::Recover(*at));
        }
        if late {
            self.deliver_all(&mut world, &alive, |_| true);
        }
        for _ in 0..MAX_HEALING_TICKS {
            let lease = |place: &u32| self.leases[*place as usize] == Some(world.elected);
            if world.places.iter().any(lease) {
                return true;
            }
            for at in &alive {
                let sent = self.act(&mut world, Act::Input(*at, Input::Timer));
                self.deliver(&mut world, sent, &alive, |_| true);
            }
            self.act(&mut world, Act::Tick { suspended: None });
        }
        false
    }

    fn expand(&mut self, number: usize, world: World) {
        let bounds = self.bounds;
        // Of a world in which the last leader is elected, only what leaders before it may do is of interest.
        let is_last = world.elected == bounds.terms && !bounds.heals;
        let leads = |place: &u32| self.places[*place as usize].node.leads();
        if is_last && !world.places.iter().any(|place| leads(place).is_some_and(|term| term < bounds.terms)) {
            return;
        }
        let is_over = |message: &Message, id: NodeId| match message {
            Message::Offer { offer, .. } => is_last && offer.term == bounds.terms,
            message if bounds.cut && cut(message, id) => true,
            Message::RequestVote { .. } | Message::Vote { .. } => is_last,
            Message::Answer { .. } | Message::Rest { .. } => !bounds.heals,
            _ => false,
        };
        let mut acts = vec![(0, bounds.ticks, Act::Tick { suspended: None })];
        for at in 0..3_u8 {
            let place = self.places[world.places[usize::from(at)] as usize].clone();
            acts.push((1, bounds.suspends, Act::Tick { suspended: Some(at) }));
            if place.dead {
                continue;
            }
            let id = NodeId::from(at) + 1;
            let sent = (0..self.messages.len()).filter(|message| has(&world.sent, *message));
            let sent = sent
                .map(|message| self.messages[message])
                .filter(|message| !bounds.silent && message.is_for(id) && !is_over(message, id));
            acts.extend(sent.map(|message| (11, 1, Act::Input(at, Input::Deliver(message)))));
            acts.push(if place.failing { (11, 1, Act::Recover(at)) } else { (2, bounds.failures, Act::Fail(at)) });
            acts.push((3, bounds.steps_back, Act::StepBack(at)));
            acts.push((10, bounds.deaths, Act::Die(at)));
            for input in place.node.inputs(self.setup) {
                let (kind, bound) = match input {
                    Input::OpenRound if bounds.cut && id != 1 => continue,
                    Input::VoteInAnotherGroup { peer } if bounds.cut && (id, peer) != (2, 1) => continue,
                    Input::OpenRound => (4, bounds.rounds),
                    Input::Restart => (5, bounds.restarts),
                    Input::HostAgain => (6, bounds.hostings),
                    Input::StartTransfer { .. } => (7, bounds.transfers),
                    Input::GiveUp => (8, bounds.resignations),
                    Input::VoteInAnotherGroup { .. } => (9, bounds.votes_elsewhere),
                    Input::Show if bounds.shows == 0 => continue,
                    Input::Campaign if bounds.cut && id == 2 => continue,
                    Input::Campaign if world.elected >= bounds.terms => continue,
                    _ => (11, 1),
                };
                acts.push((kind, bound, Act::Input(at, input)));
            }
        }
        for (kind, bound, act) in acts {
            let mut next = world;
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
            assert!(self.messages.len() <= 256 || bounds.heals, "too many distinct messages for `Sent`");
            let term = |place: &u32| self.places[*place as usize].node.term();
            if next.places.iter().any(|place| term(place) > bounds.terms) {
                continue;
            }
            self.reach(Some(number), Some(act), next);
            if self.found.violation.is_some() {
                return;
            }
        }
    }

    /// Returns the path to a world, and what is wrong there.
    fn tell(&self, mut number: usize, what: &str) -> String {
        let mut acts = Vec::new();
        while let (from, Some(act)) = self.paths[number] {
            acts.push(act);
            number = from;
        }
        let mut told = String::new();
        for act in acts.iter().rev() {
            let _ = match act {
                Act::Input(at, Input::Deliver(message)) => writeln!(told, "  n{} gets {message:?}", at + 1),
                Act::Input(at, input) => writeln!(told, "  n{} {input:?}", at + 1),
                other => writeln!(told, "  {other:?}"),
            };
        }
        told + what
    }
}

fn has(sent: &Sent, message: usize) -> bool {
    sent.get(message / 64).is_some_and(|word| word & 1 << (message % 64) != 0)
}

/// Returns whether a message would cross the cut.
fn cut(message: &Message, to: NodeId) -> bool {
    [1, 3].contains(&to) && message.from() == 4 - to
}
