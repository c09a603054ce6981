//! The reasons why handshakes fail, in words for the operator.

use crate::versions::{HANDSHAKE_VERSION, Versions};
use leasehold_core::{NodeId, NotCovered};
use leasehold_node::ports::MeetError;
use std::io;
use std::num::NonZeroU16;
use tracing::Level;

/// The reason why a handshake failed. Each text follows the peer's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    #[error("does not speak Leasehold's peer protocol: check that the address and port are those for peers")]
    NotLeasehold,
    #[error("uses handshake {theirs}, this node handshake {HANDSHAKE_VERSION}: run releases of one major version")]
    OtherVersion { theirs: u16 },
    #[error(
        "speaks {theirs} of the peer protocol, this node {ours}: upgrade the older release first to one between them"
    )]
    NoCommonVersion { theirs: Versions, ours: Versions },
    #[error("sent a malformed hello: run the same release on both nodes")]
    Malformed,
    #[error("speaks TLS, and this node does not: give --tls-cert, --tls-key and --tls-ca to all nodes or to none")]
    UnexpectedTls,
    #[error("{0}")]
    Tls(String),
    #[error("proves a secret, and this node has none: give all nodes the same --peer-secret-file")]
    SecretMissingHere,
    #[error("has no secret, and this node demands one: give all nodes the same --peer-secret-file")]
    SecretMissingThere,
    #[error("does not prove the secret of this node: give all nodes the same --peer-secret-file")]
    WrongSecret,
    #[error("belongs to cluster {theirs:?}, this node to {ours:?}: give both the same --cluster")]
    OtherCluster { theirs: String, ours: String },
    #[error(
        "is of a cluster with {theirs} groups, this node of one with {ours}: give every node of a cluster the same --groups, \
         also one that joins it, and start that one on an empty data folder"
    )]
    OtherGroups { theirs: NonZeroU16, ours: NonZeroU16 },
    #[error("is this node itself: correct the addresses of its peers")]
    Myself,
    #[error("also has the number {node} of this node: give every node a different number")]
    SameNumber { node: NodeId },
    #[error("is node {theirs}, not {expected}: correct the addresses of this node's peers")]
    OtherNode { theirs: NodeId, expected: NodeId },
    #[error("dialed node {wanted}, but this is node {ours}: correct the addresses of its peers")]
    DialedOther { wanted: NodeId, ours: NodeId },
    #[error("has too short a hold: {0}")]
    NotCovered(NotCovered),
    #[error(transparent)]
    Identity(#[from] MeetError),
    #[error("waits until every founder runs")]
    NotFounded,
    #[error("refused the connection: \"node {ours} {reason}\"")]
    Refused { ours: NodeId, reason: String, for_its_folder: bool },
    #[error("did not complete the handshake within {seconds} s: check that the address and port are those for peers")]
    Late { seconds: u64 },
    #[error("lost the connection during the handshake: {0}")]
    Io(io::Error),
}

impl HandshakeError {
    /// Returns the level at which it is logged. A folder that must not take part needs an operator.
    pub(crate) fn level(&self) -> Level {
        match self {
            HandshakeError::NotFounded => Level::DEBUG,
            HandshakeError::Identity(_) | HandshakeError::Refused { for_its_folder: true, .. } => Level::ERROR,
            _ => Level::WARN,
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        leasehold_tls::explain(&error).map_or(HandshakeError::Io(error), HandshakeError::Tls)
    }
}
