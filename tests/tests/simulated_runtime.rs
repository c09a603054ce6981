//! The production node and links on a runtime with virtual time. They need nothing beyond the ports, and a seed
//! determines their behaviour.

use bytes::Bytes;
use leasehold_clock::Clock;
use leasehold_core::{Index, NodeId};
use leasehold_node::frames;
use leasehold_node::ports::{Batch, Disk, Lane, Links, NotSent};
use leasehold_node::{Handle, ReadMode, Role, Status};
use leasehold_runtime::Runtime as _;
use leasehold_tests::driven::{List, Plan};
use leasehold_tests::simulated::{MemoryDisk, SimulatedRuntime, Simulation};
use leasehold_transport_tcp::Transport;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

const HOLD: Duration = Duration::from_millis(1000);
const NODES: [NodeId; 3] = [1, 2, 3];

/// A time, a node and a description.
type Event = (u64, NodeId, String);

/// All events of all nodes, in order.
#[derive(Clone)]
struct Trace {
    clock: Arc<dyn Clock>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Trace {
    fn note(&self, node: NodeId, event: String) {
        let now = self.clock.now().expect("this clock never fails").awake_nanos();
        self.events.lock().push((now, node, event));
    }
}

/// Records the calls of one node.
struct Traced<T> {
    node: NodeId,
    trace: Trace,
    inner: T,
}

impl Links for Traced<Arc<Transport<SimulatedRuntime>>> {
    fn send(&self, to: NodeId, lane: Lane, payload: Bytes) -> Result<(), NotSent> {
        let text = format!("{:?}", frames::decode(&payload).expect("a node sends messages"));
        let outcome = self.inner.send(to, lane, payload);
        self.trace.note(self.node, format!("sends to {to}, {outcome:?}: {text}"));
        outcome
    }
}

impl Disk for Traced<MemoryDisk> {
    fn commit(&mut self, batches: &[Batch]) -> io::Result<()> {
        self.trace.note(self.node, format!("commits {batches:?}"));
        self.inner.commit(batches)
    }
}

struct Node {
    runtime: SimulatedRuntime,
    handle: Handle<List>,
}

struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    disks: BTreeMap<NodeId, MemoryDisk>,
    /// The runtime of the test itself, which is never killed.
    runtime: SimulatedRuntime,
    trace: Trace,
    seed: u64,
    simulation: Simulation,
}

impl Cluster {
    fn founded(seed: u64) -> Cluster {
        let simulation = Simulation::new(seed);
        let trace = Trace { clock: simulation.clock(Duration::ZERO), events: Arc::default() };
        let disks = NODES.map(|node| (node, MemoryDisk::default())).into();
        let runtime = simulation.runtime();
        let mut cluster = Cluster { nodes: BTreeMap::new(), disks, runtime, trace, seed, simulation };
        NODES.into_iter().for_each(|node| cluster.start(node));
        cluster
    }

    /// Returns a node's clock. No two clocks share an origin.
    fn clock(&self, node: NodeId) -> Arc<dyn Clock> {
        self.simulation.clock(Duration::from_secs(100 * node))
    }

    /// Starts a node from its disk, in a new process.
    fn start(&mut self, node: NodeId) {
        let runtime = self.simulation.runtime();
        let addresses: BTreeMap<_, _> = NODES.map(|node| (node, format!("10.0.0.{node}:7000"))).into();
        let listener = self.runtime.block_on(runtime.listen(&addresses[&node])).expect("its address is free");
        let seed = self.seed.wrapping_mul(31).wrapping_add(node);
        let (reads, clock) = (ReadMode::Lease, self.clock(node));
        let plan = Plan { node, seed, addresses, listener, hold: HOLD, reads, clock };
        let disk = self.disks[&node].clone();
        let (recovered, trace) = (disk.recovered(), self.trace.clone());
        let disk = Traced { node, trace: trace.clone(), inner: disk };
        let handle = plan.start(&runtime, disk, recovered, |transport| {
            Arc::new(Traced { node, trace: trace.clone(), inner: transport })
        });
        let watched = handle.clone();
        runtime.spawn(async move {
            let of = |status: &Status| (status.role, status.term, status.leader, status.stopped);
            let mut seen = of(&Status::default());
            loop {
                seen = of(&watched.wait_status(|status| of(status) != seen).await);
                trace.note(node, format!("is {seen:?}"));
            }
        });
        self.nodes.insert(node, Node { runtime, handle });
    }

    /// Kills a node, as a power failure does.
    fn kill(&mut self, node: NodeId) {
        self.trace.note(node, "is killed".to_owned());
        self.nodes.remove(&node).expect("it runs").runtime.kill();
    }

    /// Waits until all running nodes agree on a leader that holds a valid lease.
    fn leader(&self) -> NodeId {
        self.runtime.block_on(async {
            loop {
                for (id, node) in &self.nodes {
                    let known = self.nodes.values().all(|other| other.handle.status().leader == Some(*id));
                    if known && node.handle.status().role == Role::Leader && self.permit(*id).is_some() {
                        return *id;
                    }
                }
                self.runtime.sleep(Duration::from_millis(1)).await;
            }
        })
    }

    /// Returns the index at which this node may read under its lease now.
    fn permit(&self, node: NodeId) -> Option<Index> {
        self.nodes[&node].handle.gate().lease().try_read(self.clock(node).now()).map(|permit| permit.index)
    }

    /// Writes through this node, one command after another, and returns their numbers.
    fn write(&self, node: NodeId, commands: &[&'static str]) -> Vec<usize> {
        let handle = &self.nodes[&node].handle;
        self.runtime.block_on(async {
            let mut numbers = Vec::new();
            for command in commands {
                numbers.push(handle.write(Bytes::from_static(command.as_bytes())).await.expect("a leader writes"));
            }
            numbers
        })
    }

    /// Returns the records on a node's disk, once it has applied this index.
    fn stored(&self, node: NodeId, index: Index) -> Vec<Bytes> {
        let disk = &self.disks[&node];
        self.runtime.block_on(async {
            while disk.recovered().applied.index < index {
                self.runtime.sleep(Duration::from_millis(1)).await;
            }
        });
        disk.recovered().records.into_iter().map(|record| record.value).collect()
    }
}

/// Elects a leader, writes, kills it, elects another one, and restarts the first.
fn run(seed: u64) -> Vec<Event> {
    let mut cluster = Cluster::founded(seed);
    let first = cluster.leader();
    assert_eq!(cluster.write(first, &["a", "b", "c"]), [1, 2, 3]);
    assert!(cluster.permit(first) >= Some(3), "later reads reflect the writes");

    cluster.kill(first);
    let killed_at = cluster.simulation.now();
    let second = cluster.leader();
    assert_ne!(second, first);
    assert!(cluster.simulation.now() - killed_at > HOLD / 2, "a node was elected before the old lease expired");
    assert_eq!(cluster.write(second, &["d"]), [4], "an acknowledged write is missing");

    cluster.start(first);
    let grant = cluster.runtime.block_on(cluster.nodes[&second].handle.read()).expect("a leader reads");
    for node in NODES {
        assert_eq!(cluster.stored(node, grant.index), ["a", "b", "c", "d"], "node {node}");
    }
    // The cluster is idle for a minute.
    cluster.runtime.block_on(cluster.runtime.sleep(Duration::from_secs(60)));
    assert_eq!(cluster.leader(), second, "an idle cluster keeps its leader");

    let node = &cluster.nodes[&second];
    cluster.runtime.block_on(node.handle.stop());
    assert!(node.handle.status().stopped);
    cluster.trace.events.lock().clone()
}

#[test]
fn replaces_a_killed_leader_without_losing_writes() {
    for seed in 1..=10 {
        let events = run(seed);
        assert!(events.len() > 1000, "a minute of heartbeats: {}", events.len());
    }
}

#[test]
fn runs_are_determined_by_their_seed() {
    let (once, again, other) = (run(1), run(1), run(2));
    if let Some(at) = once.iter().zip(&again).position(|(one, two)| one != two) {
        panic!("event {at} differs: {:?}, then {:?}", once[at], again[at]);
    }
    assert_eq!(once.len(), again.len());
    assert_ne!(once, other);
}
