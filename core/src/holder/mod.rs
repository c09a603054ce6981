//! The leader's side of the lease.

mod acks;
mod interface;
mod stamps;

use crate::cell::{LeaseCell, Permit, Published};
use crate::config::Config;
use crate::ids::{Index, NodeId, Release, Round, Term, TermRound};
use crate::time::{Instant, Reading, Reason};
use crate::voters::Voters;
use acks::{Acks, Noted};
use core::time::Duration;

pub(crate) use acks::{majority_round, position};
pub(crate) use stamps::Stamps;

pub use interface::{Action, Event, Misuse, NoLease, Read, ReadError, Statistics, Ticket};

/// Opens rounds, counts acknowledgements, and decides how a read may be answered.
///
/// A process has one holder, through every term in which the node leads. To drive it:
///
/// * *Inputs*: call [`handle_event`](Holder::handle_event) for events of the engine and of peers,
///   [`handle_timeout`](Holder::handle_timeout) at the instant of [`poll_timeout`](Holder::poll_timeout), and
///   [`read`](Holder::read) for a read that the cell did not permit. Each takes a reading sampled after that input
///   arrived.
/// * *Outputs*: after each input, and before any frame leaves, call [`poll_action`](Holder::poll_action) until it
///   returns `None`. Every frame to a peer carries [`frame_round`](Holder::frame_round).
/// * *The lease*: each input updates the `cell` before it returns, so a revocation is visible before any action or
///   message of the same step exists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    config: Config,
    id: NodeId,
    last: Reading,
    /// The newest round opened by this process.
    newest: Round,
    /// A frame may have carried the newest round: a read that arrives later must not share it.
    sent: bool,
    /// The newest round must be sent at once.
    due: bool,
    stamps: Stamps,
    leading: Option<Leading>,
    /// The suspensions that have not ended: no lease and no round meanwhile.
    suspensions: u32,
    /// Tickets up to this round have been reported as confirmed or aborted.
    reported: Round,
    /// Tickets up to this round were aborted when the leadership that issued them ended.
    aborted: Round,
    published: Option<Published>,
    statistics: Statistics,
}

/// The state of one term of leadership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Leading {
    term: Term,
    /// The last round before this term.
    base: Round,
    acks: Acks,
    /// The release mark: no lease of this term relies on this round or an earlier one.
    released: Round,
    transferring: bool,
    /// A ticket was issued for the round after the newest, which cannot be opened during a transfer or a suspension.
    wanted: bool,
    barrier: Index,
    commit: Index,
    /// The time at which the newest round was opened, for the heartbeat; `None` if unknown, because the reading was
    /// missing or the clock has stepped back since.
    opened: Reading,
    /// The reading of the election, or the last one that went back: a quorum has a hold from then on.
    elected: Reading,
}

impl Holder {
    /// Creates the holder of node `id`, which does not lead yet.
    pub fn new(id: NodeId, config: Config) -> Holder {
        Holder {
            config,
            id,
            last: None,
            newest: 0,
            sent: true,
            due: false,
            stamps: Stamps::new(config.lease()),
            leading: None,
            suspensions: 0,
            reported: 0,
            aborted: 0,
            published: None,
            statistics: Statistics::default(),
        }
    }

    /// Makes the rounds start after `round`, which must be no less than any round that an earlier process of this node
    /// opened in a term in which this process may lead.
    ///
    /// Only an engine that may lead again in a term in which it led before a restart needs this. Record a number of
    /// starts durably, and pass it in the high bits.
    ///
    /// # Panics
    /// If a round was opened before.
    #[must_use]
    pub fn with_rounds_after(mut self, round: Round) -> Holder {
        assert!(self.leading.is_none() && self.newest == 0, "rounds were opened before");
        (self.newest, self.reported, self.aborted) = (round, round, round);
        self
    }

    /// Returns the number of this node.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Returns whether a suspension has not ended.
    pub fn is_suspended(&self) -> bool {
        self.suspensions > 0
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the term in which this node leads; `None` if it does not lead.
    pub fn term(&self) -> Option<Term> {
        self.leading.as_ref().map(|leading| leading.term)
    }

    /// Returns the newest round that a quorum of the voters acknowledged, 0 if there is none; `None` if this node does
    /// not lead.
    pub fn quorum_round(&self) -> Option<Round> {
        self.leading.as_ref().map(|leading| leading.acks.quorum_round())
    }

    /// Returns the newest round that a voter acknowledged in this term, 0 if there is none; `None` if this node does not
    /// lead, or if `voter` is not a voter.
    pub fn acked_by(&self, voter: NodeId) -> Option<Round> {
        self.leading.as_ref().and_then(|leading| leading.acks.newest_of(voter))
    }

    /// Returns the end of the lease if no further acknowledgement extends it; `None` if there is no lease. The end may
    /// have passed.
    pub fn lease_until(&self) -> Option<Instant> {
        self.lease().ok()
    }

    /// Returns the end of the lease as [`lease_until`](Holder::lease_until) does, or the reason why there is none.
    ///
    /// # Errors
    /// [`NoLease`].
    #[inline]
    pub fn lease(&self) -> Result<Instant, NoLease> {
        let leading = self.leading.as_ref().ok_or(NoLease::NotLeader)?;
        if self.suspensions > 0 {
            return Err(NoLease::Suspended);
        }
        if leading.commit < leading.barrier {
            return Err(NoLease::Barrier);
        }
        let round = leading.acks.quorum_round();
        if round <= leading.released {
            return Err(if leading.released > leading.base { NoLease::Released } else { NoLease::NoQuorum });
        }
        let anchor = self.stamps.opened(round).ok_or(NoLease::NoAnchor)?;
        Ok(anchor.plus(self.config.lease()))
    }

    /// Returns the release that the last transfer of this term made; `None` if there was no transfer.
    pub fn release(&self) -> Option<Release> {
        let leading = self.leading.as_ref()?;
        let through = TermRound { term: leading.term, round: leading.released };
        (leading.released > leading.base).then_some(Release { through })
    }

    /// Returns whether a quorum is known to have followed this node within the last hold, or it was elected within the
    /// last hold; `false` if it does not lead. An engine without a check of its quorum steps down on `false`.
    ///
    /// It is `true` on a leader without a reading, which cannot tell.
    pub fn hears_quorum(&self, now: Reading) -> bool {
        let Some(leading) = &self.leading else { return false };
        let Some(now) = now else { return true };
        let followed = self.stamps.opened(leading.acks.quorum_round());
        [followed, leading.elected].into_iter().flatten().any(|at| now.elapsed_since(at).at_least < self.config.hold())
    }

    /// Returns the counters.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Returns the counters and resets them to zero.
    pub fn take_statistics(&mut self) -> Statistics {
        core::mem::take(&mut self.statistics)
    }

    /// Handles one event.
    ///
    /// # Errors
    /// [`Misuse`] if a correct engine cannot report this event now. The holder and the cell are then unchanged.
    // `count_ack` is inlined here. This function is not inlined into callers: that made a caller's loop slower.
    #[inline(never)]
    pub fn handle_event(&mut self, now: Reading, event: Event, cell: &LeaseCell) -> Result<(), Misuse> {
        if let Event::Acked { from, round } = event {
            let steady = self.observe(now);
            // Otherwise the published lease is unaffected.
            if self.count_ack(from, round) || !steady {
                self.publish(cell);
            }
        } else {
            self.handle_change(now, event)?;
            self.publish(cell);
        }
        Ok(())
    }

    /// Opens a round if the heartbeat interval has passed, or if a missing reading leaves that unknown.
    pub fn handle_timeout(&mut self, now: Reading, cell: &LeaseCell) {
        self.observe(now);
        if let Some(leading) = self.leading.as_ref().filter(|leading| self.may_open(leading)) {
            let early = match (now, leading.opened) {
                (Some(now), Some(opened)) => now.elapsed_since(opened).at_most < self.config.heartbeat(),
                _ => false,
            };
            if !early {
                self.open(now);
            }
        }
        self.publish(cell);
    }

    /// Decides how a read may be answered. `now` must be sampled after the read arrived.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] if this node does not lead.
    pub fn read(&mut self, now: Reading, cell: &LeaseCell) -> Result<Read, ReadError> {
        self.observe(now);
        let answer = self.answer(now);
        self.publish(cell);
        answer
    }

    /// Returns a ticket for a quorum round, for a read that must not use the lease.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] if this node does not lead.
    pub fn quorum_read(&mut self, now: Reading, cell: &LeaseCell) -> Result<Ticket, ReadError> {
        self.observe(now);
        let ticket = self.ticket(now);
        self.publish(cell);
        ticket
    }

    /// Returns how much of the lease remains at `now`, on the counter that has less of it; `None` if it is not valid.
    pub fn lease_left(&mut self, now: Reading, cell: &LeaseCell) -> Option<Duration> {
        self.observe(now);
        self.publish(cell);
        let left = self.lease_until()?.elapsed_since(now?).at_least;
        (!left.is_zero()).then_some(left)
    }

    /// Returns the next action; `None` if there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.aborted > self.reported {
            self.reported = self.aborted;
            return Some(Action::Aborted { through: self.reported });
        }
        let leading = self.leading.as_ref()?;
        if self.due {
            self.due = false;
            return self.frame_round().map(Action::SendRound);
        }
        if leading.commit >= leading.barrier && leading.acks.quorum_round() > self.reported {
            self.reported = leading.acks.quorum_round();
            return Some(Action::Confirmed { through: self.reported });
        }
        None
    }

    /// Returns when to call [`handle_timeout`](Holder::handle_timeout), and for what reason.
    ///
    /// `None` if this node does not lead, or a transfer or a suspension is pending. Also `None` if the instant is unknown, because a
    /// reading was missing or the clock stepped back: then call `handle_timeout` once per heartbeat interval of any
    /// timer.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let leading = self.leading.as_ref().filter(|leading| self.may_open(leading))?;
        leading.opened.map(|opened| (opened.plus(self.config.heartbeat()), Reason::Heartbeat))
    }

    /// Returns the round that every frame to a peer carries, and counts it as sent; `None` if this node does not lead.
    pub fn frame_round(&mut self) -> Option<TermRound> {
        let leading = self.leading.as_ref()?;
        self.sent = true;
        Some(TermRound { term: leading.term, round: self.newest })
    }

    /// Handles an event other than an acknowledgement: rare, and kept out of the path of acknowledgements.
    #[inline(never)]
    fn handle_change(&mut self, now: Reading, event: Event) -> Result<(), Misuse> {
        self.check(event)?;
        self.observe(now);
        if let Event::Elected { term, voters, barrier, commit } = event {
            self.elect(now, term, voters, barrier, commit);
        }
        match event {
            Event::Suspended => self.suspensions += 1,
            Event::Resumed => self.suspensions -= 1,
            _ => {}
        }
        let Some(leading) = &mut self.leading else { return Ok(()) };
        match event {
            Event::Elected { .. } | Event::Acked { .. } | Event::Suspended => {}
            Event::Deposed => self.depose(),
            Event::Committed(index) => leading.commit = leading.commit.max(index),
            Event::VotersChanged(voters) => {
                leading.acks = leading.acks.with_voters(voters);
            }
            Event::TransferStarted => {
                leading.transferring = true;
                leading.released = self.newest;
                self.statistics.releases += 1;
            }
            Event::TransferEnded => {
                leading.transferring = false;
                self.open_if_possible(now);
            }
            // Requests and a heartbeat may have waited.
            Event::Resumed => self.open_if_possible(now),
        }
        Ok(())
    }

    /// Returns an error if a correct engine cannot report `event` now.
    fn check(&self, event: Event) -> Result<(), Misuse> {
        match (event, self.term()) {
            (Event::Elected { term, .. }, Some(current)) if term <= current => {
                Err(Misuse::TermNotHigher { term, current })
            }
            (Event::Committed(_), None) => Err(Misuse::CommitWithoutLeading),
            (Event::VotersChanged(_), None) => Err(Misuse::VotersWithoutLeading),
            (Event::TransferStarted | Event::TransferEnded, None) => Err(Misuse::TransferWithoutLeading),
            (Event::Resumed, _) if self.suspensions == 0 => Err(Misuse::ResumedWithoutSuspension),
            _ => Ok(()),
        }
    }

    fn elect(&mut self, now: Reading, term: Term, voters: Voters, barrier: Index, commit: Index) {
        self.depose();
        self.leading = Some(Leading {
            term,
            base: self.newest,
            acks: Acks::none(voters),
            released: self.newest,
            transferring: false,
            wanted: false,
            barrier,
            commit,
            opened: None,
            elected: self.last,
        });
        self.open_if_possible(now);
    }

    fn depose(&mut self) {
        let Some(leading) = self.leading.take() else { return };
        // A ticket may have been issued for the round after the newest; no later round may have that number.
        self.newest += u64::from(leading.wanted);
        self.aborted = self.newest;
        self.due = false;
        self.sent = true;
        self.stamps.clear();
    }

    /// Counts an acknowledgement. Returns whether the quorum round advanced.
    #[inline]
    fn count_ack(&mut self, from: NodeId, ack: TermRound) -> bool {
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.term == ack.term) else {
            self.statistics.acks_of_other_terms += 1;
            return false;
        };
        // A round that was never opened must not count.
        let base = if ack.round > self.newest { Round::MAX } else { leading.base };
        match leading.acks.note(from, ack.round, base) {
            Noted::Completing => return true,
            Noted::Newer => {}
            Noted::Old => self.statistics.acks_out_of_order += 1,
            Noted::NotVoter => self.statistics.acks_of_non_voters += 1,
        }
        false
    }

    fn answer(&mut self, now: Reading) -> Result<Read, ReadError> {
        let leading = self.leading.as_ref().ok_or(ReadError::NotLeader)?;
        let leased = now.zip(self.lease_until()).is_some_and(|(now, until)| until.is_surely_after(now));
        if leased {
            return Ok(Read::Lease(Permit { term: leading.term, index: leading.commit }));
        }
        self.ticket(now).map(Read::Quorum)
    }

    fn ticket(&mut self, now: Reading) -> Result<Ticket, ReadError> {
        let leading = self.leading.as_mut().ok_or(ReadError::NotLeader)?;
        let index = leading.commit.max(leading.barrier);
        if leading.transferring || self.suspensions > 0 {
            // During a transfer, a round opened now would invalidate the release before it arrives. During a suspension,
            // this node must not count itself among those that follow it.
            leading.wanted = true;
            return Ok(Ticket { round: self.newest + 1, index });
        }
        if self.sent {
            self.open(now);
        }
        Ok(Ticket { round: self.newest, index })
    }

    /// Returns whether rounds may be opened in this term at present.
    fn may_open(&self, leading: &Leading) -> bool {
        !leading.transferring && self.suspensions == 0
    }

    fn open_if_possible(&mut self, now: Reading) {
        if self.leading.as_ref().is_some_and(|leading| self.may_open(leading)) {
            self.open(now);
        }
    }

    /// Opens a round. It is numbered, stamped and, if this node is a voter, acknowledged here before any frame can
    /// carry it.
    fn open(&mut self, now: Reading) {
        let leading = self.leading.as_mut().expect("only a leader opens rounds");
        assert!(!leading.transferring, "no round is opened while a transfer is pending");
        assert!(self.suspensions == 0, "no round is opened while the leadership is suspended");
        self.newest += 1;
        self.stamps.stamp(self.newest, now);
        leading.opened = now;
        leading.wanted = false;
        // Has no effect if this node is not a voter, as a leader that removed itself.
        let _ = leading.acks.note(self.id, self.newest, leading.base);
        self.sent = false;
        self.due = true;
        self.statistics.rounds_opened += 1;
    }

    /// Notes a reading. Returns `false` if it is backward: rounds opened before it then give no lease.
    fn observe(&mut self, now: Reading) -> bool {
        let Some(reading) = now else {
            self.statistics.missing_readings += 1;
            return true;
        };
        let backward = self.last.is_some_and(|last| reading.is_before_on_either_counter(last));
        if backward {
            self.stamps.clear();
            self.statistics.backward_readings += 1;
        }
        if let Some(leading) = &mut self.leading {
            if backward {
                leading.opened = None;
            }
            if backward || leading.elected.is_none() {
                leading.elected = now;
            }
        }
        self.last = now;
        !backward
    }

    #[inline(never)]
    fn publish(&mut self, cell: &LeaseCell) {
        let published = self
            .lease_until()
            .zip(self.leading.as_ref())
            .map(|(until, leading)| Published { until, permit: Permit { term: leading.term, index: leading.commit } });
        if published == self.published {
            return;
        }
        match published {
            Some(lease) => cell.publish(lease),
            None => cell.revoke(),
        }
        self.published = published;
    }
}
