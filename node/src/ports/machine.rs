//! The replicated state machine.

use super::disk::{Change, Record, Recovered};
use bytes::Bytes;
use leasehold_core::Index;

/// A command that only a newer release knows. A group that meets one in its log stops on this node before it applies it,
/// so that its state never differs from that of the others. It continues with a release that knows the command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct UnknownCommand {
    /// A sentence for an operator that names the unknown command or version.
    pub reason: String,
}

/// A record that a state machine's state cannot take over: it is damaged, or only a newer release knows its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record of kind {kind} cannot be decoded; start the newest release that this cluster ever ran, or restore a backup"
)]
pub struct InvalidRecord {
    /// The kind of the record; 0 if it has none.
    pub kind: u8,
}

/// A position among the records of a state. [`State::records`] gives it its meaning; the first is the default.
pub type Cursor = (u64, u64);

/// Completes a command before it is proposed.
pub type Preparer = Box<dyn Fn(Bytes) -> Bytes + Send>;

/// A deterministic state machine whose state is a set of records. The same commands in the same order give the same
/// records and outputs on every node.
///
/// It runs in the node's task, which shares its thread with other tasks. Each method must take time in proportion to
/// its arguments, not to the size of the state. Work that grows with the state goes through [`State`], on another
/// thread. A machine whose [`apply`](Self::apply) may wait, for a disk or for another process, is given
/// [a thread of its own](crate::GroupOptions::applies_on_thread). It must not wait in any other method, because these are
/// always called in the node's task. It is dropped on a thread that may block.
pub trait StateMachine: Send + 'static {
    /// The result of a command, for the client that proposed it.
    type Output: Send + 'static;
    /// A copy of the state as of one index. Making one must be cheap: share the state and copy on write.
    type State: State;

    /// The newest version of commands that this release can apply.
    const NEWEST_VERSION: u32;

    /// Returns the version of a command. A leader proposes a command only once every member can apply its version. It is
    /// asked often, so it must not depend on the rest of the content.
    fn version(command: &Bytes) -> u32;

    /// Returns a function that completes a command which this node, as the leader, is about to propose. It adds what only
    /// a leader may decide, such as the time, so that every node applies the same command. It is called while the
    /// machine applies other commands, too.
    fn preparer(&self) -> Preparer {
        Box::new(|command| command)
    }

    /// Applies one committed command and appends the resulting changes of the records to `changes`. A command that is
    /// malformed or cannot be executed changes nothing, and its output reports the reason. Readers see the command's
    /// effect once this returns.
    ///
    /// # Errors
    /// [`UnknownCommand`] if only a newer release knows the command. Then nothing is changed.
    fn apply(
        &mut self,
        index: Index,
        command: &Bytes,
        changes: &mut Vec<Change>,
    ) -> Result<Self::Output, UnknownCommand>;

    /// Calls `touch` for each key that the command names and may change, and returns the time of the command: it may
    /// also end other keys, if the state machine ends keys by itself at this time. Returns `None` if the command may change
    /// any key. A node that answers reads by a sublease asks this about each entry that it receives, possibly
    /// while the machine applies other ones: a read waits only for those that may change what it reads.
    fn touches(command: &Bytes, touch: &mut dyn FnMut(&[u8])) -> Option<u64> {
        let _ = (command, touch);
        None
    }

    /// Returns a state without records, to read records into.
    fn empty_state(&self) -> Self::State;

    /// Returns the state as of the last command applied.
    fn state(&self) -> Self::State;

    /// Replaces the state and returns the old one. The caller drops it on a thread that may block.
    fn replace(&mut self, state: Self::State) -> Self::State;

    /// Encodes an output for the node that forwarded the command.
    fn encode_output(output: &Self::Output) -> Bytes;

    /// Decodes an output. Returns `None` for bytes that [`encode_output`](Self::encode_output) of this version does not
    /// produce.
    fn decode_output(bytes: &[u8]) -> Option<Self::Output>;
}

/// A state machine's state: a set of records. A method may take time in proportion to
/// its arguments and its result, and dropping the state may take time in proportion to the state. Both happen on a
/// thread that may block.
pub trait State: Send + Sync + 'static {
    /// Inserts a record, or replaces the one with its key.
    ///
    /// # Errors
    /// [`InvalidRecord`]: do not use the state.
    fn insert(&mut self, record: Record) -> Result<(), InvalidRecord>;

    /// Returns the records from `cursor` on, each with the cursor after it. The first cursor is the default. The
    /// order is the same at every call on one state. Equal states may have different orders.
    fn records(&self, cursor: Cursor) -> impl Iterator<Item = (Record, Cursor)> + '_;
}

/// The records in the order in which they were inserted.
impl State for Vec<Record> {
    fn insert(&mut self, record: Record) -> Result<(), InvalidRecord> {
        self.push(record);
        Ok(())
    }

    fn records(&self, (cursor, _): Cursor) -> impl Iterator<Item = (Record, Cursor)> + '_ {
        let skipped = usize::try_from(cursor).unwrap_or(usize::MAX);
        self.iter().skip(skipped).cloned().zip((cursor + 1..).map(|after| (after, 0)))
    }
}

impl Recovered {
    /// Reads the records into a state.
    ///
    /// # Errors
    /// [`InvalidRecord`].
    pub fn into_state<S: State>(self, mut state: S) -> Result<Recovered<S>, InvalidRecord> {
        let Recovered { hard_state, compacted, entries, applied, records, longest_hold, log_may_be_cut, orderly_stop } =
            self;
        records.into_iter().try_for_each(|record| state.insert(record))?;
        Ok(Recovered {
            hard_state,
            compacted,
            entries,
            applied,
            records: state,
            longest_hold,
            log_may_be_cut,
            orderly_stop,
        })
    }
}
