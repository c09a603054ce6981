//! TiKV's `raft` engine combined with the lease protocol in one sans-IO state machine, [`Replica`].
//!
//! The engine decides which node leads and which entries are committed. [`leasehold_core`] decides when a leader may
//! answer reads without a quorum round, and when a node may help to elect another leader. This crate keeps the two
//! consistent. It opens no socket, writes no file, reads no clock and uses no randomness but the seed it is given.
//!
//! A group of one voter elects it, commits a command and reads by the lease:
//!
//! ```
//! use leasehold_core::{Config, Instant, Options as Timing, Read};
//! use leasehold_raft::{Options, Output, PersistentState, Replica, Role};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (hold, heartbeat) = (Duration::from_secs(1), Duration::from_millis(100));
//! let options = Options::new(1, Config::new(Timing::new(hold, 1000).with_heartbeat(heartbeat))?, 7);
//! let mut nanos = 0;
//! let state = PersistentState::founding(vec![1]);
//! let mut replica = Replica::new(options, state, Duration::ZERO, Some(Instant::from_nanos(0, 0)), Arc::default())?;
//! let mut proposed = None;
//! loop {
//!     nanos += replica.tick().as_nanos() as u64;
//!     let now = Some(Instant::from_nanos(nanos, nanos));
//!     replica.handle_timeout(now);
//!     if replica.role() == Role::Leader && proposed.is_none() {
//!         proposed = Some(replica.propose(now, "a command".into())?);
//!     }
//!     let (mut written, mut applied) = (None, None);
//!     while let Some(output) = replica.poll_output() {
//!         match output {
//!             // A real driver writes and syncs here, and reports the write once it is durable.
//!             Output::Persist(write) if write.must_sync => written = Some(write.number),
//!             Output::Apply(entries) => applied = entries.last().map(|entry| entry.position),
//!             _ => {}
//!         }
//!     }
//!     if let Some(number) = written {
//!         replica.handle_persisted(now, number);
//!     }
//!     if proposed.is_some() && applied == proposed {
//!         assert!(matches!(replica.read(now)?, Read::Lease(_)));
//!         return Ok(());
//!     }
//! }
//! # }
//! ```

mod admission;
mod attached;
mod engine_log;
mod error;
mod gate;
mod leadership;
mod lease;
mod log;
mod options;
mod outbox;
mod output;
mod rejoin;
mod replica;
mod status;
pub mod wire;

pub use attached::{AttachedLease, ReadOutcome, Stepped, Unsuitable};
pub use error::{CampaignError, EngineError, Error, InstallError, ProposeError, TransferError};
pub use leasehold_core::{NotATag, Tag};
pub use log::PersistentState;
pub use options::Options;
pub use output::{Committed, Effect, Output, Persist, Position};
pub use replica::Replica;
pub use status::{Role, SnapshotOutcome, Statistics};
