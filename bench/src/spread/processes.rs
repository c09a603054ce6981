//! Three servers on this machine, with redis-benchmark, which sends each command to the leader of its group.

use crate::cluster::Cluster;
use crate::redis_benchmark::{self, Shape};
use std::fs;

/// The loads, with about as many commands as one second takes.
pub(super) const SHAPES: [(&str, Shape); 4] = [
    ("SET c48", Shape { test: "set", clients: 48, pipeline: 1, requests: 15_000 }),
    ("SET c48 P16", Shape { test: "set", clients: 48, pipeline: 16, requests: 60_000 }),
    ("GET c48", Shape { test: "get", clients: 48, pipeline: 1, requests: 60_000 }),
    ("GET c48 P16", Shape { test: "get", clients: 48, pipeline: 16, requests: 400_000 }),
];

/// The place of `GET c48` among them.
pub(super) const GET: usize = 2;

/// The figures of a load.
#[derive(Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) per_second: f64,
    /// Microseconds of processor time for each command: of all nodes, and of the node that spent most.
    pub(super) all_micros: f64,
    pub(super) busiest_micros: f64,
    /// The part of this machine's processor time that was in use.
    pub(super) in_use: f64,
}

/// Runs every load on a new cluster.
pub(super) fn measure(groups: u32, seconds: u32) -> Result<[Sample; SHAPES.len()], String> {
    let cluster = Cluster::start(&["--groups", &groups.to_string()])?;
    cluster.balance()?;
    let port = cluster.leader_port()?;
    let run = if groups == 1 { redis_benchmark::run } else { redis_benchmark::run_cluster };
    run(port, redis_benchmark::FILL)?;
    let mut samples = [Sample::default(); SHAPES.len()];
    for ((_, shape), sample) in SHAPES.iter().zip(&mut samples) {
        let requests = shape.requests * seconds;
        let (before, processors) = (cluster.usage()?, Processors::look()?);
        let measured = run(port, Shape { requests, ..*shape })?;
        let (after, in_use) = (cluster.usage()?, Processors::look()?.in_use_since(processors));
        let micros = |cpu: f64| cpu * 1e6 / f64::from(requests);
        let spent = || before.iter().zip(&after).map(|(before, after)| after.cpu - before.cpu);
        *sample = Sample {
            per_second: measured.per_second,
            all_micros: micros(spent().sum()),
            busiest_micros: micros(spent().fold(0.0, f64::max)),
            in_use,
        };
    }
    Ok(samples)
}

/// The ticks of all processors of this machine so far: of the time in use, and of all time.
#[derive(Clone, Copy)]
struct Processors {
    in_use: u64,
    all: u64,
}

impl Processors {
    fn look() -> Result<Processors, String> {
        let stat = fs::read_to_string("/proc/stat").map_err(|_| "this system has no /proc")?;
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).ok_or("/proc/stat has no line of all")?;
        // user nice system idle iowait irq softirq steal; the guests' time is in user's.
        let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
        let all: u64 = ticks.iter().sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        Ok(Processors { in_use: all - idle, all })
    }

    /// Returns the part of the time since an earlier look that was in use.
    fn in_use_since(self, earlier: Processors) -> f64 {
        (self.in_use - earlier.in_use) as f64 / (self.all - earlier.all).max(1) as f64
    }
}
