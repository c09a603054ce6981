//! The flags that close the ports to strangers.

use clap::Args;
use leasehold_transport_tcp::{PeerSecret, PeerSecurity, SecretError};
use std::path::PathBuf;

/// The flags by which nodes recognize each other.
#[derive(Args, Debug, Default)]
pub(super) struct SecurityArguments {
    /// A file with a secret that is the same on every node, at least 16 bytes. Nodes without it cannot connect.
    #[arg(long, value_name = "FILE")]
    peer_secret_file: Option<PathBuf>,
}

/// The reason why these flags cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadSecurity {
    #[error("--peer-secret-file: {0}")]
    Secret(#[from] SecretError),
}

impl SecurityArguments {
    /// Reads the files.
    pub(super) fn peer_security(&self) -> Result<PeerSecurity, BadSecurity> {
        let mut security = PeerSecurity::default();
        security.secret = self.peer_secret_file.as_deref().map(PeerSecret::read).transpose()?;
        Ok(security)
    }
}
