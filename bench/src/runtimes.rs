//! The same workload on each runtime, in turns.

use crate::cluster::Cluster;
use crate::load::{self, Shape};
use crate::report::{Report, Row, median, spread};
use std::collections::BTreeMap;

const RUNTIMES: [&str; 2] = ["tokio", "smol"];

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    load::require()?;
    let (rounds, scale) = if quick { (1, 1) } else { (5, 10) };
    let get = Shape { test: "get", clients: 50, pipeline: 1, requests: 20_000 * scale };
    let piped = Shape { test: "get", clients: 50, pipeline: 16, requests: 100_000 * scale };
    let set = Shape { test: "set", clients: 50, pipeline: 1, requests: 4_000 * scale };
    let mut runs: BTreeMap<(usize, &str), Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        // Whoever comes first in one round comes last in the next.
        let order: Vec<usize> = if round % 2 == 0 { vec![0, 1] } else { vec![1, 0] };
        for at in order {
            let cluster = Cluster::start(&["--runtime", RUNTIMES[at]])?;
            let port = cluster.leader_port().ok_or("the leader was lost")?;
            load::run(port, set)?;
            let before = cluster.usage();
            let reads = load::run(port, get)?;
            let after = cluster.usage();
            let mut note = |name, value| runs.entry((at, name)).or_default().push(value);
            note("GET -c 50, a second", reads.per_second);
            note("GET -c 50, p99 ms", reads.p99_millis);
            note("GET, CPU us each, all nodes", (after.cpu - before.cpu) * 1e6 / f64::from(get.requests));
            note("GET -c 50 -P 16, a second", load::run(port, piped)?.per_second);
            let writes = load::run(port, set)?;
            note("SET -c 50, a second", writes.per_second);
            note("SET -c 50, p99 ms", writes.p99_millis);
            note("resident, largest node", cluster.usage().resident);
        }
    }
    let names = runs.keys().filter(|(at, _)| *at == 0).map(|(_, name)| *name);
    let rows = names.map(|name| {
        let (tokio, smol) = (&runs[&(0, name)], &runs[&(1, name)]);
        let ratios: Vec<f64> = tokio.iter().zip(smol).map(|(tokio, smol)| tokio / smol).collect();
        Row {
            name: name.to_owned(),
            ours: median(tokio),
            peer: Some(median(smol)),
            unit: if name.contains("resident") { "MiB" } else { "" },
            spread: spread(&ratios),
            target: None,
        }
    });
    Ok(Report {
        title: format!("Three nodes on each runtime, medians of {rounds} runs in alternating order"),
        ours: RUNTIMES[0],
        peer: RUNTIMES[1],
        rows: rows.collect(),
        notes: vec!["Clients and servers share this machine's cores.".to_owned()],
    })
}
