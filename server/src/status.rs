//! The status of a node as `LEASEHOLD STATUS` reports it, in JSON. `docs/operations.md` describes the fields; they are part
//! of the public interface. Readers ignore fields that they do not know, and take a missing one for unknown.

use leasehold_core::{Index, NodeId, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of these fields. It changes only if one of them is removed or changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// The most groups that are listed by their numbers.
const MAX_LISTED: usize = 8;

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
    /// Its own members, which follow those of group 0. A half done change has voters of both sides.
    pub(crate) voters: Vec<NodeId>,
    pub(crate) learners: Vec<NodeId>,
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
    /// A voter of the old configuration only, or a member that is to be removed once the other groups have removed it.
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
    /// The number of groups in which it votes, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) votes_in: Option<usize>,
    /// The groups that have not made the change of it yet that group 0 has decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups_behind: Vec<u16>,
}

impl NodeStatus {
    /// Returns the groups that have not made a change of this member yet, and which of them have no leader.
    pub(crate) fn list_behind(&self, member: &MemberStatus) -> Option<String> {
        (!member.groups_behind.is_empty()).then(|| self.list(&member.groups_behind))
    }

    /// Returns these groups as a part of a sentence, and which of them have no leader.
    pub(crate) fn list(&self, groups: &[u16]) -> String {
        let has_leader = |group: u16| self.groups.iter().any(|known| known.group == group && known.leader.is_some());
        let leaderless: Vec<u16> = groups.iter().copied().filter(|group| !has_leader(*group)).collect();
        let noun = if groups.len() == 1 { "group" } else { "groups" };
        let without = match leaderless.len() {
            0 => String::new(),
            _ => format!(" (without a leader: {})", shortened(&leaderless)),
        };
        format!("{noun} {}{without}", shortened(groups))
    }

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

/// Returns numbers as a list that is not too long.
fn shortened(groups: &[u16]) -> String {
    let shown: Vec<_> = groups.iter().take(MAX_LISTED).map(u16::to_string).collect();
    match groups.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl MemberStatus {
    /// Returns its part in words, and in how many of the groups it votes if it votes in some only.
    pub(crate) fn describe_part(&self, groups: usize) -> String {
        let part = match (self.part, self.replaces) {
            (Part::Joining, Some(old)) => format!("joins for {old}"),
            (Part::Joining, None) => "joins".to_owned(),
            (Part::Voter, _) => "voter".to_owned(),
            (Part::Learner, _) => "learner".to_owned(),
            (Part::Leaving, _) => "leaves".to_owned(),
        };
        match self.votes_in {
            Some(votes) if votes > 0 && votes < groups => format!("{part}, votes in {votes} of {groups} groups"),
            _ => part,
        }
    }

    /// Returns true if it counts in a quorum.
    pub(crate) fn votes(&self) -> bool {
        match self.part {
            Part::Voter => true,
            Part::Leaving => self.votes_in != Some(0),
            Part::Joining | Part::Learner => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_votes_in_some_groups_only_is_shown_so() {
        let member = |part, votes_in| MemberStatus { part, votes_in, ..MemberStatus::default() };
        assert_eq!(member(Part::Voter, None).describe_part(0), "voter");
        assert_eq!(member(Part::Voter, Some(16)).describe_part(16), "voter");
        assert_eq!(member(Part::Voter, Some(5)).describe_part(16), "voter, votes in 5 of 16 groups");
        assert_eq!(member(Part::Leaving, Some(5)).describe_part(16), "leaves, votes in 5 of 16 groups");
        assert_eq!(member(Part::Learner, Some(0)).describe_part(16), "learner");
        assert!(member(Part::Leaving, Some(1)).votes() && member(Part::Leaving, None).votes());
        assert!(!member(Part::Leaving, Some(0)).votes(), "a learner that leaves");
    }

    #[test]
    fn a_long_list_of_groups_is_cut_off() {
        let status = NodeStatus::default();
        assert_eq!(status.list(&[7]), "group 7 (without a leader: 7)");
        let many: Vec<u16> = (0..20).collect();
        assert!(status.list(&many).starts_with("groups 0, 1, 2, 3, 4, 5, 6, 7 and 12 more (without"));
    }
}
