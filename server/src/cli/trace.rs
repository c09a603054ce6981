//! `leasehold trace`.

use super::exit::{FAILED, fail};
use crate::recording::{replay, replay_steps};
use clap::Args;
use leasehold_trace_picture::{Options, Recording, draw};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `trace`.
#[derive(Args, Debug)]
pub(crate) struct TraceArguments {
    /// Recordings: one input per line, as `serve --record` writes them. The part after `<` is ignored and computed
    /// again.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Draws a picture into this file instead of printing the trace. Several recordings of one group are put on one time axis, by
    /// the rounds that they share.
    #[arg(long, value_name = "OUT")]
    svg: Option<PathBuf>,
    /// The beginning of the part to draw, in milliseconds of the first recording.
    #[arg(long, value_name = "MS", requires = "svg", allow_negative_numbers = true)]
    from: Option<i64>,
    /// The end of the part to draw, in milliseconds of the first recording.
    #[arg(long, value_name = "MS", requires = "svg", allow_negative_numbers = true)]
    to: Option<i64>,
}

/// Prints or draws the trace of new machines that get the inputs in the files.
pub(super) fn run(arguments: TraceArguments) -> ExitCode {
    let done = match &arguments.svg {
        Some(out) => picture(&arguments, out),
        None => arguments.files.iter().try_for_each(|file| print(file)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, format_args!("{error}")),
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

fn print(file: &Path) -> Result<(), String> {
    let trace = replay(&read(file)?).map_err(|wrong| format!("{}: {wrong}", file.display()))?;
    match std::io::stdout().write_all(trace.as_bytes()) {
        // The reader, such as `head`, needs no more.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot print: {error}")),
        _ => Ok(()),
    }
}

fn picture(arguments: &TraceArguments, out: &Path) -> Result<(), String> {
    let recordings = arguments.files.iter().map(|file| {
        let steps = replay_steps(&read(file)?).map_err(|wrong| format!("{}: {wrong}", file.display()))?;
        Ok(Recording { name: file.display().to_string(), steps })
    });
    let recordings = recordings.collect::<Result<Vec<_>, String>>()?;
    let names: Vec<&str> = recordings.iter().map(|recording| &*recording.name).collect();
    let options = Options { title: names.join(", "), from: arguments.from, to: arguments.to };
    let picture = draw(&recordings, &options).map_err(|error| error.to_string())?;
    std::fs::write(out, picture).map_err(|error| format!("cannot write {}: {error}", out.display()))?;
    eprintln!("{}: open it in a browser; --from and --to draw a part of the time", out.display());
    Ok(())
}
