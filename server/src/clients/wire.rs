//! A client's socket: requests are read from it and replies are written to it, within limits on memory and time.

use super::pause::yield_now;
use super::shared::Clients;
use crate::resp::{ProtocolError, Request, RequestReader};
use crate::timeout::within;
use event_listener::EventListener;
use futures::FutureExt as _;
use futures::future::{Either, poll_fn, select};
use futures::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use leasehold_node::Share;
use leasehold_runtime::Runtime;
use leasehold_tls::Stream;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// The bytes of requests, and of replies, that each client may hold without a share of the memory for all clients.
pub(super) const FREE_BYTES: usize = 64 << 10;
/// The bytes of replies that are collected before they are written.
pub(super) const FLUSH_BYTES: usize = FREE_BYTES;
/// The bytes read from the socket at a time, and the bytes of a pipeline that are read before its commands are
/// executed.
const READ_BYTES: usize = 16 << 10;
const BATCH_BYTES: usize = 1 << 20;
/// The bytes of replies that are written before the session yields, and that a client must take in time.
const WRITE_BYTES: usize = 256 << 10;
/// The time for which a client waits for a share of the memory for all clients.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(120);

/// What a client's socket had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes of requests.
    Bytes {
        /// They had to be waited for.
        waited: bool,
    },
    /// Nothing yet: the node closes its connections, or the users have changed.
    Notified,
    /// The end of the stream.
    Ended,
}

/// A client's socket.
pub(super) struct Wire<'a, R: Runtime> {
    clients: &'a Clients<R>,
    stream: Stream<R::Stream>,
    requests: RequestReader,
    received: Box<[u8]>,
    /// The memory for requests beyond [`FREE_BYTES`].
    share: Share,
    /// The memory of requests that were taken and may not have been executed yet.
    taken: usize,
    /// The time for which the client did not take its replies.
    waited: Duration,
    /// The client sends no more.
    ended: bool,
    /// No more is read, because of a limit.
    paused: bool,
    /// The client has to log in first, and gets no share of the memory before that.
    before_login: bool,
}

impl<'a, R: Runtime> Wire<'a, R> {
    pub(super) fn new(clients: &'a Clients<R>, stream: Stream<R::Stream>, mut requests: RequestReader) -> Self {
        requests.set_max_argument(clients.limits.max_argument);
        let (received, share) = (vec![0; READ_BYTES].into_boxed_slice(), clients.memory.input.empty_share());
        Wire {
            clients,
            stream,
            requests,
            received,
            share,
            taken: 0,
            waited: Duration::ZERO,
            ended: false,
            paused: false,
            before_login: false,
        }
    }

    /// Sets whether the client has to log in first.
    pub(super) fn set_before_login(&mut self, before_login: bool) {
        self.before_login = before_login;
        self.requests.set_before_login(before_login);
    }

    /// Returns the next complete request that was received.
    pub(super) fn next(&mut self) -> Result<Option<Request<'_>>, ProtocolError> {
        let next = self.requests.next();
        if let Ok(Some(Request::Command(arguments))) = &next {
            self.taken += arguments.bytes();
        }
        next
    }

    /// Returns the number of bytes that were received and are not part of a request that was taken.
    pub(super) fn received_bytes(&self) -> usize {
        self.requests.buffered()
    }

    /// Takes memory for requests, if there is enough.
    pub(super) fn try_hold(&mut self, bytes: usize) -> bool {
        let held = !self.before_login && self.share.try_grow(self.share.bytes() + bytes);
        self.taken += if held { bytes } else { 0 };
        held
    }

    /// Gives back the memory for the requests that were taken and executed. `held` is the size of those that wait for
    /// `EXEC`.
    pub(super) fn end_batch(&mut self, held: usize) {
        self.taken = held;
        let needed = self.requests.needed() + held;
        self.share.shrink(if needed <= FREE_BYTES { 0 } else { needed });
    }

    /// Waits for bytes and takes those that the socket has, within limits. `held` is the size of requests that were
    /// taken and are not executed yet.
    pub(super) async fn receive(&mut self, close: &mut EventListener, held: usize) -> io::Result<Received> {
        if self.ended {
            return Ok(Received::Ended);
        }
        self.end_batch(held);
        self.reserve(held).await?;
        let limit = match self.clients.limits.idle_timeout {
            _ if self.share.bytes() > 0 => {
                Some((self.clients.limits.client_timeout, "it did not go on with a large request or transaction"))
            }
            idle => idle.map(|idle| (idle, "it sent no command for the time of --timeout-s")),
        };
        let mut waited = false;
        let first = {
            let mut read = select(self.stream.read(&mut self.received), close);
            let first = poll_fn(|context| {
                let polled = read.poll_unpin(context);
                waited |= polled.is_pending();
                polled.map(|first| if let Either::Left((length, _)) = first { Some(length) } else { None })
            });
            match limit {
                None => first.await,
                Some((limit, reason)) => {
                    let first = within(self.clients.runtime(), limit, first).await;
                    first.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, reason))?
                }
            }
        };
        let Some(length) = first else { return Ok(Received::Notified) };
        let mut length = length?;
        let mut taken = 0;
        loop {
            self.requests.receive(&self.received[..length]);
            taken += length;
            if length < self.received.len() || taken >= BATCH_BYTES || !self.may_receive(BATCH_BYTES) {
                break;
            }
            // An end or an error shows again at the next call.
            match self.stream.read(&mut self.received).now_or_never() {
                Some(Ok(more)) => length = more,
                _ => break,
            }
        }
        Ok(if taken > 0 { Received::Bytes { waited } } else { Received::Ended })
    }

    /// Waits for the memory for the request that is being received.
    async fn reserve(&mut self, held: usize) -> io::Result<()> {
        let needed = self.requests.needed() + held;
        if needed <= FREE_BYTES.max(self.share.bytes()) {
            return Ok(());
        }
        if self.before_login {
            // The limits on its requests prevent that.
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "its request was too long before a login"));
        }
        if self.share.try_grow(needed) {
            return Ok(());
        }
        self.clients.waited_for_memory.add(1);
        let grown = within(self.clients.runtime(), MEMORY_TIMEOUT, self.share.grow(needed)).await;
        grown.ok_or_else(out_of_memory).map(drop)
    }

    /// Returns whether there is memory for more requests, and takes a share of it if necessary.
    fn may_receive(&mut self, most: usize) -> bool {
        let bytes = self.requests.buffered() + self.received.len();
        if self.before_login {
            return bytes <= FREE_BYTES;
        }
        let held = bytes + self.taken;
        held <= FREE_BYTES.max(self.share.bytes()) || (bytes <= most && self.share.try_grow(held + BATCH_BYTES))
    }

    /// Writes bytes in pieces, and lets others run between them. The client must take each piece in time.
    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut pieces = bytes.chunks(WRITE_BYTES).peekable();
        while let Some(piece) = pieces.next() {
            let is_last = pieces.peek().is_none();
            self.write_piece(piece, is_last).await?;
            if !is_last {
                yield_now().await;
            }
        }
        Ok(())
    }

    async fn write_piece(&mut self, mut piece: &[u8], is_last: bool) -> io::Result<()> {
        let first = poll_fn(|context| Poll::Ready(self.poll_write_all(context, &mut piece, is_last))).await;
        if let Poll::Ready(written) = first {
            return written;
        }
        let began = self.clients.uptime();
        // What the client sends meanwhile does not extend its time.
        let mut timeout = pin!(self.clients.runtime().sleep(self.clients.limits.client_timeout));
        let written = poll_fn(|context| {
            if let Poll::Ready(written) = self.poll_write_all(context, &mut piece, is_last) {
                return Poll::Ready(written);
            }
            let late = || io::Error::new(io::ErrorKind::TimedOut, "it took its replies too slowly");
            timeout.as_mut().poll(context).map(|()| Err(late()))
        })
        .await;
        self.waited += self.clients.uptime().saturating_sub(began);
        written
    }

    /// Returns for how long the client did not take its replies since the last call.
    pub(super) fn take_waited(&mut self) -> Duration {
        mem::take(&mut self.waited)
    }

    /// Writes bytes. While the client takes none, it reads further requests: many clients send a whole pipeline before
    /// they read. After the last bytes it waits until the socket has taken what TLS keeps.
    fn poll_write_all(&mut self, context: &mut Context<'_>, bytes: &mut &[u8], is_last: bool) -> Poll<io::Result<()>> {
        while !bytes.is_empty() {
            match self.poll_write(context, bytes) {
                Poll::Ready(written) => *bytes = &bytes[written?..],
                Poll::Pending if self.poll_read_ahead(context) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        if !is_last {
            return Poll::Ready(Ok(()));
        }
        loop {
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Pending if self.poll_read_ahead(context) => {}
                flushed => return flushed,
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        written.map(|written| written.and_then(|n| if n > 0 { Ok(n) } else { Err(io::ErrorKind::WriteZero.into()) }))
    }

    /// Reads some bytes of further requests. Returns false if there are none yet, or no memory for them.
    fn poll_read_ahead(&mut self, context: &mut Context<'_>) -> bool {
        if self.ended {
            return false;
        }
        if !self.may_receive(self.clients.limits.max_pipeline) {
            if !mem::replace(&mut self.paused, true) {
                self.clients.paused.add(1);
            }
            return false;
        }
        self.paused = false;
        match Pin::new(&mut self.stream).poll_read(context, &mut self.received) {
            Poll::Pending => false,
            // The client may still take its replies.
            Poll::Ready(Ok(0) | Err(_)) => {
                self.ended = true;
                false
            }
            Poll::Ready(Ok(length)) => {
                self.requests.receive(&self.received[..length]);
                true
            }
        }
    }

    /// Reads further requests ahead, and returns once the client sends no more.
    pub(super) async fn ended(&mut self) {
        poll_fn(|context| {
            while self.poll_read_ahead(context) {}
            if self.ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Sends the end of the stream. TLS announces it, so a client that does not read could delay it.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        let (runtime, limit) = (self.clients.runtime(), self.clients.limits.client_timeout);
        within(runtime, limit, self.stream.close()).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads and drops what the client sends until it closes the connection.
    pub(super) async fn drain(&mut self) {
        while self.stream.read(&mut self.received).await.is_ok_and(|length| length > 0) {}
    }
}

/// Waits for memory for a reply of this size.
pub(super) async fn hold<R: Runtime>(runtime: &R, share: &mut Share, bytes: usize) -> io::Result<()> {
    if bytes > FREE_BYTES && !share.try_grow(bytes) {
        within(runtime, MEMORY_TIMEOUT, share.grow(bytes)).await.ok_or_else(out_of_memory)?;
    }
    Ok(())
}

fn out_of_memory() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "the memory for clients was in use for too long")
}
