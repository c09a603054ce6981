//! How a node serves its clients.

use leasehold_tls::TlsFiles;
use std::path::PathBuf;

/// How a node serves its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientOptions {
    /// The file of the users who may log in. Without one, every client may execute every command.
    pub users: Option<PathBuf>,
    /// The certificate of the client port. With an authority, clients must present certificates too. Without files,
    /// connections are not encrypted.
    pub tls: Option<TlsFiles>,
    /// Clients that send a command about keys to a node that does not lead are sent to the leader, as in Redis Cluster.
    /// Otherwise the node executes the command through the leader.
    pub redirect: bool,
}
