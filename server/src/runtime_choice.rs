//! The choice of an asynchronous runtime on the command line.

use clap::ValueEnum;

/// An asynchronous runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeChoice {
    Tokio,
    Smol,
}
