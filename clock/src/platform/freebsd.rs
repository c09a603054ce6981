//! FreeBSD: `CLOCK_UPTIME` and `CLOCK_MONOTONIC`. Both are adjusted towards wall-clock time. Whether they count during
//! a suspend differs between releases, so neither is assumed to.

use super::posix::read;
use crate::error::ClockError;
use crate::source::{Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};
use rustix::time::ClockId;

/// The two clocks, checked to work.
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

    /// Reads both counters, `awake` first, so that a suspend between the two reads can only be counted by `total`.
    pub(crate) fn read(&self) -> Reading {
        let awake = read(ClockId::Uptime)?;
        let total = read(ClockId::Monotonic)?;
        Some(Instant::from_nanos(awake, total))
    }
}
