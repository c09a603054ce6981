//! The one loop that drives a replica, and the ports that the outside world implements: [`Runtime`] for tasks, timers and
//! sockets, [`Links`] for the network, [`Disk`] for durable writes, [`StateMachine`] for what is replicated.
//!
//! The loop names no runtime and no file format. It samples the clock once for every input, after that input arrived; sends
//! what may be sent before its own disk has synced; and never waits for the disk, the network or a client.

mod disk;
mod drive;
mod handle;
mod machine;
mod network;
mod pending;
// Public only for whoever tries it with hostile bytes.
#[doc(hidden)]
pub mod snapshot;
mod writer;

pub use disk::{Applied, Batch, Change, Disk, Record, Recovered};
pub use drive::{Options, ReadMode, StartError, start};
pub use handle::{Handle, ReadError, ReadGrant, Role, Statistics, Status, WriteError};
pub use leasehold_runtime::Runtime;
pub use machine::StateMachine;
pub use network::{Body, Frame, GroupId, Links, NotSent, Receive, RequestId};
