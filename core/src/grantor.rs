//! The other side of the lease: every node that acknowledges rounds.

use crate::config::Config;
use crate::time::{Instant, Reading};
use crate::{Release, TermRound};
use core::time::Duration;

/// Keeps a node's promise: having acknowledged a round, it helps nobody else to be elected for a full hold, by the clock.
///
/// For each frame that carries a round, once the engine has accepted its sender as leader of the current term, call
/// [`handle_round`](Grantor::handle_round) and send the echo it returns. Before the engine sees a vote or pre-vote request,
/// and before anything that would make it campaign, ask [`may_vote_or_campaign`](Grantor::may_vote_or_campaign); on `false`, do not let the engine
/// see it at all, for it would raise its term even while it refuses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grantor {
    hold: Duration,
    restart_hold: RestartHold,
    /// The newest round echoed by this process.
    newest: Option<TermRound>,
    /// No election before this, because of what was echoed.
    ack_hold: Option<Instant>,
    /// Something was echoed without a reading: the next one starts a full hold.
    ack_hold_is_due: bool,
    last: Reading,
}

/// What the node cannot know that it promised before it restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum RestartHold {
    /// It starts with the first reading.
    Due(Duration),
    Until(Instant),
    Over,
}

impl Grantor {
    /// A grantor in a process that has just started. `longest_hold` is the longest hold this node ever echoed under, as it
    /// recorded durably before the first such echo; zero if it never did.
    pub fn new(config: Config, longest_hold: Duration, now: Reading) -> Grantor {
        let mut grantor = Grantor {
            hold: config.hold(),
            restart_hold: RestartHold::Due(longest_hold.max(config.hold())),
            newest: None,
            ack_hold: None,
            ack_hold_is_due: false,
            last: None,
        };
        grantor.observe(now);
        grantor
    }

    /// Takes a round from the leader of this node's current term, and returns what to echo: the hold is in force before
    /// the echo exists. `None` for a round older than one already echoed, which needs no answer.
    ///
    /// With no reading the echo goes out all the same: the hold then lasts a full `H` from the next reading.
    pub fn handle_round(&mut self, now: Reading, round: TermRound) -> Option<TermRound> {
        let now = self.observe(now);
        if self.newest.is_some_and(|newest| round < newest) {
            return None;
        }
        self.newest = Some(round);
        match now {
            Some(now) => self.raise_ack_hold(now),
            None => self.ack_hold_is_due = true,
        }
        Some(round)
    }

    /// Whether this node may vote for another, or campaign itself. With no reading it may not.
    ///
    /// A `release` shown with the request lifts the hold of what was echoed, until the next echo, if it covers all of it.
    /// Nothing but time ends the hold of a restart.
    pub fn may_vote_or_campaign(&mut self, now: Reading, release: Option<Release>) -> bool {
        let now = self.observe(now);
        if let (Some(release), Some(newest)) = (release, self.newest)
            && newest <= release.through
        {
            self.ack_hold = None;
            self.ack_hold_is_due = false;
        }
        let Some(now) = now else { return false };
        if let RestartHold::Until(end) = self.restart_hold
            && !end.is_maybe_after(now)
        {
            self.restart_hold = RestartHold::Over;
        }
        self.restart_hold == RestartHold::Over && !self.ack_hold.is_some_and(|end| end.is_maybe_after(now))
    }

    /// Whether the hold of the restart has been seen to be over. The durable record of the longest hold may be lowered then.
    pub fn restart_hold_is_over(&self) -> bool {
        self.restart_hold == RestartHold::Over
    }

    /// The newest round echoed by this process.
    pub fn newest(&self) -> Option<TermRound> {
        self.newest
    }

    /// When the node is free again if nothing is echoed meanwhile, each counter by itself; `None` if that is not known, or now.
    pub fn held_until(&self) -> Option<Instant> {
        match (self.restart_hold, self.ack_hold) {
            _ if self.ack_hold_is_due => None,
            (RestartHold::Due(_), _) => None,
            (RestartHold::Until(restart), Some(ack)) => Some(restart.max_each(ack)),
            (RestartHold::Until(restart), None) => Some(restart),
            (RestartHold::Over, ack) => ack,
        }
    }

    /// Whether a full hold is to start with the next reading.
    pub fn awaits_reading(&self) -> bool {
        self.ack_hold_is_due || matches!(self.restart_hold, RestartHold::Due(_))
    }

    fn raise_ack_hold(&mut self, now: Instant) {
        let end = now.plus(self.hold);
        self.ack_hold = Some(self.ack_hold.map_or(end, |earlier| earlier.max_each(end)));
    }

    /// Takes a reading, and starts with it whatever waits for one. A backward reading is no reading.
    fn observe(&mut self, now: Reading) -> Reading {
        let now = now?;
        if self.last.is_some_and(|last| now.is_before_on_either_counter(last)) {
            return None;
        }
        self.last = Some(now);
        if let RestartHold::Due(hold) = self.restart_hold {
            self.restart_hold = RestartHold::Until(now.plus(hold));
        }
        if self.ack_hold_is_due {
            self.ack_hold_is_due = false;
            self.raise_ack_hold(now);
        }
        Some(now)
    }
}
