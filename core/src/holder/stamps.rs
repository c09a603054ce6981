//! The times at which rounds were opened: a fixed ring of stamps, shared by rounds opened close together.

use crate::ids::Round;
use crate::time::{Instant, Reading};
use core::time::Duration;

/// Rounds opened within a lease divided by this share one stamp.
const STAMPS_PER_LEASE: u32 = 32;
/// Stamps are at least a 32nd of a lease apart, so this many span more than two leases. At any rate of rounds, the
/// stamp of a round is still in the ring when a voter acknowledges the round within a lease.
const MAX_STAMPS: usize = 72;

/// States that round `first`, and later rounds up to the next stamp, were opened at `at` or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    first: Round,
    at: Instant,
}

/// The ring of stamps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamps {
    ring: [Stamp; MAX_STAMPS],
    /// The place of the next stamp.
    next: usize,
    len: usize,
    share: Duration,
}

impl Stamps {
    pub(crate) fn new(lease: Duration) -> Stamps {
        let empty = Stamp { first: 0, at: Instant::from_nanos(0, 0) };
        Stamps { ring: [empty; MAX_STAMPS], next: 0, len: 0, share: lease / STAMPS_PER_LEASE }
    }

    /// Removes all stamps, so that rounds opened so far give no lease.
    pub(crate) fn clear(&mut self) {
        *self = Stamps::new(self.share * STAMPS_PER_LEASE);
    }

    /// Stamps `round`, the newest so far, with a reading taken before any message can carry the round.
    ///
    /// Without a reading the round shares the newest stamp, if there is one. That is earlier than the round, hence
    /// safe.
    pub(crate) fn stamp(&mut self, round: Round, now: Reading) {
        let Some(now) = now else { return };
        if self.newest().is_some_and(|newest| now.elapsed_since(newest.at).at_most < self.share) {
            return;
        }
        self.ring[self.next] = Stamp { first: round, at: now };
        self.next = (self.next + 1) % MAX_STAMPS;
        self.len = (self.len + 1).min(MAX_STAMPS);
    }

    /// Returns a time no later than the opening of `round`; `None` if the round is older than the ring, or was opened
    /// before the last [`clear`](Stamps::clear).
    pub(crate) fn opened(&self, round: Round) -> Option<Instant> {
        self.newest_first().find(|stamp| stamp.first <= round).map(|stamp| stamp.at)
    }

    fn newest(&self) -> Option<Stamp> {
        self.newest_first().next()
    }

    #[inline]
    fn newest_first(&self) -> impl Iterator<Item = Stamp> + '_ {
        let mut after = self.next;
        (0..self.len).map(move |_| {
            after = after.checked_sub(1).unwrap_or(MAX_STAMPS - 1);
            self.ring[after]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Reading {
        Some(Instant::from_nanos(millis * 1_000_000, millis * 1_000_000))
    }

    #[test]
    fn rounds_opened_close_together_share_the_earliest_stamp() {
        let mut stamps = Stamps::new(Duration::from_millis(320));
        stamps.stamp(1, at(100));
        stamps.stamp(2, at(109));
        stamps.stamp(3, at(110));
        stamps.stamp(4, None);
        assert_eq!(stamps.opened(1), at(100));
        assert_eq!(stamps.opened(2), at(100));
        assert_eq!(stamps.opened(3), at(110));
        assert_eq!(stamps.opened(4), at(110));
        assert_eq!(stamps.opened(0), None);
    }

    #[test]
    fn the_ring_spans_two_leases_at_any_rate_of_rounds() {
        let mut stamps = Stamps::new(Duration::from_millis(320));
        for millis in 0..10_000 {
            stamps.stamp(millis + 1, at(millis));
        }
        assert!(stamps.opened(10_000 - 640).is_some());
        assert_eq!(stamps.opened(1), None, "older than the ring");
    }

    #[test]
    fn cleared_rounds_have_no_anchor_and_later_ones_do() {
        let mut stamps = Stamps::new(Duration::from_millis(320));
        stamps.stamp(1, at(100));
        stamps.clear();
        stamps.stamp(2, None);
        assert_eq!(stamps.opened(2), None);
        stamps.stamp(3, at(40));
        assert_eq!(stamps.opened(2), None);
        assert_eq!(stamps.opened(3), at(40));
    }
}
