//! The clock of this machine.

use crate::clock::Clock;
use crate::error::ClockError;
use crate::platform;
use crate::source::Source;
use leasehold_core::Reading;

/// The raw counters of this machine. Copies read the same counters.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    counters: platform::Counters,
}

impl SystemClock {
    /// Opens the clock of this machine, if it detects suspends.
    ///
    /// # Errors
    /// [`ClockError::UnseenSuspends`] on a platform whose counters may stop during a suspend,
    /// [`ClockError::NoReading`] if a counter is missing.
    pub fn new() -> Result<SystemClock, ClockError> {
        if !platform::SOURCE.sees_suspends() {
            return Err(ClockError::UnseenSuspends { source_of_time: platform::SOURCE });
        }
        Self::accepting_unseen_suspends()
    }

    /// Opens the clock of this machine, even if it may not detect suspends.
    ///
    /// # Danger
    /// On a platform where [`new`](SystemClock::new) returns an error, this gives up the guarantee that reads are never
    /// stale. Suppose that a leader's machine is suspended for a minute. The other nodes elect a new leader and
    /// acknowledge writes. The old leader wakes with a lease that appears to be a moment old, and answers reads without
    /// those writes until it learns of the new leader. Use this only where machines are never suspended: no closed
    /// lids, no hibernation, and no paused virtual machines.
    ///
    /// # Errors
    /// [`ClockError::NoReading`] if a counter is missing.
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
