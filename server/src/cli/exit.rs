//! Exit codes.

use std::process::ExitCode;

/// The command line was not understood; clap uses the same code.
pub(super) const BAD_FLAGS: u8 = 2;
/// The command failed.
pub(super) const FAILED: u8 = 1;
/// The node was removed from its cluster: starting it again is of no use.
pub(super) const REMOVED: u8 = 3;

/// Prints an error and returns the exit code.
pub(super) fn fail(code: u8, error: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}
