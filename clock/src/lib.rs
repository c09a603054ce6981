//! Where readings come from: the machine's raw counters, and what they promise.
//!
//! A [`Clock`] gives a [`Reading`] of two counters: `awake`, which nobody adjusts, and `total`, which goes on while the
//! machine is suspended. [`SystemClock`] reads this machine's; [`ManualClock`] is set by a test. What a platform's
//! counters really do is said by [`Source`], and a platform that cannot see a suspend is refused unless asked for by
//! name.
//!
//! This crate decides nothing: it does not compare readings, keeps no last one and smooths nothing. A clock that goes
//! back or stops shows as it is, for the lease protocol knows what to do then.
//!
//! To add a platform, write a module beside `linux` with the same three items: `Counters::open`, `Counters::read` and
//! `SOURCE`.

mod error;
mod manual;
mod source;
mod system;

#[cfg(target_vendor = "apple")]
mod apple;
#[cfg(target_os = "freebsd")]
mod freebsd;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
mod posix;
#[cfg(windows)]
mod windows;
// Compiled for tests everywhere, so that the fallback is tried also where it is not used.
#[cfg(any(
    test,
    not(any(target_vendor = "apple", target_os = "freebsd", target_os = "linux", target_os = "android", windows))
))]
mod portable;

pub use error::ClockError;
pub use manual::ManualClock;
pub use source::{Counter, InSuspend, Rate, Source};
pub use system::SystemClock;

use leasehold_core::Reading;

/// Gives readings. Any thread may ask at any time.
///
/// Take a reading after the input it belongs to arrived, and never share it with input that arrived later.
pub trait Clock: Send + Sync + 'static {
    /// Both counters, now; `None` if the machine gives no sound reading.
    fn now(&self) -> Reading;

    /// Which counters these are and what each of them promises.
    fn source(&self) -> Source;
}
