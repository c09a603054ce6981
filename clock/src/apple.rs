//! macOS, iOS and their kin: `CLOCK_UPTIME_RAW` and `CLOCK_MONOTONIC_RAW`, both the hardware's own time.
//!
//! The system's `CLOCK_MONOTONIC` is neither: it is adjusted towards wall-clock time.

use crate::{ClockError, Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};

/// The two clocks, seen to work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters;

pub(crate) const SOURCE: Source = Source {
    awake: Counter { name: "CLOCK_UPTIME_RAW", in_suspend: InSuspend::Stops, rate: Rate::Free },
    total: Counter { name: "CLOCK_MONOTONIC_RAW", in_suspend: InSuspend::Counts, rate: Rate::Free },
};

// From <time.h>, there since macOS 10.12 and iOS 10.
type ClockId = u32;
const CLOCK_MONOTONIC_RAW: ClockId = 4;
const CLOCK_UPTIME_RAW: ClockId = 8;

#[expect(unsafe_code, reason = "the standard library offers neither clock")]
// SAFETY: this is the declaration that <time.h> has; the function is in libSystem, which every program links.
unsafe extern "C" {
    // It takes any number and answers zero for one that is no clock, so there is nothing a caller could do wrong.
    safe fn clock_gettime_nsec_np(clock: ClockId) -> u64;
}

impl Counters {
    pub(crate) fn open() -> Result<Counters, ClockError> {
        for (id, counter) in [(CLOCK_UPTIME_RAW, SOURCE.awake), (CLOCK_MONOTONIC_RAW, SOURCE.total)] {
            read(id).ok_or(ClockError::NoReading { counter: counter.name })?;
        }
        Ok(Counters)
    }

    /// Both counters, `awake` first, so that a suspend between the two shows on `total`.
    pub(crate) fn read(&self) -> Reading {
        let awake = read(CLOCK_UPTIME_RAW)?;
        let total = read(CLOCK_MONOTONIC_RAW)?;
        Some(Instant::from_nanos(awake, total))
    }
}

/// One clock in nanoseconds; zero is how it says that it failed.
fn read(id: ClockId) -> Option<u64> {
    Some(clock_gettime_nsec_np(id)).filter(|&nanos| nanos > 0)
}
