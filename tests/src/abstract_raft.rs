//! Raft reduced to what a lease depends on: terms, votes, which log is newer, what is committed, who votes.
//!
//! The lease is the product's own: every [`Node`] drives a real [`Holder`](leasehold_core::Holder) and a real [`Grantor`]
//! through the contract that their documentation gives. What is left out of Raft only makes it bolder: any node may campaign
//! at any moment, and no leader or follower turns a candidate away for having heard from a leader. A log holds the entry
//! that opens each term and the changes of voters; an append carries the whole log, and travels apart from the round.

use crate::machine::{Machine, Subject};
use crate::rules::Rule;
use leasehold_core::trace::{self, Answer};
use leasehold_core::{
    Action, Config, Event, Instant, LeaseCell, NodeId, Permit, Read, Reading, Release, Round, Term, TermRound, Ticket,
    Voters,
};
use std::fmt;
use std::time::Duration;

/// What all nodes of a world share.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Hold, lease and drift.
    pub config: Config,
    /// The voters at first, and after each change.
    pub configurations: Vec<Vec<NodeId>>,
    /// The machines that the nodes run.
    pub subject: Subject,
    /// How old the reading of a frame is where a reading does not belong to its input.
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
    /// Whether it brings the next configuration; otherwise it opens its leader's term.
    pub change: bool,
}

/// What nodes tell each other.
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
        /// Its term.
        term: Term,
        /// All of its log.
        log: Vec<Entry>,
        /// How much of that is committed.
        commit: usize,
    },
    /// A round's echo.
    Ack {
        /// The grantor.
        from: NodeId,
        /// The holder.
        to: NodeId,
        /// What is echoed.
        round: TermRound,
    },
    /// What the leader's log and this node's share.
    Appended {
        /// The follower.
        from: NodeId,
        /// Of this term.
        term: Term,
        /// So many entries.
        length: usize,
    },
    /// A candidate's question.
    RequestVote {
        /// The candidate.
        from: NodeId,
        /// Its term.
        term: Term,
        /// The term of its last entry, and the length of its log.
        last: (Term, usize),
        /// The release it campaigns under.
        release: Option<Release>,
    },
    /// The answer, if it is yes.
    Vote {
        /// The voter.
        from: NodeId,
        /// The candidate.
        to: NodeId,
        /// Its term.
        term: Term,
    },
    /// A leader asks a follower to take over.
    CampaignNow {
        /// The follower.
        to: NodeId,
        /// The leader's term.
        term: Term,
        /// What the leader released.
        release: Option<Release>,
    },
}

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A message arrives.
    Deliver(Message),
    /// The votes of these nodes (a bit each, by number) have arrived.
    Count(u8),
    /// These lengths were reported to have been appended, by node 1, 2 and 3.
    Replicated([usize; 3]),
    /// The node looks at its clock.
    Look,
    /// A heartbeat, or a quorum read.
    OpenRound,
    /// The election timer ends.
    Campaign,
    /// The leader is asked to hand over to this node.
    Transfer(NodeId),
    /// It gives that up.
    Abandon,
    /// It is asked for the next configuration.
    Change,
    /// The process dies and starts again.
    Restart,
}

/// What a node puts out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// A message, to everyone it concerns.
    Send(Message),
    /// Quorum reads through this round are confirmed.
    Confirmed(Round),
    /// Quorum reads through this round are given up.
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
    // Lost by a restart.
    role: Role,
    transferring: bool,
    /// The release it campaigns under.
    release: Option<Release>,
    machine: Machine,
}

impl Node {
    /// A node that has run for so long that the hold of its start is over, in term 0 with an empty log.
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

    /// Its term.
    pub fn term(&self) -> Term {
        self.term
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    /// Whether it asks for votes.
    pub fn campaigns(&self) -> bool {
        self.role == Role::Candidate
    }

    /// Whether it hands leadership over.
    pub fn transfers(&self) -> bool {
        self.transferring
    }

    /// How much it knows to be committed.
    pub fn commit(&self) -> usize {
        self.commit
    }

    /// The term and the length of what it has committed as a leader in its own term: the writes up to there can be
    /// acknowledged.
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

    /// Whether an append of this term can tell it nothing.
    pub fn has_taken(&self, term: Term, log: &[Entry], commit: usize) -> bool {
        self.term > term || self.term == term && self.log.starts_with(log) && self.commit >= commit
    }

    /// The voters of the newest configuration it knows to be committed.
    pub fn voters<'setup>(&self, setup: &'setup Setup) -> &'setup [NodeId] {
        let changes = self.log[..self.commit].iter().filter(|entry| entry.change).count();
        &setup.configurations[changes]
    }

    /// Takes one input, with a reading from after it arrived.
    pub fn handle(&mut self, now: Reading, input: &Input, setup: &Setup, cell: &LeaseCell) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Deliver(message) => self.deliver(now, message, setup, cell, &mut out),
            Input::Count(by) => self.count_votes(now, *by, setup, cell, &mut out),
            Input::Replicated(lengths) => self.commit_replicated(now, lengths, setup, cell, &mut out),
            Input::Look => {
                // An echo that counts for nothing, and a question whose answer nobody acts on.
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

    /// Gives the machines an input, and puts out what they cause.
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
                if *from == self.id || gated && !self.may_elect(now, *release, cell, out) {
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
            // Taken together, as `Replicated` and `Count`.
            Message::Appended { .. } | Message::Vote { .. } => {}
        }
    }

    /// Whether a message of this leader is to be heeded; its term is this node's then.
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

    fn may_elect(&mut self, now: Reading, release: Option<Release>, cell: &LeaseCell, out: &mut Vec<Output>) -> bool {
        self.tell(now, trace::Input::MayElect(release), cell, out) == Some(Answer::MayElect(true))
    }

    fn campaign(&mut self, now: Reading, setup: &Setup, cell: &LeaseCell, out: &mut Vec<Output>) {
        let gated = setup.has(Rule::HeldNodeDoesNotCampaign);
        if self.leads()
            || !self.voters(setup).contains(&self.id)
            || gated && !self.may_elect(now, self.release, cell, out)
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

    /// Steps down, if it leads, before anything else of the same step can be seen.
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
