//! The shape of a mutation, and the files that mutations edit.

use crate::rules::Rule;

/// A rule switched off.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// What it is called: what is done without the rule, or to it.
    pub name: &'static str,
    /// The rules that it switches off.
    pub rules: &'static [Rule],
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

pub(super) const HOLDER: &str = "core/src/holder.rs";
pub(super) const STAMPS: &str = "core/src/stamps.rs";
pub(super) const ACKS: &str = "core/src/acks.rs";
pub(super) const CELL: &str = "core/src/cell.rs";
pub(super) const TIME: &str = "core/src/time.rs";
pub(super) const CONFIG: &str = "core/src/config.rs";
pub(super) const GRANTOR: &str = "core/src/grantor.rs";
pub(super) const REPLICA: &str = "engine-raft/src/replica.rs";
pub(super) const OUTPUT: &str = "engine-raft/src/output.rs";
pub(super) const FOLDER: &str = "storage/src/folder.rs";
/// The simulator's copy of `driver/src/drive.rs`.
pub(super) const LOOP: &str = "tests/src/simulation/drive.rs";
/// The simulator's copy of how `driver/src/drive.rs` starts a process.
pub(super) const STARTS: &str = "tests/src/simulation/starts.rs";
/// The simulator's copy of what `server/src/executor.rs`, `follower.rs` and `peers.rs` do.
pub(super) const SERVER: &str = "tests/src/simulation/clients.rs";
