//! Linux and Android: `CLOCK_MONOTONIC_RAW` and `CLOCK_BOOTTIME`, through the vDSO.

use crate::posix::read;
use crate::{ClockError, Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};
use rustix::time::ClockId;

/// The two clocks, seen to work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters;

pub(crate) const SOURCE: Source = Source {
    awake: Counter { name: "CLOCK_MONOTONIC_RAW", in_suspend: InSuspend::Stops, rate: Rate::Free },
    total: Counter { name: "CLOCK_BOOTTIME", in_suspend: InSuspend::Counts, rate: Rate::Adjusted },
};

impl Counters {
    pub(crate) fn open() -> Result<Counters, ClockError> {
        for (id, counter) in [(ClockId::MonotonicRaw, SOURCE.awake), (ClockId::Boottime, SOURCE.total)] {
            read(id).ok_or(ClockError::NoReading { counter: counter.name })?;
        }
        Ok(Counters)
    }

    /// Both counters, `awake` first.
    ///
    /// All that the protocol needs is that each counter is read after the input came and before its effect leaves, and
    /// either order gives that: stamp, deadline and sample are then right on each counter by itself. But the machine
    /// may be suspended between the two reads, and `awake` never shows that. In this order `total` does, so the pair
    /// looks as late as it is:
    ///
    /// * a reader's or a holder's check after the suspend finds the lease as old as it is, where the other order would
    ///   grant by what was true before it;
    /// * a grantor's deadline lies later on `total` by the suspend, and it keeps its promise while either counter is
    ///   short of it: the hold never ends sooner;
    /// * a holder's stamp lies later on `total`, which ages it by less there; but no frame of that round leaves before
    ///   the second read, so no promise that answers it is older than the stamp, on either counter.
    pub(crate) fn read(&self) -> Reading {
        let awake = read(ClockId::MonotonicRaw)?;
        let total = read(ClockId::Boottime)?;
        Some(Instant::from_nanos(awake, total))
    }
}
