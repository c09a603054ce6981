//! The `leasehold` binary; what it does is in the library.

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    leasehold::cli::run(leasehold::cli::Cli::parse())
}
