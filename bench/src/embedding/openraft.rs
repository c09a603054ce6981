//! Openraft with the wrappers of `leasehold-openraft`, next to `ReadPolicy::LeaseRead` of the same node. It is the only voter,
//! on tokio, with its log in memory.

use crate::effort::{Effort, in_turns};
use crate::report::{Row, Runs, median};
use crate::stopwatch::Stopwatch;
use leasehold_clock::SystemClock;
use leasehold_core::{Config, Options};
use leasehold_openraft::{Ground, Lease, LeasedRaft, Record, Recorded, Tag, TaggedNetwork, TaggedNetworkFactory};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{OptionalSend, Raft, ReadPolicy, ServerState};
use openraft_memstore::{MemStateMachine, TypeConfig, new_mem_store};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

type Leased = LeasedRaft<TypeConfig, Arc<MemStateMachine>>;

const HOLD: Duration = Duration::from_secs(2);

pub(super) fn reads(clock: SystemClock, effort: Effort) -> Result<[Row; 2], String> {
    let runtime =
        Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|error| error.to_string())?;
    let node = runtime.block_on(leader(clock)).map_err(|error| format!("openraft: {error}"))?;
    let (mut whole, mut fast) = (Runs::default(), Runs::default());
    in_turns(
        effort.runs,
        || {
            whole.ours.push(nanos(&runtime, &node, effort.calls(100.0), async |node: &Leased| {
                let ground = node.ensure_linearizable().await;
                assert!(matches!(ground, Ok(Ground::Lease)), "the heartbeats renew the lease: {ground:?}");
            }));
            fast.ours.push(nanos(&runtime, &node, effort.calls(50.0), async |node: &Leased| {
                assert!(black_box(node.lease().try_read()).is_some(), "the heartbeats renew the lease");
            }));
        },
        || {
            let native = nanos(&runtime, &node, effort.calls(2000.0), async |node: &Leased| {
                let read = node.raft().ensure_linearizable(ReadPolicy::LeaseRead).await;
                black_box(read.expect("the heartbeats renew the lease"));
            });
            whole.theirs.push(native);
            fast.theirs.push(native);
        },
    );
    runtime.block_on(node.raft().shutdown()).map_err(|error| format!("openraft: {error}"))?;
    Ok([
        whole.row("openraft: ensure_linearizable / openraft LeaseRead", "ns", None),
        fast.row("openraft: try_read / openraft LeaseRead", "ns", None),
    ])
}

/// Returns the nanoseconds of a read by one task: the median of some slices, as in [`crate::stopwatch`].
fn nanos<F>(runtime: &Runtime, node: &Leased, calls: u32, read: F) -> f64
where
    F: AsyncFn(&Leased),
{
    const SLICES: u32 = 9;
    let calls = (calls / SLICES).max(1);
    let slice = || {
        runtime.block_on(async {
            let watch = Stopwatch::start();
            for _ in 0..calls {
                read(node).await;
            }
            watch.nanos() / f64::from(calls)
        })
    };
    let slices: Vec<f64> = (0..SLICES).map(|_| slice()).collect();
    median(&slices).expect("there are slices")
}

async fn leader(clock: SystemClock) -> Result<Leased, Box<dyn std::error::Error>> {
    let config = openraft::Config {
        heartbeat_interval: 200,
        election_timeout_min: 500,
        election_timeout_max: 1000,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        quorum_loss_probe_interval: Some(3000),
        ..openraft::Config::default()
    };
    let config = Arc::new(config.validate()?);
    let timing = Config::new(Options::new(HOLD, 1000).with_heartbeat(HOLD / 10))?;
    let lease = Lease::new(1, &config, timing, clock, &mut Forgotten)?;
    let (log, state) = new_mem_store();
    let raft = Raft::new(1, config, lease.network(Nowhere), log, state).await?;
    let node = lease.attach(raft);
    node.raft().initialize(BTreeSet::from([1])).await?;
    let timeout = Some(Duration::from_secs(10));
    node.raft().wait(timeout).state(ServerState::Leader, "a single node elects itself").await?;
    // The lease follows what openraft publishes, a moment later.
    for _ in 0..100 {
        if node.lease().try_read().is_some() {
            return Ok(node);
        }
        tokio::time::sleep(HOLD / 100).await;
    }
    Err("the leader has no lease".into())
}

/// The record of a node that starts once and loses its log with it.
struct Forgotten;

impl Record for Forgotten {
    fn load(&mut self) -> io::Result<Recorded> {
        Ok(Recorded::default())
    }

    fn store(&mut self, _: Recorded) -> io::Result<()> {
        Ok(())
    }
}

/// The network of a node without peers.
struct Nowhere;

impl TaggedNetworkFactory<TypeConfig> for Nowhere {
    type Network = Nowhere;

    async fn new_client(&mut self, _target: u64, _node: &()) -> Nowhere {
        Nowhere
    }
}

fn unreachable() -> Unreachable<TypeConfig> {
    Unreachable::from_string("there are no peers")
}

impl TaggedNetwork<TypeConfig> for Nowhere {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn append_entries(
        &mut self,
        _: Tag,
        _: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<(AppendEntriesResponse<TypeConfig>, Tag), RPCError<TypeConfig>> {
        Err(unreachable().into())
    }

    async fn vote(
        &mut self,
        _: Tag,
        _: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(unreachable().into())
    }

    async fn pre_vote(
        &mut self,
        _: Tag,
        _: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<TypeConfig>,
        _: SnapshotOf<TypeConfig, Cursor<Vec<u8>>>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(unreachable().into())
    }

    async fn transfer_leader(
        &mut self,
        _: Tag,
        _: TransferLeaderRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(unreachable().into())
    }
}
