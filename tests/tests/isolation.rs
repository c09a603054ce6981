//! Three real nodes with several groups: one whose state machines hang, one whose messages are lost, and one that gets a
//! flood of writes. The others keep their leaders and their leases.

use bytes::Bytes;
use leasehold_clock::{Clock, SystemClock};
use leasehold_core::NodeId;
use leasehold_node::ports::{GroupId, Lane, Links, NotSent};
use leasehold_node::{Ground, Handle, ReadMode, Role, frames};
use leasehold_runtime::Runtime;
use leasehold_runtime_tokio::TokioRuntime;
use leasehold_storage::{Identity, Storage};
use leasehold_tests::driven::{List, Plan, Valve};
use leasehold_tests::processes::eventually;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NODES: [NodeId; 3] = [1, 2, 3];
const GROUPS: u32 = 6;
const HUNG: GroupId = 0;
const CUT: GroupId = 1;
const FLOODED: GroupId = 2;
const OTHERS: std::ops::Range<GroupId> = 3..GROUPS;
/// Long enough for a busy machine.
const HOLD: Duration = Duration::from_secs(3);
/// The clients of each node that flood a group.
const FLOOD: usize = 50;
const PATIENCE: Duration = Duration::from_secs(120);

/// Loses the messages of a group on demand.
struct Lossy {
    links: Arc<dyn Links>,
    loses: Arc<AtomicBool>,
}

impl Links for Lossy {
    fn send(&self, to: NodeId, lane: Lane, payload: Bytes) -> Result<(), NotSent> {
        if !self.loses.load(Ordering::Relaxed) {
            return self.links.send(to, lane, payload);
        }
        let mut messages = frames::decode(&payload).expect("a payload of this release");
        messages.retain(|message| message.group != CUT);
        for payload in frames::encode(&messages, self.version(to).unwrap_or(frames::VERSION.into())) {
            self.links.send(to, lane, payload.bytes.expect("it was encoded before"))?;
        }
        Ok(())
    }

    fn version(&self, to: NodeId) -> Option<u16> {
        self.links.version(to)
    }
}

struct Cluster {
    runtime: TokioRuntime,
    clock: Arc<dyn Clock>,
    nodes: BTreeMap<NodeId, BTreeMap<GroupId, Handle<List>>>,
    valve: Valve,
    loses: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Cluster {
        let runtime = TokioRuntime::start("isolation", 2).expect("threads");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new().expect("this machine has clocks"));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (valve, loses) = (Valve::default(), Arc::new(AtomicBool::new(false)));
        let listen = |node| {
            let listener = runtime.block_on(runtime.listen("127.0.0.1:0")).expect("a free port");
            let address = runtime.local_address(&listener).expect("its address").to_string();
            (node, (listener, address))
        };
        let listeners: BTreeMap<NodeId, _> = NODES.into_iter().map(listen).collect();
        let addresses: BTreeMap<NodeId, String> =
            listeners.iter().map(|(node, (_, address))| (*node, address.clone())).collect();
        let mut nodes = BTreeMap::new();
        for (node, (listener, _)) in listeners {
            let identity = Identity { cluster: "driven".to_owned(), node, founders: NODES.into() };
            let storage = Storage::open(&folder.path().join(node.to_string()), identity).expect("a new folder");
            let plan = Plan {
                node,
                seed: node,
                addresses: addresses.clone(),
                listener,
                hold: HOLD,
                reads: ReadMode::Lease,
                clock: clock.clone(),
            };
            let list = |group| if group == HUNG { List::behind(valve.clone()) } else { List::default() };
            let groups = (0..GROUPS).map(|group| (list(group), storage.recover(group).expect("readable"))).collect();
            let handles = plan.start_groups(
                &runtime,
                storage,
                groups,
                |options| options.applies_on_thread = options.group == HUNG,
                |links| Arc::new(Lossy { links, loses: loses.clone() }),
            );
            nodes.insert(node, handles);
        }
        Cluster { runtime, clock, nodes, valve, loses, _folder: folder }
    }

    fn leader(&self, group: GroupId) -> Option<&Handle<List>> {
        let mut handles = self.nodes.values().map(|groups| &groups[&group]);
        handles.find(|handle| handle.status().role == Role::Leader)
    }

    #[track_caller]
    fn await_leader(&self, group: GroupId) -> &Handle<List> {
        let gate_is_open = |handle: &&Handle<List>| handle.gate().try_read(self.clock.now()).is_some();
        eventually(PATIENCE, || self.leader(group).filter(gate_is_open)).expect("the group has a leader with a lease")
    }

    fn write(&self, handle: &Handle<List>) -> bool {
        self.runtime.block_on(handle.write(Bytes::from_static(b"a"))).is_ok()
    }
}

#[test]
fn groups_in_trouble_cost_the_others_neither_leader_nor_lease() {
    let cluster = Cluster::start();
    for group in 0..GROUPS {
        cluster.await_leader(group);
    }
    let terms: BTreeMap<GroupId, u64> =
        OTHERS.map(|group| (group, cluster.await_leader(group).status().term)).collect();

    let flooding = Arc::new(AtomicBool::new(true));
    cluster.valve.set_closed(true);
    cluster.loses.store(true, Ordering::Relaxed);
    for groups in cluster.nodes.values() {
        for _ in 0..FLOOD {
            let (handle, flooding) = (groups[&FLOODED].clone(), flooding.clone());
            cluster.runtime.spawn(async move {
                while flooding.load(Ordering::Relaxed) {
                    let _ = handle.write(Bytes::from_static(b"flood")).await;
                }
            });
        }
        let handle = groups[&HUNG].clone();
        cluster.runtime.spawn(async move {
            let _ = handle.write(Bytes::from_static(b"hangs")).await;
        });
    }

    // Longer than a hold, so that leases have to be renewed meanwhile.
    let began = cluster.clock.now().expect("a reading");
    let mut rounds = 0;
    while cluster.clock.now().expect("a reading").elapsed_since(began).at_least < 2 * HOLD {
        for group in OTHERS {
            for groups in cluster.nodes.values() {
                assert!(cluster.write(&groups[&group]), "group {group} in round {rounds}");
            }
        }
        rounds += 1;
    }
    for group in OTHERS {
        let leader = cluster.await_leader(group);
        let read = || cluster.runtime.block_on(leader.read()).ok().filter(|grant| grant.ground == Ground::Lease);
        assert!(eventually(PATIENCE, read).is_some(), "group {group} is read by its lease");
        assert_eq!(leader.status().term, terms[&group], "group {group} kept its leader");
        assert!(leader.gate().applied() >= 3 * rounds);
    }
    let has_lease = |group: GroupId| {
        let mut handles = cluster.nodes.values().map(|groups| &groups[&group]);
        handles.any(|handle| handle.gate().lease().try_read(cluster.clock.now()).is_some())
    };
    assert!(
        eventually(PATIENCE, || (!has_lease(CUT)).then_some(())).is_some(),
        "the group without a quorum has no lease"
    );
    let hangs = || cluster.nodes.values().all(|groups| groups[&HUNG].gate().try_read(cluster.clock.now()).is_none());
    assert!(hangs(), "the group that hangs shows nothing");

    flooding.store(false, Ordering::Relaxed);
    cluster.valve.set_closed(false);
    cluster.loses.store(false, Ordering::Relaxed);
    for group in 0..GROUPS {
        let written = || cluster.write(cluster.await_leader(group)).then_some(());
        assert!(eventually(PATIENCE, written).is_some(), "group {group} serves again");
    }
    for groups in cluster.nodes.values() {
        cluster.runtime.block_on(groups[&HUNG].stop());
    }
}
