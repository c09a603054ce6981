//! The state of each peer's links, and the state that all tasks of a transport share.

use crate::handshake::Identity;
use crate::lane;
use crate::queue::Queue;
use crate::tasks::Tasks;
use async_channel::{Receiver, Sender};
use futures::future::{Either, select};
use leasehold_core::NodeId;
use leasehold_node::ports::Lane;
use leasehold_runtime::Runtime;
use leasehold_tls::MutualTls;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
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
    /// Frames refused because their queue was full or their payload exceeded their lane's limit, by lane in the order of
    /// [`Lane::ALL`].
    pub dropped_full: [AtomicU64; Lane::ALL.len()],
    /// Frames refused because there was no connection, or lost in a queue when its connection broke, by lane in the order
    /// of [`Lane::ALL`].
    pub dropped_down: [AtomicU64; Lane::ALL.len()],
    /// Connections closed because a frame exceeded its lane's limit or its payload was rejected.
    pub malformed: AtomicU64,
    /// Inbound handshakes that failed: nodes that are not admitted, other clusters, wrong secrets or certificates, too short
    /// a hold, silence, bytes that are no handshake.
    pub handshakes_refused: AtomicU64,
    /// Unfinished inbound handshakes that a newer connection replaced, because there were too many.
    pub handshakes_evicted: AtomicU64,
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
    pub(crate) tls: Option<Arc<MutualTls>>,
    pub(crate) counters: Counters,
    pub(crate) tasks: Tasks<R>,
    pub(crate) peers: Peers,
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

/// The peers that this node dials, which change while it runs.
#[derive(Default)]
pub(crate) struct Peers(RwLock<BTreeMap<NodeId, Arc<Peer>>>);

/// The difference between the former peers and the present ones.
#[derive(Default)]
pub(crate) struct PeersChange {
    /// The peers to dial: they are new, or their address is.
    pub(crate) dial: Vec<Arc<Peer>>,
    /// The nodes that are no peers any more.
    pub(crate) removed: Vec<NodeId>,
}

impl Peers {
    pub(crate) fn get(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.0.read().get(&node).cloned()
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.0.read().contains_key(&node)
    }

    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.0.read().keys().copied().collect()
    }

    /// Returns how many peers are connected.
    pub(crate) fn connected(&self) -> usize {
        self.0.read().values().filter(|peer| peer.is_up()).count()
    }

    /// Replaces the peers. The links to those that are gone, or have another address, end.
    pub(crate) fn replace(&self, addresses: BTreeMap<NodeId, String>) -> PeersChange {
        let mut peers = self.0.write();
        let mut change = PeersChange::default();
        peers.retain(|node, peer| {
            let kept = addresses.contains_key(node);
            if addresses.get(node) != Some(&peer.address) {
                peer.leave.0.close();
            }
            if !kept {
                change.removed.push(*node);
            }
            kept
        });
        for (node, address) in addresses {
            if peers.get(&node).is_none_or(|peer| peer.address != address) {
                let peer = Arc::new(Peer::new(node, address));
                change.dial.push(peer.clone());
                peers.insert(node, peer);
            }
        }
        change
    }
}

/// One peer that this node dials, at one address.
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) address: String,
    queues: [Queue; Lane::ALL.len()],
    trouble: Trouble,
    /// The version of the newest link; 0 before the first.
    version: AtomicU16,
    /// Carries nothing. It is closed when the peer is removed or moves to another address.
    leave: (Sender<Infallible>, Receiver<Infallible>),
}

impl Peer {
    pub(crate) fn new(node: NodeId, address: String) -> Self {
        let queues = Lane::ALL.map(|lane| Queue::new(lane::queue_limits(lane)));
        Self {
            node,
            address,
            queues,
            trouble: Trouble::default(),
            version: AtomicU16::new(0),
            leave: async_channel::bounded(1),
        }
    }

    pub(crate) fn set_version(&self, version: u16) {
        self.version.store(version, Ordering::Relaxed);
    }

    /// Returns the version of the newest link.
    pub(crate) fn version(&self) -> Option<u16> {
        Some(self.version.load(Ordering::Relaxed)).filter(|version| *version > 0)
    }

    /// Waits until the peer is removed or moves to another address.
    pub(crate) async fn left(&self) {
        let Err(_) = self.leave.1.recv().await;
    }

    /// Returns true if its urgent lane is connected.
    pub(crate) fn is_up(&self) -> bool {
        self.queue(Lane::Urgent).is_open()
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

    /// Returns true if this is the last one.
    pub(crate) fn is(&self, trouble: &str) -> bool {
        self.0.lock().as_deref() == Some(trouble)
    }

    pub(crate) fn clear(&self) {
        self.0.lock().take();
    }
}
