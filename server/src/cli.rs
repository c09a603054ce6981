//! The command line.

mod serve;
mod trace;

use clap::{Parser, Subcommand, ValueEnum};
use std::process::ExitCode;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// A replicated key-value server that speaks the Redis protocol and answers reads from a leader's lease.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one node of a cluster.
    Serve(serve::ServeArguments),
    /// Runs a whole cluster in this process, to look at or to put under load.
    Demo(crate::demo::DemoArguments),
    /// Replays a recording of a lease through fresh machines, and prints what each input causes.
    Trace(trace::TraceArguments),
}

/// Which asynchronous runtime carries a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeChoice {
    Tokio,
    Smol,
}

/// What goes on when the command was not understood; clap uses the same code.
const BAD_FLAGS: u8 = 2;
const FAILED: u8 = 1;

/// Does what the command line says, and returns the process's exit code.
pub fn run(cli: Cli) -> ExitCode {
    // The raft engine logs through slog, at length.
    let usual = match &cli.command {
        Command::Serve(_) => "info,raft=warn,slog=warn",
        // It has a table to show, and kills a node on purpose.
        Command::Demo(_) | Command::Trace(_) => "off",
    };
    // Not `EnvFilter`: filters by span and field would build a second copy of the regex engine.
    let chosen = std::env::var("RUST_LOG").ok().and_then(|targets| targets.parse().ok());
    let filter: Targets = chosen.unwrap_or_else(|| usual.parse().expect("the usual filter is valid"));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(log).init();
    match cli.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Demo(arguments) => crate::demo::run(arguments),
        Command::Trace(arguments) => trace::run(arguments),
    }
}

fn fail(code: u8, what: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {what}");
    ExitCode::from(code)
}
