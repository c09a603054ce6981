//! `leasehold trace`.

use super::{FAILED, fail};
use crate::recording::replay;
use clap::Args;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// What `trace` is told.
#[derive(Args, Debug)]
pub(crate) struct TraceArguments {
    /// The recording: one input a line, as `serve --record` writes it. What follows `<` is ignored and made anew.
    file: PathBuf,
}

/// Prints what fresh machines do when told what the file says.
pub(super) fn run(arguments: TraceArguments) -> ExitCode {
    let path = arguments.file.display();
    let text = match std::fs::read_to_string(&arguments.file) {
        Ok(text) => text,
        Err(error) => return fail(FAILED, format_args!("cannot read {path}: {error}")),
    };
    match replay(&text) {
        Ok(trace) => match std::io::stdout().write_all(trace.as_bytes()) {
            // Whoever reads it, `head` perhaps, has seen enough.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(FAILED, format_args!("cannot print: {error}")),
            _ => ExitCode::SUCCESS,
        },
        Err(wrong) => fail(FAILED, format_args!("{path}: {wrong}")),
    }
}
