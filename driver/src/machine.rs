//! What the driver replicates: a deterministic state machine whose state is a set of records.

use crate::disk::{Change, Record};
use bytes::Bytes;
use leasehold_core::Index;

/// A deterministic state machine. The same commands in the same order give the same records and outputs on every node.
pub trait StateMachine: Send + 'static {
    /// What a command answers to whoever proposed it.
    type Output: Send + 'static;

    /// Applies one committed command and appends to `changes` what it did to the records. It must not fail: a command
    /// that cannot be carried out, or read, answers so and changes nothing. Once this returns, readers see its effect.
    fn apply(&mut self, index: Index, command: &Bytes, changes: &mut Vec<Change>) -> Self::Output;

    /// Replaces every record: at start with what the disk holds, later with a leader's snapshot.
    fn restore(&mut self, records: Vec<Record>);

    /// Every record, for a snapshot.
    fn records(&self) -> Vec<Record>;
}
