//! Nodes that are only a driver and its links, on any runtime: a list of commands is replicated, and no client is served.

use async_trait::async_trait;
use bytes::Bytes;
use leasehold_clock::Clock;
use leasehold_core::{Config, Index, NodeId, Options as Timing};
use leasehold_driver::{
    Body, Change, Disk, Frame, Handle, Links, Options, ReadMode, Receive, Record, Recovered, Runtime, StateMachine,
};
use leasehold_transport_tcp::{Transport, TransportOptions};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Keeps every command, in order, under its number, and answers that number, from 1.
#[derive(Debug, Default)]
pub struct List {
    records: Vec<Record>,
}

impl StateMachine for List {
    type Output = usize;

    fn apply(&mut self, _: Index, command: &Bytes, changes: &mut Vec<Change>) -> usize {
        let number = self.records.len() + 1;
        let key = Bytes::copy_from_slice(&(number as u64).to_be_bytes());
        let record = Record { key, value: command.clone() };
        self.records.push(record.clone());
        changes.push(Change::Put(record));
        number
    }

    fn restore(&mut self, records: Vec<Record>) {
        self.records = records;
    }

    fn records(&self) -> Vec<Record> {
        self.records.clone()
    }
}

/// One node of a cluster, to be started.
pub struct Plan<R: Runtime> {
    /// Its number.
    pub node: NodeId,
    /// Where its randomness comes from.
    pub seed: u64,
    /// Every node with its address; this one too.
    pub addresses: BTreeMap<NodeId, String>,
    /// Where the others dial this one.
    pub listener: R::Listener,
    /// How long it holds; its heartbeat is a tenth of that.
    pub hold: Duration,
    /// How reads are granted.
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
        let Plan { node, seed, addresses, listener, hold, reads, clock } = self;
        let config = Config::new(Timing::new(hold, 1000)).expect("it fits together");
        let founders = addresses.keys().copied().collect();
        let peers = addresses.into_iter().filter(|(peer, _)| *peer != node).collect();
        let links = TransportOptions { node, cluster: "driven".to_owned(), boot: node, config, peers, listener };
        let inbox = Arc::new(Inbox::default());
        let transport = Transport::start(runtime.clone(), links, inbox.clone()).expect("sound options");
        let replica = leasehold_raft::Options::new(node, config, seed);
        let options = Options { group: 0, replica, founders, reads, trace: None };
        let links = middleware(transport);
        let handle = leasehold_driver::start(runtime, options, List::default(), disk, recovered, links, clock);
        let handle = handle.expect("the driver starts");
        assert!(inbox.0.set(handle.clone()).is_ok(), "it is set once");
        handle
    }
}

/// Links exist before the driver does; what arrives before it is lost, as links may.
#[derive(Default)]
struct Inbox(OnceLock<Handle<List>>);

#[async_trait]
impl Receive for Inbox {
    async fn receive(&self, from: NodeId, frame: Frame) {
        if let (Some(handle), Body::Raft(envelope)) = (self.0.get(), frame.body) {
            handle.receive(from, envelope).await;
        }
    }
}
