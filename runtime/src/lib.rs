//! The trait that an asynchronous runtime implements: tasks, timers and TCP. No runtime and no consensus engine is named here.

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncWrite};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Tasks, timers and TCP, from one asynchronous runtime. A new runtime implements this and nothing else.
///
/// Clones are handles to the same runtime.
#[async_trait]
pub trait Runtime: Clone + Send + Sync + 'static {
    /// The name by which users choose it and `INFO` reports it.
    const NAME: &'static str;
    /// A connected socket. Dropping it closes it. Small writes must leave at once (`TCP_NODELAY`).
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A listening socket. Dropping it closes it.
    type Listener: Send + Sync + 'static;

    /// Starts a runtime with this many worker threads, which carry `name`.
    ///
    /// # Errors
    /// When the system gives no threads or no poller.
    fn start(name: &str, threads: usize) -> io::Result<Self>;

    /// Runs `future` on the calling thread until it is done; spawned tasks run meanwhile.
    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Stops every task where it stands, as a killed process would, and returns without waiting for them. Sockets close.
    fn kill(&self);

    /// Runs `task` in the background until it ends or the runtime is killed.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Runs a task that may block, on a thread of its own that carries `name`, until it ends; also after the runtime is killed.
    /// On Linux the thread is a batch thread (`sched(7)`): when what it waited for has come it takes an idle processor, or its turn,
    /// and not the processor of a thread that serves reads. Only a runtime that simulates time has a reason to do otherwise.
    ///
    /// # Errors
    /// When the system gives no thread.
    fn spawn_thread(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let run = move || {
            #[cfg(target_os = "linux")]
            become_a_batch_thread();
            futures::executor::block_on(task);
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
    }

    /// Wakes after at least `duration`. A timer only wakes: what is due is decided from a clock reading.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// Listens on `address` (`host:port`; port 0 takes a free one), with `SO_REUSEADDR` so that a restart need not wait.
    ///
    /// # Errors
    /// As the system reports them: address in use, not permitted, not found.
    async fn listen(&self, address: &str) -> io::Result<Self::Listener>;

    /// The address that `listener` really has.
    ///
    /// # Errors
    /// As the system reports them.
    fn local_address(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// The next connection and where it comes from.
    ///
    /// # Errors
    /// As the system reports them; the listener is still good after one.
    async fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Stream, SocketAddr)>;

    /// Connects to `address` (`host:port`). Where the system can, the connection should fail when its peer has acknowledged
    /// nothing for some ten seconds, so that a host without power is noticed.
    ///
    /// # Errors
    /// As the system reports them: refused, unreachable, not found.
    async fn connect(&self, address: &str) -> io::Result<Self::Stream>;
}

/// Leaves an operator's own choice as it is, and goes on where the system refuses: it is for speed only.
#[cfg(target_os = "linux")]
fn become_a_batch_thread() {
    use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, get_scheduler, set_scheduler};
    let this = Pid::current_thread();
    if get_scheduler(this).is_ok_and(|scheduler| scheduler == Scheduler::SCHED_NORMAL) {
        let _ = set_scheduler(this, Scheduler::SCHED_BATCH, SchedulerParams { priority: 0 });
    }
}
