//! What the transport knows of each peer, and what all its tasks share.

use crate::handshake::Identity;
use crate::lane::Lane;
use crate::queue::Queue;
use crate::tasks::Tasks;
use futures::future::{Either, select};
use leasehold_core::NodeId;
use leasehold_driver::Runtime;
use parking_lot::Mutex;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a connection may take to be made, and then how long each side may take to say who it is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// What the transport has done since it started. Read them with any ordering; they only count.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames written to a connection. They may be lost all the same.
    pub sent: AtomicU64,
    /// Frames received.
    pub received: AtomicU64,
    /// Frames refused because their queue was full, or because they were too large for any.
    pub dropped_full: AtomicU64,
    /// Frames refused for want of a connection, or lost in a queue when theirs broke.
    pub dropped_down: AtomicU64,
    /// Connections closed because of what arrived on them.
    pub malformed: AtomicU64,
    /// Inbound connections refused: strangers, other clusters, promises too short, too many at once.
    pub refused: AtomicU64,
    /// Outbound connections made anew after an earlier one broke.
    pub reconnects: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

/// What every task of one transport shares.
pub(crate) struct Context<R> {
    pub(crate) runtime: R,
    pub(crate) identity: Identity,
    pub(crate) counters: Counters,
    pub(crate) tasks: Tasks<R>,
}

impl<R: Runtime> Context<R> {
    /// What `future` comes to, unless `duration` passes first.
    pub(crate) async fn within<F: Future>(&self, duration: Duration, future: F) -> Option<F::Output> {
        let (future, late) = (pin!(future), pin!(self.runtime.sleep(duration)));
        match select(future, late).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }
}

/// One peer, as seen by who sends to it.
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) address: String,
    queues: [Queue; Lane::ALL.len()],
    trouble: Trouble,
}

impl Peer {
    pub(crate) fn new(node: NodeId, address: String) -> Self {
        Self { node, address, queues: Lane::ALL.map(|lane| Queue::new(lane.room())), trouble: Trouble::default() }
    }

    pub(crate) fn queue(&self, lane: Lane) -> &Queue {
        &self.queues[usize::from(lane.number())]
    }

    /// Says what is wrong with this peer, if that is news.
    pub(crate) fn report(&self, trouble: &dyn std::fmt::Display) {
        if let Some(news) = self.trouble.change(format!("peer {} at {} {trouble}", self.node, self.address)) {
            tracing::warn!("{news}");
        }
    }

    /// Notes that a lane has been good for a while.
    pub(crate) fn recovered(&self, lane: Lane) {
        self.trouble.end();
        if lane == Lane::Urgent {
            tracing::info!("peer {} at {} is connected", self.node, self.address);
        }
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.0.lock().clone()
    }
}

/// What is wrong, so that each trouble is said once and not with every attempt.
#[derive(Default)]
pub(crate) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    /// Notes the newest trouble and returns it if it is not the last one again.
    pub(crate) fn change(&self, trouble: String) -> Option<String> {
        let mut known = self.0.lock();
        if known.as_ref() == Some(&trouble) {
            return None;
        }
        *known = Some(trouble.clone());
        Some(trouble)
    }

    pub(crate) fn end(&self) {
        self.0.lock().take();
    }
}
