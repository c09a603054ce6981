//! A node's holder, grantor and cell together.

use crate::cell::LeaseCell;
use crate::config::Config;
use crate::grantor::Grantor;
use crate::holder::{Action, Event, Holder, Misuse, Read, ReadError, Ticket};
use crate::ids::{NodeId, Release, TermRound};
use crate::time::{Instant, Reading, Reason};
use core::ops::Deref;
use core::time::Duration;

/// Timeouts of a leader after which a debug build panics if no action was taken.
const MAX_UNTAKEN_TIMEOUTS: u32 = 100;

/// A reading that was sampled for one input, after that input arrived. It is used up by that input: a reading that served
/// an earlier input may give a lease that has ended, or a hold that ends too soon.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it was sampled for an input"]
pub struct Fresh(Reading);

impl Fresh {
    /// Wraps a reading that was sampled just now.
    pub fn new(reading: Reading) -> Fresh {
        Fresh(reading)
    }
}

/// The lease protocol of one node: a [`Holder`], a [`Grantor`] and the [`LeaseCell`] that reader threads check, for engines
/// that need nothing unusual.
///
/// `C` is a shared pointer to the cell, such as `Arc<LeaseCell>` or `&'static LeaseCell`.
///
/// * Before the engine sees a request for a vote or a pre-vote, and before anything that makes it campaign, ask
///   [`may_vote`](Member::may_vote) or [`may_campaign`](Member::may_campaign).
/// * After every step of the engine report with [`handle_event`](Member::handle_event) what changed, before any message of
///   that step leaves. When the engine has accepted a frame's sender as leader of the current term, pass the frame's round
///   to [`handle_round`](Member::handle_round), and send the echo.
/// * Then call [`poll_action`](Member::poll_action) until it returns `None`.
/// * Call [`handle_timeout`](Member::handle_timeout) after [`wait`](Member::wait).
///
/// A leader does not pass its own rounds to `handle_round`: it counts itself.
#[derive(Debug)]
pub struct Member<C> {
    holder: Holder,
    grantor: Grantor,
    cell: C,
    /// The release that came with a transfer to this node. It is permanent, so it goes with every request for a vote.
    release: Option<Release>,
    /// The timeouts since the actions were last taken.
    untaken: u32,
}

impl<C: Deref<Target = LeaseCell>> Member<C> {
    /// Creates the member of a process that has just started, for the first time or again. `cell` must be new.
    ///
    /// `longest_hold` is the longest hold under which this node ever echoed, as it recorded durably before the first such
    /// echo; zero if there is no record, which is right only for a node that never echoed.
    pub fn new(id: NodeId, config: Config, longest_hold: Duration, now: Fresh, cell: C) -> Member<C> {
        Member::of(Holder::new(id, config), Grantor::new(config, longest_hold, now.0), cell)
    }

    /// Creates a member from machines that were made in another way, such as a grantor
    /// [after an orderly stop](Grantor::after_orderly_stop) or a holder whose
    /// [rounds start later](Holder::with_rounds_after).
    pub fn of(holder: Holder, grantor: Grantor, cell: C) -> Member<C> {
        Member { holder, grantor, cell, release: None, untaken: 0 }
    }

    /// Returns the holder.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Returns the grantor.
    pub fn grantor(&self) -> &Grantor {
        &self.grantor
    }

    /// Returns the cell, for readers on any thread.
    pub fn cell(&self) -> &C {
        &self.cell
    }

    /// Handles one event. A commit or a change of voters on a node that does not lead is ignored.
    ///
    /// # Errors
    /// [`Misuse`] if a correct engine cannot report this event now. Nothing has changed then.
    pub fn handle_event(&mut self, now: Fresh, event: Event) -> Result<(), Misuse> {
        if matches!(event, Event::Committed(_) | Event::VotersChanged(_)) && self.holder.term().is_none() {
            return Ok(());
        }
        self.holder.handle_event(now.0, event, &self.cell)
    }

    /// Handles a round of the leader of this node's current term, and returns the echo to send, if any. The hold is in force
    /// before this returns.
    #[must_use = "without the echo the leader gets no lease, though this node is held"]
    pub fn handle_round(&mut self, now: Fresh, round: TermRound) -> Option<TermRound> {
        self.grantor.handle_round(now.0, round)
    }

    /// Returns whether the engine may see a request for a vote that came with `release`, if any.
    #[must_use = "on false the engine must not see the request"]
    pub fn may_vote(&mut self, now: Fresh, release: Option<Release>) -> bool {
        self.grantor.may_vote_or_campaign(now.0, release)
    }

    /// Returns whether the engine may campaign now, by a tick, a command or the answer to a pre-vote. The release of a
    /// transfer to this node lifts the hold that it covers.
    #[must_use = "on false the engine must not campaign"]
    pub fn may_campaign(&mut self, now: Fresh) -> bool {
        self.grantor.may_vote_or_campaign(now.0, self.release)
    }

    /// Keeps the release that came with the order to campaign, if one did, for [`may_campaign`](Member::may_campaign) and for the
    /// requests of [`release_to_show`](Member::release_to_show).
    pub fn keep_release(&mut self, release: Option<Release>) {
        self.release = self.release.into_iter().chain(release).max_by_key(|release| release.through);
    }

    /// Returns the release to send with every request for a vote.
    pub fn release_to_show(&self) -> Option<Release> {
        self.release
    }

    /// Decides how a read may be answered that the cell did not permit. `now` was sampled after the read arrived.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] if this node does not lead.
    pub fn read(&mut self, now: Fresh) -> Result<Read, ReadError> {
        self.holder.read(now.0, &self.cell)
    }

    /// Returns a ticket for a quorum round, for a read that must not use the lease.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] if this node does not lead.
    pub fn quorum_read(&mut self, now: Fresh) -> Result<Ticket, ReadError> {
        self.holder.quorum_read(now.0, &self.cell)
    }

    /// Opens a round if the heartbeat interval has passed.
    ///
    /// # Panics
    /// In debug builds, if no action was taken for many timeouts: without them, no round is sent.
    pub fn handle_timeout(&mut self, now: Fresh) {
        self.untaken = if self.holder.term().is_some() { self.untaken + 1 } else { 0 };
        debug_assert!(
            self.untaken <= MAX_UNTAKEN_TIMEOUTS,
            "no action was taken for {MAX_UNTAKEN_TIMEOUTS} timeouts; call poll_action after each input until it returns None"
        );
        self.holder.handle_timeout(now.0, &self.cell);
    }

    /// Returns the next action; `None` if there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.untaken = 0;
        self.holder.poll_action()
    }

    /// Returns when to call [`handle_timeout`](Member::handle_timeout), and for what reason: see
    /// [`Holder::poll_timeout`].
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.holder.poll_timeout()
    }

    /// Returns how long to wait until [`handle_timeout`](Member::handle_timeout), at most a heartbeat interval. Waking early or
    /// late does no harm: a timeout that is not due has no effect.
    pub fn wait(&self, now: Fresh) -> Duration {
        let heartbeat = self.holder.config().heartbeat();
        now.0.zip(self.poll_timeout()).map_or(heartbeat, |(now, (at, _))| now.time_until(at).min(heartbeat))
    }

    /// Returns the round that every frame to a peer carries; `None` if this node does not lead.
    pub fn frame_round(&mut self) -> Option<TermRound> {
        self.holder.frame_round()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Options;
    use crate::voters::Voters;

    fn at(millis: u64) -> Fresh {
        Fresh::new(Some(Instant::from_nanos(millis * 1_000_000, millis * 1_000_000)))
    }

    fn member(cell: &LeaseCell) -> Member<&LeaseCell> {
        let config = Config::new(Options::new(Duration::from_secs(1), 0)).expect("a consistent configuration");
        Member::new(1, config, Duration::ZERO, at(0), cell)
    }

    fn elected(term: u64) -> Event {
        Event::Elected { term, voters: Voters::simple(&[1]).expect("one voter"), barrier: 1, commit: 1 }
    }

    #[test]
    fn it_waits_for_its_next_round_and_at_most_a_heartbeat() {
        let cell = LeaseCell::new();
        let mut member = member(&cell);
        assert_eq!(member.wait(at(10)), Duration::from_millis(100), "it does not lead");
        assert_eq!(member.handle_event(at(20), elected(1)), Ok(()));
        assert_eq!(member.wait(at(50)), Duration::from_millis(70));
        assert_eq!(member.wait(at(500)), Duration::ZERO);
        assert_eq!(member.wait(Fresh::new(None)), Duration::from_millis(100), "it cannot tell");
    }

    #[test]
    fn a_follower_may_be_told_of_commits() {
        let cell = LeaseCell::new();
        assert_eq!(member(&cell).handle_event(at(10), Event::Committed(7)), Ok(()));
    }

    #[test]
    fn the_release_of_a_transfer_lifts_the_hold_and_is_shown_to_voters() {
        let cell = LeaseCell::new();
        let mut member = member(&cell);
        let round = TermRound { term: 3, round: 9 };
        assert_eq!(member.handle_round(at(2000), round), Some(round));
        assert!(!member.may_campaign(at(2100)));
        let earlier = Release { through: TermRound { term: 3, round: 8 } };
        let release = Release { through: round };
        for kept in [earlier, release, earlier] {
            member.keep_release(Some(kept));
        }
        assert!(member.may_campaign(at(2100)));
        assert_eq!(member.release_to_show(), Some(release));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "call poll_action")]
    fn actions_that_are_never_taken_are_noticed() {
        let cell = LeaseCell::new();
        let mut member = member(&cell);
        assert_eq!(member.handle_event(at(0), elected(1)), Ok(()));
        for timeout in 0..u64::from(MAX_UNTAKEN_TIMEOUTS) + 1 {
            member.handle_timeout(at(100 * timeout));
        }
    }
}
