//! The lease follows the engine: what changed in it is reported to the holder.

use super::{Replica, voters_of};
use crate::output::Output;
use leasehold_core::{Event, Reading, Voters};
use raft::StateRole;

impl Replica {
    /// Reports to the holder what has changed in the engine. Called after every step, so that a step-down revokes the
    /// cell and a transfer releases the lease before any message of the same step is handed out.
    pub(super) fn sync_lease_with_raft(&mut self, now: Reading) {
        let raft = &self.raw.raft;
        let (leads, term, commit) = (raft.state == StateRole::Leader, raft.term, raft.raft_log.committed);
        self.logged_term.set(term);
        let transferring = leads && raft.lead_transferee.is_some();
        let last = raft.raft_log.last_index();
        if self.lease.holder().term().is_some_and(|led| !leads || led != term) {
            self.lease.handle_event(now, Event::Deposed);
            self.transferring = false;
        }
        if leads && self.lease.holder().term().is_none() && !self.retired {
            let voters = self.voters();
            // The last entry is the one that opens the term: the engine has just appended it.
            self.lease.handle_event(now, Event::Elected { term, voters, barrier: last, commit });
            self.commit_reported = commit;
        }
        if self.lease.holder().term().is_some() {
            if transferring != self.transferring {
                let event = if transferring { Event::TransferStarted } else { Event::TransferEnded };
                self.lease.handle_event(now, event);
                self.transferring = transferring;
            }
            if commit != self.commit_reported {
                self.lease.handle_event(now, Event::Committed(commit));
                self.commit_reported = commit;
            }
        }
        let log = &self.raw.raft.raft_log;
        if self.rejoin.has_caught_up(log.committed, log.persisted) {
            self.outbox.push(Output::LogMayBeCut(false));
        }
        self.draw_election_timeout();
    }

    /// Reports a change of configuration to the holder.
    pub(super) fn sync_voters_with_raft(&mut self) {
        let now = self.now;
        if self.lease.holder().term().is_some() {
            let voters = self.voters();
            self.lease.handle_event(now, Event::VotersChanged(voters));
        }
        // The engine lets a leader that is not a voter lead for ever, and panics once something is committed.
        if self.raw.raft.state == StateRole::Leader && !self.voters().contains(self.id()) {
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, raft::INVALID_ID);
        }
        self.sync_lease_with_raft(now);
    }

    pub(super) fn voters(&self) -> Voters {
        // A configuration with too many voters still elects and replicates, but it has no quorum here and grants no
        // read.
        voters_of(self.membership()).unwrap_or(Voters::NONE)
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
