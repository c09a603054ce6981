//! Measures time while the clock may give no readings.

use leasehold_core::Reading;
use std::time::Duration;

/// Measures time for deadlines. It never goes back, and goes on while the clock gives no readings.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    last: Reading,
    elapsed: Duration,
}

impl Stopwatch {
    /// Returns the time at `now`, by the counter that advanced most.
    pub(crate) fn at(&mut self, now: Reading) -> Duration {
        if let Some((now, last)) = now.zip(self.last) {
            self.elapsed += now.elapsed_since(last).at_most;
        }
        self.last = now.or(self.last);
        self.elapsed
    }

    /// Returns the time at the last reading.
    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Returns the time when a timer fires, `tick` after it last fired. Without a reading, that tick has passed.
    pub(crate) fn at_timer(&mut self, now: Reading, tick: Duration) -> Duration {
        if now.is_none() {
            self.last = None;
            self.elapsed += tick;
        }
        self.at(now)
    }
}
