//! Applying what is committed, within the budget of a turn.

use super::{Group, GroupOutput, MAX_UNWRITTEN_BYTES};
use crate::apply::{AppliedEntry, ApplyBudget, Applying, size_of_changes};
use crate::members::entry_version;
use crate::pending::WriteOutcome;
use crate::ports::{self, StateMachine};
use crate::snapshot::Work;
use leasehold_core::Reading;
use leasehold_raft::Role;
use std::time::Duration;

/// The entries that a thread applies before the group gets their outcome. A machine that waits takes its time for each.
const MAX_THREAD_ENTRIES: usize = 16;

/// The holds after which a leader whose state machine finishes nothing hands leadership over. They double each time, so
/// often at most.
const MAX_APPLY_HOLDS: u32 = 3;
const MAX_APPLY_DOUBLINGS: u32 = 4;

impl<M: StateMachine> Group<M> {
    /// Ends a turn. Returns the bytes that were applied in it, if committed entries are left to apply.
    pub(crate) fn end_turn(&mut self) -> Option<usize> {
        let applied = std::mem::take(&mut self.applied_bytes);
        (!self.halted && self.machine.is_some() && !self.to_apply.is_empty()).then_some(applied)
    }

    /// Applies committed entries, as many as the turn allows. A group that applies on a thread of its own takes none of
    /// the turn's time, but makes the changes of one turn at a time, too, and of a few entries.
    pub(super) fn apply(&mut self, budget: &mut ApplyBudget) {
        let on_thread = self.options.applies_on_thread;
        let room =
            if on_thread { budget.share } else { budget.left.min(budget.share.saturating_sub(self.applied_bytes)) };
        if self.halted || room == 0 || self.to_apply.is_empty() {
            return;
        }
        let Some(machine) = self.machine.take() else { return };
        let entries = std::mem::take(&mut self.to_apply);
        if on_thread {
            self.apply_watch.since = self.transfers.now;
            let applying = Applying::new(self.options.group, machine, entries, Vec::new(), room, MAX_THREAD_ENTRIES);
            return self.outputs.push_back(GroupOutput::Work(Work::Apply(Box::new(applying))));
        }
        let changes = std::mem::take(&mut self.unwritten.changes);
        let mut applying = Applying::new(self.options.group, machine, entries, changes, room, usize::MAX);
        applying.run();
        let bytes = applying.entry_bytes + applying.changed_bytes;
        self.applied_bytes += bytes;
        budget.left = budget.left.saturating_sub(bytes);
        self.handle_applied(applying);
    }

    /// Takes back the state machine, with what it applied.
    pub(crate) fn handle_applied(&mut self, applying: Applying<M>) {
        if self.applying_for() < MAX_APPLY_HOLDS * self.replica.config().hold() {
            (self.apply_watch.handed_over, self.apply_watch.warned) = (0, false);
        }
        let Applying { machine, mut entries, applied, mut changes, changed_bytes, entry_bytes, unknown, .. } = applying;
        self.machine = Some(machine);
        entries.append(&mut self.to_apply);
        self.to_apply = entries;
        self.unapplied_bytes -= entry_bytes;
        // Moved, not copied, unless some were added while a thread applied these.
        std::mem::swap(&mut self.unwritten.changes, &mut changes);
        if !changes.is_empty() {
            changes.append(&mut self.unwritten.changes);
            self.unwritten.changes = changes;
        }
        self.unwritten_bytes += changed_bytes;
        self.merge_changes();
        let has_applied = !applied.is_empty();
        if let Some(last) = applied.last() {
            (self.applied.index, self.applied.term) = (last.position.index, last.position.term);
            // Readers may see the effect before its writer is answered, never the reverse.
            self.gate.publish_applied(self.applied.index);
            self.tracker.applied(self.gate.touched(), self.applied.index);
        }
        for AppliedEntry { position, output, membership } in applied {
            if let Some(membership) = membership {
                self.entry_version = entry_version(&membership, self.options.unnoted_version);
                self.applied.membership = *membership;
                self.unapplied_changes -= 1;
                self.flush = true;
            }
            for (request, outcome) in self.writes.applied(position, output) {
                self.statistics.writes_displaced += u64::from(matches!(outcome, WriteOutcome::Displaced));
                self.outputs.push_back(GroupOutput::Decided { request, index: position.index, outcome });
            }
        }
        if has_applied {
            self.unwritten.applied = Some(self.applied.clone());
        }
        if let Some((index, unknown)) = unknown {
            self.halted = true;
            self.outputs.push_back(GroupOutput::Halted { index, unknown });
        }
        self.start_deferred_transfers();
    }

    /// Removes superseded changes once the others may be outweighed. Otherwise, entries that each change the same large
    /// value would hold as many copies of it.
    fn merge_changes(&mut self) {
        if self.unwritten_bytes > MAX_UNWRITTEN_BYTES.max(2 * self.unwritten_bytes_merged) {
            ports::remove_superseded(&mut self.unwritten.changes);
            self.unwritten_bytes = size_of_changes(&self.unwritten.changes);
            self.unwritten_bytes_merged = self.unwritten_bytes;
        }
    }

    /// Returns how long the state machine has applied the entries that it has, on a thread of its own.
    pub(super) fn applying_for(&self) -> Duration {
        let since = if self.machine.is_none() { self.apply_watch.since } else { self.transfers.now };
        self.transfers.now.saturating_sub(since)
    }

    /// Notes entries that have been applied for long, and hands leadership over: another node may be quicker. The lease
    /// stays valid until then, but reads wait for what is committed.
    pub(super) fn time_apply(&mut self, now: Reading) {
        let (at, hold) = (self.transfers.now, self.replica.config().hold());
        let leads = self.replica.role() == Role::Leader;
        let (applying_for, watch) = (self.applying_for(), &mut self.apply_watch);
        if !leads {
            watch.leads_since = at;
        }
        if applying_for < MAX_APPLY_HOLDS * hold {
            return;
        }
        if !std::mem::replace(&mut watch.warned, true) {
            tracing::warn!(
                group = self.options.group,
                applied = self.applied.index,
                "the state machine of this group has not finished {MAX_THREAD_ENTRIES} entries, or fewer, for {} ms; check \
                 what it waits for",
                applying_for.as_millis()
            );
        }
        // A leader whose successors hang too would otherwise be deposed as soon as it is elected again.
        let patience = (MAX_APPLY_HOLDS << watch.handed_over.min(MAX_APPLY_DOUBLINGS)) * hold;
        if leads && applying_for.min(at.saturating_sub(watch.leads_since)) >= patience && self.give_way(now).is_ok() {
            self.apply_watch.leads_since = at;
            self.apply_watch.handed_over += 1;
            tracing::info!(
                group = self.options.group,
                "leadership of this group is handed over: another node may be quicker"
            );
        }
    }
}
