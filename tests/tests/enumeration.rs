//! Visits every state of small worlds, with the real holder and the real grantor. No lease is valid once a leader of a later
//! term can have acknowledged a write, and no lease is valid at an index lower than any leader can have acknowledged.
//!
//! `cargo test -p leasehold-tests --test enumeration -- --nocapture` prints the number of states of each world, and the shortest
//! schedule that fails without each rule. The larger worlds, some 140 million states, take a quarter of an hour and 4 GB:
//! `cargo test -p leasehold-tests --test enumeration -- --ignored --nocapture`.

use leasehold_core::{Config, Options};
use leasehold_tests::abstract_raft::Setup;
use leasehold_tests::exploration::{Bounds, DRIFT_PPM, FAST_TICK, Found, SHOWN, SLOW_TICK, explore};
use leasehold_tests::machine::Subject;
use leasehold_tests::rules::{Rule, Rules};
use std::time::Duration;

const TWO: &[&[u64]] = &[&[1, 2]];
const THREE: &[&[u64]] = &[&[1, 2, 3]];
const ONE_TO_THREE: &[&[u64]] = &[&[1], &[1, 2], &[1, 2, 3]];

/// The leader's clock is as slow as the drift allows, the others' as fast: the worst for its lease.
const LEADER_SLOW: u8 = 0b110;

/// A hold of two fast ticks, and the lease it covers: two slow ones, to the nanosecond.
fn setup(configurations: &[&[u64]], subject: Subject) -> Setup {
    let drift = !matches!(subject, Subject::Model(rules) if !rules.has(Rule::HoldCoversLease));
    let options = Options::new(Duration::from_nanos(2 * FAST_TICK), if drift { DRIFT_PPM } else { 0 })
        .with_lease(Duration::from_nanos(if drift { 2 * SLOW_TICK } else { 2 * FAST_TICK }))
        .with_heartbeat(Duration::from_nanos(1));
    let config = Config::new(options).expect("the longest lease that the hold covers");
    let configurations = configurations.iter().map(|voters| voters.to_vec()).collect();
    Setup { config, configurations, subject, staleness: Duration::from_nanos(FAST_TICK) }
}

fn without(rule: Rule, configurations: &[&[u64]]) -> Setup {
    setup(configurations, Subject::Model(Rules::without(rule)))
}

/// Three ticks are the shortest time in which a hold can end and a later lease be taken; two terms have one election.
fn bounds() -> Bounds {
    Bounds { ticks: 3, terms: 2, watchful: true, fast: vec![LEADER_SLOW], ..Bounds::default() }
}

fn search(world: &str, configurations: &[&[u64]], bounds: &Bounds) -> Found {
    search_of(Subject::Product, world, configurations, bounds)
}

#[expect(clippy::disallowed_methods, reason = "the time that a search takes is printed, and decides nothing")]
fn search_of(subject: Subject, world: &str, configurations: &[&[u64]], bounds: &Bounds) -> Found {
    let start = std::time::Instant::now();
    let found = explore(&setup(configurations, subject), bounds);
    let Found { states, steps, depth, nodes, runs, .. } = found;
    println!(
        "{world}: {states} states, {steps} steps, at most {depth} deep; {nodes} states of a node, {runs} runs of one; {:.1?}",
        start.elapsed()
    );
    if let Some(violation) = &found.violation {
        panic!("{world}: {violation}");
    }
    // A world without leases and commits would prove nothing.
    assert!(found.leases.contains(&1), "{world}: the first leader never had a lease");
    assert_eq!(found.acknowledged, bounds.terms, "{world}: no leader of the last term committed anything");
    found
}

#[test]
fn three_voters_under_every_pair_of_clock_rates() {
    let found = search("all clocks", THREE, &Bounds { fast: (0..8).collect(), ..bounds() });
    assert_eq!(found.leases, [1, 2]);
}

#[test]
fn three_voters_and_a_renewal() {
    search("a renewal", THREE, &Bounds { rounds: 1, ..bounds() });
}

#[test]
fn three_voters_and_two_elections() {
    let found = search("two elections", THREE, &Bounds { terms: 3, ..bounds() });
    assert_eq!(found.leases, [1, 2, 3]);
}

#[test]
fn three_voters_a_renewal_and_a_restart() {
    search("a renewal and a restart", THREE, &Bounds { rounds: 1, restarts: 1, ticks: 2, ..bounds() });
}

#[test]
fn three_voters_and_a_transfer() {
    search("a transfer", THREE, &Bounds { transfers: 1, ..bounds() });
}

#[test]
fn three_voters_and_a_failing_clock() {
    search("a failing clock", THREE, &Bounds { failures: 1, ..bounds() });
}

#[test]
fn three_voters_and_a_backward_clock() {
    search("a backward clock", THREE, &Bounds { steps_back: 1, ..bounds() });
}

#[test]
fn three_voters_and_a_suspended_machine() {
    search("a suspended machine", THREE, &Bounds { suspends: 2, ..bounds() });
}

#[test]
fn voters_join_and_leave() {
    search("1 to 3 voters", ONE_TO_THREE, &bounds());
    search("3 to 2 voters", &[&[1, 2, 3], &[1, 2]], &bounds());
    search("the leader leaves", &[&[1, 2, 3], &[2, 3]], &bounds());
    search("3 to 1 to 2 voters", &[&[1, 2, 3], &[1, 2], &[1], &[1, 2]], &Bounds { ticks: 2, ..bounds() });
}

#[test]
fn two_voters_and_a_little_of_everything() {
    let fast = vec![0b10];
    let long = Bounds { ticks: 5, terms: 3, rounds: 2, restarts: 1, fast: fast.clone(), ..bounds() };
    search("2 voters, a long time", TWO, &long);
    let everything = Bounds { restarts: 1, transfers: 1, failures: 1, steps_back: 1, fast: fast.clone(), ..bounds() };
    search("2 voters, everything", TWO, &Bounds { ticks: 2, ..everything });
    let unwatched = Bounds { ticks: 4, terms: 3, restarts: 1, failures: 1, watchful: false, fast, ..bounds() };
    search("2 voters that seldom look at their clocks", TWO, &unwatched);
}

#[test]
#[ignore = "a quarter of an hour and 4 GB"]
fn larger_worlds() {
    let (all, long) = (vec![LEADER_SLOW, 0b101, 0b011], Bounds { ticks: 5, rounds: 1, ..bounds() });
    search("a renewal, 5 ticks", THREE, &Bounds { fast: all, ..long.clone() });
    search("a renewal and a transfer", THREE, &Bounds { rounds: 1, transfers: 1, ticks: 2, ..bounds() });
    search("a renewal and a failing clock", THREE, &Bounds { rounds: 1, failures: 1, ..bounds() });
    search("a renewal and a restart", THREE, &Bounds { rounds: 1, restarts: 1, ..bounds() });
    search("two renewals and a restart", THREE, &Bounds { rounds: 2, restarts: 1, ticks: 2, ..bounds() });
    search("a transfer and a restart", THREE, &Bounds { transfers: 1, restarts: 1, ..bounds() });
    let everything =
        Bounds { rounds: 1, restarts: 1, transfers: 1, failures: 1, steps_back: 1, suspends: 1, ..bounds() };
    search("2 voters, everything", TWO, &Bounds { ticks: 2, fast: vec![0b10], ..everything });
}

/// The model's results hold for the product only while the two behave alike. Every step of this search compares them.
#[test]
fn the_model_equals_the_product_in_every_state_of_small_worlds() {
    let compared = |world, configurations, bounds| search_of(Subject::Compared, world, configurations, &bounds);
    compared("compared", THREE, bounds());
    compared("compared, 1 to 3 voters", ONE_TO_THREE, bounds());
    let everything = Bounds { restarts: 1, transfers: 1, failures: 1, steps_back: 1, fast: vec![0b10], ..bounds() };
    compared("compared, 2 voters, everything", TWO, Bounds { ticks: 2, ..everything });
}

/// Returns the smallest world that fails without a rule.
fn where_it_shows(rule: Rule) -> (&'static [&'static [u64]], Bounds) {
    let bounds = match rule {
        Rule::RestartHold => Bounds { restarts: 1, ..bounds() },
        Rule::ReleaseMustCoverTheNewestAck | Rule::TransferReleases | Rule::AbandonedTransferStaysReleased => {
            Bounds { transfers: 1, ..bounds() }
        }
        Rule::EchoWithoutReadingHolds => Bounds { failures: 1, ..bounds() },
        // The grantor must not notice that the reading is old.
        Rule::ReadingBelongsToItsInput => Bounds { rounds: 1, ticks: 2, watchful: false, ..bounds() },
        Rule::BackwardReadingVoids => Bounds { steps_back: 1, ..bounds() },
        Rule::LeaseAgesByTheFasterCounter => Bounds { suspends: 1, ..bounds() },
        _ => bounds(),
    };
    (if rule == Rule::QuorumFollowsTheVoters { ONE_TO_THREE } else { THREE }, bounds)
}

#[test]
fn the_absence_of_a_rule_is_found() {
    for rule in SHOWN {
        let (configurations, bounds) = where_it_shows(rule);
        let found = explore(&without(rule, configurations), &bounds);
        let violation =
            found.violation.unwrap_or_else(|| panic!("without {rule:?} nothing fails in {} states", found.states));
        println!("without {rule:?}, after {} states:\n{violation}\n", found.states);
    }
}

/// Published designs start the lease when the acknowledgement arrives. The core's documentation shows the schedule that
/// breaks that, as it is found here.
#[test]
fn the_documented_schedule_breaks_an_anchor_at_receipt() {
    let (configurations, bounds) = where_it_shows(Rule::AnchorIsTheOpening);
    let found = explore(&without(Rule::AnchorIsTheOpening, configurations), &bounds);
    let schedule = found.violation.expect("an anchor at receipt is unsafe");
    let documented = include_str!("../../core/README.md");
    assert!(documented.contains(&schedule), "core/README.md should show this schedule:\n{schedule}");
}
