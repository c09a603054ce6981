//! Leases on openraft: three nodes in one process, on tokio. The leader is cut off, its lease ends, another node leads, and no
//! read is stale. `cargo run -p leasehold-openraft --example three_nodes`
//!
//! The lines that leases add are those with `lease`. The rest is what any program with openraft has: types, a store (in
//! memory here) and a network (function calls here).

use futures::{Stream, TryStreamExt as _};
use leasehold_clock::SystemClock;
use leasehold_core::{Config as Timing, Options};
use leasehold_openraft::{FileRecord, Ground, Lease, LeasedRaft, Tag, TaggedNetwork, TaggedNetworkFactory};
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::entry::RaftEntry as _;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{EntryPayload, LogState, Raft, RaftLogReader, RaftSnapshotBuilder};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const HOLD: Duration = Duration::from_millis(600);
/// No node is cut off.
const NONE: u64 = u64::MAX;

openraft::declare_raft_types!(
    /// A replicated number. Leases need leader ids with one leader in a term.
    Types: D = u64, R = u64, NodeId = u64, Node = (),
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

type Node = LeasedRaft<Types, Store>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = openraft::Config {
        heartbeat_interval: 60,
        election_timeout_min: 300,
        election_timeout_max: 600,
        // Leases need these three. Without one, `Lease::new` says so.
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        quorum_loss_probe_interval: Some(1200),
        ..Default::default()
    };
    let config = Arc::new(config.validate()?);
    let timing = Timing::new(Options::new(HOLD, 1000).with_heartbeat(HOLD / 10))?;
    let folder = std::env::temp_dir().join(format!("leasehold-three-nodes-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;

    let net = Net { nodes: Arc::default(), cut: Arc::new(AtomicU64::new(NONE)) };
    let mut stores = Vec::new();
    for id in 0..3 {
        let mut record = FileRecord::at(folder.join(format!("n{id}")));
        let lease = Lease::new(id, &config, timing, SystemClock::new()?, &mut record)?;
        let (store, outgoing) = (Store::default(), Outgoing { net: net.clone(), from: id });
        // Instead of `outgoing`.
        let network = lease.network(outgoing);
        let raft = Raft::new(id, config.clone(), network, store.clone(), store.clone()).await?;
        net.nodes().insert(id, lease.attach(raft));
        stores.push(store);
    }
    net.node(0).raft().initialize(std::collections::BTreeSet::from([0, 1, 2])).await?;

    let old = leader(&net, NONE).await;
    println!("n{old} leads");
    let mut newest = 0;
    let mut by_lease = 0;
    for value in 1..=200 {
        net.node(old).raft().client_write(value).await?;
        newest = value;
        // Then any read at the leader is answered locally, and has this value or a later one.
        by_lease += u64::from(net.node(old).ensure_linearizable().await? == Ground::Lease);
        assert_eq!(stores[old as usize].value(), newest, "no read is stale");
    }
    println!("n{old} wrote 200 values and read each of them, {by_lease} times by its lease");

    net.cut.store(old, Ordering::Relaxed);
    println!("n{old} is cut off; it cannot know that yet, and has a lease: {}", lease_of(&net, old));
    let new = leader(&net, old).await;
    println!("n{new} leads; has n{old} a lease? {}", lease_of(&net, old));
    net.node(new).raft().client_write(newest + 1).await?;
    newest += 1;
    match tokio::time::timeout(HOLD, net.node(old).ensure_linearizable()).await {
        Ok(Ok(_)) => assert_eq!(stores[old as usize].value(), newest, "no read is stale"),
        Ok(Err(error)) => println!("n{old} refuses a read: {error}"),
        Err(_) => println!("n{old} finds no quorum for a read, and the client gives up"),
    }
    let ground = net.node(new).ensure_linearizable().await?;
    println!("n{new} reads {}; permission came from: {ground:?}", stores[new as usize].value());
    net.node(new).ensure_by_quorum().await?;
    println!("n{new} reads {} after a quorum round as well", stores[new as usize].value());
    assert_eq!(stores[new as usize].value(), newest, "no read is stale");

    net.cut.store(NONE, Ordering::Relaxed);
    net.node(old).raft().wait(Some(Duration::from_secs(10))).current_leader(new, "it follows").await?;
    println!("n{old} is back, and follows");
    for id in 0..3 {
        net.node(id).raft().shutdown().await?;
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Returns whether a node may answer a read by its lease now.
fn lease_of(net: &Net, id: u64) -> bool {
    net.node(id).lease().try_read().is_some()
}

/// Waits for a leader other than `old` that can write.
async fn leader(net: &Net, old: u64) -> u64 {
    loop {
        for id in (0..3).filter(|id| *id != old) {
            if net.node(id).raft().is_leader() && net.node(id).raft().client_write(0).await.is_ok() {
                return id;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The servers of all nodes, as a client reaches them.
#[derive(Clone)]
struct Net {
    nodes: Arc<Mutex<BTreeMap<u64, Node>>>,
    /// The node that is cut off.
    cut: Arc<AtomicU64>,
}

impl Net {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<u64, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, id: u64) -> Node {
        self.nodes()[&id].clone()
    }
}

#[derive(Clone)]
struct Outgoing {
    net: Net,
    from: u64,
}

/// One node's link to another.
struct Link {
    net: Net,
    from: u64,
    to: u64,
}

impl Link {
    /// Returns the server at the other end. A real link would carry the bytes of a request and of its tag there.
    fn server(&self) -> Result<Node, Unreachable<Types>> {
        let cut = self.net.cut.load(Ordering::Relaxed);
        let there = self.net.nodes().get(&self.to).cloned();
        there.filter(|_| cut != self.from && cut != self.to).ok_or_else(|| Unreachable::from_string("cut off"))
    }
}

/// Wraps the error of a server. A real link would carry it back.
fn failed(error: impl std::fmt::Display) -> RPCError<Types> {
    Unreachable::from_string(error.to_string()).into()
}

impl TaggedNetworkFactory<Types> for Outgoing {
    type Network = Link;

    async fn new_client(&mut self, target: u64, (): &()) -> Link {
        Link { net: self.net.clone(), from: self.from, to: target }
    }
}

impl TaggedNetwork<Types> for Link {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        tag: Tag,
        rpc: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<(AppendEntriesResponse<Types>, Tag), RPCError<Types>> {
        // A link to another process sends these bytes.
        let tag = Tag::from_bytes(&tag.to_bytes()).map_err(failed)?;
        let answer = self.server()?.append_entries(tag, rpc).await.map_err(failed)?;
        // The answer may be lost, too.
        self.server()?;
        Ok(answer)
    }

    async fn vote(
        &mut self,
        tag: Tag,
        rpc: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.server()?.vote(tag, rpc).await.map_err(failed)
    }

    async fn pre_vote(
        &mut self,
        tag: Tag,
        rpc: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.server()?.pre_vote(tag, rpc).await.map_err(failed)
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Types>,
        _: SnapshotOf<Types, ()>,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(Unreachable::from_string("this store keeps its whole log").into())
    }

    async fn transfer_leader(
        &mut self,
        tag: Tag,
        rpc: TransferLeaderRequest<Types>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.server()?.transfer_leader(tag, rpc).await.map_err(failed)
    }
}

/// The log and the state machine of one node. They take the place of a disk.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    vote: Option<VoteOf<Types>>,
    entries: BTreeMap<u64, EntryOf<Types>>,
    value: u64,
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self) -> u64 {
        self.lock().value
    }
}

fn whole_log<T>() -> Result<T, io::Error> {
    Err(io::Error::other("this store keeps its whole log"))
}

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        Ok(self.lock().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Store;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let last_log_id = self.lock().entries.values().next_back().map(|entry| entry.log_id());
        Ok(LogState { last_purged_log_id: None, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Store {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + Send,
        I::IntoIter: Send,
    {
        self.lock().entries.extend(entries.into_iter().map(|entry| (entry.index(), entry)));
        flushed.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        self.lock().entries.split_off(&last.map_or(0, |last| last.index + 1));
        Ok(())
    }

    async fn purge(&mut self, _: LogIdOf<Types>) -> Result<(), io::Error> {
        whole_log()
    }
}

impl RaftSnapshotBuilder<Types> for Store {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, ()>, io::Error> {
        whole_log()
    }
}

impl RaftStateMachine<Types> for Store {
    type SnapshotData = ();
    type SnapshotBuilder = Store;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        let state = self.lock();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut state = self.lock();
            state.applied = Some(entry.log_id());
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(value) => state.value = state.value.max(value),
                EntryPayload::Membership(members) => {
                    state.membership = StoredMembershipOf::<Types>::new(state.applied, members);
                }
            }
            if let Some(responder) = responder {
                responder.send(state.value);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Store {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &SnapshotMetaOf<Types>, (): ()) -> Result<(), io::Error> {
        whole_log()
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, ()>>, io::Error> {
        Ok(None)
    }
}
