//! The nodes of the cluster as clients of Redis Cluster see them: which one serves the keys, and where each is reached.

use super::shared::{Clients, host_and_port};
use leasehold_core::{Index, NodeId, Term};
use leasehold_node::{REQUEST_TIMEOUT, Status};
use leasehold_runtime::Runtime;
use std::collections::BTreeSet;

/// The nodes and their parts.
pub(super) struct Topology {
    pub(super) term: Term,
    /// The node that clients send commands about keys to, if there is one.
    pub(super) master: Option<NodeId>,
    /// In the order of their numbers.
    pub(super) nodes: Vec<Described>,
}

/// A node.
pub(super) struct Described {
    pub(super) node: NodeId,
    /// Forty hexadecimal digits, the same on every node.
    pub(super) name: String,
    /// The address for clients, if it is known.
    pub(super) address: Option<(String, u16)>,
    /// The port for nodes, or 0.
    pub(super) peer_port: u16,
    /// This node, or one that is connected to it.
    pub(super) is_up: bool,
    /// The newest index of the log that it is known to have; 0 if this node does not know.
    pub(super) stored: Index,
}

impl<R: Runtime> Clients<R> {
    /// Returns the leader, if it is this node or connected to it. One that has just died is known for some time after its
    /// connections have ended, and by a node that is cut off for ever.
    pub(crate) fn reachable_leader(&self, status: &Status) -> Option<NodeId> {
        status.leader.filter(|leader| *leader == self.node() || self.transport.peer_up(*leader))
    }

    /// Returns the leader's address for clients, if it is another node, connected to this one. Otherwise this node serves
    /// clients as well as any: it leads, or it waits for a leader on behalf of its clients.
    pub(super) fn other_leader(&self) -> Option<(String, u16)> {
        let leader = self.reachable_leader(&self.status())?;
        if leader == self.node() { None } else { self.client_address(leader) }
    }

    /// Returns the nodes and their parts.
    pub(super) fn topology(&self) -> Topology {
        let (status, own) = (self.status(), self.node());
        let members = self.executor.handle().members();
        let registrar = self.executor.registrar();
        let registry = registrar.registry();
        let contacts = registry.contacts();
        let addresses_of = |node| contacts.get(&node).map(|contact| &contact.addresses);
        let address_of = |node| host_and_port(&addresses_of(node)?.clients);
        let leader = self.reachable_leader(&status);
        let describe = |node| {
            let stored = match node {
                _ if node == own => Some(status.applied),
                _ if status.leader == Some(node) => Some(status.commit),
                _ => members.progress.get(&node).map(|progress| progress.stored),
            };
            Described {
                node,
                name: name_of(registry.cluster, node),
                address: address_of(node),
                peer_port: addresses_of(node)
                    .and_then(|addresses| host_and_port(&addresses.peers))
                    .map_or(0, |(_, port)| port),
                is_up: node == own || leader == Some(node) || self.transport.peer_up(node),
                stored: stored.unwrap_or(0),
            }
        };
        // Clients that find no node for a slot fail at once, so this node offers itself while a leader is elected. One that
        // has been cut off for longer must not keep the clients that another node could serve.
        let may_serve = || registrar.takes_no_part().is_none() && self.health.leaderless_for() <= REQUEST_TIMEOUT;
        let leads = leader.filter(|leader| *leader == own || address_of(*leader).is_some());
        let master = leads.or_else(|| may_serve().then_some(own));
        let numbers: BTreeSet<NodeId> = registry.members().iter().chain([own]).collect();
        Topology { term: status.term, master, nodes: numbers.into_iter().map(describe).collect() }
    }

    /// Returns the mode that clients see: whether the node redirects them.
    pub(crate) fn mode(&self) -> &'static str {
        if self.facts.redirects { "cluster" } else { "standalone" }
    }

    /// Returns this node's name for clients of Redis Cluster.
    pub(super) fn name(&self) -> String {
        name_of(self.executor.registrar().registry().cluster, self.node())
    }
}

/// Returns the name of a node. Tools print the first eight digits, so they differ.
fn name_of(cluster: u64, node: NodeId) -> String {
    format!("{:08x}{cluster:016x}{node:016x}", node & u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_forty_digits_and_differ() {
        let names: BTreeSet<String> =
            [(1, 2), (2, 1), (1, 1), (u64::MAX, u64::MAX), (1, 1 << 32)].map(|(of, node)| name_of(of, node)).into();
        assert_eq!(names.len(), 5);
        assert!(names.iter().all(|name| name.len() == 40), "{names:?}");
    }
}
