//! A node of a small world: the machines of local reads, a holder and a grantor around an abstract Raft, and the driver that
//! joins them. Single rules can be switched off by changing what passes between the machines.

use leasehold_core::local::{Grant, Lender, Reader, Request, Return};
use leasehold_core::{
    Action, Config, Event, Grantor, Holder, Index, Instant, LeaseCell, NodeId, Reading, Release, Term, TermRound,
    Voters,
};
use std::time::Duration;

/// A rule that can be switched off from outside the machines. Those inside them have mutations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// An obligated node neither votes nor campaigns.
    OwnHold,
    /// The leader shows nothing beyond the exposed index.
    Exposure,
    /// Followers learn of a commit once it is exposed.
    FollowersAreToldWhatIsExposed,
    FormerLeaderKeepsTheExposedIndex,
    Floor,
    /// The received index is computed from the log, also after a restart.
    ReceivedIsComputed,
    ReceivedIsOfTheTerm,
    ReceivedBeforeTheAcknowledgement,
    RequestNumbersAreNew,
    RecallBeforeATransfer,
    RestartHold,
    OrderlyStopRecordsObligations,
    /// The hold of a restart is at least the longest one before it.
    LongestHoldIsRecorded,
    /// A change of voters is exposed while no obligation is in force.
    ChangeOfVotersWaits,
}

impl Rule {
    /// Those that a search or random schedules find to be missing.
    pub(crate) const ALL: [Rule; 12] = [
        Rule::OwnHold,
        Rule::Exposure,
        Rule::FollowersAreToldWhatIsExposed,
        Rule::FormerLeaderKeepsTheExposedIndex,
        Rule::Floor,
        Rule::ReceivedIsComputed,
        Rule::ReceivedIsOfTheTerm,
        Rule::ReceivedBeforeTheAcknowledgement,
        Rule::RequestNumbersAreNew,
        Rule::RecallBeforeATransfer,
        Rule::RestartHold,
        Rule::OrderlyStopRecordsObligations,
    ];
}

/// The constants of a world.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    /// The configuration of processes that start later.
    pub(crate) next: Config,
    pub(crate) nodes: NodeId,
    /// The first voters are the nodes up to this one; the others are learners.
    pub(crate) voters: NodeId,
    /// The voters after each change, which are used again after the last one. Each differs from the one before by a node.
    pub(crate) changes: &'static [&'static [NodeId]],
    pub(crate) off: Option<Rule>,
    /// The nodes that ask for subleases.
    pub(crate) readers: &'static [NodeId],
    /// True if nodes report a higher term. It deposes leaders, so that a search for a lease that lasts too long visits fewer
    /// states without it.
    pub(crate) reports_terms: bool,
}

impl Setup {
    pub(crate) fn has(&self, rule: Rule) -> bool {
        self.off != Some(rule)
    }

    /// Returns the voters after so many changes.
    fn voters_after(&self, changes: usize) -> Vec<NodeId> {
        match changes.checked_sub(1) {
            Some(last) => self.changes[last % self.changes.len()].to_vec(),
            None => (1..=self.voters).collect(),
        }
    }
}

/// The log: the term of each entry, from index 1, and whether it changes the voters.
pub(crate) type Log = Vec<(Term, bool)>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) term: Term,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Body {
    /// A leader's frame, with its whole log or without entries.
    Frame {
        log: Option<Log>,
        commit: Index,
        round: TermRound,
        recall: bool,
    },
    /// The answer: the entries that the follower has if there were any, its echo, and a request with it.
    Accepted {
        matched: Option<Index>,
        echo: Option<TermRound>,
        request: Option<Request>,
    },
    Returned(Return),
    Granted(Grant),
    RequestVote {
        last: (Term, Index),
        release: Option<Release>,
    },
    Vote,
    CampaignNow {
        release: Release,
    },
    HigherTerm,
}

/// An input of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Deliver(Message),
    /// The node reads its clock.
    Look,
    /// The leader opens a round if it is time, and sends frames without entries.
    Heartbeat,
    /// The leader sends its log.
    Replicate,
    Write,
    /// The leader proposes the next change of voters.
    Change,
    Campaign,
    /// The process crashes and starts again.
    Crash,
    /// The process stops in an orderly way and starts again.
    Stop,
    StartTransfer {
        to: NodeId,
    },
    EndTransfer,
    /// The leader steps down without a later term.
    StepDown,
    /// The reader returns what it has.
    Return,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Follower,
    Candidate { votes: u8 },
    Leader,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    starts: u64,
    pub(crate) term: Term,
    voted: NodeId,
    role: Role,
    leader: Option<NodeId>,
    pub(crate) log: Log,
    pub(crate) commit: Index,
    /// The changes of voters that this node has applied. They are durable.
    pub(crate) changes: usize,
    matched: Vec<Index>,
    holder: Holder,
    grantor: Grantor,
    pub(crate) lender: Lender,
    pub(crate) reader: Reader,
    /// The last index that this process received in the current term, for a world in which that is remembered.
    mark: Index,
    /// The received index that the reader was told last.
    pub(crate) received: Option<Index>,
    /// The release that came with a transfer to this node.
    shown: Option<Release>,
    /// A transfer waits until no obligation is in force.
    waiting: Option<NodeId>,
    transferring: bool,
    /// The highest index whose effect this node shows.
    pub(crate) exposed: Index,
}

impl Node {
    pub(crate) fn new(id: NodeId, setup: &Setup, now: Reading) -> Node {
        let grantor = Grantor::new(setup.config, Duration::ZERO, now);
        Node::started(id, 1, (0, 0, Vec::new(), 0), grantor, setup.config, setup)
    }

    fn started(
        id: NodeId,
        starts: u64,
        (term, voted, log, changes): (Term, NodeId, Log, usize),
        grantor: Grantor,
        config: Config,
        setup: &Setup,
    ) -> Node {
        let numbered = if setup.has(Rule::RequestNumbersAreNew) { starts } else { 1 };
        Node {
            id,
            starts,
            term,
            voted,
            role: Role::Follower,
            leader: None,
            log,
            commit: 0,
            changes,
            matched: vec![0; setup.nodes as usize],
            holder: Holder::new(id, config),
            grantor,
            lender: Lender::new(config),
            reader: Reader::new(config, numbered),
            mark: 0,
            received: None,
            shown: None,
            waiting: None,
            transferring: false,
            exposed: 0,
        }
    }

    pub(crate) fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    /// Returns the end and the index of what this node's readers may use: its lease, or its sublease.
    pub(crate) fn local(&self) -> Option<(Instant, Index)> {
        let lease = self.holder.lease_until().map(|until| (until, self.exposed));
        lease.or_else(|| self.reader.sublease_until().zip(self.received))
    }

    pub(crate) fn forget_counters(&mut self) {
        self.holder.take_statistics();
        self.lender.take_statistics();
        self.reader.take_statistics();
    }

    /// Returns the inputs that make sense now, other than messages.
    pub(crate) fn inputs(&self, setup: &Setup) -> Vec<Input> {
        let mut inputs = vec![Input::Crash, Input::Stop];
        if self.leads() {
            inputs.extend([Input::Heartbeat, Input::Replicate, Input::Write, Input::StepDown]);
            if self.may_change(setup) {
                inputs.push(Input::Change);
            }
            if self.transferring || self.waiting.is_some() {
                inputs.push(Input::EndTransfer);
            } else {
                let others = self.voters(setup).into_iter().filter(|to| *to != self.id);
                inputs.extend(others.map(|to| Input::StartTransfer { to }));
            }
        } else {
            if self.votes(setup) {
                inputs.push(Input::Campaign);
            }
            if self.reader.sublease_until().is_some() {
                inputs.push(Input::Return);
            }
        }
        inputs
    }

    /// Handles an input, and returns the messages that it sends.
    pub(crate) fn handle(&mut self, now: Reading, input: Input, setup: &Setup) -> Vec<Message> {
        // Readers look at their cell only in the world's checks, which use what was published.
        let cell = &LeaseCell::new();
        self.reader.observe(now, cell);
        if !setup.has(Rule::ReceivedBeforeTheAcknowledgement) {
            self.report_received(setup, cell);
        }
        let mut sent = match input {
            Input::Look => Vec::new(),
            Input::Deliver(message) => self.deliver(now, message, setup, cell),
            Input::Heartbeat => {
                self.holder.handle_timeout(now, cell);
                Vec::new()
            }
            Input::Replicate => self.frames(true, setup),
            Input::Write | Input::Change => {
                self.log.push((self.term, input == Input::Change));
                self.note_matched(self.id, self.log.len() as Index, setup);
                Vec::new()
            }
            Input::Campaign => self.campaign(now, setup, cell),
            Input::Crash | Input::Stop => self.restart(now, input == Input::Stop, setup),
            Input::StartTransfer { to } => {
                self.waiting = Some(to);
                self.lender.start_recall();
                Vec::new()
            }
            Input::EndTransfer => {
                self.waiting = None;
                self.lender.end_recall();
                if std::mem::take(&mut self.transferring) {
                    self.holder.handle_event(now, Event::TransferEnded, cell).expect("it leads");
                }
                Vec::new()
            }
            Input::StepDown => {
                self.follow(now, self.term, None, cell);
                Vec::new()
            }
            Input::Return => self.give_back(cell),
        };
        if setup.has(Rule::ReceivedBeforeTheAcknowledgement) {
            self.report_received(setup, cell);
        }
        self.expose(now, setup, cell);
        sent.extend(self.start_waiting_transfer(now, setup, cell));
        if std::iter::from_fn(|| self.holder.poll_action()).any(|action| matches!(action, Action::SendRound(_))) {
            sent.extend(self.frames(false, setup));
        }
        sent
    }

    fn message(&self, to: NodeId, body: Body) -> Message {
        Message { from: self.id, to, term: self.term, body }
    }

    fn report_term(&self, to: NodeId, is_asked: bool, setup: &Setup) -> Vec<Message> {
        let reports = setup.reports_terms && is_asked;
        reports.then(|| self.message(to, Body::HigherTerm)).into_iter().collect()
    }

    fn last(&self) -> (Term, Index) {
        (self.log.last().map_or(0, |(term, _)| *term), self.log.len() as Index)
    }

    /// Returns the voters that this node knows to be in force.
    fn voters(&self, setup: &Setup) -> Vec<NodeId> {
        setup.voters_after(self.changes)
    }

    fn votes(&self, setup: &Setup) -> bool {
        self.voters(setup).contains(&self.id)
    }

    fn is_quorum(&self, votes: u8, setup: &Setup) -> bool {
        let voters = self.voters(setup);
        voters.iter().filter(|id| votes >> **id & 1 == 1).count() > voters.len() / 2
    }

    /// Returns the first change of voters that is in the log and not applied.
    fn pending_change(&self) -> Option<Index> {
        let rest = self.log.get(self.exposed as usize..)?;
        rest.iter().position(|(_, changes)| *changes).map(|at| self.exposed + at as Index + 1)
    }

    /// Returns true if this leader may propose a change of voters: it has exposed the entry that opens its term, and none
    /// is pending.
    fn may_change(&self, setup: &Setup) -> bool {
        let exposed = self.exposed.checked_sub(1).and_then(|last| self.log.get(last as usize));
        !setup.changes.is_empty()
            && exposed.is_some_and(|(term, _)| *term == self.term)
            && self.pending_change().is_none()
    }

    fn report_received(&mut self, setup: &Setup, cell: &LeaseCell) {
        let (term, last) = self.last();
        let mut received = (term == self.term).then_some(last);
        if !setup.has(Rule::ReceivedIsOfTheTerm) {
            received = Some(last);
        }
        if !setup.has(Rule::ReceivedIsComputed) {
            received = Some(self.mark.max(self.commit));
        }
        self.received = received;
        self.reader.received(received, cell);
    }

    fn expose(&mut self, now: Reading, setup: &Setup, cell: &LeaseCell) {
        let matched = &self.matched;
        let change = self.pending_change().filter(|_| setup.has(Rule::ChangeOfVotersWaits));
        let exposed = self.lender.advance(now, self.commit, change, |id| matched.get(id as usize - 1).copied());
        let gated = if self.leads() {
            setup.has(Rule::Exposure)
        } else {
            setup.has(Rule::Exposure) && setup.has(Rule::FormerLeaderKeepsTheExposedIndex)
        };
        self.exposed = if gated { exposed } else { self.commit };
        if self.leads() {
            self.holder.handle_event(now, Event::Committed(self.exposed), cell).expect("it leads");
        }
        let applied = self.log.iter().take(self.exposed as usize).filter(|(_, changes)| *changes).count();
        if applied <= self.changes {
            return;
        }
        self.changes = applied;
        if self.leads() && self.votes(setup) {
            let voters = Voters::simple(&self.voters(setup)).expect("few voters");
            self.holder.handle_event(now, Event::VotersChanged(voters), cell).expect("it leads");
        } else if self.role != Role::Follower && !self.votes(setup) {
            self.follow(now, self.term, None, cell);
        }
    }

    fn start_waiting_transfer(&mut self, now: Reading, setup: &Setup, cell: &LeaseCell) -> Vec<Message> {
        let ready = !setup.has(Rule::RecallBeforeATransfer) || !self.lender.is_obligated(now);
        let Some(to) = self.waiting.filter(|_| ready && self.leads()) else { return Vec::new() };
        self.waiting = None;
        self.transferring = true;
        self.holder.handle_event(now, Event::TransferStarted, cell).expect("it leads");
        let release = self.holder.release().expect("a transfer has started");
        vec![self.message(to, Body::CampaignNow { release })]
    }

    fn frames(&mut self, with_log: bool, setup: &Setup) -> Vec<Message> {
        let Some(round) = self.holder.frame_round() else { return Vec::new() };
        let told = if setup.has(Rule::FollowersAreToldWhatIsExposed) { self.exposed } else { self.commit };
        let others = (1..=setup.nodes).filter(|id| *id != self.id);
        others
            .map(|to| {
                let log = with_log.then(|| self.log.clone());
                let commit = if with_log { told } else { told.min(self.matched[to as usize - 1]) };
                self.message(to, Body::Frame { log, commit, round, recall: self.lender.recalls(to) })
            })
            .collect()
    }

    fn restart(&mut self, now: Reading, in_order: bool, setup: &Setup) -> Vec<Message> {
        let own = self.lender.remaining(now).filter(|_| setup.has(Rule::OrderlyStopRecordsObligations));
        let recorded = self.grantor.remaining(now).map(|remaining| remaining.max(own.unwrap_or_default()));
        let grantor = match recorded.filter(|_| in_order) {
            Some(remaining) => Grantor::after_orderly_stop(setup.next, remaining, now),
            None if setup.has(Rule::RestartHold) => {
                let recorded = setup.has(Rule::LongestHoldIsRecorded).then(|| setup.config.hold());
                Grantor::new(setup.next, recorded.unwrap_or_default(), now)
            }
            None => Grantor::after_orderly_stop(setup.next, Duration::ZERO, now),
        };
        let durable = (self.term, self.voted, std::mem::take(&mut self.log), self.changes);
        *self = Node::started(self.id, self.starts + 1, durable, grantor, setup.next, setup);
        Vec::new()
    }

    fn give_back(&mut self, cell: &LeaseCell) -> Vec<Message> {
        let returned = self.reader.return_all(cell).zip(self.leader);
        returned.map(|(returned, to)| self.message(to, Body::Returned(returned))).into_iter().collect()
    }

    fn follow(&mut self, now: Reading, term: Term, leader: Option<NodeId>, cell: &LeaseCell) {
        if self.leads() {
            self.holder.handle_event(now, Event::Deposed, cell).expect("a deposition is no misuse");
            self.lender.deposed();
        }
        if term > self.term {
            (self.term, self.voted) = (term, 0);
            self.mark = 0;
        }
        self.role = Role::Follower;
        self.leader = leader;
        (self.waiting, self.transferring) = (None, false);
        match leader {
            Some(leader) => {
                self.reader.follows(term, leader, cell);
                self.lender.follows(term);
            }
            None => self.reader.lost_leader(cell),
        }
    }

    fn may_elect(&mut self, now: Reading, release: Option<Release>, setup: &Setup) -> bool {
        let is_free = self.grantor.may_vote_or_campaign(now, release);
        is_free && !(setup.has(Rule::OwnHold) && self.lender.is_obligated(now))
    }

    fn campaign(&mut self, now: Reading, setup: &Setup, cell: &LeaseCell) -> Vec<Message> {
        // The voters may be others, by a change that is committed.
        let may_change = self.pending_change().is_some_and(|change| change <= self.commit);
        if self.leads() || !self.votes(setup) || may_change || !self.may_elect(now, self.shown, setup) {
            return Vec::new();
        }
        self.follow(now, self.term + 1, None, cell);
        self.voted = self.id;
        self.role = Role::Candidate { votes: 1 << self.id };
        let others = self.voters(setup).into_iter().filter(|id| *id != self.id);
        let body = Body::RequestVote { last: self.last(), release: self.shown };
        let sent = others.map(|to| self.message(to, body.clone())).collect();
        self.count_votes(now, setup, cell);
        sent
    }

    fn count_votes(&mut self, now: Reading, setup: &Setup, cell: &LeaseCell) {
        let Role::Candidate { votes } = self.role else { return };
        if !self.is_quorum(votes, setup) {
            return;
        }
        self.role = Role::Leader;
        self.matched.fill(0);
        self.lender.elected(self.term);
        self.log.push((self.term, false));
        let barrier = self.log.len() as Index;
        let voters = Voters::simple(&self.voters(setup)).expect("few voters");
        let elected = Event::Elected { term: self.term, voters, barrier, commit: self.exposed };
        self.holder.handle_event(now, elected, cell).expect("a higher term");
        self.note_matched(self.id, barrier, setup);
    }

    fn note_matched(&mut self, id: NodeId, index: Index, setup: &Setup) {
        let at = id as usize - 1;
        self.matched[at] = self.matched[at].max(index);
        let mut reached: Vec<Index> = self.voters(setup).iter().map(|id| self.matched[*id as usize - 1]).collect();
        reached.sort_unstable();
        let committed = reached[(reached.len() - 1) / 2];
        if committed > self.commit && self.log[committed as usize - 1].0 == self.term {
            self.commit = committed;
        }
    }

    fn deliver(&mut self, now: Reading, message: Message, setup: &Setup, cell: &LeaseCell) -> Vec<Message> {
        let Message { from, term, .. } = message;
        match message.body {
            // A request that is refused does not raise the term.
            Body::RequestVote { last, release } => {
                if term <= self.term && (term < self.term || self.role != Role::Follower) {
                    return self.report_term(from, true, setup);
                }
                if !self.may_elect(now, release, setup) {
                    return Vec::new();
                }
                if term > self.term {
                    self.follow(now, term, None, cell);
                }
                if last >= self.last() && [0, from].contains(&self.voted) {
                    self.voted = from;
                    return vec![self.message(from, Body::Vote)];
                }
                return Vec::new();
            }
            _ if term < self.term => {
                let is_frame = matches!(message.body, Body::Frame { .. });
                return self.report_term(from, is_frame, setup);
            }
            _ if term > self.term => self.follow(now, term, None, cell),
            _ => {}
        }
        match message.body {
            Body::Frame { log, commit, round, recall } => {
                self.follow(now, self.term, Some(from), cell);
                let matched = log.map(|log| self.append(log));
                self.commit = self.commit.max(commit.min(self.log.len() as Index));
                if setup.has(Rule::ReceivedBeforeTheAcknowledgement) {
                    self.report_received(setup, cell);
                }
                let echo = self.grantor.handle_round(now, round);
                let asks = setup.readers.contains(&self.id) && echo.is_some() && !recall;
                let request = if asks { self.reader.request(now, cell) } else { None };
                let mut sent = vec![self.message(from, Body::Accepted { matched, echo, request })];
                if recall {
                    sent.extend(self.give_back(cell));
                }
                sent
            }
            Body::Accepted { matched, echo, request } => {
                if !self.leads() {
                    return Vec::new();
                }
                self.note_matched(from, matched.unwrap_or(0), setup);
                if let Some(round) = echo {
                    self.holder.handle_event(now, Event::Acked { from, round }, cell).expect("an echo is no misuse");
                }
                self.expose(now, setup, cell);
                let waits = setup.has(Rule::ChangeOfVotersWaits) && self.pending_change().is_some();
                let Some(request) = request.filter(|_| !waits && self.leads()) else { return Vec::new() };
                let matched = self.matched.get(from as usize - 1).copied();
                let grant = self.lender.handle_request(now, &mut self.holder, cell, from, matched, request);
                grant.map(|grant| self.message(from, Body::Granted(grant))).into_iter().collect()
            }
            Body::Returned(returned) => {
                self.lender.handle_return(from, returned);
                Vec::new()
            }
            Body::Granted(mut grant) => {
                if !setup.has(Rule::Floor) {
                    grant.floor = 0;
                }
                self.reader.handle_grant(now, from, grant, cell);
                Vec::new()
            }
            Body::Vote => {
                if let Role::Candidate { votes } = &mut self.role {
                    *votes |= 1 << from;
                    self.count_votes(now, setup, cell);
                }
                Vec::new()
            }
            Body::CampaignNow { release } => {
                self.shown = self.shown.into_iter().chain([release]).max_by_key(|release| release.through);
                self.campaign(now, setup, cell)
            }
            Body::HigherTerm | Body::RequestVote { .. } => Vec::new(),
        }
    }

    /// Takes the leader's log, and returns how much of the log is now known to be the leader's.
    fn append(&mut self, log: Log) -> Index {
        let matched = log.len() as Index;
        if !self.log.starts_with(&log) {
            self.log = log;
        }
        self.mark = self.mark.max(matched);
        matched
    }
}
