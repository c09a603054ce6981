//! The rounds of a node, and what its peers echoed.

use super::numbers::{Boot, Echo, NodeRound};
use crate::config::Config;
use crate::holder::Stamps;
use crate::ids::Round;
use crate::time::{Instant, Reading, Reason};
use core::time::Duration;

/// Opens rounds for all groups that this node leads.
///
/// * While the node leads a group, call [`handle_timeout`](NodeRounds::handle_timeout) at the instant of
///   [`poll_timeout`](NodeRounds::poll_timeout).
/// * Every frame to a peer carries [`frame_round`](NodeRounds::frame_round).
/// * Pass the reading of every other input that concerns a led group to [`observe`](NodeRounds::observe).
/// * After each of these, call [`poll_backward_reading`](NodeRounds::poll_backward_reading): a backward reading ends the
///   leases of all groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeRounds {
    boot: Boot,
    lease: Duration,
    hold: Duration,
    heartbeat: Duration,
    newest: Round,
    /// A frame may have carried the newest round: a read that arrives later must not share it.
    sent: bool,
    stamps: Stamps,
    /// The time at which the newest round was opened, for the heartbeat; `None` if unknown.
    opened: Reading,
    last: Reading,
    /// A backward reading was not reported yet.
    went_back: bool,
}

impl NodeRounds {
    /// Creates the rounds of a process that has just started. `boot` is higher than that of every earlier process of
    /// this node.
    pub fn new(config: Config, boot: Boot) -> NodeRounds {
        NodeRounds {
            boot,
            lease: config.lease(),
            hold: config.hold(),
            heartbeat: config.heartbeat(),
            newest: 0,
            sent: true,
            stamps: Stamps::new(config.lease()),
            opened: None,
            last: None,
            went_back: false,
        }
    }

    /// Returns the number of this process.
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// Returns the newest round opened, 0 if there is none.
    pub fn newest(&self) -> Round {
        self.newest
    }

    /// Notes a reading. Rounds opened before a backward one give no lease.
    pub fn observe(&mut self, now: Reading) {
        let Some(reading) = now else { return };
        if self.last.is_some_and(|last| reading.is_before_on_either_counter(last)) {
            self.stamps.clear();
            self.opened = None;
            self.went_back = true;
        }
        self.last = now;
    }

    /// Returns whether a reading was backward since the last call: then publish the lease of every group again, before the
    /// next input.
    #[must_use = "after a backward reading, every published lease must be revoked"]
    pub fn poll_backward_reading(&mut self) -> bool {
        core::mem::take(&mut self.went_back)
    }

    /// Opens a round if the heartbeat interval has passed, or if a missing reading leaves that unknown. Returns whether
    /// it did; then send a frame to every peer now.
    pub fn handle_timeout(&mut self, now: Reading) -> bool {
        self.observe(now);
        let early = match (now, self.opened) {
            (Some(now), Some(opened)) => now.elapsed_since(opened).at_most < self.heartbeat,
            _ => false,
        };
        if !early {
            self.open(now);
        }
        !early
    }

    /// Returns a round that no frame has carried yet, for a quorum read in any group. Send a frame to every peer,
    /// unless that is due already because an earlier read got the same round.
    ///
    /// The read is confirmed once [`GroupHolder::confirms`](super::GroupHolder::confirms) it, and has failed when the
    /// node no longer leads the group in the same term.
    pub fn ticket(&mut self, now: Reading) -> Round {
        self.observe(now);
        if self.sent {
            self.open(now);
        }
        self.newest
    }

    /// Returns the round that every frame to a peer carries, and counts it as sent; `None` before the first one.
    pub fn frame_round(&mut self) -> Option<NodeRound> {
        self.sent = true;
        (self.newest > 0).then_some(NodeRound { boot: self.boot, round: self.newest })
    }

    /// Returns when to call [`handle_timeout`](NodeRounds::handle_timeout); `None` if the instant is unknown: then call it
    /// once per heartbeat interval of any timer.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.opened.map(|opened| (opened.plus(self.heartbeat), Reason::Heartbeat))
    }

    /// Returns a time no later than the opening of a round; `None` if it gives no lease.
    pub(super) fn opened(&self, round: Round) -> Option<Instant> {
        self.stamps.opened(round)
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    pub(super) fn hold(&self) -> Duration {
        self.hold
    }

    fn open(&mut self, now: Reading) {
        self.newest += 1;
        self.stamps.stamp(self.newest, now);
        self.opened = now;
        self.sent = false;
    }
}

/// The newest echo of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Echoes {
    newest: Option<Echo>,
}

impl Echoes {
    /// Handles an echo from the peer. Returns whether it is the peer's newest. Ignores one to an earlier process of this
    /// node, or of a round that was never opened.
    pub fn handle_echo(&mut self, rounds: &NodeRounds, echo: Echo) -> bool {
        let opened = echo.round.boot == rounds.boot && echo.round.round <= rounds.newest;
        let newer = match self.newest {
            Some(newest) => (echo.epoch, echo.round) > (newest.epoch, newest.round),
            None => true,
        };
        if opened && newer {
            self.newest = Some(echo);
        }
        opened && newer
    }

    /// Returns the newest echo, by epoch first.
    pub fn newest(&self) -> Option<Echo> {
        self.newest
    }
}
