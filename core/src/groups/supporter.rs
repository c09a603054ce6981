//! The support that a node gives to its peers.

use super::attachment::Attachment;
use super::numbers::{Attached, Boot, Echo, Epoch, GroupRelease, NodeRound, Offer};
use crate::config::Config;
use crate::grantor::Grantor;
use crate::ids::NodeId;
use crate::time::{Instant, Reading};
use core::time::Duration;

/// Keeps a node's promises to the leaders that it follows, in all groups: one [`Support`] for each peer, and one
/// [`Attachment`] for each group.
///
/// * For each frame that carries a round, call [`handle_round`](Supporter::handle_round) and send the echo.
/// * For each frame of a group whose sender the engine has accepted as leader of the current term, call
///   [`attach`](Supporter::attach) and send the attachment.
/// * Before the engine of a group sees a request for a vote or a pre-vote, and before anything that makes it campaign, call
///   [`may_vote_or_campaign`](Supporter::may_vote_or_campaign). On `false`, do not pass the input to the engine, and send
///   the attachment to its leader again: a node that leads no more answers with a release.
/// * At the instant of [`Support::poll_timeout`], call [`handle_timeout`](Supporter::handle_timeout).
/// * After each of these, call [`Support::poll_withdrawal`]. If it returns `true`, wake the groups that rested under that
///   support.
/// * Every other input of a group at rest wakes it too, above all a [release](Attachment::handle_release).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Supporter {
    boot: Boot,
    hold: Duration,
    /// Acknowledges no round, so that only the hold of the restart and the last reading are in it.
    restart: Grantor,
}

/// The support that a node gives to one peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Support {
    peer: NodeId,
    /// The newest process of the peer that was heard, and its newest round.
    newest: NodeRound,
    /// The number of the current epoch.
    number: u64,
    /// Epochs up to this number are withdrawn.
    withdrawn: u64,
    /// Withdrawals up to this number were reported.
    reported: u64,
    /// The hold of the current epoch.
    current: Hold,
    /// The hold of the epochs before it that are not withdrawn: those of earlier processes of the peer.
    older: Hold,
}

/// A promise that lasts until an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Hold {
    end: Reading,
    /// It lasts a full hold from the next reading.
    is_due: bool,
}

impl Hold {
    fn raise(&mut self, now: Reading, by: Duration) {
        match now.map(|now| now.plus(by)) {
            Some(end) => self.end = Some(self.end.map_or(end, |earlier| earlier.max_each(end))),
            None => self.is_due = true,
        }
    }

    fn start_if_due(&mut self, now: Instant, by: Duration) {
        if self.is_due {
            self.is_due = false;
            self.raise(Some(now), by);
        }
    }

    fn is_over(self, now: Instant) -> bool {
        !self.is_due && !self.end.is_some_and(|end| end.is_maybe_after(now))
    }

    fn and(self, other: Hold) -> Hold {
        let end = match (self.end, other.end) {
            (Some(end), Some(other)) => Some(end.max_each(other)),
            (end, other) => end.or(other),
        };
        Hold { end, is_due: self.is_due || other.is_due }
    }
}

impl Support {
    /// Creates the support for a peer, to which this process has echoed nothing yet.
    ///
    /// Keep it until the process ends, also when the peer disconnects or leaves. A second one would use epochs again that
    /// this one has withdrawn.
    pub fn new(peer: NodeId) -> Support {
        Support {
            peer,
            newest: NodeRound { boot: 0, round: 0 },
            number: 1,
            withdrawn: 0,
            reported: 0,
            current: Hold::default(),
            older: Hold::default(),
        }
    }

    /// Returns the peer.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Returns the end of the support on each counter, if no echo follows; `None` if there is none, or if it has not
    /// started yet. The end may have passed.
    pub fn held_until(&self) -> Option<Instant> {
        let both = self.current.and(self.older);
        both.end.filter(|_| !both.is_due)
    }

    /// Returns when to call [`Supporter::handle_timeout`]: when the hold of the oldest epoch ends. `None` if nothing is
    /// promised, or if a hold starts with the next reading: then call it with any later input.
    ///
    /// Both counters must reach the end. So wait for [`at_most`](crate::Elapsed::at_most) of
    /// [`end.elapsed_since(now)`](Instant::elapsed_since). [`Instant::time_until`] is zero once the first has.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let oldest = if self.older == Hold::default() { self.current } else { self.older };
        oldest.end.filter(|_| !oldest.is_due)
    }

    /// Returns whether an epoch was withdrawn since the last call: wake the groups for which
    /// [`stands`](Supporter::stands) is `false` now. Call it after every input, because a vote in one group ends the
    /// attachments of all.
    #[must_use = "the groups that rest under a withdrawn epoch must wake"]
    pub fn poll_withdrawal(&mut self) -> bool {
        core::mem::replace(&mut self.reported, self.withdrawn) < self.withdrawn
    }

    /// Notes a process of the peer. Returns `false` if a later one was heard. Another process gets another epoch: else
    /// the echoes to it would keep up what an earlier one was promised.
    fn meet(&mut self, boot: Boot) -> bool {
        if boot > self.newest.boot {
            if self.has_echoed() {
                self.older = self.older.and(self.current);
                self.current = Hold::default();
                self.number += 1;
            }
            self.newest = NodeRound { boot, round: 0 };
        }
        boot == self.newest.boot
    }

    /// Withdraws the epochs whose hold is over, in order. The current one goes on if nothing was promised in it.
    fn withdraw(&mut self, now: Instant, by: Duration) {
        self.older.start_if_due(now, by);
        self.current.start_if_due(now, by);
        if !self.older.is_over(now) {
            return;
        }
        self.older = Hold::default();
        self.withdrawn = self.number - 1;
        if self.has_echoed() && self.current.is_over(now) {
            self.current = Hold::default();
            self.withdrawn = self.number;
            self.number += 1;
        }
    }

    fn has_echoed(&self) -> bool {
        self.current != Hold::default()
    }
}

impl Supporter {
    /// Creates the supporter of a process that has just started. `boot` is higher than that of every earlier process of
    /// this node; `longest_hold` is as for [`Grantor::new`].
    pub fn new(config: Config, boot: Boot, longest_hold: Duration, now: Reading) -> Supporter {
        Supporter { boot, hold: config.hold(), restart: Grantor::new(config, longest_hold, now) }
    }

    /// Creates the supporter of a process whose predecessor stopped in an orderly way, see
    /// [`Grantor::after_orderly_stop`].
    pub fn after_orderly_stop(config: Config, boot: Boot, remaining: Duration, now: Reading) -> Supporter {
        Supporter { boot, hold: config.hold(), restart: Grantor::after_orderly_stop(config, remaining, now) }
    }

    /// Handles a round of a peer, and returns the echo to send. The support is in force before this returns. Returns
    /// `None` for a round older than one already echoed, or of an earlier process.
    ///
    /// Without a reading it returns an echo too; the support then lasts a full hold from the next reading.
    pub fn handle_round(&mut self, now: Reading, support: &mut Support, round: NodeRound) -> Option<Echo> {
        let now = self.restart.observe(now);
        if !support.meet(round.boot) || round < support.newest {
            return None;
        }
        support.newest = round;
        support.current.raise(now, self.hold);
        Some(Echo { epoch: self.epoch(support), round })
    }

    /// Handles the offer of a leader of this node's current term in a group, and returns the attachment to send. Returns
    /// `None` if the frame is of an earlier process of the leader, if the offer was released or is older than the one
    /// accepted, or if nothing was echoed in the current epoch.
    ///
    /// `boot` is the leader's process. It is that of the round which the frame carries, and which is
    /// [handled](Supporter::handle_round) first: an epoch in which nothing was echoed has no attachments. Otherwise each
    /// vote would have to end it, and with it the attachments of all other groups.
    pub fn attach(&self, support: &Support, at: &mut Attachment, boot: Boot, offer: Offer) -> Option<Attached> {
        if boot != support.newest.boot || !support.has_echoed() {
            return None;
        }
        at.attach(Attached { leader: support.peer, offer, epoch: self.epoch(support) })
    }

    /// Returns whether this node may vote or campaign in a group. Without a reading it may not.
    ///
    /// `support` is that for [`Attachment::leader`]; any other one permits nothing. A `release` that came with the request
    /// ends an attachment that it covers. Otherwise an attachment ends only with its epoch, which is withdrawn here if
    /// the support has ended.
    pub fn may_vote_or_campaign(
        &mut self,
        now: Reading,
        at: &mut Attachment,
        support: Option<&mut Support>,
        release: Option<GroupRelease>,
    ) -> bool {
        if let Some(release) = release {
            at.handle_release(release);
        }
        let now = self.restart.observe(now);
        if !self.restart.may_vote_or_campaign(now, None) {
            return false;
        }
        let Some((leader, epoch)) = at.standing() else { return true };
        let (Some(support), Some(now)) = (support.filter(|support| support.peer == leader), now) else { return false };
        if !self.has_withdrawn(support, epoch) {
            support.withdraw(now, self.hold);
        }
        self.has_withdrawn(support, epoch)
    }

    /// Withdraws the support for a peer as far as its time is over.
    ///
    /// Call it when a support ends, or the groups that rest under a leader that died are never elected another.
    pub fn handle_timeout(&mut self, now: Reading, support: &mut Support) {
        if let Some(now) = self.restart.observe(now) {
            support.withdraw(now, self.hold);
        }
    }

    /// Returns whether an attachment stands: it is not released, and its epoch is not withdrawn.
    pub fn stands(&self, support: &Support, at: &Attachment) -> bool {
        at.standing().is_some_and(|(leader, epoch)| support.peer == leader && !self.has_withdrawn(support, epoch))
    }

    /// Returns whether the group may stop its ticks because its leader said that every voter has. `known` is the
    /// attachment of this node that the leader's frame names: an older frame of a leader that does not know it must not
    /// count, because that leader would not report the end of its leadership to this node.
    pub fn may_rest(&self, support: &Support, at: &Attachment, known: Attached) -> bool {
        self.stands(support, at) && at.newest() == Some(known)
    }

    /// Returns how much longer this node is held at `now`, if no echo follows; `None` without a reading.
    pub fn remaining<'a>(
        &mut self,
        now: Reading,
        supports: impl IntoIterator<Item = &'a mut Support>,
    ) -> Option<Duration> {
        let restart = self.restart.remaining(now)?;
        let now = self.restart.observe(now)?;
        let left = supports.into_iter().map(|support| {
            support.older.start_if_due(now, self.hold);
            support.current.start_if_due(now, self.hold);
            support.held_until().map_or(Duration::ZERO, |end| end.elapsed_since(now).at_most)
        });
        Some(left.fold(restart, Duration::max))
    }

    /// Returns whether the hold of the restart has ended, see [`Grantor::restart_hold_is_over`].
    pub fn restart_hold_is_over(&self) -> bool {
        self.restart.restart_hold_is_over()
    }

    fn epoch(&self, support: &Support) -> Epoch {
        Epoch { boot: self.boot, number: support.number }
    }

    fn has_withdrawn(&self, support: &Support, epoch: Epoch) -> bool {
        epoch.boot == self.boot && epoch.number <= support.withdrawn
    }
}
