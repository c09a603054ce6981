//! The demo's cluster. All nodes are in this process; each has its own runtime, listeners and data folder.

use super::places::{HOST, Place, data_dir};
use crate::timeout::within;
use crate::{ClientOptions, Limits, Node, NodeOptions, StartError};
use leasehold_core::{Config, NodeId, Options, Term};
use leasehold_node::{ReadMode, Role};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use leasehold_transport_tcp::PeerSecurity;
use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU16;
use std::path::Path;
use std::time::Duration;

const CLUSTER: &str = "demo";
/// Worker threads of each node.
const THREADS: usize = 2;
/// The time that a node may take to stop. Everything acknowledged is on its disk anyway.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The reason why the cluster could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterError {
    #[error("cannot start the runtime of node {node}: {source}")]
    Runtime { node: NodeId, source: io::Error },
    #[error("cannot start node {node}: {source}")]
    Node { node: NodeId, source: StartError },
}

/// A runtime whose tasks can be stopped as if their process was killed.
pub(super) trait Kill: Runtime {
    /// Stops every task.
    fn kill(&self);
}

impl Kill for TokioRuntime {
    fn kill(&self) {
        TokioRuntime::kill(self);
    }
}

impl Kill for SmolRuntime {
    fn kill(&self) {
        SmolRuntime::kill(self);
    }
}

struct Member<R: Kill> {
    runtime: R,
    /// Kept after the node was killed, for its counters.
    node: Node<R>,
    alive: bool,
}

/// The nodes, by their numbers.
pub(super) struct Cluster<R: Kill> {
    members: BTreeMap<NodeId, Member<R>>,
}

/// The leadership, as the running nodes report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leadership {
    /// The leader, and the remaining time of its lease, or `None` while it has no lease.
    pub(super) leader: Option<(NodeId, Option<Duration>)>,
    /// The highest term.
    pub(super) term: Term,
}

impl Leadership {
    /// Returns the leader, if it holds a valid lease.
    pub(super) fn holder(&self) -> Option<NodeId> {
        self.leader.and_then(|(node, lease)| lease.map(|_| node))
    }
}

/// The part of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) node: NodeId,
    /// The groups that it leads.
    pub(super) groups: usize,
    /// The reads and the writes that it took from its clients.
    pub(super) reads: u64,
    /// The reads that it answered by a sublease.
    pub(super) local: u64,
    pub(super) writes: u64,
}

/// The sums of all nodes' counters, including those of killed nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Under a lease or a sublease.
    pub(super) reads_lease: u64,
    pub(super) reads_quorum: u64,
    pub(super) writes: u64,
}

impl Totals {
    pub(super) fn since(self, earlier: Totals) -> Totals {
        Totals {
            reads_lease: self.reads_lease - earlier.reads_lease,
            reads_quorum: self.reads_quorum - earlier.reads_quorum,
            writes: self.writes - earlier.writes,
        }
    }

    pub(super) fn reads(self) -> u64 {
        self.reads_lease + self.reads_quorum
    }

    /// Returns the share of reads answered under the lease, or `None` without reads.
    pub(super) fn lease_share(self) -> Option<f64> {
        (self.reads() > 0).then(|| self.reads_lease as f64 / self.reads() as f64)
    }
}

impl<R: Kill> Cluster<R> {
    pub(super) fn start(
        folder: &Path,
        places: &[Place],
        redirect: bool,
        local_reads: bool,
        groups: Option<NonZeroU16>,
    ) -> Result<Cluster<R>, ClusterError> {
        let timing = Config::new(Options::new(Duration::from_secs(1), 1_000)).expect("a valid configuration");
        let peers: BTreeMap<_, _> = places.iter().map(|place| (place.node, address(place.peer_port))).collect();
        let mut cluster = Cluster { members: BTreeMap::new() };
        for place in places {
            let node = place.node;
            let runtime =
                R::start(&format!("n{node}"), THREADS).map_err(|source| ClusterError::Runtime { node, source })?;
            let options = NodeOptions {
                node,
                cluster: CLUSTER.to_owned(),
                peers: peers.clone(),
                groups,
                spreads_leaders: true,
                pin_peers: false,
                announce: leasehold_node::identity::Addresses::default(),
                peer_listen: address(place.peer_port),
                client_listen: address(place.client_port),
                metrics_listen: Some(address(place.metrics_port)),
                data_dir: data_dir(folder, node),
                timing,
                reads: ReadMode::Lease,
                local_reads,
                record: None,
                accept_data_loss: false,
                limits: Limits::default(),
                clients: ClientOptions { redirect, ..ClientOptions::default() },
                stopped_for: None,
                peer_security: PeerSecurity::default(),
            };
            let started = runtime.block_on(Node::start(&runtime, options));
            let running = started.map_err(|source| ClusterError::Node { node, source })?;
            cluster.members.insert(node, Member { runtime, node: running, alive: true });
        }
        Ok(cluster)
    }

    fn alive(&self) -> impl Iterator<Item = (NodeId, &Member<R>)> {
        self.members.iter().filter(|(_, member)| member.alive).map(|(node, member)| (*node, member))
    }

    pub(super) fn leadership(&self) -> Leadership {
        let mut found = Leadership::default();
        for (node, member) in self.alive() {
            let status = member.node.status();
            if status.term >= found.term && (status.term > found.term || status.role == Role::Leader) {
                let leads = status.role == Role::Leader && !status.stopped;
                found = Leadership { leader: leads.then(|| (node, member.node.lease_left())), term: status.term };
            }
        }
        found
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for member in self.members.values() {
            let counters = member.node.counters();
            totals.reads_lease += counters.reads_lease.get() + counters.reads_local.get();
            totals.reads_quorum += counters.reads_quorum.get();
            totals.writes += counters.writes_acknowledged.get();
        }
        totals
    }

    /// Returns the part of each node.
    pub(super) fn shares(&self) -> Vec<Share> {
        let share = |(node, Member { node: running, alive, .. }): (&NodeId, &Member<R>)| {
            let counters = running.counters();
            Share {
                node: *node,
                groups: if *alive { running.groups_led() } else { 0 },
                reads: counters.reads_lease.get() + counters.reads_local.get() + counters.reads_quorum.get(),
                local: counters.reads_local.get(),
                writes: counters.writes_acknowledged.get(),
            }
        };
        self.members.iter().map(share).collect()
    }

    /// Returns a node that stopped because its disk failed.
    pub(super) fn failed(&self) -> Option<NodeId> {
        self.alive().find(|(_, member)| member.node.status().stopped).map(|(node, _)| node)
    }

    /// Returns the running nodes.
    pub(super) fn survivors(&self) -> Vec<NodeId> {
        self.alive().map(|(node, _)| node).collect()
    }

    /// Ends a node at once: it does not close its connections in order, and only writes already in progress reach its
    /// disk.
    pub(super) fn kill(&mut self, node: NodeId) {
        if let Some(member) = self.members.get_mut(&node) {
            member.alive = false;
            member.runtime.kill();
        }
    }

    /// Stops every node as `serve` does.
    pub(super) fn stop(self) {
        for (_, member) in self.alive() {
            member.runtime.block_on(within(&member.runtime, STOP_TIMEOUT, member.node.stop()));
        }
        for member in self.members.values() {
            member.runtime.kill();
        }
    }
}

fn address(port: u16) -> String {
    format!("{HOST}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_share_counts_only_reads_since_the_earlier_totals() {
        let before = Totals { reads_lease: 10, reads_quorum: 10, writes: 1 };
        let after = Totals { reads_lease: 40, reads_quorum: 20, writes: 5 };
        assert_eq!(after.since(before).lease_share(), Some(0.75));
        assert_eq!(before.since(before).lease_share(), None);
    }
}
