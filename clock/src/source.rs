//! What a platform's counters promise, in words that fit one line of a log.

use std::fmt;

/// What a counter does while the machine is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InSuspend {
    /// It goes on.
    Counts,
    /// It stops.
    Stops,
    /// The platform does not say. Treated as if it stopped.
    Unknown,
}

/// Whether anybody changes a counter's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Nobody: it is the oscillator's own.
    Free,
    /// The system slews it towards wall-clock time. The drift bound must allow for that.
    Adjusted,
    /// The platform does not say. The drift bound must allow for an adjustment.
    Unknown,
}

/// One counter of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Counter {
    /// What the platform calls it.
    pub name: &'static str,
    /// What it does while the machine is suspended.
    pub in_suspend: InSuspend,
    /// Whether its rate is adjusted.
    pub rate: Rate,
}

/// The two counters of a clock.
///
/// Its `Display` is one line, for a start-up message or an `INFO` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// What [`awake_nanos`](leasehold_core::Instant::awake_nanos) is read from.
    pub awake: Counter,
    /// What [`total_nanos`](leasehold_core::Instant::total_nanos) is read from.
    pub total: Counter,
}

impl Source {
    /// Whether a suspend of the machine shows in the readings. Without that, a leader that slept takes its lease to be
    /// as young as before.
    pub fn sees_suspends(&self) -> bool {
        self.awake.in_suspend == InSuspend::Counts || self.total.in_suspend == InSuspend::Counts
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_suspend = match self.in_suspend {
            InSuspend::Counts => "counts while suspended",
            InSuspend::Stops => "stops while suspended",
            InSuspend::Unknown => "may stop while suspended",
        };
        let rate = match self.rate {
            Rate::Free => "rate never adjusted",
            Rate::Adjusted => "rate adjusted",
            Rate::Unknown => "rate may be adjusted",
        };
        write!(f, "{} ({in_suspend}, {rate})", self.name)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.awake == self.total {
            write!(f, "{} for both counters", self.awake)
        } else {
            write!(f, "{} and {}", self.awake, self.total)
        }
    }
}
