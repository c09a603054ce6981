//! The leader's side of the lease.

mod acks;
mod stamps;

use crate::cell::{LeaseCell, Permit, Published};
use crate::config::Config;
use crate::time::{Instant, Reading};
use crate::voters::Voters;
use crate::{Index, NodeId, Reason, Release, Round, Term, TermRound};
use acks::{Acks, Noted};
use core::fmt;
use stamps::Stamps;

/// Opens rounds, counts who acknowledged them, and says what a read may do.
///
/// One of these lives as long as its process, through every term the node leads. How to drive it:
///
/// * *Inputs*: [`handle_event`](Holder::handle_event) for what the engine and the peers did,
///   [`handle_timeout`](Holder::handle_timeout) when the instant of [`poll_timeout`](Holder::poll_timeout) has come,
///   [`read`](Holder::read) for a read that the cell did not grant. Each takes a reading sampled after that input arrived.
/// * *Outputs*: after each input, and before any frame leaves, call [`poll_action`](Holder::poll_action) until it returns
///   `None`. Every frame to a peer carries [`frame_round`](Holder::frame_round).
/// * The published lease is written through the `cell` argument before the call returns, so a revocation is visible before any
///   action or message of the same step exists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    config: Config,
    id: NodeId,
    last: Reading,
    /// The newest round opened by this process.
    newest: Round,
    /// Whether a frame may have carried it: a read that arrives later must not share it.
    sent: bool,
    /// Whether it waits to be sent at once.
    due: bool,
    stamps: Stamps,
    leading: Option<Leading>,
    /// Every ticket up to this round has been reported, confirmed or aborted.
    reported: Round,
    /// Tickets up to this round ended with the leadership that gave them.
    aborted: Round,
    published: Option<Published>,
    statistics: Statistics,
}

/// What a leader knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Leading {
    term: Term,
    /// Rounds up to this one were opened before this term.
    base: Round,
    acks: Acks,
    /// The release mark: no lease of this term rests on this round or an earlier one.
    released: Round,
    transferring: bool,
    /// A read asked for a round while none could be opened.
    wanted: bool,
    barrier: Index,
    commit: Index,
    /// When the newest round was opened, for the heartbeat; `None` after a round that no reading came with.
    opened: Reading,
}

/// What happened in the engine, or arrived from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// This node became leader.
    Elected {
        /// Of this term.
        term: Term,
        /// With these voters in force.
        voters: Voters,
        /// The index of the entry with which it opens its term: once that is committed, so is all that came before.
        barrier: Index,
        /// The highest index it knew to be committed.
        commit: Index,
    },
    /// This node ceased to lead: it stepped down, saw a higher term, or shuts down.
    Deposed,
    /// A peer echoed a round.
    Acked {
        /// The peer, as the link authenticated it.
        from: NodeId,
        /// What it echoed.
        round: TermRound,
    },
    /// Everything up to this index is committed. Tell before a write is acknowledged.
    Committed(Index),
    /// These voters are in force now.
    VotersChanged(Voters),
    /// The engine has a transfer of leadership pending. Tell before its messages are handed out.
    TransferStarted,
    /// No transfer is pending any more, and this node still leads.
    TransferEnded,
}

/// What a driver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send this round to every peer now, with whatever else there is to send.
    SendRound(TermRound),
    /// Every quorum read with a ticket of this round or an earlier one is confirmed: answer it once its index is applied.
    Confirmed {
        /// The quorum round.
        through: Round,
    },
    /// Every quorum read with a ticket of this round or an earlier one, not confirmed by now, never will be.
    Aborted {
        /// The newest round that a ticket was given for.
        through: Round,
    },
}

/// How a read may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a read that is not followed up is never answered"]
pub enum Read {
    /// Now, by the lease.
    Lease(Permit),
    /// After a quorum round.
    Quorum(Ticket),
}

/// A quorum read in wait. The caller parks it; the holder keeps nothing per read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Released by [`Action::Confirmed`] through this round or a later one.
    pub round: Round,
    /// Then answer once this is applied.
    pub index: Index,
}

/// Why a read cannot be answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadError {
    /// This node does not lead. The read had no effect; ask the leader.
    NotLeader,
}

/// A mistake of the caller of [`Holder::handle_event`]: an event that a correct engine cannot report at that point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Misuse {
    /// [`Event::Elected`] in a term that is not higher than the one in which this node leads.
    TermNotHigher {
        /// The term of the event.
        term: Term,
        /// The term in which this node leads.
        current: Term,
    },
    /// [`Event::Committed`] while this node does not lead.
    CommitWithoutLeading,
    /// [`Event::VotersChanged`] while this node does not lead.
    VotersWithoutLeading,
    /// [`Event::TransferStarted`] or [`Event::TransferEnded`] while this node does not lead.
    TransferWithoutLeading,
}

/// Counts of what was ignored or out of the ordinary, since the process started or the counts were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Statistics {
    /// Rounds opened.
    pub rounds_opened: u64,
    /// Echoes that came while not leading, or of another term than the current one.
    pub acks_of_other_terms: u64,
    /// Echoes from nodes that are not voters.
    pub acks_of_strangers: u64,
    /// Echoes of a round not newer than the sender's last, or never opened in this term.
    pub acks_out_of_order: u64,
    /// Readings earlier than the one before.
    pub backward_readings: u64,
    /// Inputs that came without a reading.
    pub missing_readings: u64,
}

impl Holder {
    /// The holder of node `id`, which leads nothing yet.
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
            reported: 0,
            aborted: 0,
            published: None,
            statistics: Statistics::default(),
        }
    }

    /// The term in which this node leads; `None` if it does not.
    pub fn term(&self) -> Option<Term> {
        self.leading.as_ref().map(|leading| leading.term)
    }

    /// The newest round that a quorum of the voters acknowledged; `None` while not leading, 0 while there is none.
    pub fn quorum_round(&self) -> Option<Round> {
        self.leading.as_ref().map(|leading| leading.acks.quorum_round())
    }

    /// When the lease ends if nothing more is acknowledged; `None` while there is none to end.
    pub fn lease_until(&self) -> Option<Instant> {
        let leading = self.leading.as_ref()?;
        if leading.commit < leading.barrier || leading.acks.quorum_round() <= leading.released {
            return None;
        }
        let anchor = self.stamps.opened(leading.acks.quorum_round())?;
        Some(anchor.plus(self.config.lease()))
    }

    /// "No lease of mine rests on a round up to this one": what the last transfer of this term released, true for ever.
    pub fn release(&self) -> Option<Release> {
        let leading = self.leading.as_ref()?;
        let through = TermRound { term: leading.term, round: leading.released };
        (leading.released > leading.base).then_some(Release { through })
    }

    /// What has been counted.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// What has been counted since the counts were last taken; they start from zero again.
    pub fn take_statistics(&mut self) -> Statistics {
        core::mem::take(&mut self.statistics)
    }

    /// Handles one event.
    ///
    /// # Errors
    /// [`Misuse`] if a correct engine cannot report this event now. The holder and the cell are then unchanged.
    // `count_ack` is inlined here, and this function into no caller: a caller's loop that inlined all of it was slower.
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

    /// Handles an event other than an acknowledgement: rare, and kept out of the path of acknowledgements.
    #[inline(never)]
    fn handle_change(&mut self, now: Reading, event: Event) -> Result<(), Misuse> {
        self.check(event)?;
        self.observe(now);
        if let Event::Elected { term, voters, barrier, commit } = event {
            self.elect(now, term, voters, barrier, commit);
        }
        let Some(leading) = &mut self.leading else { return Ok(()) };
        match event {
            Event::Elected { .. } | Event::Acked { .. } => {}
            Event::Deposed => self.depose(),
            Event::Committed(index) => leading.commit = leading.commit.max(index),
            Event::VotersChanged(voters) => {
                leading.acks = leading.acks.with_voters(voters);
            }
            Event::TransferStarted => {
                leading.transferring = true;
                leading.released = self.newest;
            }
            Event::TransferEnded => {
                leading.transferring = false;
                self.open(now);
            }
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
            _ => Ok(()),
        }
    }

    /// Opens a round if the heartbeat interval has passed, or if it cannot be known that it has not.
    pub fn handle_timeout(&mut self, now: Reading, cell: &LeaseCell) {
        self.observe(now);
        if let Some(leading) = &self.leading
            && !leading.transferring
        {
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

    /// How a read that has arrived may be answered. `now` was sampled after it arrived.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`].
    pub fn read(&mut self, now: Reading, cell: &LeaseCell) -> Result<Read, ReadError> {
        self.observe(now);
        let answer = self.answer(now);
        self.publish(cell);
        answer
    }

    /// A quorum round for a read that must not use the lease.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`].
    pub fn quorum_read(&mut self, now: Reading, cell: &LeaseCell) -> Result<Ticket, ReadError> {
        self.observe(now);
        let ticket = self.ticket(now);
        self.publish(cell);
        ticket
    }

    /// The next thing to do; `None` when nothing is left.
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

    /// When to call [`handle_timeout`](Holder::handle_timeout), and why. `None` also when that cannot be known for want of a
    /// reading: then call it at every heartbeat interval of whatever timer there is.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let leading = self.leading.as_ref().filter(|leading| !leading.transferring)?;
        leading.opened.map(|opened| (opened.plus(self.config.heartbeat()), Reason::Heartbeat))
    }

    /// The round that every frame to a peer carries; `None` while not leading. Once taken it counts as sent.
    pub fn frame_round(&mut self) -> Option<TermRound> {
        let leading = self.leading.as_ref()?;
        self.sent = true;
        Some(TermRound { term: leading.term, round: self.newest })
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
        });
        self.open(now);
    }

    fn depose(&mut self) {
        let Some(leading) = self.leading.take() else { return };
        // A ticket may have been given for the round after the newest; nobody else may ever get that number.
        self.newest += u64::from(leading.wanted);
        self.aborted = self.newest;
        self.due = false;
        self.sent = true;
        self.stamps.clear();
    }

    /// Returns whether the quorum round moved.
    #[inline]
    fn count_ack(&mut self, from: NodeId, ack: TermRound) -> bool {
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.term == ack.term) else {
            self.statistics.acks_of_other_terms += 1;
            return false;
        };
        // One that was never opened cannot be newer than anything.
        let base = if ack.round > self.newest { Round::MAX } else { leading.base };
        match leading.acks.note(from, ack.round, base) {
            Noted::Completing => return true,
            Noted::Newer => {}
            Noted::Old => self.statistics.acks_out_of_order += 1,
            Noted::Stranger => self.statistics.acks_of_strangers += 1,
        }
        false
    }

    fn answer(&mut self, now: Reading) -> Result<Read, ReadError> {
        let leading = self.leading.as_ref().ok_or(ReadError::NotLeader)?;
        if let (Some(now), Some(until)) = (now, self.lease_until())
            && until.is_surely_after(now)
        {
            return Ok(Read::Lease(Permit { term: leading.term, index: leading.commit }));
        }
        self.ticket(now).map(Read::Quorum)
    }

    fn ticket(&mut self, now: Reading) -> Result<Ticket, ReadError> {
        let leading = self.leading.as_mut().ok_or(ReadError::NotLeader)?;
        let index = leading.commit.max(leading.barrier);
        if leading.transferring {
            // A round opened now would make the release out of date before it arrives.
            leading.wanted = true;
            return Ok(Ticket { round: self.newest + 1, index });
        }
        if self.sent {
            self.open(now);
        }
        Ok(Ticket { round: self.newest, index })
    }

    /// Opens a round: numbered, stamped and acknowledged by this node itself if it is a voter, before any frame can carry it.
    fn open(&mut self, now: Reading) {
        let leading = self.leading.as_mut().expect("only a leader opens rounds");
        assert!(!leading.transferring, "no round is opened while a transfer is pending");
        self.newest += 1;
        self.stamps.stamp(self.newest, now);
        leading.opened = now;
        leading.wanted = false;
        // Counted only if this node is a voter: a leader that removed itself has no say.
        let _ = leading.acks.note(self.id, self.newest, leading.base);
        self.sent = false;
        self.due = true;
        self.statistics.rounds_opened += 1;
    }

    /// Takes a reading. After a backward one no round opened before it gives a lease. Returns whether it was none.
    fn observe(&mut self, now: Reading) -> bool {
        let Some(reading) = now else {
            self.statistics.missing_readings += 1;
            return true;
        };
        let backward = self.last.is_some_and(|last| reading.is_before_on_either_counter(last));
        if backward {
            self.stamps.clear();
            self.statistics.backward_readings += 1;
            if let Some(leading) = &mut self.leading {
                leading.opened = None;
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

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::NotLeader => f.write_str("this node does not lead; ask the leader"),
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = match self {
            Misuse::TermNotHigher { term, current } => {
                return write!(f, "elected in term {term} while leading in term {current}; expected a higher term");
            }
            Misuse::CommitWithoutLeading => "a commit",
            Misuse::VotersWithoutLeading => "a change of voters",
            Misuse::TransferWithoutLeading => "a transfer",
        };
        write!(f, "{event} was reported while this node does not lead; report its election first")
    }
}

impl core::error::Error for ReadError {}
impl core::error::Error for Misuse {}
