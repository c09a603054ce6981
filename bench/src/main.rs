//! `leasehold-bench`: the cost of Leasehold next to that of a named peer, measured in the same run.
//!
//! Every command prints a table for people, or with `--json` an array of rows `{name, ours, peer, unit, ratio, spread,
//! target, met}` for programs. In a row's name the peer follows a slash. `met` is null where there is no target or no
//! peer.
//!
//! The peers, on Debian: `apt-get install redis-server redis-tools etcd-server valgrind`. Without a peer its rows are
//! incomplete. The server measured is the release build in cargo's target folder, which is built first if it is missing
//! or older than its sources; `LEASEHOLD_BINARY` names another. Servers keep their data in cargo's target folder, which
//! must be on a disk.

mod allocation;
mod children;
mod closed_loop;
mod cluster;
mod congestion;
mod effort;
mod embedding;
mod etcd;
mod groups;
mod idle;
mod interference;
mod local;
mod progress;
mod reads;
mod redis;
mod redis_benchmark;
mod report;
mod runtimes;
mod server;
mod spread;
mod stopwatch;
mod writes;

use clap::{Args, Parser, Subcommand};
use report::Report;
use std::process::ExitCode;

/// Benchmarks of Leasehold next to its peers.
#[derive(Parser)]
#[command(name = "leasehold-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lease reads and acknowledgements in this process, next to the clock, openraft and the raft crate.
    Reads(Common),
    /// A read in each way to embed the lease, next to the engine's own lease read, and where that is stale.
    Embedding(Common),
    /// Reads from three nodes through sockets, next to redis-server and three nodes of etcd.
    Server(Common),
    /// Writes to three nodes, synced on a quorum, next to three nodes of etcd and a redis-server that syncs.
    Writes(Common),
    /// The same workload on tokio and on smol: throughput, latency, CPU, memory.
    Runtimes(Common),
    /// A cluster whose appends and quorum reads are slower than its lease, next to two published designs.
    Congestion(Common),
    /// The cost of an idle cluster.
    Idle(Common),
    /// Many groups on three nodes: idle, reading and writing, and while one of them is in trouble.
    Groups(Common),
    /// Groups led by three nodes next to one group: on this machine, and on simulated machines of their own.
    Spread(Common),
    /// Local reads: GETs at followers with subleases, next to the leader's and to read indexes, and what writes pay.
    Local(Common),
    /// GETs of one client while others repeat KEYS * over a large keyspace, next to redis-server.
    Interference {
        #[command(flatten)]
        size: interference::Size,
        #[command(flatten)]
        common: Common,
    },
    /// Repeats one operation and prints nothing. `reads` runs this under valgrind.
    #[command(hide = true)]
    Turns { what: reads::Turns, times: u32 },
}

#[derive(Args, Clone, Copy)]
struct Common {
    /// Print JSON rows and nothing else.
    #[arg(long)]
    json: bool,
    /// Fewer and shorter runs, to try the benchmark. Do not quote the figures.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// A benchmark, which takes whether to be quick.
type Benchmark = fn(bool) -> Result<Report, String>;

fn run(command: Command) -> Result<(), String> {
    let (benchmark, common): (Benchmark, Common) = match command {
        Command::Turns { what, times } => return what.take(times),
        Command::Interference { size, common } => {
            children::end_with_this_program()?;
            progress::show(|| interference::run(size, common.quick))?.print(common.json);
            return Ok(());
        }
        Command::Reads(common) => (reads::run, common),
        Command::Embedding(common) => (embedding::run, common),
        Command::Server(common) => (server::run, common),
        Command::Writes(common) => (writes::run, common),
        Command::Runtimes(common) => (runtimes::run, common),
        Command::Congestion(common) => (|quick| Ok(congestion::run(quick)), common),
        Command::Idle(common) => (idle::run, common),
        Command::Groups(common) => (groups::run, common),
        Command::Spread(common) => (spread::run, common),
        Command::Local(common) => (local::run, common),
    };
    children::end_with_this_program()?;
    progress::show(|| benchmark(common.quick))?.print(common.json);
    Ok(())
}
