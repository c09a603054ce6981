//! Runs a schedule against one system, and records what was done to it, what it did and what its reads returned.

use crate::rule::Rule;
use crate::subject::{Answer, Founding, Kind, NotExpressible, ReadId, Subject};
use leasehold_core::{NodeId, Term};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The default time that a client waits for an answer, in milliseconds.
const PATIENCE: u64 = 300;
/// The time that a cluster may take to recover once nothing disturbs it, in milliseconds.
const RECOVERY: u64 = 15_000;

/// A failure, written once for every system.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Its name.
    pub name: &'static str,
    /// The rule that is broken if a read is stale, or if a request that had to be answered is not.
    pub rule: Rule,
    /// Its voters.
    pub voters: &'static [NodeId],
    /// Its learners.
    pub learners: &'static [NodeId],
    /// The steps of the schedule, which get the leader.
    pub tell: fn(&mut Story<'_>, NodeId) -> StoryResult,
}

/// The result of a schedule or of one of its steps.
pub type StoryResult = Result<(), Stop>;

/// The reason why a schedule stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A read returned an older value than one that had been acknowledged or read before the read began.
    Stale,
    /// A node broke a rule on which others rely.
    Broken(Rule),
    /// A request that had to be answered was not.
    Unavailable(&'static str),
    /// The system cannot be exposed to this.
    NotExpressible(&'static str),
}

impl From<NotExpressible> for Stop {
    fn from(NotExpressible(why): NotExpressible) -> Stop {
        Stop::NotExpressible(why)
    }
}

/// The result of a schedule's last read, if no read was stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A current value, locally.
    ByLease,
    /// A current value, after a quorum round.
    ByQuorum,
    /// The node refused.
    Refused,
    /// The client gave up.
    Unanswered,
}

/// The result of a system under a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No stale read. Holds the result of the last read, for every phase.
    Safe(BTreeSet<Outcome>),
    /// A stale read, with the story that led to it.
    Stale(String),
    /// A node broke this rule on which others rely, with the story that led to it.
    Broken(Rule, String),
    /// No stale read, but a request that had to be answered was not: which one, and the story that led to it.
    Unavailable(&'static str, String),
    /// The system cannot be exposed to this.
    NotExpressible(&'static str),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::ByLease => "by lease",
            Outcome::ByQuorum => "quorum round",
            Outcome::Refused => "refused",
            Outcome::Unanswered => "no answer",
        })
    }
}

impl Verdict {
    /// Returns whether the schedule was run and nothing was wrong.
    pub fn is_safe(&self) -> bool {
        matches!(self, Verdict::Safe(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Safe(outcomes) => {
                let outcomes: Vec<String> = outcomes.iter().map(Outcome::to_string).collect();
                write!(f, "safe: {}", outcomes.join(" or "))
            }
            Verdict::Stale(_) => f.write_str("**stale read**"),
            Verdict::Broken(rule, _) => write!(f, "**broken rule**: {rule}"),
            Verdict::Unavailable(what, _) => write!(f, "unavailable: {what}"),
            Verdict::NotExpressible(why) => write!(f, "not expressible: {why}"),
        }
    }
}

impl Schedule {
    /// Runs the schedule against clusters that differ in their seed and in its start relative to the leader's timers. The
    /// first that breaks a rule counts, or else the worst verdict.
    pub fn judge<'c>(
        &self,
        seed: u64,
        found: &dyn Fn(Founding) -> Result<Box<dyn Subject + 'c>, NotExpressible>,
    ) -> Verdict {
        let mut outcomes = BTreeSet::new();
        let (mut unavailable, mut not_run) = (None, None);
        for phase in 0..PHASES {
            let seed = seed.wrapping_mul(PHASES).wrapping_add(phase);
            let founding = Founding { voters: self.voters, learners: self.learners, seed };
            let mut subject = match found(founding) {
                Ok(subject) => subject,
                Err(NotExpressible(why)) => return Verdict::NotExpressible(why),
            };
            let mut story = Story::of(&mut *subject, phase * 1000 / PHASES);
            match story.tell(self.tell) {
                Ok(()) => outcomes.extend(story.outcome),
                Err(Stop::Stale) => return Verdict::Stale(story.text),
                Err(Stop::Broken(rule)) => return Verdict::Broken(rule, story.text),
                Err(Stop::Unavailable(what)) => unavailable = unavailable.or(Some((what, story.text))),
                Err(Stop::NotExpressible(why)) => not_run = not_run.or(Some(why)),
            }
        }
        match (unavailable, not_run) {
            (Some((what, text)), _) => Verdict::Unavailable(what, text),
            (None, Some(why)) => Verdict::NotExpressible(why),
            (None, None) => Verdict::Safe(outcomes),
        }
    }
}

/// The number of clusters that a schedule runs against. Their starts divide a second of the leader's time.
const PHASES: u64 = 4;

/// A running schedule.
pub struct Story<'a> {
    /// The cluster. A schedule records what it does to it.
    pub subject: &'a mut dyn Subject,
    phase: u64,
    now: u64,
    text: String,
    /// The newest acknowledged value.
    acknowledged: u64,
    /// The newest value that was read.
    seen: u64,
    newest: u64,
    led: BTreeMap<NodeId, Term>,
    outcome: Option<Outcome>,
    /// True once the text says that a rule is broken.
    is_broken: bool,
}

impl fmt::Debug for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Story").field("now", &self.now).field("text", &self.text).finish_non_exhaustive()
    }
}

impl<'a> Story<'a> {
    /// Returns a story of this cluster. It begins this much later than the first leader is ready.
    pub fn of(subject: &'a mut dyn Subject, phase: u64) -> Story<'a> {
        let (led, text) = (BTreeMap::new(), String::new());
        Story {
            subject,
            phase,
            now: 0,
            text,
            acknowledged: 0,
            seen: 0,
            newest: 0,
            led,
            outcome: None,
            is_broken: false,
        }
    }

    /// Runs a schedule, and then checks that the cluster recovers once nothing disturbs it.
    ///
    /// # Errors
    /// Those of the schedule, or if the cluster elects no leader or does not recover.
    pub fn tell(&mut self, schedule: impl FnOnce(&mut Story<'a>, NodeId) -> StoryResult) -> StoryResult {
        self.tell_only(schedule)?;
        let recovered = self.recover();
        self.unbroken(recovered)
    }

    /// Runs a schedule without checking recovery.
    ///
    /// # Errors
    /// Those of the schedule, or if the cluster elects no leader, or if it sends no message of a kind that was held.
    pub fn tell_only(&mut self, schedule: impl FnOnce(&mut Story<'a>, NodeId) -> StoryResult) -> StoryResult {
        let leader = self.begin()?;
        let told = schedule(self, leader);
        self.unbroken(told)?;
        match self.subject.unseen() {
            Some(kind) => Err(Stop::NotExpressible(match kind {
                Kind::Lead => "no message was seen that Engine::contents calls Lead",
                Kind::Answer => "no message was seen that Engine::contents calls Answer",
                Kind::AskVote => "no message was seen that Engine::contents calls AskVote",
                Kind::Vote => "no message was seen that Engine::contents calls Vote",
                Kind::CampaignNow => "no message was seen that Engine::contents calls CampaignNow",
            })),
            None => Ok(()),
        }
    }

    /// A broken rule explains a stale read.
    fn unbroken(&self, told: StoryResult) -> StoryResult {
        self.subject.broken().map_or(told, |broken| Err(Stop::Broken(broken.rule)))
    }

    /// Returns the result of the last read.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Returns the record.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Waits for a leader with a write of its own, and starts the clock of the story.
    fn begin(&mut self) -> Result<NodeId, Stop> {
        let leader = self.until_written(|_| true, RECOVERY).ok_or(Stop::Unavailable("no first leader was elected"))?;
        self.run(500 + self.phase);
        self.now = 0;
        self.text = format!("{:>8}ms  n{leader}  leads, and {} is written\n", 0, self.acknowledged);
        Ok(leader)
    }

    /// Repairs everything and waits until a write is acknowledged and read back.
    fn recover(&mut self) -> StoryResult {
        self.says("All links are repaired. A leader must write and read within fifteen seconds.");
        self.heal();
        self.subject.links().lost.clear();
        for id in self.subject.nodes() {
            self.subject.resume(id);
        }
        let outcome = self.outcome;
        let deadline = self.now + RECOVERY;
        while let Some(leader) = self.until_written(|_| true, deadline.saturating_sub(self.now)) {
            self.asks(leader, PATIENCE)?;
            if matches!(self.outcome, Some(Outcome::ByLease | Outcome::ByQuorum)) {
                self.outcome = outcome;
                return Ok(());
            }
            self.run(50);
        }
        Err(Stop::Unavailable("no reads and writes within 15 s of the repair"))
    }

    /// Writes a comment.
    pub fn says(&mut self, prose: &str) {
        self.text.push_str(&format!("# {prose}\n"));
    }

    /// Records what a node did.
    fn notes(&mut self, id: NodeId, what: &str) {
        self.text.push_str(&format!("{:>8}ms  n{id}  {what}\n", self.now));
    }

    /// Lets this many milliseconds pass.
    pub fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.subject.advance();
            self.now += 1;
            if let Some(broken) = self.subject.broken().filter(|_| !std::mem::replace(&mut self.is_broken, true)) {
                let line = format!("# BROKEN: {}.\n", broken.what);
                self.text.push_str(&line);
            }
            for id in self.subject.nodes() {
                let leads = self.subject.leads(id).then(|| self.subject.term(id));
                if leads != self.led.get(&id).copied() {
                    match leads {
                        Some(term) => {
                            self.led.insert(id, term);
                            self.notes(id, &format!("leads term {term}"));
                        }
                        None => {
                            self.led.remove(&id);
                            self.notes(id, "no longer considers itself the leader");
                        }
                    }
                }
            }
        }
    }

    /// Returns how many milliseconds have passed.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Lets time pass until this many milliseconds have passed in all.
    pub fn run_to(&mut self, millis: u64) {
        self.run(millis.saturating_sub(self.now));
    }

    /// Cuts both directions between two nodes.
    pub fn cut(&mut self, one: NodeId, other: NodeId) {
        self.subject.links().cut.extend([(one, other), (other, one)]);
    }

    /// Cuts all links of a node.
    pub fn isolate(&mut self, id: NodeId) {
        for other in self.subject.nodes().into_iter().filter(|other| *other != id) {
            self.cut(id, other);
        }
        self.notes(id, "is cut off");
    }

    /// Repairs every link. Held messages stay held.
    pub fn heal(&mut self) {
        self.subject.links().cut.clear();
    }

    /// Holds messages of a kind.
    pub fn hold(&mut self, from: NodeId, to: NodeId, kind: Kind) {
        self.subject.links().held.insert((from, to, kind));
    }

    /// Holds no more messages. Those that are held stay held.
    pub fn hold_no_more(&mut self) {
        self.subject.links().held.clear();
    }

    /// Delivers the held messages.
    pub fn deliver(&mut self) {
        self.hold_no_more();
        self.subject.deliver();
    }

    /// Waits for a leader, for at most this many milliseconds.
    pub fn until_leader(&mut self, which: impl Fn(NodeId) -> bool, millis: u64) -> Option<NodeId> {
        for _ in 0..millis {
            let nodes = self.subject.nodes().into_iter().filter(|id| which(*id) && self.subject.leads(*id));
            if let Some(leader) = nodes.max_by_key(|id| self.subject.term(*id)) {
                return Some(leader);
            }
            self.run(1);
        }
        None
    }

    /// Lets a client write a new value at a node. Returns whether it was acknowledged.
    pub fn writes(&mut self, id: NodeId) -> bool {
        self.newest += 1;
        let value = self.newest;
        if !self.subject.write(id, value) {
            return false;
        }
        for _ in 0..PATIENCE {
            if self.subject.acknowledged(value) {
                self.acknowledged = value;
                self.notes(id, &format!("acknowledges that {value} is written"));
                return true;
            }
            self.run(1);
        }
        self.notes(id, &format!("does not acknowledge the write of {value}"));
        false
    }

    /// Lets a client write at another leader than this node, if there is one in time. Returns whether it was acknowledged.
    pub fn others_write(&mut self, old: NodeId, millis: u64) -> bool {
        let written = self.until_written(|id| id != old, millis).is_some();
        if !written {
            self.says("No other leader has acknowledged a write by now.");
        }
        written
    }

    /// Waits for a leader that acknowledges a write, for at most this many milliseconds.
    fn until_written(&mut self, which: impl Fn(NodeId) -> bool, millis: u64) -> Option<NodeId> {
        let deadline = self.now + millis;
        while let Some(leader) = self.until_leader(&which, deadline.saturating_sub(self.now)) {
            if self.writes(leader) {
                return Some(leader);
            }
            self.run(1);
        }
        None
    }

    /// Lets a client read at a node.
    ///
    /// # Errors
    /// [`Stop::Stale`].
    pub fn asks(&mut self, id: NodeId, patience: u64) -> StoryResult {
        self.asks_before(id, patience, |_| ())
    }

    /// Lets a client read at a node. `next` happens after the node got the request, and before time passes.
    ///
    /// # Errors
    /// [`Stop::Stale`].
    pub fn asks_before(&mut self, id: NodeId, patience: u64, next: impl FnOnce(&mut Story<'a>)) -> StoryResult {
        let current = self.acknowledged.max(self.seen);
        let read: ReadId = self.subject.ask(id);
        self.notes(id, "is asked for the value");
        next(self);
        let mut waited = 0;
        let (outcome, value, how) = loop {
            match self.subject.answer(read) {
                Answer::ByLease(value) => break (Outcome::ByLease, value, "by its lease"),
                Answer::ByQuorum(value) => break (Outcome::ByQuorum, value, "after a quorum round"),
                Answer::Refused => {
                    self.notes(id, "refuses");
                    self.outcome = Some(Outcome::Refused);
                    return Ok(());
                }
                Answer::Pending if waited == patience => {
                    self.notes(id, &format!("has not answered after {patience}ms, and the client gives up"));
                    self.outcome = Some(Outcome::Unanswered);
                    return Ok(());
                }
                Answer::Pending => self.run(1),
            }
            waited += 1;
        };
        self.notes(id, &format!("answers {value}, {how}"));
        self.outcome = Some(outcome);
        if value < current {
            let how = if current > self.acknowledged { "read" } else { "acknowledged" };
            self.says(&format!("STALE: {current} had been {how} before the client asked."));
            return Err(Stop::Stale);
        }
        self.seen = self.seen.max(value);
        Ok(())
    }

    /// Lets a client read at a node, and wait for the default time.
    ///
    /// # Errors
    /// [`Stop::Stale`].
    pub fn ask(&mut self, id: NodeId) -> StoryResult {
        self.asks(id, PATIENCE)
    }

    /// Lets a client read at a node that must answer.
    ///
    /// # Errors
    /// [`Stop::Stale`], or [`Stop::Unavailable`] if there is no value.
    pub fn must_answer(&mut self, id: NodeId, patience: u64, otherwise: &'static str) -> StoryResult {
        self.asks(id, patience)?;
        match self.outcome {
            Some(Outcome::ByLease | Outcome::ByQuorum) => Ok(()),
            _ => Err(Stop::Unavailable(otherwise)),
        }
    }
}
