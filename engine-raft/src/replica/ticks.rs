//! Time: the ticks of the engine, and the campaigns that they start.

use super::Replica;
use crate::error::CampaignError;
use crate::lease::would_campaign;
use leasehold_core::Reading;

impl Replica {
    /// Checks that this node may start a campaign: its log is whole, its hold is over or released, and all it
    /// wrote is durable.
    ///
    /// The engine assumes that the log of a new leader is durable. Entries that an earlier message of the same envelope
    /// appended are not in flight yet, so the engine's own count is checked too.
    pub(super) fn may_campaign(&mut self, now: Reading) -> Result<(), CampaignError> {
        if !self.rejoin.is_whole() {
            return Err(CampaignError::Rejoining);
        }
        if self.local.lender().is_obligated(now) || !self.lease.may_campaign(now) {
            return Err(CampaignError::Held);
        }
        let log = &self.raw.raft.raft_log;
        let durable = self.gate.is_idle() && log.persisted == log.last_index();
        if durable { Ok(()) } else { Err(CampaignError::Unsynced) }
    }

    pub(super) fn tick_is_due(&mut self, now: Reading) -> bool {
        let (Some(now), Some(last)) = (now, self.last_tick) else {
            return true;
        };
        if now.is_before_on_either_counter(last) {
            // The interval starts again, because the part of it that has passed is unknown.
            self.last_tick = Some(now);
            return false;
        }
        now.elapsed_since(last).at_most >= self.tick()
    }

    /// Returns the beginning of the next tick, if one is due now. Ticks keep their pace although timers fire late. After
    /// a longer delay the missing ones are left out.
    pub(super) fn tick_began(&self, now: Reading) -> Reading {
        let (Some(now), Some(last)) = (now, self.last_tick) else { return now.or(self.last_tick) };
        let (tick, elapsed) = (self.tick(), now.elapsed_since(last));
        let on_time = elapsed.at_least >= tick && elapsed.at_most < 2 * tick;
        Some(if on_time { last.plus(tick) } else { now })
    }

    /// Counts one tick of the engine. A tick that would start a campaign is withheld if this node may not campaign; the
    /// next one tries again.
    pub(super) fn count_tick(&mut self, now: Reading) {
        if would_campaign(&self.raw.raft) {
            if self.leaving || self.leadership.backoff > 1 || self.may_campaign(now).is_err() {
                self.statistics.campaigns_withheld += 1;
                return self.leadership.count_tick();
            }
            self.campaigns += 1;
            self.fruitless = self.fruitless.saturating_add(1);
        }
        self.tick_engine();
        self.count_progress();
    }
}
