//! `CLUSTER`: the nodes in the forms of Redis Cluster. The leader is the master of all slots, and the other nodes are its
//! replicas.

use super::client::number;
use crate::clients::shared::Clients;
use crate::clients::topology::{Described, Topology};
use crate::command::ClusterCommand;
use crate::resp::ReplyBuffer;
use crate::slots::{SLOTS, SlotTable};
use leasehold_core::NodeId;
use leasehold_runtime::Runtime;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// Executes `CLUSTER`.
pub(super) fn execute<R: Runtime>(clients: &Clients<R>, command: ClusterCommand, out: &mut ReplyBuffer) {
    match command {
        ClusterCommand::MyId => out.bulk(clients.name()),
        ClusterCommand::Info => out.text(&info(clients)),
        ClusterCommand::Nodes => out.text(&nodes(&clients.topology(), clients.node(), clients.facts.slots)),
        ClusterCommand::Slots => {
            slots(&clients.topology(), clients.facts.slots, out).unwrap_or_else(|error| out.error(error));
        }
        ClusterCommand::Shards => shards(clients, &clients.topology(), out).unwrap_or_else(|error| out.error(error)),
    }
}

fn info<R: Runtime>(clients: &Clients<R>) -> String {
    let (topology, counters) = (clients.topology(), clients.transport.counters());
    let serves = clients.reachable_leader(&clients.status()).is_some();
    let served = if serves { SLOTS } else { 0 };
    let mut text = format!("cluster_state:{}\r\n", if serves { "ok" } else { "fail" });
    for (name, value) in [
        ("slots_assigned", SLOTS.into()),
        ("slots_ok", served.into()),
        ("slots_pfail", 0),
        ("slots_fail", (SLOTS - served).into()),
        ("known_nodes", topology.nodes.len() as u64),
        ("size", u64::from(topology.master.is_some())),
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
/// epoch, the state of the link to it, and its slots.
fn nodes(topology: &Topology, own: NodeId, table: SlotTable) -> String {
    let mut text = String::new();
    let master_name = topology.nodes.iter().find(|node| topology.master == Some(node.node)).map(|node| &*node.name);
    for node in &topology.nodes {
        let is_master = topology.master == Some(node.node);
        let mut flags = Vec::new();
        if node.node == own {
            flags.push("myself");
        }
        // A node without a master is one itself: it has no slots then.
        flags.push(if is_master || master_name.is_none() { "master" } else { "slave" });
        if !node.is_up {
            flags.push("fail?");
        }
        if node.address.is_none() {
            flags.push("noaddr");
        }
        let (host, port) = node.address.clone().unwrap_or_default();
        let master = master_name.filter(|_| !is_master).unwrap_or("-");
        let link = if node.is_up { "connected" } else { "disconnected" };
        let (name, peer_port, flags, term) = (&node.name, node.peer_port, flags.join(","), topology.term);
        let _ = write!(text, "{name} {host}:{port}@{peer_port} {flags} {master} 0 0 {term} {link}");
        if is_master {
            for range in table.ranges() {
                let _ = write!(text, " {}-{}", range.start(), range.end());
            }
        }
        text.push('\n');
    }
    text
}

/// A node, and the address that clients use.
type Reachable<'a> = (&'a Described, &'a (String, u16));

/// Returns the nodes with an address, the master first.
///
/// # Errors
/// The reply: there is no master. A reply without one would make clients forget every node, and after an error they ask
/// another one.
fn reachable(topology: &Topology) -> Result<Vec<Reachable<'_>>, &'static str> {
    let mut nodes: Vec<_> = topology.nodes.iter().filter_map(|node| Some((node, node.address.as_ref()?))).collect();
    nodes.sort_by_key(|(node, _)| topology.master != Some(node.node));
    let is_served = nodes.first().is_some_and(|(node, _)| topology.master == Some(node.node));
    if is_served { Ok(nodes) } else { Err("CLUSTERDOWN this node has no leader; ask another node") }
}

fn slots(topology: &Topology, table: SlotTable, out: &mut ReplyBuffer) -> Result<(), &'static str> {
    let mut nodes = reachable(topology)?;
    // A node that is down is no help to a client that looks for one, as in Redis.
    nodes.retain(|(node, _)| node.is_up);
    let ranges: Vec<_> = table.ranges().collect();
    out.array(ranges.len());
    for range in ranges {
        out.array(2 + nodes.len());
        out.integer((*range.start()).into());
        out.integer((*range.end()).into());
        for (node, (host, port)) in &nodes {
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
    let nodes = reachable(topology)?;
    out.array(1);
    out.map(2);
    out.bulk("slots");
    let ranges: Vec<_> = clients.facts.slots.ranges().collect();
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
        let role = if topology.master == Some(node.node) { "master" } else { "replica" };
        for (field, value) in [("ip", &**host), ("endpoint", host), ("role", role)] {
            out.bulk(field);
            out.bulk(value);
        }
        out.bulk("replication-offset");
        out.integer(number(node.stored));
        out.bulk("health");
        out.bulk(if node.is_up { "online" } else { "fail" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_master_that_has_an_address_the_reply_is_an_error() {
        let described = |node| Described {
            node,
            name: node.to_string(),
            address: (node != 3).then(|| ("127.0.0.1".to_owned(), 1)),
            peer_port: 2,
            is_up: true,
            stored: 0,
        };
        let first = |master| {
            let topology = Topology { term: 1, master, nodes: vec![described(1), described(2), described(3)] };
            reachable(&topology).map(|nodes| nodes[0].0.node)
        };
        assert_eq!(first(Some(2)), Ok(2));
        for master in [None, Some(3)] {
            assert!(first(master).is_err_and(|error| error.starts_with("CLUSTERDOWN ")), "{master:?}");
        }
    }
}
