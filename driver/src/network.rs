//! What a network gives the driver, and what it delivers.

use async_trait::async_trait;
use bytes::Bytes;
use leasehold_core::NodeId;
use leasehold_raft::wire::Envelope;

/// One of the replicated groups on a node. There is one today, number 0; frames and storage keys carry it from the start.
pub type GroupId = u32;

/// Names a request across restarts: `boot` is drawn at random by each process, `sequence` counts within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// The process that asks.
    pub boot: u64,
    /// Which of its requests this is.
    pub sequence: u64,
}

/// What one node sends another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The group it concerns.
    pub group: GroupId,
    /// What it says.
    pub body: Body,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// From replica to replica.
    Raft(Envelope),
    /// From server to server: a client's command, for whoever leads.
    Request {
        /// Echoed in the answer.
        id: RequestId,
        /// The server's own encoding.
        payload: Bytes,
    },
    /// The answer to a request.
    Answer {
        /// The request's id.
        id: RequestId,
        /// The server's own encoding.
        payload: Bytes,
    },
}

/// A frame that was not sent: its queue is full, its peer unknown or unreachable. The caller may say so or try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSent;

/// Links to peers. They may lose, repeat and reorder frames; they never block and never grow without bound.
pub trait Links: Send + Sync + 'static {
    /// Hands a frame to the link, without waiting.
    ///
    /// # Errors
    /// [`NotSent`] when it surely will not arrive. `Ok` promises nothing.
    fn send(&self, to: NodeId, frame: Frame) -> Result<(), NotSent>;
}

/// Where links deliver what arrives.
#[async_trait]
pub trait Receive: Send + Sync + 'static {
    /// Takes one frame from an authenticated peer. While this waits, that link reads no more: other links go on.
    async fn receive(&self, from: NodeId, frame: Frame);
}
