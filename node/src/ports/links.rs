//! The network: opaque payloads on lanes.

use async_trait::async_trait;
use bytes::Bytes;
use leasehold_core::NodeId;

/// A class of messages between two nodes. Each lane is carried separately, so that urgent messages never wait behind
/// large ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Rounds, heartbeats, votes and all acknowledgements.
    Urgent,
    /// Log entries and snapshots.
    Append,
    /// Forwarded requests and their answers.
    Request,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Lane; 3] = [Lane::Urgent, Lane::Append, Lane::Request];
}

/// A payload was not sent: the queue is full, the payload exceeds its lane's limit, or the peer is unknown or
/// disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not sent: the queue is full, the payload is too large, or the peer is unknown or disconnected")]
pub struct NotSent;

/// Links to peers. They may lose, repeat and reorder payloads. They never block and their queues are bounded.
pub trait Links: Send + Sync + 'static {
    /// Queues a payload for a peer, without waiting.
    ///
    /// # Errors
    /// [`NotSent`] if the payload will certainly not arrive. `Ok` guarantees nothing.
    fn send(&self, to: NodeId, lane: Lane, payload: Bytes) -> Result<(), NotSent>;

    /// Returns the version of payloads that the newest link to a peer agreed on. `None`, the default, stands for the
    /// newest.
    fn version(&self, to: NodeId) -> Option<u16> {
        let _ = to;
        None
    }
}

/// The receiver cannot decode a payload. The link closes the connection that carried it and logs the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejected {
    /// The reason, as a predicate that can follow the peer's name in a log line: `sent an unknown message kind 7: run
    /// …`.
    pub reason: String,
}

/// The receiver of the payloads that links deliver.
#[async_trait]
pub trait Receive: Send + Sync + 'static {
    /// Handles one payload from an identified peer. Until this returns, that lane of that link reads no further
    /// payload. Other lanes and links continue.
    ///
    /// # Errors
    /// [`Rejected`] if the payload cannot be decoded.
    async fn receive(&self, from: NodeId, lane: Lane, payload: &[u8]) -> Result<(), Rejected>;
}
