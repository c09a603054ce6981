//! The client side of a node: accepts connections, counts them, and closes them when the node stops.

mod local;
mod session;
mod transaction;

use crate::executor::Executor;
use crate::info::NodeFacts;
use crate::resp::ReplyBuffer;
use event_listener::{Event, EventListener};
use futures::future::{Either, select};
use futures::io::AsyncWriteExt as _;
use leasehold_runtime::Runtime;
use leasehold_transport_tcp::Transport;
use session::Session;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How many clients may be connected at once.
pub(crate) const MOST_CLIENTS: usize = 10_000;
/// How long to leave a listener alone that failed, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every connection of a node shares.
pub(crate) struct Clients<R: Runtime> {
    pub(crate) executor: Arc<Executor<R>>,
    pub(crate) transport: Arc<Transport<R>>,
    pub(crate) facts: NodeFacts,
    connected: AtomicUsize,
    next_id: AtomicU64,
    closing: AtomicBool,
    close: Event,
    left: Event,
}

impl<R: Runtime> Clients<R> {
    pub(crate) fn new(executor: Arc<Executor<R>>, transport: Arc<Transport<R>>, facts: NodeFacts) -> Self {
        Self {
            executor,
            transport,
            facts,
            connected: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            closing: AtomicBool::new(false),
            close: Event::new(),
            left: Event::new(),
        }
    }

    /// How many clients are connected.
    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Accepts clients and serves each in a task of its own, until [`close`](Self::close).
    pub(crate) async fn accept(self: Arc<Self>, listener: R::Listener) {
        let runtime = self.executor.runtime().clone();
        let mut close = self.close.listen();
        while !self.is_closing() {
            let accepted = match select(pin!(runtime.accept(&listener)), &mut close).await {
                Either::Left((accepted, _)) => accepted,
                Either::Right(_) => return,
            };
            match accepted {
                Ok((stream, address)) => self.clone().admit(stream, address),
                Err(error) => {
                    tracing::warn!("cannot accept a client: {error}; raise the limit of open files if it was reached");
                    runtime.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: Arc<Self>, mut stream: R::Stream, address: SocketAddr) {
        let guest = Guest::arrive(self.clone());
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.executor.runtime().spawn(async move {
            if guest.0.connected() > MOST_CLIENTS {
                let mut refusal = ReplyBuffer::default();
                refusal.error("ERR max number of clients reached");
                // A client that is gone already needs no answer.
                let _ = stream.write_all(refusal.bytes()).await;
                let _ = stream.close().await;
                return;
            }
            // An end is an end, whoever made it.
            if let Err(error) = Session::new(&guest.0, stream, id, address).run().await {
                tracing::debug!(%address, "a client's connection ended: {error}");
            }
        });
    }

    /// Ends the accepting, and each connection after the commands it has in hand.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.close.notify(usize::MAX);
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Fires on [`close`](Self::close). Make it first and ask [`is_closing`](Self::is_closing) then.
    fn listen_for_close(&self) -> EventListener {
        self.close.listen()
    }

    /// Waits until no client is connected.
    pub(crate) async fn gone(&self) {
        loop {
            let left = self.left.listen();
            if self.connected() == 0 {
                return;
            }
            left.await;
        }
    }
}

/// One connected client, counted as long as this lives.
struct Guest<R: Runtime>(Arc<Clients<R>>);

impl<R: Runtime> Guest<R> {
    fn arrive(clients: Arc<Clients<R>>) -> Self {
        clients.connected.fetch_add(1, Ordering::Relaxed);
        Guest(clients)
    }
}

impl<R: Runtime> Drop for Guest<R> {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::SeqCst);
        self.0.left.notify(usize::MAX);
    }
}
