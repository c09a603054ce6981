//! TLS between nodes: both sides present certificates of one authority.

use crate::error::TlsError;
use crate::files::{Loaded, TlsFiles};
use crate::stream::{Stream, server_name};
use futures::io::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsAcceptor, TlsConnector};
use parking_lot::RwLock;
use rustls::{ClientConfig, ServerConfig};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Both ends of TLS 1.3 between nodes. Each side presents a certificate, which serves as that of a server and of a client.
pub struct MutualTls {
    files: TlsFiles,
    name: String,
    current: RwLock<Configs>,
}

#[derive(Clone)]
struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl MutualTls {
    /// Reads the files of the node whose certificate has the DNS name `name`.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be used, or if a node with the same authority would refuse the certificate.
    pub fn open(files: TlsFiles, name: impl Into<String>) -> Result<MutualTls, TlsError> {
        let name = name.into();
        let current = RwLock::new(Configs::load(&files, &name)?);
        Ok(MutualTls { files, name, current })
    }

    /// Reads the files without the check that others accept the certificate: for tests of refusals.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be used.
    #[doc(hidden)]
    pub fn open_unchecked(files: TlsFiles) -> Result<MutualTls, TlsError> {
        let current = RwLock::new(Configs::of(&files.load()?)?);
        Ok(MutualTls { files, name: String::new(), current })
    }

    /// Reads the files again, for connections that are made from now on.
    ///
    /// # Errors
    /// As for [`open`](Self::open). In that case nothing changes.
    pub fn reload(&self) -> Result<(), TlsError> {
        let next = Configs::load(&self.files, &self.name)?;
        *self.current.write() = next;
        Ok(())
    }

    /// Reads the files again without that check: for tests of refusals.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be used.
    #[doc(hidden)]
    pub fn reload_unchecked(&self) -> Result<(), TlsError> {
        let next = Configs::of(&self.files.load()?)?;
        *self.current.write() = next;
        Ok(())
    }

    /// Accepts a connection of a node that presents a certificate. Its name is checked by
    /// [`Stream::check_certificate`], once the node has given its number.
    ///
    /// # Errors
    /// As the connection reports them, or [`explain`](crate::explain)s them.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Stream<S>> {
        let server = self.current.read().server.clone();
        Ok(Stream::encrypted(TlsAcceptor::from(server).accept(stream).await?.into()))
    }

    /// Connects to the node whose certificate has the DNS name `name`.
    ///
    /// # Errors
    /// As the connection reports them, or [`explain`](crate::explain)s them. A refusal of this node's certificate may
    /// appear only when the stream is read.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(&self, name: &str, stream: S) -> io::Result<Stream<S>> {
        let name = server_name(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let client = self.current.read().client.clone();
        Ok(Stream::encrypted(TlsConnector::from(client).connect(name, stream).await?.into()))
    }
}

impl Configs {
    fn load(files: &TlsFiles, name: &str) -> Result<Configs, TlsError> {
        let loaded = files.load()?;
        let configs = Configs::of(&loaded)?;
        loaded.check_name(&server_name(name)?)?;
        Ok(configs)
    }

    fn of(loaded: &Loaded) -> Result<Configs, TlsError> {
        // Every node speaks it. An older version would show certificates to those who listen.
        let server = loaded.server(&[&rustls::version::TLS13])?;
        Ok(Configs { client: Arc::new(loaded.client()?), server: Arc::new(server) })
    }
}

impl fmt::Debug for MutualTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutualTls").field("files", &self.files).field("name", &self.name).finish_non_exhaustive()
    }
}
