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
//! The other half is kept by `tests/tests/mutations.rs`: every edit still finds its place in the source, and every rule of
//! `docs/protocol.md` ([`rules`]), every switch of the model and every mutation that `docs/scenarios.md` speaks of is here, or
//! says why not.

mod engine;
mod grantor;
mod holder;
pub mod rules;
pub mod tree;

use crate::rules::Rule;

/// A rule switched off.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// What it is called: what is done without the rule, or to it.
    pub name: &'static str,
    /// The rules of the protocol it is for, as [`rules::PROTOCOL`] names them.
    pub rules: &'static [&'static str],
    /// The same rules as switches of the model.
    pub switches: &'static [Rule],
    /// Scenarios of `docs/scenarios.md` that are shown to fail by this mutation.
    pub scenarios: &'static [&'static str],
    /// What is wrong then.
    pub breaks: &'static str,
    /// What makes it so.
    pub edits: &'static [Edit],
    /// Who notices.
    pub noticed_by: By,
}

/// One place in the source, and what stands there instead.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    /// A file of the workspace.
    pub file: &'static str,
    /// Text that occurs in it once; where this has a space, the source may have any white space.
    pub find: &'static str,
    /// What takes its place. `$it` is what was found, `$on` whether the mutation is switched on.
    pub with: &'static str,
}

/// Who notices that a rule is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The soak: a run fails, or something that it must reach is never reached.
    Soak,
    /// A test of the workspace, as the soak cannot.
    Test {
        /// The test's package.
        package: &'static str,
        /// The file in its folder `tests`.
        target: &'static str,
        /// The test.
        name: &'static str,
        /// Why the soak cannot.
        why: &'static str,
    },
}

/// Every mutation. Its number, counted from 1, is the switch's.
pub fn all() -> impl Iterator<Item = &'static Mutation> {
    holder::MUTATIONS.iter().chain(grantor::MUTATIONS).chain(engine::MUTATIONS)
}

const HOLDER: &str = "core/src/holder.rs";
const STAMPS: &str = "core/src/holder/stamps.rs";
const ACKS: &str = "core/src/holder/acks.rs";
const CELL: &str = "core/src/cell.rs";
const TIME: &str = "core/src/time.rs";
const CONFIG: &str = "core/src/config.rs";
const GRANTOR: &str = "core/src/grantor.rs";
const REPLICA: &str = "engine-raft/src/replica.rs";
const OUTPUT: &str = "engine-raft/src/output.rs";
const FOLDER: &str = "storage/src/folder.rs";
/// The simulator's copy of `driver/src/drive.rs`.
const LOOP: &str = "tests/src/simulation/drive.rs";
/// The simulator's copy of how `driver/src/drive.rs` starts a process.
const STARTS: &str = "tests/src/simulation/starts.rs";
/// The simulator's copy of what `server/src/executor.rs`, `follower.rs` and `peers.rs` do.
const SERVER: &str = "tests/src/simulation/clients.rs";
