#![doc = include_str!("../README.md")]
#![no_std]

mod cell;
mod config;
mod grantor;
pub mod groups;
mod holder;
mod ids;
pub mod local;
mod member;
mod sync;
mod tag;
mod time;
pub mod trace;
mod voters;

pub use cell::{LeaseCell, Permit};
pub use config::{Config, ConfigError, LeaseTiming, NotCovered, Options};
pub use grantor::Grantor;
pub use holder::{Action, Event, Holder, Misuse, NoLease, Read, ReadError, Statistics, Ticket};
pub use ids::{Index, NodeId, Release, Round, Term, TermRound};
pub use member::{Fresh, Member};
pub use tag::{NotATag, Tag};
pub use time::{Elapsed, Instant, Reading, Reason};
pub use voters::{MAX_VOTERS, Voters, VotersError};
