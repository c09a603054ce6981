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
}
