//! Nodes without a server, on any runtime. They replicate a list of commands and serve no clients.

use bytes::Bytes;
use leasehold_clock::Clock;
use leasehold_core::{Config, Index, NodeId, Options as Timing};
use leasehold_node::identity::Registry;
use leasehold_node::ports::{
    Change, Disk, GroupId, Links, MemoryRegistry, Record, Recovered, StateMachine, UnknownCommand,
};
use leasehold_node::{GroupOptions, Handle, NodeOptions, ReadMode, Start, StartGroup};
use leasehold_runtime::Runtime;
use leasehold_transport_tcp::{Transport, TransportOptions};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A state machine that stores every command in order, under its number, starting from 1. A command's output is its
/// number.
#[derive(Debug, Default)]
pub struct List {
    records: Vec<Record>,
    valve: Valve,
}

impl List {
    /// Returns an empty list that applies nothing while the valve is closed.
    pub fn behind(valve: Valve) -> List {
        List { valve, ..List::default() }
    }
}

/// While it is closed, state machines hang. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Valve(Arc<(Mutex<bool>, Condvar)>);

impl Valve {
    /// Closes or opens it.
    pub fn set_closed(&self, closed: bool) {
        *self.0.0.lock() = closed;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        self.0.1.wait_while(&mut self.0.0.lock(), |closed| *closed);
    }
}

impl StateMachine for List {
    type Output = usize;
    type State = Vec<Record>;

    const NEWEST_VERSION: u32 = 1;

    fn version(_: &Bytes) -> u32 {
        1
    }

    fn apply(&mut self, _: Index, command: &Bytes, changes: &mut Vec<Change>) -> Result<usize, UnknownCommand> {
        self.valve.pass();
        let number = self.records.len() + 1;
        let key = Bytes::copy_from_slice(&(number as u64).to_be_bytes());
        let record = Record { key, value: command.clone() };
        self.records.push(record.clone());
        changes.push(Change::Put(record));
        Ok(number)
    }

    fn empty_state(&self) -> Vec<Record> {
        Vec::new()
    }

    fn state(&self) -> Vec<Record> {
        self.records.clone()
    }

    fn replace(&mut self, state: Vec<Record>) -> Vec<Record> {
        std::mem::replace(&mut self.records, state)
    }

    fn encode_output(output: &usize) -> Bytes {
        Bytes::copy_from_slice(&output.to_le_bytes())
    }

    fn decode_output(bytes: &[u8]) -> Option<usize> {
        bytes.try_into().ok().map(usize::from_le_bytes)
    }
}

/// The parameters for starting one node of a cluster.
pub struct Plan<R: Runtime> {
    /// Its number.
    pub node: NodeId,
    /// The seed of its random choices.
    pub seed: u64,
    /// The addresses of all nodes, including this one.
    pub addresses: BTreeMap<NodeId, String>,
    /// The listener for peers.
    pub listener: R::Listener,
    /// Its hold. The heartbeat interval is a tenth of it.
    pub hold: Duration,
    /// The way in which reads are granted.
    pub reads: ReadMode,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

impl<R: Runtime> Plan<R> {
    /// Starts the node on `disk`, which holds `recovered`. Its links go through `middleware`.
    pub fn start<D: Disk>(
        self,
        runtime: &R,
        disk: D,
        recovered: Recovered,
        middleware: impl FnOnce(Arc<Transport<R>>) -> Arc<dyn Links>,
    ) -> Handle<List> {
        let groups = vec![(List::default(), recovered)];
        self.start_groups(runtime, disk, groups, |_| {}, middleware).remove(&0).expect("its group")
    }

    /// Starts the node with several groups, which are numbered from 0.
    pub fn start_groups<D: Disk>(
        self,
        runtime: &R,
        disk: D,
        groups: Vec<(List, Recovered)>,
        options: impl Fn(&mut GroupOptions),
        middleware: impl FnOnce(Arc<Transport<R>>) -> Arc<dyn Links>,
    ) -> BTreeMap<GroupId, Handle<List>> {
        let Plan { node, seed, addresses, listener, hold, reads, clock } = self;
        let config = Config::new(Timing::new(hold, 1000)).expect("it fits together");
        let founders: Vec<NodeId> = addresses.keys().copied().collect();
        let registrar = Arc::new(MemoryRegistry::new(Registry::founded(node, founders.iter().copied()), node));
        let (inbox, mailbox) = leasehold_node::inbox();
        let mut links = TransportOptions::new(registrar, "driven", config, listener);
        links.peers = addresses.into_iter().filter(|(peer, _)| *peer != node).collect();
        let transport = Transport::start(runtime.clone(), links, Arc::new(inbox)).expect("sound options");
        // A restarted process numbers its requests from the start again, so the process needs a new number.
        let term = groups.iter().map(|(_, recovered)| recovered.hard_state.term).max().unwrap_or_default();
        let group = |(id, (machine, recovered)): (GroupId, (List, Recovered))| {
            let replica = leasehold_raft::Options::new(node, config, seed.wrapping_add(u64::from(id) << 32));
            let mut group = GroupOptions::new(id, replica, founders.clone());
            group.reads = reads;
            options(&mut group);
            StartGroup { options: group, machine, recovered, trace: None }
        };
        let start = Start {
            node: NodeOptions::new(node, (node << 32) | term),
            groups: (0..).zip(groups).map(group).collect(),
            removed: Vec::new(),
            disk,
            links: middleware(transport),
            clock,
            mailbox,
        };
        leasehold_node::start(runtime, start).expect("the node starts")
    }
}
