//! The lease in this process: the cost of a read and of an acknowledgement, compared with the clock and with other
//! engines.
//!
//! A read writes no shared memory: `LeaseCell::try_read` takes `&self` and consists of loads. Two readers on two cores
//! confirm this.

mod acks;
mod engine;
mod instructions;
mod local;
mod openraft;

use crate::effort::Effort;
use crate::report::{Report, Row};
use leasehold_clock::SystemClock;
use std::time::Duration;

pub(crate) use instructions::{Turns, of_local_reads};

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    let clock = SystemClock::new().map_err(|error| error.to_string())?;
    let effort = if quick {
        Effort { runs: 5, lasts: Duration::from_millis(30) }
    } else {
        Effort { runs: 25, lasts: Duration::from_millis(100) }
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut notes = vec![
        "Ours is LeaseCell::try_read; with a fresh sample, both clocks are read for each read. No read and no \
         acknowledgement allocated memory, which was checked; a read only loads, so it writes no shared memory."
            .to_owned(),
    ];
    rows.extend(local::one_thread(&clock, effort));
    match local::two_threads(&clock, effort)? {
        Some(two) => rows.extend(two),
        None => notes.push("Two readers need two cores; this process may use only one.".to_owned()),
    }
    rows.push(engine::lease_based(&clock, effort)?);
    let (beside_openraft, schedulers) = openraft::lease_reads(&clock, effort)?;
    rows.extend(beside_openraft);
    notes.push(schedulers);
    rows.extend(acks::acks(effort)?);
    match instructions::counted(quick) {
        Ok(counted) => rows.extend(counted),
        Err(reason) => notes.push(format!("Instructions were not counted: {reason}")),
    }
    notes.push(
        "A peer called `limit` is the target itself. openraft is one node with its log in memory, on the faster of \
         tokio's two schedulers; raft's LeaseBased is a leader of three on one thread, driven as its documentation \
         says. It uses no clock, so its reads can be stale."
            .to_owned(),
    );
    if cfg!(debug_assertions) {
        notes.push("THIS IS A DEBUG BUILD: the figures are meaningless. Use cargo run --release.".to_owned());
    }
    Ok(Report {
        title: format!("A read in this process: medians of {} runs in alternating order", effort.runs),
        ours: "leasehold",
        peer: "peer",
        rows,
        notes,
    })
}
