//! A machine's clock: two counters, one of which stays within its bounds.
//!
//! The protocol assumes that, for as long as a process runs, one of the two counters stays within the drift of true
//! rate. The other one, the *wild* counter, may stop, jump ahead or fall back: a holder ages its lease by the larger
//! difference, a grantor ages its hold by the smaller. Three faults violate that assumption: a rate error larger than
//! the drift, an undetected stop of both counters, and a jump of both counters. [`Clocks::Beyond`](super::Clocks) draws
//! those too.

use leasehold_core::{Instant, Reading};
use leasehold_testing::dice::Dice;

/// One of a clock's two counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// The counter that stops while the machine is suspended.
    Awake,
    /// The counter that continues during a suspend.
    Total,
}

/// One machine's clock.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// The time at which the counters below were current.
    at: u64,
    awake: u64,
    total: u64,
    /// The rate error of both counters.
    rate_ppm: i64,
    awake_stands: bool,
    total_stands: bool,
    /// The counter without any guarantee.
    pub wild: Counter,
    /// Set while the clock gives no readings.
    pub fails: bool,
    /// The number of readings per million that fail, in addition to `fails`.
    pub flaky_ppm: u32,
    /// The furthest readings given so far. A node rejects readings behind them until the clock has caught up.
    furthest: (u64, u64),
    /// The newest reading that the grantor is known to have used. `deceived` is set if it may since have used one that
    /// did not look older, although the clock had fallen back.
    taken: (u64, u64),
    deceived: bool,
    /// Set until the clock has recovered from falling back.
    owes: bool,
    dice: Dice,
}

impl Clock {
    /// Creates a clock that has already run for a while.
    pub(super) fn new(mut dice: Dice, wild: Counter, rate_ppm: i64, flaky_ppm: u32) -> Clock {
        let awake = dice.between(1 << 44, 1 << 46);
        let total = awake + dice.below(1 << 46);
        Clock {
            at: 0,
            awake,
            total,
            rate_ppm,
            awake_stands: false,
            total_stands: false,
            wild,
            fails: false,
            flaky_ppm,
            furthest: (0, 0),
            taken: (0, 0),
            deceived: false,
            owes: false,
            dice,
        }
    }

    /// Returns the current value of both counters.
    fn counters(&self, now: u64) -> (u64, u64) {
        let passed = now - self.at;
        let error = match passed {
            // Up to eighteen minutes: the product fits into 64 bits.
            0..0x100_0000_0000 => passed as i64 * self.rate_ppm / 1_000_000,
            _ => (passed as i128 * i128::from(self.rate_ppm) / 1_000_000) as i64,
        };
        let passed = passed.saturating_add_signed(error);
        let of = |counter: u64, stands: bool| if stands { counter } else { counter + passed };
        (of(self.awake, self.awake_stands), of(self.total, self.total_stands))
    }

    /// Returns a reading, or `None` if the clock fails.
    pub(super) fn read(&mut self, now: u64) -> Reading {
        if self.fails || self.dice.chance(self.flaky_ppm) {
            return None;
        }
        let (awake, total) = self.counters(now);
        self.furthest = (self.furthest.0.max(awake), self.furthest.1.max(total));
        self.deceived |= awake >= self.taken.0 && total >= self.taken.1;
        Some(Instant::from_nanos(awake, total))
    }

    /// Returns the current reading without recording it.
    pub(super) fn peek(&self, now: u64) -> Reading {
        let (awake, total) = self.counters(now);
        (!self.fails).then(|| Instant::from_nanos(awake, total))
    }

    /// Returns true if the clock is behind an earlier reading. A process that saw the earlier one treats such readings
    /// as failures.
    pub(super) fn is_behind(&self, now: u64) -> bool {
        let (awake, total) = self.counters(now);
        awake < self.furthest.0 || total < self.furthest.1
    }

    /// Returns true if the two counters have diverged by more than `by` since `earlier`.
    pub(super) fn counters_differ_since(&self, now: u64, earlier: Instant, by: u64) -> bool {
        let (awake, total) = self.counters(now);
        let awake = awake as i128 - i128::from(earlier.awake_nanos());
        let total = total as i128 - i128::from(earlier.total_nanos());
        awake.abs_diff(total) > u128::from(by)
    }

    /// Returns the true time until the clock has advanced by `nanos`, at its present rate.
    pub(super) fn true_duration(&self, nanos: u64) -> u64 {
        (u128::from(nanos) * 1_000_000).div_ceil((1_000_000 + self.rate_ppm).unsigned_abs().into()) as u64
    }

    /// Sets the rate error from now on.
    pub(super) fn set_rate(&mut self, now: u64, rate_ppm: i64) {
        self.settle(now);
        self.rate_ppm = rate_ppm;
    }

    /// Stops or restarts a counter.
    pub(super) fn set_stopped(&mut self, now: u64, counter: Counter, stands: bool) {
        self.settle(now);
        match counter {
            Counter::Awake => self.awake_stands = stands,
            Counter::Total => self.total_stands = stands,
        }
    }

    /// Restarts both counters.
    pub(super) fn restart_counters(&mut self, now: u64) {
        self.set_stopped(now, Counter::Awake, false);
        self.set_stopped(now, Counter::Total, false);
    }

    /// Makes a counter jump ahead or fall back.
    pub(super) fn leap(&mut self, now: u64, counter: Counter, by: i64) {
        self.settle(now);
        let leapt = |from: u64| from.saturating_add_signed(by);
        match counter {
            Counter::Awake => self.awake = leapt(self.awake),
            Counter::Total => self.total = leapt(self.total),
        }
    }

    /// Forgets earlier readings, because a new process has seen none of them.
    pub(super) fn forget_furthest(&mut self) {
        (self.furthest, self.taken, self.owes) = ((0, 0), (0, 0), false);
    }

    /// Records that the grantor has used this reading.
    pub(super) fn note_used(&mut self, reading: Instant) {
        let reading = (reading.awake_nanos(), reading.total_nanos());
        if reading.0 >= self.taken.0 && reading.1 >= self.taken.1 {
            self.taken = reading;
        }
    }

    /// Makes both counters fall back. Returns true if `recovers` is set and no earlier step
    /// is still waiting to recover.
    pub(super) fn fall_back(&mut self, now: u64, by: i64, recovers: bool) -> bool {
        self.leap(now, Counter::Awake, -by);
        self.leap(now, Counter::Total, -by);
        let may_recover = recovers && !self.owes;
        if may_recover {
            (self.owes, self.deceived) = (true, false);
        }
        may_recover
    }

    /// Makes both counters jump ahead by the amount they fell back. Skipped if a grantor may have set a hold from a
    /// reading taken in between: the jump would end that hold early, and no rule could prevent it.
    pub(super) fn recover(&mut self, now: u64, by: i64) {
        self.owes = false;
        if !self.deceived {
            self.leap(now, Counter::Awake, by);
            self.leap(now, Counter::Total, by);
        }
    }

    fn settle(&mut self, now: u64) {
        (self.awake, self.total) = self.counters(now);
        self.at = now;
    }
}
