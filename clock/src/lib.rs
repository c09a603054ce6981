//! Readings of a machine's raw counters, and what each platform guarantees about them.
//!
//! A [`Clock`] gives a [`Reading`](leasehold_core::Reading) of two counters: `awake`, whose rate is not adjusted, and
//! `total`, which also counts while the machine is suspended. [`SystemClock`] reads the counters of this machine, and
//! [`ManualClock`] is controlled by a test. [`Source`] describes the counters. A platform that cannot detect a suspend
//! is refused unless the caller accepts the risk explicitly.
//!
//! ```
//! use leasehold_clock::{Clock, ManualClock, SystemClock};
//! use leasehold_core::Instant;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Once, when the process starts. On a platform that cannot detect a suspend this is an error that says what to do.
//! let clock = SystemClock::new()?;
//! println!("leases are timed by {}", clock.source());
//! // Then once for each input of the lease, after the input arrived. `None` means that the clock failed: pass that on.
//! let before = clock.now().ok_or("no reading")?;
//! let after = clock.now().ok_or("no reading")?;
//! assert!(!after.is_before_on_either_counter(before));
//!
//! // In a test, time passes when you say so. Here the machine is suspended for a second: one counter stops.
//! let clock = ManualClock::new(Instant::from_nanos(5, 5));
//! clock.advance_total(Duration::from_secs(1));
//! let elapsed = clock.now().ok_or("no reading")?.elapsed_since(Instant::from_nanos(5, 5));
//! // A lease ages by the one, and a hold by the other.
//! assert_eq!((elapsed.at_most, elapsed.at_least), (Duration::from_secs(1), Duration::ZERO));
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! | --- | --- |
//! | read the counters of this machine | [`SystemClock::new`] |
//! | do so although suspends may go unnoticed | [`SystemClock::accepting_unseen_suspends`], after its warning |
//! | log which counters are read | [`Clock::source`] |
//! | bound the drift for `leasehold_core::Options` | [`Rate`] of both counters: an adjusted one needs a larger bound |
//! | learn that a hypervisor moved this virtual machine | [`DisruptionMarker::find`] and [`WatchedClock`] |
//! | pass the clock to code that is tested | `impl Clock`, or `Arc<dyn Clock>` |
//!
//! This crate makes no decisions. It does not compare, remember or smooth readings: a clock that steps back or stops is
//! reported as it is, and the lease protocol handles that.
//!
//! To add a platform, write a module next to `platform/linux.rs` with the same three items: `Counters::open`,
//! `Counters::read` and `SOURCE`.

mod clock;
mod error;
mod manual;
mod platform;
mod source;
mod system;
mod vmclock;

pub use clock::Clock;
pub use error::ClockError;
pub use manual::ManualClock;
pub use source::{Counter, InSuspend, Rate, Source};
pub use system::SystemClock;
pub use vmclock::{DisruptionMarker, WatchedClock};
