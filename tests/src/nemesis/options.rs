//! What to do to a cluster.

use super::fault::Fault;
use std::fmt;

/// How wrong clock rates may be in a run with [`Fault::ClockRate`], in parts per million.
pub const DRIFT_PPM: u32 = 50_000;

/// The asynchronous runtime of the processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// `--runtime tokio`.
    #[default]
    Tokio,
    /// `--runtime smol`.
    Smol,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Runtime::Tokio => "tokio",
            Runtime::Smol => "smol",
        })
    }
}

/// What to do to a cluster, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// No fault begins later than this after the clients began.
    pub seconds: u64,
    /// What every choice follows from.
    pub seed: u64,
    /// What the processes run on.
    pub runtime: Runtime,
    /// What may be done to them. Each happens once, in some order, before any happens again.
    pub faults: Vec<Fault>,
}
