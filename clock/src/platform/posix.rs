//! Reads the clocks of a POSIX system.

use rustix::time::{ClockId, DynamicClockId, Timespec, clock_gettime_dynamic};

/// Reads a clock, in nanoseconds; `None` if the clock fails, or is at or before zero.
// The unchecked call would panic where a sandbox or an unusual kernel refuses the clock.
pub(crate) fn read(id: ClockId) -> Option<u64> {
    nanos(clock_gettime_dynamic(DynamicClockId::Known(id)).ok()?)
}

fn nanos(time: Timespec) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let subsecond = u64::try_from(time.tv_nsec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(subsecond).filter(|&nanos| nanos > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_times_at_or_before_zero_and_times_that_do_not_fit() {
        assert_eq!(nanos(Timespec { tv_sec: 1, tv_nsec: 5 }), Some(1_000_000_005));
        assert_eq!(nanos(Timespec { tv_sec: 0, tv_nsec: 0 }), None);
        assert_eq!(nanos(Timespec { tv_sec: -1, tv_nsec: 999_999_999 }), None);
        assert_eq!(nanos(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }), None);
    }
}
