//! The promise of a node that acknowledges rounds.

use crate::config::Config;
use crate::ids::{Release, TermRound};
use crate::time::{Instant, Reading};
use core::time::Duration;

/// Keeps a node's promise: after it acknowledges a round, it does not help elect another leader for a full hold, by the
/// clock.
///
/// * For each frame that carries a round, once the engine has accepted its sender as leader of the current term, call
///   [`handle_round`](Grantor::handle_round) and send the echo that it returns.
/// * Before the engine sees a vote or pre-vote request, and before anything that makes it campaign, call
///   [`may_vote_or_campaign`](Grantor::may_vote_or_campaign). On `false`, do not pass the input to the engine: it would
///   raise its term even if it refused the vote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grantor {
    hold: Duration,
    restart_hold: RestartHold,
    /// The newest round echoed by this process.
    newest: Option<TermRound>,
    /// The end of the hold that the echoes started.
    ack_hold: Option<Instant>,
    /// A round was echoed without a reading: the next reading starts a full hold.
    ack_hold_is_due: bool,
    last: Reading,
}

/// The hold for promises that the node may have made before it restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum RestartHold {
    /// Starts with the first reading.
    Due(Duration),
    Until(Instant),
    Over,
}

impl Grantor {
    /// Creates the grantor of a process that has just started, for the first time or again.
    ///
    /// `longest_hold` is the longest hold under which this node ever echoed, which it recorded durably before the first
    /// such echo; zero if there is no record.
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

    /// Creates the grantor of a process whose predecessor stopped in an orderly way: it echoed nothing after it had
    /// recorded durably that its promises bind for `remaining` more, and nothing was echoed since.
    ///
    /// The caller must remove that record durably before any echo of this process leaves.
    pub fn after_orderly_stop(config: Config, remaining: Duration, now: Reading) -> Grantor {
        let mut grantor = Grantor::new(config, Duration::ZERO, None);
        grantor.restart_hold = RestartHold::Due(remaining);
        grantor.observe(now);
        grantor
    }

    /// Handles a round from the leader of this node's current term, and returns the echo to send. The hold is in force
    /// before this returns. Returns `None` for a round older than one already echoed, which needs no answer.
    ///
    /// Without a reading it returns an echo too; the hold then lasts a full `H` from the next reading.
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

    /// Returns whether this node may vote or campaign. Without a reading it may not.
    ///
    /// A `release` that came with the request ends the hold that echoes started, if it covers the newest echo; the next
    /// echo starts a new hold. Only time ends the hold of a restart.
    pub fn may_vote_or_campaign(&mut self, now: Reading, release: Option<Release>) -> bool {
        let now = self.observe(now);
        let covered = release.zip(self.newest).is_some_and(|(release, newest)| newest <= release.through);
        if covered {
            self.ack_hold = None;
            self.ack_hold_is_due = false;
        }
        let Some(now) = now else { return false };
        if matches!(self.restart_hold, RestartHold::Until(end) if !end.is_maybe_after(now)) {
            self.restart_hold = RestartHold::Over;
        }
        self.restart_hold == RestartHold::Over && !self.ack_hold.is_some_and(|end| end.is_maybe_after(now))
    }

    /// Returns whether the hold of the restart has ended. Only then may the durable record of the longest hold be
    /// lowered.
    pub fn restart_hold_is_over(&self) -> bool {
        self.restart_hold == RestartHold::Over
    }

    /// Returns the newest round echoed by this process.
    pub fn newest(&self) -> Option<TermRound> {
        self.newest
    }

    /// Returns the end of the hold on each counter, if no echo follows; `None` if there is no hold, or if it has not
    /// started yet (see [`awaits_reading`](Grantor::awaits_reading)). The end may have passed.
    pub fn held_until(&self) -> Option<Instant> {
        match (self.restart_hold, self.ack_hold) {
            _ if self.ack_hold_is_due => None,
            (RestartHold::Due(_), _) => None,
            (RestartHold::Until(restart), Some(ack)) => Some(restart.max_each(ack)),
            (RestartHold::Until(restart), None) => Some(restart),
            (RestartHold::Over, ack) => ack,
        }
    }

    /// Returns how much longer this node is held at `now`, if no echo follows; `None` without a reading.
    pub fn remaining(&mut self, now: Reading) -> Option<Duration> {
        let now = self.observe(now)?;
        // Either counter may be the one that keeps the promised time.
        Some(self.held_until().map_or(Duration::ZERO, |end| end.elapsed_since(now).at_most))
    }

    /// Returns whether the next reading starts a full hold.
    pub fn awaits_reading(&self) -> bool {
        self.ack_hold_is_due || matches!(self.restart_hold, RestartHold::Due(_))
    }

    fn raise_ack_hold(&mut self, now: Instant) {
        let end = now.plus(self.hold);
        self.ack_hold = Some(self.ack_hold.map_or(end, |earlier| earlier.max_each(end)));
    }

    /// Notes a reading, and starts the holds that wait for one. A backward reading counts as no reading.
    pub(crate) fn observe(&mut self, now: Reading) -> Reading {
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
