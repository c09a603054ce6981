//! The [`Runtime`] trait on tokio.
//!
//! [`TokioRuntime::start`](Runtime::start) starts a multi-threaded runtime. It stops when [`TokioRuntime::kill`] is
//! called or its last handle is dropped. tokio panics when a runtime is dropped inside one of its own tasks, so this
//! one always shuts down in the background. [`TokioRuntime::from_handle`] uses a runtime that the application already
//! has.

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
use tokio_util::sync::CancellationToken;

/// The number of connections that may wait to be accepted.
const MAX_BACKLOG: u32 = 1024;

/// An outbound connection fails when its peer acknowledges nothing for this long, or accepts none of the data that
/// waits to be sent. With the system's default, a quarter of an hour, a link would trust a host that lost power, or
/// wait for a retransmission long after a partition healed.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle to a tokio runtime.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: Handle,
    scope: Arc<Scope>,
}

/// The tasks that [`TokioRuntime::kill`] and the drop of the last handle stop.
#[derive(Debug)]
enum Scope {
    /// A whole runtime; `None` once it was killed.
    Owned(Mutex<Option<tokio::runtime::Runtime>>),
    /// The tasks spawned on a runtime that belongs to the application.
    Adopted(CancellationToken),
}

impl Scope {
    fn kill(&self) {
        match self {
            Scope::Owned(runtime) => {
                // No code panics while it holds the lock. A poisoned lock would still hold a runtime to shut down.
                let runtime = runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(runtime) = runtime {
                    runtime.shutdown_background();
                }
            }
            Scope::Adopted(killed) => killed.cancel(),
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.kill();
    }
}

impl TokioRuntime {
    /// Runs tasks on a runtime that the application owns. The runtime must have its I/O and time drivers enabled. It
    /// should be multi-threaded: [`block_on`](Runtime::block_on) does not drive a current-thread runtime.
    ///
    /// [`kill`](Self::kill), and the drop of the last clone of the returned handle, stop the tasks spawned through the
    /// handle and its clones. The runtime and the application's own tasks continue.
    pub fn from_handle(handle: Handle) -> Self {
        Self { handle, scope: Arc::new(Scope::Adopted(CancellationToken::new())) }
    }

    /// Stops every task at its current await point, as if the process was killed, and returns without waiting for them.
    /// Their sockets close. Tasks spawned later never run.
    ///
    /// A runtime that [`start`](Runtime::start) made shuts down. For one from [`from_handle`](Self::from_handle), this
    /// stops the tasks spawned through this handle and its clones.
    pub fn kill(&self) {
        self.scope.kill();
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
        Ok(Self { handle, scope: Arc::new(Scope::Owned(Mutex::new(Some(runtime)))) })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &*self.scope {
            Scope::Owned(_) => drop(self.handle.spawn(task)),
            Scope::Adopted(killed) if killed.is_cancelled() => {}
            Scope::Adopted(killed) => {
                let killed = killed.clone();
                drop(self.handle.spawn(async move {
                    let _ = killed.run_until_cancelled_owned(task).await;
                }));
            }
        }
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        // tokio creates timers in the current context, and the caller may have none.
        let _context = self.handle.enter();
        tokio::time::sleep(duration)
    }

    async fn listen(&self, address: &str) -> io::Result<TcpListener> {
        let mut failure = no_address(address);
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
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
        Ok(stream.compat())
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(MAX_BACKLOG)
}

fn no_address(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} resolves to no address"))
}
