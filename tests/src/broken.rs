//! Single rules taken out of the protocol, to show that each is needed: a checker that misses any of these proves nothing.
//!
//! The machines of the product have no such switches. What is broken here is wrapped around them: an input is withheld
//! or forged, or an output is replaced by what the rule would have forbidden.

use leasehold_core::{Config, Event, Holder, Instant, LeaseCell, Reading, Release, Round, TermRound};

/// The rule that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// A restarted grantor believes that it promised nothing.
    RestartForgetsHold,
    /// Votes are granted without asking the grantor.
    VoteNotGated,
    /// A node campaigns without asking its grantor.
    CampaignNotGated,
    /// Any release lifts any hold, whatever was acknowledged after it.
    ReleaseLiftsEverything,
    /// An echo that comes without a reading starts no hold.
    EchoWithoutReadingHoldsNothing,
    /// The grantor's reading was taken before the frame arrived.
    ReadingOlderThanFrame,
    /// The lease starts when the acknowledgement arrives, as in several published designs, not when its round was opened.
    AnchoredAtReceipt,
    /// The lease goes on while leadership is handed over.
    NoReleaseMark,
    /// The lease from before a transfer is good again once the transfer is abandoned.
    ReleaseMarkForgotten,
    /// The lease from before a change of voters is kept.
    QuorumRoundKept,
    /// The holder takes a backward reading for no reading, and keeps its stamps.
    BackwardReadingIgnored,
    /// The holder ages its lease by a counter that stops while the machine is suspended.
    SuspendUnseen,
    /// The lease is as long as the hold, whatever the clocks' drift.
    DriftIgnored,
    /// The lease is valid before the leader has committed anything in its own term.
    BarrierNotAwaited,
}

impl Broken {
    /// Every one of them.
    pub const ALL: [Broken; 14] = [
        Broken::RestartForgetsHold,
        Broken::VoteNotGated,
        Broken::CampaignNotGated,
        Broken::ReleaseLiftsEverything,
        Broken::EchoWithoutReadingHoldsNothing,
        Broken::ReadingOlderThanFrame,
        Broken::AnchoredAtReceipt,
        Broken::NoReleaseMark,
        Broken::ReleaseMarkForgotten,
        Broken::QuorumRoundKept,
        Broken::BackwardReadingIgnored,
        Broken::SuspendUnseen,
        Broken::DriftIgnored,
        Broken::BarrierNotAwaited,
    ];
}

/// The product's holder, perhaps with a rule taken out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TestedHolder {
    real: Holder,
    broken: Option<Broken>,
    config: Config,
    /// Of the last reading, where the wrapper needs one.
    last: Reading,
    /// An end of the lease that the real holder would not stand by.
    stretched: Option<Instant>,
    /// Its end before the transfer under way.
    before_transfer: Option<Instant>,
}

impl TestedHolder {
    /// The holder of node `id`.
    pub fn new(id: u64, config: Config, broken: Option<Broken>) -> TestedHolder {
        TestedHolder {
            real: Holder::new(id, config),
            broken,
            config,
            last: None,
            stretched: None,
            before_transfer: None,
        }
    }

    /// The product's holder itself.
    pub fn real(&mut self) -> &mut Holder {
        &mut self.real
    }

    /// What the real holder would show of a reading, and what of it the broken one sees.
    fn seen(&mut self, now: Reading) -> Reading {
        match self.broken {
            Some(Broken::SuspendUnseen) => now.map(|now| Instant::from_nanos(now.awake_nanos(), now.awake_nanos())),
            Some(Broken::BackwardReadingIgnored) => {
                let reading = now.filter(|now| self.last.is_none_or(|last| !now.is_before_on_either_counter(last)));
                self.last = reading.or(self.last);
                reading
            }
            _ => now,
        }
    }

    /// See [`Holder::handle_event`].
    pub fn handle_event(&mut self, now: Reading, event: Event, cell: &LeaseCell) {
        let now = self.seen(now);
        let before = self.lease_until();
        let quorum_round = self.real.quorum_round();
        let reported = match (self.broken, event) {
            (Some(Broken::NoReleaseMark), Event::TransferStarted | Event::TransferEnded) => return,
            (Some(Broken::BarrierNotAwaited), Event::Elected { term, voters, commit, .. }) => {
                Event::Elected { term, voters, barrier: commit, commit }
            }
            _ => event,
        };
        self.real.handle_event(now, reported, cell).expect("the abstract Raft reports its role first");
        match (self.broken, event) {
            (_, Event::Elected { .. } | Event::Deposed) => (self.stretched, self.before_transfer) = (None, None),
            (Some(Broken::AnchoredAtReceipt), Event::Acked { .. }) if self.real.quorum_round() > quorum_round => {
                self.stretched = now.map(|now| now.plus(self.config.lease()));
            }
            (Some(Broken::ReleaseMarkForgotten), Event::TransferStarted) => self.before_transfer = before,
            (Some(Broken::ReleaseMarkForgotten), Event::TransferEnded) => self.stretched = self.before_transfer.take(),
            (Some(Broken::QuorumRoundKept), Event::VotersChanged(_)) => self.stretched = before,
            _ => {}
        }
    }

    /// See [`Holder::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Reading, cell: &LeaseCell) {
        let now = self.seen(now);
        self.real.handle_timeout(now, cell);
    }

    /// Opens a round, as a quorum read does.
    pub fn open_round(&mut self, now: Reading, cell: &LeaseCell) {
        let now = self.seen(now);
        // The ticket is of no use to a reader who is not there.
        let _unused = self.real.quorum_read(now, cell);
    }

    /// What a transfer's "campaign now" carries.
    pub fn release(&mut self) -> Option<Release> {
        match self.broken {
            Some(Broken::NoReleaseMark) => self.real.frame_round().map(|through| Release { through }),
            _ => self.real.release(),
        }
    }

    /// When the lease ends, for the rules that are left.
    pub fn lease_until(&self) -> Option<Instant> {
        let real = self.real.lease_until();
        match self.broken {
            Some(Broken::AnchoredAtReceipt) => real.and(self.stretched),
            Some(Broken::ReleaseMarkForgotten | Broken::QuorumRoundKept) => {
                [real, self.stretched].into_iter().flatten().max_by_key(|until| until.awake_nanos())
            }
            _ => real,
        }
    }

    /// Whether a read at `now` would be answered by the lease, looking at the clock and at nothing else.
    pub fn lease_is_valid(&self, now: Instant) -> bool {
        let now = match self.broken {
            Some(Broken::SuspendUnseen) => Instant::from_nanos(now.awake_nanos(), now.awake_nanos()),
            _ => now,
        };
        self.lease_until().is_some_and(|until| until.is_surely_after(now))
    }

    /// The round that frames carry; `None` while not leading.
    pub fn frame_round(&mut self) -> Option<TermRound> {
        self.real.frame_round()
    }

    /// See [`Holder::quorum_round`].
    pub fn quorum_round(&self) -> Option<Round> {
        self.real.quorum_round()
    }
}
