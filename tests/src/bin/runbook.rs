//! Executes the runbook on real processes under load, and prints each command and what `leasehold ctl status` says.
//!
//! `cargo run --release -p leasehold-tests --bin runbook`

use clap::Parser;
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
}

fn main() -> ExitCode {
    let Arguments { hold_ms, runtime, pause_s } = Arguments::parse();
    let counts = runbook::run(&Options { hold_ms, runtime, pause: Duration::from_secs(pause_s) });
    if (counts.stale, counts.lost) == (0, 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
