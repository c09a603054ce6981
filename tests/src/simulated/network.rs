//! In-memory connections. Bytes arrive in order, in pieces, each after a random delay.

use super::{Shared, Timer};
use async_channel::{Receiver, Sender};
use futures::FutureExt as _;
use futures::io::{AsyncRead, AsyncWrite};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// The latency of each piece.
const LATENCY: Range<Duration> = Duration::from_micros(100)..Duration::from_millis(2);
/// The maximum number of bytes in one write.
const PIECE: u64 = 16 << 10;
/// The maximum number of bytes written but not yet read.
const WINDOW: usize = 256 << 10;
/// The first of the ports assigned to listeners without a fixed port, and to outgoing connections.
const FREE_PORTS: u16 = 32_768;

type Connection = (SimulatedStream, SocketAddr);

/// The listeners of a world.
#[derive(Default)]
pub(super) struct Network {
    listeners: BTreeMap<SocketAddr, Sender<Connection>>,
    ports: u16,
}

impl Network {
    fn free_port(&mut self) -> u16 {
        self.ports += 1;
        FREE_PORTS + self.ports
    }
}

/// Resolves an address: `IP:PORT` or `localhost:PORT`.
fn resolve(address: &str) -> io::Result<SocketAddr> {
    let named = address.strip_prefix("localhost:").map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST));
    let unknown = |_| io::Error::new(io::ErrorKind::NotFound, format!("unknown address {address}"));
    named.as_deref().unwrap_or(address).parse().map_err(unknown)
}

pub(super) fn listen(shared: &Shared, address: &str) -> io::Result<SimulatedListener> {
    let mut address = resolve(address)?;
    let network = &mut shared.world.lock().network;
    if address.port() == 0 {
        address.set_port(network.free_port());
    }
    if network.listeners.get(&address).is_some_and(|other| !other.is_closed()) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let (sender, connections) = async_channel::unbounded();
    network.listeners.insert(address, sender);
    Ok(SimulatedListener { address, connections })
}

pub(super) async fn connect(shared: &Arc<Shared>, address: &str) -> io::Result<SimulatedStream> {
    let address = resolve(address)?;
    Timer::after(shared, shared.drawn(LATENCY)).await;
    let (port, listener) = {
        let network = &mut shared.world.lock().network;
        (network.free_port(), network.listeners.get(&address).cloned())
    };
    let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
    let (there, back) = (Arc::<Mutex<Pipe>>::default(), Arc::<Mutex<Pipe>>::default());
    let end = |incoming: &Arc<Mutex<Pipe>>, outgoing: &Arc<Mutex<Pipe>>| SimulatedStream {
        shared: shared.clone(),
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
        arrival: None,
    };
    let accepted = end(&there, &back);
    // If the listener has been closed, `accepted` is dropped here, and the caller receives an error.
    listener.try_send((accepted, (Ipv4Addr::LOCALHOST, port).into())).map_err(|_| io::ErrorKind::ConnectionRefused)?;
    Ok(end(&back, &there))
}

/// A listening socket of a simulated world.
pub struct SimulatedListener {
    pub(super) address: SocketAddr,
    connections: Receiver<Connection>,
}

impl SimulatedListener {
    pub(super) async fn accept(&self) -> io::Result<Connection> {
        self.connections.recv().await.map_err(|_| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for SimulatedListener {
    /// Drops connections that have not been accepted, which closes them.
    fn drop(&mut self) {
        self.connections.close();
        while self.connections.try_recv().is_ok() {}
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    /// Pieces with their arrival times. An empty piece is the end of the stream.
    pieces: VecDeque<(Duration, Vec<u8>)>,
    /// The number of bytes in the pieces.
    held: usize,
    newest_arrival: Duration,
    closed_by_writer: bool,
    closed_by_reader: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn push(&mut self, arrival: Duration, piece: Vec<u8>) {
        self.newest_arrival = self.newest_arrival.max(arrival);
        self.held += piece.len();
        self.pieces.push_back((self.newest_arrival, piece));
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn pop(&mut self, buffer: &mut [u8]) -> usize {
        let Some((_, piece)) = self.pieces.front_mut() else { return 0 };
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        piece.drain(..length);
        self.held -= length;
        // The end of the stream is never removed.
        if length > 0 && piece.is_empty() {
            self.pieces.pop_front();
        }
        self.writer.take().into_iter().for_each(Waker::wake);
        length
    }
}

/// A connected socket of a simulated world.
pub struct SimulatedStream {
    shared: Arc<Shared>,
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
    /// Wakes the reader when the next piece arrives.
    arrival: Option<Timer>,
}

impl SimulatedStream {
    /// Draws the arrival time of bytes sent now. They may have to queue behind earlier ones.
    fn arrival(&self) -> Duration {
        self.shared.now() + self.shared.drawn(LATENCY)
    }

    fn end(&self) {
        let arrival = self.arrival();
        let mut outgoing = self.outgoing.lock();
        if !std::mem::replace(&mut outgoing.closed_by_writer, true) {
            outgoing.push(arrival, Vec::new());
        }
    }
}

impl AsyncRead for SimulatedStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let now = self.shared.now();
            let arrives = {
                let mut pipe = self.incoming.lock();
                match pipe.pieces.front() {
                    None => {
                        pipe.reader = Some(context.waker().clone());
                        return Poll::Pending;
                    }
                    Some((at, _)) if *at <= now => return Poll::Ready(Ok(pipe.pop(buffer))),
                    Some((at, _)) => *at,
                }
            };
            let arrival = Timer::at(&self.shared, arrives);
            ready!(self.arrival.insert(arrival).poll_unpin(context));
        }
    }
}

impl AsyncWrite for SimulatedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (arrival, most) = (self.arrival(), 1 + self.shared.world.lock().random.below(PIECE) as usize);
        let mut pipe = self.outgoing.lock();
        if pipe.closed_by_reader || pipe.closed_by_writer {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = bytes.len().min(most).min(WINDOW - pipe.held);
        if length > 0 {
            pipe.push(arrival, bytes[..length].to_vec());
        } else if !bytes.is_empty() {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimulatedStream {
    fn drop(&mut self) {
        self.end();
        let mut incoming = self.incoming.lock();
        incoming.closed_by_reader = true;
        incoming.writer.take().into_iter().for_each(Waker::wake);
    }
}
