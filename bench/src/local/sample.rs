//! Loads, clusters and the figures of a run, for all measurements of local reads.

use crate::closed_loop::{self, Load, resp::Resp};
use crate::cluster::Cluster;
use crate::report::{Row, Runs, Target};
use crate::stopwatch::{Stopwatch, thread_time};
use std::time::Duration;

/// The attempts at a part of a round. One in which the leader changes does not count.
const MAX_ATTEMPTS: usize = 3;

/// The size of the measurement.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    pub(super) rounds: usize,
    /// The duration of one run of the closed loop.
    pub(super) lasts: Duration,
    /// The duration of a run in which a node is killed.
    pub(super) kill_lasts: Duration,
}

/// One kind of load, and its name in the rows.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) tasks: u32,
    pub(super) pipeline: u32,
    pub(super) writes: u32,
}

impl Shape {
    pub(super) fn load(self, lasts: Duration) -> Load {
        Load { tasks: self.tasks, pipeline: self.pipeline, writes: self.writes, lasts }
    }
}

/// Starts a cluster for a part of a round. Does so again if that fails, or if the leader changed meanwhile.
pub(super) fn on_cluster<T>(flags: &[&str], part: impl Fn(&Cluster) -> Result<T, String>) -> Result<T, String> {
    let mut failure = String::new();
    for _ in 0..MAX_ATTEMPTS {
        match attempt(flags, &part) {
            Ok(found) => return Ok(found),
            Err(error) => failure = error,
        }
    }
    Err(format!("{failure}, in the last of {MAX_ATTEMPTS} attempts: something else keeps this machine busy"))
}

fn attempt<T>(flags: &[&str], part: impl Fn(&Cluster) -> Result<T, String>) -> Result<T, String> {
    let cluster = Cluster::start(flags)?;
    let before = cluster.leadership()?;
    closed_loop::fill::<Resp>(cluster.leader()?.port)?;
    let found = part(&cluster)?;
    if cluster.leadership()? == before { Ok(found) } else { Err("the leader changed".to_owned()) }
}

/// The figures of one run of the closed loop.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    pub(super) per_second: f64,
    /// Microseconds of processor time for each operation, of all nodes together and of the client.
    pub(super) nodes_micros: f64,
    pub(super) client_micros: f64,
    /// Frames between nodes.
    pub(super) frames_a_second: f64,
    /// The part of the reads that was answered by subleases.
    pub(super) local_share: f64,
}

/// Runs a load at these ports.
pub(super) fn sample(cluster: &Cluster, ports: &[u16], load: Load) -> Result<Sample, String> {
    // All clients run on this thread.
    let look = || Ok((cluster.processor_seconds()?, thread_time().as_secs_f64()));
    let (earlier, watch) = (cluster.counts()?, Stopwatch::start());
    let (outcome, [before, after]) = closed_loop::observe::<Resp, (f64, f64)>(ports, load, look)?;
    let (seconds, later) = (watch.elapsed().as_secs_f64(), cluster.counts()?);
    let micros_each = |seconds: f64| seconds * 1e6 / (outcome.per_second * load.lasts.as_secs_f64());
    let local = later.local - earlier.local;
    let others = later.by_lease + later.otherwise - earlier.by_lease - earlier.otherwise;
    Ok(Sample {
        per_second: outcome.per_second,
        nodes_micros: micros_each(after.0 - before.0),
        client_micros: micros_each(after.1 - before.1),
        frames_a_second: (later.frames - earlier.frames) as f64 / seconds,
        local_share: local as f64 / (local + others).max(1) as f64,
    })
}

/// Returns the row of a figure of each round next to a peer's.
pub(super) fn compare<Round>(
    rounds: &[Round],
    name: impl Into<String>,
    unit: &'static str,
    target: Option<Target>,
    figures: impl Fn(&Round) -> (f64, f64),
) -> Row {
    let (ours, theirs) = rounds.iter().map(figures).unzip();
    Runs { ours, theirs }.row(name, unit, target)
}
