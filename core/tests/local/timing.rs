//! The arithmetic of lengths, with clocks of any rate that the drift allows, and machines that are suspended.

use leasehold_core::local::{Lender, Reader};
use leasehold_core::{Action, Config, Event, Grantor, Holder, Instant, LeaseCell, Options, Reading, Voters};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use std::time::Duration;

const MILLION: u64 = 1_000_000;
/// Readings are whole nanoseconds, so an interval may be longer than it is measured.
const ROUNDING: u64 = 4;

/// A clock at a constant rate, whose machine may be suspended once.
struct Clock {
    /// In parts per million of true time.
    rate: u64,
    /// The real times between which the machine is suspended.
    suspended: (u64, u64),
}

impl Clock {
    fn read(&self, real: u64) -> Instant {
        let (from, to) = self.suspended;
        let asleep = real.clamp(from, to) - from;
        let shown = |real: u64| (u128::from(real) * u128::from(self.rate) / u128::from(MILLION)) as u64;
        Instant::from_nanos(shown(real - asleep), shown(real))
    }

    fn now(&self, real: u64) -> Reading {
        Some(self.read(real))
    }
}

/// Whatever the clocks show, at the last instant at which a reader may read its leader is obliged, and the voter on whose
/// echo the leader's lease rests is held.
#[test]
fn no_sublease_outlives_what_its_leader_and_its_voters_owe() {
    let mut granted = 0;
    for seed in 0..20_000 {
        granted += u32::from(sublease(seed));
    }
    assert!(granted > 10_000, "only {granted} of the requests were granted");
}

/// Returns whether the request was granted.
fn sublease(seed: u64) -> bool {
    let mut draws = SplitMix64::seed_from_u64(seed);
    let mut below = |bound: u64| draws.next_u64() % bound;
    let hold = 1 + below(5) * 400 * MILLION + below(1000 * MILLION);
    let drifts = [below(100_000), below(100_000)];
    let drift = |ppm: u64| Options::new(Duration::from_nanos(hold), u32::try_from(ppm).expect("below a million"));
    let (Ok(config), Ok(of_reader)) = (Config::new(drift(drifts[0])), Config::new(drift(drifts[1]))) else {
        return false;
    };
    // The voter's hold covers the leader's lease at the leader's drift. The nodes have checked that.
    let mut clock = |ppm: u64| {
        // The extremes are the likeliest to fail.
        let rate = match below(4) {
            0 => MILLION - ppm,
            1 => MILLION + ppm,
            _ => MILLION - ppm + below(2 * ppm + 1),
        };
        let from = hold + below(2 * hold);
        Clock { rate, suspended: (from, if below(3) == 0 { from + below(2 * hold) } else { from }) }
    };
    let (leader, voter, reading) = (clock(drifts[0]), clock(drifts[0]), clock(drifts[1]));
    let start = 2 * hold;

    let (mut holder, mut lender, cell) = (Holder::new(1, config), Lender::new(config), LeaseCell::new());
    let (mut grantor, mut reader, reads) =
        (Grantor::new(config, Duration::ZERO, voter.now(0)), Reader::new(of_reader, 1), LeaseCell::new());
    lender.elected(4);
    let voters = Voters::simple(&[1, 2, 3]).expect("three voters");
    let commit = lender.advance(leader.now(start), 7, None, |_| Some(7));
    let elected = Event::Elected { term: 4, voters, barrier: 7, commit };
    holder.handle_event(leader.now(start), elected, &cell).expect("no misuse");
    let Some(Action::SendRound(round)) = holder.poll_action() else { panic!("a round is due") };
    let echoed = start + below(hold / 4 + 1);
    let echo = grantor.handle_round(voter.now(echoed), round).expect("a new round");
    let acked = echoed + below(hold / 4 + 1);
    holder.handle_event(leader.now(acked), Event::Acked { from: 2, round: echo }, &cell).expect("no misuse");

    reader.follows(4, 1, &reads);
    reader.received(Some(7), &reads);
    let asked = start + below(hold / 2 + 1);
    let request = reader.request(reading.now(asked), &reads).expect("a leader is known");
    let arrived = asked.max(acked) + below(hold / 2 + 1);
    let Some(grant) = lender.handle_request(leader.now(arrived), &mut holder, &cell, 3, Some(7), request) else {
        return false;
    };
    let taken = arrived + below(hold / 8 + 1);
    reader.handle_grant(reading.now(taken), 1, grant, &reads);

    // The last real time at which the reader finds a permit. Once it has ended it stays so.
    let (mut valid, mut over) = (taken, taken + 4 * hold);
    if reads.try_read(reading.now(valid)).is_none() {
        return true;
    }
    assert!(reads.try_read(reading.now(over)).is_none(), "seed {seed}: the sublease does not end");
    while over - valid > 1 {
        let middle = valid + (over - valid) / 2;
        *(if reads.try_read(reading.now(middle)).is_some() { &mut valid } else { &mut over }) = middle;
    }
    let last = valid.saturating_sub(ROUNDING).max(taken);
    assert!(lender.is_obligated(leader.now(last)), "seed {seed}: the leader is free at {last}, and the reader reads");
    assert!(
        !grantor.may_vote_or_campaign(voter.now(last), None),
        "seed {seed}: the voter is free at {last}, and the reader reads"
    );
    true
}
