//! The cost of an idle cluster.

use crate::cluster::Cluster;
use crate::report::{Report, Runs};
use std::time::Duration;

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    let (intervals, interval) = if quick { (1, Duration::from_secs(5)) } else { (5, Duration::from_secs(10)) };
    let cluster = Cluster::start(&[])?;
    // Starting is not part of the measurement.
    std::thread::sleep(Duration::from_secs(1));
    let (mut busiest, mut largest) = (Runs::default(), Runs::default());
    for _ in 0..intervals {
        let before = cluster.usage()?;
        std::thread::sleep(interval);
        let after = cluster.usage()?;
        let shares = before.iter().zip(&after).map(|(before, after)| (after.cpu - before.cpu) / interval.as_secs_f64());
        busiest.ours.push(shares.fold(0.0, f64::max) * 100.0);
        largest.ours.push(after.iter().map(|node| node.resident).fold(0.0, f64::max));
    }
    Ok(Report {
        title: format!("Three idle nodes, measured {intervals} times for {} s", interval.as_secs()),
        ours: "leasehold",
        peer: "limit",
        rows: vec![
            busiest.row_within("processor, the busiest node", "% of one", 1.0),
            largest.row_within("resident, the largest node", "MiB", 30.0),
        ],
        notes: Vec::new(),
    })
}
