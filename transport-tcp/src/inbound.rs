//! The accepting end of all lanes: handshake, then read frames and deliver their payloads.

use crate::frame::{FrameBuffer, TooLarge};
use crate::handshake::{Accepted, HandshakeError};
use crate::lane;
use crate::peer::{CONNECT_TIMEOUT, Context, Trouble, count};
use crate::strangers::{Decision, Dialer, Handshakes, LOG_INTERVAL, Place, RefusalLog};
use async_channel::Sender;
use futures::future::{Either, select};
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
use std::time::Duration;
use tracing::Level;

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
    handshakes: Handshakes,
    refusals: RefusalLog,
    /// The newest connection of each lane of each peer. Dropping the sender ends its reader.
    newest: Mutex<BTreeMap<(NodeId, Lane), Sender<Infallible>>>,
    /// The trouble with each peer that dials.
    troubles: Mutex<BTreeMap<NodeId, Trouble>>,
}

impl<R: Runtime> Inbound<R> {
    pub(crate) fn new(context: Arc<Context<R>>, receive: Arc<dyn Receive>) -> Self {
        let (handshakes, refusals) = (Handshakes::default(), RefusalLog::default());
        Self { context, receive, handshakes, refusals, newest: Mutex::default(), troubles: Mutex::default() }
    }

    /// Closes the connections of a node that is no longer a peer.
    pub(crate) fn disconnect(&self, node: NodeId) {
        self.newest.lock().retain(|(from, _), _| *from != node);
        self.troubles.lock().remove(&node);
    }

    /// Accepts connections until the transport stops.
    pub(crate) async fn run(self: Arc<Self>, listener: R::Listener) {
        loop {
            match self.context.runtime.accept(&listener).await {
                Ok((stream, address)) => {
                    let place = self.handshakes.enter(address.ip());
                    self.context.tasks.spawn(self.clone().serve(stream, address.ip(), place));
                }
                Err(error) => {
                    tracing::debug!("cannot accept a peer's connection: {error}");
                    self.context.runtime.sleep(ACCEPT_RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// Serves a connection from its first byte.
    async fn serve(self: Arc<Self>, stream: R::Stream, address: IpAddr, place: Place) {
        let Some(accepted) = self.shake(stream, place).await else { return };
        match accepted {
            Ok((stream, Accepted { hello, .. })) => match hello.lane {
                Some(lane) => self.serve_lane(stream, address, hello.from(), lane).await,
                None => tracing::debug!("node {} at {address} probed this node", hello.from()),
            },
            Err((from, error)) => {
                if matches!(error, HandshakeError::NotFounded) {
                    tracing::debug!("a node dialing from {address} {error}");
                } else {
                    count(&self.context.counters.handshakes_refused, 1);
                    self.report_refusal(from, address, &error);
                }
            }
        }
    }

    /// Runs a handshake. Returns `None` if a newer connection takes its place.
    async fn shake(&self, stream: R::Stream, place: Place) -> Option<Shaken<R>> {
        let Place { number, evicted } = place;
        let _leave = LeavePlace { handshakes: &self.handshakes, number };
        let accept = self.context.timeout(CONNECT_TIMEOUT, async {
            let (mut stream, _admitted) = match &self.context.tls {
                None => (Stream::plain(stream), None),
                Some(tls) => {
                    let stream = tls.accept(stream).await.map_err(|error| (None, error.into()))?;
                    // It has a certificate of the authority.
                    (stream, self.handshakes.admit(number))
                }
            };
            let accepted = self.context.identity.accept(&mut stream).await?;
            Ok((stream, accepted))
        });
        match select(pin!(accept), pin!(evicted.recv())).await {
            Either::Left((accepted, _)) => {
                let late = HandshakeError::Late { seconds: CONNECT_TIMEOUT.as_secs() };
                Some(accepted.unwrap_or(Err((None, late))))
            }
            Either::Right(_) => {
                count(&self.context.counters.handshakes_evicted, 1);
                None
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
                    self.report(from, Level::WARN, trouble);
                }
            }
        });
        let superseded = pin!(superseded.recv());
        let serve = select(read, superseded);
        let clear_trouble = || drop(self.troubles.lock().remove(&from));
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

    /// Logs the failure of a handshake, unless there are too many. The text has no port: a dialer's port differs with every
    /// attempt.
    fn report_refusal(self: &Arc<Self>, claimed: Option<NodeId>, address: IpAddr, error: &HandshakeError) {
        let peer = claimed.map_or_else(|| "an unknown node".to_owned(), |node| format!("node {node}"));
        let trouble = format!("{peer} dialing from {address} {error}");
        let known = claimed.filter(|node| self.context.peers.contains(*node));
        if let Some(node) = known
            && self.troubles.lock().get(&node).is_some_and(|last| last.is(&trouble))
        {
            return;
        }
        let folder_refused = matches!(error, HandshakeError::Identity(_));
        let dialer = known.map_or(Dialer::Stranger, |node| Dialer::Peer { node, folder_refused });
        let Decision { log, begins } = self.refusals.note(address, dialer);
        if begins {
            self.context.tasks.spawn(self.clone().end_log_interval());
        }
        match known {
            _ if !log => tracing::debug!("{trouble}"),
            Some(node) => self.report(node, error.level(), trouble),
            None => Trouble::default().report(error.level(), trouble),
        }
    }

    /// Logs how many failures got no line of their own, after an interval in which some may.
    async fn end_log_interval(self: Arc<Self>) {
        self.context.runtime.sleep(LOG_INTERVAL).await;
        for line in self.refusals.end_interval() {
            tracing::warn!("{line}");
        }
    }

    /// Logs a trouble with a peer unless it is the last one again.
    fn report(&self, from: NodeId, level: Level, trouble: String) {
        self.troubles.lock().entry(from).or_default().report(level, trouble);
    }
}

/// The outcome of a handshake: the connection and its dialer, or the number that the dialer gave, and the error.
type Shaken<R> = Result<(Stream<<R as Runtime>::Stream>, Accepted), (Option<NodeId>, HandshakeError)>;

/// Frees a place when it is dropped.
struct LeavePlace<'a> {
    handshakes: &'a Handshakes,
    number: u64,
}

impl Drop for LeavePlace<'_> {
    fn drop(&mut self) {
        self.handshakes.leave(self.number);
    }
}
