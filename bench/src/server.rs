//! Three nodes beside one redis-server: what linearizability and durability cost, and what the lease saves.

use crate::cluster::Cluster;
use crate::load::{self, Shape};
use crate::report::{Report, Row, Target, median, spread};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    /// A redis-server that keeps nothing on disk: the fastest it can be.
    fn start() -> Option<Redis> {
        if !load::is_installed("redis-server") {
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"])
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        std::thread::sleep(Duration::from_secs(1));
        Some(Redis { process, port })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Killed or already gone: both are the end of it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    load::require()?;
    let (rounds, scale) = if quick { (1, 1) } else { (5, 10) };
    let shape = |test, clients, pipeline, requests: u32| Shape { test, clients, pipeline, requests: requests * scale };
    let loads = [
        ("GET -c 50", shape("get", 50, 1, 20_000), Some(Target::AtLeast(1.0))),
        ("GET -c 50 -P 16", shape("get", 50, 16, 100_000), Some(Target::AtLeast(1.0))),
        ("GET -c 1", shape("get", 1, 1, 4_000), Some(Target::AtLeast(1.0))),
        ("SET -c 50 (three synced disks)", shape("set", 50, 1, 4_000), None),
        ("SET -c 1 (three synced disks)", shape("set", 1, 1, 300), None),
    ];
    let mut ours = vec![Vec::new(); loads.len()];
    let mut theirs = vec![Vec::new(); loads.len()];
    let mut p99 = vec![Vec::new(); loads.len()];
    for round in 0..rounds {
        let mut of_cluster = || -> Result<(), String> {
            let cluster = Cluster::start(&[])?;
            let port = cluster.leader_port().ok_or("the leader was lost")?;
            for (at, (_, shape, _)) in loads.iter().enumerate() {
                let measured = load::run(port, *shape)?;
                ours[at].push(measured.per_second);
                p99[at].push(measured.p99_millis);
            }
            Ok(())
        };
        let mut of_redis = || -> Result<(), String> {
            let Some(redis) = Redis::start() else { return Ok(()) };
            for (at, (_, shape, _)) in loads.iter().enumerate() {
                theirs[at].push(load::run(redis.port, *shape)?.per_second);
            }
            Ok(())
        };
        // Whoever comes first in one round comes last in the next.
        if round % 2 == 0 {
            of_cluster()?;
            of_redis()?;
        } else {
            of_redis()?;
            of_cluster()?;
        }
    }
    let rows = loads.iter().enumerate().map(|(at, (name, _, target))| {
        let ratios: Vec<f64> = ours[at].iter().zip(&theirs[at]).map(|(ours, theirs)| ours / theirs).collect();
        Row {
            name: (*name).to_owned(),
            ours: median(&ours[at]),
            peer: (!theirs[at].is_empty()).then(|| median(&theirs[at])),
            unit: "a second",
            spread: if ratios.is_empty() { spread(&ours[at]) } else { spread(&ratios) },
            target: *target,
        }
    });
    let rows = rows.collect();
    let latencies: Vec<String> =
        loads.iter().zip(&p99).map(|((name, ..), runs)| format!("{name}: {:.2} ms", median(runs))).collect();
    let mut notes = vec![
        format!("p99 of ours: {}.", latencies.join("; ")),
        "redis-server keeps nothing on disk and has no replicas; ours are three nodes that sync every write on a quorum. \
         Clients and servers share this machine's cores."
            .to_owned(),
    ];
    if theirs[0].is_empty() {
        notes.push(
            "redis-server is not installed, so there is no peer; on Debian: apt-get install redis-server".to_owned(),
        );
    }
    Ok(Report {
        title: format!("Three nodes beside redis-server, medians of {rounds} runs in alternating order"),
        ours: "leasehold",
        peer: "redis",
        rows,
        notes,
    })
}
