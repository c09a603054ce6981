//! Long random schedules of a few nodes, with every fault at once.

use crate::checker::Checker;
use crate::node::{Input, Message, Node, Setup};
use crate::{FAST_TICK, SLOW_TICK};
use leasehold_core::{Instant, NodeId};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// Messages that may still arrive.
const MAX_MESSAGES: usize = 60;
/// Entries of a log, so that a schedule does not slow down with its length.
const MAX_ENTRIES: usize = 60;
/// Ticks within which the nodes must have a leader that exposes a write and readers that see it, once all faults have ended.
const MAX_HEALING_TICKS: usize = 200;

/// The numbers of what the schedules contain.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) elections: u64,
    pub(crate) exposed: u64,
    /// Steps at which some follower could read on its own.
    pub(crate) local: u64,
    /// Grants, returns, and obligations that ended by time.
    pub(crate) granted: u64,
    pub(crate) returned: u64,
    pub(crate) expired: u64,
    /// Times at which an entry was committed and had to wait for a reader.
    pub(crate) delays: u64,
    pub(crate) slow: u64,
    /// Changes of voters that a leader applied.
    pub(crate) changes: u64,
}

struct Place {
    node: Node,
    at: Instant,
    fast: bool,
    fails: bool,
}

struct Walk<'a> {
    setup: &'a Setup,
    draws: SplitMix64,
    places: Vec<Place>,
    messages: Vec<Message>,
    /// The node that hears nothing, and is not heard.
    cut: Option<usize>,
    checker: Checker,
    walked: Walked,
}

/// Walks `steps` random steps, and then ends all faults.
///
/// # Errors
/// The seed, the steps and the broken rule.
pub(crate) fn walk(setup: &Setup, seed: u64, steps: usize) -> Result<Walked, String> {
    let start = Instant::from_nanos(1_000_000_000, 1_000_000_000);
    let mut draws = SplitMix64::seed_from_u64(seed);
    let place = |id| {
        let fast = draws.next_u64() >> 63 == 0;
        Place { node: Node::new(id, setup, Some(start)), at: start, fast, fails: false }
    };
    let places = (1..=setup.nodes).map(place).collect();
    let (messages, checker, walked) = (Vec::new(), Checker::default(), Walked::default());
    let mut walk = Walk { setup, draws, places, messages, cut: None, checker, walked };
    for step in 0..steps {
        walk.step().map_err(|what| format!("seed {seed}, step {step}: {what}"))?;
    }
    walk.heal().map_err(|what| format!("seed {seed}, healing: {what}"))?;
    walk.walked.exposed = walk.checker.exposed();
    Ok(walk.walked)
}

impl Walk<'_> {
    fn below(&mut self, bound: usize) -> usize {
        (self.draws.next_u64() >> 33) as usize % bound
    }

    /// Gives a node an input, and judges all nodes after it.
    fn give(&mut self, at: usize, input: Input) -> Result<Vec<Message>, String> {
        let place = &mut self.places[at];
        let now = (!place.fails).then_some(place.at);
        let (led, changes) = (place.node.leads(), place.node.changes);
        let sent = place.node.handle(now, input, self.setup);
        self.walked.elections += u64::from(!led && place.node.leads());
        self.walked.changes += if led { (place.node.changes - changes) as u64 } else { 0 };
        let lent = place.node.lender.take_statistics();
        self.walked.granted += lent.granted;
        self.walked.returned += lent.returned;
        self.walked.expired += lent.expired;
        self.walked.delays += lent.delays;
        self.walked.slow += lent.slow;
        self.checker.note(&place.node)?;
        for place in &self.places {
            let reads = self.checker.judge(&place.node, place.at)?;
            self.walked.local += u64::from(reads && !place.node.leads());
        }
        Ok(sent)
    }

    fn tick(&mut self, suspended: Option<usize>) {
        for (at, place) in self.places.iter_mut().enumerate() {
            let tick = if place.fast { FAST_TICK } else { SLOW_TICK } / 2;
            let awake = if suspended == Some(at) { 0 } else { tick };
            place.at = Instant::from_nanos(place.at.awake_nanos() + awake, place.at.total_nanos() + tick);
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let at = self.below(self.places.len());
        let input = match self.below(1000) {
            0..=749 if !self.messages.is_empty() => return self.deliver(),
            0..=839 => {
                let suspended = (self.below(40) == 0).then_some(at);
                self.tick(suspended);
                Input::Look
            }
            840..=889 if self.places[at].node.leads() => Input::Heartbeat,
            890..=939 if self.places[at].node.leads() => Input::Replicate,
            840..=979 => {
                let inputs = self.places[at].node.inputs(self.setup);
                let chosen = inputs[self.below(inputs.len())].clone();
                let is_rare = matches!(chosen, Input::Crash | Input::Stop | Input::StepDown);
                if is_rare && self.below(4) > 0 {
                    return Ok(());
                }
                if matches!(chosen, Input::Write | Input::Change) && self.places[at].node.log.len() > MAX_ENTRIES {
                    return Ok(());
                }
                chosen
            }
            980..=991 => {
                self.cut = if self.cut.is_none() { Some(at) } else { None };
                return Ok(());
            }
            992..=995 => {
                self.places[at].fails ^= true;
                Input::Look
            }
            996 => {
                let place = &mut self.places[at];
                let back = 2 * FAST_TICK;
                place.at = Instant::from_nanos(place.at.awake_nanos() - back, place.at.total_nanos() - back);
                Input::Look
            }
            _ => Input::Crash,
        };
        let sent = self.give(at, input)?;
        self.send(sent);
        Ok(())
    }

    /// Delivers a message, mostly in order. It may be lost, or stay to arrive again.
    fn deliver(&mut self) -> Result<(), String> {
        let chosen = if self.below(4) == 0 { self.below(self.messages.len()) } else { 0 };
        let message = self.messages[chosen].clone();
        if self.below(8) > 0 {
            self.messages.remove(chosen);
        }
        let (from, to) = (message.from as usize - 1, message.to as usize - 1);
        if self.cut.is_some_and(|cut| cut == from || cut == to) || self.below(12) == 0 {
            return Ok(());
        }
        let sent = self.give(to, Input::Deliver(message))?;
        self.send(sent);
        Ok(())
    }

    fn send(&mut self, sent: Vec<Message>) {
        self.messages.extend(sent);
        while self.messages.len() > MAX_MESSAGES {
            let lost = self.below(self.messages.len());
            self.messages.remove(lost);
        }
    }

    /// Ends all faults. Then a leader must expose a write, and every other node must read it on its own.
    fn heal(&mut self) -> Result<(), String> {
        for place in &mut self.places {
            place.fails = false;
        }
        let mut sent = std::mem::take(&mut self.messages);
        let (mut written, mut campaigned) = (None, 0);
        for tick in 0..MAX_HEALING_TICKS {
            let newest = self.places.iter().map(|place| place.node.term).max();
            let leader = self.places.iter().position(|place| place.node.leads() && Some(place.node.term) == newest);
            let leased = |place: &Place| place.node.local().is_some_and(|(until, _)| until.is_surely_after(place.at));
            if let Some(leader) = leader.filter(|leader| leased(&self.places[*leader])) {
                if written.is_none() {
                    sent.extend(self.give(leader, Input::Write)?);
                    written = Some(self.places[leader].node.log.len() as u64);
                }
            } else if tick >= campaigned + 6 {
                campaigned = tick;
                sent.extend(self.give(tick / 6 % self.places.len(), Input::Campaign)?);
            }
            for at in 0..self.places.len() {
                if self.places[at].node.leads() {
                    if tick % 8 == 0 {
                        sent.extend(self.give(at, Input::EndTransfer)?);
                    }
                    sent.extend(self.give(at, Input::Replicate)?);
                    sent.extend(self.give(at, Input::Heartbeat)?);
                }
                sent.extend(self.give(at, Input::Look)?);
            }
            let mut deliveries = 0;
            while !sent.is_empty() {
                let message = sent.remove(0);
                sent.extend(self.give(message.to as usize - 1, Input::Deliver(message))?);
                deliveries += 1;
                assert!(deliveries < 10_000, "messages cause messages without end");
            }
            if written.is_some_and(|written| self.checker.exposed() >= written) && self.places.iter().all(leased) {
                return Ok(());
            }
            self.tick(None);
            self.tick(None);
        }
        let reads: Vec<NodeId> =
            self.places.iter().filter(|place| place.node.local().is_some()).map(|place| place.node.id).collect();
        Err(format!(
            "after {MAX_HEALING_TICKS} ticks without faults, index {} is exposed of {written:?}, and {reads:?} read",
            self.checker.exposed()
        ))
    }
}
