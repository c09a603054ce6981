//! The options and the outcome of a run.

use super::failure::FailureKind;
use super::fault::Fault;
use super::marks::Marks;
use super::setup::Roughness;
use super::types::{Clocks, Nanos};

/// The options of a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The behaviour of clocks.
    pub clocks: Clocks,
    /// The numbers of the planned faults to keep; all of them if `None`.
    pub only: Option<Vec<usize>>,
    /// The kinds of roughness to remove.
    pub calm: Vec<Roughness>,
    /// Records a trace.
    pub trace: bool,
}

/// A violated rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule that was broken.
    pub kind: FailureKind,
    /// A description of the violation.
    pub what: String,
    /// The time of the violation, in virtual nanoseconds.
    pub at: Nanos,
}

/// Counts of operations by their result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Operations {
    pub lease_reads: u64,
    pub quorum_reads: u64,
    pub follower_reads: u64,
    pub writes: u64,
    /// Operations that were certainly not executed, and reads without an answer.
    pub failed: u64,
    /// Writes whose outcome is unknown.
    pub unknown: u64,
    /// Keys whose history was too expensive to check.
    pub undecided_keys: u64,
}

/// The outcome of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Virtual time that passed.
    pub simulated: Nanos,
    /// The number of events.
    pub events: u64,
    /// The number of elections won.
    pub elections: u64,
    /// Faults by kind.
    pub faults: [u64; Fault::KINDS],
    /// The marks that were reached.
    pub marks: Marks,
    /// Operations by their result.
    pub operations: Operations,
    /// The failure, if there was one.
    pub failure: Option<Failure>,
    /// The trace, if it was recorded.
    pub trace: String,
}
