//! Any other platform: the standard library's monotonic clock, of which it promises neither its rate nor what it does in
//! a suspend.

use crate::{ClockError, Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};

const COUNTER: Counter = Counter { name: "std::time::Instant", in_suspend: InSuspend::Unknown, rate: Rate::Unknown };

pub(crate) const SOURCE: Source = Source { awake: COUNTER, total: COUNTER };

/// The standard clock, counted from when this was made.
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
        // From one: an instant is never zero, whichever clock it is from.
        let nanos = nanos.checked_add(1)?;
        Some(Instant::from_nanos(nanos, nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_and_puts_one_counter_in_both() {
        let counters = Counters::open().expect("the standard clock is always there");
        let mut last = counters.read().expect("and reads");
        for _ in 0..10_000 {
            let now = counters.read().expect("and reads");
            assert!(!now.is_before_on_either_counter(last), "{now:?} came after {last:?}");
            assert_eq!(now.awake_nanos(), now.total_nanos());
            last = now;
        }
        assert!(last.awake_nanos() > 1, "ten thousand readings take time");
    }

    #[test]
    fn it_admits_that_a_suspend_may_go_unseen() {
        assert!(!SOURCE.sees_suspends());
        assert_eq!(
            SOURCE.to_string(),
            "std::time::Instant (may stop while suspended, rate may be adjusted) for both counters"
        );
    }
}
