//! Instants that nobody can read here: two counters, handed in from outside.

use core::time::Duration;

/// One reading of a machine's two raw counters, in nanoseconds since an origin that only this process knows.
///
/// `awake` counts while the machine is awake and is free of rate adjustment; `total` also counts suspended time. A
/// platform with one suitable clock puts it in both. There is no `now()`: a clock belongs to the caller.
///
/// `Instant` has no total order on purpose. Two instants can be earlier on one counter and later on the other; compare
/// them through [`elapsed_since`](Instant::elapsed_since) or [`is_before_on_either_counter`](Instant::is_before_on_either_counter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instant {
    awake: u64,
    total: u64,
}

/// A clock reading, or the clock's failure to give one. A failed clock is no reading, never zero treated as an instant.
pub type Reading = Option<Instant>;

/// The time between two instants, as far as it can be known: the two counters may disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed {
    /// The smaller of the two counters' differences. A promise to others is aged by this.
    pub at_least: Duration,
    /// The larger of the two. A right to act is aged by this.
    pub at_most: Duration,
}

impl Instant {
    /// An instant from its two counters, in nanoseconds.
    pub const fn from_nanos(awake: u64, total: u64) -> Self {
        Self { awake, total }
    }

    /// Nanoseconds on the counter that stops while the machine is suspended.
    pub const fn awake_nanos(self) -> u64 {
        self.awake
    }

    /// Nanoseconds on the counter that goes on while the machine is suspended.
    pub const fn total_nanos(self) -> u64 {
        self.total
    }

    /// Time from `earlier` to `self`, each counter by itself; a counter that went back counts as zero.
    pub fn elapsed_since(self, earlier: Instant) -> Elapsed {
        let awake = self.awake.saturating_sub(earlier.awake);
        let total = self.total.saturating_sub(earlier.total);
        Elapsed { at_least: Duration::from_nanos(awake.min(total)), at_most: Duration::from_nanos(awake.max(total)) }
    }

    /// Whether either counter shows less than in `other`. For two readings of one clock, taken in that order, this is a
    /// backward reading.
    pub fn is_before_on_either_counter(self, other: Instant) -> bool {
        self.awake < other.awake || self.total < other.total
    }

    /// This instant moved on by `by` on both counters, saturating.
    #[must_use]
    pub fn plus(self, by: Duration) -> Instant {
        let by = nanos(by);
        Instant { awake: self.awake.saturating_add(by), total: self.total.saturating_add(by) }
    }

    /// The later of two instants, each counter by itself.
    #[must_use]
    pub fn max_each(self, other: Instant) -> Instant {
        Instant { awake: self.awake.max(other.awake), total: self.total.max(other.total) }
    }

    /// The earlier of two instants, each counter by itself.
    #[must_use]
    pub fn min_each(self, other: Instant) -> Instant {
        Instant { awake: self.awake.min(other.awake), total: self.total.min(other.total) }
    }

    /// Whether a right that ends at `self` may still be used at `now`: both counters are short of it.
    pub fn is_surely_after(self, now: Instant) -> bool {
        now.awake < self.awake && now.total < self.total
    }

    /// Whether a promise that ends at `self` must still be kept at `now`: either counter is short of it.
    pub fn is_maybe_after(self, now: Instant) -> bool {
        now.awake < self.awake || now.total < self.total
    }
}

/// A duration in whole nanoseconds, saturating at 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}
