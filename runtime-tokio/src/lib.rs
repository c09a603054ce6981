//! The runtime ports on tokio, and nothing else.
//!
//! A multi-threaded tokio runtime that its handles own together. It lives until [`Runtime::kill`] or until its last
//! handle is dropped, wherever that happens: tokio panics when a runtime is dropped inside one of its own tasks, so
//! this one is always shut down in the background instead.

use async_trait::async_trait;
use leasehold_runtime::Runtime;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::runtime::{Builder, Handle};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A connection that this node opened is dead when its peer acknowledges nothing for this long, or takes nothing of what
/// waits for it. The system's own default is a quarter of an hour, and a link would go on trusting a host that lost its
/// power, or wait for a retransmission long after a partition healed.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// A handle to a tokio runtime of its own.
#[derive(Clone)]
pub struct TokioRuntime {
    handle: Handle,
    owned: Arc<Owned>,
}

/// The runtime itself, until it is killed.
struct Owned(Mutex<Option<tokio::runtime::Runtime>>);

impl Owned {
    fn kill(&self) {
        // Nothing can panic while the lock is held; were it poisoned, the runtime in it is still good to shut down.
        let runtime = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
    }
}

#[async_trait]
impl Runtime for TokioRuntime {
    const NAME: &'static str = "tokio";
    type Stream = Compat<TcpStream>;
    type Listener = TcpListener;

    fn start(name: &str, threads: usize) -> io::Result<Self> {
        if threads == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a runtime needs at least one thread"));
        }
        let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok(Self { handle, owned: Arc::new(Owned(Mutex::new(Some(runtime)))) })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }

    fn kill(&self) {
        self.owned.kill();
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(task));
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        // A timer belongs to the runtime in whose context it is made; callers need not be in one.
        let _context = self.handle.enter();
        tokio::time::sleep(duration)
    }

    async fn listen(&self, address: &str) -> io::Result<TcpListener> {
        let mut failure = not_found(address);
        for address in lookup_host(address).await? {
            match listen_on(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn local_address(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(Compat<TcpStream>, SocketAddr)> {
        let (stream, from) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream.compat(), from))
    }

    async fn connect(&self, address: &str) -> io::Result<Compat<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        Ok(stream.compat())
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn not_found(address: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{address} names no address"))
}
