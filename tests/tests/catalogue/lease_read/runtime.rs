//! Openraft's own deterministic runtime, extended by processes that can be paused and machines that can be suspended.

use leasehold_clock::{Clock, ManualClock, Source};
use leasehold_core::{Instant as CoreInstant, Reading};
use openraft::async_runtime::{AsyncRuntime, Instant};
use openraft_rt_sim::{SimInstant, SimRuntime, SimSleep, SimTimeout};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A process: all tasks of one node.
#[derive(Debug, Default)]
pub(super) struct Process {
    paused: AtomicBool,
    /// The time that its clock stood still, in nanoseconds.
    stood_still: AtomicU64,
    /// The lease's clock has stepped by this much, in nanoseconds, or fails. The timers of openraft's runtime do not.
    stepped: AtomicI64,
    fails: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Process>>> = const { RefCell::new(None) };
}

impl Process {
    pub(super) fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
    }

    pub(super) fn resume(&self) {
        self.paused.store(false, Ordering::Relaxed);
        self.waiting.lock().drain(..).for_each(Waker::wake);
    }

    pub(super) fn step_clock(&self, by: i64) {
        self.stepped.fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn fail_clock(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }

    pub(super) fn lose_time(&self, lost: Duration) {
        self.stood_still.fetch_add(lost.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// A future that belongs to a process. What it spawns belongs to it too, it reads that process's clock, and it pauses with it.
pub(super) struct Within<F> {
    process: Option<Arc<Process>>,
    future: Pin<Box<F>>,
}

pub(super) fn within<F>(process: Option<Arc<Process>>, future: F) -> Within<F> {
    Within { process, future: Box::pin(future) }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if let Some(process) = self.process.as_ref().filter(|process| process.paused.load(Ordering::Relaxed)) {
            process.waiting.lock().push(context.waker().clone());
            return Poll::Pending;
        }
        let outer = CURRENT.replace(self.process.clone());
        let polled = self.future.as_mut().poll(context);
        CURRENT.set(outer);
        polled
    }
}

/// A reading of a process's clock. The counter stops while the machine is suspended, as the one that openraft's usual runtime
/// reads on Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessInstant(Duration);

/// The first reading, so large that code may subtract a timeout from it.
const ORIGIN: Duration = Duration::from_secs(86_400);

impl Instant for ProcessInstant {
    fn now() -> ProcessInstant {
        let lost =
            CURRENT.with_borrow(|process| process.as_ref().map(|process| process.stood_still.load(Ordering::Relaxed)));
        ProcessInstant(ORIGIN + SimInstant::now().elapsed_since_start() - Duration::from_nanos(lost.unwrap_or(0)))
    }
}

impl Add<Duration> for ProcessInstant {
    type Output = ProcessInstant;

    fn add(self, by: Duration) -> ProcessInstant {
        ProcessInstant(self.0 + by)
    }
}

impl Sub<Duration> for ProcessInstant {
    type Output = ProcessInstant;

    fn sub(self, by: Duration) -> ProcessInstant {
        ProcessInstant(self.0 - by)
    }
}

impl Sub for ProcessInstant {
    type Output = Duration;

    fn sub(self, earlier: ProcessInstant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl AddAssign<Duration> for ProcessInstant {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl SubAssign<Duration> for ProcessInstant {
    fn sub_assign(&mut self, by: Duration) {
        *self = *self - by;
    }
}

/// The clock of a process's lease: a counter that stops while the machine is suspended, and one that does not.
#[derive(Debug)]
pub(super) struct ProcessClock(pub(super) Arc<Process>);

impl Clock for ProcessClock {
    fn now(&self) -> Reading {
        let Process { stood_still, stepped, fails, .. } = &*self.0;
        let total = (ORIGIN + SimInstant::now().elapsed_since_start()).as_nanos() as u64;
        let total = total.saturating_add_signed(stepped.load(Ordering::Relaxed));
        let reading = CoreInstant::from_nanos(total - stood_still.load(Ordering::Relaxed), total);
        (!fails.load(Ordering::Relaxed)).then_some(reading)
    }

    fn source(&self) -> Source {
        ManualClock::new(CoreInstant::from_nanos(0, 0)).source()
    }
}

/// The runtime for openraft.
#[derive(Debug)]
pub(crate) struct ProcessRuntime(SimRuntime);

impl AsyncRuntime for ProcessRuntime {
    type JoinError = <SimRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: Send + 'static> = <SimRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = SimSleep;
    type Instant = ProcessInstant;
    type TimeoutError = <SimRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + Send> = SimTimeout<T>;
    type ThreadLocalRng = <SimRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <SimRuntime as AsyncRuntime>::Mpsc;
    type Watch = <SimRuntime as AsyncRuntime>::Watch;
    type Oneshot = <SimRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <SimRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        SimRuntime::spawn(within(CURRENT.with_borrow(Option::clone), future))
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        SimRuntime::sleep(duration)
    }

    fn sleep_until(deadline: ProcessInstant) -> Self::Sleep {
        SimRuntime::sleep(deadline - ProcessInstant::now())
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        SimRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: ProcessInstant, future: F) -> Self::Timeout<R, F> {
        SimRuntime::timeout(deadline - ProcessInstant::now(), future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        SimRuntime::is_panic(error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SimRuntime::thread_rng()
    }

    fn new(threads: usize) -> ProcessRuntime {
        ProcessRuntime(SimRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

impl ProcessRuntime {
    pub(super) fn with_seed(seed: u64) -> ProcessRuntime {
        ProcessRuntime(SimRuntime::with_seed(seed))
    }
}
