//! The accepting end of all lanes: handshake, then read frames and deliver their payloads.

use crate::frame::{FrameBuffer, TooLarge};
use crate::handshake::{Accepted, HandshakeError};
use crate::lane;
use crate::peer::{CONNECT_TIMEOUT, Context, Trouble, count};
use async_channel::Sender;
use futures::future::select;
use futures::io::AsyncReadExt as _;
use leasehold_core::NodeId;
use leasehold_node::ports::{Lane, Receive, Rejected};
use leasehold_runtime::Runtime;
use leasehold_tls::Stream;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tracing::Level;

/// Connections whose handshake is not complete. Further ones are closed at once.
const MAX_HANDSHAKES: usize = 64;
/// The pause after a failed accept. The usual cause is a lack of file descriptors.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The reason why this node stopped reading a connection before the peer closed it. Each text follows the peer's name.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("sent {0}")]
    TooLarge(#[from] TooLarge),
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error("lost the connection: {0}")]
    Lost(#[from] io::Error),
}

/// The accepting side of a transport.
pub(crate) struct Inbound<R> {
    context: Arc<Context<R>>,
    receive: Arc<dyn Receive>,
    handshakes: AtomicUsize,
    /// The newest connection of each lane of each peer. Dropping the sender ends its reader.
    newest: Mutex<BTreeMap<(NodeId, Lane), Sender<Infallible>>>,
    /// The trouble with each peer that dials, and under `None` with the last node that is no peer.
    troubles: Mutex<BTreeMap<Option<NodeId>, Trouble>>,
}

impl<R: Runtime> Inbound<R> {
    pub(crate) fn new(context: Arc<Context<R>>, receive: Arc<dyn Receive>) -> Self {
        let (newest, troubles) = (Mutex::default(), Mutex::default());
        Self { context, receive, handshakes: AtomicUsize::new(0), newest, troubles }
    }

    /// Closes the connections of a node that is no longer a peer.
    pub(crate) fn disconnect(&self, node: NodeId) {
        self.newest.lock().retain(|(from, _), _| *from != node);
        self.troubles.lock().remove(&Some(node));
    }

    /// Accepts connections until the transport stops.
    pub(crate) async fn run(self: Arc<Self>, listener: R::Listener) {
        loop {
            match self.context.runtime.accept(&listener).await {
                // Only this task adds to the count, so it cannot grow between the check and `HandshakeSlot::new`.
                Ok(_) if self.handshakes.load(Ordering::Relaxed) >= MAX_HANDSHAKES => {
                    count(&self.context.counters.handshakes_refused, 1);
                }
                Ok((stream, address)) => {
                    let slot = HandshakeSlot::new(&self);
                    self.context.tasks.spawn(self.clone().serve(stream, address.ip(), slot));
                }
                Err(error) => {
                    tracing::debug!("cannot accept a peer's connection: {error}");
                    self.context.runtime.sleep(ACCEPT_RETRY_INTERVAL).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: R::Stream, address: IpAddr, slot: HandshakeSlot<R>) {
        let accept = async {
            let mut stream = match &self.context.tls {
                None => Stream::plain(stream),
                Some(tls) => tls.accept(stream).await.map_err(|error| (None, error.into()))?,
            };
            let accepted = self.context.identity.accept(&mut stream).await?;
            Ok((stream, accepted))
        };
        let late = HandshakeError::Late { seconds: CONNECT_TIMEOUT.as_secs() };
        let accepted = self.context.timeout(CONNECT_TIMEOUT, accept).await.unwrap_or(Err((None, late)));
        drop(slot);
        match accepted {
            Ok((stream, Accepted { hello, .. })) => match hello.lane {
                Some(lane) => self.serve_lane(stream, address, hello.from(), lane).await,
                None => tracing::debug!("node {} at {address} probed this node", hello.from()),
            },
            Err((from, error)) => {
                if !matches!(error, HandshakeError::NotFounded) {
                    count(&self.context.counters.handshakes_refused, 1);
                }
                let peer = from.map_or_else(|| "an unknown node".to_owned(), |from| format!("node {from}"));
                self.report(from, error.level(), format!("{peer} dialing from {address} {error}"));
            }
        }
    }

    /// Reads one lane of a peer until the connection ends or a newer one replaces it.
    async fn serve_lane(&self, mut stream: Stream<R::Stream>, address: IpAddr, from: NodeId, lane: Lane) {
        let (current, superseded) = async_channel::bounded(1);
        self.newest.lock().insert((from, lane), current);
        let read = pin!(async {
            match self.read(&mut stream, from, lane).await {
                Ok(()) => tracing::debug!("peer {from} at {address} closed its connection ({lane:?})"),
                Err(error @ ReadError::Lost(_)) => tracing::debug!("peer {from} at {address} {error} ({lane:?})"),
                Err(error @ (ReadError::TooLarge(_) | ReadError::Rejected(_))) => {
                    count(&self.context.counters.malformed, 1);
                    let closed = format!("closed its connection for the {lane:?} lane");
                    let trouble = format!("peer {from} at {address} {error}; this node {closed}");
                    self.report(Some(from), Level::WARN, trouble);
                }
            }
        });
        let superseded = pin!(superseded.recv());
        let serve = select(read, superseded);
        let clear_trouble = || drop(self.troubles.lock().remove(&Some(from)));
        self.context.note_stable(serve, clear_trouble).await;
    }

    async fn read(&self, stream: &mut Stream<R::Stream>, from: NodeId, lane: Lane) -> Result<(), ReadError> {
        let mut buffer = FrameBuffer::new(lane::max_payload_bytes(lane));
        loop {
            while let Some(payload) = buffer.next_frame()? {
                count(&self.context.counters.received, 1);
                self.receive.receive(from, lane, payload).await?;
            }
            match stream.read(buffer.space()).await? {
                0 => return Ok(()),
                count => buffer.received(count),
            }
        }
    }

    /// Logs a trouble unless it is the last one again. The text has no port: a dialer's port differs with every
    /// attempt.
    fn report(&self, from: Option<NodeId>, level: Level, trouble: String) {
        let from = from.filter(|from| self.context.peers.contains(*from));
        self.troubles.lock().entry(from).or_default().report(level, trouble);
    }
}

/// Counts one connection whose handshake is not complete, until it is dropped.
struct HandshakeSlot<R>(Arc<Inbound<R>>);

impl<R> HandshakeSlot<R> {
    fn new(inbound: &Arc<Inbound<R>>) -> Self {
        inbound.handshakes.fetch_add(1, Ordering::Relaxed);
        Self(inbound.clone())
    }
}

impl<R> Drop for HandshakeSlot<R> {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}
