//! The trait of all clocks.

use crate::source::Source;
use leasehold_core::Reading;

/// A source of readings, for use from any thread.
///
/// Take a reading after the input that it belongs to has arrived, and never reuse it for input that arrives later.
pub trait Clock: Send + Sync + 'static {
    /// Reads both counters; `None` if the machine gives no sound reading.
    fn now(&self) -> Reading;

    /// Returns a description of the counters and of what each of them guarantees.
    fn source(&self) -> Source;
}
