//! A cluster of several nodes in this process.
#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::served::{await_groups, exchange, exchange_until, free_address, options, timing};
use leasehold::{Node, NodeOptions};
use leasehold_node::Role;
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
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

/// The hold, in seconds, with which a leader stays although the machine is busy.
pub(crate) const STEADY_HOLD: u64 = 3;
/// The hold, in seconds, with which a killed leader is replaced soon.
pub(crate) const SHORT_HOLD: u64 = 1;

pub(crate) struct Member<R: Kill> {
    pub(crate) id: u64,
    pub(crate) runtime: R,
    pub(crate) node: Node<R>,
    pub(crate) folder: TempDir,
}

impl<R: Kill> Member<R> {
    pub(crate) fn address(&self) -> SocketAddr {
        self.node.client_address()
    }

    /// Sends bytes on a new connection and returns all replies until the node closes it.
    pub(crate) fn exchange(&self, request: &[u8]) -> String {
        exchange(self.address(), request)
    }

    /// Sends bytes on new connections until the replies are accepted, and returns them. The commands are executed each
    /// time.
    pub(crate) fn exchange_until(&self, request: &[u8], accept: impl Fn(&str) -> bool) -> String {
        exchange_until(self.address(), request, accept)
    }
}

/// Starts a cluster with changed options, waits for a leader and returns its nodes, the leader first. The leader stays,
/// unless the options change the timing.
pub(crate) fn start<R: Kill>(size: u64, change: impl Fn(NodeOptions) -> NodeOptions) -> Vec<Member<R>> {
    let peers: BTreeMap<u64, String> = (1..=size).map(|id| (id, free_address().to_string())).collect();
    let mut members: Vec<_> = peers
        .iter()
        .map(|(id, address)| {
            let folder = tempfile::tempdir().expect("a folder");
            let runtime = R::start("node", 2).expect("a runtime");
            let options = change(NodeOptions {
                node: *id,
                peers: peers.clone(),
                peer_listen: address.clone(),
                timing: timing(STEADY_HOLD),
                record: Some(folder.path().join("lease.trace")),
                ..options(folder.path(), "127.0.0.1:0".to_owned())
            });
            let node = runtime.block_on(Node::start(&runtime, options)).expect("the node starts");
            Member { id: *id, runtime, node, folder }
        })
        .collect();
    for member in &members {
        await_groups(&member.runtime, &member.node, |status| status.leader.is_some());
    }
    members.sort_by_key(|member| member.node.status().role != Role::Leader);
    members
}

/// Lets a member lead a group, and waits until every node knows it.
pub(crate) fn lead<R: Kill>(members: &[Member<R>], group: u32, leader: &Member<R>) {
    let handle = |member: &Member<R>| member.node.handle().to_group(group).expect("a group");
    while handle(leader).status().role != Role::Leader {
        for member in members {
            // Only the leader does it, and only once it has heard from the other for a while.
            let _ = member.runtime.block_on(handle(member).transfer(leader.id));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for member in members {
        member.runtime.block_on(handle(member).wait_status(|status| status.leader == Some(leader.id)));
    }
}
