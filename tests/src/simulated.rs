//! A deterministic runtime on virtual time, in one thread: the smallest complete implementation of the runtime port.
//!
//! A [`Simulation`] is a world with its own time, tasks and network. Each [`SimulatedRuntime`] in it is one process,
//! which can be killed on its own. Time stands still while any task is ready, and then advances to the next timer, so
//! minutes of virtual time take milliseconds. The seed determines which ready task runs next, and the delays of timers,
//! threads and bytes.

mod disk;

pub use disk::MemoryDisk;

use async_channel::{Receiver, Sender};
use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::io::{AsyncRead, AsyncWrite};
use leasehold_clock::{Clock, Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};
use leasehold_runtime::{Runtime, ThreadPolicy};
use leasehold_testing::dice::Dice;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

/// The lateness of timers.
const LATENESS: Range<Duration> = Duration::ZERO..Duration::from_millis(1);
/// The duration of each step of a task on a batch thread, which is mostly a sync.
const THREAD: Range<Duration> = Duration::from_micros(50)..Duration::from_millis(3);
/// The reading of a virtual clock when its simulation starts.
const EPOCH: Duration = Duration::from_secs(3600);

/// One simulated world. Dropping it drops all of its tasks.
pub struct Simulation {
    shared: Arc<Shared>,
}

impl Simulation {
    /// Creates a world whose random choices are all derived from `seed`.
    pub fn new(seed: u64) -> Simulation {
        let world = World::new(seed);
        Simulation { shared: Arc::new(Shared { ready: Arc::default(), world: Mutex::new(world) }) }
    }

    /// Creates a process in this world.
    pub fn runtime(&self) -> SimulatedRuntime {
        let number = self.shared.world.lock().next_number();
        let killed = AtomicBool::new(false);
        SimulatedRuntime { process: Arc::new(Process { number, killed, shared: self.shared.clone() }) }
    }

    /// Returns the time since this world was created.
    pub fn now(&self) -> Duration {
        self.shared.now()
    }

    /// Returns a clock on this world's time, `ahead` of the default one.
    pub fn clock(&self, ahead: Duration) -> Arc<dyn Clock> {
        Arc::new(SimulatedClock { shared: self.shared.clone(), ahead: EPOCH + ahead })
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Tasks hold a reference to their world, so the world must drop them first. A task may spawn others while it is
        // dropped.
        loop {
            let World { tasks, dropped, network, .. } =
                std::mem::replace(&mut *self.shared.world.lock(), World::new(0));
            if tasks.is_empty() && dropped.is_empty() {
                break;
            }
            drop((tasks, dropped, network));
        }
    }
}

/// The state that all processes of a world share.
struct Shared {
    /// Tasks that are ready to run. They have their own lock, so that a task can be woken at any time.
    ready: Arc<Mutex<VecDeque<u64>>>,
    /// Never locked while a task is polled or dropped.
    world: Mutex<World>,
}

struct World {
    now: Duration,
    dice: Dice,
    numbers: u64,
    running: bool,
    tasks: BTreeMap<u64, Task>,
    /// Futures of killed tasks. They are dropped once no task is being polled, because the current task may be one of
    /// them.
    dropped: Vec<BoxFuture<'static, ()>>,
    /// Timers, ordered by time and then by creation.
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
    fn new(seed: u64) -> World {
        World {
            now: Duration::ZERO,
            dice: Dice::new(seed, 0),
            numbers: 0,
            running: false,
            tasks: BTreeMap::new(),
            dropped: Vec::new(),
            timers: BTreeMap::new(),
            network: Network::default(),
        }
    }

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
        let width = (range.end - range.start).as_nanos() as u64;
        range.start + Duration::from_nanos(self.world.lock().dice.below(width))
    }

    fn waking(&self, task: u64) -> Arc<Waking> {
        let waking = Arc::new(Waking { task, queued: AtomicBool::new(false), ready: self.ready.clone() });
        waking.wake_by_ref();
        waking
    }

    /// Returns the next task to poll. Advances time while no task is ready.
    fn next(&self) -> u64 {
        loop {
            let mut world = self.world.lock();
            let mut ready = self.ready.lock();
            if let Some(last) = ready.len().checked_sub(1) {
                let chosen = world.dice.below(last as u64 + 1) as usize;
                return ready.remove(chosen).expect("the index is in bounds");
            }
            drop(ready);
            let Some(((at, _), waker)) = world.timers.pop_first() else {
                panic!("deadlock: no task is ready and no timer is set")
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
        // The task may have ended since it was woken.
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

    fn drop_killed(&self) {
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
    /// Ends all tasks of this process, as `kill -9` does.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Returns a clock on the time of this runtime's world.
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

    /// Creates a process in a world that belongs to this thread. See [`Simulation::runtime`] for other worlds.
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
            assert!(!std::mem::replace(&mut world.running, true), "block_on called within block_on");
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
            shared.drop_killed();
        };
        shared.drop_killed();
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

    /// The thread is a task, and each step on a batch thread takes time. It ends with its process, as in a `kill -9` or
    /// a power failure: writes that have not completed are lost.
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
        listen(&self.process.shared, address)
    }

    fn local_address(&self, listener: &SimulatedListener) -> io::Result<SocketAddr> {
        Ok(listener.address)
    }

    async fn accept(&self, listener: &SimulatedListener) -> io::Result<(SimulatedStream, SocketAddr)> {
        listener.accept().await
    }

    async fn connect(&self, address: &str) -> io::Result<SimulatedStream> {
        connect(&self.process.shared, address).await
    }
}

/// A future that completes at a given time.
struct Timer {
    shared: Arc<Shared>,
    at: Duration,
    /// Its number in the queue of timers, once it has been added.
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

// In-memory connections: bytes arrive in order, in pieces, each after a random delay.

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
struct Network {
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

fn listen(shared: &Shared, address: &str) -> io::Result<SimulatedListener> {
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

async fn connect(shared: &Arc<Shared>, address: &str) -> io::Result<SimulatedStream> {
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
    address: SocketAddr,
    connections: Receiver<Connection>,
}

impl SimulatedListener {
    async fn accept(&self) -> io::Result<Connection> {
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
        let (arrival, most) = (self.arrival(), 1 + self.shared.world.lock().dice.below(PIECE) as usize);
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
