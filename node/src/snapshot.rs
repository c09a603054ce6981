//! Work that takes time in proportion to the state, or to a part of it, done on a thread of its own.

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
            Work::Drop(_) => None,
        }
    }
}

impl<M: StateMachine> WorkResult<M> {
    pub(crate) fn group(&self) -> GroupId {
        let (WorkResult::Read { group, .. } | WorkResult::Added { group, .. }) = self;
        *group
    }
}

impl<M: StateMachine> fmt::Debug for Work<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Work::Read { .. } => "Read",
            Work::Add { .. } => "Add",
            Work::Drop(_) => "Drop",
        })
    }
}

impl<M: StateMachine> fmt::Debug for WorkResult<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            WorkResult::Read { .. } => "Read",
            WorkResult::Added { .. } => "Added",
        })
    }
}
