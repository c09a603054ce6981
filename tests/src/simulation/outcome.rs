//! The options and the outcome of a run.

use super::failure::FailureKind;
use super::fault::Fault;
use super::marks::Marks;
use super::setup::Roughness;
use super::types::{Clocks, Nanos};

/// How a seed is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What clocks may do.
    pub clocks: Clocks,
    /// Only these of the plan's faults happen, by number; all if not given.
    pub only: Option<Vec<usize>>,
    /// Roughness to take away.
    pub calm: Vec<Roughness>,
    /// Whether to write down what happens.
    pub trace: bool,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule that was broken.
    pub kind: FailureKind,
    /// How.
    pub what: String,
    /// When, in virtual nanoseconds.
    pub at: Nanos,
}

/// How operations ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Operations {
    pub lease_reads: u64,
    pub quorum_reads: u64,
    pub follower_reads: u64,
    pub writes: u64,
    /// Surely not executed, and reads that were not answered.
    pub failed: u64,
    /// Writes that nobody knows the fate of.
    pub unknown: u64,
    /// Keys whose history was too hard to judge.
    pub undecided_keys: u64,
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// How much virtual time passed.
    pub simulated: Nanos,
    /// How many events happened.
    pub events: u64,
    /// How many elections were won.
    pub elections: u64,
    /// Faults that happened, by kind.
    pub faults: [u64; Fault::KINDS],
    /// What was reached.
    pub marks: Marks,
    /// How operations ended.
    pub operations: Operations,
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
    /// What happened, if it was written down.
    pub trace: String,
}
