//! Raft reduced to what a lease depends on: terms, votes, logs, commits and voters.
//!
//! A [`Node`] is a value that a search can copy, compare and hash. It drives the [machines](crate::machine): the holder and
//! grantor of the product, or the model with a rule off. What is omitted from Raft only allows more: any node may campaign at
//! any moment, and no node rejects a candidate because it heard from a leader. A log holds the first entry of each term and
//! the changes of voters. An append carries the whole log and travels apart from the round.
//!
//! [`crate::world`] explains why scenarios have a world of their own.

use crate::machine::{Machine, Subject};
use crate::rules::Rule;
use leasehold_core::trace::{self, Answer};
use leasehold_core::{
    Action, Config, Event, Instant, LeaseCell, NodeId, Permit, Read, Reading, Release, Round, Term, TermRound, Ticket,
    Voters,
};
use std::fmt;
use std::time::Duration;

/// The settings that all nodes of a world share.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Hold, lease and drift.
    pub config: Config,
    /// The initial voters, and those after each change.
    pub configurations: Vec<Vec<NodeId>>,
    /// The machines that the nodes run.
    pub subject: Subject,
    /// The age of a frame's reading while [`Rule::ReadingBelongsToItsInput`] is off.
    pub staleness: Duration,
}

impl Setup {
    fn has(&self, rule: Rule) -> bool {
        match self.subject {
            Subject::Product | Subject::Compared => true,
            Subject::Model(rules) => rules.has(rule),
        }
    }
}

/// An entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its leader's term.
    pub term: Term,
    /// True for a change to the next configuration, false for the first entry of a term.
    pub change: bool,
}

/// A message between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// The leader's round.
    Round {
        /// The leader.
        from: NodeId,
        /// Its term and round.
        round: TermRound,
    },
    /// The leader's log. Travels apart from its round: either may be lost.
    Append {
        /// The leader.
        from: NodeId,
        /// Returns its term.
        term: Term,
        /// All of its log.
        log: Vec<Entry>,
        /// The length of its committed part.
        commit: usize,
    },
    /// A round's echo.
    Ack {
        /// The grantor.
        from: NodeId,
        /// The holder.
        to: NodeId,
        /// The round that is echoed.
        round: TermRound,
    },
    /// The length up to which the leader's log and the follower's are equal.
    Appended {
        /// The follower.
        from: NodeId,
        /// Of this term.
        term: Term,
        /// The number of entries.
        length: usize,
    },
    /// A candidate asks for votes.
    RequestVote {
        /// The candidate.
        from: NodeId,
        /// Returns its term.
        term: Term,
        /// The term of its last entry, and the length of its log.
        last: (Term, usize),
        /// The release it campaigns under.
        release: Option<Release>,
    },
    /// A vote is granted.
    Vote {
        /// The voter.
        from: NodeId,
        /// The candidate.
        to: NodeId,
        /// Returns its term.
        term: Term,
    },
    /// A leader asks a follower to take over.
    CampaignNow {
        /// The follower.
        to: NodeId,
        /// The leader's term.
        term: Term,
        /// The release of the leader.
        release: Option<Release>,
    },
}

/// An input of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A message arrives.
    Deliver(Message),
    /// The votes of these nodes (a bit each, by number) have arrived.
    Count(u8),
    /// These lengths were reported to have been appended, by node 1, 2 and 3.
    Replicated([usize; 3]),
    /// The node reads its clock.
    Look,
    /// A heartbeat, or a quorum read.
    OpenRound,
    /// The election timer ends.
    Campaign,
    /// The leader is asked to transfer leadership to this node.
    Transfer(NodeId),
    /// The leader abandons the transfer.
    Abandon,
    /// The leader is asked to propose the next configuration.
    Change,
    /// The process crashes and restarts.
    Restart,
}

/// An output of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// A message, to every node that can use it.
    Send(Message),
    /// Quorum reads through this round are confirmed.
    Confirmed(Round),
    /// Quorum reads through this round are aborted.
    Aborted(Round),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Follower,
    Candidate,
    Leader,
}

/// A node: Raft, holder and grantor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    id: NodeId,
    // Durable.
    term: Term,
    vote: Option<NodeId>,
    log: Vec<Entry>,
    commit: usize,
    // Volatile: lost by a restart.
    role: Role,
    transferring: bool,
    /// The release it campaigns under.
    release: Option<Release>,
    machine: Machine,
}

impl Node {
    /// Returns a node in term 0 with an empty log, whose restart hold is over.
    pub fn settled(id: NodeId, setup: &Setup, now: Reading) -> Node {
        let mut machine = Machine::start(setup.subject, id, setup.config, now);
        let later = now.map(|now| now.plus(setup.config.hold()));
        let free = machine.handle(later, trace::Input::MayElect(None), &LeaseCell::new()).answer;
        assert_eq!(free, Some(Answer::MayElect(true)), "a hold ends when it is over");
        Node {
            id,
            term: 0,
            vote: None,
            log: Vec::new(),
            commit: 0,
            role: Role::Follower,
            transferring: false,
            release: None,
            machine,
        }
    }

    /// Returns its term.
    pub fn term(&self) -> Term {
        self.term
    }

    /// Returns whether it leads.
    pub fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    /// Returns whether it is a candidate.
    pub fn campaigns(&self) -> bool {
        self.role == Role::Candidate
    }

    /// Returns whether a transfer is pending.
    pub fn transfers(&self) -> bool {
        self.transferring
    }

    /// Returns the length of its committed log.
    pub fn commit(&self) -> usize {
        self.commit
    }

    /// Returns its term and the length of its committed log, if it leads and committed an entry of its own term. It can have
    /// acknowledged the writes up to there.
    pub fn acknowledged(&self) -> Option<(Term, usize)> {
        let entry = self.log[..self.commit].last()?;
        (self.leads() && entry.term == self.term).then_some((self.term, self.commit))
    }

    /// Returns when its lease ends, if it has one.
    pub fn lease_until(&self) -> Option<Instant> {
        self.machine.lease_until()
    }

    /// Returns what a reader thread is granted.
    pub fn permit(&self, now: Reading, cell: &LeaseCell) -> Option<Permit> {
        self.machine.permit(now, cell)
    }

    /// Returns whether its grantor would let it vote or campaign.
    pub fn is_free(&self, now: Reading) -> bool {
        let answer = self.machine.clone().handle(now, trace::Input::MayElect(None), &LeaseCell::new()).answer;
        answer == Some(Answer::MayElect(true))
    }

    /// Takes a quorum read, if it leads.
    pub fn quorum_read(&mut self, now: Reading, cell: &LeaseCell) -> (Option<Ticket>, Vec<Output>) {
        let mut out = Vec::new();
        let ticket = match self.tell(now, trace::Input::QuorumRead, cell, &mut out) {
            Some(Answer::Read(Ok(Read::Quorum(ticket)))) => Some(ticket),
            _ => None,
        };
        (ticket, out)
    }

    /// Returns whether an append would change nothing.
    pub fn has_taken(&self, term: Term, log: &[Entry], commit: usize) -> bool {
        self.term > term || self.term == term && self.log.starts_with(log) && self.commit >= commit
    }

    /// Returns the voters of its newest committed configuration.
    pub fn voters<'setup>(&self, setup: &'setup Setup) -> &'setup [NodeId] {
        let changes = self.log[..self.commit].iter().filter(|entry| entry.change).count();
        &setup.configurations[changes]
    }

    /// Takes one input, with a reading that was sampled after it arrived.
    pub fn handle(&mut self, now: Reading, input: &Input, setup: &Setup, cell: &LeaseCell) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Deliver(message) => self.deliver(now, message, setup, cell, &mut out),
            Input::Count(by) => self.count_votes(now, *by, setup, cell, &mut out),
            Input::Replicated(lengths) => self.commit_replicated(now, lengths, setup, cell, &mut out),
            Input::Look => {
                // Neither input has an effect other than that the machines see the reading.
                let nothing = Event::Acked { from: 0, round: TermRound { term: 0, round: 0 } };
                self.event(now, nothing, cell, &mut out);
                self.tell(now, trace::Input::MayElect(None), cell, &mut out);
            }
            Input::OpenRound => {
                self.tell(now, trace::Input::QuorumRead, cell, &mut out);
            }
            Input::Campaign => self.campaign(now, setup, cell, &mut out),
            Input::Transfer(to) => {
                if self.leads() && *to != self.id {
                    self.transferring = true;
                    self.event(now, Event::TransferStarted, cell, &mut out);
                    let release = self.machine.release();
                    out.push(Output::Send(Message::CampaignNow { to: *to, term: self.term, release }));
                }
            }
            Input::Abandon => {
                if self.transferring {
                    self.transferring = false;
                    self.event(now, Event::TransferEnded, cell, &mut out);
                }
            }
            Input::Change => {
                let settled = self.acknowledged().is_some_and(|(_, length)| length == self.log.len());
                let made = self.log.iter().filter(|entry| entry.change).count();
                if settled && made + 1 < setup.configurations.len() {
                    self.log.push(Entry { term: self.term, change: true });
                    self.push_append(&mut out);
                }
            }
            Input::Restart => self.restart(now, setup),
        }
        out
    }

    /// Gives the machines an input, and adds their actions to the outputs.
    fn tell(&mut self, now: Reading, input: trace::Input, cell: &LeaseCell, out: &mut Vec<Output>) -> Option<Answer> {
        let effect = self.machine.handle(now, input, cell);
        out.extend(effect.actions.into_iter().flatten().map(|action| match action {
            Action::SendRound(round) => Output::Send(Message::Round { from: self.id, round }),
            Action::Confirmed { through } => Output::Confirmed(through),
            Action::Aborted { through } => Output::Aborted(through),
        }));
        effect.answer
    }

    fn event(&mut self, now: Reading, event: Event, cell: &LeaseCell, out: &mut Vec<Output>) {
        self.tell(now, trace::Input::Event(event), cell, out);
    }

    fn deliver(&mut self, now: Reading, message: &Message, setup: &Setup, cell: &LeaseCell, out: &mut Vec<Output>) {
        match message {
            Message::Round { from, round } => {
                if !self.accept_leader(now, *from, round.term, cell, out) {
                    return;
                }
                let belongs = setup.has(Rule::ReadingBelongsToItsInput);
                let now = if belongs { now } else { now.map(|now| earlier(now, setup.staleness)) };
                let Some(Answer::Echo(echo)) = self.tell(now, trace::Input::Frame(*round), cell, out) else {
                    unreachable!("a frame is answered by an echo or none");
                };
                if let Some(round) = echo {
                    out.push(Output::Send(Message::Ack { from: self.id, to: *from, round }));
                }
            }
            Message::Append { from, term, log, commit } => {
                if !self.accept_leader(now, *from, *term, cell, out) {
                    return;
                }
                if !self.log.starts_with(log) {
                    assert!(log.starts_with(&self.log[..self.commit]), "what is committed stays");
                    self.log.clone_from(log);
                }
                self.commit = self.commit.max(*commit);
                out.push(Output::Send(Message::Appended { from: self.id, term: self.term, length: log.len() }));
            }
            Message::Ack { from, to, round } => {
                if *to == self.id {
                    self.event(now, Event::Acked { from: *from, round: *round }, cell, out);
                }
            }
            Message::RequestVote { from, term, last, release } => {
                let gated = setup.has(Rule::HeldNodeDoesNotVote);
                if *from == self.id || gated && !self.may_vote_or_campaign(now, *release, cell, out) {
                    return;
                }
                if *term > self.term {
                    self.follow(now, *term, cell, out);
                }
                let free = self.vote.is_none_or(|vote| vote == *from);
                if *term == self.term && free && *last >= self.last() {
                    self.vote = Some(*from);
                    out.push(Output::Send(Message::Vote { from: self.id, to: *from, term: *term }));
                }
            }
            Message::CampaignNow { to, term, release } => {
                if *to == self.id && *term == self.term && self.role == Role::Follower {
                    self.release = release.or(self.release);
                    self.campaign(now, setup, cell, out);
                }
            }
            // These are counted by `Replicated` and `Count`.
            Message::Appended { .. } | Message::Vote { .. } => {}
        }
    }

    /// Follows a leader unless its term is old. Returns whether its message is accepted.
    fn accept_leader(
        &mut self,
        now: Reading,
        leader: NodeId,
        term: Term,
        cell: &LeaseCell,
        out: &mut Vec<Output>,
    ) -> bool {
        if leader == self.id || term < self.term {
            return false;
        }
        assert!(term > self.term || self.role != Role::Leader, "two leaders in term {term}");
        if term > self.term || self.role == Role::Candidate {
            self.follow(now, term, cell, out);
        }
        true
    }

    fn may_vote_or_campaign(
        &mut self,
        now: Reading,
        release: Option<Release>,
        cell: &LeaseCell,
        out: &mut Vec<Output>,
    ) -> bool {
        self.tell(now, trace::Input::MayElect(release), cell, out) == Some(Answer::MayElect(true))
    }

    fn campaign(&mut self, now: Reading, setup: &Setup, cell: &LeaseCell, out: &mut Vec<Output>) {
        let gated = setup.has(Rule::HeldNodeDoesNotCampaign);
        if self.leads()
            || !self.voters(setup).contains(&self.id)
            || gated && !self.may_vote_or_campaign(now, self.release, cell, out)
        {
            return;
        }
        self.term += 1;
        self.vote = Some(self.id);
        self.role = Role::Candidate;
        let (from, term, last, release) = (self.id, self.term, self.last(), self.release);
        out.push(Output::Send(Message::RequestVote { from, term, last, release }));
    }

    fn count_votes(&mut self, now: Reading, by: u8, setup: &Setup, cell: &LeaseCell, out: &mut Vec<Output>) {
        let voters = self.voters(setup);
        let votes = voters.iter().filter(|&&voter| voter == self.id || by & (1 << voter) != 0).count();
        if self.role != Role::Candidate || votes <= voters.len() / 2 {
            return;
        }
        self.role = Role::Leader;
        self.log.push(Entry { term: self.term, change: false });
        let voters = Voters::simple(voters).expect("a world's configurations are sound");
        let (barrier, commit) = (self.log.len() as u64, self.commit as u64);
        self.event(now, Event::Elected { term: self.term, voters, barrier, commit }, cell, out);
        self.push_append(out);
    }

    fn commit_replicated(
        &mut self,
        now: Reading,
        lengths: &[usize; 3],
        setup: &Setup,
        cell: &LeaseCell,
        out: &mut Vec<Output>,
    ) {
        let before = self.voters(setup);
        let shared = |length: usize| {
            let has = |voter: &&NodeId| **voter == self.id || lengths[**voter as usize - 1] >= length;
            before.iter().filter(has).count() > before.len() / 2
        };
        let Some(commit) = (self.commit + 1..=self.log.len()).rev().find(|length| shared(*length)) else { return };
        if !self.leads() || self.log[commit - 1].term != self.term {
            return;
        }
        self.commit = commit;
        self.event(now, Event::Committed(commit as u64), cell, out);
        let after = self.voters(setup);
        if after != before {
            let voters = Voters::simple(after).expect("a world's configurations are sound");
            self.event(now, Event::VotersChanged(voters), cell, out);
        }
        self.push_append(out);
    }

    /// Steps down, if it leads, before the step has any other effect.
    fn follow(&mut self, now: Reading, term: Term, cell: &LeaseCell, out: &mut Vec<Output>) {
        if self.leads() {
            self.event(now, Event::Deposed, cell, out);
        }
        if term > self.term {
            self.vote = None;
        }
        self.term = term;
        self.role = Role::Follower;
        self.transferring = false;
    }

    fn restart(&mut self, now: Reading, setup: &Setup) {
        self.role = Role::Follower;
        self.transferring = false;
        self.release = None;
        self.machine = Machine::start(setup.subject, self.id, setup.config, now);
    }

    fn push_append(&self, out: &mut Vec<Output>) {
        let (from, term, log, commit) = (self.id, self.term, self.log.clone(), self.commit);
        out.push(Output::Send(Message::Append { from, term, log, commit }));
    }

    fn last(&self) -> (Term, usize) {
        (self.log.last().map_or(0, |entry| entry.term), self.log.len())
    }
}

fn earlier(now: Instant, by: Duration) -> Instant {
    let nanos = by.as_nanos() as u64;
    Instant::from_nanos(now.awake_nanos() - nanos, now.total_nanos() - nanos)
}

fn release_text(release: &Option<Release>) -> String {
    release.map_or_else(String::new, |Release { through }| format!(" released={}/{}", through.term, through.round))
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Round { from, round } => write!(f, "round from=n{from} term={} round={}", round.term, round.round),
            Message::Append { from, term, log, commit } => {
                write!(f, "append from=n{from} term={term} log={} commit={commit}", log.len())
            }
            Message::Ack { from, round, .. } => write!(f, "ack from=n{from} term={} round={}", round.term, round.round),
            Message::Appended { from, term, length } => write!(f, "appended from=n{from} term={term} log={length}"),
            Message::RequestVote { from, term, release, .. } => {
                write!(f, "request-vote from=n{from} term={term}{}", release_text(release))
            }
            Message::Vote { from, term, .. } => write!(f, "vote from=n{from} term={term}"),
            Message::CampaignNow { term, release, .. } => {
                write!(f, "campaign-now term={term}{}", release_text(release))
            }
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Deliver(message) => write!(f, "> {message}"),
            Input::Count(by) => {
                let from: Vec<String> = (1..8).filter(|id| by & (1 << id) != 0).map(|id| format!("n{id}")).collect();
                write!(f, "counts its votes, from {}", if from.is_empty() { "itself".into() } else { from.join(" ") })
            }
            Input::Replicated(lengths) => write!(f, "counts what is appended: {lengths:?}"),
            Input::Look => f.write_str("looks at its clock"),
            Input::OpenRound => f.write_str("opens a round"),
            Input::Campaign => f.write_str("campaigns"),
            Input::Transfer(to) => write!(f, "transfers leadership to n{to}"),
            Input::Abandon => f.write_str("abandons the transfer"),
            Input::Change => f.write_str("proposes the next configuration"),
            Input::Restart => f.write_str("restarts"),
        }
    }
}
