//! The lease cell under every interleaving and every memory order that loom can distinguish.
//!
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p leasehold-core --test loom --release`
//!
//! With `--cfg leasehold_halves` besides, the same for platforms without 64-bit atomics, where each word is two. Then it takes
//! minutes even with `LOOM_MAX_PREEMPTIONS=1`, so it is not part of `.ci/run`.
#![cfg(loom)]

use leasehold_core::local::{Grant, Reader};
use leasehold_core::{Config, Event, Holder, Instant, LeaseCell, Options, Permit, Reading, Voters};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use std::time::Duration;

fn at(millis: u64) -> Reading {
    Some(Instant::from_nanos(millis * 1_000_000, millis * 1_000_000))
}

/// A holder whose node is the only voter: its own acknowledgement is a quorum, so each step writes the cell.
fn holder() -> Holder {
    let options = Options::new(Duration::from_secs(1), 0);
    Holder::new(1, Config::new(options).expect("a consistent configuration"))
}

fn elected(term: u64) -> Event {
    let voters = Voters::simple(&[1]).expect("one voter");
    Event::Elected { term, voters, barrier: term, commit: term }
}

/// Tries every execution with at most `preemptions` preemptions; `LOOM_MAX_PREEMPTIONS` overrides it.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}

/// Starts a reader that checks the cell once, at `now`, and must get one of the `allowed` permits or none.
fn reader(cell: &Arc<LeaseCell>, now: Reading, allowed: &'static [(u64, u64)]) -> thread::JoinHandle<()> {
    let cell = cell.clone();
    thread::spawn(move || {
        if let Some(Permit { term, index }) = cell.try_read(now) {
            assert!(allowed.contains(&(term, index)), "term {term} at index {index} was never published for {now:?}");
        }
    })
}

/// The reader's sample is valid for one of the two leases only, so a permit of one lease with the end of the other is
/// detected.
#[test]
fn no_reader_sees_a_permit_that_was_never_published() {
    explore(5, || {
        let cell = Arc::new(LeaseCell::new());
        let mut holder = holder();
        // The lease of term 1 ends at 1000, that of term 2 at 1500.
        holder.handle_event(at(0), elected(1), &cell).expect("the node leads");
        let late = reader(&cell, at(1200), &[(2, 2)]);
        holder.handle_event(at(400), Event::Deposed, &cell).expect("the node leads");
        holder.handle_event(at(500), elected(2), &cell).expect("the node leads");
        late.join().expect("the late reader");
    });
}

#[test]
fn two_readers_see_what_was_published() {
    explore(2, || {
        let cell = Arc::new(LeaseCell::new());
        let mut holder = holder();
        holder.handle_event(at(0), elected(1), &cell).expect("the node leads");
        let readers = [at(600), at(1200)].map(|now| reader(&cell, now, if now == at(600) { &[(1, 1)] } else { &[] }));
        holder.handle_event(at(400), Event::Deposed, &cell).expect("the node leads");
        for reader in readers {
            reader.join().expect("a reader");
        }
    });
}

#[test]
fn no_reader_sees_a_permit_after_a_revocation_that_happened_before() {
    explore(2, || {
        let cell = Arc::new(LeaseCell::new());
        let mut holder = holder();
        holder.handle_event(at(0), elected(1), &cell).expect("the node leads");
        let voted = Arc::new(AtomicBool::new(false));
        let readers = [(); 2].map(|()| {
            let (cell, voted) = (cell.clone(), voted.clone());
            thread::spawn(move || {
                let after = voted.load(Ordering::Acquire);
                let permit = cell.try_read(at(600));
                assert!(!after || permit.is_none(), "{permit:?} was granted after the vote");
            })
        });
        holder.handle_event(at(400), Event::Deposed, &cell).expect("the node leads");
        // The vote that deposes this leader leaves: a reader that knows of it must find no lease.
        voted.store(true, Ordering::Release);
        for reader in readers {
            reader.join().expect("a reader");
        }
    });
}

/// The same cell serves the next term of the node: a reader that has seen the later lease must not see the earlier one.
#[test]
fn a_reader_never_goes_back_to_an_earlier_lease() {
    explore(5, || {
        let cell = Arc::new(LeaseCell::new());
        let mut holder = holder();
        holder.handle_event(at(0), elected(1), &cell).expect("the node leads");
        let reader = {
            let cell = cell.clone();
            thread::spawn(move || {
                let first = cell.try_read(at(600));
                let second = cell.try_read(at(600));
                if let (Some(first), Some(second)) = (first, second) {
                    assert!(first.term <= second.term, "{first:?} was followed by {second:?}");
                }
            })
        };
        holder.handle_event(at(500), elected(2), &cell).expect("the node leads");
        reader.join().expect("the reader");
    });
}

/// A reader in term 4 with a sublease until 500, that has received index 7.
fn follower(cell: &LeaseCell) -> Reader {
    let config = Config::new(Options::new(Duration::from_secs(1), 0)).expect("a consistent configuration");
    let mut reader = Reader::new(config, 1);
    reader.follows(4, 1, cell);
    reader.received(Some(7), cell);
    let asked = reader.request(at(0), cell).expect("a leader is known");
    let length = Duration::from_millis(500);
    reader.handle_grant(at(1), 1, Grant { term: 4, number: asked.number, length, floor: 7 }, cell);
    reader
}

/// The received index is published before its acknowledgement leaves, and only then can the leader expose it: a read that
/// knows of the exposure takes an index that covers it.
#[test]
fn a_read_after_an_exposure_covers_it() {
    explore(3, || {
        let cell = Arc::new(LeaseCell::new());
        let mut follower = follower(&cell);
        let acknowledged = Arc::new(AtomicBool::new(false));
        let reader = {
            let (cell, acknowledged) = (cell.clone(), acknowledged.clone());
            thread::spawn(move || {
                let is_exposed = acknowledged.load(Ordering::Acquire);
                let permit = cell.try_read(at(10));
                assert!(!is_exposed || permit.map_or(true, |permit| permit.index == 8), "{permit:?} misses index 8");
            })
        };
        follower.received(Some(8), &cell);
        acknowledged.store(true, Ordering::Release);
        reader.join().expect("the reader");
    });
}

/// A sublease is revoked before its return leaves, so that no check grants a permit once the leader's obligation has ended.
#[test]
fn no_sublease_is_used_after_its_return() {
    explore(3, || {
        let cell = Arc::new(LeaseCell::new());
        let mut follower = follower(&cell);
        let returned = Arc::new(AtomicBool::new(false));
        let reader = {
            let (cell, returned) = (cell.clone(), returned.clone());
            thread::spawn(move || {
                let after = returned.load(Ordering::Acquire);
                let permit = cell.try_read(at(10));
                assert!(!after || permit.is_none(), "{permit:?} was granted after the return");
            })
        };
        assert!(follower.return_all(&cell).is_some());
        returned.store(true, Ordering::Release);
        reader.join().expect("the reader");
    });
}

/// A renewal with a higher floor is published once that much was received: no check sees the new end with the old index.
#[test]
fn no_renewal_is_seen_with_an_index_below_its_floor() {
    explore(3, || {
        let cell = Arc::new(LeaseCell::new());
        let mut follower = follower(&cell);
        // The first sublease ends at 500, and the second at 600.
        let late = reader(&cell, at(550), &[(4, 9)]);
        let asked = follower.request(at(100), &cell).expect("a leader is known");
        let length = Duration::from_millis(500);
        follower.handle_grant(at(101), 1, Grant { term: 4, number: asked.number, length, floor: 9 }, &cell);
        follower.received(Some(9), &cell);
        late.join().expect("the reader");
    });
}
