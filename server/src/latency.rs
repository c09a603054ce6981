//! Histograms of times. They take no lock, and count many equal times at once.

use leasehold_clock::Clock;
use leasehold_core::Reading;
use leasehold_node::ports::{Batch, Disk};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets: from the time of a read by lease to that of a request that waits for a leader.
pub(crate) const BOUNDS: [Duration; 22] = [
    Duration::from_nanos(1_000),
    Duration::from_nanos(2_500),
    Duration::from_nanos(5_000),
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// The number of buckets: the last one has no upper bound.
const BUCKETS: usize = BOUNDS.len() + 1;

/// The times of events of one kind.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], nanos: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts `count` events that took `time` each.
    pub(crate) fn add(&self, time: Duration, count: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < time);
        self.buckets[bucket].fetch_add(count, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos.saturating_mul(count), Ordering::Relaxed);
    }

    /// Returns what was counted.
    pub(crate) fn times(&self) -> Times {
        Times {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed)),
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }

    /// Sets the counts to zero.
    pub(crate) fn reset(&self) {
        self.buckets.iter().chain([&self.nanos]).for_each(|number| number.store(0, Ordering::Relaxed));
    }
}

/// What a [`Histogram`] has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// The events in each bucket.
    pub(crate) buckets: [u64; BUCKETS],
    /// The times of all events together.
    pub(crate) sum: Duration,
}

impl Default for Times {
    fn default() -> Times {
        Times { buckets: [0; BUCKETS], sum: Duration::ZERO }
    }
}

impl Times {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds what another histogram has counted.
    pub(crate) fn add(&mut self, other: &Times) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, more)| *sum += more);
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Returns what was counted since `earlier`.
    pub(crate) fn since(&self, earlier: &Times) -> Times {
        let mut since = *self;
        since.buckets.iter_mut().zip(earlier.buckets).for_each(|(now, then)| *now = now.saturating_sub(then));
        since.sum = self.sum.saturating_sub(earlier.sum);
        since
    }

    /// Returns the upper bound of the bucket with the event that `share` of all events are not slower than; `None` if
    /// nothing was counted. In the bucket without a bound, it is the highest bound.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (self.count() as f64 * share).ceil().max(1.0);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen as f64 >= rank
        });
        bucket.map(|bucket| BOUNDS[bucket.min(BOUNDS.len() - 1)])
    }
}

/// Measures the time of each piece of work.
#[derive(Clone)]
pub(crate) struct Timer {
    clock: Arc<dyn Clock>,
    histogram: Arc<Histogram>,
}

impl Timer {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Timer {
        Timer { clock, histogram: Arc::default() }
    }

    /// Returns the time at which a piece of work begins.
    pub(crate) fn begin(&self) -> Reading {
        self.clock.now()
    }

    /// Counts the piece of work that began then. Without readings it is not counted.
    pub(crate) fn end(&self, began: Reading) {
        if let Some((began, now)) = began.zip(self.clock.now()) {
            self.histogram.add(now.elapsed_since(began).at_most, 1);
        }
    }

    /// Returns what was measured.
    pub(crate) fn times(&self) -> Times {
        self.histogram.times()
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Timer").field("histogram", &self.histogram).finish_non_exhaustive()
    }
}

/// A disk whose commits are measured.
pub(crate) struct TimedDisk<D> {
    pub(crate) disk: D,
    pub(crate) timer: Timer,
}

impl<D: Disk> Disk for TimedDisk<D> {
    fn commit(&mut self, batches: &[Batch]) -> io::Result<()> {
        let began = self.timer.begin();
        let outcome = self.disk.commit(batches);
        self.timer.end(began);
        outcome
    }

    fn has_leftovers(&self) -> bool {
        self.disk.has_leftovers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_clock::ManualClock;
    use leasehold_core::Instant;

    #[test]
    fn times_are_counted_in_the_bucket_of_the_next_higher_bound() {
        let histogram = Histogram::default();
        for (nanos, count) in [(0, 1), (1_000, 2), (1_001, 3), (2_500, 4), (10_000_000_001, 5), (u64::MAX, 0)] {
            histogram.add(Duration::from_nanos(nanos), count);
        }
        let times = histogram.times();
        assert_eq!((times.buckets[0], times.buckets[1], times.buckets[BUCKETS - 1]), (3, 7, 5));
        assert_eq!((times.count(), times.sum), (15, Duration::from_nanos(2_000 + 3_003 + 10_000 + 50_000_000_005)));
        histogram.reset();
        assert_eq!(histogram.times(), Times::default());
    }

    #[test]
    fn bounds_ascend_so_that_each_time_has_one_bucket() {
        assert!(BOUNDS.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn a_quantile_is_the_bound_below_which_that_share_of_the_events_is() {
        let histogram = Histogram::default();
        histogram.add(Duration::from_micros(2), 98);
        let before = histogram.times();
        histogram.add(Duration::from_micros(700), 1);
        histogram.add(Duration::from_secs(60), 1);
        let times = histogram.times();
        let micros = |share| times.quantile(share).map(|time| time.as_nanos() as f64 / 1000.0);
        assert_eq!((micros(0.5), micros(0.98), micros(0.99)), (Some(2.5), Some(2.5), Some(1000.0)));
        assert_eq!(times.quantile(1.0), Some(Duration::from_secs(10)));
        assert_eq!(times.since(&before).quantile(0.5), Some(Duration::from_millis(1)));
        assert_eq!(times.since(&times).quantile(0.5), None);
        let mut both = before;
        both.add(&times);
        assert_eq!(both.count(), 198);
    }

    #[test]
    fn a_commit_is_measured_and_one_without_readings_is_not() {
        struct Slow(Arc<ManualClock>);
        impl Disk for Slow {
            fn commit(&mut self, _: &[Batch]) -> io::Result<()> {
                self.0.advance(Duration::from_millis(3));
                Ok(())
            }
        }
        let clock = Arc::new(ManualClock::new(Instant::from_nanos(5, 5)));
        let mut disk = TimedDisk { disk: Slow(clock.clone()), timer: Timer::new(clock.clone()) };
        disk.commit(&[]).expect("it is written");
        assert_eq!(disk.timer.times().quantile(0.5), Some(Duration::from_millis(5)));
        clock.fail();
        disk.commit(&[]).expect("it is written");
        assert_eq!(disk.timer.times().count(), 1);
    }
}
