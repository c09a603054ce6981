//! The state of each peer's links, and the state that all tasks of a transport share.

use crate::handshake::Identity;
use crate::lane;
use crate::queue::Queue;
use crate::tasks::Tasks;
use futures::future::{Either, select};
use leasehold_core::NodeId;
use leasehold_node::ports::Lane;
use leasehold_runtime::Runtime;
use parking_lot::Mutex;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing::Level;

/// The time limit for connecting, and for the handshake that follows, on each side.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that lasted this long is stable: the next reconnect pause is short again, and trouble is reported
/// again.
pub(crate) const STABLE_INTERVAL: Duration = Duration::from_secs(1);

/// Counts of events since the transport started. They order nothing: read them with any memory ordering.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Frames written to a connection. They may still be lost.
    pub sent: AtomicU64,
    /// Frames received.
    pub received: AtomicU64,
    /// Frames refused because their queue was full or their payload exceeded their lane's limit.
    pub dropped_full: AtomicU64,
    /// Frames refused because there was no connection, or lost in a queue when its connection broke.
    pub dropped_down: AtomicU64,
    /// Connections closed because a frame exceeded its lane's limit or its payload was rejected.
    pub malformed: AtomicU64,
    /// Inbound connections refused: unknown nodes, other clusters, too short a hold, too many at once.
    pub refused: AtomicU64,
    /// Outbound connections established again after an earlier one broke.
    pub reconnects: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

/// The state that all tasks of one transport share.
pub(crate) struct Context<R> {
    pub(crate) runtime: R,
    pub(crate) identity: Identity,
    pub(crate) counters: Counters,
    pub(crate) tasks: Tasks<R>,
}

impl<R: Runtime> Context<R> {
    /// Returns the output of `future`, or `None` if `duration` passes first.
    pub(crate) async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Option<F::Output> {
        let (future, expired) = (pin!(future), pin!(self.runtime.sleep(duration)));
        match select(future, expired).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }

    /// Returns the output of `future`. Calls `stable` if the future still runs after [`STABLE_INTERVAL`].
    pub(crate) async fn note_stable<F: Future>(&self, future: F, stable: impl FnOnce()) -> F::Output {
        match select(pin!(future), pin!(self.runtime.sleep(STABLE_INTERVAL))).await {
            Either::Left((output, _)) => output,
            Either::Right((_, future)) => {
                stable();
                future.await
            }
        }
    }
}

/// One peer that this node dials.
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) address: String,
    queues: [Queue; Lane::ALL.len()],
    trouble: Trouble,
}

impl Peer {
    pub(crate) fn new(node: NodeId, address: String) -> Self {
        let queues = Lane::ALL.map(|lane| Queue::new(lane::queue_limits(lane)));
        Self { node, address, queues, trouble: Trouble::default() }
    }

    pub(crate) fn queue(&self, lane: Lane) -> &Queue {
        &self.queues[usize::from(lane::number(lane))]
    }

    /// Logs a trouble with this peer unless it is the last one again. Its text follows the peer's name.
    pub(crate) fn report(&self, level: Level, trouble: &dyn std::fmt::Display) {
        self.trouble.report(level, format!("peer {} at {} {trouble}", self.node, self.address));
    }

    /// Records that a lane's connection is stable.
    pub(crate) fn stable(&self, lane: Lane) {
        self.trouble.clear();
        if lane == Lane::Urgent {
            tracing::info!("peer {} at {} is connected", self.node, self.address);
        }
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.0.lock().clone()
    }
}

/// The last trouble, so that a repeated one is logged once and not with every attempt.
#[derive(Default)]
pub(crate) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    /// Records and logs a trouble, unless it is the last one again.
    pub(crate) fn report(&self, level: Level, trouble: String) {
        let last = self.0.lock().replace(trouble.clone());
        if last.as_ref() == Some(&trouble) {
            return;
        }
        // The level of an event is a constant.
        match level {
            Level::ERROR => tracing::error!("{trouble}"),
            Level::WARN => tracing::warn!("{trouble}"),
            _ => tracing::debug!("{trouble}"),
        }
    }

    pub(crate) fn clear(&self) {
        self.0.lock().take();
    }
}
