//! Frames between peers over TCP: a pure codec, a handshake, and lossy links that reconnect by themselves.
//!
//! Each node dials each peer once per [`Lane`], and each connection carries frames one way, from its dialer. Nothing here
//! waits for a slow or absent peer: [`Transport::send`](Links::send) queues within bounds or refuses. Frames are lost with
//! the connection they were queued for; Raft repeats its messages, and whoever asks a question has a deadline.
//!
//! What this does not do: it does not authenticate and does not encrypt. Whoever can reach the port and knows the
//! cluster's name and a node's number can speak as that node. Keep the port on a network that only the nodes are on.
//!
//! It names no runtime: sockets, timers and tasks come from a [`Runtime`].

pub mod frame;

// Public only for whoever tries it with hostile bytes.
#[doc(hidden)]
pub mod handshake;
mod inbound;
mod lane;
mod outbound;
mod peer;
mod queue;
mod tasks;

pub use lane::Lane;
pub use peer::Counters;

use frame::LENGTH_BYTES;
use handshake::{Identity, LONGEST_CLUSTER};
use inbound::Inbound;
use leasehold_core::{Config, NodeId};
use leasehold_driver::{Frame, Links, NotSent, Receive, Runtime};
use outbound::Outbound;
use peer::{Context, Peer, count};
use queue::Refused;
use std::collections::BTreeMap;
use std::sync::Arc;
use tasks::Tasks;

/// What a transport needs to know.
#[derive(Debug)]
pub struct TransportOptions<L> {
    /// This node's number.
    pub node: NodeId,
    /// The cluster's name, the same on all its nodes; at most 64 bytes.
    pub cluster: String,
    /// A number drawn at random by this process, so that it recognizes itself.
    pub boot: u64,
    /// What this node promises and what it requires; both sides of every connection check that they fit.
    pub config: Config,
    /// The other nodes and their addresses, `host:port`.
    pub peers: BTreeMap<NodeId, String>,
    /// Where the other nodes dial this one.
    pub listener: L,
}

/// Why a transport cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The cluster's name does not fit in the handshake.
    #[error("the cluster's name is {length} bytes long; give it one of 1 to {LONGEST_CLUSTER}")]
    ClusterName {
        /// Its length in bytes.
        length: usize,
    },
    /// This node is among its own peers.
    #[error("node {node} is among its own peers; name only the others")]
    OwnPeer {
        /// This node.
        node: NodeId,
    },
    /// A node has the number 0.
    #[error("0 is nobody's number; number nodes from 1")]
    NumberZero,
}

/// The links to all peers. Dropping it closes them.
pub struct Transport<R: Runtime> {
    context: Arc<Context<R>>,
    peers: BTreeMap<NodeId, Arc<Peer>>,
}

impl<R: Runtime> Transport<R> {
    /// Starts to accept and to dial. What arrives goes to `receive`, each lane of each peer in order.
    ///
    /// # Errors
    /// [`StartError`] when the options name nothing that could work.
    pub fn start(
        runtime: R,
        options: TransportOptions<R::Listener>,
        receive: Arc<dyn Receive>,
    ) -> Result<Arc<Self>, StartError> {
        let TransportOptions { node, cluster, boot, config, peers, listener } = options;
        if cluster.is_empty() || cluster.len() > LONGEST_CLUSTER {
            return Err(StartError::ClusterName { length: cluster.len() });
        }
        if peers.contains_key(&node) {
            return Err(StartError::OwnPeer { node });
        }
        if node == 0 || peers.contains_key(&0) {
            return Err(StartError::NumberZero);
        }
        let identity = Identity { node, cluster, boot, config, peers: peers.keys().copied().collect() };
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

    /// Whether there is a connection to this peer on which urgent frames can be sent.
    pub fn peer_up(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.queue(Lane::Urgent).is_open())
    }

    /// What is or was last wrong with the links to this peer, in one line; `None` once they have been good for a second.
    pub fn peer_trouble(&self, node: NodeId) -> Option<String> {
        self.peers.get(&node)?.trouble()
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.context.counters
    }

    /// Closes the listener and every connection, and waits until they are closed. A frame that was being delivered may
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
    fn send(&self, to: NodeId, frame: Frame) -> Result<(), NotSent> {
        let peer = self.peers.get(&to).ok_or(NotSent)?;
        let lane = Lane::of(&frame);
        let counters = &self.context.counters;
        let limit = lane.frame_limit();
        let size = match frame::encoded_len(&frame) {
            Ok(size) if size - LENGTH_BYTES <= limit => size,
            outcome => {
                count(&counters.dropped_full, 1);
                let length = outcome.map_or(usize::MAX, |size| size - LENGTH_BYTES);
                peer.report(&format_args!("was to be sent {}", frame::FrameError::TooLarge { length, limit }));
                return Err(NotSent);
            }
        };
        peer.queue(lane).push(size, frame).map_err(|refused| {
            let counter = match refused {
                Refused::Full => &counters.dropped_full,
                Refused::Down => &counters.dropped_down,
            };
            count(counter, 1);
            NotSent
        })
    }
}
