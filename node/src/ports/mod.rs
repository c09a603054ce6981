//! The traits that connect a node to the outside world: [`Links`] and [`Receive`] for the network, [`Meet`] for the
//! identity of nodes, [`Disk`] for durable writes, [`StateMachine`] for the replicated state. `Runtime`, for tasks and
//! timers, is in a crate of its own.

mod disk;
mod links;
mod machine;
mod meet;

pub(crate) use disk::remove_superseded;
pub use disk::{Applied, Batch, Change, Disk, Record, Recovered, Stage};
pub use links::{Lane, Links, NotSent, Receive, Rejected};
pub use machine::{Cursor, InvalidRecord, Preparer, State, StateMachine, UnknownCommand};
pub use meet::{Meet, MeetError, MemoryRegistry};

/// Identifies a replicated group, on all nodes that host it. Messages and storage keys carry the number.
pub type GroupId = u32;
