//! Linux and Android: `CLOCK_MONOTONIC_RAW` and `CLOCK_BOOTTIME`, through the vDSO.

use super::posix::read;
use crate::error::ClockError;
use crate::source::{Counter, InSuspend, Rate, Source};
use leasehold_core::{Instant, Reading};
use rustix::time::ClockId;

/// The two clocks, checked to work.
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

    /// Reads both counters, `awake` first.
    ///
    /// The protocol needs each counter to be read after the input arrived and before its effect leaves. Either order
    /// gives that: stamps, deadlines and samples are then correct on each counter separately. The order matters if the
    /// machine is suspended between the two reads, which `awake` never counts. In this order `total` counts it, so the
    /// pair is not earlier than the truth:
    ///
    /// * A check of a reader or a holder after the suspend sees the true age of the lease. In the other order it would
    ///   permit a read by the time before the suspend.
    /// * A grantor's deadline is later on `total` by the length of the suspend. The promise binds while either counter
    ///   is before the deadline, so the hold never ends sooner.
    /// * A holder's stamp is later on `total`, so it ages less there. But no frame of that round leaves before the
    ///   second read, so on either counter no promise that answers the round is older than the stamp.
    pub(crate) fn read(&self) -> Reading {
        let awake = read(ClockId::MonotonicRaw)?;
        let total = read(ClockId::Boottime)?;
        Some(Instant::from_nanos(awake, total))
    }
}
