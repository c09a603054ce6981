//! The lease of one node, and the task that keeps it.

use crate::check::{Unsuitable, check};
use crate::record::{Record, Recorded};
use crate::state::{Membership, Report, Seen, State};
use leasehold_clock::Clock;
use leasehold_core::{Config, Grantor, Holder, LeaseCell, Member, NodeId, NotCovered, Voters};
use openraft::alias::{WatchReceiverOf, WatchSenderOf};
use openraft::async_runtime::{Select3, WatchReceiver as _, WatchSender as _};
use openraft::storage::RaftStateMachine;
use openraft::type_config::TypeConfigExt as _;
use openraft::{Membership as Members, Raft, RaftMetrics, RaftTypeConfig, ServerState};
use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::sync::Arc;

/// The lease of one node of openraft. Clones are the same lease.
///
/// * [`new`](Lease::new) before openraft starts: it checks the configuration and renews the durable record.
/// * [`network`](Lease::network) wraps the network that goes to `Raft::new`.
/// * [`attach`](Lease::attach) wraps the `Raft`. All messages of peers go through the result, and so do reads.
pub struct Lease<C: RaftTypeConfig> {
    inner: Arc<Inner<C>>,
}

struct Inner<C: RaftTypeConfig> {
    cell: Arc<LeaseCell>,
    clock: Arc<dyn Clock>,
    /// The state, and the channel that tells of its changes.
    state: Mutex<(State, WatchSenderOf<C, Report>)>,
    reports: WatchReceiverOf<C, Report>,
}

/// An error of [`Lease::new`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration of openraft must be changed.
    #[error(transparent)]
    Unsuitable(#[from] Unsuitable),
    /// The record cannot be read or made durable.
    #[error("the record of holds: {0}")]
    Record(#[from] io::Error),
}

impl<C: RaftTypeConfig> Clone for Lease<C> {
    fn clone(&self) -> Lease<C> {
        Lease { inner: self.inner.clone() }
    }
}

impl<C: RaftTypeConfig> fmt::Debug for Lease<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("cell", &self.inner.cell).finish_non_exhaustive()
    }
}

impl<C> Lease<C>
where
    C: RaftTypeConfig<NodeId = u64, Term = u64>,
{
    /// Returns the lease of a process that has just started, for the first time or again.
    ///
    /// It stores in `record` that the process started and the hold under which it may acknowledge, before anything can leave.
    /// `engine` is the configuration with which openraft will run.
    ///
    /// # Errors
    /// [`StartError`]: the configuration must be changed, or the record cannot be kept.
    pub fn new(
        id: u64,
        engine: &openraft::Config,
        timing: Config,
        clock: impl Clock,
        record: &mut impl Record,
    ) -> Result<Lease<C>, StartError> {
        check::<C>(id, engine, &timing)?;
        let Recorded { longest_hold, starts } = record.load()?;
        let starts = starts.checked_add(1).ok_or_else(|| io::Error::other("the starts are used up"))?;
        record.store(Recorded { longest_hold: longest_hold.max(timing.hold()), starts })?;
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let holder = Holder::new(shifted(id), timing).with_rounds_after(u64::from(starts) << 32);
        let grantor = Grantor::new(timing, longest_hold, clock.now());
        let cell = Arc::new(LeaseCell::new());
        let state = State::new(Member::of(holder, grantor, cell.clone()), clock.clone());
        let (sender, reports) = C::watch_channel(Report::default());
        Ok(Lease { inner: Arc::new(Inner { cell, clock, state: Mutex::new((state, sender)), reports }) })
    }

    /// Returns the log index that must be applied before local state answers a read, if this node has the lease now. The
    /// fast path of [`LeasedRaft::ensure_linearizable`](crate::LeasedRaft::ensure_linearizable); for use from any thread.
    pub fn try_read(&self) -> Option<u64> {
        let permit = self.inner.cell.try_read(self.inner.clock.now())?;
        Some(permit.index - 1)
    }

    /// Returns the peers whose acknowledgements do not count, because their hold does not cover this node's lease.
    pub fn uncovered_peers(&self) -> Vec<(u64, NotCovered)> {
        self.inner.state.lock().0.uncovered().map(|(peer, error)| (peer - 1, error)).collect()
    }

    /// Does something with the state, and tells readers and the task what has changed.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (state, reports) = &mut *self.inner.state.lock();
        let outcome = change(state);
        reports.send_if_different(state.take_report());
        outcome
    }

    pub(crate) fn reports(&self) -> WatchReceiverOf<C, Report> {
        self.inner.reports.clone()
    }

    /// Follows what openraft publishes, opens rounds and sends them.
    pub(crate) async fn keep<SM: RaftStateMachine<C>>(self, raft: Raft<C, SM>) {
        let (mut changes, metrics, mut reports) = (raft.server_metrics(), raft.metrics(), self.reports());
        let mut sent = 0;
        loop {
            let seen = seen(&metrics.borrow_watched());
            let wait = self.with(|state| {
                state.follow(seen);
                state.handle_timeout()
            });
            let wanted = reports.borrow_and_update().heartbeats;
            if wanted != sent {
                sent = wanted;
                if raft.trigger().heartbeat().await.is_err() {
                    break;
                }
            }
            // Revocation does not depend on this task, so that it may be late.
            if let Select3::First(Err(_)) = C::select3(changes.changed(), reports.changed(), C::sleep(wait)).await {
                break;
            }
        }
        self.with(State::stop);
    }
}

/// Returns the number of a node or of an entry in the lease, which counts from 1.
pub(crate) fn shifted(number: u64) -> u64 {
    number.saturating_add(1)
}

/// Returns the voters of a configuration. One that is larger or in more than two parts still elects and replicates, but it
/// has no quorum here and grants no read.
pub(crate) fn membership<N: openraft::Node>(index: Option<u64>, members: &Members<u64, N>) -> Membership {
    let halves: Vec<Vec<NodeId>> =
        members.get_joint_config().iter().map(|half| half.iter().copied().map(shifted).collect()).collect();
    let voters = match &halves[..] {
        [only] => Voters::simple(only),
        [outgoing, incoming] => Voters::joint(incoming, outgoing),
        _ => Ok(Voters::NONE),
    };
    Membership { index: index.map_or(0, shifted), voters: voters.unwrap_or(Voters::NONE) }
}

fn seen<C: RaftTypeConfig<NodeId = u64, Term = u64>>(metrics: &RaftMetrics<C>) -> Seen {
    let config = &metrics.membership_config;
    Seen {
        leads: metrics.state == ServerState::Leader && metrics.running_state.is_ok(),
        term: metrics.current_term,
        last: metrics.last_log_index.map_or(0, shifted),
        committed: metrics.local_committed.as_ref().map_or(0, |log_id| shifted(log_id.index())),
        voters: membership(config.log_id().as_ref().map(|log_id| log_id.index()), config.membership()),
    }
}
