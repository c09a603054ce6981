//! The world of a scenario: nodes with clocks, terms and votes, whose every step the story takes by hand.
//!
//! The world gives the machines of the product, or the model, the inputs that an engine would give them, and records a trace.
//!
//! This is not the Raft of [`crate::abstract_raft`]. There the nodes decide, with logs and votes of their own, so that a search
//! can try every step they may take; they are values without a trace, and they never do what no correct engine does. A story
//! needs the opposite: it delivers the late ack of a removed voter, counts a rejected append as an ack, restarts a node with
//! another timing or starts a second process on its folder, and keeps a trace to read and to replay. One world with both
//! would have two modes and share only the arithmetic of majorities.

use crate::model::Model;
use crate::rules::{Rule, Rules};
use leasehold_core::trace::{Answer, Effect, Input, Line, Node, REPLAY_ORIGIN};
use leasehold_core::{
    Action, Config, Event, Index, Instant, NodeId, Options, Read, Reading, Release, Round, Term, TermRound, Ticket,
    Voters,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The reason why a story failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryError(pub String);

/// The result of a story or of one of its steps.
pub type StoryResult<T = ()> = Result<T, StoryError>;

/// The machines of one node.
enum Machine {
    /// The product's, as a trace is replayed through them; `None` before the first start.
    Product(Box<Option<Node>>),
    /// The model; `None` before the first start.
    Model(Rules, Box<Option<Model>>),
}

impl Machine {
    fn handle(&mut self, line: &Line) -> Effect {
        match self {
            Machine::Product(node) => {
                Node::replay(node, line).expect("the story keeps the order of an engine's inputs")
            }
            Machine::Model(rules, model) => {
                if let Input::Start { config, longest_hold, .. } = line.input {
                    **model = Some(Model::start(*rules, line.node, config, longest_hold, line.now));
                }
                model.as_mut().as_mut().expect("a process that has started").handle(line.now, line.input)
            }
        }
    }
}

/// The clock of one node: nanoseconds since the story began, on both counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// The counter that stops in a suspend.
    pub awake: i64,
    /// The counter that goes on.
    pub total: i64,
    /// True while `awake` stands still although the machine runs.
    pub awake_frozen: bool,
    /// True while `total` stands still.
    pub total_frozen: bool,
    /// True while it gives no readings.
    pub failed: bool,
}

impl Clock {
    /// Moves both counters forward, or back if `millis` is negative.
    pub fn step(&mut self, millis: i64) {
        self.awake += millis * 1_000_000;
        self.total += millis * 1_000_000;
    }
}

/// A frame of a leader in flight. Every frame carries a round.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The leader.
    pub from: NodeId,
    /// Its round.
    pub round: TermRound,
}

/// A response in flight to a leader.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// The sender.
    pub from: NodeId,
    /// The leader.
    pub to: NodeId,
    /// The sender's term.
    pub term: Term,
    /// The round it echoes.
    pub echo: Option<TermRound>,
}

struct Place {
    machine: Machine,
    clock: Clock,
    config: Config,
    /// The longest hold on this node's disk.
    longest_hold: Duration,
    term: Term,
    leads: bool,
    newest: TermRound,
    confirmed: Round,
    /// A reading that was sampled before the input it will be used for arrived.
    stale: Option<Reading>,
}

/// The world of one story.
pub struct World {
    /// The rules of the model; `None` for the product.
    model: Option<Rules>,
    places: BTreeMap<NodeId, Place>,
    /// The configuration in force.
    pub voters: Voters,
    last_index: Index,
    newest_leader: Term,
    stale_read: Option<String>,
    text: String,
    hushed: bool,
    elided: bool,
}

/// Returns the usual timing: hold 1000 ms, lease 900 ms, heartbeat 100 ms, drift 1000 ppm.
pub fn timing() -> Config {
    timing_of(1000, 900)
}

/// Returns the usual timing with another hold and lease, in milliseconds.
pub fn timing_of(hold: u64, lease: u64) -> Config {
    let [hold, lease, heartbeat] = [hold, lease, 100.min(lease / 2)].map(Duration::from_millis);
    Config::new(Options::new(hold, 1000).with_lease(lease).with_heartbeat(heartbeat)).expect("they fit together")
}

impl World {
    /// Returns a world of the product's machines.
    pub fn real() -> World {
        World::of(None)
    }

    /// Returns a world of the model, with these rules.
    pub fn model(rules: Rules) -> World {
        World::of(Some(rules))
    }

    fn of(model: Option<Rules>) -> World {
        World {
            model,
            places: BTreeMap::new(),
            voters: Voters::NONE,
            last_index: 0,
            newest_leader: 0,
            stale_read: None,
            text: String::new(),
            hushed: false,
            elided: false,
        }
    }

    /// Returns whether a rule is in force.
    pub fn has(&self, rule: Rule) -> bool {
        self.model.unwrap_or(Rules::ALL).has(rule)
    }

    /// Returns the trace of the story.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether lines were omitted from the trace.
    pub fn is_elided(&self) -> bool {
        self.elided
    }

    /// Writes a comment into the trace.
    pub fn says(&mut self, prose: &str) {
        if !self.hushed {
            self.text.push_str(&format!("# {prose}\n"));
        }
    }

    /// Omits what `more` does from the trace.
    pub fn hushed<T>(&mut self, more: impl FnOnce(&mut World) -> T) -> T {
        self.hushed = true;
        self.elided = true;
        let outcome = more(self);
        self.hushed = false;
        outcome
    }

    /// Starts voters `1..=size` five seconds before the story, so that no restart holds them.
    pub fn begin(&mut self, size: u64) {
        self.begin_with(size, timing());
    }

    /// Starts voters as [`begin`](World::begin) does, with another timing.
    pub fn begin_with(&mut self, size: u64, config: Config) {
        let ids: Vec<NodeId> = (1..=size).collect();
        self.voters = Voters::simple(&ids).expect("voters");
        self.says("The nodes started five seconds before the story begins: no restart holds them.");
        for id in ids {
            self.add(id, config);
        }
    }

    /// Adds a node that started five seconds ago.
    pub fn add(&mut self, id: NodeId, config: Config) {
        let mut clock = Clock::default();
        clock.step(-5000);
        let place = Place {
            machine: self.model.map_or(Machine::Product(Box::default()), |rules| Machine::Model(rules, Box::default())),
            clock,
            config,
            longest_hold: Duration::ZERO,
            term: 0,
            leads: false,
            newest: TermRound { term: 0, round: 0 },
            confirmed: 0,
            stale: None,
        };
        self.places.insert(id, place);
        self.start_with(id, config);
        self.clock(id).step(5000);
    }

    /// Restarts node `id`. What it held in memory is lost.
    pub fn restart(&mut self, id: NodeId) {
        let config = self.place(id).config;
        self.restart_with(id, config);
    }

    /// Restarts node `id` with another configuration.
    pub fn restart_with(&mut self, id: NodeId, config: Config) {
        self.place(id).leads = false;
        self.start_with(id, config);
    }

    fn start_with(&mut self, id: NodeId, config: Config) {
        let place = self.place(id);
        place.config = config;
        // The record must be durable before the first echo under the new hold.
        let longest_hold = place.longest_hold;
        place.longest_hold = longest_hold.max(config.hold());
        self.input(id, Input::Start { config, longest_hold, remaining: None });
    }

    /// Lets time pass everywhere.
    pub fn pass(&mut self, millis: u64) {
        self.pass_micros(millis * 1000);
    }

    /// Lets time pass everywhere, in microseconds.
    pub fn pass_micros(&mut self, micros: u64) {
        let nanos = i64::try_from(micros * 1000).expect("a short story");
        for place in self.places.values_mut() {
            let clock = &mut place.clock;
            clock.awake += if clock.awake_frozen { 0 } else { nanos };
            clock.total += if clock.total_frozen { 0 } else { nanos };
        }
    }

    /// Returns the clock of node `id`, so that the story can disturb it.
    pub fn clock(&mut self, id: NodeId) -> &mut Clock {
        &mut self.place(id).clock
    }

    /// Puts the thread of node `id` to sleep just before it handles its next input.
    pub fn sleeps(&mut self, id: NodeId, millis: u64) {
        if !self.has(Rule::ReadingBelongsToItsInput) {
            let early = self.reading(id);
            self.place(id).stale = Some(early);
        }
        self.pass(millis);
    }

    /// Reads the clock of node `id`.
    pub fn reading(&mut self, id: NodeId) -> Reading {
        let clock = self.place(id).clock;
        let awake = REPLAY_ORIGIN.awake_nanos().checked_add_signed(clock.awake)?;
        let total = REPLAY_ORIGIN.total_nanos().checked_add_signed(clock.total)?;
        (!clock.failed).then(|| Instant::from_nanos(awake, total))
    }

    /// Gives node `id` an input.
    pub fn input(&mut self, id: NodeId, input: Input) -> Effect {
        let now = match self.place(id).stale.take() {
            Some(stale) => stale,
            None => self.reading(id),
        };
        self.input_at(id, now, input)
    }

    /// Gives node `id` an input with a given reading.
    pub fn input_at(&mut self, id: NodeId, now: Reading, input: Input) -> Effect {
        let line = Line { node: id, now, input, taken: true };
        let place = self.place(id);
        let effect = place.machine.handle(&line);
        for action in effect.actions.iter().flatten() {
            match action {
                Action::SendRound(round) => place.newest = *round,
                Action::Confirmed { through } => place.confirmed = *through,
                Action::Aborted { .. } => {}
            }
        }
        if !self.hushed {
            self.text.push_str(&format!("{}\n", line.shown(&effect, REPLAY_ORIGIN)));
        }
        let permit = match effect.answer {
            Some(Answer::Permit(permit)) => permit,
            Some(Answer::Read(Ok(Read::Lease(permit)))) => Some(permit),
            _ => None,
        };
        if let Some(permit) = permit.filter(|permit| permit.term < self.newest_leader) {
            let newer = self.newest_leader;
            self.stale_read = Some(format!("n{id} read by the lease of term {} while term {newer} led", permit.term));
        }
        effect
    }

    /// Lets node `id` campaign in the next term and ask these nodes for votes. Returns whether it was elected.
    pub fn campaign(&mut self, id: NodeId, asking: &[NodeId], release: Option<Release>) -> bool {
        let names: Vec<String> = asking.iter().map(|id| format!("n{id}")).collect();
        self.says(&format!("n{id} would campaign, and ask {} to vote.", names.join(", ")));
        if !self.may_vote_or_campaign(id, release) {
            return false;
        }
        // Candidates retry until their term is high enough.
        let term = self.places.values().map(|place| place.term).max().unwrap_or(0) + 1;
        self.take_term(id, term);
        let mut votes = vec![id];
        for voter in asking {
            if self.vote(*voter, term, release) {
                votes.push(*voter);
            }
        }
        let majority =
            |half: &[NodeId]| half.is_empty() || half.iter().filter(|id| votes.contains(id)).count() > half.len() / 2;
        let elected = majority(self.voters.incoming()) && majority(self.voters.outgoing());
        if elected {
            self.newest_leader = self.newest_leader.max(term);
            self.last_index += 1;
            let (voters, barrier) = (self.voters, self.last_index);
            self.place(id).leads = true;
            self.input(id, Input::Event(Event::Elected { term, voters, barrier, commit: barrier - 1 }));
        }
        elected
    }

    /// Lets the engines of node `id` and of these voters elect node `id` before the voters' machines learn of it.
    pub fn elect_out_of_sight(&mut self, id: NodeId, voters: &[NodeId]) -> StoryResult {
        let term = self.newest_leader + 1;
        for other in [id].iter().chain(voters) {
            let may = self.may_vote_or_campaign(*other, None);
            self.must(may, &format!("n{other} is free"))?;
            self.place(*other).term = term;
        }
        self.newest_leader = term;
        self.last_index += 1;
        let (voters, barrier) = (self.voters, self.last_index);
        self.place(id).leads = true;
        self.input(id, Input::Event(Event::Elected { term, voters, barrier, commit: barrier - 1 }));
        Ok(())
    }

    /// Tells the machine of node `id` that its engine stepped down.
    pub fn depose(&mut self, id: NodeId) {
        self.place(id).leads = false;
        self.input(id, Input::Event(Event::Deposed));
    }

    /// Returns whether node `id` may vote or campaign.
    pub fn may_vote_or_campaign(&mut self, id: NodeId, release: Option<Release>) -> bool {
        self.input(id, Input::MayElect(release)).answer == Some(Answer::MayElect(true))
    }

    /// Asks node `id` for its vote in `term`, and returns whether it votes.
    pub fn vote(&mut self, id: NodeId, term: Term, release: Option<Release>) -> bool {
        let granted = self.may_vote_or_campaign(id, release) && self.place(id).term < term;
        if granted && self.has(Rule::RevokedBeforeTheVoteLeaves) {
            self.take_term(id, term);
        }
        granted
    }

    /// Shows node `id` a term. A higher one than its own deposes it.
    pub fn take_term(&mut self, id: NodeId, term: Term) {
        let place = self.place(id);
        if term > place.term {
            place.term = term;
            if std::mem::take(&mut place.leads) {
                self.input(id, Input::Event(Event::Deposed));
            }
        }
    }

    /// Returns the frame that leader `id` would send now.
    pub fn frame(&mut self, id: NodeId) -> Frame {
        Frame { from: id, round: self.place(id).newest }
    }

    /// Delivers a frame to node `to`, and returns its response.
    pub fn deliver(&mut self, frame: Frame, to: NodeId) -> Response {
        self.take_term(to, frame.round.term);
        let term = self.place(to).term;
        let mut echo = None;
        // The engine rejects the leader of an old term, so the grantor does not see its round.
        if term == frame.round.term
            && let Some(Answer::Echo(echoed)) = self.input(to, Input::Frame(frame.round)).answer
        {
            echo = echoed;
        }
        Response { from: to, to: frame.from, term, echo }
    }

    /// Delivers a response.
    pub fn respond(&mut self, response: Response) {
        let Response { from, to, term, echo } = response;
        let place = self.place(to);
        let newest = place.newest;
        let mut ack = echo;
        if term > place.term {
            if self.has(Rule::HigherTermDeposes) {
                self.take_term(to, term);
            } else {
                ack = Some(newest);
            }
        }
        if !self.has(Rule::AcksAreRounds) {
            ack = Some(newest);
        }
        if let Some(round) = ack {
            self.input(to, Input::Event(Event::Acked { from, round }));
        }
    }

    /// Delivers a frame of leader `id` to these nodes, and their responses, all at once.
    pub fn exchange(&mut self, id: NodeId, with: &[NodeId]) {
        let frame = self.frame(id);
        for other in with {
            let response = self.deliver(frame, *other);
            self.respond(response);
        }
    }

    /// Lets leader `id` commit one more entry.
    pub fn write(&mut self, id: NodeId) -> Index {
        self.last_index += 1;
        self.commit(id)
    }

    /// Lets leader `id` commit its whole log.
    pub fn commit(&mut self, id: NodeId) -> Index {
        let index = self.last_index;
        self.input(id, Input::Event(Event::Committed(index)));
        index
    }

    /// Lets all nodes elect node 1, and these acknowledge its first round.
    pub fn leads(&mut self, acked_by: &[NodeId]) -> StoryResult {
        let others: Vec<NodeId> = self.places.keys().copied().filter(|id| *id != 1).collect();
        let elected = self.campaign(1, &others, None);
        self.must(elected, "n1 is elected")?;
        self.exchange(1, acked_by);
        self.commit(1);
        Ok(())
    }

    /// Lets leader `id` open a round if one is due, and these nodes acknowledge it.
    pub fn heartbeat(&mut self, id: NodeId, acked_by: &[NodeId]) {
        self.input(id, Input::Timeout);
        self.exchange(id, acked_by);
    }

    /// Starts a transfer at leader `id`. Returns the release that its "campaign now" will carry.
    pub fn transfer(&mut self, id: NodeId) -> Release {
        self.input(id, Input::Event(Event::TransferStarted));
        Release { through: self.place(id).newest }
    }

    /// Lets the engine of leader `id` abandon the transfer.
    pub fn abandon(&mut self, id: NodeId) {
        self.input(id, Input::Event(Event::TransferEnded));
    }

    /// Changes the voters, at leader `id` too.
    pub fn change(&mut self, id: NodeId, voters: Voters) {
        self.voters = voters;
        self.input(id, Input::Event(Event::VotersChanged(voters)));
    }

    /// Takes a read at node `id`, which the lease must answer. Returns the term and the index.
    pub fn lease_read(&mut self, id: NodeId) -> StoryResult<(Term, Index)> {
        match self.input(id, Input::Read).answer {
            Some(Answer::Read(Ok(Read::Lease(permit)))) => self.sound().map(|()| (permit.term, permit.index)),
            other => Err(StoryError(format!("expected a lease read at n{id}, not {other:?}"))),
        }
    }

    /// Takes a read at node `id`, which must need a quorum round.
    pub fn quorum_read(&mut self, id: NodeId) -> StoryResult<Ticket> {
        match self.input(id, Input::Read).answer {
            Some(Answer::Read(Ok(Read::Quorum(ticket)))) => Ok(ticket),
            other => Err(StoryError(format!("expected a quorum read at n{id}, not {other:?}"))),
        }
    }

    /// Takes a reader thread to the cell of node `id`, which must grant. Returns the term and the index.
    pub fn permit(&mut self, id: NodeId) -> StoryResult<(Term, Index)> {
        match self.input(id, Input::Look).answer {
            Some(Answer::Permit(Some(permit))) => self.sound().map(|()| (permit.term, permit.index)),
            _ => Err(StoryError(format!("expected a permit from the cell of n{id}"))),
        }
    }

    /// Takes a reader thread to the cell of node `id`, which must not grant.
    pub fn no_permit(&mut self, id: NodeId) -> StoryResult {
        let granted = self.input(id, Input::Look).answer != Some(Answer::Permit(None));
        self.must(!granted, &format!("the cell of n{id} grants nothing"))
    }

    /// Checks that neither a reader thread nor the holder of node `id` can use the lease.
    pub fn no_lease(&mut self, id: NodeId) -> StoryResult {
        self.no_permit(id)?;
        let by_lease = matches!(self.input(id, Input::Read).answer, Some(Answer::Read(Ok(Read::Lease(_)))));
        self.must(!by_lease, &format!("n{id} has no lease"))
    }

    /// Checks that node `id` refuses to vote and to campaign.
    pub fn refuses(&mut self, id: NodeId, release: Option<Release>) -> StoryResult {
        let may = self.may_vote_or_campaign(id, release);
        self.must(!may, &format!("n{id} is held"))
    }

    /// Returns the round through which node `id` has confirmed quorum reads.
    pub fn confirmed(&self, id: NodeId) -> Round {
        self.places[&id].confirmed
    }

    /// Returns whether two nodes accept each other's timing.
    pub fn meet(&self, one: NodeId, other: NodeId) -> bool {
        let (one, other) = (self.places[&one].config, self.places[&other].config);
        !self.has(Rule::PeersCheckHolds)
            || one.accept_peer(other.timing()).is_ok() && other.accept_peer(one.timing()).is_ok()
    }

    /// Checks a condition.
    pub fn must(&self, holds: bool, what: &str) -> StoryResult {
        self.sound()?;
        if holds { Ok(()) } else { Err(StoryError(format!("expected: {what}"))) }
    }

    /// Checks that no read used a lease after a later leader was elected.
    pub fn sound(&self) -> StoryResult {
        self.stale_read.clone().map_or(Ok(()), |stale| Err(StoryError(stale)))
    }

    fn place(&mut self, id: NodeId) -> &mut Place {
        self.places.get_mut(&id).expect("a node of the story")
    }
}
