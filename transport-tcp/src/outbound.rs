//! The dialer's end of one lane to one peer: connect, write what is queued, notice the end, connect again.

use crate::frame;
use crate::handshake::HandshakeError;
use crate::lane::Lane;
use crate::peer::{Context, DEADLINE, Peer, count};
use crate::queue::COALESCED;
use futures::future::{Either, select};
use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use leasehold_core::NodeId;
use leasehold_driver::Runtime;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that lasted this long was a good one: the next pause is short again, and trouble is news again.
const SETTLED: Duration = Duration::from_secs(1);

/// Why there is no connection. Each reads as what is to be said after the peer's name.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("cannot be reached: no answer within {} s", DEADLINE.as_secs())]
    NoAnswer,
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("closed the connection")]
    Closed,
    #[error("spoke on a connection that is only for listening: run the same release on both nodes")]
    Spoke,
    #[error("lost the connection: {0}")]
    Lost(io::Error),
}

/// One lane to one peer.
pub(crate) struct Outbound<R> {
    pub(crate) context: Arc<Context<R>>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) lane: Lane,
}

impl<R: Runtime> Outbound<R> {
    /// Keeps the lane connected, for ever.
    pub(crate) async fn run(self) {
        let mut failures = 0;
        let mut connected_before = false;
        loop {
            let trouble = match self.connect().await {
                Ok(stream) => {
                    if std::mem::replace(&mut connected_before, true) {
                        count(&self.context.counters.reconnects, 1);
                    }
                    tracing::debug!("connected to peer {} at {} ({:?})", self.peer.node, self.peer.address, self.lane);
                    self.carry(stream, &mut failures).await
                }
                Err(error) => error,
            };
            self.peer.report(&trouble);
            let pause = pause([self.context.identity.node, self.peer.node], self.lane, failures);
            self.context.runtime.sleep(pause).await;
            failures = failures.saturating_add(1);
        }
    }

    async fn connect(&self) -> Result<R::Stream, LinkError> {
        let connect = self.context.runtime.connect(&self.peer.address);
        let connected = self.context.within(DEADLINE, connect).await.ok_or(LinkError::NoAnswer)?;
        let mut stream = connected.map_err(LinkError::Unreachable)?;
        let handshake = self.context.identity.dial(&mut stream, self.peer.node, self.lane);
        let late = HandshakeError::Late { seconds: DEADLINE.as_secs() };
        self.context.within(DEADLINE, handshake).await.unwrap_or(Err(late))?;
        Ok(stream)
    }

    /// Writes what is queued until the connection ends, and says how it did.
    async fn carry(&self, mut stream: R::Stream, failures: &mut u32) -> LinkError {
        let _open = Open::new(self);
        let write = pin!(self.write(&mut stream));
        match select(write, pin!(self.context.runtime.sleep(SETTLED))).await {
            Either::Left((error, _)) => error,
            Either::Right((_, write)) => {
                *failures = 0;
                self.peer.recovered(self.lane);
                write.await
            }
        }
    }

    async fn write(&self, stream: &mut R::Stream) -> LinkError {
        let queue = self.peer.queue(self.lane);
        let mut batch = Vec::new();
        let mut bytes = Vec::new();
        loop {
            let closed = pin!(poll_fn(|context| poll_closed(stream, context)));
            match select(pin!(queue.take(&mut batch)), closed).await {
                Either::Left(_) => {}
                Either::Right((error, _)) => return error,
            }
            let mut frames = 0;
            for frame in batch.drain(..) {
                match frame::encode(&frame, self.lane.frame_limit(), &mut bytes) {
                    Ok(()) => frames += 1,
                    Err(error) => self.peer.report(&format_args!("was to be sent {error}")),
                }
            }
            if let Err(error) = write_all(stream, &bytes).await {
                return error;
            }
            count(&self.context.counters.sent, frames);
            bytes.clear();
            bytes.shrink_to(COALESCED);
        }
    }
}

/// While this lives, the lane's queue takes frames. It is dropped also when the whole task is.
struct Open<'a, R>(&'a Outbound<R>);

impl<'a, R> Open<'a, R> {
    fn new(link: &'a Outbound<R>) -> Self {
        link.peer.queue(link.lane).open();
        Self(link)
    }
}

impl<R> Drop for Open<'_, R> {
    fn drop(&mut self) {
        let lost = self.0.peer.queue(self.0.lane).close();
        count(&self.0.context.counters.dropped_down, lost);
    }
}

/// Ready when the peer has closed the connection or broken it. It has nothing to say on it after the handshake.
fn poll_closed<S: AsyncRead + Unpin>(stream: &mut S, context: &mut std::task::Context<'_>) -> Poll<LinkError> {
    let outcome = ready!(Pin::new(stream).poll_read(context, &mut [0; 1]));
    Poll::Ready(match outcome {
        Ok(0) => LinkError::Closed,
        Ok(_) => LinkError::Spoke,
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
    .await?;
    stream.flush().await.map_err(LinkError::Lost)
}

/// How long to wait after so many failures in a row. The upper half varies with who dials whom, so that nodes which lost
/// each other at once do not come back in step; it needs to be scattered, not unpredictable.
fn pause(nodes: [NodeId; 2], lane: Lane, failures: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    let parts = [nodes[0], nodes[1], u64::from(lane.number()), u64::from(failures)];
    // FNV-1a over words, finished by a multiplication that brings the differences to the top.
    let scattered = parts.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, part| {
        (hash ^ part).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    });
    let share = (scattered.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32;
    longest / 2 + longest / 2 * share / (1 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_differ_between_dialers() {
        for failures in 0..40 {
            let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
            let pauses: Vec<_> = (1..=5).map(|node| pause([node, 9], Lane::Urgent, failures)).collect();
            for pause in &pauses {
                assert!((longest / 2..=longest).contains(pause), "{pause:?} after {failures} failures");
            }
            assert!(pauses.windows(2).any(|two| two[0] != two[1]), "all pause alike: {pauses:?}");
        }
        assert_eq!(pause([1, 2], Lane::Append, 3), pause([1, 2], Lane::Append, 3));
    }
}
