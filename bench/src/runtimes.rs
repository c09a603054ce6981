//! The same workload on each runtime, in alternating order, and the cost of the trait through which they are used.

mod echo;

use crate::cluster::Cluster;
use crate::redis_benchmark::{self, Shape};
use crate::report::{Report, Row, Runs};
use std::collections::BTreeMap;

const RUNTIMES: [&str; 2] = ["tokio", "smol"];

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    redis_benchmark::require()?;
    let (rounds, scale) = if quick { (1, 1) } else { (5, 10) };
    let get = Shape { test: "get", clients: 50, pipeline: 1, requests: 20_000 * scale };
    let piped = Shape { test: "get", clients: 50, pipeline: 16, requests: 100_000 * scale };
    let set = Shape { test: "set", clients: 50, pipeline: 1, requests: 4_000 * scale };
    let mut found: BTreeMap<&str, Runs> = BTreeMap::new();
    for round in 0..rounds {
        // The first of one round is the last of the next.
        let order: Vec<usize> = if round % 2 == 0 { vec![0, 1] } else { vec![1, 0] };
        for at in order {
            let cluster = Cluster::start(&["--runtime", RUNTIMES[at]])?;
            let port = cluster.leader_port()?;
            redis_benchmark::run(port, redis_benchmark::FILL)?;
            let before = cluster.processor_seconds()?;
            let reads = redis_benchmark::run(port, get)?;
            let after = cluster.processor_seconds()?;
            let mut note = |name, value| {
                let runs = found.entry(name).or_default();
                if at == 0 { &mut runs.ours } else { &mut runs.theirs }.push(value);
            };
            note("GET -c 50, a second", reads.per_second);
            note("GET -c 50, p99 ms", reads.p99_millis);
            note("GET, CPU us each, all nodes", (after - before) * 1e6 / f64::from(get.requests));
            note("GET -c 50 -P 16, a second", redis_benchmark::run(port, piped)?.per_second);
            let writes = redis_benchmark::run(port, set)?;
            note("SET -c 50, a second", writes.per_second);
            note("SET -c 50, p99 ms", writes.p99_millis);
            let resident = cluster.usage()?.iter().map(|node| node.resident).fold(0.0, f64::max);
            note("resident, largest node, MiB", resident);
        }
    }
    let mut rows: Vec<Row> = found.iter().map(|(name, runs)| runs.row(*name, "", None)).collect();
    rows.extend(echo::rows(quick)?);
    Ok(Report {
        title: format!("Three nodes on each runtime, medians of {rounds} runs in alternating order"),
        ours: RUNTIMES[0],
        peer: RUNTIMES[1],
        rows,
        notes: vec![
            "Clients and servers share this machine's cores. The rows of echoes are of one process, whose clients' processor \
             time is not counted; there, compare the two ways of one runtime."
                .to_owned(),
        ],
    })
}
