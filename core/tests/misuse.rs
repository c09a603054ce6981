//! An event that a correct engine cannot report returns an error and changes nothing.
#![cfg(not(loom))]

use leasehold_core::{Config, Event, Holder, Instant, LeaseCell, Misuse, Options, Reading, Voters};
use std::time::Duration;

fn at(millis: u64) -> Reading {
    Some(Instant::from_nanos(millis * 1_000_000, millis * 1_000_000))
}

fn elected(term: u64) -> Event {
    Event::Elected { term, voters: Voters::simple(&[1]).expect("one voter"), barrier: 1, commit: 1 }
}

fn holder() -> Holder {
    Holder::new(1, Config::new(Options::new(Duration::from_secs(1), 0)).expect("a consistent configuration"))
}

#[test]
fn rejects_what_only_a_leader_reports_and_changes_nothing() {
    let cell = LeaseCell::new();
    let mut holder = holder();
    for (event, misuse) in [
        (Event::Committed(1), Misuse::CommitWithoutLeading),
        (Event::VotersChanged(Voters::NONE), Misuse::VotersWithoutLeading),
        (Event::TransferStarted, Misuse::TransferWithoutLeading),
        (Event::TransferEnded, Misuse::TransferWithoutLeading),
    ] {
        let before = holder.clone();
        assert_eq!(holder.handle_event(at(5), event, &cell), Err(misuse));
        assert_eq!(holder, before, "{event:?} changed the holder");
    }
}

#[test]
fn rejects_an_election_in_a_term_that_is_not_higher_and_keeps_the_lease() {
    let cell = LeaseCell::new();
    let mut holder = holder();
    assert_eq!(holder.handle_event(at(100), elected(7), &cell), Ok(()));
    let (before, permit) = (holder.clone(), cell.try_read(at(200)));
    assert!(permit.is_some(), "one voter is a quorum");
    for term in [6, 7] {
        // The reading is backward, which must not be noted either.
        let refused = holder.handle_event(at(50), elected(term), &cell);
        assert_eq!(refused, Err(Misuse::TermNotHigher { term, current: 7 }));
        assert_eq!((&holder, cell.try_read(at(200))), (&before, permit));
    }
    assert_eq!(holder.handle_event(at(300), elected(8), &cell), Ok(()));
}
