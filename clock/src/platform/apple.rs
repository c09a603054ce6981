//! Apple platforms: `CLOCK_UPTIME_RAW` and `CLOCK_MONOTONIC_RAW`, both the unadjusted time of the hardware.
//!
//! `CLOCK_MONOTONIC` is not used: the system adjusts it towards wall-clock time.

use crate::error::ClockError;
use crate::source::{Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};

/// The two clocks, checked to work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters;

pub(crate) const SOURCE: Source = Source {
    awake: Counter { name: "CLOCK_UPTIME_RAW", in_suspend: InSuspend::Stops, rate: Rate::Free },
    total: Counter { name: "CLOCK_MONOTONIC_RAW", in_suspend: InSuspend::Counts, rate: Rate::Free },
};

// From <time.h>, available since macOS 10.12 and iOS 10.
type ClockId = u32;
const CLOCK_MONOTONIC_RAW: ClockId = 4;
const CLOCK_UPTIME_RAW: ClockId = 8;

#[expect(unsafe_code, reason = "the standard library offers neither clock")]
// SAFETY: this is the declaration in <time.h>; the function is in libSystem, which every program links.
unsafe extern "C" {
    // Safe: it accepts any number, and returns zero for one that is not a clock.
    safe fn clock_gettime_nsec_np(clock: ClockId) -> u64;
}

impl Counters {
    pub(crate) fn open() -> Result<Counters, ClockError> {
        for (id, counter) in [(CLOCK_UPTIME_RAW, SOURCE.awake), (CLOCK_MONOTONIC_RAW, SOURCE.total)] {
            read(id).ok_or(ClockError::NoReading { counter: counter.name })?;
        }
        Ok(Counters)
    }

    /// Reads both counters, `awake` first, so that `total` includes a suspend between the two reads.
    pub(crate) fn read(&self) -> Reading {
        let awake = read(CLOCK_UPTIME_RAW)?;
        let total = read(CLOCK_MONOTONIC_RAW)?;
        Some(Instant::from_nanos(awake, total))
    }
}

/// Reads one clock, in nanoseconds. The system returns zero on failure.
fn read(id: ClockId) -> Option<u64> {
    Some(clock_gettime_nsec_np(id)).filter(|&nanos| nanos > 0)
}
