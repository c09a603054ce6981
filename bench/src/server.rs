//! Reads through sockets: three nodes next to one redis-server, and next to three nodes of etcd.

use crate::children::is_installed;
use crate::closed_loop::{self, Load, Outcome, etcd::Client, resp::Resp};
use crate::cluster::Cluster;
use crate::etcd::{self, Etcd};
use crate::redis::{self, Keeps, Redis};
use crate::redis_benchmark::{self, Shape};
use crate::report::{Report, Runs, Target, median};
use std::time::Duration;

/// The loads for redis-server and for ours.
const SHAPES: [(&str, Shape); 3] = [
    ("GET -c 50 / redis-server", Shape { test: "get", clients: 50, pipeline: 1, requests: 20_000 }),
    ("GET -c 50 -P 16 / redis-server", Shape { test: "get", clients: 50, pipeline: 16, requests: 100_000 }),
    ("GET -c 1 / redis-server", Shape { test: "get", clients: 1, pipeline: 1, requests: 4_000 }),
];

/// The size of the measurement.
#[derive(Clone, Copy)]
struct Effort {
    rounds: u32,
    /// The factor for the requests of the shapes.
    scale: u32,
    /// The duration of one run of the closed loop.
    lasts: Duration,
}

impl Effort {
    fn load(self, tasks: u32, writes: u32) -> Load {
        Load { tasks, pipeline: 1, writes, lasts: self.lasts }
    }
}

/// The results of each run.
#[derive(Default)]
struct Found {
    with_redis: [Runs; 3],
    /// redis-server under the closed loop with 50 connections. Its one thread does more than that of redis-benchmark.
    redis_in_the_loop: Vec<f64>,
    /// With 50 connections and with one.
    with_etcd: [Runs; 2],
    quorum: Vec<f64>,
    /// The 99th percentile of GET, in microseconds: with writes, and without.
    p99: Runs,
    /// For the notes: 99th percentiles in milliseconds.
    ours_p99: Vec<f64>,
    quorum_p99: Vec<f64>,
    etcd_p99: Vec<f64>,
}

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    let effort = if quick {
        Effort { rounds: 1, scale: 1, lasts: Duration::from_millis(700) }
    } else {
        Effort { rounds: 7, scale: 8, lasts: Duration::from_secs(2) }
    };
    let mut found = Found::default();
    for round in 0..effort.rounds {
        let mut parts = [by_lease, of_redis, of_etcd, by_quorum];
        // The first in one round is the last in the next.
        if round % 2 == 1 {
            parts.reverse();
        }
        for part in parts {
            part(effort, round, &mut found)?;
        }
    }
    Ok(report(effort, &found))
}

/// Measures three nodes with default flags.
fn by_lease(effort: Effort, round: u32, found: &mut Found) -> Result<(), String> {
    let cluster = Cluster::start(&[])?;
    let port = cluster.leader_port()?;
    closed_loop::fill::<Resp>(port)?;
    for (runs, per_second) in found.with_redis.iter_mut().zip(redis_shapes(effort, port)?) {
        runs.ours.push(per_second);
    }
    for (runs, tasks) in found.with_etcd.iter_mut().zip([50, 1]) {
        runs.ours.push(closed_loop::run::<Resp>(port, effort.load(tasks, 0))?.per_second);
    }
    // One after the other on the same nodes, in reverse order in the next round.
    let mut order = [0, 5];
    if round % 2 == 1 {
        order.reverse();
    }
    for writes in order {
        let p99 = p99_micros(&closed_loop::run::<Resp>(port, effort.load(50, writes))?);
        if writes == 0 { &mut found.p99.theirs } else { &mut found.p99.ours }.push(p99);
        if writes == 0 {
            found.ours_p99.push(p99 / 1e3);
        }
    }
    Ok(())
}

/// Measures three nodes without leases.
fn by_quorum(effort: Effort, _round: u32, found: &mut Found) -> Result<(), String> {
    let cluster = Cluster::start(&["--reads", "quorum"])?;
    let port = cluster.leader_port()?;
    closed_loop::fill::<Resp>(port)?;
    let outcome = closed_loop::run::<Resp>(port, effort.load(50, 0))?;
    found.quorum.push(outcome.per_second);
    found.quorum_p99.push(p99_micros(&outcome) / 1e3);
    Ok(())
}

fn of_redis(effort: Effort, _round: u32, found: &mut Found) -> Result<(), String> {
    let Some(redis) = Redis::start(Keeps::Nothing)? else { return Ok(()) };
    for (runs, per_second) in found.with_redis.iter_mut().zip(redis_shapes(effort, redis.port)?) {
        runs.theirs.push(per_second);
    }
    closed_loop::fill::<Resp>(redis.port)?;
    found.redis_in_the_loop.push(closed_loop::run::<Resp>(redis.port, effort.load(50, 0))?.per_second);
    Ok(())
}

fn of_etcd(effort: Effort, _round: u32, found: &mut Found) -> Result<(), String> {
    let Some(etcd) = Etcd::start()? else { return Ok(()) };
    closed_loop::fill::<Client>(etcd.leader_port)?;
    for (runs, tasks) in found.with_etcd.iter_mut().zip([50, 1]) {
        let outcome = closed_loop::run::<Client>(etcd.leader_port, effort.load(tasks, 0))?;
        runs.theirs.push(outcome.per_second);
        if tasks == 50 {
            found.etcd_p99.push(p99_micros(&outcome) / 1e3);
        }
    }
    Ok(())
}

/// Returns the requests per second that redis-benchmark measures, or nothing if it is missing.
fn redis_shapes(effort: Effort, port: u16) -> Result<Vec<f64>, String> {
    if !is_installed("redis-benchmark") {
        return Ok(Vec::new());
    }
    redis_benchmark::run(port, redis_benchmark::FILL)?;
    let scaled = |shape: Shape| Shape { requests: shape.requests * effort.scale, ..shape };
    SHAPES.iter().map(|(_, shape)| Ok(redis_benchmark::run(port, scaled(*shape))?.per_second)).collect()
}

fn p99_micros(outcome: &Outcome) -> f64 {
    outcome.gets.value_at_quantile(0.99) as f64
}

fn report(effort: Effort, found: &Found) -> Report {
    const RATE: &str = "a second";
    let mut rows = Vec::new();
    for ((name, _), runs) in SHAPES.iter().zip(&found.with_redis) {
        rows.push(runs.row(*name, RATE, Some(Target::AtLeast(1.0))));
    }
    let [many, one] = &found.with_etcd;
    let in_the_loop = Runs { ours: many.ours.clone(), theirs: found.redis_in_the_loop.clone() };
    rows.push(in_the_loop.row("GET, 50 clients of the closed loop / redis-server", RATE, None));
    let quorum = Runs { ours: found.quorum.clone(), theirs: many.theirs.clone() };
    rows.push(many.row("GET, 50 clients / etcd, linearizable", RATE, Some(Target::AtLeast(5.0))));
    rows.push(one.row("GET, 1 client / etcd, linearizable", RATE, Some(Target::AtLeast(6.0))));
    rows.push(quorum.row("--reads quorum, 50 clients / etcd, linearizable", RATE, Some(Target::AtLeast(3.0))));
    rows.push(found.p99.row("p99 of GET, with 5 % SET / GET only", "us", Some(Target::AtMost(1.5))));
    let p99 = |runs: &[f64]| median(runs).map_or("-".to_owned(), |millis| format!("{millis:.2} ms"));
    let mut notes = vec![
        format!(
            "p99 at 50 connections: by lease {}, by quorum {}, etcd {}.",
            p99(&found.ours_p99),
            p99(&found.quorum_p99),
            p99(&found.etcd_p99)
        ),
        "Rows with redis-server: redis-benchmark against one redis-server that keeps nothing on disk and has no \
         replicas, and against our leader. Rows with etcd, and the p99: the same closed loop for both, a tokio task \
         for each client, all on one thread, connected to the leader; RESP with a connection per client for ours, gRPC \
         through tonic for etcd, whose clients share an HTTP/2 connection because that is fastest. Every write of ours \
         and of etcd's is synced on a quorum, on the same disk. Clients and servers share this machine's cores; the \
         servers run one at a time."
            .to_owned(),
    ];
    if found.with_redis[0].theirs.is_empty() || found.with_redis[0].ours.is_empty() {
        notes.push(redis::ABSENT.to_owned());
    }
    if many.theirs.is_empty() {
        notes.push(etcd::ABSENT.to_owned());
    }
    Report {
        title: format!("Reads of three nodes, medians of {} runs in alternating order", effort.rounds),
        ours: "leasehold",
        peer: "peer",
        rows,
        notes,
    }
}
