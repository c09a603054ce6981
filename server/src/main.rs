//! The `leasehold` binary. The library contains its code.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// The memory of a write is freed by another thread than the one that allocated it, which is slow with the system's
/// allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    leasehold::cli::main()
}
