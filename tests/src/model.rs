//! A second implementation of holder and grantor, in which single rules can be switched off.
//!
//! It derives the quorum round and the lease anew at each step, by trying all candidates instead of keeping a result. Where the
//! protocol leaves a choice that a trace shows, such as how tickets are numbered, it chooses as the product does. Two tests keep
//! it equal to the product: it tells every scenario word for word as the product does, and a search compares the two in every
//! state of a small world.

use crate::rules::{Rule, Rules};
use leasehold_core::trace::{Answer, Effect, Hold, Input};
use leasehold_core::{
    Action, Config, Event, Index, Instant, NodeId, Permit, Read, ReadError, Reading, Reason, Release, Round, Term,
    TermRound, Ticket, Voters,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The number of stamps that a holder keeps.
const MAX_STAMPS: usize = 72;

/// The model of one process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    rules: Rules,
    id: NodeId,
    config: Config,
    holder: HolderModel,
    grantor: GrantorModel,
    /// The published lease.
    cell: Option<Published>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Published {
    from: Instant,
    until: Instant,
    permit: Permit,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct HolderModel {
    last: Reading,
    newest: Round,
    newest_was_sent: bool,
    send: bool,
    stamps: Vec<(Round, Instant)>,
    lead: Option<Lead>,
    /// Suspensions that have not ended.
    suspensions: u32,
    /// The round through which tickets were confirmed or aborted, and the one through which they must be aborted.
    finished: Round,
    abort: Round,
    /// Acks of the last term led, for a leader that counts them in its next term.
    old_acks: BTreeMap<NodeId, Round>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lead {
    term: Term,
    first: Round,
    voters: Voters,
    acks: BTreeMap<NodeId, Round>,
    quorum: Round,
    /// The time at which the quorum round last rose, and the round acked last.
    rose_at: Reading,
    acked_last: Round,
    renewed_at_commit: Index,
    released: Round,
    transfer: bool,
    promised_next: bool,
    barrier: Index,
    commit: Index,
    opened: Reading,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GrantorModel {
    last: Reading,
    newest: Option<TermRound>,
    acked: Option<Instant>,
    ack_due: bool,
    restart: Option<Instant>,
    restart_due: Option<Duration>,
}

impl Model {
    /// Starts a process. `longest_hold` is the longest hold that its disk has a record of.
    pub fn start(rules: Rules, id: NodeId, config: Config, longest_hold: Duration, now: Reading) -> Model {
        let recorded = if rules.has(Rule::LongestHoldIsRecorded) { longest_hold } else { Duration::ZERO };
        let restart_due = rules.has(Rule::RestartHold).then(|| recorded.max(config.hold()));
        let mut model = Model {
            rules,
            id,
            config,
            holder: HolderModel { newest_was_sent: true, ..HolderModel::default() },
            grantor: GrantorModel { last: None, newest: None, acked: None, ack_due: false, restart: None, restart_due },
            cell: None,
        };
        model.grantor_sees(now);
        model
    }

    /// Takes one input and returns its effect, with all actions taken.
    pub fn handle(&mut self, now: Reading, input: Input) -> Effect {
        let answer = match input {
            Input::Start { .. } => None,
            Input::Look => Some(Answer::Permit(self.permit(now))),
            Input::Frame(round) => Some(Answer::Echo(self.echo(now, round))),
            Input::MayElect(release) => Some(Answer::MayElect(self.may_vote_or_campaign(now, release))),
            Input::Event(_) | Input::Timeout | Input::Read | Input::QuorumRead => {
                self.holder_sees(now);
                let answer = match input {
                    Input::Event(event) => {
                        self.learn(now, event);
                        None
                    }
                    Input::Timeout => {
                        self.heartbeat(now);
                        None
                    }
                    Input::Read => Some(Answer::Read(self.read(now))),
                    _ => Some(Answer::Read(self.ticket(now).map(Read::Quorum))),
                };
                self.publish();
                answer
            }
        };
        self.effect(answer)
    }

    /// Returns when the lease ends, if there is one.
    pub fn lease_until(&self) -> Option<Instant> {
        self.lease().map(|lease| lease.until)
    }

    /// Returns the release that a pending transfer sends along.
    pub fn release(&self) -> Option<Release> {
        let lead = self.holder.lead.as_ref().filter(|lead| lead.transfer)?;
        Some(Release { through: TermRound { term: lead.term, round: self.holder.newest } })
    }

    fn effect(&mut self, answer: Option<Answer>) -> Effect {
        let grantor = &self.grantor;
        let hold = match (grantor.restart, grantor.acked) {
            _ if grantor.ack_due || grantor.restart_due.is_some() => Hold::FromNextReading,
            (Some(restart), Some(ack)) => Hold::Until(restart.max_each(ack)),
            (Some(end), None) | (None, Some(end)) => Hold::Until(end),
            (None, None) => Hold::None,
        };
        let wake = self.holder.lead.as_ref().filter(|lead| !lead.transfer && !self.suspended());
        let wake = wake.and_then(|lead| lead.opened);
        let wake = wake.map(|opened| (opened.plus(self.config.heartbeat()), Reason::Heartbeat));
        let lease = self.lease().map(|lease| lease.until);
        let mut effect = Effect { answer, actions: [None; 3], lease, wake, hold };
        let holder = &mut self.holder;
        if holder.abort > holder.finished {
            holder.finished = holder.abort;
            effect.add(Action::Aborted { through: holder.finished });
        }
        if let Some(lead) = &holder.lead {
            if std::mem::take(&mut holder.send) {
                holder.newest_was_sent = true;
                effect.add(Action::SendRound(TermRound { term: lead.term, round: holder.newest }));
            }
            if lead.commit >= lead.barrier && lead.quorum > holder.finished {
                holder.finished = lead.quorum;
                effect.add(Action::Confirmed { through: lead.quorum });
            }
        }
        effect
    }

    // The holder.

    fn holder_sees(&mut self, now: Reading) {
        let Some(at) = now else { return };
        let backward = self.holder.last.is_some_and(|last| at.is_before_on_either_counter(last));
        if backward && self.rules.has(Rule::BackwardReadingVoids) {
            self.holder.stamps.clear();
            if let Some(lead) = &mut self.holder.lead {
                lead.opened = None;
            }
        }
        self.holder.last = now;
    }

    fn learn(&mut self, now: Reading, event: Event) {
        let rules = self.rules;
        match event {
            Event::Elected { term, voters, barrier, commit } => {
                self.step_down();
                let mut acks = BTreeMap::new();
                if rules.has(Rule::AcksAreOfThisTerm) {
                    self.holder.stamps.clear();
                } else {
                    acks = std::mem::take(&mut self.holder.old_acks);
                }
                let first = self.holder.newest;
                self.holder.lead = Some(Lead {
                    term,
                    first,
                    voters,
                    acks,
                    quorum: 0,
                    rose_at: None,
                    acked_last: 0,
                    renewed_at_commit: commit,
                    released: if rules.has(Rule::AcksAreOfThisTerm) { first } else { 0 },
                    transfer: false,
                    promised_next: false,
                    barrier,
                    commit,
                    opened: None,
                });
                self.open_unless_suspended(now);
            }
            Event::Deposed => self.step_down(),
            Event::Acked { from, round } => self.count(now, from, round),
            Event::Committed(index) => self.lead().commit = self.lead().commit.max(index),
            Event::VotersChanged(voters) => {
                let lead = self.lead();
                lead.voters = voters;
                if rules.has(Rule::QuorumFollowsTheVoters) {
                    lead.acks.retain(|id, _| voters.contains(*id));
                    lead.quorum = 0;
                    self.recount(now);
                }
            }
            Event::TransferStarted => {
                let newest = self.holder.newest;
                let lead = self.lead();
                lead.transfer = true;
                if rules.has(Rule::TransferReleases) {
                    lead.released = newest;
                }
            }
            Event::TransferEnded => {
                let lead = self.lead();
                lead.transfer = false;
                if !rules.has(Rule::AbandonedTransferStaysReleased) {
                    lead.released = lead.first;
                }
                self.open_unless_suspended(now);
            }
            Event::Suspended => self.holder.suspensions += 1,
            Event::Resumed => {
                self.holder.suspensions -= 1;
                if self.holder.lead.as_ref().is_some_and(|lead| !lead.transfer) {
                    self.open_unless_suspended(now);
                }
            }
            other => unreachable!("the model has no rule for {other:?}"),
        }
    }

    fn lead(&mut self) -> &mut Lead {
        self.holder.lead.as_mut().expect("a leader")
    }

    fn step_down(&mut self) {
        let Some(lead) = self.holder.lead.take() else { return };
        self.holder.newest += u64::from(lead.promised_next);
        self.holder.abort = self.holder.newest;
        self.holder.send = false;
        self.holder.newest_was_sent = true;
        if !self.rules.has(Rule::AcksAreOfThisTerm) {
            self.holder.old_acks = lead.acks;
        }
    }

    fn suspended(&self) -> bool {
        self.holder.suspensions > 0 && self.rules.has(Rule::SuspendedLeaderHasNoLease)
    }

    fn open_unless_suspended(&mut self, now: Reading) {
        if !self.suspended() {
            self.open(now);
        }
    }

    fn open(&mut self, now: Reading) {
        self.holder.newest += 1;
        let (id, round) = (self.id, self.holder.newest);
        self.stamp(round, now);
        let counts_itself = !self.rules.has(Rule::OwnAckOnlyAsVoter);
        let lead = self.lead();
        lead.opened = now;
        lead.promised_next = false;
        if lead.voters.contains(id) || counts_itself {
            lead.acks.insert(id, round);
        }
        self.holder.newest_was_sent = false;
        self.holder.send = true;
        self.recount(now);
    }

    fn stamp(&mut self, round: Round, now: Reading) {
        let Some(at) = now else { return };
        let stamps = &mut self.holder.stamps;
        let close = self.config.lease() / 32;
        let shared = stamps.last().is_some_and(|(_, last)| at.elapsed_since(*last).at_most < close);
        if shared && self.rules.has(Rule::StampsAreShared) {
            return;
        }
        stamps.push((round, at));
        if stamps.len() > MAX_STAMPS {
            stamps.remove(0);
        }
    }

    fn opened(&self, round: Round) -> Option<Instant> {
        self.holder.stamps.iter().rev().find(|(first, _)| *first <= round).map(|(_, at)| *at)
    }

    fn count(&mut self, now: Reading, from: NodeId, ack: TermRound) {
        let newest = self.holder.newest;
        let rules = self.rules;
        let Some(lead) = &mut self.holder.lead else { return };
        let this_term = ack.term == lead.term && ack.round > lead.first;
        if rules.has(Rule::AcksAreOfThisTerm) && !this_term || ack.round > newest {
            return;
        }
        if rules.has(Rule::OnlyVotersCount) && !lead.voters.contains(from) {
            return;
        }
        let last = lead.acks.entry(from).or_insert(0);
        if ack.round > *last {
            *last = ack.round;
            lead.acked_last = ack.round;
            self.recount(now);
        }
    }

    /// Finds the greatest round that a quorum acknowledged by trying all of them.
    fn recount(&mut self, now: Reading) {
        let rules = self.rules;
        let id = self.id;
        let Some(lead) = &mut self.holder.lead else { return };
        let reached = |half: &[NodeId], round: Round| {
            let member = |node: &NodeId| {
                half.contains(node)
                    || !rules.has(Rule::OnlyVotersCount)
                    || (!rules.has(Rule::OwnAckOnlyAsVoter) && *node == id)
            };
            let count = lead.acks.iter().filter(|(node, acked)| member(node) && **acked >= round).count();
            !half.is_empty() && count > half.len() / 2
        };
        let quorum = |round: &Round| {
            let outgoing = lead.voters.outgoing();
            let both = rules.has(Rule::BothHalvesCount);
            reached(lead.voters.incoming(), *round) && (outgoing.is_empty() || !both || reached(outgoing, *round))
        };
        let mut rounds: Vec<Round> = lead.acks.values().copied().collect();
        rounds.sort_unstable();
        let found = rounds.into_iter().rev().find(quorum).unwrap_or(0);
        if found > lead.quorum {
            lead.rose_at = now;
            lead.renewed_at_commit = lead.commit;
        }
        lead.quorum = if rules.has(Rule::QuorumFollowsTheVoters) { found } else { found.max(lead.quorum) };
    }

    /// Returns the lease as the rules give it, even if it has ended.
    fn lease(&self) -> Option<Published> {
        let rules = self.rules;
        let lead = self.holder.lead.as_ref().filter(|_| !self.suspended())?;
        if lead.commit < lead.barrier && rules.has(Rule::Barrier) || lead.quorum <= lead.released {
            return None;
        }
        let base = if rules.has(Rule::AckCountsForItsRound) { lead.quorum } else { lead.acked_last };
        let from = if rules.has(Rule::AnchorIsTheOpening) { self.opened(base)? } else { lead.rose_at? };
        let mut until = from.plus(self.config.lease());
        if !rules.has(Rule::LeaseAgesByTheFasterCounter) {
            until = Instant::from_nanos(until.awake_nanos(), u64::MAX);
        }
        if !rules.has(Rule::LeaseEndsByTheClock) {
            until = Instant::from_nanos(u64::MAX, u64::MAX);
        }
        let index = if rules.has(Rule::PermitShowsTheCommit) { lead.commit } else { lead.renewed_at_commit };
        Some(Published { from, until, permit: Permit { term: lead.term, index } })
    }

    fn publish(&mut self) {
        let lease = self.lease();
        if lease.is_some() || self.rules.has(Rule::DepositionRevokes) || self.holder.lead.is_some() {
            self.cell = lease;
        }
    }

    /// Returns what a reader thread is granted by the published lease.
    pub fn permit(&self, now: Reading) -> Option<Permit> {
        let now = if self.rules.has(Rule::NoReadingNoLease) { now } else { now.or(self.holder.last) }?;
        let lease = self.cell?;
        let early = now.is_before_on_either_counter(lease.from) && !self.rules.has(Rule::SampleBeforeTheAnchorIsGood);
        (lease.until.is_surely_after(now) && !early).then_some(lease.permit)
    }

    fn read(&mut self, now: Reading) -> Result<Read, ReadError> {
        if self.holder.lead.is_none() {
            return Err(ReadError::NotLeader);
        }
        // A read is decided as by a reader thread with an up-to-date cell.
        self.publish();
        match self.permit(now) {
            Some(permit) => Ok(Read::Lease(permit)),
            None => self.ticket(now).map(Read::Quorum),
        }
    }

    fn ticket(&mut self, now: Reading) -> Result<Ticket, ReadError> {
        let newest = self.holder.newest;
        let sent = self.holder.newest_was_sent;
        let suspended = self.suspended();
        let lead = self.holder.lead.as_mut().ok_or(ReadError::NotLeader)?;
        let index = lead.commit.max(lead.barrier);
        if lead.transfer || suspended {
            lead.promised_next = true;
            return Ok(Ticket { round: newest + 1, index });
        }
        if sent {
            self.open(now);
        }
        Ok(Ticket { round: self.holder.newest, index })
    }

    fn heartbeat(&mut self, now: Reading) {
        let Some(lead) = &self.holder.lead else { return };
        if lead.transfer && self.rules.has(Rule::NoRoundWhileTransferring) || self.suspended() {
            return;
        }
        let heartbeat = self.config.heartbeat();
        let early = now.zip(lead.opened).is_some_and(|(now, at)| now.elapsed_since(at).at_most < heartbeat);
        if !early {
            self.open(now);
        }
    }

    // The grantor.

    fn grantor_sees(&mut self, now: Reading) -> Reading {
        let at = now?;
        let hold = self.config.hold();
        let ignores = self.rules.has(Rule::GrantorIgnoresBackwardReadings);
        let grantor = &mut self.grantor;
        if ignores && grantor.last.is_some_and(|last| at.is_before_on_either_counter(last)) {
            return None;
        }
        grantor.last = now;
        if let Some(restart) = grantor.restart_due.take() {
            grantor.restart = Some(at.plus(restart));
        }
        if std::mem::take(&mut grantor.ack_due) {
            grantor.hold(at.plus(hold));
        }
        now
    }

    fn echo(&mut self, now: Reading, round: TermRound) -> Option<TermRound> {
        let now = self.grantor_sees(now);
        let hold = self.config.hold();
        let remembers = self.rules.has(Rule::EchoWithoutReadingHolds);
        let grantor = &mut self.grantor;
        if grantor.newest.is_some_and(|newest| newest > round) {
            return None;
        }
        grantor.newest = Some(round);
        match now {
            Some(at) => grantor.hold(at.plus(hold)),
            None => grantor.ack_due = remembers,
        }
        Some(round)
    }

    fn may_vote_or_campaign(&mut self, now: Reading, release: Option<Release>) -> bool {
        let now = self.grantor_sees(now);
        let rules = self.rules;
        let grantor = &mut self.grantor;
        if let Some(release) = release.filter(|_| rules.has(Rule::ReleaseLiftsTheHold)) {
            let covers = grantor.newest.is_some_and(|newest| newest <= release.through);
            if covers || (grantor.newest.is_some() && !rules.has(Rule::ReleaseMustCoverTheNewestAck)) {
                grantor.acked = None;
                grantor.ack_due = false;
                if !rules.has(Rule::RestartHoldEndsOnlyByTime) {
                    grantor.restart = None;
                    grantor.restart_due = None;
                }
            }
        }
        let Some(at) = now else { return false };
        let slower = rules.has(Rule::HoldAgesByTheSlowerCounter);
        let keeps = |end: Instant| if slower { end.is_maybe_after(at) } else { end.is_surely_after(at) };
        grantor.restart = grantor.restart.filter(|end| keeps(*end));
        grantor.restart.is_none() && grantor.restart_due.is_none() && !grantor.acked.is_some_and(keeps)
    }
}

impl GrantorModel {
    fn hold(&mut self, end: Instant) {
        self.acked = Some(self.acked.map_or(end, |earlier| earlier.max_each(end)));
    }
}
