//! Windows 10 and Server 2016, and later: the unbiased and the biased interrupt time, in their precise form.
//!
//! The plain forms are as old as the system's last timer interrupt, by up to 16 ms. A grantor's hold that begins with such a
//! reading begins that much before the frame arrived, which no bound on rates covers.

use crate::{ClockError, Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};

/// The two counters, seen to work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters;

pub(crate) const SOURCE: Source = Source {
    awake: Counter { name: "QueryUnbiasedInterruptTimePrecise", in_suspend: InSuspend::Stops, rate: Rate::Free },
    total: Counter { name: "QueryInterruptTimePrecise", in_suspend: InSuspend::Counts, rate: Rate::Free },
};

#[expect(unsafe_code, reason = "the standard library offers neither counter")]
// SAFETY: these are the declarations that <realtimeapiset.h> has, in the library that exports them.
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

    /// Both counters, `awake` first, so that a suspend between the two shows on `total`.
    pub(crate) fn read(&self) -> Reading {
        let awake = read(QueryUnbiasedInterruptTimePrecise)?;
        let total = read(QueryInterruptTimePrecise)?;
        Some(Instant::from_nanos(awake, total))
    }
}

type Query = unsafe extern "system" fn(*mut u64);

/// One counter in nanoseconds; `None` if it does not stand after zero.
fn read(query: Query) -> Option<u64> {
    let mut ticks = 0;
    #[expect(unsafe_code, reason = "a call into the system")]
    // SAFETY: either function writes one 64-bit number where it is told to, and that is a number of ours.
    unsafe {
        query(&mut ticks);
    }
    // In units of 100 ns.
    ticks.checked_mul(100).filter(|&nanos| nanos > 0)
}
