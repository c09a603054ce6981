//! Executes the runbook on real processes under load, and prints each command and what `leasehold ctl status` says.
//!
//! `cargo run --release -p leasehold-tests --bin runbook`, and with `-- --churn 200` instead so many changes of the members
//! that are drawn at random while nodes fail.

use clap::Parser;
use leasehold_tests::churn;
use leasehold_tests::runbook::{self, Options};
use std::process::ExitCode;
use std::time::Duration;

/// Executes the runbook on real processes under load. Exits with 1 if a read was stale or a write was lost.
#[derive(Debug, Parser)]
struct Arguments {
    /// The hold of the nodes.
    #[arg(long, value_name = "MS", default_value = "1000")]
    hold_ms: u64,
    /// The runtime of the nodes: tokio or smol.
    #[arg(long, default_value = "tokio")]
    runtime: String,
    /// The seconds for which clients go on after each step.
    #[arg(long, value_name = "S", default_value = "1")]
    pause_s: u64,
    /// Make so many changes of the members at random instead, while nodes fail.
    #[arg(long, value_name = "STEPS")]
    churn: Option<u64>,
    /// The seed of those choices.
    #[arg(long, default_value = "1")]
    seed: u64,
    /// The number of groups of that cluster.
    #[arg(long, default_value = "1")]
    groups: u64,
}

fn main() -> ExitCode {
    let Arguments { hold_ms, runtime, pause_s, churn, seed, groups } = Arguments::parse();
    let counts = match churn {
        Some(steps) => churn::run(&churn::Options { steps, seed, hold_ms, runtime, groups }),
        None => runbook::run(&Options { hold_ms, runtime, pause: Duration::from_secs(pause_s) }),
    };
    println!("{counts:?}");
    if (counts.stale, counts.lost) == (0, 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
