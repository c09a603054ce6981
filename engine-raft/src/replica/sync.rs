//! The lease follows the engine: what changed in it is reported to the holder.

use super::Replica;
use crate::output::Output;
use leasehold_core::Reading;

impl Replica {
    /// Notes the reading of an input. Every input begins with this.
    pub(super) fn note_reading(&mut self, now: Reading) {
        self.now = now;
        self.local.observe(now);
    }

    /// Reports to the holder what has changed in the engine. Called after every step.
    pub(super) fn sync_lease_with_raft(&mut self, now: Reading) {
        self.logged_term.set(self.raw.raft.term);
        self.local.follow(now, &self.raw.raft, !self.rejoin.is_outside());
        self.start_waiting_transfer(now);
        self.lease.follow(now, &self.raw.raft, self.local.lender().exposed());
        let log = &self.raw.raft.raft_log;
        if self.rejoin.has_caught_up(log.committed, log.persisted) {
            self.outbox.push(Output::LogMayBeCut(false));
        }
        self.draw_election_timeout();
    }

    /// Reports a change of configuration to the holder.
    pub(super) fn sync_voters_with_raft(&mut self) {
        let now = self.now;
        self.lease.follow_voters(now, &mut self.raw.raft);
        self.sync_lease_with_raft(now);
    }

    /// Replaces the engine's election timeout, drawn from ambient randomness, by one that follows from the seed. The
    /// timeouts are close together at first, so that a lost leader is replaced soon. If candidates then split the votes,
    /// as they do on slow links, the timeouts spread. The others heard the leader for the last time at nearly the same
    /// moment, so a tick more than the hold makes sure that they are not held any more.
    pub(super) fn draw_election_timeout(&mut self) {
        let raft = &mut self.raw.raft;
        if raft.leader_id != raft::INVALID_ID {
            self.fruitless = 0;
        }
        let least = raft.election_timeout();
        let spread = (least * (self.fruitless.min(3) as usize + 1) / 4 + 1) as u64;
        let drawn = self.options.random(raft.term, self.campaigns);
        raft.set_randomized_election_timeout(least + 1 + (drawn % spread) as usize);
    }
}
