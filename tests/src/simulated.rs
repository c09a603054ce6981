//! A runtime on virtual time, in one thread, whose every choice follows from a seed: the smallest whole example of what a
//! runtime must do, and the proof that the ports ask for no more.
//!
//! A [`Simulation`] is the world: its time, its tasks, its network. Each [`SimulatedRuntime`] in it is one process, which can
//! be killed by itself. Time stands still while any task can go on, and then moves to the next timer, so a story of minutes
//! takes milliseconds. Which of the tasks that could go on does so is drawn, as are the delays of timers, threads and bytes.

mod disk;
mod network;

pub use disk::MemoryDisk;
pub use network::{SimulatedListener, SimulatedStream};

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use leasehold_clock::{Clock, Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};
use leasehold_runtime::{Runtime, ThreadPolicy};
use network::Network;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

/// How late a timer may wake.
const LATENESS: Range<Duration> = Duration::ZERO..Duration::from_millis(1);
/// The duration of each step of a task on a batch thread: mostly the disk's, which syncs.
const THREAD: Range<Duration> = Duration::from_micros(50)..Duration::from_millis(3);
/// What a virtual clock shows when the simulation begins.
const EPOCH: Duration = Duration::from_secs(3600);

/// One simulated world. When it is dropped, so is every task in it.
pub struct Simulation {
    shared: Arc<Shared>,
}

impl Simulation {
    /// A world in which everything that is left to chance follows from `seed`.
    pub fn new(seed: u64) -> Simulation {
        let world = World { random: Random(seed), ..World::default() };
        Simulation { shared: Arc::new(Shared { ready: Arc::default(), world: Mutex::new(world) }) }
    }

    /// A new process in this world.
    pub fn runtime(&self) -> SimulatedRuntime {
        let number = self.shared.world.lock().next_number();
        let killed = AtomicBool::new(false);
        SimulatedRuntime { process: Arc::new(Process { number, killed, shared: self.shared.clone() }) }
    }

    /// The time since this world began.
    pub fn now(&self) -> Duration {
        self.shared.now()
    }

    /// A clock on this world's time that stands `ahead` of others.
    pub fn clock(&self, ahead: Duration) -> Arc<dyn Clock> {
        Arc::new(SimulatedClock { shared: self.shared.clone(), ahead: EPOCH + ahead })
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Tasks hold their world, so it must let go of them. They may start others while they end.
        loop {
            let World { tasks, dropped, network, .. } = std::mem::take(&mut *self.shared.world.lock());
            if tasks.is_empty() && dropped.is_empty() {
                break;
            }
            drop((tasks, dropped, network));
        }
    }
}

/// What every process of a world shares.
struct Shared {
    /// Tasks that can go on. Apart from the rest, so that anyone may wake a task at any time.
    ready: Arc<Mutex<VecDeque<u64>>>,
    /// Never locked while a task is polled or dropped.
    world: Mutex<World>,
}

#[derive(Default)]
struct World {
    now: Duration,
    random: Random,
    numbers: u64,
    running: bool,
    tasks: BTreeMap<u64, Task>,
    /// Of tasks that were killed, until it is safe to drop them: one of them may be at work now.
    dropped: Vec<BoxFuture<'static, ()>>,
    /// By the time at which each wakes, and then in the order in which they were set.
    timers: BTreeMap<(Duration, u64), Waker>,
    network: Network,
}

struct Task {
    process: u64,
    waking: Arc<Waking>,
    /// `None` while it is polled.
    future: Option<BoxFuture<'static, ()>>,
}

impl World {
    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.world.lock().now
    }

    fn drawn(&self, range: Range<Duration>) -> Duration {
        self.world.lock().random.duration(range)
    }

    fn waking(&self, task: u64) -> Arc<Waking> {
        let waking = Arc::new(Waking { task, queued: AtomicBool::new(false), ready: self.ready.clone() });
        waking.wake_by_ref();
        waking
    }

    /// The next task to go on. While there is none, time passes.
    fn next(&self) -> u64 {
        loop {
            let mut world = self.world.lock();
            let mut ready = self.ready.lock();
            if let Some(last) = ready.len().checked_sub(1) {
                let chosen = world.random.below(last as u64 + 1) as usize;
                return ready.remove(chosen).expect("one of those there are");
            }
            drop(ready);
            let Some(((at, _), waker)) = world.timers.pop_first() else {
                panic!("every task waits, and no timer is set that could wake one")
            };
            world.now = world.now.max(at);
            drop(world);
            waker.wake();
        }
    }

    fn poll(&self, number: u64) {
        let taken = self.world.lock().tasks.get_mut(&number).and_then(|task| {
            let future = task.future.take()?;
            Some((future, task.waking.clone()))
        });
        // It may have ended since it was woken.
        let Some((mut future, waking)) = taken else { return };
        waking.queued.store(false, Ordering::Relaxed);
        let ended = future.as_mut().poll(&mut Context::from_waker(&Waker::from(waking))).is_ready();
        let mut world = self.world.lock();
        match world.tasks.get_mut(&number) {
            Some(task) if !ended => task.future = Some(future),
            _ => {
                world.tasks.remove(&number);
                drop(world);
                drop(future);
            }
        }
    }

    fn bury(&self) {
        loop {
            let dropped = std::mem::take(&mut self.world.lock().dropped);
            if dropped.is_empty() {
                break;
            }
            drop(dropped);
        }
    }
}

/// Wakes one task.
struct Waking {
    task: u64,
    queued: AtomicBool,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().push_back(self.task);
        }
    }
}

/// A handle to one process of a [`Simulation`].
#[derive(Clone)]
pub struct SimulatedRuntime {
    process: Arc<Process>,
}

impl SimulatedRuntime {
    /// Ends this process's tasks, as by `kill -9`.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// A clock on the time of this runtime's world.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SimulatedClock { shared: self.process.shared.clone(), ahead: EPOCH })
    }
}

struct Process {
    number: u64,
    killed: AtomicBool,
    shared: Arc<Shared>,
}

impl Process {
    fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        let mut world = self.shared.world.lock();
        let World { tasks, dropped, .. } = &mut *world;
        let killed = tasks.extract_if(.., |_, task| task.process == self.number);
        dropped.extend(killed.filter_map(|(_, task)| task.future));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

thread_local! {
    static OF_THIS_THREAD: Simulation = Simulation::new(0);
}

#[async_trait]
impl Runtime for SimulatedRuntime {
    const NAME: &'static str = "simulated";
    type Stream = SimulatedStream;
    type Listener = SimulatedListener;

    /// A process in a world that this thread has for itself. For any other, see [`Simulation::runtime`].
    fn start(_name: &str, threads: usize) -> io::Result<Self> {
        if threads == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a runtime needs at least one thread"));
        }
        Ok(OF_THIS_THREAD.with(Simulation::runtime))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let shared = &self.process.shared;
        let number = {
            let mut world = shared.world.lock();
            assert!(!std::mem::replace(&mut world.running, true), "a task waits in its own thread for another");
            world.next_number()
        };
        let waking = shared.waking(number);
        let waker = Waker::from(waking.clone());
        let mut future = pin!(future);
        let output = loop {
            let next = shared.next();
            if next != number {
                shared.poll(next);
            } else {
                waking.queued.store(false, Ordering::Relaxed);
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    break output;
                }
            }
            shared.bury();
        };
        shared.bury();
        shared.world.lock().running = false;
        output
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if self.process.killed.load(Ordering::Relaxed) {
            return;
        }
        let shared = &self.process.shared;
        let number = shared.world.lock().next_number();
        let task = Task { process: self.process.number, waking: shared.waking(number), future: Some(task.boxed()) };
        shared.world.lock().tasks.insert(number, task);
    }

    /// The thread is a task, and a batch thread takes time for each step. It ends with its process, as by `kill -9` or a loss
    /// of power: what the disk was asked to write and has not written is lost.
    fn spawn_thread(
        &self,
        _name: &str,
        policy: ThreadPolicy,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        if policy == ThreadPolicy::Normal {
            self.spawn(task);
            return Ok(());
        }
        let shared = self.process.shared.clone();
        let mut task = Box::pin(task);
        let mut busy: Option<Timer> = None;
        self.spawn(poll_fn(move |context| {
            let timer = busy.get_or_insert_with(|| Timer::after(&shared, shared.drawn(THREAD)));
            ready!(timer.poll_unpin(context));
            busy = None;
            task.as_mut().poll(context)
        }));
        Ok(())
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let shared = &self.process.shared;
        Timer::after(shared, duration + shared.drawn(LATENESS))
    }

    async fn listen(&self, address: &str) -> io::Result<SimulatedListener> {
        network::listen(&self.process.shared, address)
    }

    fn local_address(&self, listener: &SimulatedListener) -> io::Result<SocketAddr> {
        Ok(listener.address)
    }

    async fn accept(&self, listener: &SimulatedListener) -> io::Result<(SimulatedStream, SocketAddr)> {
        listener.accept().await
    }

    async fn connect(&self, address: &str) -> io::Result<SimulatedStream> {
        network::connect(&self.process.shared, address).await
    }
}

/// Ready at its time.
struct Timer {
    shared: Arc<Shared>,
    at: Duration,
    /// Its number among the timers that are set, once it is.
    set: Option<u64>,
}

impl Timer {
    fn at(shared: &Arc<Shared>, at: Duration) -> Timer {
        Timer { shared: shared.clone(), at, set: None }
    }

    fn after(shared: &Arc<Shared>, duration: Duration) -> Timer {
        Timer::at(shared, shared.now() + duration)
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut world = this.shared.world.lock();
        if world.now >= this.at {
            return Poll::Ready(());
        }
        let number = *this.set.get_or_insert_with(|| world.next_number());
        world.timers.insert((this.at, number), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(number) = self.set {
            self.shared.world.lock().timers.remove(&(self.at, number));
        }
    }
}

struct SimulatedClock {
    shared: Arc<Shared>,
    ahead: Duration,
}

impl Clock for SimulatedClock {
    fn now(&self) -> Reading {
        Some(Instant::from_nanos(0, 0).plus(self.ahead + self.shared.now()))
    }

    fn source(&self) -> Source {
        Source {
            awake: Counter { name: "simulated time", in_suspend: InSuspend::Stops, rate: Rate::Free },
            total: Counter { name: "simulated time", in_suspend: InSuspend::Counts, rate: Rate::Free },
        }
    }
}

/// Numbers that follow from a seed (SplitMix64).
#[derive(Default)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`, which is not 0.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn duration(&mut self, range: Range<Duration>) -> Duration {
        let width = (range.end - range.start).as_nanos() as u64;
        range.start + Duration::from_nanos(self.below(width))
    }
}
