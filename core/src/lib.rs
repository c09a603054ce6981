#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(target_has_atomic = "64")]
mod cell;
mod config;
mod grantor;
#[cfg(target_has_atomic = "64")]
mod holder;
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
pub use time::{Elapsed, Instant, Reading};
pub use voters::{MAX_VOTERS, Voters, VotersError};

/// A node's number; 0 names nobody.
pub type NodeId = u64;
/// A Raft term.
pub type Term = u64;
/// A position in the replicated log, from 1.
pub type Index = u64;
/// A number the holder opens; strictly increasing for the life of the process, never reused.
pub type Round = u64;

/// A round and the term it was opened in, ordered by term first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TermRound {
    /// The term of the leader that opened it.
    pub term: Term,
    /// The round.
    pub round: Round,
}

/// A holder's statement that no lease of its own rests on `through` or an earlier round of that term; true for ever once made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    /// The last round released.
    pub through: TermRound,
}

/// Why a deadline is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The holder opens its next round.
    Heartbeat,
    /// The engine counts a tick.
    Tick,
}
