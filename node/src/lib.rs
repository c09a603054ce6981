//! A node: replicated groups and request routing as a synchronous state machine, and the task that runs it.
//!
//! [`Node`] holds a map of [`Group`]s, each one replica with its state machine, and a router that decides where every
//! request is executed. It takes inputs with clock readings and yields outputs, so a simulator can drive it on virtual
//! time. [`start`] runs it on any [`Runtime`](leasehold_runtime::Runtime), against the traits in [`ports`]; the rest of
//! the process talks to it through a [`Handle`].
//!
//! It names no runtime, no file format and no wire transport, and it never waits for the disk, the network or a client.

pub mod chunk;
pub mod frames;
pub mod identity;
pub mod members;
pub mod ports;
pub mod snapshot;
pub mod wire;

mod apply;
mod budget;
mod commits;
mod dedup;
mod events;
mod group;
mod guide;
mod handle;
mod node;
mod outputs;
mod pending;
mod reader_watch;
mod router;
mod setup;
mod status;
mod stopwatch;
mod task;
mod threads;
mod touched;
mod transfer;

pub use budget::{Budget, Share};
pub use events::{Input, Outcome, Output, Reply, Request, RequestError};
pub use group::{Group, GroupOptions, GroupStart, ReadMode};
pub use handle::{Handle, Inbox, Mailbox, Statistics, inbox};
pub use leasehold_raft::{Role, TransferError};
pub use node::{AddGroupError, Node, NodeOptions};
pub use router::REQUEST_TIMEOUT;
pub use setup::{StartGroup, TraceSink};
pub use status::{DiskStatistics, Ground, GroupStatistics, LocalPermit, ReadGate, ReadGrant, RouterStatistics, Status};
pub use task::{Start, StartError, start};
pub use touched::TouchedKeys;
