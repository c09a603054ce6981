//! One clock of a POSIX system, in nanoseconds.

use rustix::time::{ClockId, DynamicClockId, Timespec, clock_gettime_dynamic};

/// `None` if the clock fails or does not stand after zero. The checked call, because the other one panics where a sandbox or an
/// odd kernel refuses the clock.
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
    fn a_time_at_or_before_zero_is_no_reading() {
        assert_eq!(nanos(Timespec { tv_sec: 1, tv_nsec: 5 }), Some(1_000_000_005));
        assert_eq!(nanos(Timespec { tv_sec: 0, tv_nsec: 0 }), None);
        assert_eq!(nanos(Timespec { tv_sec: -1, tv_nsec: 999_999_999 }), None);
        assert_eq!(nanos(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }), None, "nor is one that does not fit");
    }
}
