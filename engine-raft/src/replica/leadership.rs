//! Ends of a leadership that this node chooses: transfers and their deadline, and a leader that makes no progress.

use super::Replica;
use crate::error::TransferError;
use crate::leadership::{Heard, Leadership};
use leasehold_core::{Index, NodeId, Reading};
use raft::StateRole;
use std::cmp::Reverse;
use std::time::Duration;

/// The holds for which a leader leads on although entries are pending and none is applied.
const MAX_STALLED_HOLDS: usize = 3;
/// The holds for which a node that gave leadership up does not campaign of its own accord. It doubles each time, up to
/// the maximum.
const MIN_BACKOFF_HOLDS: usize = 2;
const MAX_BACKOFF_HOLDS: usize = 16;
/// The holds of leadership without a stall after which the next back-off is short again.
const STEADY_HOLDS: usize = 30;
/// The holds for which a transfer waits until no reader uses a sublease. A sublease is shorter than a hold, but without a
/// clock this node cannot tell when one ends. For as long, a leader leads on although it may expose nothing more.
const MAX_WITHHELD_HOLDS: usize = 2;
/// The number of entries by which the target of a transfer may be behind. It is sent them before it campaigns.
const MAX_TRANSFER_LAG: Index = 8_192;

impl Replica {
    /// Starts a transfer of leadership to `to`. The lease is revoked when this returns, unless a reader may use a sublease
    /// of this node: then the subleases are recalled, and the transfer starts when none is left, within a lease. If the
    /// transfer does not succeed within an election timeout, this node can earn a lease again; naming another target does
    /// not extend that time. A transfer to this node itself abandons a pending one.
    ///
    /// # Errors
    /// [`TransferError`]: no transfer started.
    pub fn transfer(&mut self, now: Reading, to: NodeId) -> Result<(), TransferError> {
        self.note_reading(now);
        if self.raw.raft.state != StateRole::Leader {
            return Err(TransferError::NotLeader);
        }
        if to != self.id() {
            self.check_target(to)?;
        }
        self.begin_transfer(to);
        self.sync_lease_with_raft(now);
        Ok(())
    }

    /// Starts a transfer to the voter that can take over soonest. From now on this node acknowledges no leader's
    /// rounds, because its process is about to end. Returns the target.
    ///
    /// # Errors
    /// [`TransferError`]: no transfer started.
    pub fn hand_over(&mut self, now: Reading) -> Result<NodeId, TransferError> {
        self.note_reading(now);
        if self.raw.raft.state != StateRole::Leader {
            return Err(TransferError::NotLeader);
        }
        let to = self.successor(|_| true).ok_or(TransferError::NoSuccessor)?;
        self.leaving = true;
        self.begin_transfer(to);
        self.sync_lease_with_raft(now);
        Ok(to)
    }

    /// Starts a transfer to the voter that can take over soonest, because another node is to lead. This node goes on to
    /// acknowledge rounds. Returns the target.
    ///
    /// # Errors
    /// [`TransferError`]: no transfer started.
    pub fn give_way(&mut self, now: Reading) -> Result<NodeId, TransferError> {
        self.give_way_among(now, |_| true)
    }

    /// Does what [`give_way`](Replica::give_way) does, and considers only the voters for which `may` returns true.
    ///
    /// # Errors
    /// [`TransferError`]: no transfer started.
    pub fn give_way_among(&mut self, now: Reading, may: impl Fn(NodeId) -> bool) -> Result<NodeId, TransferError> {
        let to = self.successor(may).ok_or(TransferError::NoSuccessor)?;
        self.transfer(now, to)?;
        Ok(to)
    }

    /// Returns true if this peer acknowledged a round within the last hold.
    pub fn was_heard(&self, peer: NodeId) -> bool {
        self.is_active(peer, self.raw.raft.election_timeout())
    }

    /// Returns how long this node has led without applying anything although entries are pending.
    pub fn stalled_for(&self) -> Duration {
        self.tick().saturating_mul(u32::try_from(self.leadership.stalled).unwrap_or(u32::MAX))
    }

    /// Notes that a peer acknowledged a round. A node that is about to stop acknowledges none.
    pub(super) fn note_heard(&mut self, from: NodeId) {
        let now = self.leadership.ticks;
        let silence = 3 * self.raw.raft.heartbeat_timeout() as u64;
        let heard = self.leadership.heard.entry(from).or_insert(Heard { last: now, since: now });
        if now - heard.last > silence {
            heard.since = now;
        }
        heard.last = now;
    }

    fn check_target(&self, to: NodeId) -> Result<(), TransferError> {
        let raft = &self.raw.raft;
        if !self.membership().voters.contains(&to) {
            return Err(TransferError::NotVoter);
        }
        if !self.is_active(to, raft.election_timeout()) {
            return Err(TransferError::Unreachable);
        }
        let matched = raft.prs().get(to).map_or(0, |progress| progress.matched);
        match raft.raft_log.last_index() - matched {
            behind if behind > MAX_TRANSFER_LAG => Err(TransferError::Behind { entries: behind }),
            _ => Ok(()),
        }
    }

    /// Returns true if this peer was heard within so many ticks.
    fn is_active(&self, peer: NodeId, ticks: usize) -> bool {
        let now = self.leadership.ticks;
        self.leadership.heard.get(&peer).is_some_and(|heard| now - heard.last <= ticks as u64)
    }

    /// Returns the voter that can take over soonest, of those for which `may` returns true: it holds every committed entry
    /// and was heard lately. One that was heard throughout the last hold comes first, because one that has just started is
    /// held. Of these, the one with most of the log comes first.
    fn successor(&self, may: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let raft = &self.raw.raft;
        let (now, hold) = (self.leadership.ticks, raft.election_timeout() as u64);
        let voters = self.membership().voters.iter().copied().filter(|voter| *voter != self.id() && may(*voter));
        let able = voters.filter_map(|voter| {
            let matched = raft.prs().get(voter)?.matched;
            let steady = now - self.leadership.heard.get(&voter)?.since > hold;
            let votes = !self.rejoin.is_returning(raft.term, voter, matched);
            (votes && matched >= raft.raft_log.committed && self.is_active(voter, raft.election_timeout() / 2))
                .then_some((steady, matched, Reverse(voter)))
        });
        able.max().map(|(.., Reverse(voter))| voter)
    }

    /// Starts a transfer as soon as no reader can be using a sublease. The release that goes with it would let the others
    /// elect a leader while a sublease is valid.
    fn begin_transfer(&mut self, to: NodeId) {
        if to != self.id() && self.local.lender().is_obligated(self.now) {
            self.local.lender_mut().start_recall();
            self.leadership.waits_for = Some(to);
        } else {
            self.forget_waiting_transfer();
            self.start_transfer(to);
        }
    }

    /// Starts the transfer that waited for readers, if none is left. Its target was checked up to a lease ago.
    pub(super) fn start_waiting_transfer(&mut self, now: Reading) {
        let Some(to) = self.leadership.waits_for else { return };
        if self.raw.raft.state != StateRole::Leader {
            self.forget_waiting_transfer();
        } else if !self.local.lender().is_obligated(now) {
            self.forget_waiting_transfer();
            let answers = self.is_active(to, self.raw.raft.election_timeout() / 2);
            if answers && self.check_target(to).is_ok() {
                self.start_transfer(to);
            } else if self.leaving || self.leadership.yields {
                match self.successor(|_| true) {
                    Some(to) => self.start_transfer(to),
                    None if self.leadership.yields => {
                        self.step_down();
                        self.local.follow(now, &self.raw.raft, !self.rejoin.is_outside());
                    }
                    None => {}
                }
            }
        }
    }

    fn forget_waiting_transfer(&mut self) {
        (self.leadership.waits_for, self.leadership.waited) = (None, 0);
        self.local.lender_mut().end_recall();
    }

    /// Names the target of a transfer. The engine starts its election timeout again at each target, and check-quorum
    /// with it. A leader that is told to transfer again and again would never step down, so the timeout goes on.
    fn start_transfer(&mut self, to: NodeId) {
        let elapsed = self.raw.raft.election_elapsed;
        self.raw.transfer_leader(to);
        let raft = &mut self.raw.raft;
        raft.election_elapsed = elapsed;
        // The engine waits until the target holds the whole log, which may never be if this node makes no progress. What is
        // committed is enough, and the lease is released before this message leaves.
        let last = raft.raft_log.last_index();
        if self.leadership.yields
            && raft.lead_transferee == Some(to)
            && raft.prs().get(to).is_some_and(|progress| progress.matched < last)
        {
            raft.send_timeout_now(to);
        }
    }

    /// Passes a tick to the engine, and ends a transfer that has taken an election timeout.
    pub(super) fn tick_engine(&mut self) {
        self.leadership.count_tick();
        let withheld = self.withholds_removal();
        self.leadership.removal_withheld = if withheld { self.leadership.removal_withheld + 1 } else { 0 };
        let target = self.raw.raft.lead_transferee;
        self.raw.tick();
        let raft = &mut self.raw.raft;
        if raft.state != StateRole::Leader || target.is_none() {
            self.leadership.transferring = 0;
            self.leadership.yields &= self.leadership.waits_for.is_some();
            return self.limit_withholding();
        }
        self.leadership.transferring += 1;
        if self.leadership.transferring < raft.election_timeout() {
            // The engine abandons a transfer whenever it checks its quorum, however young the transfer is.
            raft.lead_transferee = target;
            return;
        }
        raft.abort_leader_transfer();
        self.leadership.transferring = 0;
        if self.leadership.yields {
            self.step_down();
        }
    }

    /// Gives leadership up if entries have been pending for some holds and none was applied: this node's disk hangs, or
    /// its appends do not arrive, while everything small does.
    pub(super) fn count_progress(&mut self) {
        let raft = &self.raw.raft;
        let hold = raft.election_timeout();
        let (applied, last) = (raft.raft_log.applied, raft.raft_log.last_index());
        if raft.state != StateRole::Leader {
            let Leadership { stalled, steady, yields, .. } = &mut self.leadership;
            (*stalled, *steady, *yields) = (0, 0, false);
            return;
        }
        let voters = self.membership().voters.iter();
        let stored = voters.filter_map(|voter| raft.prs().get(*voter)).map(|progress| progress.matched).sum();
        // While this node has applied all that is committed, it waits for the others. They make progress as long as they
        // store entries: no other leader could commit anything before a follower that it needs has caught up.
        let others_advance = applied == self.exposed() && stored != self.leadership.stored;
        self.leadership.stored = stored;
        if applied == last || applied != self.leadership.applied || others_advance {
            self.leadership.applied = applied;
            (self.leadership.stalled, self.leadership.yields) = (0, false);
            self.leadership.steady += 1;
            if self.leadership.steady > STEADY_HOLDS * hold {
                self.leadership.last_backoff = 0;
            }
            return;
        }
        self.leadership.stalled += 1;
        let alone = self.membership().voters.iter().all(|voter| *voter == self.id());
        if self.leadership.stalled < MAX_STALLED_HOLDS * hold || self.leadership.yields || alone {
            return;
        }
        self.statistics.leaderships_given_up += 1;
        self.back_off();
        self.leadership.yields = true;
        match self.successor(|_| true) {
            Some(to) => self.begin_transfer(to),
            None => self.step_down(),
        }
    }

    /// Ends what waits for subleases to end and should not have waited for so long: a transfer, or the leadership of a node
    /// that may expose nothing more. The clock of this node may have failed.
    fn limit_withholding(&mut self) {
        let most = MAX_WITHHELD_HOLDS * self.raw.raft.election_timeout();
        let blocked = self.local.lender_mut().handle_tick();
        if self.raw.raft.state != StateRole::Leader {
            return;
        }
        self.leadership.waited += usize::from(self.leadership.waits_for.is_some());
        if self.leadership.waited > most {
            self.forget_waiting_transfer();
            if self.leadership.yields {
                return self.step_down();
            }
        }
        if usize::try_from(blocked).is_ok_and(|blocked| blocked > most) {
            self.statistics.leaderships_blocked += 1;
            self.back_off();
            self.step_down();
        }
    }

    /// Lengthens the back-off after a leadership that this node ends.
    fn back_off(&mut self) {
        let hold = self.raw.raft.election_timeout();
        let Leadership { backoff, last_backoff, .. } = &mut self.leadership;
        *last_backoff = (2 * *last_backoff).clamp(MIN_BACKOFF_HOLDS * hold, MAX_BACKOFF_HOLDS * hold);
        *backoff = *last_backoff;
    }

    fn step_down(&mut self) {
        let term = self.raw.raft.term;
        self.raw.raft.become_follower(term, raft::INVALID_ID);
        self.leadership.backoff = self.leadership.last_backoff;
    }
}
