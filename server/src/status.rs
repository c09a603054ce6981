//! The status of a node as `LEASEHOLD STATUS` reports it, in JSON. `docs/operations.md` describes the fields; they are part
//! of the public interface. Readers ignore fields that they do not know, and take a missing one for unknown.

use leasehold_core::{Index, NodeId, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of these fields. It changes only if one of them is removed or changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// A node's view of itself and of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct NodeStatus {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// The node's number.
    pub(crate) node: NodeId,
    /// Its release.
    pub(crate) version: String,
    /// Its runtime.
    pub(crate) runtime: String,
    /// The time since its process started.
    pub(crate) uptime_s: u64,
    pub(crate) cluster: ClusterStatus,
    /// The addresses that it announces.
    pub(crate) addresses: AddressStatus,
    pub(crate) role: RoleStatus,
    pub(crate) term: Term,
    /// The leader of that term, as far as it knows.
    pub(crate) leader: Option<NodeId>,
    pub(crate) lease: LeaseStatus,
    pub(crate) timing: TimingStatus,
    /// The highest index that it knows to be committed.
    pub(crate) commit: Index,
    /// The highest index that it has applied.
    pub(crate) applied: Index,
    /// The version of the log entries that the cluster writes.
    pub(crate) entry_version: u32,
    /// The index of the last change of the members; 0 for the founders.
    pub(crate) members_changed: Index,
    /// The groups, in the order of their numbers, if there are several. What is said of the role, the term, the lease and
    /// the log above is that of group 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<GroupStatus>,
    /// The members, in the order of their numbers.
    pub(crate) members: Vec<MemberStatus>,
    /// The reason why it takes no part in a cluster.
    pub(crate) takes_no_part: Option<String>,
    pub(crate) counters: BTreeMap<String, u64>,
    /// What is wrong, and what to do about it.
    pub(crate) warnings: Vec<String>,
    /// What is not wrong and could be better.
    pub(crate) advice: Vec<String>,
}

/// A group, as the reporting node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct GroupStatus {
    pub(crate) group: u16,
    pub(crate) role: RoleStatus,
    pub(crate) term: Term,
    /// The leader of that term, as far as it knows.
    pub(crate) leader: Option<NodeId>,
    /// The reporting node has a valid lease.
    pub(crate) lease_valid: bool,
    /// The highest index that it knows to be committed.
    pub(crate) commit: Index,
    /// The highest index that it has applied.
    pub(crate) applied: Index,
    pub(crate) keys: u64,
}

/// The cluster to which a node belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct ClusterStatus {
    pub(crate) name: String,
    /// Sixteen hexadecimal digits; `None` until it is founded.
    pub(crate) id: Option<String>,
}

/// The addresses of a node, `host:port`; empty while they are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct AddressStatus {
    pub(crate) peers: String,
    pub(crate) clients: String,
}

/// The role of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RoleStatus {
    Leader,
    #[default]
    Follower,
    Candidate,
}

/// The lease of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct LeaseStatus {
    pub(crate) valid: bool,
    pub(crate) remaining_ms: u64,
    /// The reason why it is not valid.
    pub(crate) why_not: Option<String>,
    /// The reason why it was lost last, on a node that led.
    pub(crate) last_lost: Option<String>,
    /// The time until the sublease of a node with `--local-reads` ends; 0 without one.
    pub(crate) sublease_remaining_ms: u64,
}

/// The timing with which a node runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct TimingStatus {
    pub(crate) hold_ms: u64,
    pub(crate) lease_ms: u64,
    pub(crate) heartbeat_ms: u64,
    pub(crate) drift_ppm: u32,
    /// True if reads are made linearizable by quorum rounds only.
    pub(crate) quorum_reads: bool,
}

/// The part that a member plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    #[default]
    Voter,
    /// It receives the log, and does not vote.
    Learner,
    /// A learner that votes once it has caught up, or a voter of the new configuration only.
    Joining,
    /// A voter of the old configuration only.
    Leaving,
}

/// A member, as the reporting node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct MemberStatus {
    pub(crate) node: NodeId,
    pub(crate) part: Part,
    /// The member in whose place it will vote.
    pub(crate) replaces: Option<NodeId>,
    pub(crate) addresses: AddressStatus,
    /// The reporting node is connected to it.
    pub(crate) connected: bool,
    /// It acknowledged something within the last hold; known to the leader only.
    pub(crate) heard: Option<bool>,
    /// The committed entries that it has not stored yet; known to the leader only.
    pub(crate) lag: Option<u64>,
    /// The last trouble with the links to it.
    pub(crate) trouble: Option<String>,
}

impl NodeStatus {
    /// Returns how many groups each node leads, if there are several groups.
    pub(crate) fn leaders(&self) -> Option<String> {
        let mut led = BTreeMap::<_, usize>::new();
        self.groups.iter().filter_map(|group| group.leader).for_each(|leader| *led.entry(leader).or_default() += 1);
        let shares: Vec<_> = led.iter().map(|(node, led)| format!("node {node} leads {led}")).collect();
        let none = self.groups.len() - led.values().sum::<usize>();
        let none = (none > 0).then(|| format!("{none} without a leader"));
        let shares: Vec<_> = shares.into_iter().chain(none).collect();
        (!self.groups.is_empty()).then(|| format!("{}: {}", self.groups.len(), shares.join(", ")))
    }
}

impl MemberStatus {
    /// Returns true if it counts in a quorum.
    pub(crate) fn votes(&self) -> bool {
        matches!(self.part, Part::Voter | Part::Leaving)
    }
}
