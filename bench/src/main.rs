//! `leasehold-bench`: what Leasehold costs, beside something with a name, measured in the same run.
//!
//! Every command prints a table for people, or with `--json` an array of rows
//! `{name, ours, peer, unit, ratio, spread, target, met}` for programs. `met` is null where there is no target or no peer.

mod cluster;
mod congestion;
mod idle;
mod load;
mod report;
mod runtimes;
mod server;

use clap::{Args, Parser, Subcommand};
use report::Report;
use std::process::ExitCode;

/// Benchmarks of Leasehold beside its peers.
#[derive(Parser)]
#[command(name = "leasehold-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A cluster whose appends and quorum reads are slower than its lease: ours beside two published designs.
    Congestion(Common),
    /// The same workload on tokio and on smol: throughput, latency, CPU, memory.
    Runtimes(Common),
    /// Three nodes beside redis-server, driven by redis-benchmark.
    Server(Common),
    /// What a cluster costs that nobody uses.
    Idle(Common),
}

#[derive(Args, Clone, Copy)]
struct Common {
    /// Print JSON rows and nothing else.
    #[arg(long)]
    json: bool,
    /// Fewer and shorter runs: to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let (outcome, common): (Result<Report, String>, Common) = match Cli::parse().command {
        Command::Congestion(common) => (Ok(congestion::run(common.quick)), common),
        Command::Runtimes(common) => (runtimes::run(common.quick), common),
        Command::Server(common) => (server::run(common.quick), common),
        Command::Idle(common) => (idle::run(common.quick), common),
    };
    match outcome {
        Ok(report) => {
            report.print(common.json);
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}
