//! Any other platform: the monotonic clock of the standard library, which specifies neither its rate nor its behavior
//! during a suspend.

use crate::error::ClockError;
use crate::source::{Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};

const COUNTER: Counter = Counter { name: "std::time::Instant", in_suspend: InSuspend::Unknown, rate: Rate::Unknown };

pub(crate) const SOURCE: Source = Source { awake: COUNTER, total: COUNTER };

/// The standard clock, relative to the time at which it was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters {
    origin: std::time::Instant,
}

impl Counters {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn open() -> Result<Counters, ClockError> {
        Ok(Counters { origin: std::time::Instant::now() })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn read(&self) -> Reading {
        let nanos = u64::try_from(std::time::Instant::now().duration_since(self.origin).as_nanos()).ok()?;
        // Starts from one: no clock of this crate gives an instant of zero.
        let nanos = nanos.checked_add(1)?;
        Some(Instant::from_nanos(nanos, nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back_and_uses_one_counter_for_both() {
        let counters = Counters::open().expect("the standard clock always opens");
        let mut last = counters.read().expect("a reading");
        for _ in 0..10_000 {
            let now = counters.read().expect("a reading");
            assert!(!now.is_before_on_either_counter(last), "{now:?} came after {last:?}");
            assert_eq!(now.awake_nanos(), now.total_nanos());
            last = now;
        }
        assert!(last.awake_nanos() > 1, "ten thousand readings take time");
    }

    #[test]
    fn declares_that_it_may_miss_a_suspend() {
        assert!(!SOURCE.sees_suspends());
        assert_eq!(
            SOURCE.to_string(),
            "std::time::Instant (may stop while suspended, rate may be adjusted) for both counters"
        );
    }
}
