//! The keeper of a node's identity.

use crate::identity::{Introduction, Meeting, Refusal, Registry};
use async_trait::async_trait;
use leasehold_core::NodeId;
use parking_lot::Mutex;
use std::io;

/// The reason why a peer was not admitted, and must not be talked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeetError {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be recorded, and a peer that is not recorded could later come back with an older folder.
    #[error("is not admitted because it cannot be recorded in this node's data folder: {0}")]
    NotRecorded(io::Error),
}

/// Introduces a node to its peers, and keeps a durable record of those that it meets.
#[async_trait]
pub trait Meet: Send + Sync + 'static {
    /// Returns the present description of this node.
    fn introduction(&self) -> Introduction;

    /// Judges a peer by [`Registry::meet`], and makes the new registry durable. Returns true if the link may be used,
    /// and false if the cluster is not founded yet.
    ///
    /// # Errors
    /// [`MeetError`]: the link must not be used.
    async fn meet(&self, theirs: Introduction) -> Result<bool, MeetError>;

    /// Notes that `peer` has judged this node: it accepts it, or refuses its folder for a reason. The reason is in one
    /// line. The keeper may ignore it.
    fn judged_by(&self, peer: NodeId, refused: Option<&str>) {
        let _ = (peer, refused);
    }
}

/// Keeps a registry in memory, for tests and for nodes that never restart: peers refuse a node that comes back with a
/// new registry.
#[derive(Debug)]
pub struct MemoryRegistry(Mutex<Registry>);

impl MemoryRegistry {
    /// Keeps `registry` for a process that drew `boot`.
    pub fn new(mut registry: Registry, boot: u64) -> MemoryRegistry {
        registry.begin_run(boot);
        MemoryRegistry(Mutex::new(registry))
    }
}

#[async_trait]
impl Meet for MemoryRegistry {
    fn introduction(&self) -> Introduction {
        self.0.lock().introduction()
    }

    async fn meet(&self, theirs: Introduction) -> Result<bool, MeetError> {
        let mut registry = self.0.lock();
        let Meeting { registry: next, verdict } = registry.meet(&theirs);
        if let Some(next) = next {
            *registry = next;
        }
        Ok(verdict?)
    }
}
