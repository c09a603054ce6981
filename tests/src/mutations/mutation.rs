//! The shape of a mutation, and the files that mutations edit.

use crate::rules::Rule;

/// Small edits of the product that switch a rule off.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// The name: what happens without the rule.
    pub name: &'static str,
    /// The rules that it switches off.
    pub rules: &'static [Rule],
    /// Scenarios of `docs/scenarios.md` that are shown to fail by this mutation.
    pub scenarios: &'static [&'static str],
    /// The consequence of its absence.
    pub breaks: &'static str,
    /// The edits.
    pub edits: &'static [Edit],
    /// The check that detects it.
    pub noticed_by: By,
}

/// One place in the source, and its replacement.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    /// A file of the workspace.
    pub file: &'static str,
    /// Text that occurs in it once; where this has a space, the source may have any white space.
    pub find: &'static str,
    /// The replacement. `$it` stands for the text found, `$on` for the state of the switch.
    pub with: &'static str,
}

/// The check that detects the absence of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The soak: a run fails, or a mark that it must reach is never reached.
    Soak,
    /// A test of the workspace.
    Test {
        /// The test's package.
        package: &'static str,
        /// The file in its folder `tests`.
        target: &'static str,
        /// The test.
        name: &'static str,
        /// The reason why it is not the soak.
        why: &'static str,
    },
}

/// The reason why a test detects the absence of a rule of local reads.
pub(super) const QUICKER: &str = "the test takes a moment, and only a third of the soak's seeds have readers";

pub(super) const HOLDER: &str = "core/src/holder/mod.rs";
pub(super) const STAMPS: &str = "core/src/holder/stamps.rs";
pub(super) const ACKS: &str = "core/src/holder/acks.rs";
pub(super) const CELL: &str = "core/src/cell.rs";
pub(super) const TIME: &str = "core/src/time.rs";
pub(super) const CONFIG: &str = "core/src/config.rs";
pub(super) const GRANTOR: &str = "core/src/grantor.rs";
pub(super) const REPLICA: &str = "engine-raft/src/replica/mod.rs";
pub(super) const REPLICA_OUTPUTS: &str = "engine-raft/src/replica/outputs.rs";
pub(super) const LEASE: &str = "engine-raft/src/lease.rs";
pub(super) const REPLICA_TICKS: &str = "engine-raft/src/replica/ticks.rs";
pub(super) const REPLICA_RETURNS: &str = "engine-raft/src/replica/returns.rs";
pub(super) const REJOIN: &str = "engine-raft/src/rejoin.rs";
pub(super) const ADMISSION: &str = "engine-raft/src/admission.rs";
pub(super) const LEADERSHIP: &str = "engine-raft/src/replica/leadership.rs";
pub(super) const REPLICA_LOCAL: &str = "engine-raft/src/replica/local.rs";
pub(super) const REPLICA_SYNC: &str = "engine-raft/src/replica/sync.rs";
pub(super) const LOCAL: &str = "engine-raft/src/local.rs";
pub(super) const TOUCHED: &str = "node/src/touched.rs";
pub(super) const COMMITS: &str = "node/src/commits.rs";
pub(super) const ROUTER_COMMON: &str = "node/src/router/common.rs";
pub(super) const ROUTER_TIMEOUTS: &str = "node/src/router/timeouts.rs";
pub(super) const STOPWATCH: &str = "node/src/stopwatch.rs";
pub(super) const OUTBOX: &str = "engine-raft/src/outbox.rs";
pub(super) const GATE: &str = "engine-raft/src/gate.rs";
pub(super) const OPTIONS: &str = "engine-raft/src/options.rs";
pub(super) const FOLDER: &str = "storage/src/folder.rs";
pub(super) const IDENTITY: &str = "node/src/identity.rs";
pub(super) const REGISTRAR: &str = "server/src/registrar.rs";
pub(super) const NODE: &str = "node/src/node.rs";
pub(super) const APPLY: &str = "node/src/apply.rs";
pub(super) const NODE_GROUPS: &str = "node/src/node/groups.rs";
pub(super) const GROUP: &str = "node/src/group.rs";
pub(super) const GROUP_MEMBERS: &str = "node/src/group/members.rs";
pub(super) const GUIDE: &str = "node/src/guide.rs";
pub(super) const ROUTER: &str = "node/src/router.rs";
pub(super) const TRANSFERS: &str = "node/src/group/transfers.rs";
pub(super) const SEND: &str = "node/src/transfer/send.rs";
pub(super) const RECEIVE: &str = "node/src/transfer/receive.rs";
pub(super) const CONTENT: &str = "server/src/keyspace/content.rs";
pub(super) const VALUE: &str = "server/src/keyspace/value.rs";
pub(super) const WRITER: &str = "server/src/keyspace/writer.rs";
pub(super) const SETTLED: &str = "server/src/keyspace/settled.rs";
pub(super) const EXPIRY: &str = "server/src/keyspace/expiry.rs";
pub(super) const STATUS: &str = "node/src/status.rs";
pub(super) const NODE_ROUNDS: &str = "core/src/groups/node_rounds.rs";
pub(super) const SUPPORTER: &str = "core/src/groups/supporter.rs";
pub(super) const ATTACHMENT: &str = "core/src/groups/attachment.rs";
pub(super) const GROUP_HOLDER: &str = "core/src/groups/group_holder.rs";
pub(super) const LENDER: &str = "core/src/local/lender.rs";
pub(super) const READER: &str = "core/src/local/reader.rs";
