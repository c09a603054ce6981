//! A node of a small world: the machines of `leasehold_core::groups` around an abstract Raft without logs, and the driver
//! that joins them. Single rules can be switched off by changing what passes between the machines.

use leasehold_core::groups::{
    Attached, Attachment, Boot, Echo, Echoes, GroupHolder, GroupRelease, NodeRound, NodeRounds, Offer, Support,
    Supporter,
};
use leasehold_core::{Config, Instant, NodeId, Reading, Round, Term, Voters};
use std::time::Duration;

/// A rule that can be switched off from outside the machines. Those inside them have mutations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    AttachedVoterElectsNoOther,
    RestartHold,
    EpochsAreNewAfterARestart,
    EpochOfTheEchoIsThatOfTheAttachment,
    ReleaseMustCoverTheAttachment,
    TransferEndsTheLease,
    ReleasedAttachmentsDoNotCount,
    BackwardReadingEndsAllLeases,
    AttachmentOutlivesTheReplica,
    SupportThatEndedIsWithdrawnByATimer,
    WithdrawalWakesEveryGroup,
    ReleaseWakesTheGroup,
    EndedLeadershipIsAnnounced,
    UnwantedAttachmentIsReleased,
    ReleasedOfferIsOutOfDate,
    RestNamesTheAttachment,
}

impl Rule {
    pub(crate) const ALL: [Rule; 16] = [
        Rule::AttachedVoterElectsNoOther,
        Rule::RestartHold,
        Rule::EpochsAreNewAfterARestart,
        Rule::EpochOfTheEchoIsThatOfTheAttachment,
        Rule::ReleaseMustCoverTheAttachment,
        Rule::TransferEndsTheLease,
        Rule::ReleasedAttachmentsDoNotCount,
        Rule::BackwardReadingEndsAllLeases,
        Rule::AttachmentOutlivesTheReplica,
        Rule::SupportThatEndedIsWithdrawnByATimer,
        Rule::WithdrawalWakesEveryGroup,
        Rule::ReleaseWakesTheGroup,
        Rule::EndedLeadershipIsAnnounced,
        Rule::UnwantedAttachmentIsReleased,
        Rule::ReleasedOfferIsOutOfDate,
        Rule::RestNamesTheAttachment,
    ];
}

/// The constants of a world.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) nodes: NodeId,
    pub(crate) voters: Vec<NodeId>,
    pub(crate) off: Option<Rule>,
    /// True if nodes report a higher term. It deposes leaders, so that a search for a lease that lasts too long visits fewer
    /// states without it.
    pub(crate) reports_terms: bool,
}

impl Setup {
    pub(crate) fn has(&self, rule: Rule) -> bool {
        self.off != Some(rule)
    }

    fn voters(&self) -> Voters {
        Voters::simple(&self.voters).expect("few voters")
    }

    fn is_quorum(&self, votes: u8) -> bool {
        votes.count_ones() as usize > self.voters.len() / 2
    }
}

/// A message. Those without `to` go to every other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    Round { from: NodeId, round: NodeRound },
    Echo { from: NodeId, to: NodeId, echo: Echo },
    Offer { from: NodeId, boot: Boot, offer: Offer },
    Attached { from: NodeId, to: NodeId, attached: Attached },
    RequestVote { from: NodeId, term: Term, release: Option<GroupRelease> },
    Vote { from: NodeId, to: NodeId, term: Term },
    CampaignNow { from: NodeId, to: NodeId, term: Term, release: GroupRelease },
    Release { from: NodeId, to: NodeId, release: GroupRelease },
    Answer { from: NodeId, to: NodeId, answer: GroupRelease },
    Rest { from: NodeId, to: NodeId, attached: Attached },
    HigherTerm { from: NodeId, to: NodeId, term: Term },
}

impl Message {
    pub(crate) fn from(&self) -> NodeId {
        match self {
            Message::Round { from, .. }
            | Message::Offer { from, .. }
            | Message::RequestVote { from, .. }
            | Message::Echo { from, .. }
            | Message::Attached { from, .. }
            | Message::Vote { from, .. }
            | Message::CampaignNow { from, .. }
            | Message::Release { from, .. }
            | Message::Answer { from, .. }
            | Message::Rest { from, .. }
            | Message::HigherTerm { from, .. } => *from,
        }
    }

    pub(crate) fn is_for(&self, id: NodeId) -> bool {
        match self {
            Message::Round { from, .. } | Message::Offer { from, .. } | Message::RequestVote { from, .. } => {
                *from != id
            }
            Message::Echo { to, .. }
            | Message::Attached { to, .. }
            | Message::Vote { to, .. }
            | Message::CampaignNow { to, .. }
            | Message::Release { to, .. }
            | Message::Answer { to, .. }
            | Message::Rest { to, .. }
            | Message::HigherTerm { to, .. } => *to == id,
        }
    }
}

/// An input of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Deliver(Message),
    /// The node reads its clock.
    Look,
    OpenRound,
    Campaign,
    /// The leader shows its offer again.
    Show,
    Restart,
    /// The replica is removed from the process and hosted again, with its durable state.
    HostAgain,
    StartTransfer {
        to: NodeId,
    },
    EndTransfer,
    /// The leader gives up because it makes no progress. It does not campaign after that.
    GiveUp,
    /// A vote in another group that follows the same node.
    VoteInAnotherGroup {
        peer: NodeId,
    },
    /// Everything a driver does now and then, of its own accord.
    Timer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Follower,
    Candidate { votes: u8 },
    Leader,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    id: NodeId,
    boot: Boot,
    term: Term,
    voted: NodeId,
    role: Role,
    rounds: NodeRounds,
    echoes: Vec<Echoes>,
    group: GroupHolder,
    supporter: Supporter,
    supports: Vec<Support>,
    attachment: Attachment,
    /// The release that came with a transfer to this node.
    shown: Option<GroupRelease>,
    transferring: bool,
    stalled: bool,
    rests: bool,
    /// Timers since a leader was heard, or since this leader heard a quorum.
    silence: u8,
}

impl Node {
    pub(crate) fn new(id: NodeId, setup: &Setup, now: Reading) -> Node {
        Node::started(id, 1, 0, 0, setup, now)
    }

    fn started(id: NodeId, boot: Boot, term: Term, voted: NodeId, setup: &Setup, now: Reading) -> Node {
        let epochs = if setup.has(Rule::EpochsAreNewAfterARestart) { boot } else { 1 };
        let supporter = if setup.has(Rule::RestartHold) {
            Supporter::new(setup.config, epochs, Duration::ZERO, now)
        } else {
            Supporter::after_orderly_stop(setup.config, epochs, Duration::ZERO, now)
        };
        Node {
            id,
            boot,
            term,
            voted,
            role: Role::Follower,
            rounds: NodeRounds::new(setup.config, boot),
            echoes: vec![Echoes::default(); setup.nodes as usize],
            group: GroupHolder::new(id),
            supporter,
            supports: (1..=setup.nodes).map(Support::new).collect(),
            attachment: Attachment::new(),
            shown: None,
            transferring: false,
            stalled: false,
            rests: false,
            silence: 0,
        }
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled
    }

    pub(crate) fn term(&self) -> Term {
        self.term
    }

    /// The term and the end of the lease, if there is one.
    pub(crate) fn lease(&self, setup: &Setup) -> Option<(Term, Instant)> {
        self.group.term().zip(self.group.lease(&self.rounds, |id| self.newest_echo(id, setup)).ok())
    }

    /// The newest round that confirms quorum reads here.
    pub(crate) fn quorum_round(&self, setup: &Setup) -> Round {
        self.group.quorum_round(&self.rounds, |id| self.newest_echo(id, setup))
    }

    pub(crate) fn newest_round(&self) -> Round {
        self.rounds.newest()
    }

    pub(crate) fn leads(&self) -> Option<Term> {
        (self.role == Role::Leader).then_some(self.term)
    }

    /// The inputs other than messages that can have an effect now.
    pub(crate) fn inputs(&self, setup: &Setup) -> Vec<Input> {
        let mut inputs = vec![Input::OpenRound, Input::Restart, Input::HostAgain];
        if self.role == Role::Leader {
            inputs.extend([Input::Show, Input::GiveUp, Input::EndTransfer]);
            let others = setup.voters.iter().filter(|id| **id != self.id);
            inputs.extend(others.clone().map(|to| Input::StartTransfer { to: *to }));
        } else {
            inputs.push(Input::Campaign);
        }
        let peers = (1..=setup.nodes).filter(|peer| *peer != self.id);
        inputs.extend(peers.map(|peer| Input::VoteInAnotherGroup { peer }));
        inputs
    }

    fn newest_echo(&self, id: NodeId, setup: &Setup) -> Option<Echo> {
        let echo = self.echoes[id as usize - 1].newest()?;
        match self.group.attached(id) {
            Some(attached) if !setup.has(Rule::EpochOfTheEchoIsThatOfTheAttachment) => {
                Some(Echo { epoch: attached.epoch, ..echo })
            }
            _ => Some(echo),
        }
    }

    /// Handles one input, and returns what is sent.
    pub(crate) fn handle(&mut self, now: Reading, input: Input, setup: &Setup) -> Vec<Message> {
        if setup.has(Rule::BackwardReadingEndsAllLeases) {
            self.rounds.observe(now);
        }
        let from = self.id;
        match input {
            Input::Deliver(message) => return self.deliver(now, message, setup),
            Input::Look => {
                let _held = self.supporter.remaining(now, &mut self.supports);
            }
            Input::OpenRound => return self.open_round(now),
            Input::Show => return self.show(),
            Input::Campaign => return self.campaign(now, setup),
            Input::Restart => *self = Node::started(from, self.boot + 1, self.term, self.voted, setup, now),
            Input::HostAgain => {
                if self.role == Role::Leader {
                    self.group.deposed();
                }
                self.role = Role::Follower;
                if !setup.has(Rule::AttachmentOutlivesTheReplica) {
                    self.attachment = Attachment::new();
                }
            }
            Input::StartTransfer { to } if self.role == Role::Leader && !self.transferring => {
                let through = self.group.offer().expect("it leads");
                self.transferring = true;
                if setup.has(Rule::TransferEndsTheLease) {
                    self.group.transfer_started().expect("it leads");
                }
                let release = GroupRelease { through };
                return vec![Message::CampaignNow { from, to, term: self.term, release }];
            }
            Input::EndTransfer if self.transferring => {
                self.transferring = false;
                self.group.transfer_ended().expect("it leads");
                return self.show();
            }
            Input::GiveUp if self.role == Role::Leader => {
                self.follow(self.term);
                self.stalled = true;
                return self.announce(setup);
            }
            Input::StartTransfer { .. } | Input::EndTransfer | Input::GiveUp => {}
            Input::VoteInAnotherGroup { peer } => {
                let (mut other, support) = (Attachment::new(), &mut self.supports[peer as usize - 1]);
                let offer = Offer { term: 1, number: 1 };
                // It follows the newest process of the peer that was heard.
                let mut boots = 1..=4;
                if boots.any(|boot| self.supporter.attach(support, &mut other, boot, offer).is_some()) {
                    self.supporter.may_vote_or_campaign(now, &mut other, Some(support), None);
                }
                if setup.has(Rule::WithdrawalWakesEveryGroup) {
                    self.wake();
                } else {
                    for support in &mut self.supports {
                        let _withdrawn = support.poll_withdrawal();
                    }
                }
            }
            Input::Timer => return self.timer(now, setup),
        }
        Vec::new()
    }

    fn open_round(&mut self, now: Reading) -> Vec<Message> {
        self.rounds.handle_timeout(now);
        let round = self.rounds.frame_round().expect("just opened");
        vec![Message::Round { from: self.id, round }]
    }

    fn show(&self) -> Vec<Message> {
        let offer = self.group.offer().map(|offer| Message::Offer { from: self.id, boot: self.boot, offer });
        offer.into_iter().collect()
    }

    fn announce(&self, setup: &Setup) -> Vec<Message> {
        let Some(release) = self.group.release().filter(|_| setup.has(Rule::EndedLeadershipIsAnnounced)) else {
            return Vec::new();
        };
        self.group.untold().map(|to| Message::Release { from: self.id, to, release }).collect()
    }

    /// Wakes the group if its attachment ended with its epoch.
    fn wake(&mut self) {
        for support in &mut self.supports {
            if support.poll_withdrawal() && self.attachment.leader() == Some(support.peer()) {
                self.rests = false;
            }
        }
    }

    /// Asks the leader that this node is attached to.
    fn ask(&self) -> Vec<Message> {
        let asked = self.attachment.leader().zip(self.attachment.newest());
        asked.map(|(to, attached)| Message::Attached { from: self.id, to, attached }).into_iter().collect()
    }

    fn report_term(&self, to: NodeId, setup: &Setup) -> Vec<Message> {
        let message = Message::HigherTerm { from: self.id, to, term: self.term };
        setup.reports_terms.then_some(message).into_iter().collect()
    }

    fn follow(&mut self, term: Term) {
        if self.role == Role::Leader {
            self.group.deposed();
        }
        if term > self.term {
            (self.term, self.voted) = (term, 0);
        }
        self.role = Role::Follower;
        self.transferring = false;
        self.silence = 0;
    }

    fn may_elect(&mut self, now: Reading, release: Option<GroupRelease>, setup: &Setup) -> bool {
        let release = release.map(|release| match setup.has(Rule::ReleaseMustCoverTheAttachment) {
            true => release,
            false => GroupRelease { through: Offer { number: u64::MAX, ..release.through } },
        });
        let support = self.attachment.leader().map(|leader| &mut self.supports[leader as usize - 1]);
        let may = self.supporter.may_vote_or_campaign(now, &mut self.attachment, support, release);
        may || !setup.has(Rule::AttachedVoterElectsNoOther)
    }

    fn campaign(&mut self, now: Reading, setup: &Setup) -> Vec<Message> {
        if !setup.voters.contains(&self.id) || !self.may_elect(now, self.shown, setup) {
            return self.ask();
        }
        self.follow(self.term + 1);
        self.voted = self.id;
        self.role = Role::Candidate { votes: 1 << self.id };
        let mut sent = vec![Message::RequestVote { from: self.id, term: self.term, release: self.shown }];
        sent.extend(self.count_votes(setup));
        sent
    }

    fn count_votes(&mut self, setup: &Setup) -> Vec<Message> {
        match self.role {
            Role::Candidate { votes } if setup.is_quorum(votes) => {
                self.role = Role::Leader;
                self.group.elected(self.term, setup.voters(), 1, 1).expect("a higher term");
                self.show()
            }
            _ => Vec::new(),
        }
    }

    fn deliver(&mut self, now: Reading, message: Message, setup: &Setup) -> Vec<Message> {
        let id = self.id;
        let wakes = match message {
            Message::Round { .. } | Message::Echo { .. } | Message::Rest { .. } => false,
            Message::Release { .. } => setup.has(Rule::ReleaseWakesTheGroup),
            _ => true,
        };
        self.rests &= !wakes;
        match message {
            Message::Round { from, round } => {
                let support = &mut self.supports[from as usize - 1];
                let echo = self.supporter.handle_round(now, support, round);
                return echo.map(|echo| Message::Echo { from: id, to: from, echo }).into_iter().collect();
            }
            Message::Echo { from, echo, .. } => {
                self.echoes[from as usize - 1].handle_echo(&self.rounds, echo);
            }
            Message::Offer { from, boot, offer } => {
                if offer.term < self.term {
                    return self.report_term(from, setup);
                }
                self.follow(offer.term);
                let support = &self.supports[from as usize - 1];
                if !setup.has(Rule::ReleasedOfferIsOutOfDate) && self.attachment.newest().is_none() {
                    self.attachment = Attachment::new();
                }
                let attached = self.supporter.attach(support, &mut self.attachment, boot, offer);
                return attached
                    .map(|attached| Message::Attached { from: id, to: from, attached })
                    .into_iter()
                    .collect();
            }
            Message::Attached { from, mut attached, .. } => {
                if let Some(offer) = self.group.offer().filter(|offer| offer.term == attached.offer.term) {
                    if !setup.has(Rule::ReleasedAttachmentsDoNotCount) {
                        attached.offer = offer;
                    }
                }
                let release = self.group.handle_attached(from, attached);
                let release = release.filter(|_| setup.has(Rule::UnwantedAttachmentIsReleased));
                return release.map(|release| Message::Release { from: id, to: from, release }).into_iter().collect();
            }
            Message::RequestVote { from, term, release } => {
                if term < self.term {
                    return self.report_term(from, setup);
                }
                if !setup.voters.contains(&id) || !self.may_elect(now, release, setup) {
                    return self.ask();
                }
                if term > self.term {
                    self.follow(term);
                }
                if self.role == Role::Follower && [0, from].contains(&self.voted) {
                    self.voted = from;
                    return vec![Message::Vote { from: id, to: from, term }];
                }
            }
            Message::Vote { from, term, .. } => {
                if let Role::Candidate { votes } = &mut self.role {
                    if term == self.term {
                        *votes |= 1 << from;
                        return self.count_votes(setup);
                    }
                }
            }
            Message::CampaignNow { term, release, .. } => {
                if term == self.term && self.role == Role::Follower {
                    self.shown = Some(release);
                    return self.campaign(now, setup);
                }
            }
            Message::Release { from, release, .. } => {
                let answer = self.attachment.handle_release(release);
                return vec![Message::Answer { from: id, to: from, answer }];
            }
            Message::Answer { from, answer, .. } => self.group.handle_answer(from, answer),
            Message::Rest { from, attached, .. } => {
                let support = &self.supports[from as usize - 1];
                self.rests = if setup.has(Rule::RestNamesTheAttachment) {
                    self.supporter.may_rest(support, &self.attachment, attached)
                } else {
                    self.supporter.stands(support, &self.attachment)
                };
            }
            Message::HigherTerm { term, .. } => {
                if term > self.term {
                    self.follow(term);
                    return self.announce(setup);
                }
            }
        }
        Vec::new()
    }

    /// The node leads other groups too, which the world does not show: it opens rounds whatever happens in this one.
    fn timer(&mut self, now: Reading, setup: &Setup) -> Vec<Message> {
        let mut sent = self.open_round(now);
        if setup.has(Rule::SupportThatEndedIsWithdrawnByATimer) {
            for support in &mut self.supports {
                self.supporter.handle_timeout(now, support);
            }
        }
        self.wake();
        sent.extend(self.announce(setup));
        if self.role == Role::Leader {
            let may_rest = self.group.may_rest(now, &self.rounds, |id| self.newest_echo(id, setup));
            if may_rest {
                let others = setup.voters.iter().filter(|id| **id != self.id);
                let known = others.filter_map(|id| self.group.attached(*id).map(|attached| (*id, attached)));
                if !self.rests {
                    sent.extend(known.map(|(to, attached)| Message::Rest { from: self.id, to, attached }));
                }
                (self.rests, self.silence) = (true, 0);
                return sent;
            }
            self.rests = false;
            self.silence += 1;
            if self.silence > MAX_SILENCE {
                self.follow(self.term);
                return sent;
            }
            sent.extend(self.show());
        } else if !self.rests && !self.stalled {
            self.silence = (self.silence + 1).min(MAX_SILENCE);
            if self.silence > 2 + 2 * self.id as u8 {
                let campaigned = self.campaign(now, setup);
                if matches!(self.role, Role::Candidate { .. }) {
                    self.silence = 0;
                }
                sent.extend(campaigned);
            }
        }
        sent
    }
}

/// Timers after which a leader without a quorum steps down; more than any election timeout.
const MAX_SILENCE: u8 = 12;
