//! Records what changes in a cluster of real replicas, as text that can be read.

use crate::world::{StoryError, StoryResult};
use leasehold_core::{Index, NodeId, Term};
use leasehold_raft::{Role, Statistics};
use leasehold_testing::cluster::Cluster;
use std::collections::BTreeMap;
use std::time::Duration;

/// A cluster and its journal.
pub struct Journal {
    /// The cluster. After an input that is not a [`run`](Journal::run), call [`look`](Journal::look).
    pub cluster: Cluster,
    started: Duration,
    seen: BTreeMap<NodeId, Seen>,
    text: String,
}

/// The state of one node as it was last recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    role: Role,
    term: Term,
    leader: NodeId,
    permit: Option<Term>,
    /// The term of its sublease.
    sublease: Option<Term>,
    /// The nodes that may be using a sublease of it, one bit for each.
    readers: u64,
    /// The commit index and the exposed one, while they differ.
    withheld: Option<(Index, Index)>,
    statistics: Statistics,
}

impl Journal {
    /// Runs a cluster until it has a leader with a lease, and returns its journal and that leader.
    pub fn of(mut cluster: Cluster) -> (Journal, NodeId) {
        let leader = cluster.elect();
        cluster.run(Duration::from_millis(20));
        let started = cluster.now;
        let mut journal = Journal { cluster, started, seen: BTreeMap::new(), text: String::new() };
        let _ = journal.look();
        (journal, leader)
    }

    /// Returns the journal so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes a comment into the journal.
    pub fn says(&mut self, prose: &str) {
        self.text.push_str(&format!("# {prose}\n"));
    }

    /// Lets time pass, a millisecond at a time.
    ///
    /// # Errors
    /// If two nodes may read by a lease at once.
    pub fn run(&mut self, millis: u64) -> StoryResult {
        for _ in 0..millis {
            self.cluster.run(Duration::from_millis(1));
            self.look()?;
        }
        Ok(())
    }

    /// Lets time pass until a condition holds.
    ///
    /// # Errors
    /// If it does not within `millis`, or two nodes may read by a lease at once.
    pub fn run_until(&mut self, what: &str, millis: u64, holds: impl Fn(&Cluster) -> bool) -> StoryResult {
        for _ in 0..millis {
            if holds(&self.cluster) {
                return Ok(());
            }
            self.run(1)?;
        }
        self.must(holds(&self.cluster), what)
    }

    /// Records what has changed.
    ///
    /// # Errors
    /// If two nodes may read by a lease at once.
    pub fn look(&mut self) -> StoryResult {
        let at = (self.cluster.now - self.started).as_millis();
        let ids: Vec<NodeId> = self.cluster.nodes.keys().copied().collect();
        let mut permits = 0;
        for id in ids {
            let Some(replica) = &self.cluster.nodes[&id].replica else {
                if self.seen.remove(&id).is_some() {
                    self.text.push_str(&format!("{at:>8}ms  n{id}  is down\n"));
                }
                continue;
            };
            let now = Seen {
                role: replica.role(),
                term: replica.term(),
                leader: replica.leader().unwrap_or(0),
                permit: self.cluster.permit(id).map(|permit| permit.term),
                sublease: self.cluster.local_permit(id).map(|permit| permit.term),
                readers: replica.lender().obligations().map(|reader| 1_u64 << reader).sum(),
                withheld: Some((replica.commit(), replica.exposed())).filter(|(commit, exposed)| exposed < commit),
                statistics: *replica.statistics(),
            };
            permits += usize::from(now.permit.is_some());
            let before = self.seen.insert(id, now);
            for change in changes(before, now) {
                self.text.push_str(&format!("{at:>8}ms  n{id}  {change}\n"));
            }
        }
        self.must(permits < 2, "at most one node reads by a lease")
    }

    /// Checks a condition.
    ///
    /// # Errors
    /// If it does not hold.
    pub fn must(&self, holds: bool, what: &str) -> StoryResult {
        if holds { Ok(()) } else { Err(StoryError(format!("expected: {what}"))) }
    }
}

fn changes(before: Option<Seen>, now: Seen) -> Vec<String> {
    let mut changes = Vec::new();
    let place = |seen: Seen| (seen.role, seen.term, seen.leader);
    if before.map(place) != Some(place(now)) {
        let Seen { term, leader, .. } = now;
        changes.push(match now.role {
            Role::Leader => format!("leads term {term}"),
            Role::Candidate => format!("campaigns in term {term}"),
            Role::PreCandidate => format!("asks whether it could win term {}", term + 1),
            Role::Follower if leader == 0 => format!("is in term {term} and knows no leader"),
            Role::Follower => format!("follows n{leader} in term {term}"),
        });
    }
    match (before.and_then(|before| before.permit), now.permit) {
        (None, Some(term)) => changes.push(format!("may read by the lease of term {term}")),
        (Some(_), None) => changes.push("may no longer read by a lease".to_owned()),
        _ => {}
    }
    match (before.and_then(|before| before.sublease), now.sublease) {
        (None, Some(term)) => changes.push(format!("may read by its sublease of term {term}")),
        (Some(_), None) => changes.push("may no longer read by a sublease".to_owned()),
        _ => {}
    }
    if before.map_or(0, |before| before.readers) != now.readers {
        let readers: Vec<_> = (1..64).filter(|id| now.readers >> id & 1 == 1).map(|id| format!("n{id}")).collect();
        changes.push(match readers.as_slice() {
            [] => "waits for no reader any more".to_owned(),
            readers => format!("will wait with each write for {}", readers.join(" and ")),
        });
    }
    match (before.and_then(|before| before.withheld), now.withheld) {
        (before, Some((commit, exposed))) if before != now.withheld => {
            changes.push(format!("has committed through entry {commit}, and shows nothing after entry {exposed}"));
        }
        (Some((commit, _)), None) => changes.push(format!("shows everything through entry {commit}")),
        _ => {}
    }
    let counted = before.map(|before| before.statistics).unwrap_or_default();
    for (what, was, is) in [
        ("keeps a vote request from its engine", counted.votes_withheld, now.statistics.votes_withheld),
        ("keeps a \"campaign now\" from its engine", counted.transfers_withheld, now.statistics.transfers_withheld),
        ("is held, and does not campaign", counted.campaigns_withheld, now.statistics.campaigns_withheld),
    ] {
        match is - was {
            0 => {}
            1 => changes.push(what.to_owned()),
            times => changes.push(format!("{what}, {times} times")),
        }
    }
    changes
}
