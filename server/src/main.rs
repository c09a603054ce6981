//! The `leasehold` binary; what it does is in the library.

use clap::Parser as _;
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A write's memory is given back by another thread than the one that took it, which the system's own allocator is slow at.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    leasehold::cli::run(leasehold::cli::Cli::parse())
}
