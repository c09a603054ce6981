//! This machine's clock.

use crate::error::ClockError;
use crate::{Clock, Source};
use leasehold_core::Reading;

#[cfg(target_vendor = "apple")]
use crate::apple as platform;
#[cfg(target_os = "freebsd")]
use crate::freebsd as platform;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::linux as platform;
#[cfg(not(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "linux",
    target_os = "android",
    windows
)))]
use crate::portable as platform;
#[cfg(windows)]
use crate::windows as platform;

/// This machine's raw counters. Copies read the same ones.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    counters: platform::Counters,
}

impl SystemClock {
    /// This machine's clock, if it sees suspends.
    ///
    /// # Errors
    /// [`ClockError::UnseenSuspends`] on a platform whose counters may stop in a suspend,
    /// [`ClockError::NoReading`] where a counter is missing.
    pub fn new() -> Result<SystemClock, ClockError> {
        if !platform::SOURCE.sees_suspends() {
            return Err(ClockError::UnseenSuspends { source_of_time: platform::SOURCE });
        }
        Self::accepting_unseen_suspends()
    }

    /// This machine's clock, even if it may not see suspends.
    ///
    /// # Danger
    /// On a platform where [`new`](SystemClock::new) refuses, this gives up the guarantee that reads are never stale. A
    /// leader whose machine is suspended for a minute wakes with a lease that seems a moment old; meanwhile the others
    /// have elected a new leader and acknowledged writes, and the old one answers reads without them until it hears of
    /// it. Use it only where machines are never suspended, which covers closed lids, hibernation and most pauses of a
    /// virtual machine.
    ///
    /// # Errors
    /// [`ClockError::NoReading`] where a counter is missing.
    pub fn accepting_unseen_suspends() -> Result<SystemClock, ClockError> {
        Ok(SystemClock { counters: platform::Counters::open()? })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Reading {
        self.counters.read()
    }

    fn source(&self) -> Source {
        platform::SOURCE
    }
}
