//! `leasehold`: a replicated key-value server that speaks the Redis protocol and answers reads from a leader's lease.
//!
//! This is the library part of the binary: a [`Node`] and its parts. Only [`cli`] and [`demo`] name a runtime, because
//! users choose one there.
//!
//! There is one database, with strings and hashes.

pub mod cli;
pub mod command;
pub mod demo;
pub mod keyspace;
pub mod resp;

mod activity;
mod backup;
mod client_options;
mod clients;
mod counters;
mod descriptors;
mod executor;
mod expirer;
mod glob;
mod health;
mod history;
mod http;
mod info;
mod latency;
mod limits;
mod logging;
mod members;
mod metrics;
mod monitor;
mod node;
mod origin;
mod page;
mod process;
mod recording;
mod registrar;
mod runtime_choice;
mod shares;
mod slots;
mod space;
mod spread;
mod status;
mod timeout;
mod users;
mod wall;
mod watch;

pub use client_options::ClientOptions;
pub use counters::{Counter, Counters};
pub use leasehold_transport_tcp::PeerSecurity;
pub use limits::{Limits, MAX_CLIENTS};
pub use node::{Node, NodeOptions, StartError};
pub use recording::{ReplayError, replay, replay_steps};
pub use users::UsersError;
