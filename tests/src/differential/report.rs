//! The outcome of a comparison.

use super::compare::Kind;
use super::stream::Stream;
use std::collections::{BTreeMap, BTreeSet};

/// The outcome of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The commands that were sent to both.
    pub commands: usize,
    /// The times that each expected difference was seen, by its reason.
    pub expected: BTreeMap<&'static str, usize>,
    /// The unexpected differences, one of each kind, each with its shortest stream.
    pub findings: Vec<String>,
    pub(super) kinds: BTreeSet<Kind>,
}

impl Report {
    pub(super) fn count(&mut self, stream: &Stream) {
        self.commands += stream.requests.len();
    }
}
