//! The dialing end of one lane to one peer: connect, write the queued frames, detect the connection's end, connect
//! again.

use crate::handshake::{HandshakeError, certificate_name};
use crate::lane;
use crate::peer::{CONNECT_TIMEOUT, Context, Peer, count};
use crate::queue::MAX_COALESCED_BYTES;
use futures::future::{Either, select};
use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use leasehold_core::NodeId;
use leasehold_node::identity::Introduction;
use leasehold_node::ports::Lane;
use leasehold_runtime::Runtime;
use leasehold_tls::Stream;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;
use tracing::Level;

/// The upper bound of the pause after the first failure. It doubles with each further failure.
const MIN_RECONNECT_INTERVAL: Duration = Duration::from_millis(20);
/// The upper bound of every pause.
const MAX_RECONNECT_INTERVAL: Duration = Duration::from_secs(1);
/// The failures that count while the cluster is not founded: the pause stays below a fifth of a second.
const MAX_FOUNDING_FAILURES: u32 = 3;

/// The reason why a lane is not connected. Each text follows the peer's name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("cannot be reached: no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    NoAnswer,
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("closed the connection")]
    Closed,
    #[error("sent bytes on a connection that this node only writes to: run the same release on both nodes")]
    UnexpectedBytes,
    #[error("lost the connection: {0}")]
    Lost(io::Error),
}

impl LinkError {
    fn level(&self) -> Level {
        match self {
            LinkError::Handshake(error) => error.level(),
            _ => Level::WARN,
        }
    }
}

/// One lane to one peer.
pub(crate) struct Outbound<R> {
    pub(crate) context: Arc<Context<R>>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) lane: Lane,
}

impl<R: Runtime> Outbound<R> {
    /// Keeps the lane connected until the peer is removed or moves to another address, or the transport stops.
    pub(crate) async fn run(self) {
        select(pin!(self.keep_connected()), pin!(self.peer.left())).await;
    }

    async fn keep_connected(&self) {
        let mut failures = 0;
        let mut connected_before = false;
        loop {
            let error = match self.connect().await {
                Ok(stream) => {
                    if std::mem::replace(&mut connected_before, true) {
                        count(&self.context.counters.reconnects, 1);
                    }
                    tracing::debug!("connected to peer {} at {} ({:?})", self.peer.node, self.peer.address, self.lane);
                    self.carry(stream, &mut failures).await
                }
                Err(error) => error,
            };
            self.peer.report(error.level(), &error);
            if matches!(error, LinkError::Handshake(HandshakeError::NotFounded)) {
                // The founding is a matter of a few handshakes, and the longest pause would delay it.
                failures = failures.min(MAX_FOUNDING_FAILURES);
            }
            let pause = reconnect_pause([self.context.identity.node, self.peer.node], self.lane, failures);
            self.context.runtime.sleep(pause).await;
            failures = failures.saturating_add(1);
        }
    }

    async fn connect(&self) -> Result<Stream<R::Stream>, LinkError> {
        let socket = connect(&self.context, &self.peer.address).await?;
        within_limit(&self.context, async {
            let mut stream = secure(&self.context, self.peer.node, socket).await?;
            let version = self.context.identity.dial(&mut stream, self.peer.node, self.lane).await?;
            self.peer.set_version(version);
            Ok(stream)
        })
        .await
        .map_err(LinkError::Handshake)
    }

    /// Writes queued frames until the connection ends, and returns how it ended.
    async fn carry(&self, mut stream: Stream<R::Stream>, failures: &mut u32) -> LinkError {
        let _open = OpenQueue::new(self);
        let stable = || {
            *failures = 0;
            self.peer.stable(self.lane);
        };
        let Err(error) = self.context.note_stable(self.write(&mut stream), stable).await;
        error
    }

    async fn write(&self, stream: &mut Stream<R::Stream>) -> Result<Infallible, LinkError> {
        let queue = self.peer.queue(self.lane);
        let mut batch = Vec::new();
        let mut coalesced = Vec::new();
        loop {
            let closed = pin!(poll_fn(|context| poll_closed(stream, context)));
            match select(pin!(queue.take(&mut batch)), closed).await {
                Either::Left(_) => {}
                Either::Right((error, _)) => return Err(error),
            }
            let frames = batch.len();
            for frame in batch.drain(..) {
                coalesced.extend_from_slice(&frame.length_field());
                if frame.size() <= MAX_COALESCED_BYTES {
                    coalesced.extend_from_slice(frame.payload());
                } else {
                    write_all(stream, &coalesced).await?;
                    coalesced.clear();
                    write_all(stream, frame.payload()).await?;
                }
            }
            write_all(stream, &coalesced).await?;
            coalesced.clear();
            stream.flush().await.map_err(LinkError::Lost)?;
            count(&self.context.counters.sent, frames);
        }
    }
}

async fn connect<R: Runtime>(context: &Context<R>, address: &str) -> Result<R::Stream, LinkError> {
    let connected = context.timeout(CONNECT_TIMEOUT, context.runtime.connect(address)).await;
    connected.ok_or(LinkError::NoAnswer)?.map_err(LinkError::Unreachable)
}

/// Encrypts the connection to a node, if nodes have certificates.
async fn secure<R: Runtime>(
    context: &Context<R>,
    node: NodeId,
    socket: R::Stream,
) -> Result<Stream<R::Stream>, HandshakeError> {
    let Some(tls) = &context.tls else { return Ok(Stream::plain(socket)) };
    Ok(tls.connect(&certificate_name(node, &context.identity.cluster), socket).await?)
}

async fn within_limit<R: Runtime, T>(
    context: &Context<R>,
    handshake: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    let late = HandshakeError::Late { seconds: CONNECT_TIMEOUT.as_secs() };
    context.timeout(CONNECT_TIMEOUT, handshake).await.unwrap_or(Err(late))
}

/// Asks the node at an address for its introduction.
pub(crate) async fn probe<R: Runtime>(
    context: &Context<R>,
    node: NodeId,
    address: &str,
) -> Result<Introduction, LinkError> {
    let socket = connect(context, address).await?;
    let probed = within_limit(context, async {
        let mut stream = secure(context, node, socket).await?;
        context.identity.probe(&mut stream, node).await
    });
    Ok(probed.await?)
}

/// Keeps the lane's queue open until it is dropped, which also happens when the task is.
struct OpenQueue<'a, R>(&'a Outbound<R>);

impl<'a, R> OpenQueue<'a, R> {
    fn new(link: &'a Outbound<R>) -> Self {
        link.peer.queue(link.lane).open();
        Self(link)
    }
}

impl<R> Drop for OpenQueue<'_, R> {
    fn drop(&mut self) {
        let Outbound { context, peer, lane } = self.0;
        let lost = peer.queue(*lane).close();
        count(&context.counters.dropped_down[*lane as usize], lost);
    }
}

/// Completes when the peer has closed or broken the connection. A peer sends nothing on it after the handshake.
fn poll_closed<S: AsyncRead + Unpin>(stream: &mut S, context: &mut std::task::Context<'_>) -> Poll<LinkError> {
    let outcome = ready!(Pin::new(stream).poll_read(context, &mut [0; 1]));
    Poll::Ready(match outcome {
        Ok(0) => LinkError::Closed,
        Ok(_) => LinkError::UnexpectedBytes,
        // A node that stops does not take leave of its TLS connections.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => LinkError::Closed,
        Err(error) => LinkError::Lost(error),
    })
}

/// Writes all of `bytes`, unless the connection ends first.
async fn write_all<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, mut bytes: &[u8]) -> Result<(), LinkError> {
    poll_fn(|context| {
        if let Poll::Ready(error) = poll_closed(stream, context) {
            return Poll::Ready(Err(error));
        }
        while !bytes.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(context, bytes)) {
                Ok(0) => return Poll::Ready(Err(LinkError::Closed)),
                Ok(written) => bytes = &bytes[written..],
                Err(error) => return Poll::Ready(Err(LinkError::Lost(error))),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// Returns the pause after this many failures in a row. The upper half of the interval varies with the two nodes and
/// the lane, so that nodes that lost each other at the same moment do not redial in step. The value needs to be spread,
/// not unpredictable.
fn reconnect_pause(nodes: [NodeId; 2], lane: Lane, failures: u32) -> Duration {
    let longest = MIN_RECONNECT_INTERVAL.saturating_mul(1 << failures.min(16)).min(MAX_RECONNECT_INTERVAL);
    let parts = [nodes[0], nodes[1], u64::from(lane::number(lane)), u64::from(failures)];
    // FNV-1a over words. The final multiplication moves the differences to the high bits.
    let hash = parts.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, part| {
        (hash ^ part).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    });
    let share = (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32;
    longest / 2 + longest / 2 * share / (1 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_differ_between_dialers() {
        for failures in 0..40 {
            let longest = MIN_RECONNECT_INTERVAL.saturating_mul(1 << failures.min(16)).min(MAX_RECONNECT_INTERVAL);
            let pauses: Vec<_> = (1..=5).map(|node| reconnect_pause([node, 9], Lane::Urgent, failures)).collect();
            for pause in &pauses {
                assert!((longest / 2..=longest).contains(pause), "{pause:?} after {failures} failures");
            }
            assert!(pauses.windows(2).any(|two| two[0] != two[1]), "all pauses are equal: {pauses:?}");
        }
        assert_eq!(reconnect_pause([1, 2], Lane::Append, 3), reconnect_pause([1, 2], Lane::Append, 3));
    }
}
