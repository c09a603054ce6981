#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(target_has_atomic = "64")]
mod cell;
mod config;
mod grantor;
#[cfg(target_has_atomic = "64")]
mod holder;
mod ids;
#[cfg(target_has_atomic = "64")]
mod sync;
mod time;
#[cfg(target_has_atomic = "64")]
pub mod trace;
mod voters;

#[cfg(target_has_atomic = "64")]
pub use cell::{LeaseCell, Permit};
pub use config::{Config, ConfigError, LeaseTiming, NotCovered, Options};
pub use grantor::Grantor;
#[cfg(target_has_atomic = "64")]
pub use holder::{Action, Event, Holder, Misuse, Read, ReadError, Statistics, Ticket};
pub use ids::{Index, NodeId, Release, Round, Term, TermRound};
pub use time::{Elapsed, Instant, Reading, Reason};
pub use voters::{MAX_VOTERS, Voters, VotersError};
