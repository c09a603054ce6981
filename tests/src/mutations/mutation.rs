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

pub(super) const HOLDER: &str = "core/src/holder/mod.rs";
pub(super) const STAMPS: &str = "core/src/holder/stamps.rs";
pub(super) const ACKS: &str = "core/src/holder/acks.rs";
pub(super) const CELL: &str = "core/src/cell.rs";
pub(super) const TIME: &str = "core/src/time.rs";
pub(super) const CONFIG: &str = "core/src/config.rs";
pub(super) const GRANTOR: &str = "core/src/grantor.rs";
pub(super) const REPLICA: &str = "engine-raft/src/replica.rs";
pub(super) const OUTBOX: &str = "engine-raft/src/outbox.rs";
pub(super) const GATE: &str = "engine-raft/src/gate.rs";
pub(super) const OPTIONS: &str = "engine-raft/src/options.rs";
pub(super) const FOLDER: &str = "storage/src/folder.rs";
pub(super) const NODE: &str = "node/src/node.rs";
pub(super) const GROUP: &str = "node/src/group.rs";
pub(super) const ROUTER: &str = "node/src/router.rs";
pub(super) const STATUS: &str = "node/src/status.rs";
