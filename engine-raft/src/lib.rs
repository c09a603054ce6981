//! TiKV's `raft` engine joined with the lease protocol: one sans-IO machine, [`Replica`].
//!
//! The engine decides who leads and what is committed; [`leasehold_core`] decides when a leader may answer reads by itself
//! and when a node may help to elect another. This crate makes sure that neither acts behind the other's back. It opens no
//! socket, writes no file, reads no clock and draws no randomness of its own.

mod admission;
mod convert;
mod lease;
mod log;
mod output;
mod replica;
pub mod wire;

pub use log::PersistentState;
pub use output::{Committed, Effect, Output, Persist};
pub use replica::{
    CampaignError, EngineError, Error, Options, Position, ProposeError, Replica, Role, Statistics, Undelivered,
};
