//! A clock that goes backward under the production driver, on virtual time.

use leasehold_clock::{Clock, Source};
use leasehold_core::{Instant, NodeId, Reading};
use leasehold_node::{Handle, ReadMode, Role};
use leasehold_runtime::Runtime as _;
use leasehold_tests::driven::Plan;
use leasehold_tests::simulated::{MemoryDisk, Simulation};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const HOLD: Duration = Duration::from_millis(1000);
const NODES: [NodeId; 3] = [1, 2, 3];

/// A clock that can be set back. Timers are not affected.
struct Stepped {
    inner: Arc<dyn Clock>,
    behind: AtomicU64,
    is_disrupted: AtomicBool,
}

impl Clock for Stepped {
    fn now(&self) -> Reading {
        let behind = self.behind.load(Ordering::Relaxed);
        self.inner.now().map(|now| Instant::from_nanos(now.awake_nanos() - behind, now.total_nanos() - behind))
    }

    fn source(&self) -> Source {
        self.inner.source()
    }

    fn is_disrupted(&self) -> bool {
        self.is_disrupted.swap(false, Ordering::Relaxed)
    }
}

#[test]
fn isolated_leader_revokes_its_lease_within_a_tick_of_a_backward_clock_step() {
    revokes_its_lease(|clock| clock.behind.store(Duration::from_secs(5).as_nanos() as u64, Ordering::Relaxed));
}

#[test]
fn isolated_leader_revokes_its_lease_within_a_tick_of_a_disruption_of_its_clock() {
    revokes_its_lease(|clock| clock.is_disrupted.store(true, Ordering::Relaxed));
}

/// Runs a cluster until it has a leader with a lease, isolates that, and does something to its clock.
fn revokes_its_lease(disturb: impl FnOnce(&Stepped)) {
    let simulation = Simulation::new(1);
    let watcher = simulation.runtime();
    let addresses: BTreeMap<_, _> = NODES.map(|node| (node, format!("10.0.0.{node}:7000"))).into();
    let mut nodes = BTreeMap::new();
    for node in NODES {
        let runtime = simulation.runtime();
        let listener = watcher.block_on(runtime.listen(&addresses[&node])).expect("its address is free");
        let clock = Arc::new(Stepped {
            inner: simulation.clock(Duration::ZERO),
            behind: AtomicU64::new(0),
            is_disrupted: AtomicBool::new(false),
        });
        let (addresses, reads) = (addresses.clone(), ReadMode::Lease);
        let plan = Plan { node, seed: node, addresses, listener, hold: HOLD, reads, clock: clock.clone() };
        let disk = MemoryDisk::default();
        let recovered = disk.recovered();
        let handle = plan.start(&runtime, disk, recovered, |transport| transport);
        nodes.insert(node, (runtime, handle, clock));
    }
    let permitted = |node: &(_, Handle<_>, Arc<Stepped>)| node.1.gate().lease().try_read(node.2.now()).is_some();
    let leader = watcher.block_on(async {
        loop {
            let leads = |node: &&_| nodes[*node].1.status().role == Role::Leader && permitted(&nodes[*node]);
            if let Some(leader) = NODES.iter().find(leads) {
                return *leader;
            }
            watcher.sleep(Duration::from_millis(1)).await;
        }
    });
    for follower in NODES.into_iter().filter(|node| *node != leader) {
        nodes[&follower].0.kill();
    }
    // Frames in transit arrive first, so that no frame makes the replica read its clock.
    watcher.block_on(watcher.sleep(Duration::from_millis(60)));
    let node = &nodes[&leader];
    assert!(permitted(node), "the lease outlives the followers");
    disturb(&node.2);
    watcher.block_on(watcher.sleep(HOLD / 10));
    assert!(!permitted(node), "the lease is still valid although no round renewed it");
    assert_eq!(node.1.statistics().group.holder.backward_readings, 1);
}
