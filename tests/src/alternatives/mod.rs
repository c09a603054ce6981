//! Other implementations of lease reads than the product's, and the product's replicas, for `leasehold-conformance`.
//!
//! A third one needs an async runtime and is defined next to its tests.

pub mod lease_based;
pub mod ours;
