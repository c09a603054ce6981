//! The [`Runtime`] trait on smol.
//!
//! A [`SmolRuntime`] has an executor and threads of its own. Timers and sockets use smol's process-wide reactor. The
//! runtime stops when [`SmolRuntime::kill`] is called or its last handle is dropped, on whatever thread that happens:
//! the threads own the executor, and the last one to exit drops the tasks.

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

/// An outbound connection fails when its peer acknowledges nothing for this long, or accepts none of the data that
/// waits to be sent. The system's own default is a quarter of an hour.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle to a smol executor and its threads.
#[derive(Clone, Debug)]
pub struct SmolRuntime {
    /// Weak, because tasks hold handles and the executor holds the tasks.
    executor: Weak<Executor<'static>>,
    alive: Arc<Alive>,
}

/// Keeps the threads running until its channel is closed, by [`SmolRuntime::kill`] or by the drop of the last handle.
#[derive(Debug)]
struct Alive(Sender<()>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl SmolRuntime {
    /// Stops every task at its current await point, as if the process was killed, and returns without waiting for them.
    /// Their sockets close. Tasks spawned later never run.
    pub fn kill(&self) {
        self.alive.0.close();
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
                // Nothing is ever sent: this returns when the channel is closed.
                let _ = smol::block_on(executor.run(closed.recv()));
            };
            std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        }
        Ok(runtime)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(future)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // After a kill the executor is gone, or drops the task without running it.
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
        // Binding sets SO_REUSEADDR on systems where a restart needs it.
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
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
        Ok(stream)
    }
}
