//! The outputs: what the engine and the holder want done.

use super::Replica;
use crate::gate::DependsOn;
use crate::output::{Committed, Effect, Output, Persist, Position};
use crate::wire::{Snapshot, Step, Transition, convert};
use leasehold_core::{Action, Index};
use raft::{StateRole, eraftpb};

impl Replica {
    /// Moves everything the engine and the holder want done into the outbox.
    pub(super) fn collect_outputs(&mut self) {
        self.publish_received();
        loop {
            while let Some(action) = self.lease.poll_action() {
                match action {
                    Action::SendRound(_) => self.outbox.note_round(),
                    Action::Confirmed { through } => self.outbox.push(Output::ReadsConfirmed { through }),
                    Action::Aborted { through } => self.outbox.push(Output::ReadsAborted { through }),
                }
            }
            if self.exposed() < self.raw.raft.raft_log.committed {
                self.sync_lease_with_raft(self.now);
            }
            self.broadcast_commit();
            self.push_apply();
            if !self.raw.has_ready() {
                break;
            }
            self.take_ready();
        }
        self.admit_returning();
        self.cap_commits();
        let id = self.id();
        let position = (self.raw.raft.term, self.raw.raft.raft_log.last_index());
        let others = self.raw.raft.prs().iter().map(|(other, _)| *other).filter(|other| *other != id);
        let (lease, local, rejoin) = (&mut self.lease, &mut self.local, &mut self.rejoin);
        self.outbox.pack(lease, local, &self.gate, others, rejoin, position);
    }

    /// Sends the commit index, as far as it is exposed, to the followers, unless later entries wait to be committed: then
    /// the next append carries it. While writes are pipelined, this saves each follower an append without entries, and its
    /// response, per commit.
    pub(super) fn broadcast_commit(&mut self) {
        let commit = self.exposed();
        let raft = &mut self.raw.raft;
        let log = &raft.raft_log;
        if raft.state == StateRole::Leader && commit > self.commit_broadcast && log.last_index() == log.committed {
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
            self.withheld.clear();
            self.withheld_bytes = 0;
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
        self.withheld_bytes += committed.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.withheld.extend(committed);
        self.push_apply();
    }

    /// Hands out the committed entries that are exposed for applying. A leader that is removed applies its removal, and
    /// steps down, only once one of the other voters knows that it is committed. Otherwise, if this node were switched off
    /// at once, the others could go on counting its vote: with two voters, of which one is removed, the other would never
    /// be elected.
    pub(super) fn push_apply(&mut self) {
        let mut committed = Vec::new();
        while let Some(entry) = self.withheld.front()
            && entry.index <= self.exposed()
            && (!self.is_own_removal(entry) || self.may_apply_removal(entry.index))
        {
            // The entries after a change depend on it.
            let is_change = entry.entry_type != eraftpb::EntryType::EntryNormal;
            self.withheld_bytes -= entry.data.len();
            committed.extend(self.withheld.pop_front());
            if is_change {
                self.push_applied(std::mem::take(&mut committed));
            }
        }
        self.statistics.removals_withheld += u64::from(self.withholds_removal());
        self.push_applied(committed);
    }

    /// Returns true if this leader waits to apply its own removal.
    pub(super) fn withholds_removal(&self) -> bool {
        let exposed = self.withheld.front().is_some_and(|entry| entry.index <= self.exposed());
        self.raw.raft.state == StateRole::Leader && exposed
    }

    /// Returns true if this node leads, and this entry ends its vote.
    fn is_own_removal(&self, entry: &eraftpb::Entry) -> bool {
        if self.raw.raft.state != StateRole::Leader || entry.entry_type == eraftpb::EntryType::EntryNormal {
            return false;
        }
        let change = convert::change_out(&convert::change_of(entry));
        match change.steps.as_slice() {
            [] => !self.membership().voters.contains(&self.id()),
            [Step::Remove(node) | Step::AddLearner(node)] if change.transition == Transition::Auto => {
                *node == self.id()
            }
            // This node is still a voter of the outgoing half.
            _ => false,
        }
    }

    /// Returns true if another voter knows that the entry at `index` is committed, or if none said so for an election
    /// timeout.
    fn may_apply_removal(&self, index: Index) -> bool {
        let raft = &self.raw.raft;
        let voters = self.membership().voters.iter().filter(|voter| **voter != self.id());
        let mut progress = voters.filter_map(|voter| raft.prs().get(*voter));
        progress.any(|progress| progress.committed_index >= index)
            || self.leadership.removal_withheld > raft.election_timeout()
    }

    /// Applies entries as far as they concern the configuration, and hands them out.
    fn push_applied(&mut self, committed: Vec<eraftpb::Entry>) {
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
                    let change = convert::change_of(&entry);
                    if let Ok(state) = self.raw.apply_conf_change(&change) {
                        let made = convert::membership_out(&state);
                        let made = made.following(self.membership(), convert::change_out(&change), entry.index);
                        self.raw.mut_store().set_membership(made);
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
