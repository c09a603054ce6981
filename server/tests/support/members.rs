//! A cluster of several nodes in this process.
#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::served::{exchange, free_address, options};
use leasehold::{Node, NodeOptions};
use leasehold_node::Role;
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// A runtime whose tasks can be stopped as if their process was killed.
pub(crate) trait Kill: Runtime {
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

pub(crate) struct Member<R: Kill> {
    pub(crate) runtime: R,
    pub(crate) node: Node<R>,
    pub(crate) folder: TempDir,
}

impl<R: Kill> Member<R> {
    /// Sends bytes on a new connection and returns all replies until the node closes it.
    pub(crate) fn exchange(&self, request: &[u8]) -> String {
        exchange(self.node.client_address(), request)
    }
}

/// Starts a cluster with changed options, waits for a leader and returns its nodes, the leader first.
pub(crate) fn start<R: Kill>(size: u64, change: impl Fn(NodeOptions) -> NodeOptions) -> Vec<Member<R>> {
    let peers: BTreeMap<u64, String> = (1..=size).map(|id| (id, free_address().to_string())).collect();
    let mut members: Vec<_> = peers
        .iter()
        .map(|(node, address)| {
            let folder = tempfile::tempdir().expect("a folder");
            let runtime = R::start("node", 2).expect("a runtime");
            let options = change(NodeOptions {
                node: *node,
                peers: peers.clone(),
                peer_listen: address.clone(),
                record: Some(folder.path().join("lease.trace")),
                ..options(folder.path(), "127.0.0.1:0".to_owned())
            });
            let node = runtime.block_on(Node::start(&runtime, options)).expect("the node starts");
            Member { runtime, node, folder }
        })
        .collect();
    for member in &members {
        member.runtime.block_on(member.node.handle().wait_status(|status| status.leader.is_some()));
    }
    members.sort_by_key(|member| member.node.status().role != Role::Leader);
    members
}
