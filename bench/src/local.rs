//! Local reads: GETs at a follower with a sublease, next to those of the leader and of followers that ask it for a read
//! index; GETs of three nodes at once; and the price that writes pay.

mod reads;
mod writes;

use crate::closed_loop::{self, Load, resp::Resp};
use crate::cluster::Cluster;
use crate::report::{Report, Row, Runs, Target};
use crate::stopwatch::Stopwatch;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The attempts at a part of a round. One in which the leader changes does not count.
const MAX_ATTEMPTS: usize = 3;

/// The size of the measurement.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    /// The duration of one run of the closed loop.
    lasts: Duration,
    /// The duration of a run in which a node is killed.
    kill_lasts: Duration,
}

/// One kind of load, and its name in the rows.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    tasks: u32,
    pipeline: u32,
    writes: u32,
}

impl Shape {
    fn load(self, lasts: Duration) -> Load {
        Load { tasks: self.tasks, pipeline: self.pipeline, writes: self.writes, lasts }
    }
}

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    let effort = if quick {
        Effort { rounds: 1, lasts: Duration::from_millis(500), kill_lasts: Duration::from_secs(3) }
    } else {
        Effort { rounds: 7, lasts: Duration::from_secs(2), kill_lasts: Duration::from_secs(4) }
    };
    let (mut of_reads, mut of_writes) = (Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        of_reads.push(reads::measure(effort, round)?);
        of_writes.push(writes::measure(effort, round)?);
    }
    let mut rows = reads::rows(&of_reads);
    rows.extend(writes::rows(&of_writes));
    Ok(Report {
        title: format!("Reads at followers, medians of {} runs in alternating order", effort.rounds),
        ours: "measured",
        peer: "peer",
        rows,
        notes: vec![
            "c1 and c50: clients. P16: each has 16 commands in flight, else one. 5 % SET: of a hundred commands, five are \
             SETs. A command of a follower's client is sent to that follower, and its SETs go on to the leader."
                .to_owned(),
            "local: a follower with --local-reads. read index: a follower without it asks the leader, which grants the \
             index by its lease; with --reads quorum, after a quorum round. leader: its own clients, by its lease, while \
             no node reads locally. A node forwards no read, so there is no row for that."
                .to_owned(),
            "The processor time of the nodes is that of all three, heartbeats included. Client and nodes share this \
             machine's cores, so three nodes do not answer more than one here: look at the processor time of each read. \
             A client is a task of a closed loop, on one thread for all."
                .to_owned(),
        ],
    })
}

/// Starts a cluster for a part of a round. Does so again if the leader changed meanwhile.
fn on_cluster<T>(flags: &[&str], part: impl Fn(&Cluster) -> Result<T, String>) -> Result<T, String> {
    for _ in 0..MAX_ATTEMPTS {
        let cluster = Cluster::start(flags)?;
        let before = cluster.leadership()?;
        closed_loop::fill::<Resp>(cluster.leader()?.port)?;
        let found = part(&cluster);
        if cluster.leadership() == Ok(before) {
            return found;
        }
    }
    Err(format!("the leader changed in each of {MAX_ATTEMPTS} attempts: something else keeps this machine busy"))
}

/// The figures of one run of the closed loop.
#[derive(Clone, Copy)]
struct Sample {
    per_second: f64,
    /// Microseconds of processor time for each operation, of all nodes together and of the client.
    nodes_micros: f64,
    client_micros: f64,
    /// Frames between nodes.
    frames_a_second: f64,
    /// The part of the reads that was answered by subleases.
    local_share: f64,
}

/// Runs a load at these ports.
fn sample(cluster: &Cluster, ports: &[u16], load: Load) -> Result<Sample, String> {
    let look = || Ok((cluster.usage().iter().map(|node| node.cpu).sum::<f64>(), processor_seconds()));
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

/// Returns the processor time of this thread, on which all clients run.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Returns the rows of one figure, which each sample has, next to a peer's.
fn compare<Round>(
    rounds: &[Round],
    name: impl Into<String>,
    unit: &'static str,
    target: Option<Target>,
    figures: impl Fn(&Round) -> (f64, f64),
) -> Row {
    let (ours, theirs) = rounds.iter().map(figures).unzip();
    Runs { ours, theirs }.row(name, unit, target)
}
