//! Lossy links between peers over TCP: frames, a handshake, and connections that are established again when they break.
//!
//! Each node dials each peer once per [`Lane`]. Each connection carries frames one way, from its dialer. Nothing here
//! waits for a slow or unreachable peer: [`Transport::send`](Links::send) queues within bounds or refuses. A broken
//! connection loses the frames queued for it. Senders must cope: Raft repeats its messages, and requests have
//! deadlines.
//!
//! The payloads are opaque: this crate knows no consensus engine. It names no runtime either: sockets, timers and tasks
//! come from a [`Runtime`].
//!
//! It does not authenticate and does not encrypt. Anyone who can reach the port can speak as a node: the handshake
//! recognizes mistakes, not attacks. Keep the port on a network that contains only the nodes.

// Public only for fuzzing and for this crate's own tests.
#[doc(hidden)]
pub mod frame;
#[doc(hidden)]
pub mod handshake;
mod inbound;
mod lane;
mod outbound;
mod peer;
mod queue;
mod tasks;

pub use lane::max_payload_bytes;
pub use peer::Counters;

use bytes::Bytes;
use frame::Frame;
use handshake::{Identity, MAX_CLUSTER_BYTES};
use inbound::Inbound;
use leasehold_core::{Config, NodeId};
use leasehold_node::ports::{Lane, Links, Meet, NotSent, Receive};
use leasehold_runtime::Runtime;
use outbound::Outbound;
use peer::{Context, Peer, count};
use queue::Refused;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tasks::Tasks;
use tracing::Level;

/// The options of a transport.
#[non_exhaustive]
pub struct TransportOptions<L> {
    /// This node's number, from 1.
    node: NodeId,
    /// The cluster's name, the same on all its nodes; 1 to 64 bytes.
    pub cluster: String,
    /// The identity of this node and of those that it met.
    pub registrar: Arc<dyn Meet>,
    /// The lease configuration. Both sides of every connection check that their configurations fit together.
    pub config: Config,
    /// The other nodes and their addresses, `host:port`.
    pub peers: BTreeMap<NodeId, String>,
    /// The socket on which this node accepts connections from the others.
    pub listener: L,
}

impl<L> TransportOptions<L> {
    /// Returns options with no peers, for the node that `registrar` introduces.
    pub fn new(registrar: Arc<dyn Meet>, cluster: impl Into<String>, config: Config, listener: L) -> Self {
        let node = registrar.introduction().node;
        Self { node, cluster: cluster.into(), registrar, config, peers: BTreeMap::new(), listener }
    }
}

impl<L> fmt::Debug for TransportOptions<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportOptions")
            .field("node", &self.node)
            .field("cluster", &self.cluster)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

/// The reason why a transport cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The cluster's name does not fit into the handshake.
    #[error("the cluster's name is {length} bytes long; give it one of 1 to {MAX_CLUSTER_BYTES}")]
    ClusterName {
        /// Its length in bytes.
        length: usize,
    },
    /// This node is among its own peers.
    #[error("node {node} is among its own peers; list only the others")]
    OwnPeer {
        /// This node.
        node: NodeId,
    },
    /// A node has the number 0.
    #[error("0 is not a node number; number nodes from 1")]
    NumberZero,
}

/// The links to all peers. Dropping it closes them.
pub struct Transport<R: Runtime> {
    context: Arc<Context<R>>,
    peers: BTreeMap<NodeId, Arc<Peer>>,
}

impl<R: Runtime> fmt::Debug for Transport<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("node", &self.context.identity.node)
            .field("peers", &self.peers.keys())
            .field("counters", &self.context.counters)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> Transport<R> {
    /// Starts accepting and dialing. Delivers received payloads to `receive`, in order for each lane of each peer.
    ///
    /// # Errors
    /// [`StartError`] if the options are invalid.
    pub fn start(
        runtime: R,
        options: TransportOptions<R::Listener>,
        receive: Arc<dyn Receive>,
    ) -> Result<Arc<Self>, StartError> {
        let TransportOptions { node, cluster, registrar, config, peers, listener } = options;
        if cluster.is_empty() || cluster.len() > MAX_CLUSTER_BYTES {
            return Err(StartError::ClusterName { length: cluster.len() });
        }
        if peers.contains_key(&node) {
            return Err(StartError::OwnPeer { node });
        }
        if node == 0 || peers.contains_key(&0) {
            return Err(StartError::NumberZero);
        }
        let identity = Identity { node, cluster, config, peers: peers.keys().copied().collect(), registrar };
        let tasks = Tasks::new(runtime.clone());
        let context = Arc::new(Context { runtime, identity, counters: Counters::default(), tasks });
        let inbound = Arc::new(Inbound::new(context.clone(), receive));
        context.tasks.spawn(inbound.run(listener));
        let peers: BTreeMap<_, _> =
            peers.into_iter().map(|(node, address)| (node, Arc::new(Peer::new(node, address)))).collect();
        for peer in peers.values() {
            for lane in Lane::ALL {
                let outbound = Outbound { context: context.clone(), peer: peer.clone(), lane };
                context.tasks.spawn(outbound.run());
            }
        }
        Ok(Arc::new(Self { context, peers }))
    }

    /// Returns the peers.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.peers.keys().copied()
    }

    /// Returns true if the urgent lane to this peer is connected.
    pub fn peer_up(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.queue(Lane::Urgent).is_open())
    }

    /// Returns the last trouble with the links to this peer, in one line; `None` after a link was connected for a
    /// second.
    pub fn peer_trouble(&self, node: NodeId) -> Option<String> {
        self.peers.get(&node)?.trouble()
    }

    /// Returns the counters.
    pub fn counters(&self) -> &Counters {
        &self.context.counters
    }

    /// Closes the listener and every connection, and waits until they are closed. A payload that is being delivered may
    /// be lost.
    pub async fn stop(&self) {
        self.context.tasks.stop();
        self.context.tasks.ended().await;
    }
}

impl<R: Runtime> Drop for Transport<R> {
    fn drop(&mut self) {
        self.context.tasks.stop();
    }
}

impl<R: Runtime> Links for Transport<R> {
    fn send(&self, to: NodeId, lane: Lane, payload: Bytes) -> Result<(), NotSent> {
        let peer = self.peers.get(&to).ok_or(NotSent)?;
        let counters = &self.context.counters;
        let frame = Frame::new(payload, max_payload_bytes(lane)).map_err(|error| {
            count(&counters.dropped_full, 1);
            peer.report(Level::WARN, &format_args!("cannot be sent {error}"));
            NotSent
        })?;
        peer.queue(lane).push(frame).map_err(|refused| {
            let counter = match refused {
                Refused::Full => &counters.dropped_full,
                Refused::Disconnected => &counters.dropped_down,
            };
            count(counter, 1);
            NotSent
        })
    }
}
