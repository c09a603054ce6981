//! The trait that an asynchronous runtime implements to run a Leasehold node: tasks, threads, timers and TCP.
//!
//! This crate names no runtime and no consensus engine. It starts no task and opens no socket: implementations do.

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncWrite};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The scheduling policy of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ThreadPolicy {
    /// The system's usual policy: for the thread that runs the node.
    Normal,
    /// On Linux, `SCHED_BATCH` (`sched(7)`), and elsewhere as [`Normal`](Self::Normal): for blocking work. When such a
    /// thread wakes, it takes an idle processor or waits for its turn. It does not preempt a thread that serves reads.
    Batch,
}

/// Tasks, threads, timers and TCP from one asynchronous runtime.
///
/// Clones are handles to the same runtime. When the last one is dropped, the runtime's tasks are dropped too.
#[async_trait]
pub trait Runtime: Clone + Send + Sync + 'static {
    /// The name by which users choose this runtime and `INFO` reports it.
    const NAME: &'static str;
    /// A connected socket. Dropping it closes it. It sends small writes at once (`TCP_NODELAY`).
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A listening socket. Dropping it closes it.
    type Listener: Send + Sync + 'static;

    /// Starts a runtime with this many worker threads, each named `name`.
    ///
    /// # Errors
    /// `InvalidInput` for zero threads. Otherwise as the system reports them: no thread or no poller could be created.
    fn start(name: &str, threads: usize) -> io::Result<Self>;

    /// Runs `future` on the calling thread until it completes. Spawned tasks run meanwhile.
    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Runs `task` in the background until it ends or the runtime stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Runs `task`, which may block, on a new thread named `name` until the task ends. The thread outlives the runtime.
    ///
    /// Only a runtime that simulates time needs its own implementation.
    ///
    /// # Errors
    /// As the system reports them: no thread could be created. A system that refuses the policy causes no error: the
    /// policy affects speed only.
    fn spawn_thread(
        &self,
        name: &str,
        policy: ThreadPolicy,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let run = move || {
            #[cfg(target_os = "linux")]
            if policy == ThreadPolicy::Batch {
                switch_to_batch();
            }
            #[cfg(not(target_os = "linux"))]
            let _ = policy;
            futures::executor::block_on(task);
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
    }

    /// Completes after at least `duration`. A timer only wakes a task: the task decides what is due from a clock
    /// reading.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// Listens on `address` (`host:port`; port 0 selects a free one), with `SO_REUSEADDR` so that a restarted process
    /// need not wait for the port.
    ///
    /// # Errors
    /// As the system reports them: address in use, not permitted, not found.
    async fn listen(&self, address: &str) -> io::Result<Self::Listener>;

    /// Returns the address that `listener` is bound to.
    ///
    /// # Errors
    /// As the system reports them.
    fn local_address(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// Returns the next connection and its remote address.
    ///
    /// # Errors
    /// As the system reports them. The listener stays usable.
    async fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Stream, SocketAddr)>;

    /// Connects to `address` (`host:port`). Where the system supports it, the connection fails when its peer has
    /// acknowledged nothing for about ten seconds, so that a host that lost power is noticed.
    ///
    /// # Errors
    /// As the system reports them: refused, unreachable, not found.
    async fn connect(&self, address: &str) -> io::Result<Self::Stream>;
}

/// Moves the calling thread from the normal policy to the batch policy. Keeps any other policy: an operator chose it.
#[cfg(target_os = "linux")]
fn switch_to_batch() {
    use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, get_scheduler, set_scheduler};
    let this = Pid::current_thread();
    if get_scheduler(this).is_ok_and(|scheduler| scheduler == Scheduler::SCHED_NORMAL) {
        let _ = set_scheduler(this, Scheduler::SCHED_BATCH, SchedulerParams { priority: 0 });
    }
}
