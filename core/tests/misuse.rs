//! Events in unusual states. One that a correct engine cannot report returns an error and changes nothing.
#![cfg(not(loom))]

use leasehold_core::{
    Action, Config, Event, Fresh, Holder, Instant, LeaseCell, Member, Misuse, NoLease, Options, Reading, TermRound,
    Voters,
};
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
        (Event::Resumed, Misuse::ResumedWithoutSuspension),
    ] {
        let before = holder.clone();
        assert_eq!(holder.handle_event(at(5), event, &cell), Err(misuse));
        assert_eq!(holder, before, "{event:?} changed the holder");
    }
}

#[test]
fn a_member_ignores_commits_and_configurations_while_it_does_not_lead() {
    let config = Config::new(Options::new(Duration::from_secs(1), 0)).expect("a consistent configuration");
    let cell = LeaseCell::new();
    let mut member = Member::new(1, config, Duration::ZERO, Fresh::new(at(1)), &cell);
    for event in [Event::Committed(1), Event::VotersChanged(Voters::simple(&[1, 2]).expect("two voters"))] {
        let before = member.holder().clone();
        assert_eq!(member.handle_event(Fresh::new(at(5)), event), Ok(()));
        assert_eq!(*member.holder(), before, "{event:?} changed the holder");
    }
}

#[test]
fn a_node_that_is_elected_while_suspended_has_no_lease_until_it_is_resumed() {
    let cell = LeaseCell::new();
    let mut holder = holder();
    // Two requests for votes are with the engine at once.
    for event in [Event::Suspended, Event::Suspended, elected(7), Event::Resumed] {
        assert_eq!(holder.handle_event(at(100), event, &cell), Ok(()));
        assert_eq!(holder.poll_timeout(), None);
    }
    assert_eq!(cell.try_read(at(200)), None);
    assert_eq!(holder.handle_event(at(200), Event::Resumed, &cell), Ok(()));
    assert!(cell.try_read(at(300)).is_some(), "one voter is a quorum");
}

#[test]
fn a_holder_names_the_reason_for_which_it_has_no_lease() {
    let cell = LeaseCell::new();
    let mut holder = holder();
    assert_eq!(holder.lease(), Err(NoLease::NotLeader));
    let voters = Voters::simple(&[1, 2, 3]).expect("three voters");
    let steps = [
        (at(0), Event::Elected { term: 7, voters, barrier: 5, commit: 4 }, Err(NoLease::Barrier)),
        (at(1), Event::Committed(5), Err(NoLease::NoQuorum)),
        (at(2), Event::Acked { from: 2, round: TermRound { term: 7, round: 1 } }, Ok(())),
        (at(3), Event::Suspended, Err(NoLease::Suspended)),
        (at(4), Event::Resumed, Ok(())),
        (at(5), Event::TransferStarted, Err(NoLease::Released)),
        (at(6), Event::TransferEnded, Err(NoLease::Released)),
        (at(7), Event::Acked { from: 3, round: TermRound { term: 7, round: 3 } }, Ok(())),
        (at(2), Event::Committed(6), Err(NoLease::NoAnchor)),
        (at(9), Event::Deposed, Err(NoLease::NotLeader)),
    ];
    for (now, event, expected) in steps {
        holder.handle_event(now, event, &cell).expect("a correct engine");
        assert_eq!(holder.lease().map(drop), expected, "after {event:?}");
        assert_eq!(cell.until(), holder.lease_until(), "after {event:?}");
    }
    assert_eq!(holder.statistics().releases, 1);
}

#[test]
fn rounds_after_a_restart_in_the_same_term_are_new_ones() {
    let cell = LeaseCell::new();
    let mut holder = holder().with_rounds_after(1 << 32);
    assert_eq!(holder.handle_event(at(100), elected(7), &cell), Ok(()));
    let round = TermRound { term: 7, round: (1 << 32) + 1 };
    assert_eq!(holder.poll_action(), Some(Action::SendRound(round)));
    let ticket = holder.quorum_read(at(150), &cell).expect("it leads");
    assert_eq!(holder.poll_action(), Some(Action::SendRound(TermRound { round: ticket.round, ..round })));
    assert_eq!(holder.poll_action(), Some(Action::Confirmed { through: ticket.round }));
}

#[test]
fn a_leader_hears_a_quorum_for_a_hold_after_its_election_and_after_each_round_that_a_quorum_acknowledged() {
    let cell = LeaseCell::new();
    let mut holder = holder();
    assert!(!holder.hears_quorum(at(0)), "it does not lead");
    let voters = Voters::simple(&[1, 2, 3]).expect("three voters");
    let elected = Event::Elected { term: 7, voters, barrier: 1, commit: 0 };
    assert_eq!(holder.handle_event(at(100), elected, &cell), Ok(()));
    assert!(holder.hears_quorum(at(1099)) && !holder.hears_quorum(at(1100)));
    holder.handle_timeout(at(600), &cell);
    let round = holder.frame_round().expect("it leads");
    assert_eq!(holder.handle_event(at(900), Event::Acked { from: 2, round }, &cell), Ok(()));
    assert!(holder.hears_quorum(at(1599)) && !holder.hears_quorum(at(1600)), "from the opening of the round");
    assert!(holder.hears_quorum(None), "without a reading it cannot tell");
}

#[test]
fn a_clock_that_fails_or_steps_back_gives_a_quorum_another_hold_to_be_heard() {
    let cell = LeaseCell::new();
    let mut holder = holder();
    let voters = Voters::simple(&[1, 2, 3]).expect("three voters");
    let elected = Event::Elected { term: 7, voters, barrier: 1, commit: 0 };
    assert_eq!(holder.handle_event(None, elected, &cell), Ok(()));
    holder.handle_timeout(at(100_000), &cell);
    assert!(holder.hears_quorum(at(100_999)) && !holder.hears_quorum(at(101_000)));
    holder.handle_timeout(at(50_000), &cell);
    assert!(holder.hears_quorum(at(50_999)) && !holder.hears_quorum(at(51_000)));
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
