//! Instants, deadlines and elapsed time on two counters. Nothing here reads a clock.

use core::time::Duration;

/// One reading of a machine's two raw counters, in nanoseconds since an origin that is meaningful to this process only.
///
/// `awake` counts while the machine is awake, and its rate is not adjusted. `total` also counts suspended time. A
/// platform with one suitable clock uses it for both. There is no `now()`: the caller owns the clock.
///
/// `Instant` deliberately has no total order: one instant can be earlier on one counter and later on the other. Compare
/// them with [`elapsed_since`](Instant::elapsed_since) or
/// [`is_before_on_either_counter`](Instant::is_before_on_either_counter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instant {
    awake: u64,
    total: u64,
}

/// A clock reading; `None` if the clock failed. A failure is never represented by an instant of zero.
pub type Reading = Option<Instant>;

/// The purpose of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The holder opens its next round.
    Heartbeat,
    /// The engine counts a tick.
    Tick,
}

/// Bounds on the time between two instants; they differ when the two counters disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed {
    /// The smaller difference of the two counters. Promises to others age by this.
    pub at_least: Duration,
    /// The larger difference of the two counters. Permissions age by this.
    pub at_most: Duration,
}

impl Instant {
    /// Creates an instant from its two counters, in nanoseconds.
    pub const fn from_nanos(awake: u64, total: u64) -> Self {
        Self { awake, total }
    }

    /// Returns the nanoseconds of the counter that stops while the machine is suspended.
    pub const fn awake_nanos(self) -> u64 {
        self.awake
    }

    /// Returns the nanoseconds of the counter that also counts while the machine is suspended.
    pub const fn total_nanos(self) -> u64 {
        self.total
    }

    /// Returns the time from `earlier` to `self` on each counter separately; a counter that went back counts as zero.
    pub fn elapsed_since(self, earlier: Instant) -> Elapsed {
        let awake = self.awake.saturating_sub(earlier.awake);
        let total = self.total.saturating_sub(earlier.total);
        Elapsed { at_least: Duration::from_nanos(awake.min(total)), at_most: Duration::from_nanos(awake.max(total)) }
    }

    /// Returns how long a timer should wait for `deadline`: until the first of the two counters reaches it. Zero if one has.
    pub fn time_until(self, deadline: Instant) -> Duration {
        deadline.elapsed_since(self).at_least
    }

    /// Returns whether either counter is lower than in `other`. If `self` is the later reading of the same clock, it is
    /// then a backward reading.
    pub fn is_before_on_either_counter(self, other: Instant) -> bool {
        self.awake < other.awake || self.total < other.total
    }

    /// Returns this instant plus `by` on both counters, saturating.
    #[must_use]
    pub fn plus(self, by: Duration) -> Instant {
        let by = nanos(by);
        Instant { awake: self.awake.saturating_add(by), total: self.total.saturating_add(by) }
    }

    /// Returns the later of two instants on each counter separately.
    #[must_use]
    pub fn max_each(self, other: Instant) -> Instant {
        Instant { awake: self.awake.max(other.awake), total: self.total.max(other.total) }
    }

    /// Returns the earlier of two instants on each counter separately.
    #[must_use]
    pub fn min_each(self, other: Instant) -> Instant {
        Instant { awake: self.awake.min(other.awake), total: self.total.min(other.total) }
    }

    /// Returns whether a permission that ends at `self` is still valid at `now`: both counters are before the end.
    pub fn is_surely_after(self, now: Instant) -> bool {
        now.awake < self.awake && now.total < self.total
    }

    /// Returns whether a promise that ends at `self` still binds at `now`: either counter is before the end.
    pub fn is_maybe_after(self, now: Instant) -> bool {
        now.awake < self.awake || now.total < self.total
    }
}

/// Converts a duration to whole nanoseconds, saturating at 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}
