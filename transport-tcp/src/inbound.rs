//! The acceptor's end of all lanes: who is it, then read frames and deliver them.

use crate::frame::{FrameBuffer, FrameError};
use crate::handshake::{HandshakeError, Hello};
use crate::lane::Lane;
use crate::peer::{Context, DEADLINE, Trouble, count};
use async_channel::Sender;
use futures::future::select;
use futures::io::AsyncReadExt as _;
use leasehold_core::NodeId;
use leasehold_driver::{Receive, Runtime};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Connections whose dialers have not yet said who they are; further ones are closed at once.
const MOST_STRANGERS: usize = 64;
/// The pause after a failed accept, which is usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Why a connection from a peer ended before the peer closed it.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Malformed(#[from] FrameError),
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
}

/// Everything that accepts.
pub(crate) struct Inbound<R> {
    context: Arc<Context<R>>,
    receive: Arc<dyn Receive>,
    strangers: AtomicUsize,
    /// The newest connection of each peer's lane. Dropping the sender ends its reader.
    newest: Mutex<BTreeMap<(NodeId, Lane), Sender<Infallible>>>,
    /// What is wrong with each known peer that dials, and (`None`) with the last stranger.
    troubles: BTreeMap<Option<NodeId>, Trouble>,
}

impl<R: Runtime> Inbound<R> {
    pub(crate) fn new(context: Arc<Context<R>>, receive: Arc<dyn Receive>) -> Self {
        let known = context.identity.peers.iter().copied().map(Some);
        let troubles = known.chain([None]).map(|node| (node, Trouble::default())).collect();
        Self { context, receive, strangers: AtomicUsize::new(0), newest: Mutex::default(), troubles }
    }

    /// Accepts, for ever.
    pub(crate) async fn run(self: Arc<Self>, listener: R::Listener) {
        loop {
            match self.context.runtime.accept(&listener).await {
                // Nobody else lets strangers in, so the count cannot grow between the check and the entry.
                Ok(_) if self.strangers.load(Ordering::Relaxed) >= MOST_STRANGERS => {
                    count(&self.context.counters.refused, 1);
                }
                Ok((stream, address)) => {
                    let stranger = Stranger::enter(&self);
                    self.context.tasks.spawn(self.clone().serve(stream, address.ip(), stranger));
                }
                Err(error) => {
                    tracing::debug!("accepting a peer's connection failed: {error}");
                    self.context.runtime.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, mut stream: R::Stream, address: IpAddr, stranger: Stranger<R>) {
        let accept = self.context.identity.accept(&mut stream);
        let late = HandshakeError::Late { seconds: DEADLINE.as_secs() };
        let accepted = self.context.within(DEADLINE, accept).await.unwrap_or(Err((None, late)));
        drop(stranger);
        match accepted {
            Ok(hello) => self.listen_to(stream, address, hello).await,
            Err((from, error)) => {
                count(&self.context.counters.refused, 1);
                self.report(from, address, &error);
            }
        }
    }

    /// Reads a peer's lane until it ends or a newer connection takes its place.
    async fn listen_to(&self, stream: R::Stream, address: IpAddr, hello: Hello) {
        let Hello { from, lane, .. } = hello;
        let (current, superseded) = async_channel::bounded(1);
        self.newest.lock().insert((from, lane), current);
        if let Some(trouble) = self.troubles.get(&Some(from)) {
            trouble.end();
        }
        let read = pin!(async {
            match self.read(stream, from, lane).await {
                Ok(()) => tracing::debug!("peer {from} at {address} closed its connection ({lane:?})"),
                Err(ReadError::Lost(error)) => tracing::debug!("peer {from} at {address}: {error} ({lane:?})"),
                Err(ReadError::Malformed(error)) => {
                    count(&self.context.counters.malformed, 1);
                    tracing::warn!("peer {from} at {address} sent {error}; this connection is closed ({lane:?})");
                }
            }
        });
        select(read, pin!(superseded.recv())).await;
    }

    async fn read(&self, mut stream: R::Stream, from: NodeId, lane: Lane) -> Result<(), ReadError> {
        let mut buffer = FrameBuffer::new(lane.frame_limit());
        loop {
            while let Some(frame) = buffer.next_frame()? {
                count(&self.context.counters.received, 1);
                self.receive.receive(from, frame).await;
            }
            match stream.read(buffer.space()).await? {
                0 => return Ok(()),
                count => buffer.received(count),
            }
        }
    }

    /// Says whom this node refused and why, if that is news. Ports differ with every attempt, so they are left out.
    fn report(&self, from: Option<NodeId>, address: IpAddr, error: &HandshakeError) {
        let text = match from {
            Some(from) => format!("peer {from} dialing from {address} {error}"),
            None => format!("whoever dials from {address} {error}"),
        };
        if let Some(news) = self.troubles.get(&from).and_then(|trouble| trouble.change(text)) {
            tracing::warn!("{news}");
        }
    }
}

/// One connection whose dialer has not yet said who it is.
struct Stranger<R>(Arc<Inbound<R>>);

impl<R> Stranger<R> {
    fn enter(inbound: &Arc<Inbound<R>>) -> Self {
        inbound.strangers.fetch_add(1, Ordering::Relaxed);
        Self(inbound.clone())
    }
}

impl<R> Drop for Stranger<R> {
    fn drop(&mut self) {
        self.0.strangers.fetch_sub(1, Ordering::Relaxed);
    }
}
