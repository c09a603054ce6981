//! Support for the tests and benchmarks of the workspace: seeded draws, and a cluster of replicas on virtual time.
//!
//! This crate contains no tests, and it depends on the replica alone, so that a benchmark which needs it does not build the
//! server and the test harness.

pub mod cluster;
pub mod dice;
