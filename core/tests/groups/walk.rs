//! Long random schedules of a few nodes, with every fault at once.

use crate::node::{Input, Message, Node, Setup};
use crate::search::{FAST_TICK, SLOW_TICK};
use leasehold_core::{Instant, NodeId, Round, Term};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// Messages that may still arrive.
const MAX_MESSAGES: usize = 60;
/// Ticks within which the nodes must have a leader with a lease once all faults have ended.
const MAX_HEALING_TICKS: usize = 120;

/// The numbers of leases and elections in the schedules.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) leases: usize,
    pub(crate) elections: usize,
}

struct Place {
    node: Node,
    at: Instant,
    fast: bool,
    fails: bool,
    /// The newest round when the last leader was elected.
    then: Round,
}

struct Walk<'a> {
    setup: &'a Setup,
    draws: SplitMix64,
    places: Vec<Place>,
    messages: Vec<Message>,
    /// The node that hears nothing, and is not heard.
    cut: Option<usize>,
    elected: Term,
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
        Place { node: Node::new(id, setup, Some(start)), at: start, fast, fails: false, then: 0 }
    };
    let places = (1..=setup.nodes).map(place).collect();
    let mut walk =
        Walk { setup, draws, places, messages: Vec::new(), cut: None, elected: 0, walked: Walked::default() };
    for step in 0..steps {
        walk.step();
        walk.check().map_err(|what| format!("seed {seed}, step {step}: {what}"))?;
    }
    walk.heal().map_err(|what| format!("seed {seed}, healing: {what}"))?;
    Ok(walk.walked)
}

impl Walk<'_> {
    fn below(&mut self, bound: usize) -> usize {
        (self.draws.next_u64() >> 33) as usize % bound
    }

    fn give(&mut self, at: usize, input: Input) -> Vec<Message> {
        let place = &mut self.places[at];
        let now = (!place.fails).then_some(place.at);
        let sent = place.node.handle(now, input, self.setup);
        if place.node.leads().is_some_and(|term| term > self.elected) {
            self.elected = place.node.leads().unwrap_or(0);
            self.walked.elections += 1;
            for place in &mut self.places {
                place.then = place.node.newest_round();
            }
        }
        sent
    }

    fn tick(&mut self, suspended: Option<usize>) {
        for (at, place) in self.places.iter_mut().enumerate() {
            let tick = if place.fast { FAST_TICK } else { SLOW_TICK } / 2;
            let awake = if suspended == Some(at) { 0 } else { tick };
            place.at = Instant::from_nanos(place.at.awake_nanos() + awake, place.at.total_nanos() + tick);
        }
    }

    fn step(&mut self) {
        let at = self.below(self.places.len());
        let input = match self.below(1000) {
            0..=749 if !self.messages.is_empty() => return self.deliver(),
            0..=859 => {
                let suspended = (self.below(40) == 0).then_some(at);
                self.tick(suspended);
                Input::Look
            }
            860..=949 => Input::Timer,
            950..=993 => {
                let inputs = self.places[at].node.inputs(self.setup);
                let chosen = inputs[self.below(inputs.len())];
                let is_rare = matches!(chosen, Input::Restart | Input::GiveUp);
                if is_rare && (self.below(3) > 0 || self.places.iter().any(|place| place.node.is_stalled())) {
                    return;
                }
                chosen
            }
            994..=995 => {
                self.cut = if self.cut.is_none() { Some(at) } else { None };
                return;
            }
            996..=997 => {
                self.places[at].fails ^= true;
                Input::Look
            }
            998 => {
                let place = &mut self.places[at];
                let back = 2 * FAST_TICK;
                place.at = Instant::from_nanos(place.at.awake_nanos() - back, place.at.total_nanos() - back);
                Input::Look
            }
            _ => Input::Restart,
        };
        let sent = self.give(at, input);
        self.send(sent);
    }

    /// Delivers a message, mostly in order. It may be lost, or stay to arrive again.
    fn deliver(&mut self) {
        let chosen = if self.below(4) == 0 { self.below(self.messages.len()) } else { 0 };
        let message = self.messages[chosen];
        if self.below(8) > 0 {
            self.messages.remove(chosen);
        }
        // A voter may send its attachment to other nodes too.
        let strays = matches!(message, Message::Attached { .. }) && self.below(4) == 0;
        for at in 0..self.places.len() {
            let id = at as NodeId + 1;
            let is_cut = self.cut.is_some_and(|cut| cut == at || cut as NodeId + 1 == message.from());
            if (message.is_for(id) || strays && id != message.from()) && !is_cut && self.below(10) > 0 {
                let sent = self.give(at, Input::Deliver(message));
                self.send(sent);
            }
        }
    }

    fn send(&mut self, sent: Vec<Message>) {
        self.messages.extend(sent);
        while self.messages.len() > MAX_MESSAGES {
            let lost = self.below(self.messages.len());
            self.messages.remove(lost);
        }
    }

    fn check(&mut self) -> Result<(), String> {
        for place in &self.places {
            let lease = place.node.lease(self.setup).filter(|(_, until)| until.is_surely_after(place.at));
            self.walked.leases += usize::from(lease.is_some());
            if let Some((term, _)) = lease.filter(|(term, _)| *term < self.elected) {
                return Err(format!(
                    "the lease of term {term} is valid, and term {} has elected a leader",
                    self.elected
                ));
            }
            let leads = place.node.leads().filter(|term| *term < self.elected);
            if let Some(term) = leads.filter(|_| place.node.quorum_round(self.setup) > place.then) {
                return Err(format!(
                    "term {term} confirms a read that came after the election of term {}",
                    self.elected
                ));
            }
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<(), String> {
        for place in &mut self.places {
            place.fails = false;
        }
        let mut sent = std::mem::take(&mut self.messages);
        for tick in 0..MAX_HEALING_TICKS {
            for at in 0..self.places.len() {
                sent.extend(self.give(at, Input::Timer));
                let mut deliveries = 0;
                while !sent.is_empty() {
                    let message = sent.remove(0);
                    let to = (0..self.places.len()).filter(|at| message.is_for(*at as NodeId + 1));
                    for at in to.collect::<Vec<_>>() {
                        sent.extend(self.give(at, Input::Deliver(message)));
                    }
                    deliveries += 1;
                    assert!(deliveries < 10_000, "messages cause messages without end");
                }
            }
            self.check()?;
            let leased = |place: &Place| {
                let lease = place.node.lease(self.setup);
                lease.is_some_and(|(term, until)| term == self.elected && until.is_surely_after(place.at))
            };
            if tick > 0 && self.places.iter().any(leased) {
                return Ok(());
            }
            self.tick(None);
            self.tick(None);
        }
        Err(format!("no leader has a lease after {MAX_HEALING_TICKS} ticks without faults"))
    }
}
