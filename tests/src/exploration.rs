//! Visits every state of a small world, breadth first.
//!
//! A world is two or three [`Node`]s, their clocks, and every message ever sent. Each message may arrive at any later moment,
//! any number of times, or never: this covers loss, duplication, delay and reordering. Time moves in ticks. In a tick a clock
//! advances by the least or the most that the drift allows. [`Bounds`] limits what may happen.
//!
//! A node is a function of its state, its reading and its input, so it runs once for each combination and the result is kept.
//! A world is then a few numbers. Visited worlds are recognised by a 64-bit fingerprint. Among ten million of them, the chance
//! that two share one, so that a state is missed, is less than one in a hundred thousand.

use crate::abstract_raft::{Input, Message, Node, Output, Setup};
use crate::rules::Rule;
use leasehold_core::{Instant, LeaseCell, NodeId, Reading, Term};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

/// A tick of a clock that runs as slow as the drift allows: 10/11 of what it should show.
pub const SLOW_TICK: u64 = 10_000_000;
/// A tick of a clock that runs as fast as the drift allows: 12/11 of what it should show.
pub const FAST_TICK: u64 = 12_000_000;
/// The drift of the two ticks: one eleventh, in parts per million.
pub const DRIFT_PPM: u32 = 90_909;
/// The distance by which a clock steps or dips back: more than a tick, so that the step is visible.
const STEP: u64 = FAST_TICK + 1_000_000;
/// The reading at which every clock starts.
const START: Instant = Instant::from_nanos(1_000_000_000, 1_000_000_000);

/// The rules whose absence a search of a small world shows.
pub const SHOWN: [Rule; 14] = [
    Rule::RestartHold,
    Rule::HeldNodeDoesNotVote,
    Rule::HeldNodeDoesNotCampaign,
    Rule::ReleaseMustCoverTheNewestAck,
    Rule::EchoWithoutReadingHolds,
    Rule::ReadingBelongsToItsInput,
    Rule::AnchorIsTheOpening,
    Rule::TransferReleases,
    Rule::AbandonedTransferStaysReleased,
    Rule::QuorumFollowsTheVoters,
    Rule::BackwardReadingVoids,
    Rule::LeaseAgesByTheFasterCounter,
    Rule::HoldCoversLease,
    Rule::Barrier,
];

/// Limits on what may happen in a world.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Ticks of time.
    pub ticks: u8,
    /// The highest term.
    pub terms: Term,
    /// Rounds opened, in addition to those that every election and every abandoned transfer opens.
    pub rounds: u8,
    /// Restarts of a process.
    pub restarts: u8,
    /// Transfers of leadership started.
    pub transfers: u8,
    /// Clocks that begin to fail; each may recover.
    pub failures: u8,
    /// Permanent steps of clocks, and single readings that dip.
    pub steps_back: u8,
    /// Ticks for which one machine is suspended.
    pub suspends: u8,
    /// True if every node reads its clock once a tick, as a real one does. If false, nodes read it with inputs only.
    pub watchful: bool,
    /// The fast clocks, one bit for each node, of each initial world.
    pub fast: Vec<u8>,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Found {
    /// Distinct worlds.
    pub states: usize,
    /// Steps from one world to another, or the same.
    pub steps: usize,
    /// The length of the longest of the shortest paths to all worlds.
    pub depth: usize,
    /// Distinct states of nodes.
    pub nodes: usize,
    /// Steps of single nodes that were executed rather than looked up.
    pub runs: usize,
    /// The terms that had a valid lease.
    pub leases: Vec<Term>,
    /// The newest term in which a leader committed something.
    pub acknowledged: Term,
    /// The shortest path to a world that breaks a guarantee.
    pub violation: Option<String>,
}

/// One step of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Input { at: u8, input: u16, reading: Shown },
    Tick { suspended: u8 },
    Fail { at: u8 },
    Recover { at: u8 },
    StepBack { at: u8 },
}

/// The reading that comes with an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Shown {
    TheTime,
    ADip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Clock {
    at: Instant,
    fast: bool,
    failing: bool,
}

/// A node with its clock, and the lease that the search checks in every world.
#[derive(Clone, Debug)]
struct Place {
    node: Node,
    clock: Clock,
    /// The term and commit index of a valid lease.
    lease: Option<(Term, usize)>,
}

/// The messages ever sent, one bit each.
type Sent = [u64; 8];

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Used {
    ticks: u8,
    rounds: u8,
    restarts: u8,
    transfers: u8,
    failures: u8,
    steps_back: u8,
    suspends: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    places: [u32; 3],
    sent: Sent,
    used: Used,
    /// The newest term in which a leader committed an entry of its own, and the highest index that any leader committed.
    acknowledged: (u16, u16),
}

/// The outcome of a step of one node.
#[derive(Clone, Copy)]
struct Step {
    place: u32,
    /// The position of its messages in `Search::outputs`.
    first: u32,
    count: u8,
}

/// Gives values numbers, which are quick to compare and to store.
struct Numbered<T> {
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn new() -> Numbered<T> {
        Numbered { numbers: HashMap::new() }
    }

    /// Returns the number of a value, and whether it is new.
    fn number(&mut self, thing: &T) -> (u32, bool) {
        if let Some(number) = self.numbers.get(thing) {
            return (*number, false);
        }
        let number = u32::try_from(self.numbers.len()).expect("a small world");
        self.numbers.insert(thing.clone(), number);
        (number, true)
    }
}

/// Hashes one 64-bit word that is already well mixed, or nearly.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only whole words are hashed")
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

type Memory<T> = HashMap<u64, T, BuildHasherDefault<AsIs>>;

struct Search<'a> {
    setup: &'a Setup,
    bounds: &'a Bounds,
    nodes: usize,
    places: Vec<Place>,
    place_numbers: Numbered<(Node, Clock)>,
    inputs: Vec<Input>,
    input_numbers: Numbered<Input>,
    messages: Vec<Message>,
    /// The input that delivers each message.
    deliveries: Vec<u16>,
    message_numbers: Numbered<Message>,
    steps: Memory<Step>,
    outputs: Vec<u16>,
    seen: HashSet<u64, BuildHasherDefault<AsIs>>,
    /// The previous world and the step by which each world was first reached, in the order of their numbers.
    paths: Vec<(u32, Act)>,
    frontier: Vec<(u32, World)>,
    taken: usize,
    leases: BTreeSet<Term>,
    acknowledged: Term,
    violation: Option<(u32, String)>,
}

/// Visits every world within the bounds, starting with node 1 as leader of term 1, whose first entry is committed and whose
/// newest round has just been sent. Stops at the first world with a valid lease that must not be valid.
pub fn explore(setup: &Setup, bounds: &Bounds) -> Found {
    let nodes = setup.configurations.iter().flatten().copied().max().expect("a configuration has voters") as usize;
    let mut search = Search {
        setup,
        bounds,
        nodes,
        places: Vec::new(),
        place_numbers: Numbered::new(),
        inputs: Vec::new(),
        input_numbers: Numbered::new(),
        messages: Vec::new(),
        deliveries: Vec::new(),
        message_numbers: Numbered::new(),
        steps: Memory::default(),
        outputs: Vec::new(),
        seen: HashSet::default(),
        paths: Vec::new(),
        frontier: Vec::new(),
        taken: 0,
        leases: BTreeSet::new(),
        acknowledged: 0,
        violation: None,
    };
    for fast in &bounds.fast {
        search.start(*fast);
    }
    let mut depth = 0;
    while search.violation.is_none() {
        let frontier = std::mem::take(&mut search.frontier);
        if frontier.is_empty() {
            break;
        }
        depth += 1;
        for (number, world) in frontier {
            search.expand(number, &world);
            if search.violation.is_some() {
                break;
            }
        }
    }
    Found {
        states: search.paths.len(),
        steps: search.taken,
        depth,
        nodes: search.places.len(),
        runs: search.steps.len(),
        leases: search.leases.iter().copied().collect(),
        acknowledged: search.acknowledged,
        violation: search.violation.take().map(|(number, what)| search.tell(number, &what)),
    }
}

impl Search<'_> {
    /// Adds an initial world. Node 1 is elected and has committed its first entry; the others have it but do not know that it
    /// is committed. They acknowledged its first round, and all holds ended before node 1 opened the round that is in flight.
    fn start(&mut self, fast: u8) {
        let (setup, cell) = (self.setup, LeaseCell::new());
        let hold = setup.config.hold();
        let (elected, now) = (START.plus(hold), START.plus(hold).plus(hold));
        let mut nodes: Vec<Node> = (1..=self.nodes as NodeId).map(|id| Node::settled(id, setup, Some(START))).collect();
        let (leader, others) = nodes.split_first_mut().expect("a configuration has voters");
        let everyone = (1..=self.nodes).fold(0, |all, id| all | 1 << id);
        for input in [Input::Campaign, Input::Count(everyone)] {
            for output in leader.handle(Some(elected), &input, setup, &cell) {
                let Output::Send(message) = output else { continue };
                for other in &mut *others {
                    other.handle(Some(elected), &Input::Deliver(message.clone()), setup, &cell);
                }
            }
        }
        leader.handle(Some(elected), &Input::Replicated([1; 3]), setup, &cell);
        let mut world = World { places: [0; 3], sent: [0; 8], used: Used::default(), acknowledged: (1, 1) };
        for (at, mut node) in nodes.into_iter().enumerate() {
            let inputs: &[Input] = if at == 0 { &[Input::Look, Input::OpenRound] } else { &[Input::Look] };
            for output in inputs.iter().flat_map(|input| node.handle(Some(now), input, setup, &cell)) {
                if let Output::Send(message) = output {
                    let message = self.message(&message);
                    world.sent[usize::from(message) / 64] |= 1 << (message % 64);
                }
            }
            let clock = Clock { at: now, fast: fast & (1 << at) != 0, failing: false };
            world.places[at] = self.place(node, clock);
        }
        self.reach(u32::MAX, Act::Tick { suspended: fast }, world);
    }

    fn place(&mut self, node: Node, clock: Clock) -> u32 {
        let key = (node, clock);
        let (number, new) = self.place_numbers.number(&key);
        if new {
            let (node, clock) = key;
            let lease = node
                .lease_until()
                .is_some_and(|until| until.is_surely_after(clock.at))
                .then_some((node.term(), node.commit()));
            self.leases.extend(lease.map(|(term, _)| term));
            self.places.push(Place { node, clock, lease });
        }
        number
    }

    fn input(&mut self, input: &Input) -> u16 {
        let (number, new) = self.input_numbers.number(input);
        if new {
            self.inputs.push(input.clone());
        }
        u16::try_from(number).expect("few inputs")
    }

    fn message(&mut self, message: &Message) -> u16 {
        let (number, new) = self.message_numbers.number(message);
        if new {
            let delivery = self.input(&Input::Deliver(message.clone()));
            self.messages.push(message.clone());
            self.deliveries.push(delivery);
        }
        assert!(number < 512, "more than 512 distinct messages: lower the bounds or widen `Sent`");
        number as u16
    }

    /// Executes a step of one node, or returns the result of its earlier execution.
    fn step(&mut self, place: u32, act: Act) -> Step {
        let code = match act {
            Act::Input { input, reading, .. } => u32::from(input) << 4 | reading as u32,
            Act::Tick { suspended } => 2 | u32::from(suspended) << 4,
            Act::Fail { .. } => 3,
            Act::Recover { .. } => 4,
            Act::StepBack { .. } => 5,
        };
        let key = u64::from(place) << 32 | u64::from(code);
        if let Some(step) = self.steps.get(&key) {
            return *step;
        }
        let Place { mut node, mut clock, .. } = self.places[place as usize].clone();
        let mut input = None;
        match act {
            Act::Input { input: number, .. } => input = Some(self.inputs[number as usize].clone()),
            Act::Tick { suspended } => {
                let tick = if clock.fast { FAST_TICK } else { SLOW_TICK };
                let awake = if suspended != 0 { 0 } else { tick };
                clock.at = Instant::from_nanos(clock.at.awake_nanos() + awake, clock.at.total_nanos() + tick);
                input = self.bounds.watchful.then_some(Input::Look);
            }
            Act::Fail { .. } => clock.failing = true,
            Act::Recover { .. } => {
                clock.failing = false;
                input = self.bounds.watchful.then_some(Input::Look);
            }
            Act::StepBack { .. } => {
                clock.at = back(clock.at);
                input = Some(Input::Look);
            }
        }
        let mut sends = Vec::new();
        if let Some(input) = input {
            let now: Reading = match act {
                _ if clock.failing => None,
                Act::Input { reading: Shown::ADip, .. } => Some(back(clock.at)),
                _ => Some(clock.at),
            };
            // The search reads the lease from the holder, so what is published to the cell does not matter.
            let cell = LeaseCell::new();
            for output in node.handle(now, &input, self.setup, &cell) {
                if let Output::Send(message) = output {
                    sends.push(self.message(&message));
                }
            }
        }
        let first = u32::try_from(self.outputs.len()).expect("a small world");
        let count = u8::try_from(sends.len()).expect("few messages at once");
        self.outputs.append(&mut sends);
        let step = Step { place: self.place(node, clock), first, count };
        self.steps.insert(key, step);
        step
    }

    /// Takes a step, and adds the world it leads to if that is new and within the bounds.
    fn try_act(&mut self, number: u32, world: &World, act: Act, count: impl FnOnce(&mut Used)) {
        self.taken += 1;
        let mut after = *world;
        match act {
            Act::Tick { suspended } => {
                for at in 0..self.nodes {
                    let suspended = u8::from(usize::from(suspended) == at + 1);
                    after.places[at] = self.step(world.places[at], Act::Tick { suspended }).place;
                }
            }
            Act::Input { at, .. } | Act::Fail { at } | Act::Recover { at } | Act::StepBack { at } => {
                let at = usize::from(at);
                let step = self.step(world.places[at], act);
                let messages = &self.outputs[step.first as usize..][..usize::from(step.count)];
                if step.place == world.places[at] && messages.iter().all(|message| has(&world.sent, *message)) {
                    return;
                }
                for message in messages {
                    after.sent[usize::from(*message) / 64] |= 1 << (message % 64);
                }
                after.places[at] = step.place;
                let node = &self.places[step.place as usize].node;
                if node.term() > self.bounds.terms {
                    return;
                }
                if let Some((term, index)) = node.acknowledged() {
                    let (newest, highest) = after.acknowledged;
                    after.acknowledged = (newest.max(term as u16), highest.max(index as u16));
                }
            }
        }
        count(&mut after.used);
        self.reach(number, act, after);
    }

    /// Returns whether a message can no longer have an effect, on any node at any time: terms only rise, and a node that
    /// stopped leading or campaigning in a term never does so again in that term.
    fn is_dead(&self, message: &Message, world: &World) -> bool {
        let node = |id: NodeId| &self.places[world.places[id as usize - 1] as usize].node;
        let others_are_past =
            |from: NodeId, term: Term| (1..=self.nodes as NodeId).all(|id| id == from || node(id).term() > term);
        match message {
            Message::Round { from, round } => others_are_past(*from, round.term),
            // A node whose last entry is of that term got it from that leader, and has acknowledged it.
            Message::Append { from, term, log, commit } => {
                (1..=self.nodes as NodeId).all(|id| id == *from || node(id).has_taken(*term, log, *commit))
            }
            Message::Ack { to, round, .. } => !node(*to).leads() || node(*to).term() != round.term,
            Message::Appended { term, .. } => {
                !(1..=self.nodes as NodeId).any(|id| node(id).leads() && node(id).term() == *term)
            }
            // A release has its effect whatever the term of the request.
            Message::RequestVote { from, term, release, .. } => release.is_none() && others_are_past(*from, *term),
            Message::Vote { to, term, .. } => !node(*to).campaigns() || node(*to).term() != *term,
            Message::CampaignNow { to, term, .. } => node(*to).term() > *term,
        }
    }

    fn reach(&mut self, from: u32, act: Act, mut world: World) {
        for message in bits(&world.sent) {
            // Where nodes read their clocks with inputs only, even a message without effect makes a node read its clock.
            if self.bounds.watchful && self.is_dead(&self.messages[message], &world) {
                world.sent[message / 64] &= !(1 << (message % 64));
            }
        }
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        let number = u32::try_from(self.paths.len()).expect("a small world");
        self.paths.push((from, act));
        self.frontier.push((number, world));
        let (newest, highest) = world.acknowledged;
        self.acknowledged = self.acknowledged.max(newest.into());
        let leases = (0..self.nodes).filter_map(|at| self.places[world.places[at] as usize].lease);
        for (term, index) in leases {
            let what = if term < Term::from(newest) {
                format!(
                    "the lease of term {term} is valid, and the leader of term {newest} can have acknowledged a write"
                )
            } else if index < usize::from(highest) {
                format!(
                    "the lease of term {term} is valid at index {index}, and index {highest} can have been acknowledged"
                )
            } else {
                continue;
            };
            self.violation.get_or_insert((number, what));
        }
    }

    fn expand(&mut self, number: u32, world: &World) {
        let bounds = self.bounds;
        let used = world.used;
        let mut dips = vec![Shown::TheTime];
        if used.steps_back < bounds.steps_back {
            dips.push(Shown::ADip);
        }
        for at in 0..self.nodes {
            for reading in &dips {
                self.act_at(number, world, at as u8, *reading);
            }
            let clock = self.places[world.places[at] as usize].clock;
            let at = at as u8;
            if clock.failing {
                self.try_act(number, world, Act::Recover { at }, |_| ());
            } else if used.failures < bounds.failures {
                self.try_act(number, world, Act::Fail { at }, |used| used.failures += 1);
            }
            if used.steps_back < bounds.steps_back {
                self.try_act(number, world, Act::StepBack { at }, |used| used.steps_back += 1);
            }
        }
        if used.ticks < bounds.ticks {
            let suspends = if used.suspends < bounds.suspends { self.nodes as u8 } else { 0 };
            for suspended in 0..=suspends {
                self.try_act(number, world, Act::Tick { suspended }, |used| {
                    used.ticks += 1;
                    used.suspends += u8::from(suspended != 0);
                });
            }
        }
    }

    fn act_at(&mut self, number: u32, world: &World, at: u8, reading: Shown) {
        let dipped = u8::from(reading == Shown::ADip);
        let dip = move |used: &mut Used| used.steps_back += dipped;
        let place = world.places[usize::from(at)];
        let node = &self.places[place as usize].node;
        let (leads, campaigns, transfers, term) = (node.leads(), node.campaigns(), node.transfers(), node.term());
        let mut votes = 0_u8;
        let mut lengths = [0; 3];
        for message in bits(&world.sent) {
            match &self.messages[message] {
                Message::Vote { from, to, term: of } => {
                    votes |= u8::from(*to == u64::from(at) + 1 && *of == term) << from;
                }
                Message::Appended { from, term: of, length } => {
                    let of_peer = &mut lengths[*from as usize - 1];
                    *of_peer = if *of == term { (*of_peer).max(*length) } else { *of_peer };
                }
                _ => {
                    let input = self.deliveries[message];
                    self.try_act(number, world, Act::Input { at, input, reading }, dip);
                }
            }
        }
        type Spend = fn(&mut Used);
        let mut inputs: Vec<(Input, Spend)> = Vec::new();
        if campaigns {
            inputs.push((Input::Count(votes), |_| ()));
        }
        if leads {
            inputs.push((Input::Replicated(lengths), |_| ()));
            inputs.push((Input::Change, |_| ()));
            if transfers {
                inputs.push((Input::Abandon, |_| ()));
            } else if world.used.rounds < self.bounds.rounds {
                inputs.push((Input::OpenRound, |used| used.rounds += 1));
            }
            if world.used.transfers < self.bounds.transfers {
                for to in (1..=self.nodes as NodeId).filter(|to| *to != u64::from(at) + 1) {
                    inputs.push((Input::Transfer(to), |used| used.transfers += 1));
                }
            }
        } else if term < self.bounds.terms {
            inputs.push((Input::Campaign, |_| ()));
        }
        if world.used.restarts < self.bounds.restarts {
            inputs.push((Input::Restart, |used| used.restarts += 1));
        }
        for (input, count) in inputs {
            let input = self.input(&input);
            self.try_act(number, world, Act::Input { at, input, reading }, |used| {
                dip(used);
                count(used);
            });
        }
    }

    /// Returns the path to a world, one step a line.
    fn tell(&self, number: u32, what: &str) -> String {
        let mut acts = Vec::new();
        let mut at = number;
        while at != u32::MAX {
            let (from, act) = self.paths[at as usize];
            acts.push(act);
            at = from;
        }
        let mut story = String::new();
        let mut ticks = 0;
        for (step, act) in acts.into_iter().rev().enumerate() {
            if step == 0 {
                let Act::Tick { suspended: fast } = act else { unreachable!("a world starts with its clocks") };
                let clocks = (0..self.nodes).map(|at| if fast & (1 << at) == 0 { "slow" } else { "fast" });
                let clocks: Vec<&str> = clocks.collect();
                writeln!(story, "n1 leads term 1; the clocks of n1.. are {}", clocks.join(", ")).expect("to memory");
                continue;
            }
            ticks += u8::from(matches!(act, Act::Tick { .. }));
            writeln!(story, "  tick {ticks}  {}", self.act(act)).expect("to memory");
        }
        story + what
    }

    fn act(&self, act: Act) -> String {
        match act {
            Act::Tick { suspended: 0 } => "time passes".into(),
            Act::Tick { suspended } => format!("time passes, n{suspended} is suspended"),
            Act::Fail { at } => format!("n{} clock fails", at + 1),
            Act::Recover { at } => format!("n{} clock recovers", at + 1),
            Act::StepBack { at } => format!("n{} clock steps back", at + 1),
            Act::Input { at, input, reading } => {
                let dip = if reading == Shown::ADip { ", with a reading that dips" } else { "" };
                format!("n{} {}{dip}", at + 1, self.inputs[usize::from(input)])
            }
        }
    }
}

fn has(sent: &Sent, message: u16) -> bool {
    sent[usize::from(message) / 64] & 1 << (message % 64) != 0
}

/// Returns the numbers of the bits that are set.
fn bits(sent: &Sent) -> impl Iterator<Item = usize> + use<> {
    let sent = *sent;
    (0..sent.len()).flat_map(move |word| {
        let mut left = sent[word];
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(word * 64 + bit)
        })
    })
}

fn back(at: Instant) -> Instant {
    Instant::from_nanos(at.awake_nanos() - STEP, at.total_nanos() - STEP)
}
