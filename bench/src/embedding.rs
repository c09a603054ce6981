//! A read in each of the ways to embed the lease, next to the lease read of the engine itself.

mod attached;
mod openraft;
mod own;

use crate::effort::Effort;
use crate::report::{Report, Row};
use leasehold_clock::SystemClock;
use leasehold_core::{Config, Options};
use std::time::Duration;

/// A lease that outlasts the measurement of an engine that stands still.
const LONG_HOLD: Duration = Duration::from_secs(60);

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    let clock = SystemClock::new().map_err(|error| error.to_string())?;
    let effort = if quick {
        Effort { runs: 3, lasts: Duration::from_millis(20) }
    } else {
        Effort { runs: 15, lasts: Duration::from_millis(80) }
    };
    let options = Options::new(LONG_HOLD, 1000).with_heartbeat(Duration::from_millis(100));
    let timing = Config::new(options).map_err(|error| error.to_string())?;
    let mut rows: Vec<Row> = vec![own::read(&clock, timing, effort)?, attached::read(&clock, timing, effort)?];
    rows.extend(openraft::reads(clock, effort)?);
    let mut notes = vec![
        "Ours reads both clocks for each read. openraft is one node with its log in memory, whose heartbeats renew both \
         leases; the raft crate is a leader of three."
            .to_owned(),
        format!("raft LeaseBased is stale in these schedules of docs/evidence.md: {}.", stale("`raft` `LeaseBased`")?),
        format!("openraft LeaseRead is stale in these: {}.", stale("openraft `LeaseRead`")?),
        format!("Ours on openraft is stale in these: {}.", stale("ours on openraft")?),
    ];
    if cfg!(debug_assertions) {
        notes.push("THIS IS A DEBUG BUILD: the figures are meaningless. Use cargo run --release.".to_owned());
    }
    Ok(Report {
        title: format!("A read by lease, by the way to embed it: medians of {} runs in alternating order", effort.runs),
        ours: "leasehold",
        peer: "native",
        rows,
        notes,
    })
}

/// Returns the schedules of the catalogue in which a system is stale. A test compares that table with what is observed.
fn stale(system: &str) -> Result<String, String> {
    let docs = include_str!("../../docs/evidence.md");
    let table = docs.lines().skip_while(|line| !line.starts_with("| scenario | ours |"));
    let rows: Vec<Vec<&str>> =
        table.take_while(|line| line.starts_with('|')).map(|row| row.split(" | ").collect()).collect();
    let column = rows.first().and_then(|heading| heading.iter().position(|cell| *cell == system));
    let column = column.ok_or_else(|| format!("docs/evidence.md has no column {system}"))?;
    let names = rows.iter().filter(|row| row.get(column).is_some_and(|cell| cell.contains("stale read")));
    let names: Vec<&str> = names.map(|row| row[0].trim_matches(['|', ' ', '`'])).collect();
    Ok(if names.is_empty() { "none".to_owned() } else { names.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::stale;

    #[test]
    fn the_schedules_in_which_a_system_is_stale_are_those_of_the_catalogue() {
        let of = |system| stale(system).expect("a column");
        assert!(of("`raft` `LeaseBased`").contains("check_quorum_is_no_lease"));
        assert!(of("openraft `LeaseRead`").contains("suspended_leader"));
        assert_eq!(of("ours on openraft"), "none");
        assert!(stale("another").is_err());
    }
}
