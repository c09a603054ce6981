//! Measuring time.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// A started stopwatch.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time; nothing else depends on it")]
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn nanos(self) -> f64 {
        self.elapsed().as_secs_f64() * 1e9
    }
}

/// Returns the processor time of this thread so far.
pub(crate) fn thread_time() -> Duration {
    processor_time(ClockId::ThreadCPUTime)
}

/// Returns the processor time of this process so far.
pub(crate) fn process_time() -> Duration {
    processor_time(ClockId::ProcessCPUTime)
}

fn processor_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A run is split into this many slices, and the median counts, because other work of this machine affects only a few
/// of them.
const SLICES: u32 = 32;

/// Returns the nanoseconds of one call, measured over some calls.
#[inline]
pub(crate) fn nanos_each(calls: u32, mut call: impl FnMut()) -> f64 {
    let calls = (calls / SLICES).max(1);
    let mut slices = [0.0; SLICES as usize];
    for slice in &mut slices {
        let watch = Stopwatch::start();
        for _ in 0..calls {
            call();
        }
        *slice = watch.nanos() / f64::from(calls);
    }
    // In place, because the caller may count allocations.
    slices.sort_unstable_by(f64::total_cmp);
    slices[SLICES as usize / 2]
}
