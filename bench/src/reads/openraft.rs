//! openraft's lease reads: a cluster of one node, with its log in memory.

use crate::allocation;
use crate::effort::{Effort, in_turns, leased};
use crate::report::{Row, Runs, Target, median};
use crate::stopwatch::Stopwatch;
use leasehold_clock::{Clock, SystemClock};
use leasehold_core::LeaseCell;
use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{AnyError, OptionalSend, Raft, RaftNetworkFactory, RaftNetworkV2, ReadPolicy, ServerState};
use openraft_memstore::{MemStateMachine, TypeConfig, new_mem_store};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

type Node = Raft<TypeConfig, Arc<MemStateMachine>>;

/// Concurrent tasks in the second comparison.
const TASKS: u32 = 8;

/// Returns the rows and a note.
pub(super) fn lease_reads(clock: &SystemClock, effort: Effort) -> Result<(Vec<Row>, String), String> {
    let schedulers = [
        Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?,
        Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|error| error.to_string())?,
    ];
    let nodes: Vec<Node> =
        schedulers.iter().map(|runtime| runtime.block_on(lone_leader())).collect::<Result<_, _>>()?;
    let cell = Arc::new(leased(clock.now()));
    let (mut rows, mut served) = (Vec::new(), Vec::new());
    for (tasks, name, target) in
        [(1, "try_read, one task / openraft LeaseRead", 40.0), (TASKS, "try_read, 8 tasks / openraft LeaseRead", 50.0)]
    {
        let (ours, theirs) = (effort.calls(50.0) / tasks * tasks.min(2), effort.calls(2000.0) / tasks);
        // The warm-up also determines the faster scheduler for the peer.
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            for (rates, (runtime, node)) in rates.iter_mut().zip(schedulers.iter().zip(&nodes)) {
                rates.push(of_openraft(runtime, node, tasks, theirs));
            }
        }
        let rates = rates.map(|rates| median(&rates).expect("there are rates"));
        let best = usize::from(rates[1] > rates[0]);
        // Ours hands no work to another task, so several tasks are served best by all threads, and one by the one it is
        // on.
        let ours_on = usize::from(tasks > 1);
        served.push(format!("{tasks} task(s): {:.2} M/s on one thread, {:.2} M/s on two", rates[0], rates[1]));
        let mut runs = Runs::default();
        in_turns(
            effort.runs,
            || runs.ours.push(of_cell(&schedulers[ours_on], &cell, *clock, tasks, ours)),
            || runs.theirs.push(of_openraft(&schedulers[best], &nodes[best], tasks, theirs)),
        );
        rows.push(runs.row(name, "M/s", Some(Target::AtLeast(target))));
    }
    for (runtime, node) in schedulers.iter().zip(nodes) {
        runtime.block_on(node.shutdown()).map_err(|error| format!("openraft: {error}"))?;
    }
    Ok((rows, format!("openraft, before the runs that count: {}.", served.join("; "))))
}

/// Returns millions of reads per second of ours.
fn of_cell(runtime: &Runtime, cell: &Arc<LeaseCell>, clock: SystemClock, tasks: u32, calls: u32) -> f64 {
    rate(runtime, tasks, calls, |calls| {
        let cell = Arc::clone(cell);
        async move {
            let before = allocation::count();
            black_box(read_repeatedly(&cell, &clock, calls));
            assert_eq!(allocation::count(), before, "a read allocates nothing");
        }
    })
}

fn read_repeatedly(cell: &LeaseCell, clock: &SystemClock, calls: u32) -> u64 {
    (0..calls).fold(0_u64, |sum, _| {
        let permit = cell.try_read(clock.now()).expect("the lease lasts an hour");
        sum.wrapping_add(permit.index ^ permit.term)
    })
}

/// Returns millions of reads per second of openraft.
fn of_openraft(runtime: &Runtime, node: &Node, tasks: u32, calls: u32) -> f64 {
    rate(runtime, tasks, calls, |calls| {
        let node = node.clone();
        async move {
            for _ in 0..calls {
                black_box(node.ensure_linearizable(ReadPolicy::LeaseRead).await.expect("it is the only node"));
            }
        }
    })
}

/// Returns millions of calls per second of these tasks: the median of some slices, as in [`crate::stopwatch`].
fn rate<F>(runtime: &Runtime, tasks: u32, calls: u32, task: impl Fn(u32) -> F) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    const SLICES: u32 = 9;
    let calls = (calls / SLICES).max(1);
    let slice = || {
        runtime.block_on(async {
            let watch = Stopwatch::start();
            let running: Vec<_> = (0..tasks).map(|_| tokio::spawn(task(calls))).collect();
            for task in running {
                task.await.expect("a reader does not fail");
            }
            f64::from(tasks * calls) * 1e3 / watch.nanos()
        })
    };
    let slices: Vec<f64> = (0..SLICES).map(|_| slice()).collect();
    median(&slices).expect("there are slices")
}

async fn lone_leader() -> Result<Node, String> {
    let config = openraft::Config::default().validate().map_err(|error| error.to_string())?;
    let (log, state) = new_mem_store();
    let text = |error: &dyn std::fmt::Display| format!("openraft: {error}");
    let node = Raft::new(0, Arc::new(config), Nowhere, log, state).await.map_err(|error| text(&error))?;
    node.initialize(BTreeSet::from([0])).await.map_err(|error| text(&error))?;
    node.wait(Some(Duration::from_secs(5)))
        .state(ServerState::Leader, "a single node elects itself")
        .await
        .map_err(|error| text(&error))?;
    node.ensure_linearizable(ReadPolicy::ReadIndex).await.map_err(|error| text(&error))?;
    Ok(node)
}

/// The network of a node without peers.
struct Nowhere;

impl RaftNetworkFactory<TypeConfig> for Nowhere {
    type Network = Nowhere;

    async fn new_client(&mut self, _target: u64, _node: &()) -> Nowhere {
        Nowhere
    }
}

fn unreachable() -> Unreachable<TypeConfig> {
    Unreachable::new(&AnyError::error("there are no peers"))
}

impl RaftNetworkV2<TypeConfig> for Nowhere {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<TypeConfig>,
        _snapshot: SnapshotOf<TypeConfig, Cursor<Vec<u8>>>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(unreachable().into())
    }
}
