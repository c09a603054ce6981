//! Applying committed entries to a state machine, in the node's task or on a thread of the group's own.

use crate::ports::{Change, GroupId, StateMachine, UnknownCommand};
use leasehold_core::Index;
use leasehold_raft::wire::Membership;
use leasehold_raft::{Committed, Effect, Position};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// The bytes by which an entry counts beyond its command.
const ENTRY_BYTES: usize = 64;

/// The bytes of entries and of their changes that may be applied in the rest of a turn. The last entry may exceed them.
#[derive(Debug, Default)]
pub(crate) struct ApplyBudget {
    /// By all groups.
    pub(crate) left: usize,
    /// By one group in the whole turn.
    pub(crate) share: usize,
}

impl ApplyBudget {
    /// Returns the budget of a turn in which so many groups are known to have more to apply than they could.
    pub(crate) fn new(max: usize, groups: usize) -> ApplyBudget {
        let left = max.max(1);
        ApplyBudget { left, share: (left / groups.max(1)).max(1) }
    }
}

/// The watch over a state machine that applies entries on a thread of its own.
#[derive(Debug, Default)]
pub(crate) struct ApplyWatch {
    /// Since when it applies the entries that it has, or had.
    pub(crate) since: Duration,
    /// Since when this node leads, or has led after a hand-over. Its last tick, if it does not lead.
    pub(crate) leads_since: Duration,
    /// The times that leadership was handed over since it was last quick.
    pub(crate) handed_over: u32,
    /// A warning was logged since it was last quick.
    pub(crate) warned: bool,
}

/// A state machine with committed entries to apply to it, and later with the outcome.
pub struct Applying<M: StateMachine> {
    group: GroupId,
    pub(crate) machine: M,
    /// The entries that are left.
    pub(crate) entries: VecDeque<Committed>,
    /// The bytes of entries and of their changes after which no further entry is applied.
    max_bytes: usize,
    max_entries: usize,
    /// The entries that were applied, in order.
    pub(crate) applied: Vec<AppliedEntry<M::Output>>,
    /// Their changes.
    pub(crate) changes: Vec<Change>,
    /// The size of these changes.
    pub(crate) changed_bytes: usize,
    /// The size of the entries that were applied.
    pub(crate) entry_bytes: usize,
    /// The command that ended it, because only a newer release knows it.
    pub(crate) unknown: Option<(Index, UnknownCommand)>,
}

/// An entry that was applied.
pub(crate) struct AppliedEntry<O> {
    pub(crate) position: Position,
    /// The output of its command.
    pub(crate) output: Option<O>,
    /// The configuration that it made. Few entries make one, and it is large.
    pub(crate) membership: Option<Box<Membership>>,
}

impl<M: StateMachine> Applying<M> {
    pub(crate) fn new(
        group: GroupId,
        machine: M,
        entries: VecDeque<Committed>,
        changes: Vec<Change>,
        max_bytes: usize,
        max_entries: usize,
    ) -> Applying<M> {
        Applying {
            group,
            machine,
            entries,
            max_bytes,
            max_entries,
            applied: Vec::new(),
            changes,
            changed_bytes: 0,
            entry_bytes: 0,
            unknown: None,
        }
    }

    /// Applies entries until none is left, or enough was applied.
    pub(crate) fn run(&mut self) {
        while self.unknown.is_none()
            && self.entry_bytes + self.changed_bytes < self.max_bytes
            && self.applied.len() < self.max_entries
            && let Some(committed) = self.entries.pop_front()
        {
            self.entry_bytes += bytes_of(&committed);
            let Committed { position, effect } = committed;
            let before = self.changes.len();
            let (mut output, mut membership) = (None, None);
            match effect {
                Effect::Command(command) => match self.machine.apply(position.index, &command, &mut self.changes) {
                    Ok(made) => output = Some(made),
                    Err(unknown) => {
                        self.unknown = Some((position.index, unknown));
                        break;
                    }
                },
                Effect::Nothing => {}
                Effect::Membership(made) => membership = Some(Box::new(made)),
            }
            self.changed_bytes += size_of_changes(&self.changes[before..]);
            self.applied.push(AppliedEntry { position, output, membership });
        }
    }

    /// Returns the number of the group.
    pub fn group(&self) -> GroupId {
        self.group
    }
}

impl<M: StateMachine> fmt::Debug for Applying<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Applying").field("group", &self.group).finish_non_exhaustive()
    }
}

/// Returns about how much memory an entry takes.
pub(crate) fn bytes_of(committed: &Committed) -> usize {
    match &committed.effect {
        Effect::Command(command) => ENTRY_BYTES + command.len(),
        Effect::Nothing | Effect::Membership(_) => ENTRY_BYTES,
    }
}

pub(crate) fn size_of_changes(changes: &[Change]) -> usize {
    changes.iter().map(Change::bytes).sum()
}
