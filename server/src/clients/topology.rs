//! The nodes of the cluster as clients of Redis Cluster see them: which one serves which slots, and where each is reached.

use super::shared::{Clients, host_and_port};
use crate::executor::Executor;
use leasehold_core::{Index, NodeId, Term};
use leasehold_node::{REQUEST_TIMEOUT, Status};
use leasehold_runtime::Runtime;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The nodes and their parts.
pub(super) struct Topology {
    /// The highest term of any group.
    pub(super) term: Term,
    /// The slots of each group, and the node that clients send commands about their keys to, if there is one.
    pub(super) masters: Vec<(RangeInclusive<u16>, Option<NodeId>)>,
    /// In the order of their numbers.
    pub(super) nodes: Vec<Described>,
}

impl Topology {
    /// Returns the nodes that serve a group.
    pub(super) fn all_masters(&self) -> BTreeSet<NodeId> {
        self.masters.iter().filter_map(|(_, master)| *master).collect()
    }

    /// Returns the slots that have a master: ranges that follow each other and have the same one as one range.
    pub(super) fn served(&self) -> Vec<(RangeInclusive<u16>, NodeId)> {
        let mut served: Vec<(RangeInclusive<u16>, NodeId)> = Vec::new();
        for (range, master) in &self.masters {
            let Some(master) = master else { continue };
            match served.last_mut() {
                Some((before, same)) if same == master && *before.end() + 1 == *range.start() => {
                    *before = *before.start()..=*range.end();
                }
                _ => served.push((range.clone(), *master)),
            }
        }
        served
    }
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
    /// The newest index of the log that it is known to have, added up over the groups; 0 if this node does not know.
    pub(super) stored: Index,
}

impl<R: Runtime> Clients<R> {
    /// Returns the leader, if it is this node or connected to it. One that has just died is known for some time after its
    /// connections have ended, and by a node that is cut off for ever.
    pub(crate) fn reachable_leader(&self, status: &Status) -> Option<NodeId> {
        status.leader.filter(|leader| *leader == self.node() || self.transport.peer_up(*leader))
    }

    /// Returns the address for clients of a group's leader, if it is another node, connected to this one. Otherwise this
    /// node serves clients as well as any: it leads, or it waits for a leader on behalf of its clients.
    pub(super) fn other_leader(&self, group: u16) -> Option<(String, u16)> {
        let leader = self.reachable_leader(&self.group(group).handle().status())?;
        if leader == self.node() { None } else { self.client_address(leader) }
    }

    /// Returns the nodes and their parts.
    pub(super) fn topology(&self) -> Topology {
        let own = self.node();
        let registrar = self.executor.registrar();
        let registry = registrar.registry();
        let contacts = registry.contacts();
        let addresses_of = |node| contacts.get(&node).map(|contact| &contact.addresses);
        let address_of = |node| host_and_port(&addresses_of(node)?.clients);
        let groups = || self.executors.iter().map(|executor| (executor, executor.handle().status()));
        let leaders: Vec<_> = groups().map(|(_, status)| self.reachable_leader(&status)).collect();
        let describe = |node| {
            let stored = groups().map(|(executor, status)| match node {
                _ if node == own => status.applied,
                _ if status.leader == Some(node) => status.commit,
                _ => executor.handle().members().progress.get(&node).map_or(0, |progress| progress.stored),
            });
            Described {
                node,
                name: name_of(registry.cluster, node),
                address: address_of(node),
                peer_port: addresses_of(node)
                    .and_then(|addresses| host_and_port(&addresses.peers))
                    .map_or(0, |(_, port)| port),
                is_up: node == own || leaders.contains(&Some(node)) || self.transport.peer_up(node),
                stored: stored.sum(),
            }
        };
        // Clients that find no node for a slot fail at once, so this node offers itself while a leader is elected. One that
        // has been cut off for longer must not keep the clients that another node could serve.
        let takes_part = registrar.takes_no_part().is_none();
        let may_serve = |group: &Executor<R>| takes_part && group.leaderless.time() <= REQUEST_TIMEOUT;
        let master = |(executor, leader): (&Arc<Executor<R>>, &Option<NodeId>)| {
            let leads = leader.filter(|leader| *leader == own || address_of(*leader).is_some());
            leads.or_else(|| may_serve(executor).then_some(own))
        };
        let masters = self.executors.iter().zip(&leaders).map(master);
        let numbers: BTreeSet<NodeId> = registry.members().iter().chain([own]).collect();
        Topology {
            term: groups().map(|(_, status)| status.term).max().unwrap_or_default(),
            masters: self.facts.slots.ranges().zip(masters).collect(),
            nodes: numbers.into_iter().map(describe).collect(),
        }
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
    fn neighboring_ranges_of_one_master_are_one_range_and_those_without_a_master_are_left_out() {
        let masters = [(0..=9, Some(1)), (10..=19, Some(1)), (20..=29, None), (30..=39, Some(1)), (40..=49, Some(2))];
        let topology = Topology { term: 1, masters: masters.to_vec(), nodes: Vec::new() };
        assert_eq!(topology.served(), [(0..=19, 1), (30..=39, 1), (40..=49, 2)]);
        assert_eq!(topology.all_masters(), [1, 2].into());
    }

    #[test]
    fn names_have_forty_digits_and_differ() {
        let names: BTreeSet<String> =
            [(1, 2), (2, 1), (1, 1), (u64::MAX, u64::MAX), (1, 1 << 32)].map(|(of, node)| name_of(of, node)).into();
        assert_eq!(names.len(), 5);
        assert!(names.iter().all(|name| name.len() == 40), "{names:?}");
    }
}
