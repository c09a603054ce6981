//! The cost of the lease alone: an ack, a round, a read, and of reading the clock.

use criterion::{Criterion, criterion_group, criterion_main};
use leasehold_clock::{Clock, SystemClock};
use leasehold_core::{Config, Event, Holder, Instant, LeaseCell, NodeId, Options, Reading, TermRound, Voters};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::time::Duration;

const TERM: u64 = 1;

fn at(millis: u64) -> Reading {
    Some(Instant::from_nanos(millis * 1_000_000, millis * 1_000_000))
}

fn options(hold: Duration) -> Options {
    Options::new(hold, 1000).with_heartbeat(Duration::from_millis(100))
}

/// Returns a leader of `voters` nodes at 1 s, past its barrier.
fn leader(voters: u64, cell: &LeaseCell) -> Holder {
    let ids: Vec<NodeId> = (1..=voters).collect();
    let mut holder = Holder::new(1, Config::new(options(Duration::from_secs(1))).expect("it fits together"));
    let voters = Voters::simple(&ids).expect("few voters");
    holder
        .handle_event(at(1000), Event::Elected { term: TERM, voters, barrier: 1, commit: 1 }, cell)
        .expect("the node leads");
    while holder.poll_action().is_some() {}
    holder
}

/// Measures the opening of a round and an acknowledgement from each follower, which advance the quorum round, the lease
/// and the published cell. Divide by the number of followers for the cost of one.
fn acks(criterion: &mut Criterion) {
    for voters in [3, 5, 7] {
        let cell = LeaseCell::new();
        let mut holder = leader(voters, &cell);
        let (mut now, mut round) = (1000, 1);
        criterion.bench_function(&format!("a round and its {} acks, {voters} voters", voters - 1), |bencher| {
            bencher.iter(|| {
                now += 100;
                round += 1;
                holder.handle_timeout(at(now), &cell);
                while holder.poll_action().is_some() {}
                for from in 2..=voters {
                    let event = Event::Acked { from, round: TermRound { term: TERM, round } };
                    holder.handle_event(at(now), black_box(event), &cell).expect("the node leads");
                }
            });
        });
        // A filter on the command line may have skipped this one.
        assert!(round == 1 || cell.try_read(at(now)).is_some(), "the acknowledgements grant a lease");
    }
}

/// Measures the opening of a round and the action that sends it.
fn rounds(criterion: &mut Criterion) {
    let cell = LeaseCell::new();
    let mut holder = leader(3, &cell);
    let mut now = 1000;
    criterion.bench_function("open a round", |bencher| {
        bencher.iter(|| {
            now += 100;
            holder.handle_timeout(at(black_box(now)), &cell);
            while let Some(action) = holder.poll_action() {
                black_box(action);
            }
        });
    });
}

/// Measures a lease read, and the clock readings that it needs.
fn reads(criterion: &mut Criterion) {
    let Ok(clock) = SystemClock::new() else {
        println!("this machine's clock cannot serve leases; reads are not measured");
        return;
    };
    let cell = LeaseCell::new();
    let mut holder = Holder::new(1, Config::new(options(Duration::from_secs(3600))).expect("it fits"));
    let voters = Voters::simple(&[1]).expect("one voter");
    holder
        .handle_event(clock.now(), Event::Elected { term: TERM, voters, barrier: 1, commit: 1 }, &cell)
        .expect("the node leads");
    criterion.bench_function("two bare clock readings", |bencher| {
        bencher.iter(|| (black_box(clock_gettime(ClockId::MonotonicRaw)), black_box(clock_gettime(ClockId::Boottime))));
    });
    criterion.bench_function("try_read with a fresh sample", |bencher| {
        bencher.iter(|| black_box(cell.try_read(clock.now())).expect("the lease lasts an hour"));
    });
    let now = clock.now();
    criterion.bench_function("try_read on a given sample", |bencher| {
        bencher.iter(|| black_box(cell.try_read(black_box(now))).expect("the lease lasts an hour"));
    });
}

criterion_group!(benches, acks, rounds, reads);
criterion_main!(benches);
