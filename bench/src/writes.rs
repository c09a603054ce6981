//! Writes that are synced on a quorum before they are acknowledged, next to etcd's; and next to a single redis-server
//! that syncs.

use crate::children::is_installed;
use crate::closed_loop::{self, Connection, Load, etcd::Client, resp::Resp};
use crate::cluster::Cluster;
use crate::etcd::{self, Etcd};
use crate::redis::{self, Keeps, Redis};
use crate::redis_benchmark::{self, Shape};
use crate::report::{Report, Runs, Target, median};
use std::time::Duration;

const SHAPES: [(&str, Shape); 2] = [
    ("SET -c 50 / redis-server, appendfsync always", Shape { test: "set", clients: 50, pipeline: 1, requests: 4_000 }),
    ("SET -c 1 / redis-server, appendfsync always", Shape { test: "set", clients: 1, pipeline: 1, requests: 200 }),
];

/// The size of the measurement.
#[derive(Clone, Copy)]
struct Effort {
    rounds: u32,
    scale: u32,
    lasts: Duration,
}

/// The results of each run.
#[derive(Default)]
struct Found {
    /// With 50 connections and with one.
    with_etcd: [Runs; 2],
    with_redis: [Runs; 2],
    /// The 99th percentile, in milliseconds.
    p99: [Runs; 2],
}

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    let effort = if quick {
        Effort { rounds: 1, scale: 1, lasts: Duration::from_secs(1) }
    } else {
        Effort { rounds: 7, scale: 6, lasts: Duration::from_secs(3) }
    };
    let mut found = Found::default();
    for round in 0..effort.rounds {
        let mut parts = [of_ours, of_etcd, of_redis];
        // The first of one round is the last of the next.
        if round % 2 == 1 {
            parts.reverse();
        }
        for part in parts {
            part(effort, &mut found)?;
        }
    }
    Ok(report(effort, &found))
}

fn of_ours(effort: Effort, found: &mut Found) -> Result<(), String> {
    let cluster = Cluster::start(&[])?;
    let port = cluster.leader_port()?;
    for (at, (per_second, p99)) in synced_writes::<Resp>(effort, port)?.into_iter().enumerate() {
        found.with_etcd[at].ours.push(per_second);
        found.p99[at].ours.push(p99);
    }
    for (runs, per_second) in found.with_redis.iter_mut().zip(redis_shapes(effort, port)?) {
        runs.ours.push(per_second);
    }
    Ok(())
}

fn of_etcd(effort: Effort, found: &mut Found) -> Result<(), String> {
    let Some(etcd) = Etcd::start()? else { return Ok(()) };
    for (at, (per_second, p99)) in synced_writes::<Client>(effort, etcd.leader_port)?.into_iter().enumerate() {
        found.with_etcd[at].theirs.push(per_second);
        found.p99[at].theirs.push(p99);
    }
    Ok(())
}

fn of_redis(effort: Effort, found: &mut Found) -> Result<(), String> {
    let Some(redis) = Redis::start(Keeps::EveryWrite)? else { return Ok(()) };
    for (runs, per_second) in found.with_redis.iter_mut().zip(redis_shapes(effort, redis.port)?) {
        runs.theirs.push(per_second);
    }
    Ok(())
}

/// Returns writes per second and their 99th percentile in milliseconds, with 50 connections and with one.
fn synced_writes<C: Connection>(effort: Effort, port: u16) -> Result<Vec<(f64, f64)>, String> {
    closed_loop::fill::<C>(port)?;
    let run = |tasks| {
        let outcome = closed_loop::run::<C>(port, Load { tasks, pipeline: 1, writes: 100, lasts: effort.lasts })?;
        Ok((outcome.per_second, outcome.sets.value_at_quantile(0.99) as f64 / 1e3))
    };
    [50, 1].into_iter().map(run).collect()
}

/// Returns the requests per second that redis-benchmark measures, or nothing if it is missing.
fn redis_shapes(effort: Effort, port: u16) -> Result<Vec<f64>, String> {
    if !is_installed("redis-benchmark") {
        return Ok(Vec::new());
    }
    let scaled = |shape: Shape| Shape { requests: shape.requests * effort.scale, ..shape };
    SHAPES.iter().map(|(_, shape)| Ok(redis_benchmark::run(port, scaled(*shape))?.per_second)).collect()
}

fn report(effort: Effort, found: &Found) -> Report {
    const RATE: &str = "a second";
    let [many, one] = &found.with_etcd;
    let mut rows = vec![
        many.row("SET, 50 clients / etcd put", RATE, Some(Target::AtLeast(3.0))),
        one.row("SET, 1 client / etcd put", RATE, Some(Target::AtLeast(2.0))),
    ];
    let latencies = ["p99 of SET, 50 clients / etcd put", "p99 of SET, 1 client / etcd put"];
    rows.extend(latencies.iter().zip(&found.p99).map(|(name, runs)| runs.row(*name, "ms", None)));
    rows.extend(SHAPES.iter().zip(&found.with_redis).map(|((name, _), runs)| runs.row(*name, RATE, None)));
    let mut notes = vec![
        "Every write is on the disks of two of three nodes before it is acknowledged, ours and etcd's; all of them use \
         one disk and one file system. One closed loop for both, a tokio task for each client, all on one thread, each to \
         its leader; RESP with a connection a client for ours, gRPC through tonic for etcd, whose clients share an HTTP/2 \
         connection, because that serves them best. The rows next to redis-server are for information: \
         it is alone, and syncs one file. Clients and servers share this machine's cores; peers run one at a time."
            .to_owned(),
    ];
    if many.theirs.is_empty() {
        notes.push(etcd::ABSENT.to_owned());
    }
    if found.with_redis[0].theirs.is_empty() || found.with_redis[0].ours.is_empty() {
        notes.push(redis::ABSENT.to_owned());
    }
    if let (Some(ours), Some(etcd)) = (median(&one.ours), median(&one.theirs)) {
        notes.push(format!("A single write takes {:.0} us; etcd's takes {:.0} us.", 1e6 / ours, 1e6 / etcd));
    }
    Report {
        title: format!("Writes of three nodes, medians of {} runs in alternating order", effort.rounds),
        ours: "leasehold",
        peer: "peer",
        rows,
        notes,
    }
}
