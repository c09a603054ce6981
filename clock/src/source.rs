//! Descriptions of counters, short enough for one line of a log.

use std::fmt;

/// The behavior of a counter while the machine is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InSuspend {
    /// It counts.
    Counts,
    /// It stops.
    Stops,
    /// Not specified by the platform; treated as if it stopped.
    Unknown,
}

/// The adjustment of the rate of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Never adjusted: the rate is that of the oscillator.
    Free,
    /// Adjusted towards wall-clock time by the system. The drift bound must allow for that.
    Adjusted,
    /// Not specified by the platform. The drift bound must allow for an adjustment.
    Unknown,
}

/// One counter of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Counter {
    /// The platform's name of the counter.
    pub name: &'static str,
    /// Its behavior while the machine is suspended.
    pub in_suspend: InSuspend,
    /// The adjustment of its rate.
    pub rate: Rate,
}

/// The two counters of a clock.
///
/// `Display` prints one line, for a start-up message or an `INFO` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The counter behind [`awake_nanos`](leasehold_core::Instant::awake_nanos).
    pub awake: Counter,
    /// The counter behind [`total_nanos`](leasehold_core::Instant::total_nanos).
    pub total: Counter,
}

impl Source {
    /// Returns whether readings include the time of a suspend. If they do not, a leader that was suspended treats its
    /// lease as younger than it is.
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
