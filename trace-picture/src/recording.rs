//! The input of a picture.

use leasehold_core::trace::{Effect, Line};

/// A line of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A comment, with its `#`, or an empty line.
    Prose(String),
    /// An input of a node, and its effects.
    Input(Box<(Line, Effect)>),
}

/// A recording: of one node, or of several whose clocks began together.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its name, for the legend.
    pub name: String,
    /// Its lines.
    pub steps: Vec<Step>,
}
