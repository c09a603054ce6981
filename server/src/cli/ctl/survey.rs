//! Asks every member of a cluster for its status, and makes one picture of the answers.

use super::connection::{Access, Reply};
use crate::status::{MemberStatus, NodeStatus, RoleStatus};
use leasehold_core::NodeId;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The time that a node has for telling its status.
const PATIENCE: Duration = Duration::from_secs(2);
/// The rounds in which members are asked that others named: the given nodes, those that they name, and one more.
const ROUNDS: usize = 3;
/// The most nodes that are asked.
const MAX_ASKED: usize = 64;

/// The answers of all nodes that were asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// The status of each node that answered.
    pub(super) nodes: BTreeMap<NodeId, NodeStatus>,
    /// The reason of each address at which none answered. It follows the address.
    pub(super) failures: BTreeMap<String, String>,
}

/// The state of a cluster in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// A leader serves, and nothing is wrong.
    Healthy,
    /// A leader serves, and something is wrong.
    Degraded,
    /// No leader that can serve was found.
    NoLeader,
    /// No node answers.
    Unreachable,
}

/// A cluster as its members describe it.
#[derive(Clone, Debug)]
pub(super) struct Picture<'a> {
    pub(super) verdict: Verdict,
    /// The leader that serves.
    pub(super) leader: Option<&'a NodeStatus>,
    /// The members, as the leader or the best informed node sees them.
    pub(super) members: &'a [MemberStatus],
    /// The faults, each with its remedy.
    pub(super) problems: Vec<String>,
    /// What is not wrong and could be better.
    pub(super) advice: Vec<String>,
}

/// Asks the node at an address.
///
/// # Errors
/// The reason, which follows the address.
pub(super) fn ask(access: &Access, address: &str) -> Result<NodeStatus, String> {
    let mut connection = access.connect(address, PATIENCE)?;
    match connection.ask(&["LEASEHOLD", "STATUS"]) {
        Ok(Reply::Text(text)) => {
            serde_json::from_str(&text).map_err(|error| format!("sent a status that cannot be read: {error}"))
        }
        Ok(Reply::Error(error)) => Err(format!("answered: {error}")),
        Err(error) => Err(format!("does not answer: {error}")),
    }
}

/// Asks the nodes at these addresses, and the members that they name.
pub(super) fn survey(access: &Access, addresses: &[String]) -> Survey {
    let mut survey = Survey::default();
    let mut asked = BTreeSet::new();
    let mut next: BTreeSet<String> = addresses.iter().cloned().collect();
    for _ in 0..ROUNDS {
        next.retain(|address| asked.len() < MAX_ASKED && asked.insert(address.clone()));
        let answers: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = next.iter().map(|address| (address, scope.spawn(|| ask(access, address)))).collect();
            let join = |(address, thread): (&String, std::thread::ScopedJoinHandle<'_, _>)| {
                (address.clone(), thread.join().unwrap_or_else(|_| Err("could not be asked".to_owned())))
            };
            asking.into_iter().map(join).collect()
        });
        for (address, answer) in answers {
            match answer {
                Ok(status) => drop(survey.nodes.insert(status.node, status)),
                Err(error) => drop(survey.failures.insert(address, error)),
            }
        }
        let named = survey.nodes.values().flat_map(|status| &status.members);
        let unknown = named.filter(|member| !survey.nodes.contains_key(&member.node));
        next = unknown.map(|member| member.addresses.clients.clone()).filter(|address| !address.is_empty()).collect();
    }
    survey
}

impl Survey {
    /// Returns the leader that serves, if there is one.
    pub(super) fn leader(&self) -> Option<&NodeStatus> {
        let serves = |status: &&NodeStatus| {
            status.role == RoleStatus::Leader && (status.lease.valid || status.timing.quorum_reads)
        };
        self.nodes.values().filter(serves).max_by_key(|status| status.term)
    }

    /// Returns the reason why a member did not answer.
    pub(super) fn failure(&self, member: &MemberStatus) -> Option<&str> {
        self.failures.get(&member.addresses.clients).map(String::as_str)
    }

    /// Judges the answers.
    pub(super) fn picture(&self) -> Picture<'_> {
        let leader = self.leader();
        let best =
            leader.or_else(|| self.nodes.values().max_by_key(|node| (node.members_changed, node.term, node.commit)));
        let Some(best) = best else {
            let problems = self.failures.iter().map(|(address, reason)| format!("{address} {reason}")).collect();
            return Picture { verdict: Verdict::Unreachable, leader, members: &[], problems, advice: Vec::new() };
        };
        let mut problems = Vec::new();
        if leader.is_none() {
            problems.extend(self.explain_no_leader(best));
        }
        problems.extend(self.problems(best, leader.is_some()));
        let mut seen = BTreeSet::new();
        problems.retain(|problem| seen.insert(problem.clone()));
        let verdict = match leader {
            None => Verdict::NoLeader,
            Some(_) if problems.is_empty() => Verdict::Healthy,
            Some(_) => Verdict::Degraded,
        };
        Picture { verdict, leader, members: &best.members, problems, advice: self.advice(best) }
    }

    /// Explains why there is no leader.
    fn explain_no_leader(&self, best: &NodeStatus) -> Vec<String> {
        let voters: Vec<_> = best.members.iter().filter(|member| member.votes()).collect();
        let is_up = |member: &MemberStatus| self.nodes.contains_key(&member.node);
        let (up, needed) = (voters.iter().filter(|voter| is_up(voter)).count(), voters.len() / 2 + 1);
        if voters.is_empty() {
            return Vec::new();
        }
        let missing: Vec<_> = voters
            .iter()
            .filter(|voter| !is_up(voter))
            .map(|voter| format!("{} ({})", voter.node, voter.addresses.peers))
            .collect();
        if up < needed {
            return vec![format!(
                "of {} voters {up} answer, and {needed} are needed: start {}",
                voters.len(),
                missing.join(", ")
            )];
        }
        vec![format!(
            "{up} of {} voters answer and have no leader: an election takes about {} ms; if this lasts, they do not reach \
             each other, or wait for the end of a hold (see their logs)",
            voters.len(),
            2 * best.timing.hold_ms
        )]
    }

    /// Returns the warnings of all nodes, and what is wrong with the differences between them.
    fn problems(&self, best: &NodeStatus, is_led: bool) -> Vec<String> {
        // These are named once: by the leader, or by the explanation why there is none.
        let is_silent = |member: &&MemberStatus| match is_led {
            true => member.heard == Some(false),
            false => member.votes() && !self.nodes.contains_key(&member.node),
        };
        let silent: BTreeSet<NodeId> = best.members.iter().filter(is_silent).map(|member| member.node).collect();
        let is_new = |warning: &&String| {
            let is_repeated = silent.iter().any(|node| warning.contains(&format!("is not connected to node {node}:")));
            !is_repeated && (is_led || !warning.contains("knows no leader"))
        };
        let is_member = |node: NodeId| best.members.iter().any(|member| member.node == node);
        let mut problems: Vec<String> = best.warnings.iter().filter(is_new).cloned().collect();
        for member in &best.members {
            let answered = self.nodes.get(&member.node);
            if answered.is_none() && !silent.contains(&member.node) {
                let reason = match self.failure(member) {
                    Some(reason) => format!("at {} {reason}", member.addresses.clients),
                    None => "has not announced an address for clients, and cannot be asked".to_owned(),
                };
                problems.push(format!("node {} {reason}", member.node));
            }
        }
        for (address, reason) in &self.failures {
            if !best.members.iter().any(|member| member.addresses.clients == *address) {
                problems.push(format!("{address}, given with --node, {reason}"));
            }
        }
        for status in self.nodes.values().filter(|status| status.node != best.node) {
            if status.cluster.id.is_some() && status.cluster.id != best.cluster.id {
                problems.push(format!(
                    "node {} belongs to another cluster than node {} (ids {} and {})",
                    status.node,
                    best.node,
                    status.cluster.id.as_deref().unwrap_or_default(),
                    best.cluster.id.as_deref().unwrap_or("none")
                ));
                continue;
            }
            // It waits to be added, or was removed and is about to stop.
            if is_led && !is_member(status.node) {
                continue;
            }
            problems.extend(status.warnings.iter().filter(is_new).cloned());
        }
        let holds = self.values(|status| format!("{} ms", status.timing.hold_ms));
        if let Some(holds) = holds {
            problems.push(format!(
                "the nodes run with different holds ({holds}): complete the rolling change (docs/configuration.md)"
            ));
        }
        problems
    }

    fn advice(&self, best: &NodeStatus) -> Vec<String> {
        let mut advice = best.advice.clone();
        let waits = |status: &&NodeStatus| {
            status.cluster.id.is_none() && !best.members.iter().any(|member| member.node == status.node)
        };
        // It is no member, and may be meant to become one.
        for status in self.nodes.values().filter(|status| best.cluster.id.is_some() && waits(status)) {
            let reason = status.takes_no_part.as_deref().unwrap_or("it has not joined");
            advice.push(format!("node {} is no member: {}", status.node, reason.trim_start_matches("this node ")));
        }
        if let Some(versions) = self.values(|status| status.version.clone()) {
            advice.push(format!("the nodes run different releases ({versions}): complete the upgrade"));
        }
        advice
    }

    /// Returns a list of the values of all nodes if they differ.
    fn values(&self, of: impl Fn(&NodeStatus) -> String) -> Option<String> {
        let values: Vec<_> = self.nodes.values().map(|status| (status.node, of(status))).collect();
        let (_, first) = values.first()?;
        if values.iter().all(|(_, value)| value == first) {
            return None;
        }
        Some(values.iter().map(|(node, value)| format!("node {node}: {value}")).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: NodeId, heard: bool) -> MemberStatus {
        let mut member = MemberStatus { node, heard: Some(heard), connected: heard, ..MemberStatus::default() };
        member.addresses.clients = format!("n{node}:6379");
        member
    }

    fn node(node: NodeId, role: RoleStatus) -> NodeStatus {
        let mut status = NodeStatus { node, role, ..NodeStatus::default() };
        status.members = [1, 2, 3].map(|node| member(node, true)).to_vec();
        status.cluster.id = Some("1".to_owned());
        status.lease.valid = role == RoleStatus::Leader;
        status
    }

    fn three() -> Survey {
        let mut survey = Survey::default();
        survey.nodes.insert(1, node(1, RoleStatus::Leader));
        survey.nodes.insert(2, node(2, RoleStatus::Follower));
        survey.nodes.insert(3, node(3, RoleStatus::Follower));
        survey
    }

    #[test]
    fn a_cluster_is_healthy_if_nothing_is_wrong_anywhere() {
        let mut survey = three();
        assert_eq!(survey.picture().verdict, Verdict::Healthy);
        survey.nodes.get_mut(&3).expect("it answered").warnings.push("the disk of node 3 is almost full".to_owned());
        assert_eq!(survey.picture().verdict, Verdict::Degraded);
        let mut survey = three();
        survey.nodes.get_mut(&2).expect("it answered").timing.hold_ms = 2000;
        assert!(
            survey.picture().problems[0].starts_with("the nodes run with different holds"),
            "{:?}",
            survey.picture()
        );
        let mut survey = three();
        survey.nodes.get_mut(&2).expect("it answered").version = "9".to_owned();
        assert_eq!((survey.picture().verdict, survey.picture().advice.len()), (Verdict::Healthy, 1));
    }

    #[test]
    fn a_member_that_does_not_answer_is_a_problem_named_once() {
        let mut survey = three();
        survey.nodes.remove(&3);
        survey.failures.insert("n3:6379".to_owned(), "cannot be reached".to_owned());
        assert_eq!(survey.picture().problems, ["node 3 at n3:6379 cannot be reached"]);
        let leader = survey.nodes.get_mut(&1).expect("it answered");
        (leader.members[2].heard, leader.warnings) = (Some(false), vec!["voter 3 is not heard".to_owned()]);
        let follower = survey.nodes.get_mut(&2).expect("it answered");
        follower.warnings.push("node 2 is not connected to node 3: it is down".to_owned());
        assert_eq!(survey.picture().problems, ["voter 3 is not heard"]);
        assert_eq!(survey.picture().verdict, Verdict::Degraded);
    }

    #[test]
    fn without_a_leader_the_missing_voters_are_named() {
        let mut survey = three();
        survey.nodes.remove(&3);
        survey.nodes.remove(&1);
        let picture = survey.picture();
        assert_eq!(picture.verdict, Verdict::NoLeader);
        assert!(picture.problems[0].starts_with("of 3 voters 1 answer, and 2 are needed: start 1"), "{picture:?}");
        let mut survey = three();
        survey.nodes.get_mut(&1).expect("it answered").lease.valid = false;
        assert!(survey.picture().problems[0].starts_with("3 of 3 voters answer and have no leader"));
        assert_eq!(Survey::default().picture().verdict, Verdict::Unreachable);
    }

    #[test]
    fn a_node_that_is_no_member_is_no_problem() {
        let mut survey = three();
        for (number, id) in [(4, None), (5, Some("1".to_owned()))] {
            let mut other = node(number, RoleStatus::Follower);
            (other.cluster.id, other.warnings) = (id, vec!["this node takes no part".to_owned()]);
            survey.nodes.insert(number, other);
        }
        let picture = survey.picture();
        assert_eq!((picture.verdict, picture.advice.len()), (Verdict::Healthy, 1), "{picture:?}");
    }

    #[test]
    fn a_second_cluster_is_a_problem() {
        let mut survey = three();
        survey.nodes.get_mut(&3).expect("it answered").cluster.id = Some("2".to_owned());
        assert_eq!(survey.picture().problems, ["node 3 belongs to another cluster than node 1 (ids 2 and 1)"]);
    }
}
