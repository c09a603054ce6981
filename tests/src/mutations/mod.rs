//! What each rule of the protocol is for: the product with that one rule switched off, and who notices.
//!
//! A [`Mutation`] is a few small edits of the product's own source. The runner (`cargo run --release -p leasehold-tests --bin
//! mutations`) copies the workspace, makes *all* edits there, each behind a switch that is read when the process starts
//! ([`tree`]), builds the soak once, and runs it once for each mutation. So nothing of this is in the product, and what is
//! judged is the real code but for one rule.
//!
//! A few rules hold in places that the simulator copies because the originals are asynchronous: the driver's loop and the
//! server's order of reading. There the copy is edited; `file` says so.
//!
//! `tests/tests/mutations.rs` keeps the table complete: every edit finds its place in the source, and every
//! [rule](crate::rules) and every mutation that `docs/scenarios.md` mentions is here or is [excused](WITHOUT).

mod engine;
mod grantor;
mod holder;
mod mutation;
mod table;
pub mod tree;
mod without;

pub use mutation::{By, Edit, Mutation};
pub use table::all;
pub use without::WITHOUT;
