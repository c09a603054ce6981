//! A small Raft with leases, which can be broken on purpose: each [`Defect`] is a mistake that is easy to make.

mod defect;
mod engine;

pub(crate) use defect::Defect;
use defect::Defect::*;
use leasehold_conformance::{Answer, Output, ReadId, Start};
use leasehold_core::{
    Action, Config, Event, Fresh, Grantor, Holder, Index, Instant, LeaseCell, Member, NodeId, Reading, Release, Tag,
    Term, Ticket, Voters,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// An election timeout has at least as many ticks, and less than twice as many.
const ELECTION_TICKS: u64 = 20;
/// A transfer is abandoned after so many ticks.
const TRANSFER_TICKS: u64 = 10;

#[derive(Clone, Debug)]
struct Entry {
    term: Term,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Nothing,
    Value(u64),
    Voters(Vec<NodeId>),
}

/// What is durable.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    term: Term,
    /// The newest term that this node has led.
    led: Term,
    starts: u64,
    voted: bool,
    log: Vec<Entry>,
    longest_hold: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    term: Term,
    body: Body,
    tag: Tag,
    /// True if the kit does not get to know the kind of the message.
    has_no_kind: bool,
    /// True if the kit does not get to know what it carries.
    has_no_tag: bool,
}

#[derive(Clone, Debug)]
enum Body {
    Append { before: (Term, Index), entries: Vec<Entry>, commit: Index },
    Appended { stored: bool, last: Index },
    AskVote { pre: bool, last: (Term, Index) },
    Vote { pre: bool },
    CampaignNow,
}

enum Needs {
    /// Answered by lease, or after a quorum round, once this index is applied.
    Applied(Index, fn(u64) -> Answer),
    Confirmed(Ticket),
}

pub(crate) struct Small {
    defect: Option<Defect>,
    id: NodeId,
    config: Config,
    others: Vec<NodeId>,
    member: Member<Arc<LeaseCell>>,
    disk: Disk,
    leads: bool,
    commit: Index,
    applied: Index,
    votes: Vec<NodeId>,
    pre_votes: Vec<NodeId>,
    /// The ticks since a leader was heard, and their number at which this node campaigns.
    silent: u64,
    patience: u64,
    /// For each other node, the entries that it is known to store, and the next one to send.
    stored: BTreeMap<NodeId, (Index, Index)>,
    /// The answers of voters that stored an entry, for [`CountsMessages`].
    answers: BTreeMap<Index, usize>,
    barrier: Index,
    wanted: Option<Vec<NodeId>>,
    transfer: Option<(NodeId, u64, bool)>,
    writes: BTreeMap<Index, u64>,
    reads: Vec<(ReadId, Needs)>,
    outputs: VecDeque<Output<Message>>,
    last_reading: Reading,
    deposed_late: bool,
    /// True while reports of votes are delayed, and true during a vote whose report is.
    is_delayed: bool,
    is_unseen: bool,
    late: Vec<Event>,
    seed: u64,
}

impl Message {
    fn new(term: Term, body: Body, tag: Tag) -> Message {
        Message { term, body, tag, has_no_kind: false, has_no_tag: false }
    }
}

impl Small {
    pub(crate) fn new(start: Start<Disk>, defect: Option<Defect>) -> Small {
        let founding = Entry { term: 0, content: Content::Voters(start.voters.clone()) };
        let mut disk = start.disk.unwrap_or(Disk {
            term: 0,
            led: 0,
            starts: 0,
            voted: false,
            log: vec![founding],
            longest_hold: Duration::ZERO,
        });
        disk.starts += 1;
        // A node without a record is held for its present hold, so the mistake shows only when that has become shorter.
        let longest_hold = if defect == Some(ForgetsItsHold) { Duration::ZERO } else { disk.longest_hold };
        disk.longest_hold = disk.longest_hold.max(start.config.hold());
        let leads_again =
            [LeadsItsTermAgain, LeadsItsTermAgainUnseen, LeadsItsTermAgainWithNewRounds].map(Some).contains(&defect);
        let mut holder = Holder::new(start.id, start.config);
        if defect == Some(LeadsItsTermAgainWithNewRounds) {
            holder = holder.with_rounds_after(disk.starts << 32);
        }
        let member = Member::of(holder, Grantor::new(start.config, longest_hold, start.now), Arc::default());
        let others = start.voters.iter().chain(&start.learners).copied().filter(|id| *id != start.id).collect();
        let mut small = Small {
            defect,
            id: start.id,
            config: start.config,
            others,
            member,
            disk,
            leads: false,
            commit: 1,
            applied: 1,
            votes: Vec::new(),
            pre_votes: Vec::new(),
            silent: 0,
            patience: 0,
            stored: BTreeMap::new(),
            answers: BTreeMap::new(),
            barrier: 0,
            wanted: None,
            transfer: None,
            writes: BTreeMap::new(),
            reads: Vec::new(),
            outputs: VecDeque::new(),
            last_reading: start.now,
            deposed_late: false,
            is_delayed: false,
            is_unseen: false,
            late: Vec::new(),
            seed: start.seed,
        };
        small.wait_for_a_leader();
        if leads_again && small.disk.term > 0 && small.disk.led == small.disk.term {
            small.lead(start.now);
        }
        small
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// Passes a reading on, unless a defect changes it.
    fn reading(&mut self, now: Reading, is_tick: bool) -> Reading {
        let last = self.last_reading;
        let now = match self.defect {
            Some(KeepsAReading) if !is_tick => return last,
            Some(ReadsOneCounter) => now.map(|now| Instant::from_nanos(now.awake_nanos(), now.awake_nanos())),
            Some(ReplacesAMissingReading) => now.or(last),
            Some(MakesReadingsMonotonic) => now.zip(last).map(|(now, last)| now.max_each(last)).or(now),
            _ => now,
        };
        self.last_reading = if self.has(KeepsAReading) { now } else { now.or(last) };
        now
    }

    fn last(&self) -> (Term, Index) {
        (self.disk.log.last().map_or(0, |entry| entry.term), self.disk.log.len() as Index)
    }

    /// Returns the voters in force: those of the newest entry that has some, committed or not.
    fn in_force(&self, through: Index) -> Vec<NodeId> {
        let voters = self.disk.log[..through as usize].iter().rev().find_map(|entry| match &entry.content {
            Content::Voters(voters) => Some(voters.clone()),
            _ => None,
        });
        voters.expect("the first entry has some")
    }

    fn is_voter(&self) -> bool {
        self.in_force(self.last().1).contains(&self.id)
    }

    fn value(&self) -> u64 {
        let applied = if self.has(AppliesEarly) { self.last().1 } else { self.applied };
        let values = self.disk.log[..applied as usize].iter().rev().find_map(|entry| match entry.content {
            Content::Value(value) => Some(value),
            _ => None,
        });
        values.unwrap_or(0)
    }

    fn wait_for_a_leader(&mut self) {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let timeout = ELECTION_TICKS + (self.seed >> 33) % ELECTION_TICKS;
        self.patience = self.silent + if self.has(CampaignsLate) { 3 * timeout } else { timeout };
    }

    fn has_quorum(&self, nodes: &[NodeId]) -> bool {
        let voters = self.in_force(self.last().1);
        let count = if self.has(CountsMessages) {
            nodes.iter().filter(|id| voters.contains(id)).count()
        } else {
            voters.iter().filter(|id| nodes.contains(id)).count()
        };
        2 * count > voters.len()
    }

    fn report(&mut self, now: Reading, event: Event) {
        if (self.is_unseen || !self.late.is_empty()) && event != Event::Suspended {
            self.late.push(event);
            return;
        }
        // A defect may leave the holder in a state that no correct engine reaches.
        let reported = self.member.handle_event(Fresh::new(now), event);
        assert!(reported.is_ok() || self.defect.is_some(), "{event:?}: {reported:?}");
    }

    fn follow(&mut self, now: Reading, term: Term) {
        if std::mem::take(&mut self.leads) {
            if self.has(ReportsStepDownsLate) {
                self.deposed_late = true;
            } else {
                self.report(now, Event::Deposed);
            }
            self.writes.clear();
            (self.wanted, self.transfer) = (None, None);
            self.silent = 0;
            self.wait_for_a_leader();
        }
        if term > self.disk.term {
            (self.disk.term, self.disk.voted) = (term, false);
        }
        self.votes.clear();
    }

    fn campaign_now(&mut self, now: Reading) {
        if self.leads || !self.is_voter() {
            return;
        }
        self.follow(now, self.disk.term + 1);
        self.disk.voted = true;
        self.pre_votes.clear();
        self.votes = vec![self.id];
        self.wait_for_a_leader();
        if self.has_quorum(&self.votes) {
            self.lead(now);
        } else {
            self.request_votes(false);
        }
    }

    fn request_votes(&mut self, pre: bool) {
        let release = self.member.release_to_show().filter(|_| !self.has(SendsNoRelease));
        let term = self.disk.term + u64::from(pre);
        let body = Body::AskVote { pre, last: self.last() };
        let message = Message::new(term, body, Tag { release, ..Tag::default() });
        for to in self.others.clone() {
            self.outputs.push_back(Output::Send { to, message: message.clone() });
        }
    }

    fn lead(&mut self, now: Reading) {
        (self.leads, self.disk.led) = (true, self.disk.term);
        if std::mem::take(&mut self.deposed_late) {
            self.report(now, Event::Deposed);
        }
        let next = self.last().1 + 1;
        self.stored = self.others.iter().map(|id| (*id, (0, next))).collect();
        self.answers.clear();
        self.disk.log.push(Entry { term: self.disk.term, content: Content::Nothing });
        self.barrier = next;
        let barrier = if self.has(HasNoBarrier) { self.commit } else { self.barrier };
        let mut voters = self.in_force(next);
        if self.has(ReportsLearners) {
            voters = self.others.iter().copied().chain([self.id]).collect();
        }
        let voters = Voters::simple(&voters).expect("a few nodes");
        self.report(now, Event::Elected { term: self.disk.term, voters, barrier, commit: self.commit });
        self.advance_commit(now);
        self.replicate();
    }

    fn append(&mut self, now: Reading, content: Content) -> Index {
        if let (Content::Voters(voters), false) = (&content, self.has(ReportsNoVoters)) {
            let early = self.wanted.as_ref().filter(|_| self.has(ReportsVotersEarly));
            let voters = Voters::simple(early.unwrap_or(voters)).expect("a few nodes");
            self.report(now, Event::VotersChanged(voters));
        }
        self.disk.log.push(Entry { term: self.disk.term, content });
        let index = self.last().1;
        self.advance_commit(now);
        self.replicate();
        index
    }

    /// Sends a frame to each other node. Every frame carries the newest round.
    fn replicate(&mut self) {
        let tag = Tag { round: self.member.frame_round(), ..Tag::default() };
        for (to, (_, next)) in &self.stored {
            let before = (self.disk.log[*next as usize - 2].term, next - 1);
            let entries = self.disk.log[*next as usize - 1..].to_vec();
            let body = Body::Append { before, entries, commit: self.commit };
            self.outputs.push_back(Output::Send { to: *to, message: Message::new(self.disk.term, body, tag) });
        }
    }

    fn advance_commit(&mut self, now: Reading) {
        let last = self.last().1;
        let own = self.is_voter().then_some(self.id);
        for index in (self.commit + 1..=last).rev() {
            let mut nodes: Vec<NodeId> =
                self.stored.iter().filter(|(_, (stored, _))| *stored >= index).map(|(id, _)| *id).chain(own).collect();
            let answers = self.answers.range(index..).map(|(_, count)| count).sum::<usize>();
            let voters = self.in_force(last);
            if self.has(CountsMessages) && 2 * (answers + own.iter().count()) > voters.len() {
                nodes = voters;
            }
            if self.disk.log[index as usize - 1].term == self.disk.term && self.has_quorum(&nodes) {
                self.commit = index;
                break;
            }
        }
        if !self.has(ReportsCommitsLate) {
            self.report(now, Event::Committed(self.commit));
        }
        while let Some(entry) = self.writes.first_entry().filter(|entry| *entry.key() <= self.commit) {
            let value = entry.remove();
            self.outputs.push_back(Output::Acknowledge(value));
        }
    }

    /// Goes on with a change of voters, by one node at a time. The change of the leader itself comes last.
    fn change_on(&mut self, now: Reading) {
        let (current, last) = (self.in_force(self.last().1), self.last().1);
        let Some(wanted) = self.wanted.clone().filter(|_| self.leads && self.commit >= self.barrier) else { return };
        if self.in_force(self.commit) != current || self.commit < last {
            return;
        }
        let mut next = current.clone();
        let surplus = current.iter().filter(|id| !wanted.contains(id));
        match wanted.iter().find(|id| !current.contains(id)) {
            Some(added) => next.push(*added),
            None => match surplus.max_by_key(|id| **id != self.id) {
                Some(removed) => next.retain(|id| id != removed),
                None => self.wanted = None,
            },
        }
        next.sort_unstable();
        if next != current {
            self.append(now, Content::Voters(next));
        }
    }

    fn send_order(&mut self) {
        let Some((to, _, sent)) = &mut self.transfer else { return };
        let caught_up = self.stored.get(to).is_some_and(|(stored, _)| *stored == self.disk.log.len() as Index);
        if *sent || !caught_up {
            return;
        }
        *sent = true;
        let to = *to;
        let release = match self.defect {
            Some(MakesUpReleases) => self.member.frame_round().map(|through| Release { through }),
            Some(SendsNoRelease) => None,
            _ => self.member.holder().release(),
        };
        let tag = Tag { release, ..Tag::default() };
        self.outputs.push_back(Output::Send { to, message: Message::new(self.disk.term, Body::CampaignNow, tag) });
    }

    fn handle_append(&mut self, now: Reading, from: NodeId, message: Message) {
        let Message { term, body, tag, .. } = message;
        let Body::Append { before, entries, commit } = body else { return };
        let old = term < self.disk.term;
        let mut answer = Body::Appended { stored: false, last: self.last().1.min(before.1 - 1) };
        if !old {
            (self.silent, self.leads) = (0, false);
            self.wait_for_a_leader();
            if before.1 <= self.last().1 && self.disk.log[before.1 as usize - 1].term == before.0 {
                let end = before.1 + entries.len() as Index;
                for (index, entry) in (before.1 as usize..).zip(entries) {
                    if self.disk.log.get(index).is_none_or(|present| present.term != entry.term) {
                        self.disk.log.truncate(index);
                        self.disk.log.push(entry);
                    }
                }
                self.commit = self.commit.max(commit.min(end));
                answer = Body::Appended { stored: true, last: end };
            }
        }
        let accepted = !old || self.has(AcknowledgesOldLeaders);
        let round = tag.round.filter(|round| accepted && round.term == term);
        let ack = round.and_then(|round| self.member.handle_round(Fresh::new(now), round));
        let term = if accepted { term } else { self.disk.term };
        let message = Message::new(term, answer, Tag { ack, ..Tag::default() });
        self.outputs.push_back(Output::Send { to: from, message });
    }

    fn handle_answer(&mut self, now: Reading, from: NodeId, tag: Tag, stored: bool, last: Index) {
        let newest = if self.has(TakesAnswersForAcknowledgements) { self.member.frame_round() } else { tag.ack };
        if let Some(round) = newest {
            self.report(now, Event::Acked { from, round });
        }
        let Some((known, next)) = self.stored.get_mut(&from) else { return };
        if stored {
            if last > *known {
                *known = last;
            }
            *next = (*next).max(*known + 1);
            if self.in_force(self.last().1).contains(&from) {
                *self.answers.entry(last).or_default() += 1;
            }
            self.advance_commit(now);
            self.send_order();
        } else {
            *next = (last + 1).max(*known + 1).max(2);
        }
        self.change_on(now);
        // A leader that has removed itself leads until that is committed.
        if !self.in_force(self.commit).contains(&self.id) {
            self.follow(now, self.disk.term);
        }
    }

    fn handle_request(&mut self, now: Reading, from: NodeId, term: Term, pre: bool, last: (Term, Index)) {
        if !pre && term > self.disk.term {
            self.follow(now, term);
        }
        let current = if pre {
            !self.leads && self.silent >= ELECTION_TICKS && term > self.disk.term
        } else {
            term == self.disk.term && !self.disk.voted
        };
        if current && last >= self.last() {
            self.disk.voted |= !pre;
            let message = Message::new(term, Body::Vote { pre }, Tag::default());
            self.outputs.push_back(Output::Send { to: from, message });
        }
    }

    fn handle_vote(&mut self, now: Reading, from: NodeId, term: Term, pre: bool) {
        if pre && term == self.disk.term + 1 && !self.pre_votes.is_empty() {
            self.pre_votes.push(from);
            let may = self.has(CampaignsByPreVotes) || self.member.may_campaign(Fresh::new(now));
            if self.has_quorum(&self.pre_votes) && may {
                self.campaign_now(now);
            }
        } else if !pre && term == self.disk.term && !self.leads && !self.votes.is_empty() {
            self.votes.push(from);
            if self.has_quorum(&self.votes) {
                self.lead(now);
            }
        }
    }

    /// Takes the actions, and answers the reads that can be answered. Called after each input.
    fn finish(&mut self) {
        while let Some(action) = self.member.poll_action() {
            let (dropped, any) = (self.has(DropsActions), self.has(TakesAnyConfirmation));
            match action {
                Action::SendRound(_) if self.leads => self.replicate(),
                Action::SendRound(_) => {}
                Action::Confirmed { through } => {
                    for (_, needs) in self.reads.iter_mut().filter(|_| !dropped) {
                        if let Needs::Confirmed(ticket) = *needs
                            && (ticket.round <= through || any)
                        {
                            *needs = Needs::Applied(ticket.index, Answer::ByQuorum);
                        }
                    }
                }
                Action::Aborted { .. } => {
                    for (read, _) in self.reads.extract_if(.., |(_, needs)| matches!(needs, Needs::Confirmed(_))) {
                        self.outputs.push_back(Output::Answer(read, Answer::Refused));
                    }
                }
            }
        }
        let (value, applied, waits) = (self.value(), self.applied, !self.has(ReadsBeforeItApplies));
        for (read, needs) in self.reads.extract_if(.., |(_, needs)| match needs {
            Needs::Applied(index, _) => *index <= applied || !waits,
            Needs::Confirmed(_) => false,
        }) {
            if let Needs::Applied(_, answer) = needs {
                self.outputs.push_back(Output::Answer(read, answer(value)));
            }
        }
    }
}
