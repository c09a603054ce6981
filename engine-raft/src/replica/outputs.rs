//! The outputs: what the engine and the holder want done.

use super::Replica;
use crate::gate::DependsOn;
use crate::output::{Committed, Effect, Output, Persist, Position};
use crate::wire::{Snapshot, convert};
use leasehold_core::Action;
use raft::{StateRole, eraftpb};

impl Replica {
    /// Moves everything the engine and the holder want done into the outbox.
    pub(super) fn collect_outputs(&mut self) {
        loop {
            while let Some(action) = self.lease.poll_action() {
                match action {
                    Action::SendRound(_) => self.outbox.note_round(),
                    Action::Confirmed { through } => self.outbox.push(Output::ReadsConfirmed { through }),
                    Action::Aborted { through } => self.outbox.push(Output::ReadsAborted { through }),
                }
            }
            self.broadcast_commit();
            if !self.raw.has_ready() {
                break;
            }
            self.take_ready();
        }
        self.admit_returning();
        let id = self.id();
        let position = (self.raw.raft.term, self.raw.raft.raft_log.last_index());
        let others = self.raw.raft.prs().iter().map(|(other, _)| *other).filter(|other| *other != id);
        self.outbox.pack(&mut self.lease, &self.gate, others, self.release, &mut self.rejoin, position);
    }

    /// Sends the commit index to the followers, unless later entries wait to be committed: then the next append carries
    /// it. While writes are pipelined, this saves each follower an append without entries, and its response, per
    /// commit.
    pub(super) fn broadcast_commit(&mut self) {
        let raft = &mut self.raw.raft;
        let commit = raft.raft_log.committed;
        if raft.state == StateRole::Leader && commit > self.commit_broadcast && raft.raft_log.last_index() == commit {
            self.commit_broadcast = commit;
            raft.bcast_append();
        }
    }

    /// Takes one `Ready` of the engine.
    pub(super) fn take_ready(&mut self) {
        let mut ready = self.raw.ready();
        let number = ready.number();
        let must_sync = ready.must_sync();
        let hard_state_changed = ready.hs().is_some();
        let entries = ready.take_entries();
        let snapshot = Some(ready.snapshot().clone()).filter(|snapshot| !snapshot.is_empty());
        let at_once = ready.take_messages();
        let once_durable = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        if let Some(snapshot) = &snapshot {
            let Snapshot { index, term, membership } = convert::snapshot_out(snapshot);
            self.raw.mut_store().install(index, term, membership);
        }
        self.raw.mut_store().append(&entries);
        self.raw.advance_append_async(ready);
        self.gate.note_ready(number);

        if must_sync || hard_state_changed {
            let hard_state = convert::hard_state_out(&self.raw.raft.hard_state());
            if must_sync {
                self.gate.note_write(number, hard_state.term);
            }
            self.outbox.push(Output::Persist(Persist {
                number,
                must_sync,
                hard_state,
                snapshot: snapshot.as_ref().map(convert::snapshot_out),
                entries: entries.iter().map(convert::entry_out).collect(),
            }));
        }
        let term = self.raw.raft.term;
        if self.gate.is_idle() {
            assert!(self.gate.admits(term), "term {term} is neither durable nor being written");
            self.raw.on_persist_ready(number);
        }
        for message in once_durable {
            self.gate.pass(message, term, DependsOn::Log, &mut self.outbox.messages);
        }
        for message in at_once {
            self.gate.pass(message, term, DependsOn::Term, &mut self.outbox.messages);
        }
        self.push_apply(committed);
    }

    /// Hands out committed entries for applying.
    pub(super) fn push_apply(&mut self, committed: Vec<eraftpb::Entry>) {
        let Some(last) = committed.last().map(|entry| entry.index) else { return };
        let mut effects = Vec::with_capacity(committed.len());
        let mut membership_changed = false;
        for entry in committed {
            let effect = match entry.entry_type {
                eraftpb::EntryType::EntryNormal if entry.data.is_empty() => Effect::Nothing,
                eraftpb::EntryType::EntryNormal => Effect::Command(entry.data.clone()),
                eraftpb::EntryType::EntryConfChange | eraftpb::EntryType::EntryConfChangeV2 => {
                    membership_changed = true;
                    // The engine refuses an impossible change. It does so on every node, so the change has no effect.
                    if let Ok(state) = self.raw.apply_conf_change(&convert::change_of(&entry)) {
                        self.raw.mut_store().set_membership(convert::membership_out(&state));
                    }
                    self.sync_voters_with_raft();
                    Effect::Membership(self.membership().clone())
                }
            };
            effects.push(Committed { position: Position { term: entry.term, index: entry.index }, effect });
        }
        self.outbox.push(Output::Apply(effects));
        self.raw.mut_store().note_applied(last);
        self.raw.advance_apply_to(last);
        if membership_changed {
            // `advance_apply_to` can make the engine leave a joint configuration on its own, with a proposal.
            self.sync_voters_with_raft();
        }
    }

    /// Reports an installed snapshot to the engine as applied, once it is durable.
    pub(super) fn advance_apply_after_snapshot(&mut self) {
        let log = &self.raw.raft.raft_log;
        let compacted = self.raw.store().compacted();
        if log.applied < compacted && log.persisted >= compacted {
            self.raw.advance_apply_to(compacted);
        }
    }
}
