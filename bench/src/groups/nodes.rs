//! Three nodes in this process, with real folders and links on loopback, that host many groups.

use super::machine::{Machine, Valve};
use crate::children::{Folder, free_ports};
use crate::stopwatch::Stopwatch;
use bytes::Bytes;
use futures::future::join_all;
use hdrhistogram::Histogram;
use leasehold::keyspace::{Entry, Keyspace, ReadCommand, SetCommand, View, WallClock, WriteCommand};
use leasehold_clock::{Clock, SystemClock};
use leasehold_core::{Config, NodeId, Options as Timing};
use leasehold_node::identity::Registry;
use leasehold_node::ports::{GroupId, Lane, Links, MemoryRegistry, NotSent, StateMachine as _};
use leasehold_node::{GroupOptions, Handle, NodeOptions, Role, Start, StartGroup};
use leasehold_runtime::Runtime as _;
use leasehold_runtime_tokio::TokioRuntime;
use leasehold_storage::{Identity, Storage};
use leasehold_testing::dice::Dice;
use leasehold_transport_tcp::{Transport, TransportOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Threads that read, and clients that write.
pub(super) const READERS: usize = 2;
pub(super) const WRITERS: usize = 64;
/// Clients that flood a group.
const FLOOD: usize = 512;
/// Keys in each group.
pub(crate) const KEYS: usize = 100;
const NODES: [NodeId; 3] = [1, 2, 3];
/// The hold, long enough that a busy machine costs no lease.
const HOLD: Duration = Duration::from_secs(2);
const START_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The trouble that a group is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Its state machines apply nothing, on any node.
    ApplyHangs,
    /// Its messages are lost.
    NoQuorum,
    /// Many clients write without a pause.
    Flood,
}

/// The running nodes. Dropping them ends them.
pub(super) struct Nodes {
    runtime: TokioRuntime,
    clock: Arc<dyn Clock>,
    /// By group and node.
    groups: Vec<BTreeMap<NodeId, Hosted>>,
    sent: Arc<Sent>,
    valve: Valve,
    _folder: Folder,
}

struct Hosted {
    handle: Handle<Machine>,
    view: View,
}

/// Counts frames, and loses the messages of group 0 on demand.
#[derive(Default)]
struct Sent {
    frames: AtomicU64,
    loses_group_0: AtomicBool,
}

struct Watched {
    links: Arc<dyn Links>,
    sent: Arc<Sent>,
}

impl Links for Watched {
    fn send(&self, to: NodeId, lane: Lane, payload: Bytes) -> Result<(), NotSent> {
        self.sent.frames.fetch_add(1, Ordering::Relaxed);
        if !self.sent.loses_group_0.load(Ordering::Relaxed) {
            return self.links.send(to, lane, payload);
        }
        let mut messages = leasehold_node::frames::decode(&payload).map_err(|_| NotSent)?;
        messages.retain(|message| message.group != 0);
        let version = self.links.version(to).unwrap_or(leasehold_node::frames::VERSION.into());
        for payload in leasehold_node::frames::encode(&messages, version) {
            self.links.send(to, lane, payload.bytes.map_err(|_| NotSent)?)?;
        }
        Ok(())
    }

    fn version(&self, to: NodeId) -> Option<u16> {
        self.links.version(to)
    }
}

impl Nodes {
    /// Starts them, spreads the leaders, and writes every key. Group 0 can be made to hang if it applies on a thread.
    pub(super) fn start(groups: u32, applies_on_thread: bool) -> Result<Nodes, String> {
        let text = |error: std::io::Error| error.to_string();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = TokioRuntime::start("groups", threads).map_err(text)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new().map_err(|error| error.to_string())?);
        let folder = Folder::new()?;
        let ports: [u16; 3] = free_ports()?;
        let addresses: BTreeMap<NodeId, String> =
            NODES.into_iter().zip(ports).map(|(node, port)| (node, format!("127.0.0.1:{port}"))).collect();
        let (sent, valve) = (Arc::<Sent>::default(), Valve::default());
        let mut hosted: Vec<BTreeMap<NodeId, Hosted>> = (0..groups).map(|_| BTreeMap::new()).collect();
        for (node, address) in &addresses {
            let node = *node;
            let listener = runtime.block_on(runtime.listen(address)).map_err(text)?;
            let config = Config::new(Timing::new(HOLD, 1000)).map_err(|error| error.to_string())?;
            let registrar = Arc::new(MemoryRegistry::new(Registry::founded(node, NODES), node));
            let (inbox, mailbox) = leasehold_node::inbox();
            let mut links = TransportOptions::new(registrar, "groups", config, listener);
            links.peers = addresses.clone();
            links.peers.remove(&node);
            let links = Transport::start(runtime.clone(), links, Arc::new(inbox)).map_err(|error| error.to_string())?;
            let identity = Identity { cluster: "groups".to_owned(), node, founders: NODES.into() };
            let storage =
                Storage::open(&folder.path().join(node.to_string()), identity).map_err(|error| error.to_string())?;
            let (mut starting, mut views) = (Vec::new(), Vec::new());
            for group in 0..groups {
                let keyspace = Keyspace::new("groups", WallClock::system());
                views.push(keyspace.view());
                let seed = u64::from(group) * 16 + node;
                let replica = leasehold_raft::Options::new(node, config, seed);
                let mut options = GroupOptions::new(group, replica, NODES.to_vec());
                options.unnoted_version = Keyspace::NEWEST_VERSION;
                options.applies_on_thread = applies_on_thread && group == 0;
                let recovered = storage.recover_as(group, keyspace.empty_state()).map_err(|error| error.to_string())?;
                let machine = Machine { keyspace, valve: options.applies_on_thread.then(|| valve.clone()) };
                starting.push(StartGroup { options, machine, recovered, trace: None });
            }
            let start = Start {
                node: NodeOptions::new(node, node),
                groups: starting,
                removed: Vec::new(),
                disk: storage,
                links: Arc::new(Watched { links, sent: sent.clone() }),
                clock: clock.clone(),
                mailbox,
            };
            let handles = leasehold_node::start(&runtime, start).map_err(|error| error.to_string())?;
            for ((group, handle), view) in handles.into_iter().zip(views) {
                hosted[group as usize].insert(node, Hosted { handle, view });
            }
        }
        let nodes = Nodes { runtime, clock, groups: hosted, sent, valve, _folder: folder };
        nodes.spread_leaders()?;
        nodes.fill()?;
        Ok(nodes)
    }

    /// Returns the number of frames that all nodes have sent.
    pub(super) fn frames(&self) -> u64 {
        self.sent.frames.load(Ordering::Relaxed)
    }

    /// Returns how often the leaders of groups have changed.
    pub(super) fn leases_lost(&self, groups: &[GroupId]) -> u64 {
        let term = |group: &GroupId| {
            let nodes = self.groups[*group as usize].values();
            nodes.map(|hosted| hosted.handle.status().term).max().unwrap_or_default()
        };
        groups.iter().map(term).sum()
    }

    fn leader(&self, group: GroupId) -> Option<&Hosted> {
        self.groups[group as usize].values().find(|hosted| hosted.handle.status().role == Role::Leader)
    }

    /// Hands every group to the node whose turn it is.
    fn spread_leaders(&self) -> Result<(), String> {
        let watch = Stopwatch::start();
        loop {
            let mut missing = 0;
            for group in 0..self.groups.len() as GroupId {
                let wanted = NODES[group as usize % NODES.len()];
                match self.leader(group) {
                    Some(leader) if leader.handle.status().leader == Some(wanted) => {}
                    Some(leader) => {
                        missing += 1;
                        // It is tried again until it succeeds.
                        let _ = self.runtime.block_on(leader.handle.transfer(wanted));
                    }
                    None => missing += 1,
                }
            }
            if missing == 0 {
                return Ok(());
            }
            if watch.elapsed() > START_TIMEOUT {
                return Err(format!("{missing} groups have not got their leader within {} s", START_TIMEOUT.as_secs()));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn fill(&self) -> Result<(), String> {
        let fill = |group: GroupId| async move {
            let commands: Vec<WriteCommand> = (0..KEYS).map(set).collect();
            self.write(group, Entry::encode(&[], true, &commands)).await
        };
        let all = 0..self.groups.len() as GroupId;
        self.runtime.block_on(join_all(all.map(fill))).into_iter().collect()
    }

    async fn write(&self, group: GroupId, entry: Bytes) -> Result<(), String> {
        let leader = self.leader(group).ok_or_else(|| format!("group {group} has no leader"))?;
        leader.handle.write(entry).await.map(drop).map_err(|error| format!("group {group}: {error}"))
    }

    /// Lets clients write to these groups for some time. Returns the nanoseconds that each write took.
    pub(super) fn set(&self, groups: &[GroupId], during: Duration) -> Result<Histogram<u64>, String> {
        let watch = Stopwatch::start();
        let client = |number: usize| async move {
            let mut dice = Dice::new(number as u64, 0);
            let mut taken =
                Histogram::<u64>::new_with_bounds(1, 100_000_000_000, 3).map_err(|error| error.to_string())?;
            while watch.elapsed() < during {
                let group = groups[dice.index(groups.len())];
                let one = Stopwatch::start();
                self.write(group, Entry::encode(&[], true, &[set(dice.index(KEYS))])).await?;
                taken.saturating_record(one.elapsed().as_nanos() as u64);
            }
            Ok::<_, String>(taken)
        };
        let mut all = Histogram::<u64>::new_with_bounds(1, 100_000_000_000, 3).map_err(|error| error.to_string())?;
        for taken in self.runtime.block_on(join_all((0..WRITERS).map(client))) {
            all.add(taken?).map_err(|error| error.to_string())?;
        }
        Ok(all)
    }

    /// Lets threads read from the leaders of these groups for some time. Returns the number of reads.
    pub(super) fn get(&self, groups: &[GroupId], during: Duration) -> Result<u64, String> {
        let leaders: Option<Vec<&Hosted>> = groups.iter().map(|group| self.leader(*group)).collect();
        let leaders = leaders.ok_or("a group has no leader")?;
        let read = |number: usize| {
            let (mut dice, mut replies) = (Dice::new(number as u64, 1), Vec::new());
            let (mut reads, watch) = (0, Stopwatch::start());
            while watch.elapsed() < during {
                // The clock of the stopwatch would cost as much as a read.
                for _ in 0..64 {
                    let Hosted { handle, view } = leaders[dice.index(leaders.len())];
                    if handle.gate().try_read(self.clock.now()).is_some() {
                        view.read(&[ReadCommand::Get(key(dice.index(KEYS)))], &mut replies);
                        reads += u64::from(replies.pop().is_some());
                    }
                }
            }
            reads
        };
        std::thread::scope(|scope| {
            let read = &read;
            let readers: Vec<_> = (0..READERS).map(|number| scope.spawn(move || read(number))).collect();
            let reads = readers.into_iter().map(|reader| reader.join().map_err(|_| "a reader panicked".to_owned()));
            reads.sum()
        })
    }

    /// Calls `measure` while a group is in trouble.
    pub(super) fn during<T>(
        &self,
        group: GroupId,
        trouble: Trouble,
        measure: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let flooding = Arc::new(AtomicBool::new(trouble == Trouble::Flood));
        self.valve.set_closed(trouble == Trouble::ApplyHangs);
        self.sent.loses_group_0.store(trouble == Trouble::NoQuorum, Ordering::Relaxed);
        for number in 0..FLOOD {
            let handle = self.groups[group as usize][&NODES[number % NODES.len()]].handle.clone();
            let flooding = flooding.clone();
            self.runtime.spawn(async move {
                while flooding.load(Ordering::Relaxed) {
                    let _ = handle.write(Entry::encode(&[], true, &[set(number % KEYS)])).await;
                }
            });
        }
        // Without a flood, one write meets the trouble.
        let handle = self.groups[group as usize][&NODES[0]].handle.clone();
        self.runtime.spawn(async move { drop(handle.write(Entry::encode(&[], true, &[set(0)])).await) });
        let measured = measure();
        flooding.store(false, Ordering::Relaxed);
        self.valve.set_closed(false);
        self.sent.loses_group_0.store(false, Ordering::Relaxed);
        measured
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // A hanging thread would keep its folder open.
        self.valve.set_closed(false);
        for hosted in self.groups.first().into_iter().flat_map(BTreeMap::values) {
            self.runtime.block_on(hosted.handle.stop());
        }
    }
}

fn key(number: usize) -> Bytes {
    format!("key:{number:012}").into()
}

/// Returns a write of a key of a group.
pub(crate) fn set(number: usize) -> WriteCommand {
    WriteCommand::Set(SetCommand::new(key(number), Bytes::from_static(&[b'x'; 64])))
}
