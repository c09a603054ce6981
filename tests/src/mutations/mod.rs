//! The product with single rules of the protocol switched off, and the check that detects the absence of each.
//!
//! A [`Mutation`] is a few small edits of the product's own source. The runner (`cargo run --release -p leasehold-tests --bin
//! mutations`) copies the workspace, makes *all* edits there, each behind a switch that is read when the process starts
//! ([`tree`]), builds the soak once, and runs it once for each mutation. So the product contains none of this, and the
//! code under test is the product without one rule.
//!
//! Every edit is of the product. The simulator drives the product's node, so it has no copies that could be edited.
//!
//! `tests/tests/mutations.rs` keeps the table complete: every edit finds its place in the source, and every
//! [rule](crate::rules) and every mutation that `docs/scenarios.md` mentions is here or is [excused](WITHOUT).

mod cut;
mod engine;
mod expiry;
mod grantor;
mod groups;
mod holder;
mod identity;
mod liveness;
mod local;
mod local_engine;
mod members;
mod mutation;
mod requests;
mod snapshots;
mod table;
pub mod tree;
mod without;

pub use mutation::{By, Edit, Mutation};
pub use table::all;
pub use without::WITHOUT;
