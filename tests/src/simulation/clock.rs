//! A machine's clock: two counters, of which one keeps its promise.
//!
//! What the protocol assumes is that one of the two counters is within the drift of true rate for as long as a process
//! runs. The other, the *wild* one, may then stop, leap or fall back at will: a holder ages its lease by the larger
//! difference, a grantor its hold by the smaller. Beyond that assumption are a rate error larger than the drift, a stop of
//! both counters that nobody sees, and a leap of both: [`Clocks::Beyond`](super::Clocks) draws those too.

use leasehold_core::{Instant, Reading};
use leasehold_testing::dice::Dice;

/// Which of a clock's two counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// The one that stops while the machine is suspended.
    Awake,
    /// The one that goes on.
    Total,
}

/// One machine's clock.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// When the counters below were current.
    at: u64,
    awake: u64,
    total: u64,
    /// The error of both counters' rate.
    rate_ppm: i64,
    awake_stands: bool,
    total_stands: bool,
    /// The counter that may do anything.
    pub wild: Counter,
    /// Whether it gives no readings.
    pub fails: bool,
    /// How often in a million it gives none, apart from that.
    pub flaky_ppm: u32,
    /// The furthest readings it gave; a node whose clock is behind them has no use for it until it has caught up.
    furthest: (u64, u64),
    /// The newest reading that the grantor surely took, and whether it may have taken one since that looked no older although the
    /// clock had fallen back.
    taken: (u64, u64),
    deceived: bool,
    /// Whether it is yet to make up for having fallen back.
    owes: bool,
    dice: Dice,
}

impl Clock {
    /// A clock that has run for a while.
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

    /// What both counters show.
    fn shows(&self, now: u64) -> (u64, u64) {
        let passed = now - self.at;
        let error = match passed {
            // No more than eighteen minutes: a division of 64 bits will do.
            0..0x100_0000_0000 => passed as i64 * self.rate_ppm / 1_000_000,
            _ => (passed as i128 * i128::from(self.rate_ppm) / 1_000_000) as i64,
        };
        let passed = passed.saturating_add_signed(error);
        let of = |counter: u64, stands: bool| if stands { counter } else { counter + passed };
        (of(self.awake, self.awake_stands), of(self.total, self.total_stands))
    }

    /// A reading, if it gives one.
    pub(super) fn read(&mut self, now: u64) -> Reading {
        if self.fails || self.dice.chance(self.flaky_ppm) {
            return None;
        }
        let (awake, total) = self.shows(now);
        self.furthest = (self.furthest.0.max(awake), self.furthest.1.max(total));
        self.deceived |= awake >= self.taken.0 && total >= self.taken.1;
        Some(Instant::from_nanos(awake, total))
    }

    /// What a reading would show, without taking one.
    pub(super) fn peek(&self, now: u64) -> Reading {
        let (awake, total) = self.shows(now);
        (!self.fails).then(|| Instant::from_nanos(awake, total))
    }

    /// Whether it shows less than it has shown before: who saw that treats it as giving no readings.
    pub(super) fn is_behind(&self, now: u64) -> bool {
        let (awake, total) = self.shows(now);
        awake < self.furthest.0 || total < self.furthest.1
    }

    /// Whether the two counters have gone differently since `earlier`, by more than `by`.
    pub(super) fn counters_differ_since(&self, now: u64, earlier: Instant, by: u64) -> bool {
        let (awake, total) = self.shows(now);
        let awake = awake as i128 - i128::from(earlier.awake_nanos());
        let total = total as i128 - i128::from(earlier.total_nanos());
        awake.abs_diff(total) > u128::from(by)
    }

    /// How long it takes until it has counted so much, at its present rate.
    pub(super) fn takes(&self, nanos: u64) -> u64 {
        (u128::from(nanos) * 1_000_000).div_ceil((1_000_000 + self.rate_ppm).unsigned_abs().into()) as u64
    }

    /// Its rate is wrong by this much from now on.
    pub(super) fn set_rate(&mut self, now: u64, rate_ppm: i64) {
        self.settle(now);
        self.rate_ppm = rate_ppm;
    }

    /// A counter stops, or goes on.
    pub(super) fn stand(&mut self, now: u64, counter: Counter, stands: bool) {
        self.settle(now);
        match counter {
            Counter::Awake => self.awake_stands = stands,
            Counter::Total => self.total_stands = stands,
        }
    }

    /// Both counters go on.
    pub(super) fn go_on(&mut self, now: u64) {
        self.stand(now, Counter::Awake, false);
        self.stand(now, Counter::Total, false);
    }

    /// A counter leaps ahead or falls back.
    pub(super) fn leap(&mut self, now: u64, counter: Counter, by: i64) {
        self.settle(now);
        let leapt = |from: u64| from.saturating_add_signed(by);
        match counter {
            Counter::Awake => self.awake = leapt(self.awake),
            Counter::Total => self.total = leapt(self.total),
        }
    }

    /// The process that begins now knows nothing of what the clock has shown before.
    pub(super) fn forget_furthest(&mut self) {
        (self.furthest, self.taken, self.owes) = ((0, 0), (0, 0), false);
    }

    /// The grantor has surely taken this reading.
    pub(super) fn is_taken(&mut self, reading: Instant) {
        let reading = (reading.awake_nanos(), reading.total_nanos());
        if reading.0 >= self.taken.0 && reading.1 >= self.taken.1 {
            self.taken = reading;
        }
    }

    /// Both counters fall back. Returns whether they may make up for it later, if that is wanted.
    pub(super) fn fall_back(&mut self, now: u64, by: i64, recovers: bool) -> bool {
        self.leap(now, Counter::Awake, -by);
        self.leap(now, Counter::Total, -by);
        let may_recover = recovers && !self.owes;
        if may_recover {
            (self.owes, self.deceived) = (true, false);
        }
        may_recover
    }

    /// Both counters make up for having fallen back. They may do so only if no grantor has set a hold by a reading from before:
    /// it would end early, and no rule could help it.
    pub(super) fn recover(&mut self, now: u64, by: i64) {
        self.owes = false;
        if !self.deceived {
            self.leap(now, Counter::Awake, by);
            self.leap(now, Counter::Total, by);
        }
    }

    fn settle(&mut self, now: u64) {
        (self.awake, self.total) = self.shows(now);
        self.at = now;
    }
}
