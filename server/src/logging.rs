//! The log of a process, whose filter can be changed while it runs.

use clap::ValueEnum;
use std::io::stderr;
use std::sync::OnceLock;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// The form of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object for each line, with `timestamp`, `level`, `target`, `message` and further fields.
    Json,
}

/// Logs to the standard error: what `RUST_LOG` lets through, or else the default.
pub(crate) fn start(default: &str, format: LogFormat) {
    // Not `EnvFilter`: filters by span and field would build a second copy of the regex engine.
    let chosen = std::env::var("RUST_LOG").ok().and_then(|targets| targets.parse().ok());
    let filter: Targets = chosen.unwrap_or_else(|| default.parse().expect("the default filter is valid"));
    let (filter, handle) = reload::Layer::new(filter);
    let text = (format == LogFormat::Text).then(|| layer().with_writer(stderr));
    let json = (format == LogFormat::Json).then(|| layer().json().flatten_event(true).with_writer(stderr));
    tracing_subscriber::registry().with(filter).with(text).with(json).init();
    let _ = FILTER.set(handle);
}

/// Changes the filter, in the form of `RUST_LOG`.
///
/// # Errors
/// The reason, in one line.
pub(crate) fn set_filter(text: &str) -> Result<(), String> {
    let parsed = text.parse::<Targets>().ok().filter(|_| !text.trim().is_empty());
    let filter = parsed.ok_or_else(|| {
        "the filter is not a list of levels and targets; write for example info, or warn,leasehold_raft=debug"
            .to_owned()
    })?;
    let handle = FILTER.get().ok_or_else(|| "the program that runs this node has a log of its own".to_owned())?;
    handle.reload(filter).map_err(|error| format!("the filter was not changed: {error}"))
}
