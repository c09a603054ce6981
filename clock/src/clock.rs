//! The trait of all clocks.

use crate::source::Source;
use leasehold_core::Reading;

/// A source of readings, for use from any thread.
///
/// Take a reading after the input that it belongs to has arrived, and never reuse it for input that arrives later.
pub trait Clock: Send + Sync + 'static {
    /// Reads both counters; `None` if the machine gives no sound reading.
    fn now(&self) -> Reading;

    /// Returns true if the counters were disrupted since this was last called: a hypervisor moved the machine, or restored
    /// it from a snapshot. The caller must then treat the readings before as if the clock had gone back. It may take
    /// system calls, so call it at a timer and not for each reading.
    ///
    /// By default the clock knows of no disruptions.
    fn is_disrupted(&self) -> bool {
        false
    }

    /// Returns a description of the counters and of what each of them guarantees.
    fn source(&self) -> Source;
}
