//! The log lines of the `raft` crate, which logs through slog: they are passed on with the node and its term, and without
//! the paths of the build.

use leasehold_core::{NodeId, Term};
use slog::{Drain, KV as _, Key, Level, Never, OwnedKVList, Record, Serializer};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The values that say what the line's beginning says already.
const KNOWN: [&str; 2] = ["raft_id", "term"];

/// The newest term of a replica, for its log lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoggedTerm(Arc<AtomicU64>);

impl LoggedTerm {
    pub(crate) fn set(&self, term: Term) {
        self.0.store(term, Ordering::Relaxed);
    }
}

/// Passes lines on to `tracing`, with the target `raft`.
pub(crate) struct EngineLog {
    pub(crate) node: NodeId,
    pub(crate) term: LoggedTerm,
}

impl Drain for EngineLog {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        // The level of an event is a constant.
        macro_rules! pass_on {
            ($level:expr) => {
                if tracing::enabled!(target: "raft", $level) {
                    tracing::event!(target: "raft", $level, "{}", self.line(record));
                }
            };
        }
        match record.level() {
            Level::Critical | Level::Error => pass_on!(tracing::Level::ERROR),
            Level::Warning => pass_on!(tracing::Level::WARN),
            Level::Info => pass_on!(tracing::Level::INFO),
            Level::Debug => pass_on!(tracing::Level::DEBUG),
            Level::Trace => pass_on!(tracing::Level::TRACE),
        }
        Ok(())
    }
}

impl EngineLog {
    fn line(&self, record: &Record<'_>) -> String {
        let mut values = Values(String::new());
        // Writing to a string does not fail.
        let _ = record.kv().serialize(record, &mut values);
        let term = self.term.0.load(Ordering::Relaxed);
        format!("node {}, term {term}: {}{}", self.node, record.msg(), values.0)
    }
}

/// The values of a line, as `key=value` with a space before each.
struct Values(String);

impl Serializer for Values {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        if !KNOWN.contains(&key) {
            self.0.push_str(&format!(" {key}={value}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_node_the_term_and_the_values() {
        let log = EngineLog { node: 3, term: LoggedTerm::default() };
        log.term.set(7);
        let record = slog::record_static!(Level::Warning, "");
        let values = slog::b!("from" => 2, "term" => 7, "raft_id" => 3);
        let line = log.line(&Record::new(&record, &format_args!("rejected a vote"), values));
        assert_eq!(line, "node 3, term 7: rejected a vote from=2");
    }
}
