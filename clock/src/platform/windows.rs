//! Windows 10, Server 2016 and later: the unbiased and the biased interrupt time, in their precise forms.
//!
//! The plain forms return the time of the last timer interrupt, which is up to 16 ms old. A grantor's hold that starts
//! with such a reading would start that long before the frame arrived, which no bound on clock rates covers.

use crate::error::ClockError;
use crate::source::{Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};

/// The two counters, checked to work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters;

pub(crate) const SOURCE: Source = Source {
    awake: Counter { name: "QueryUnbiasedInterruptTimePrecise", in_suspend: InSuspend::Stops, rate: Rate::Free },
    total: Counter { name: "QueryInterruptTimePrecise", in_suspend: InSuspend::Counts, rate: Rate::Free },
};

#[expect(unsafe_code, reason = "the standard library offers neither counter")]
// SAFETY: these are the declarations in <realtimeapiset.h>, with the library that exports them.
#[link(name = "api-ms-win-core-realtime-l1-1-1", kind = "raw-dylib")]
unsafe extern "system" {
    fn QueryUnbiasedInterruptTimePrecise(time: *mut u64);
    fn QueryInterruptTimePrecise(time: *mut u64);
}

impl Counters {
    pub(crate) fn open() -> Result<Counters, ClockError> {
        for (query, counter) in [
            (QueryUnbiasedInterruptTimePrecise as Query, SOURCE.awake),
            (QueryInterruptTimePrecise as Query, SOURCE.total),
        ] {
            read(query).ok_or(ClockError::NoReading { counter: counter.name })?;
        }
        Ok(Counters)
    }

    /// Reads both counters, `awake` first, so that `total` includes a suspend between the two reads.
    pub(crate) fn read(&self) -> Reading {
        let awake = read(QueryUnbiasedInterruptTimePrecise)?;
        let total = read(QueryInterruptTimePrecise)?;
        Some(Instant::from_nanos(awake, total))
    }
}

type Query = unsafe extern "system" fn(*mut u64);

/// Reads one counter, in nanoseconds; `None` if it is zero.
fn read(query: Query) -> Option<u64> {
    let mut ticks = 0;
    #[expect(unsafe_code, reason = "a call into the system")]
    // SAFETY: both functions write one 64-bit number to the given address, which is that of a local variable.
    unsafe {
        query(&mut ticks);
    }
    // In units of 100 ns.
    ticks.checked_mul(100).filter(|&nanos| nanos > 0)
}
