//! Leader leases for TiKV's `raft` engine, without I/O.
//!
//! The engine decides which node leads and which entries are committed. [`leasehold_core`] decides when a leader may
//! answer reads without a quorum round, and when a node may help to elect another leader. This crate keeps the two
//! consistent. It opens no socket, writes no file, reads no clock and uses no randomness but the seed it is given.
//!
//! | you have | take |
//! | --- | --- |
//! | a loop around `RawNode`, with storage and messages of its own | [`AttachedLease`], and a [`Tag`] with each message |
//! | nothing yet, or a loop that you would rather not write | [`Replica`]: engine, lease and the rules of durability |
//!
//! # With a loop that exists
//!
//! The calls of the loop go through the lease, or are followed by a call of it. Here a group of one voter elects it, and
//! a reader thread would read by its cell:
//!
//! ```
//! use leasehold_core::{Config, Instant, LeaseCell, Options as Timing};
//! use leasehold_raft::{AttachedLease, Options};
//! use raft::{RawNode, storage::MemStorage};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let at = |seconds: u64| Some(Instant::from_nanos(seconds * 1_000_000_000, seconds * 1_000_000_000)); // your clock
//! let config = raft::Config { id: 1, check_quorum: true, pre_vote: true, ..Default::default() };
//! let storage = MemStorage::new_with_conf_state((vec![1], vec![]));
//! let mut raw = RawNode::new(&config, storage, &slog::Logger::root(slog::Discard, slog::o!()))?;
//! let timing = Config::new(Timing::new(Duration::from_secs(1), 1000))?;
//! // The record of the longest hold is zero for a node that never ran. Make this hold durable before anything leaves.
//! let (record, cell) = (Duration::ZERO, Arc::new(LeaseCell::new()));
//! let mut lease = AttachedLease::new(Options::new(1, timing, 1), &raw, record, at(1), cell.clone())?;
//!
//! lease.campaign(at(5), &mut raw); // instead of raw.campaign(), as tick and step
//! while raw.has_ready() {
//!     let ready = raw.ready();
//!     // Persist the entries and the hard state as usual. Then:
//!     raw.mut_store().wl().append(ready.entries())?;
//!     lease.term_is_durable(raw.raft.term);
//!     raw.advance(ready);
//!     raw.advance_apply();
//!     lease.follow(at(5), &raw); // before a message leaves, each with lease.tag(&message)
//! }
//! let permit = cell.try_read(at(5)).expect("a lease, for any thread");
//! assert_eq!(permit.index, raw.raft.raft_log.committed); // answer once this is applied
//! # Ok(())
//! # }
//! ```
//!
//! `examples/raw_node_loop.rs` is a loop of five nodes, and `tests/conformance.rs` one with transfers, changes of the voters
//! and restarts, which passes the acceptance kit `leasehold-conformance`.
//!
//! # As a whole replica
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
mod local;
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
