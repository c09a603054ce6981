//! TLS over the streams of any runtime: certificates and keys from PEM files, reloaded while connections run, and errors
//! that say what to do.
//!
//! * [`MutualTls`] is for nodes: each side presents a certificate and demands one of the same authority.
//! * [`ReloadingServer`] is for a port of clients, and [`TlsClient`] for a client.
//!
//! Each yields a [`Stream`], which can also be a plain one, so that callers need one type. A reload affects connections
//! that are made later, and a file that cannot be used changes nothing. Sessions are never resumed, so each connection
//! presents the certificates of its own time. There is no list of revoked certificates.
//!
//! The crate knows no runtime and no protocol. It does not open sockets.

mod error;
mod files;
mod peers;
mod single;
mod stream;

pub use error::{TlsError, explain};
pub use files::TlsFiles;
pub use peers::MutualTls;
pub use single::{ReloadingServer, TlsClient};
pub use stream::Stream;
