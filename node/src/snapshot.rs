//! Work that takes time in proportion to the state, or to a part of it, or that may block: done on another thread.

use crate::apply::Applying;
use crate::chunk::{self, Chunk};
use crate::ports::{Cursor, GroupId, Record, State as _, StateMachine};
use crate::wire::RequestId;
use bytes::Bytes;
use leasehold_core::NodeId;
use std::fmt;
use std::sync::Arc;

/// Work for a thread that may block. Give its result back to the node.
pub enum Work<M: StateMachine> {
    /// Reads a chunk of a state for a follower.
    Read {
        /// The group.
        group: GroupId,
        /// The follower.
        to: NodeId,
        /// The transfer.
        id: RequestId,
        /// The number of the chunk.
        number: u64,
        /// The cursor of the chunk.
        cursor: Cursor,
        /// The state.
        state: Arc<M::State>,
        /// The largest size of a chunk with more than one record.
        max_bytes: usize,
    },
    /// Adds the records of a chunk that arrived to a state.
    Add {
        /// The group.
        group: GroupId,
        /// The transfer.
        id: RequestId,
        /// The state of the chunks before it.
        state: M::State,
        /// The records, encoded.
        records: Bytes,
    },
    /// Drops a state.
    Drop(Arc<M::State>),
    /// Drops the state machine of a group that has ended. Readers may still share its state.
    End(Box<M>),
    /// Applies entries of a group that [applies on a thread of its own](crate::GroupOptions::applies_on_thread). It may
    /// take any time, and nothing else of the node waits for it.
    Apply(Box<Applying<M>>),
}

/// The result of [`Work::run`].
pub enum WorkResult<M: StateMachine> {
    /// A chunk for a follower.
    Read {
        /// The group.
        group: GroupId,
        /// The follower.
        to: NodeId,
        /// The transfer.
        id: RequestId,
        /// The number of the chunk.
        number: u64,
        /// The chunk.
        chunk: Chunk,
    },
    /// A chunk that arrived was added.
    Added {
        /// The group.
        group: GroupId,
        /// The transfer.
        id: RequestId,
        /// The state with the chunk.
        state: M::State,
        /// The records of the chunk; `None` if they cannot be decoded.
        records: Option<Vec<Record>>,
    },
    /// Entries were applied.
    Applied(Box<Applying<M>>),
}

impl<M: StateMachine> Work<M> {
    /// Does the work. Returns a result for the node, unless there is nothing to report.
    pub fn run(self) -> Option<WorkResult<M>> {
        match self {
            Work::Read { group, to, id, number, cursor, state, max_bytes } => {
                let chunk = chunk::read(&*state, cursor, max_bytes);
                Some(WorkResult::Read { group, to, id, number, chunk })
            }
            Work::Add { group, id, mut state, records } => {
                let mut records = chunk::decode(&records);
                let valid = records.iter().flatten().cloned().try_for_each(|record| state.insert(record));
                records = records.filter(|_| valid.is_ok());
                Some(WorkResult::Added { group, id, state, records })
            }
            Work::Drop(_) | Work::End(_) => None,
            Work::Apply(mut applying) => {
                applying.run();
                Some(WorkResult::Applied(applying))
            }
        }
    }
}

impl<M: StateMachine> WorkResult<M> {
    pub(crate) fn group(&self) -> GroupId {
        match self {
            WorkResult::Read { group, .. } | WorkResult::Added { group, .. } => *group,
            WorkResult::Applied(applying) => applying.group(),
        }
    }

    /// Returns what is left to do with it if its group has ended meanwhile.
    pub(crate) fn into_work(self) -> Option<Work<M>> {
        match self {
            WorkResult::Read { .. } => None,
            WorkResult::Added { state, .. } => Some(Work::Drop(Arc::new(state))),
            WorkResult::Applied(applying) => Some(Work::End(Box::new(applying.machine))),
        }
    }
}

impl<M: StateMachine> fmt::Debug for Work<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Work::Read { .. } => "Read",
            Work::Add { .. } => "Add",
            Work::Drop(_) => "Drop",
            Work::End(_) => "End",
            Work::Apply(_) => "Apply",
        })
    }
}

impl<M: StateMachine> fmt::Debug for WorkResult<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            WorkResult::Read { .. } => "Read",
            WorkResult::Added { .. } => "Added",
            WorkResult::Applied(_) => "Applied",
        })
    }
}
