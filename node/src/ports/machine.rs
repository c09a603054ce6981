//! The replicated state machine.

use super::disk::{Change, Record};
use bytes::Bytes;
use leasehold_core::Index;

/// A deterministic state machine whose state is a set of records. The same commands in the same order give the same records
/// and outputs on every node.
///
/// It runs on the node's thread. Every method must take time in proportion to its arguments, not to the size of the state;
/// work that grows with the state is done through [`State`], on another thread.
pub trait StateMachine: Send + 'static {
    /// The result of a command, for the client that proposed it.
    type Output: Send + 'static;
    /// A copy of the state as of one index. Taking one must be cheap: share the state, copy on write.
    type State: State;

    /// Applies one committed command and appends to `changes` what it did to the records. It must not fail: a command
    /// that cannot be read or carried out says so in its output and changes nothing. When this returns, readers see its effect.
    fn apply(&mut self, index: Index, command: &Bytes, changes: &mut Vec<Change>) -> Self::Output;

    /// Returns the state as of the last command applied.
    fn state(&self) -> Self::State;

    /// Replaces the state and returns the former one. The caller drops it where that may take time.
    fn replace(&mut self, state: Self::State) -> Self::State;

    /// Encodes an output for the node that forwarded the command.
    fn encode_output(output: &Self::Output) -> Bytes;

    /// Decodes an output. Returns `None` for bytes that [`encode_output`](Self::encode_output) of this version does not produce.
    fn decode_output(bytes: &[u8]) -> Option<Self::Output>;
}

/// A copy of a state machine's state. Its methods, and its drop, may take time in proportion to the state: they are called
/// on a thread that may block.
pub trait State: Send + 'static {
    /// Builds a state from its records.
    fn from_records(records: Vec<Record>) -> Self;

    /// Returns every record, in an order that depends on the records alone.
    fn records(&self) -> impl Iterator<Item = Record> + '_;
}
