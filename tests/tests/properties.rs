//! Checks guarantees in random runs: clocks that step back, give no readings, stop in a suspend, and run as far apart as the
//! drift allows; messages delayed, lost, repeated and out of order; restarts, transfers, changes of voters.
//!
//! A run is a list of numbers, each of which selects one event. A failure prints the shortest list that was found.
//! `LEASEHOLD_CASE="7, 1024, 3" cargo test -p leasehold-tests --test properties PROPERTY` replays it.

use leasehold_core::{
    Config, Event, Grantor, Holder, Instant, LeaseCell, NodeId, Options, Reading, Round, Term, TermRound, Ticket,
    Voters,
};
use leasehold_testing::dice::Dice;
use leasehold_tests::abstract_raft::{Input, Message, Node, Output, Setup};
use leasehold_tests::machine::Subject;
use leasehold_tests::rules::{Rule, Rules};
use quickcheck::{Gen, QuickCheck, TestResult};
use std::collections::BTreeMap;
use std::time::Duration;

const MILLIS: u64 = 1_000_000;
/// One eleventh: clocks advance by 10, 11 or 12 for every 11 that pass.
const DRIFT_PPM: u32 = 90_909;
const HOLD: Duration = Duration::from_millis(1200);
const LEASE: Duration = Duration::from_millis(1000);

/// Runs a property on random cases, or on the one that the environment names.
fn check(runs: u64, length: usize, property: fn(Vec<u32>) -> TestResult) {
    match std::env::var("LEASEHOLD_CASE") {
        Ok(case) => {
            let numbers = case.split([',', ' ', '[', ']']).filter(|number| !number.is_empty());
            let case = numbers.map(|number| number.parse().expect("a list of numbers")).collect();
            assert!(!property(case).is_failure(), "the case still fails");
        }
        Err(_) => QuickCheck::new().rng(Gen::new(length)).tests(runs).quickcheck(property),
    }
}

/// A machine with its clock and its process.
struct Machine {
    node: Node,
    cell: LeaseCell,
    at: Instant,
    failing: bool,
}

/// A waiting quorum read.
struct Parked {
    at: usize,
    ticket: Ticket,
    term: Term,
    /// The highest index that any leader could have acknowledged when it arrived.
    acknowledged: usize,
}

struct World {
    setup: Setup,
    machines: Vec<Machine>,
    sent: Vec<Message>,
    parked: Vec<Parked>,
    /// The highest index that any leader committed in its own term, and the newest such term.
    acknowledged: (Term, usize),
    /// The number of valid leases seen. A run without any proves nothing.
    leases: usize,
}

impl World {
    fn new(configurations: &[&[NodeId]]) -> World {
        World::of(Subject::Product, configurations)
    }

    fn of(subject: Subject, configurations: &[&[NodeId]]) -> World {
        let options = Options::new(HOLD, DRIFT_PPM).with_lease(LEASE).with_heartbeat(Duration::from_millis(100));
        let config = Config::new(options).expect("the hold covers the lease");
        let configurations = configurations.iter().map(|voters| voters.to_vec()).collect();
        let setup = Setup { config, configurations, subject, staleness: Duration::ZERO };
        let machines = (1..=3).map(|id| {
            // Each clock has its own origin.
            let start = Instant::from_nanos(id * 10_000_000 * MILLIS, id * 30_000_000 * MILLIS);
            let node = Node::settled(id, &setup, Some(start));
            Machine { node, cell: LeaseCell::new(), at: start.plus(HOLD), failing: false }
        });
        let machines = machines.collect();
        let mut world =
            World { setup, machines, sent: Vec::new(), parked: Vec::new(), acknowledged: (0, 0), leases: 0 };
        // Node 1 is elected at once; the case decides everything else.
        world.sound_input(0, Input::Campaign);
        for at in 1..3 {
            world.sound_input(at, Input::Deliver(world.sent[0].clone()));
        }
        world.sound_input(0, Input::Count(0b1110));
        world
    }

    /// Runs a whole case, and checks the guarantees after every event.
    fn run(&mut self, case: &[u32]) {
        for number in case {
            self.happen(&mut Dice::new(u64::from(*number), 0));
            self.check();
        }
    }

    fn happen(&mut self, choice: &mut Dice) {
        let at = choice.index(self.machines.len());
        match choice.index(60) {
            0..25 if !self.sent.is_empty() => {
                // The newest messages are the most likely, but any may arrive again.
                let recent = if choice.one_in(4) { self.sent.len() } else { self.sent.len().min(6) };
                let message = self.sent[self.sent.len() - 1 - choice.index(recent)].clone();
                let to = match message {
                    Message::Ack { to, .. } | Message::CampaignNow { to, .. } => to as usize - 1,
                    _ => at,
                };
                self.input(to, Input::Deliver(message), choice);
            }
            25..40 => self.settle(at, choice),
            40..48 => self.pass(choice),
            48..52 => self.input(at, Input::OpenRound, choice),
            52..54 => self.park(at),
            54..56 => self.input(at, Input::Campaign, choice),
            56 => self.input(at, Input::Transfer(choice.index(self.machines.len()) as NodeId + 1), choice),
            57 => self.input(at, if choice.one_in(2) { Input::Abandon } else { Input::Change }, choice),
            // A new process has no earlier reading, so it could not detect a wrong first one.
            58 => self.sound_input(at, Input::Restart),
            _ => {
                let machine = &mut self.machines[at];
                // A step while a clock gives no readings is not visible, so it would break the bound on its rate.
                if choice.one_in(3) && !machine.failing {
                    let by = choice.index(3000) as u64 * MILLIS + 1;
                    machine.at = Instant::from_nanos(machine.at.awake_nanos() - by, machine.at.total_nanos() - by);
                } else {
                    machine.failing = !machine.failing;
                }
                // A node detects a step back at its next reading. Reader threads are exposed until then.
                self.sound_input(at, Input::Look);
            }
        }
    }

    /// Counts votes and appended entries, which may arrive late.
    fn settle(&mut self, at: usize, choice: &mut Dice) {
        let (id, term) = (at as NodeId + 1, self.machines[at].node.term());
        let mut votes = 0;
        let mut lengths = [0; 3];
        for message in &self.sent {
            match message {
                Message::Vote { from, to, term: of } if *to == id && *of == term => votes |= 1 << from,
                Message::Appended { from, term: of, length } if *of == term => {
                    lengths[*from as usize - 1] = lengths[*from as usize - 1].max(*length);
                }
                _ => {}
            }
        }
        self.input(at, Input::Count(votes), choice);
        self.input(at, Input::Replicated(lengths), choice);
    }

    /// Lets time pass, for each clock at its own rate. One machine may be suspended meanwhile.
    fn pass(&mut self, choice: &mut Dice) {
        let elevenths = [1, 20, 100, 500][choice.index(4)] * MILLIS / 11;
        let asleep = choice.index(30);
        for (at, machine) in self.machines.iter_mut().enumerate() {
            let by = elevenths * (10 + choice.index(3) as u64);
            let awake = if at == asleep { 0 } else { by };
            machine.at = Instant::from_nanos(machine.at.awake_nanos() + awake, machine.at.total_nanos() + by);
        }
        for at in 0..self.machines.len() {
            self.sound_input(at, Input::Look);
        }
    }

    fn input(&mut self, at: usize, input: Input, choice: &mut Dice) {
        let machine = &mut self.machines[at];
        let mut now: Reading = (!machine.failing).then_some(machine.at);
        if choice.one_in(12) {
            now = None;
        } else if choice.one_in(40) && !machine.failing {
            // Every node read its clock when time last passed, so it detects this backward reading.
            now = Some(Instant::from_nanos(machine.at.awake_nanos() - MILLIS, machine.at.total_nanos() - 1));
        }
        self.input_at(at, now, input);
    }

    /// Gives a node an input with a correct reading, unless its clock fails.
    fn sound_input(&mut self, at: usize, input: Input) {
        let machine = &self.machines[at];
        self.input_at(at, (!machine.failing).then_some(machine.at), input);
    }

    fn input_at(&mut self, at: usize, now: Reading, input: Input) {
        let machine = &mut self.machines[at];
        if input == Input::Restart {
            machine.cell = LeaseCell::new();
            self.parked.retain(|parked| parked.at != at);
        }
        let outputs = machine.node.handle(now, &input, &self.setup, &machine.cell);
        self.take(at, outputs);
    }

    fn take(&mut self, at: usize, outputs: Vec<Output>) {
        let machine = &self.machines[at];
        let term = machine.node.term();
        if let Some((term, index)) = machine.node.acknowledged() {
            self.acknowledged = (self.acknowledged.0.max(term), self.acknowledged.1.max(index));
        }
        for output in outputs {
            match output {
                Output::Send(message) => self.sent.push(message),
                Output::Confirmed(through) => {
                    self.parked.retain(|parked| {
                        if parked.at != at || parked.ticket.round > through {
                            return true;
                        }
                        assert_eq!(parked.term, term, "a read was confirmed in a later term than it was taken in");
                        assert!(
                            parked.ticket.index as usize >= parked.acknowledged,
                            "a quorum read was confirmed at index {}, short of {} that was acknowledged before it arrived",
                            parked.ticket.index,
                            parked.acknowledged
                        );
                        false
                    });
                }
                Output::Aborted(through) => {
                    self.parked.retain(|parked| parked.at != at || parked.ticket.round > through);
                }
            }
        }
    }

    /// Starts a quorum read.
    fn park(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        let now = (!machine.failing).then_some(machine.at);
        let term = machine.node.term();
        let (ticket, outputs) = machine.node.quorum_read(now, &machine.cell);
        let Some(ticket) = ticket else { return };
        let sent = self.sent.iter().filter_map(|message| match message {
            Message::Round { round, .. } if round.term == term => Some(round.round),
            _ => None,
        });
        let newest = sent.max().unwrap_or(0);
        assert!(ticket.round > newest, "a read shares round {}, but {newest} was sent before it arrived", ticket.round);
        self.parked.push(Parked { at, ticket, term, acknowledged: self.acknowledged.1 });
        self.take(at, outputs);
    }

    fn check(&mut self) {
        let mut leases = Vec::new();
        for machine in &self.machines {
            let until = machine.node.lease_until();
            for ahead in [0, 1, 10, 100, 990, 1000] {
                let now = machine.at.plus(Duration::from_millis(ahead));
                let granted = until.is_some_and(|until| until.is_surely_after(now));
                let shown = machine.node.permit(Some(now), &machine.cell);
                assert_eq!(shown.is_some(), granted, "the cell shows {shown:?}, the holder's lease ends at {until:?}");
            }
            leases.extend(machine.node.permit(Some(machine.at), &machine.cell).map(|permit| (machine, permit)));
        }
        assert!(
            leases.len() <= 1,
            "two leases are valid: {:?}",
            leases.iter().map(|lease| lease.1).collect::<Vec<_>>()
        );
        let Some((holder, permit)) = leases.pop() else { return };
        self.leases += 1;
        let (term, index) = self.acknowledged;
        assert!(permit.term >= term, "{permit:?} is valid, and the leader of term {term} has acknowledged a write");
        assert!(permit.index as usize >= index, "{permit:?} is valid, and index {index} has been acknowledged");
        // Every quorum contains the holder or a held voter.
        let voters = holder.node.voters(&self.setup);
        let free = voters.iter().filter(|voter| {
            let machine = &self.machines[**voter as usize - 1];
            !std::ptr::eq(machine, holder) && machine.node.is_free(Some(machine.at))
        });
        let free = free.count();
        assert!(free <= voters.len() / 2, "{permit:?} is valid, but {free} of {voters:?} are free to elect another");
    }
}

fn three_voters(case: Vec<u32>) -> TestResult {
    let mut world = World::new(&[&[1, 2, 3]]);
    world.run(&case);
    TestResult::from_bool(true)
}

fn changing_voters(case: Vec<u32>) -> TestResult {
    let mut world = World::new(&[&[1], &[1, 2], &[1, 2, 3], &[2, 3], &[1, 2, 3]]);
    world.run(&case);
    TestResult::from_bool(true)
}

#[test]
fn at_most_one_lease_is_valid_and_no_quorum_is_free_under_it() {
    check(3000, 600, three_voters);
}

#[test]
fn at_most_one_lease_is_valid_while_voters_join_and_leave() {
    check(3000, 600, changing_voters);
}

/// Returns the case of a seed.
fn case(seed: u32) -> Vec<u32> {
    (0..600).map(|number| number * 101 + seed * 1_000_003).collect()
}

/// Random runs detect the absence of these rules; the enumeration covers the others.
#[test]
fn random_runs_detect_a_missing_rule() {
    for rule in
        [Rule::RestartHold, Rule::HeldNodeDoesNotVote, Rule::HeldNodeDoesNotCampaign, Rule::EchoWithoutReadingHolds]
    {
        let noticed = (0..3000).any(|seed| {
            let subject = Subject::Model(Rules::without(rule));
            let run = || World::of(subject, &[&[1, 2, 3]]).run(&case(seed));
            std::panic::catch_unwind(run).is_err()
        });
        assert!(noticed, "the absence of {rule:?} made no difference in 3000 runs");
    }
    // The same model with every rule passes, so it is the absence that is noticed.
    for seed in 0..50 {
        World::of(Subject::Compared, &[&[1, 2, 3]]).run(&case(seed));
    }
}

#[test]
fn most_random_runs_have_leases() {
    let mut leases = 0;
    for seed in 0..50_u32 {
        let mut world = World::new(&[&[1, 2, 3]]);
        world.run(&case(seed));
        leases += usize::from(world.leases > 0);
    }
    assert!(leases >= 30, "only {leases} of 50 runs had a lease: the properties above are hardly tried");
}

/// Finds the greatest round that a majority of every non-empty half reached by trying each.
fn naive_quorum_round(halves: [&[NodeId]; 2], acked: &BTreeMap<NodeId, Round>) -> Round {
    let reached = |half: &[NodeId], round: Round| {
        let count = half.iter().filter(|voter| acked.get(voter).is_some_and(|newest| *newest >= round)).count();
        half.is_empty() || count > half.len() / 2
    };
    let everyone = halves.concat();
    let rounds = acked.values().copied().filter(|round| halves.iter().all(|half| reached(half, *round)));
    if everyone.is_empty() { 0 } else { rounds.max().unwrap_or(0) }
}

fn quorum_round(case: Vec<u32>) -> TestResult {
    const ME: NodeId = 4;
    let options = Options::new(HOLD, 0).with_heartbeat(Duration::from_millis(100));
    let (mut holder, cell) = (Holder::new(ME, Config::new(options).expect("sound")), LeaseCell::new());
    let mut halves: [Vec<NodeId>; 2] = [vec![3, ME, 5], vec![]];
    let voters = |halves: &[Vec<NodeId>; 2]| Voters::joint(&halves[0], &halves[1]).expect("distinct");
    let first = Event::Elected { term: 1, voters: voters(&halves), barrier: 1, commit: 0 };
    holder.handle_event(None, first, &cell).expect("an event that a driver may send");
    let mut newest = 1;
    let mut acked = BTreeMap::from([(ME, newest)]);
    for number in case {
        let mut choice = Dice::new(u64::from(number), 0);
        match choice.index(8) {
            0 => {
                for half in &mut halves {
                    *half = (1..=9).filter(|_| choice.one_in(2)).collect();
                }
                if choice.one_in(2) || halves[0].is_empty() {
                    halves[1].clear();
                }
                acked.retain(|voter, _| halves.concat().contains(voter));
                holder
                    .handle_event(None, Event::VotersChanged(voters(&halves)), &cell)
                    .expect("an event that a driver may send");
            }
            1 => {
                // Without a reading, every timeout opens a round.
                holder.handle_timeout(None, &cell);
                newest += 1;
                if halves.concat().contains(&ME) {
                    acked.insert(ME, newest);
                }
            }
            _ => {
                let (from, round) = (choice.index(9) as NodeId + 1, choice.index(newest as usize + 2) as Round);
                if halves.concat().contains(&from) && round <= newest && round > 0 {
                    let before = acked.entry(from).or_insert(0);
                    *before = round.max(*before);
                }
                holder
                    .handle_event(None, Event::Acked { from, round: TermRound { term: 1, round } }, &cell)
                    .expect("an event that a driver may send");
            }
        }
        while holder.poll_action().is_some() {}
        let naive = naive_quorum_round([&halves[0], &halves[1]], &acked);
        assert_eq!(holder.quorum_round(), Some(naive), "under {halves:?}, of {acked:?}");
    }
    TestResult::passed()
}

#[test]
fn the_quorum_round_equals_a_naive_count() {
    check(3000, 200, quorum_round);
}

/// Runs a leader and a grantor that answers in time, after arbitrary disturbances of the leader's clock.
fn liveness(case: Vec<u32>) -> TestResult {
    let mut choice = Dice::new(case.iter().fold(0, |all, number| all.rotate_left(7) ^ u64::from(*number)), 0);
    let heartbeat = Duration::from_micros(1 + choice.index(500_000) as u64);
    let options = Options::new(HOLD, DRIFT_PPM).with_lease(LEASE).with_heartbeat(heartbeat);
    let config = Config::new(options).expect("sound");
    let (mut holder, cell) = (Holder::new(1, config), LeaseCell::new());
    let voters = Voters::simple(&[1, 2, 3]).expect("distinct");
    let mut now = Instant::from_nanos(1 << 50, 1 << 51);
    holder
        .handle_event(Some(now), Event::Elected { term: 1, voters, barrier: 1, commit: 1 }, &cell)
        .expect("an event that a driver may send");
    for number in case {
        let mut choice = Dice::new(u64::from(number), 0);
        match choice.index(4) {
            0 => holder.handle_timeout(None, &cell),
            1 => {
                now = Instant::from_nanos(now.awake_nanos() - choice.index(1 << 30) as u64, now.total_nanos());
                holder.handle_timeout(Some(now), &cell);
            }
            _ => {
                now = now.plus(Duration::from_nanos(choice.index(1 << 30) as u64));
                holder.handle_timeout(Some(now), &cell);
            }
        }
        while holder.poll_action().is_some() {}
    }
    // From here on the clock works and node 2 answers, each time within half a heartbeat.
    let mut grantor = Grantor::new(config, Duration::ZERO, Some(now));
    let steps = 64;
    let mut arriving: Option<(u32, TermRound)> = None;
    for step in 0..=2 * steps {
        if let Some((when, round)) = arriving
            && when <= step
        {
            let echo = grantor.handle_round(Some(now), round).expect("the newest round");
            holder
                .handle_event(Some(now), Event::Acked { from: 2, round: echo }, &cell)
                .expect("an event that a driver may send");
            arriving = None;
        }
        if holder.poll_timeout().is_none_or(|(due, _)| !due.is_surely_after(now)) {
            holder.handle_timeout(Some(now), &cell);
        }
        while let Some(action) = holder.poll_action() {
            if let leasehold_core::Action::SendRound(round) = action {
                arriving = arriving.or(Some((step + choice.index(steps as usize / 2) as u32, round)));
            }
        }
        if cell.try_read(Some(now)).is_some() {
            return TestResult::passed();
        }
        now = now.plus(heartbeat / steps);
    }
    panic!("no lease within two heartbeats of {heartbeat:?}");
}

#[test]
fn with_a_live_quorum_the_lease_is_valid_within_two_heartbeats() {
    check(3000, 40, liveness);
}
