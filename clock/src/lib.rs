//! Readings of a machine's raw counters, and what each platform guarantees about them.
//!
//! A [`Clock`] gives a [`Reading`](leasehold_core::Reading) of two counters: `awake`, whose rate is not adjusted, and
//! `total`, which also counts while the machine is suspended. [`SystemClock`] reads the counters of this machine, and
//! [`ManualClock`] is controlled by a test. [`Source`] describes the counters. A platform that cannot detect a suspend
//! is refused unless the caller accepts the risk explicitly.
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

pub use clock::Clock;
pub use error::ClockError;
pub use manual::ManualClock;
pub use source::{Counter, InSuspend, Rate, Source};
pub use system::SystemClock;
