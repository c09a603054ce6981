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
//! Nodes recognize each other by certificates or by a secret ([`PeerSecurity`]). Only certificates come with encryption.
//! Without either, anyone who can reach the port can speak as a node: the handshake then recognizes mistakes, not
//! attacks.

// Public only for fuzzing and for this crate's own tests.
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod frame;
#[doc(hidden)]
pub mod handshake;
#[doc(hidden)]
pub mod hello;
mod inbound;
mod lane;
mod opening;
mod outbound;
mod peer;
mod queue;
mod secret;
mod strangers;
mod tasks;
mod versions;

pub use handshake::certificate_name;
pub use lane::max_payload_bytes;
pub use peer::Counters;
pub use secret::{PeerSecret, SecretError};
pub use versions::Versions;

use bytes::Bytes;
use frame::Frame;
use handshake::{Identity, draw_nonce};
use hello::MAX_CLUSTER_BYTES;
use inbound::Inbound;
use leasehold_core::{Config, NodeId};
use leasehold_node::frames;
use leasehold_node::identity::Introduction;
use leasehold_node::ports::{Lane, Links, Meet, NotSent, Receive};
use leasehold_runtime::Runtime;
use leasehold_tls::MutualTls;
use outbound::{LinkError, Outbound};
use peer::{Context, Peers, PeersChange, count};
use queue::Refused;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use tasks::Tasks;
use tracing::Level;

/// The means by which nodes recognize each other. Without any, anyone who reaches the port can speak as a node.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PeerSecurity {
    /// The certificates of this node and of the authority. The certificate of node 2 of the cluster `a` is for the DNS name
    /// `node-2.a.leasehold` ([`certificate_name`]), so a node cannot act as another one.
    pub tls: Option<Arc<MutualTls>>,
    /// A secret that all nodes share, and prove in the handshake.
    pub secret: Option<PeerSecret>,
}

/// The options of a transport.
#[non_exhaustive]
pub struct TransportOptions<L> {
    /// This node's number, from 1.
    node: NodeId,
    /// The cluster's name, the same on all its nodes; 1 to 64 bytes.
    pub cluster: String,
    /// The number of the cluster's groups, the same on all its nodes.
    pub groups: NonZeroU16,
    /// The identity of this node and of those that it met.
    pub registrar: Arc<dyn Meet>,
    /// The lease configuration. Both sides of every connection check that their configurations fit together.
    pub config: Config,
    /// The versions of messages that this node speaks. A link uses the newest that both sides speak.
    pub versions: Versions,
    /// The means by which nodes recognize each other.
    pub security: PeerSecurity,
    /// The other nodes and their addresses, `host:port`, until [`Transport::set_peers`] replaces them.
    pub peers: BTreeMap<NodeId, String>,
    /// The socket on which this node accepts connections from the others.
    pub listener: L,
}

impl<L> TransportOptions<L> {
    /// Returns options with one group and no peers, for the node that `registrar` introduces.
    pub fn new(registrar: Arc<dyn Meet>, cluster: impl Into<String>, config: Config, listener: L) -> Self {
        let node = registrar.introduction().node;
        let (cluster, peers) = (cluster.into(), BTreeMap::new());
        let versions = Versions::new(frames::OLDEST_VERSION.into(), frames::VERSION.into());
        let (groups, security) = (NonZeroU16::MIN, PeerSecurity::default());
        Self { node, cluster, groups, registrar, config, versions, security, peers, listener }
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

/// The reason why a node could not be probed. Its text follows the node's name.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ProbeError(#[from] LinkError);

/// The links to all peers. Dropping it closes them.
pub struct Transport<R: Runtime> {
    context: Arc<Context<R>>,
    inbound: Arc<Inbound<R>>,
}

impl<R: Runtime> fmt::Debug for Transport<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("node", &self.context.identity.node)
            .field("peers", &self.peers())
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
        let TransportOptions { node, cluster, groups, registrar, config, versions, security, peers, listener } =
            options;
        if cluster.is_empty() || cluster.len() > MAX_CLUSTER_BYTES {
            return Err(StartError::ClusterName { length: cluster.len() });
        }
        if peers.contains_key(&node) {
            return Err(StartError::OwnPeer { node });
        }
        if node == 0 || peers.contains_key(&0) {
            return Err(StartError::NumberZero);
        }
        let (PeerSecurity { tls, secret }, draw) = (security, draw_nonce);
        let identity = Identity { node, cluster, groups, config, registrar, versions, secret, draw };
        let tasks = Tasks::new(runtime.clone());
        let (counters, dialed) = (Counters::default(), Peers::default());
        let context = Arc::new(Context { runtime, identity, tls, counters, tasks, peers: dialed });
        let inbound = Arc::new(Inbound::new(context.clone(), receive));
        context.tasks.spawn(inbound.clone().run(listener));
        let transport = Arc::new(Self { context, inbound });
        transport.set_peers(peers);
        Ok(transport)
    }

    /// Replaces the peers and their addresses, `host:port`. Links to new peers start. Those to nodes that are no longer
    /// peers end, in both directions. A peer whose address changed is dialed at the new one, and the frames queued for
    /// it are lost. An entry for this node itself, or for the number 0, is ignored.
    ///
    /// The peers are the nodes that this node dials. Which nodes it accepts is the registrar's decision.
    pub fn set_peers(&self, mut peers: BTreeMap<NodeId, String>) {
        peers.retain(|node, _| *node != 0 && *node != self.context.identity.node);
        let PeersChange { dial, removed } = self.context.peers.replace(peers);
        for peer in dial {
            for lane in Lane::ALL {
                let outbound = Outbound { context: self.context.clone(), peer: peer.clone(), lane };
                self.context.tasks.spawn(outbound.run());
            }
        }
        removed.into_iter().for_each(|node| self.inbound.disconnect(node));
    }

    /// Asks the node at `address` for its introduction, which it gives to any node of a cluster with the same name and
    /// with timing that fits. Neither node records the other.
    ///
    /// # Errors
    /// [`ProbeError`]: it does not answer, is not the node with the number `node`, or does not fit to this node.
    pub async fn probe(&self, node: NodeId, address: &str) -> Result<Introduction, ProbeError> {
        Ok(outbound::probe(&self.context, node, address).await?)
    }

    /// Returns the peers.
    pub fn peers(&self) -> Vec<NodeId> {
        self.context.peers.nodes()
    }

    /// Returns how many peers are connected, as [`peer_up`](Self::peer_up) defines it.
    pub fn connected_peers(&self) -> usize {
        self.context.peers.connected()
    }

    /// Returns true if the urgent lane to this peer is connected.
    pub fn peer_up(&self, node: NodeId) -> bool {
        self.context.peers.get(node).is_some_and(|peer| peer.is_up())
    }

    /// Returns the version of messages that the newest link to this peer agreed on.
    pub fn peer_version(&self, node: NodeId) -> Option<u16> {
        self.context.peers.get(node)?.version()
    }

    /// Returns the last trouble with the links to this peer, in one line; `None` after a link was connected for a
    /// second.
    pub fn peer_trouble(&self, node: NodeId) -> Option<String> {
        self.context.peers.get(node)?.trouble()
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
        let peer = self.context.peers.get(to).ok_or(NotSent)?;
        let counters = &self.context.counters;
        let frame = Frame::new(payload, max_payload_bytes(lane)).map_err(|error| {
            count(&counters.dropped_full[lane as usize], 1);
            peer.report(Level::WARN, &format_args!("cannot be sent {error}"));
            NotSent
        })?;
        peer.queue(lane).push(frame).map_err(|refused| {
            let dropped = match refused {
                Refused::Full => &counters.dropped_full,
                Refused::Disconnected => &counters.dropped_down,
            };
            count(&dropped[lane as usize], 1);
            NotSent
        })
    }

    fn version(&self, to: NodeId) -> Option<u16> {
        self.peer_version(to)
    }
}
