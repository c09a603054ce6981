//! The errors of the system clock.

use crate::source::Source;

/// The reason why the clock of this machine cannot serve leases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// A counter that this platform should have gives no reading.
    #[error(
        "this machine gives no reading of {counter}, which leases need; allow clock_gettime in the sandbox or upgrade \
         the kernel"
    )]
    NoReading {
        /// The platform's name of the counter.
        counter: &'static str,
    },
    /// No counter of this platform is known to count while the machine is suspended.
    #[error(
        "the clock of this platform, {counters}, may not detect that the machine was suspended, so a lease could be \
         used after its end; run on Linux, macOS or Windows, or accept the risk explicitly on a machine that is never \
         suspended",
        counters = .source_of_time
    )]
    UnseenSuspends {
        /// The counters of this platform.
        source_of_time: Source,
    },
}
