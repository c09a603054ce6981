//! The runtime ports on smol, and nothing else.
//!
//! An executor with threads of its own; timers and sockets share smol's one reactor. It lives until [`Runtime::kill`] or until its
//! last handle is dropped, wherever that happens: its threads hold the executor, and the last of them to leave drops the tasks.

use async_trait::async_trait;
use leasehold_runtime::Runtime;
use smol::channel::{Receiver, Sender};
use smol::net::{TcpListener, TcpStream};
use smol::{Executor, Timer};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A connection that this node opened is dead when its peer acknowledges nothing for this long, or takes nothing of what waits
/// for it. The system's own default is a quarter of an hour.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// A handle to a smol executor of its own.
#[derive(Clone)]
pub struct SmolRuntime {
    /// Tasks hold handles, so a handle must not hold the executor that holds the tasks.
    executor: Weak<Executor<'static>>,
    /// Closed by [`Runtime::kill`], and when the last handle is gone: the threads then leave.
    alive: Arc<Alive>,
}

/// Keeps the threads at work.
struct Alive(Sender<()>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[async_trait]
impl Runtime for SmolRuntime {
    const NAME: &'static str = "smol";
    type Stream = TcpStream;
    type Listener = TcpListener;

    fn start(name: &str, threads: usize) -> io::Result<Self> {
        if threads == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a runtime needs at least one thread"));
        }
        let executor = Arc::new(Executor::new());
        let (alive, closed) = smol::channel::bounded(1);
        let runtime = Self { executor: Arc::downgrade(&executor), alive: Arc::new(Alive(alive)) };
        for _ in 0..threads {
            let (executor, closed): (_, Receiver<()>) = (executor.clone(), closed.clone());
            let work = move || {
                // Nothing is ever sent: this ends when the channel is closed.
                let _ = smol::block_on(executor.run(closed.recv()));
            };
            std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        }
        Ok(runtime)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(future)
    }

    fn kill(&self) {
        self.alive.0.close();
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // On a runtime that was killed a task ends before it begins.
        if let Some(executor) = self.executor.upgrade() {
            executor.spawn(task).detach();
        }
    }

    #[expect(clippy::manual_async_fn, reason = "an async fn would borrow the handle")]
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        async move {
            Timer::after(duration).await;
        }
    }

    async fn listen(&self, address: &str) -> io::Result<TcpListener> {
        // Binding sets SO_REUSEADDR where that lets a restart go on at once.
        TcpListener::bind(address).await
    }

    fn local_address(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, from) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, from))
    }

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        Ok(stream)
    }
}
