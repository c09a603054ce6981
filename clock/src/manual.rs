//! A clock for tests.

use crate::clock::Clock;
use crate::source::{Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A clock that moves only when a test moves it, each counter separately. Clones are handles to the same clock.
///
/// A test may set it back, or freeze a counter.
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    at: Instant,
    failing: bool,
}

impl ManualClock {
    /// Creates a clock that reads `at`.
    pub fn new(at: Instant) -> ManualClock {
        ManualClock { state: Arc::new(Mutex::new(State { at, failing: false })) }
    }

    /// Returns the values of both counters, even while the clock is failing.
    pub fn at(&self) -> Instant {
        self.state().at
    }

    /// Sets both counters to `at`, forwards or back.
    pub fn set(&self, at: Instant) {
        self.state().at = at;
    }

    /// Advances both counters, as on a machine that is awake.
    pub fn advance(&self, by: Duration) {
        self.advance_awake(by);
        self.advance_total(by);
    }

    /// Advances only the counter that stops during a suspend.
    pub fn advance_awake(&self, by: Duration) {
        let mut state = self.state();
        state.at = Instant::from_nanos(state.at.plus(by).awake_nanos(), state.at.total_nanos());
    }

    /// Advances only the counter that counts during a suspend, as a suspend does.
    pub fn advance_total(&self, by: Duration) {
        let mut state = self.state();
        state.at = Instant::from_nanos(state.at.awake_nanos(), state.at.plus(by).total_nanos());
    }

    /// Makes the clock fail: it gives no readings. The counters keep their values and can still be moved.
    pub fn fail(&self) {
        self.state().failing = true;
    }

    /// Ends the failure: the clock gives readings again.
    pub fn recover(&self) {
        self.state().failing = false;
    }

    /// Ignores poisoning: no method leaves the state half changed, so it is sound after a panic elsewhere.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    /// Creates a clock that reads one hour awake and one day in total. The values differ, so that a test notices
    /// swapped counters, and are far enough from zero to be set back.
    fn default() -> ManualClock {
        const HOUR: u64 = 3_600_000_000_000;
        ManualClock::new(Instant::from_nanos(HOUR, 24 * HOUR))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Reading {
        let state = self.state();
        (!state.failing).then_some(state.at)
    }

    fn source(&self) -> Source {
        Source {
            awake: Counter { name: "manual awake counter", in_suspend: InSuspend::Stops, rate: Rate::Free },
            total: Counter { name: "manual total counter", in_suspend: InSuspend::Counts, rate: Rate::Free },
        }
    }
}
