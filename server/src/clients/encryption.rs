//! TLS on the client port.

use crate::counters::Counter;
use crate::resp::ReplyBuffer;
use crate::timeout::within;
use futures::io::AsyncWriteExt as _;
use leasehold_runtime::Runtime;
use leasehold_tls::{ReloadingServer, Stream, TlsError, TlsFiles, explain};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The time in which a client must complete the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection of a client.
pub(super) enum Arrived<R: Runtime> {
    /// Nothing was sent or received on it.
    New(R::Stream),
    /// It was answered while the node started.
    Greeted(Stream<R::Stream>),
}

/// The client port's side of TLS, if it uses TLS.
#[derive(Debug, Default)]
pub(crate) struct Encryption {
    tls: Option<ReloadingServer>,
    /// Handshakes that failed.
    pub(crate) failures: Counter,
}

impl Encryption {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] says what to change.
    pub(crate) fn open(files: Option<TlsFiles>) -> Result<Encryption, TlsError> {
        let tls = files.map(ReloadingServer::open).transpose()?;
        Ok(Encryption { tls, failures: Counter::default() })
    }

    pub(crate) fn is_used(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads the files again, for connections that are accepted from now on.
    pub(crate) fn reload(&self) {
        match self.tls.as_ref().map(ReloadingServer::reload) {
            None => {}
            Some(Ok(())) => tracing::info!("the certificate for clients was read again"),
            Some(Err(error)) => tracing::error!("the certificate for clients stays as it was: {error}"),
        }
    }

    /// Completes the handshake with a client, if it has to.
    pub(super) async fn accept<R: Runtime>(
        &self,
        runtime: &R,
        arrived: Arrived<R>,
        from: SocketAddr,
    ) -> Option<Stream<R::Stream>> {
        let stream = match arrived {
            Arrived::Greeted(stream) => return Some(stream),
            Arrived::New(stream) => stream,
        };
        let Some(tls) = &self.tls else { return Some(Stream::plain(stream)) };
        let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long"));
        match within(runtime, HANDSHAKE_TIMEOUT, tls.accept(stream)).await.unwrap_or_else(late) {
            Ok(stream) => Some(stream),
            Err(error) => {
                self.note_failure(from, &error);
                None
            }
        }
    }

    /// Sends a client the reason why it is refused. One that uses TLS only sees that its connection ends: a handshake
    /// would take more time than the refusal is worth.
    pub(super) async fn refuse<R: Runtime>(&self, arrived: Arrived<R>, reason: &str) {
        let mut stream = match arrived {
            Arrived::New(stream) if self.is_used() => return drop(stream),
            Arrived::New(stream) => Stream::plain(stream),
            Arrived::Greeted(stream) => stream,
        };
        let mut refusal = ReplyBuffer::default();
        refusal.error(reason);
        // The client may be gone already.
        let _ = stream.write_all(refusal.bytes()).await;
        let _ = stream.close().await;
    }

    /// Logs the first failure, the second, the fourth and so on, because anyone can cause as many as they want.
    fn note_failure(&self, from: SocketAddr, error: &io::Error) {
        self.failures.add(1);
        let failures = self.failures.get();
        if failures.is_power_of_two() {
            match explain(error) {
                Some(reason) => tracing::warn!(failures, %from, "a client {reason}"),
                None => tracing::warn!(failures, %from, "a client did not complete the handshake of TLS: {error}"),
            }
        }
    }
}
