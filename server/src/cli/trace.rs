//! `leasehold trace`.

use super::exit::{FAILED, fail};
use crate::recording::replay;
use clap::Args;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `trace`.
#[derive(Args, Debug)]
pub(crate) struct TraceArguments {
    /// The recording: one input per line, as `serve --record` writes it. The part after `<` is ignored and computed
    /// again.
    file: PathBuf,
}

/// Prints the trace of new machines that get the inputs in the file.
pub(super) fn run(arguments: TraceArguments) -> ExitCode {
    let path = arguments.file.display();
    let text = match std::fs::read_to_string(&arguments.file) {
        Ok(text) => text,
        Err(error) => return fail(FAILED, format_args!("cannot read {path}: {error}")),
    };
    match replay(&text) {
        Ok(trace) => match std::io::stdout().write_all(trace.as_bytes()) {
            // The reader, such as `head`, needs no more.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(FAILED, format_args!("cannot print: {error}")),
            _ => ExitCode::SUCCESS,
        },
        Err(wrong) => fail(FAILED, format_args!("{path}: {wrong}")),
    }
}
