//! Other implementations of lease reads than the product's, and the product's replicas, as subjects of `leasehold-conformance`.
//!
//! A third subject needs an async runtime and is defined next to its tests.

pub mod lease_based;
pub mod ours;
