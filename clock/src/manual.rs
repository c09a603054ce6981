//! A clock for tests.

use crate::{Clock, Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A clock that moves only when told to, each counter by itself. Clones are handles to the same clock.
///
/// Nothing stops a test from turning it back or freezing a counter: that is what it is for.
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
    /// A clock that stands at `at`.
    pub fn new(at: Instant) -> ManualClock {
        ManualClock { state: Arc::new(Mutex::new(State { at, failing: false })) }
    }

    /// Where both counters stand, also while the clock is failing.
    pub fn at(&self) -> Instant {
        self.state().at
    }

    /// Puts both counters at `at`, forwards or back.
    pub fn set(&self, at: Instant) {
        self.state().at = at;
    }

    /// Moves both counters on, as time passes on a machine that is awake.
    pub fn advance(&self, by: Duration) {
        self.advance_awake(by);
        self.advance_total(by);
    }

    /// Moves only the counter that stops in a suspend.
    pub fn advance_awake(&self, by: Duration) {
        let mut state = self.state();
        state.at = Instant::from_nanos(state.at.plus(by).awake_nanos(), state.at.total_nanos());
    }

    /// Moves only the counter that goes on in a suspend, as a suspend does.
    pub fn advance_total(&self, by: Duration) {
        let mut state = self.state();
        state.at = Instant::from_nanos(state.at.awake_nanos(), state.at.plus(by).total_nanos());
    }

    /// Gives no readings from here on. The counters stay and can be moved.
    pub fn fail(&self) {
        self.state().failing = true;
    }

    /// Gives readings again.
    pub fn recover(&self) {
        self.state().failing = false;
    }

    /// No method leaves the state half changed, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    /// Stands at an hour awake and a day in total: different, so that mixing up the counters shows, and far enough from
    /// zero to be turned back.
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
