//! FreeBSD: `CLOCK_UPTIME` and `CLOCK_MONOTONIC`. Both are steered towards wall-clock time, and what they do in a suspend has
//! not been the same in all releases, so neither is relied on to count it.

use crate::posix::read;
use crate::{ClockError, Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};
use rustix::time::ClockId;

/// The two clocks, seen to work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters;

pub(crate) const SOURCE: Source = Source {
    awake: Counter { name: "CLOCK_UPTIME", in_suspend: InSuspend::Unknown, rate: Rate::Adjusted },
    total: Counter { name: "CLOCK_MONOTONIC", in_suspend: InSuspend::Unknown, rate: Rate::Adjusted },
};

impl Counters {
    pub(crate) fn open() -> Result<Counters, ClockError> {
        for (id, counter) in [(ClockId::Uptime, SOURCE.awake), (ClockId::Monotonic, SOURCE.total)] {
            read(id).ok_or(ClockError::NoReading { counter: counter.name })?;
        }
        Ok(Counters)
    }

    /// Both counters, `awake` first, so that a suspend between the two shows on `total` if it shows at all.
    pub(crate) fn read(&self) -> Reading {
        let awake = read(ClockId::Uptime)?;
        let total = read(ClockId::Monotonic)?;
        Some(Instant::from_nanos(awake, total))
    }
}
