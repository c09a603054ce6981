//! The reason why a clock cannot serve leases.

use crate::Source;

/// Why this machine's clock cannot serve leases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// A counter that this platform should have gives nothing.
    #[error(
        "this machine gives no reading of {counter}, which leases need; allow clock_gettime in the sandbox or upgrade \
         the kernel"
    )]
    NoReading {
        /// What the platform calls the counter.
        counter: &'static str,
    },
    /// No counter of this platform is known to go on in a suspend.
    #[error(
        "the clock of this platform, {counters}, may not see that the machine was suspended, so a lease could outlive \
         its time; run on Linux, macOS or Windows, or accept the risk explicitly on a machine that is never suspended",
        counters = .source_of_time
    )]
    UnseenSuspends {
        /// What there is.
        source_of_time: Source,
    },
}
