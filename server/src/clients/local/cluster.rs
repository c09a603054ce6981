//! `CLUSTER`: the nodes in the forms of Redis Cluster. A node that leads a group is the master of its slots. The nodes that
//! lead none are replicas of all masters: clients take a node for a master or for a replica, and not for both.

use super::client::number;
use crate::clients::shared::Clients;
use crate::clients::topology::{Described, Topology};
use crate::command::ClusterCommand;
use crate::resp::ReplyBuffer;
use crate::slots::SLOTS;
use leasehold_core::NodeId;
use leasehold_runtime::Runtime;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// Executes `CLUSTER`.
pub(super) fn execute<R: Runtime>(clients: &Clients<R>, command: ClusterCommand, out: &mut ReplyBuffer) {
    match command {
        ClusterCommand::MyId => out.bulk(clients.name()),
        ClusterCommand::Info => out.text(&info(clients)),
        ClusterCommand::Nodes => out.text(&nodes(&clients.topology(), clients.node())),
        ClusterCommand::Slots => slots(&clients.topology(), out).unwrap_or_else(|error| out.error(error)),
        ClusterCommand::Shards => shards(clients, &clients.topology(), out).unwrap_or_else(|error| out.error(error)),
    }
}

fn info<R: Runtime>(clients: &Clients<R>) -> String {
    let (topology, counters) = (clients.topology(), clients.transport.counters());
    let has_leader = |group: &usize| {
        let status = clients.executors[*group].handle().status();
        clients.reachable_leader(&status).is_some()
    };
    let ranges = clients.facts.slots.ranges().enumerate();
    let served: u16 = ranges.filter(|(group, _)| has_leader(group)).map(|(_, range)| range.len() as u16).sum();
    let mut text = format!("cluster_state:{}\r\n", if served == SLOTS { "ok" } else { "fail" });
    for (name, value) in [
        ("slots_assigned", SLOTS.into()),
        ("slots_ok", served.into()),
        ("slots_pfail", 0),
        ("slots_fail", (SLOTS - served).into()),
        ("known_nodes", topology.nodes.len() as u64),
        ("size", topology.all_masters().len() as u64),
        ("current_epoch", topology.term),
        ("my_epoch", topology.term),
        ("stats_messages_sent", counters.sent.load(Ordering::Relaxed)),
        ("stats_messages_received", counters.received.load(Ordering::Relaxed)),
    ] {
        // Writing to a string does not fail.
        let _ = write!(text, "cluster_{name}:{value}\r\n");
    }
    text
}

/// Returns a line for each node: its name, address, flags and master, the times of two messages, which are not recorded, its
/// epoch, the state of the link to it, and its slots. A replica of several masters names the first one.
fn nodes(topology: &Topology, own: NodeId) -> String {
    let mut text = String::new();
    let (masters, served) = (topology.all_masters(), topology.served());
    let first_master = topology.nodes.iter().find(|node| masters.contains(&node.node)).map(|node| &*node.name);
    for node in &topology.nodes {
        let is_master = masters.contains(&node.node);
        let mut flags = Vec::new();
        if node.node == own {
            flags.push("myself");
        }
        // A node without a master is one itself: it has no slots then.
        flags.push(if is_master || first_master.is_none() { "master" } else { "slave" });
        if !node.is_up {
            flags.push("fail?");
        }
        if node.address.is_none() {
            flags.push("noaddr");
        }
        let (host, port) = node.address.clone().unwrap_or_default();
        let master = first_master.filter(|_| !is_master).unwrap_or("-");
        let link = if node.is_up { "connected" } else { "disconnected" };
        let (name, peer_port, flags, term) = (&node.name, node.peer_port, flags.join(","), topology.term);
        let _ = write!(text, "{name} {host}:{port}@{peer_port} {flags} {master} 0 0 {term} {link}");
        for (range, _) in served.iter().filter(|(_, master)| *master == node.node) {
            let _ = write!(text, " {}-{}", range.start(), range.end());
        }
        text.push('\n');
    }
    text
}

/// A node, and the address that clients use.
type Reachable<'a> = (&'a Described, &'a (String, u16));

/// Returns a master and the replicas, those with an address: the master first, and no other master.
///
/// # Errors
/// The reply: the master has no address.
fn shard<'a>(
    topology: &'a Topology,
    masters: &BTreeSet<NodeId>,
    master: NodeId,
) -> Result<Vec<Reachable<'a>>, &'static str> {
    let is_part = |node: &&Described| node.node == master || !masters.contains(&node.node);
    let nodes = topology.nodes.iter().filter(is_part);
    let mut nodes: Vec<_> = nodes.filter_map(|node| Some((node, node.address.as_ref()?))).collect();
    nodes.sort_by_key(|(node, _)| node.node != master);
    if nodes.first().is_some_and(|(node, _)| node.node == master) { Ok(nodes) } else { Err(NO_MASTER) }
}

/// The reply of a node that knows no master. A reply without one would make clients forget every node, and after an error
/// they ask another one.
const NO_MASTER: &str = "CLUSTERDOWN this node has no leader; ask another node";

fn slots(topology: &Topology, out: &mut ReplyBuffer) -> Result<(), &'static str> {
    let (masters, ranges) = (topology.all_masters(), topology.served());
    let mut shards = BTreeMap::new();
    for master in &masters {
        let mut nodes = shard(topology, &masters, *master)?;
        // A node that is down is no help to a client that looks for one, as in Redis.
        nodes.retain(|(node, _)| node.is_up);
        shards.insert(*master, nodes);
    }
    if ranges.is_empty() {
        return Err(NO_MASTER);
    }
    out.array(ranges.len());
    for (range, master) in ranges {
        let nodes = &shards[&master];
        out.array(2 + nodes.len());
        out.integer((*range.start()).into());
        out.integer((*range.end()).into());
        for (node, (host, port)) in nodes {
            out.array(4);
            out.bulk(host);
            out.integer((*port).into());
            out.bulk(&node.name);
            // There is no other name of the host.
            out.map(0);
        }
    }
    Ok(())
}

fn shards<R: Runtime>(clients: &Clients<R>, topology: &Topology, out: &mut ReplyBuffer) -> Result<(), &'static str> {
    let (masters, served) = (topology.all_masters(), topology.served());
    let shards: Vec<_> = masters.iter().map(|master| shard(topology, &masters, *master)).collect::<Result<_, _>>()?;
    if shards.is_empty() {
        return Err(NO_MASTER);
    }
    out.array(shards.len());
    for nodes in shards {
        let master = nodes[0].0.node;
        let ranges: Vec<_> = served.iter().filter(|(_, of)| *of == master).map(|(range, _)| range).collect();
        out.map(2);
        out.bulk("slots");
        out.array(2 * ranges.len());
        for range in ranges {
            out.integer((*range.start()).into());
            out.integer((*range.end()).into());
        }
        out.bulk("nodes");
        out.array(nodes.len());
        for (node, (host, port)) in nodes {
            out.map(7);
            out.bulk("id");
            out.bulk(&node.name);
            out.bulk(if clients.encryption.is_used() { "tls-port" } else { "port" });
            out.integer((*port).into());
            let role = if node.node == master { "master" } else { "replica" };
            for (field, value) in [("ip", &**host), ("endpoint", host), ("role", role)] {
                out.bulk(field);
                out.bulk(value);
            }
            out.bulk("replication-offset");
            out.integer(number(node.stored));
            out.bulk("health");
            out.bulk(if node.is_up { "online" } else { "fail" });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(node: NodeId) -> Described {
        Described {
            node,
            name: node.to_string(),
            address: (node != 3).then(|| ("127.0.0.1".to_owned(), 1)),
            peer_port: 2,
            is_up: true,
            stored: 0,
        }
    }

    fn topology(masters: &[Option<NodeId>]) -> Topology {
        let ranges = (0..).map(|number| 10 * number..=10 * number + 9);
        let masters = ranges.zip(masters.iter().copied()).collect();
        Topology { term: 1, masters, nodes: (1..=4).map(described).collect() }
    }

    fn rendered(masters: &[Option<NodeId>]) -> Result<String, &'static str> {
        let mut out = ReplyBuffer::default();
        slots(&topology(masters), &mut out)?;
        Ok(String::from_utf8_lossy(out.bytes()).into_owned())
    }

    #[test]
    fn without_a_master_that_has_an_address_the_reply_is_an_error() {
        assert!(rendered(&[Some(2)]).is_ok());
        for masters in [&[None][..], &[Some(3)], &[Some(1), Some(3)]] {
            assert!(rendered(masters).is_err_and(|error| error.starts_with("CLUSTERDOWN ")), "{masters:?}");
        }
    }

    #[test]
    fn a_node_is_a_master_or_a_replica_and_never_both() {
        let masters = [Some(1), Some(2), None, Some(1)];
        let topology = topology(&masters);
        let numbers = |master| {
            shard(&topology, &topology.all_masters(), master)
                .map(|nodes| nodes.iter().map(|(node, _)| node.node).collect())
        };
        assert_eq!((numbers(1), numbers(2)), (Ok(vec![1, 4]), Ok(vec![2, 4])));
        let lines = nodes(&topology, 1);
        let lines: Vec<_> = lines.lines().map(|line| line.split_once(' ').expect("a name").1).collect();
        assert_eq!(
            lines,
            [
                "127.0.0.1:1@2 myself,master - 0 0 1 connected 0-9 30-39",
                "127.0.0.1:1@2 master - 0 0 1 connected 10-19",
                ":0@2 slave,noaddr 1 0 0 1 connected",
                "127.0.0.1:1@2 slave 1 0 0 1 connected",
            ]
        );
        assert!(rendered(&masters).is_ok_and(|reply| reply.starts_with("*3\r\n*4\r\n:0\r\n:9\r\n")));
    }
}
