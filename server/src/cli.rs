//! The command line.

mod backup;
mod ctl;
mod exit;
mod restore;
mod security;
mod serve;
mod trace;

use crate::demo::{self, DemoArguments};
use crate::logging;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

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
    Serve(Box<serve::ServeArguments>),
    /// Runs a whole cluster in this process, to try it or to load it.
    Demo(DemoArguments),
    /// Describes a running cluster and changes its members.
    Ctl(ctl::CtlArguments),
    /// Takes a backup from a running node.
    Backup(backup::BackupArguments),
    /// Writes the data folder of a node of a new cluster from a backup.
    Restore(restore::RestoreArguments),
    /// Replays the recording of a lease with new machines, and prints the effect of each input.
    Trace(trace::TraceArguments),
}

/// Executes the command line and returns the exit code of the process.
pub fn run(cli: Cli) -> ExitCode {
    // The raft engine logs at length.
    let default = match &cli.command {
        Command::Serve(_) => "info,raft=warn",
        // The demo prints a table, and kills a node on purpose.
        Command::Demo(_) | Command::Trace(_) => "off",
        Command::Backup(_) | Command::Restore(_) | Command::Ctl(_) => "warn",
    };
    logging::start(default);
    match cli.command {
        Command::Serve(arguments) => serve::run(*arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Ctl(arguments) => ctl::run(arguments),
        Command::Backup(arguments) => backup::run(arguments),
        Command::Restore(arguments) => restore::run(arguments),
        Command::Trace(arguments) => trace::run(arguments),
    }
}
