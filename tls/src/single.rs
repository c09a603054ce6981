//! TLS between a server and its clients.

use crate::error::TlsError;
use crate::files::{TlsFiles, anonymous_client};
use crate::stream::{Stream, server_name};
use futures::io::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsAcceptor, TlsConnector};
use parking_lot::RwLock;
use rustls::{ClientConfig, ServerConfig};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The accepting end for clients, with TLS 1.2 or 1.3.
pub struct ReloadingServer {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

impl ReloadingServer {
    /// Reads the files. With an authority, clients must present a certificate that it has signed.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be used.
    pub fn open(files: TlsFiles) -> Result<ReloadingServer, TlsError> {
        let current = RwLock::new(Arc::new(files.load()?.server(rustls::DEFAULT_VERSIONS)?));
        Ok(ReloadingServer { files, current })
    }

    /// Reads the files again, for connections that are accepted from now on.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be used. In that case nothing changes.
    pub fn reload(&self) -> Result<(), TlsError> {
        let next = Arc::new(self.files.load()?.server(rustls::DEFAULT_VERSIONS)?);
        *self.current.write() = next;
        Ok(())
    }

    /// Accepts a connection.
    ///
    /// # Errors
    /// As the connection reports them, or [`explain`](crate::explain)s them.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Stream<S>> {
        let server = self.current.read().clone();
        Ok(Stream::encrypted(TlsAcceptor::from(server).accept(stream).await?.into()))
    }
}

impl fmt::Debug for ReloadingServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadingServer").field("files", &self.files).finish_non_exhaustive()
    }
}

/// The connecting end of a client that presents no certificate, with TLS 1.2 or 1.3.
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Reads the certificates of the authorities that may sign the server's.
    ///
    /// # Errors
    /// [`TlsError`] if the file cannot be used.
    pub fn open(authority: &Path) -> Result<TlsClient, TlsError> {
        Ok(TlsClient(Arc::new(anonymous_client(authority)?)))
    }

    /// Connects to the server whose certificate has this DNS name or IP address.
    ///
    /// # Errors
    /// As the connection reports them, or [`explain`](crate::explain)s them.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(&self, name: &str, stream: S) -> io::Result<Stream<S>> {
        let name = server_name(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Stream::encrypted(TlsConnector::from(self.0.clone()).connect(name, stream).await?.into()))
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").finish_non_exhaustive()
    }
}
