//! The options of a run.

use super::fault::Fault;
use std::fmt;

/// The largest error of clock rates in a run with [`Fault::ClockRate`], in parts per million.
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

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time after the start of the clients at which the last fault may start.
    pub seconds: u64,
    /// The seed of all random choices.
    pub seed: u64,
    /// The runtime of the processes.
    pub runtime: Runtime,
    /// True if every node answers reads by subleases.
    pub local_reads: bool,
    /// The number of groups among which the keys are divided.
    pub groups: u16,
    /// The faults. Each happens once, in random order, before any of them repeats.
    pub faults: Vec<Fault>,
}
