//! A stream that is plain or encrypted.

use crate::error::{TlsError, fault};
use futures::io::{AsyncRead, AsyncWrite, IoSlice};
use futures_rustls::TlsStream;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A connection, plain or encrypted.
pub struct Stream<S>(Kind<S>);

enum Kind<S> {
    Plain(S),
    /// Boxed, because the state of TLS takes about a kilobyte.
    Tls(Box<TlsStream<S>>),
}

impl<S> Stream<S> {
    /// Returns a stream without TLS.
    pub fn plain(stream: S) -> Stream<S> {
        Stream(Kind::Plain(stream))
    }

    pub(crate) fn encrypted(stream: TlsStream<S>) -> Stream<S> {
        Stream(Kind::Tls(Box::new(stream)))
    }

    /// Returns true if the stream is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.0, Kind::Tls(_))
    }

    /// Checks that the other side has presented a certificate for `name`. The authority's signature was checked when the
    /// connection was made.
    ///
    /// # Errors
    /// The reason, in words that follow the name of the other side.
    pub fn check_certificate(&self, name: &str) -> Result<(), String> {
        let none = || "presents no certificate".to_owned();
        let Kind::Tls(stream) = &self.0 else { return Err(none()) };
        let first = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).ok_or_else(none)?;
        let name = server_name(name).map_err(|error| error.to_string())?;
        let checked =
            ParsedCertificate::try_from(first).and_then(|parsed| rustls::client::verify_server_name(&parsed, &name));
        checked.map_err(|error| match error {
            Error::InvalidCertificate(error) => format!("presents a certificate that {}", fault(&error)),
            _ => format!("presents a certificate that {}", fault(&CertificateError::BadEncoding)),
        })
    }
}

/// Returns a name in the form that certificates have.
pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name { name: name.to_owned() })
}

impl<S> fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("encrypted", &self.is_encrypted()).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Kind::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Kind::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Kind::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, slices),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_flush(context),
            Kind::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_close(context),
            Kind::Tls(stream) => Pin::new(&mut **stream).poll_close(context),
        }
    }
}
