//! How the rest of a process talks to a running driver.

use crate::machine::StateMachine;
use async_channel::Sender;
use bytes::Bytes;
use event_listener::Event;
use futures::channel::oneshot;
use leasehold_core::{Index, LeaseCell, NodeId, Term};
use leasehold_raft::wire::Envelope;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It follows a leader, or waits for one.
    #[default]
    Follower,
    /// It asks to be elected, or asks whether it would be.
    Candidate,
    /// It leads.
    Leader,
}

/// A replica's view of its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What this node is.
    pub role: Role,
    /// The newest term it knows.
    pub term: Term,
    /// Who leads in that term, as far as it knows; 0 for nobody.
    pub leader: NodeId,
    /// The highest index known to be committed.
    pub commit: Index,
    /// The highest index applied to the state machine.
    pub applied: Index,
    /// Whether the driver has stopped; it never starts again.
    pub stopped: bool,
}

/// What a replica has counted since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// What it kept from its engine, or refused.
    pub replica: leasehold_raft::Statistics,
    /// What the holder of its lease saw.
    pub holder: leasehold_core::Statistics,
}

/// Leave to read: once the state machine has applied `index`, its state answers every read that arrived before this was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadGrant {
    /// The index to wait for.
    pub index: Index,
    /// Whether the lease granted it, rather than a quorum round.
    pub by_lease: bool,
}

/// Why a read was not granted. It had no effect and may be tried again, here or elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This node does not lead, or ceased to while the read waited.
    #[error("this node does not lead")]
    NotLeader,
    /// Too many reads wait already.
    #[error("too many reads are waiting")]
    Overloaded,
    /// No quorum answered in time.
    #[error("no quorum answered in time")]
    TimedOut,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Stopping,
}

/// Why a write was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// This node does not lead, or is handing leadership over; the write was not and will not be executed.
    #[error("this node does not lead")]
    NotLeader,
    /// Too many writes wait already; this one was not and will not be executed.
    #[error("too many writes are waiting")]
    Overloaded,
    /// The node is shutting down; the write was not and will not be executed.
    #[error("the node is shutting down")]
    Stopping,
    /// The write may be executed, now or later, or never: leadership was lost, or no quorum answered in time.
    #[error("the outcome of the write is unknown")]
    Uncertain,
}

/// One input of the driver.
pub(crate) enum Input<O> {
    Envelope { from: NodeId, envelope: Envelope },
    Write { command: Bytes, answer: oneshot::Sender<Result<O, WriteError>> },
    Read { answer: oneshot::Sender<Result<ReadGrant, ReadError>> },
    Transfer { to: NodeId },
    Stop,
}

/// What the driver publishes and everyone may read.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) lease: Arc<LeaseCell>,
    pub(crate) status: Mutex<Status>,
    pub(crate) status_changed: Event,
    pub(crate) statistics: Mutex<Statistics>,
    pub(crate) applied: AtomicU64,
    pub(crate) applied_moved: Event,
}

/// A handle to a running driver; clones share it. Every future here may be dropped at any await: what was accepted is
/// carried out all the same, only its answer is lost.
pub struct Handle<M: StateMachine> {
    pub(crate) inbox: Sender<Input<M::Output>>,
    pub(crate) shared: Arc<Shared>,
}

impl<M: StateMachine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { inbox: self.inbox.clone(), shared: self.shared.clone() }
    }
}

impl<M: StateMachine> Handle<M> {
    /// The published lease. Check it with a sample taken after the read arrived; then wait for the permit's index.
    pub fn lease(&self) -> &LeaseCell {
        &self.shared.lease
    }

    /// This node's view of its group, now.
    pub fn status(&self) -> Status {
        let mut status = *self.shared.status.lock();
        status.applied = self.applied();
        status
    }

    /// What this node's replica has counted, as of the last time its timer woke: about half a heartbeat ago at most.
    pub fn statistics(&self) -> Statistics {
        *self.shared.statistics.lock()
    }

    /// Waits until `until` holds of the status, and returns that status.
    pub async fn wait_status(&self, mut until: impl FnMut(&Status) -> bool) -> Status {
        loop {
            let changed = self.shared.status_changed.listen();
            let status = self.status();
            if until(&status) {
                return status;
            }
            changed.await;
        }
    }

    /// The highest index applied; what it did can be read.
    pub fn applied(&self) -> Index {
        self.shared.applied.load(Ordering::Acquire)
    }

    /// Waits until `index` is applied. Returns `false` if the driver stopped before that.
    pub async fn wait_applied(&self, index: Index) -> bool {
        loop {
            if self.applied() >= index {
                return true;
            }
            let moved = self.shared.applied_moved.listen();
            if self.applied() >= index {
                return true;
            }
            if self.shared.status.lock().stopped {
                return false;
            }
            moved.await;
        }
    }

    /// Proposes a command and waits until it is applied here, or its fate is sealed.
    ///
    /// # Panics
    /// When `command` is empty: an empty entry is how a leader opens its term.
    ///
    /// # Errors
    /// [`WriteError`]; only [`WriteError::Uncertain`] leaves open whether the command was or will be executed.
    pub async fn write(&self, command: Bytes) -> Result<M::Output, WriteError> {
        assert!(!command.is_empty(), "an empty command cannot be told from a leader's own entry");
        let (answer, outcome) = oneshot::channel();
        if self.inbox.send(Input::Write { command, answer }).await.is_err() {
            return Err(WriteError::Stopping);
        }
        // The driver answers whatever it took; it ends without an answer only when it is killed with the write in hand.
        outcome.await.unwrap_or(Err(WriteError::Uncertain))
    }

    /// Asks the driver for leave to read: by the lease if it holds, else by one quorum round shared with others.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self) -> Result<ReadGrant, ReadError> {
        let (answer, outcome) = oneshot::channel();
        if self.inbox.send(Input::Read { answer }).await.is_err() {
            return Err(ReadError::Stopping);
        }
        outcome.await.unwrap_or(Err(ReadError::Stopping))
    }

    /// Hands the driver what a peer's replica sent. Waits while the driver is behind.
    pub async fn receive(&self, from: NodeId, envelope: Envelope) {
        // A driver that has stopped needs no envelopes.
        let _ = self.inbox.send(Input::Envelope { from, envelope }).await;
    }

    /// Asks the leader, if this node is it, to hand leadership to `to`.
    pub async fn transfer(&self, to: NodeId) {
        let _ = self.inbox.send(Input::Transfer { to }).await;
    }

    /// Stops taking writes and reads, waits until what was accepted is answered and all is on disk, and stops the driver.
    pub async fn stop(&self) {
        let _ = self.inbox.send(Input::Stop).await;
        self.wait_status(|status| status.stopped).await;
    }
}
