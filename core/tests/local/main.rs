//! The machines of local reads: every state of small worlds, long random schedules, and one scenario for each rule.
//!
//! `cargo test -p leasehold-core --test local -- --nocapture` prints the number of states of each world, and the shortest
//! schedule that fails without each rule. The larger worlds take a minute: `-- --ignored --nocapture`.
#![cfg(not(loom))]

mod checker;
mod machines;
mod node;
mod schedules;
mod search;
mod timing;
mod walk;

use leasehold_core::{Config, Options};
use node::{Rule, Setup};
use search::{Bounds, Found, explore};
use std::time::Duration;

/// A tick of a clock that runs as slow as the drift allows: 10/11 of what it should show.
const SLOW_TICK: u64 = 10_000_000;
/// A tick of a clock that runs as fast as the drift allows: 12/11 of what it should show.
const FAST_TICK: u64 = 12_000_000;
/// The drift of the two ticks: one eleventh, in parts per million.
const DRIFT_PPM: u32 = 90_909;

/// A hold of some fast ticks, and the lease it covers: as many slow ones, to the nanosecond.
fn setup(ticks: u64, heartbeat: u64, (nodes, voters): (u64, u64), off: Option<Rule>) -> Setup {
    let options = Options::new(Duration::from_nanos(ticks * FAST_TICK), DRIFT_PPM)
        .with_lease(Duration::from_nanos(ticks * SLOW_TICK))
        .with_heartbeat(Duration::from_nanos(heartbeat));
    let config = Config::new(options).expect("the longest lease that the hold covers");
    Setup { config, next: config, nodes, voters, changes: &[], off, readers: &[1, 2, 3, 4, 5], reports_terms: true }
}

fn of_walks(nodes: (u64, u64), off: Option<Rule>) -> Setup {
    setup(8, SLOW_TICK / 2, nodes, off)
}

/// A hold of two ticks.
fn of_searches(nodes: (u64, u64), off: Option<Rule>) -> Setup {
    let readers: &[u64] = if nodes == THREE { &[2] } else { &[4] };
    Setup { readers, changes: &[&[1, 3], &[1, 2, 3]], reports_terms: false, ..setup(2, 1, nodes, off) }
}

const THREE: (u64, u64) = (3, 3);

/// Four nodes of which each is a voter at times.
fn of_changing_walks() -> Setup {
    const ALL: &[u64] = &[1, 2, 3, 4];
    Setup { changes: &[ALL, &[2, 3, 4], ALL, &[1, 3, 4], ALL, &[1, 2, 4], ALL, &[1, 2, 3]], ..of_walks((4, 3), None) }
}

/// Three ticks are the shortest time in which a hold can end and a later lease be taken. Node 2 reads, and node 3 hears
/// only node 1.
fn bounds() -> Bounds {
    Bounds { ticks: 3, terms: 2, candidate: 3, cut: &[(2, 3)], fast: &[1, 3], ..Bounds::default() }
}

/// Node 4 is a learner that hears only node 1, and reads. Node 1 hands over to node 2, for which node 3 votes.
fn of_transfer() -> Bounds {
    let cut = &[(1, 3), (2, 4), (3, 4)];
    Bounds { transfers: 1, ticks: 1, candidate: 2, cut, fast: &[1, 2, 3], ..bounds() }
}

/// One term, and the index that is exposed.
fn of_exposure() -> Bounds {
    Bounds { ticks: 2, terms: 1, replications: 1, writes: 1, ..bounds() }
}

fn search(world: &str, nodes: (u64, u64), bounds: &Bounds) -> Found {
    let found = explore(&of_searches(nodes, None), bounds);
    println!("{world}: {} states; {} states of a node, {} runs of one", found.states, found.nodes, found.runs);
    if let Some(violation) = &found.violation {
        panic!("{world}:\n{violation}");
    }
    // A world without subleases and elections would prove nothing.
    assert!(found.local > 0, "{world}: no follower ever read on its own");
    assert_eq!(found.elected, bounds.terms, "{world}: the last term elected no leader");
    found
}

/// The same world with the faults of one node.
fn of(node: u64, bounds: Bounds) -> Bounds {
    Bounds { faulty: node, ..bounds }
}

#[test]
fn no_sublease_outlives_an_election() {
    search("three voters", THREE, &bounds());
    for node in [1, 2] {
        let short = Bounds { ticks: 2, ..of(node, bounds()) };
        search(&format!("a crash of node {node}"), THREE, &Bounds { crashes: 1, ..short });
        search(&format!("an orderly stop of node {node}"), THREE, &Bounds { stops: 1, ..short });
        search(&format!("a failing clock of node {node}"), THREE, &Bounds { failures: 1, ..short });
        search(&format!("a backward clock of node {node}"), THREE, &Bounds { steps_back: 1, ..short });
        search(&format!("a suspended machine of node {node}"), THREE, &Bounds { suspends: 1, ..short });
    }
    search("a transfer", (4, 3), &of_transfer());
    search("a step down", THREE, &Bounds { step_downs: 1, ticks: 2, ..bounds() });
    search("a return", THREE, &Bounds { returns: 1, ticks: 2, ..bounds() });
    search("a change of voters", THREE, &Bounds { changes: 1, replications: 1, ticks: 0, ..bounds() });
}

#[test]
fn no_reader_misses_what_was_exposed() {
    search("a write", THREE, &of_exposure());
    search("a crash of the reader", THREE, &Bounds { crashes: 1, ticks: 0, ..of(2, of_exposure()) });
    search("a step down", THREE, &Bounds { step_downs: 1, ticks: 1, ..of_exposure() });
    search("a return", THREE, &Bounds { returns: 1, ticks: 0, ..of_exposure() });
}

#[test]
#[ignore = "takes a minute"]
fn larger_worlds_have_no_stale_read() {
    search("rounds", THREE, &Bounds { heartbeats: 1, ticks: 2, ..bounds() });
    search("a return", THREE, &Bounds { returns: 1, ticks: 1, ..of_exposure() });
    search("a step down", THREE, &Bounds { step_downs: 1, ..of_exposure() });
    search("a crash of the reader", THREE, &Bounds { crashes: 1, ticks: 1, ..of(2, of_exposure()) });
}

/// Returns the smallest world that fails without a rule.
fn where_it_shows(rule: Rule) -> ((u64, u64), Bounds) {
    match rule {
        Rule::OwnHold => (THREE, bounds()),
        Rule::Exposure | Rule::ReceivedBeforeTheAcknowledgement => (THREE, Bounds { ticks: 0, ..of_exposure() }),
        Rule::FollowersAreToldWhatIsExposed => (THREE, Bounds { ticks: 0, replications: 2, ..of_exposure() }),
        Rule::FormerLeaderKeepsTheExposedIndex => (THREE, Bounds { ticks: 0, step_downs: 1, ..of_exposure() }),
        Rule::Floor => (THREE, Bounds { ticks: 1, returns: 1, ..of_exposure() }),
        Rule::ReceivedIsComputed => {
            (THREE, Bounds { ticks: 0, writes: 2, replications: 2, crashes: 1, ..of(2, of_exposure()) })
        }
        // Logs must differ first, in three terms: random schedules find it. Schedules show the others: holds must differ,
        // or voters change twice.
        Rule::ReceivedIsOfTheTerm | Rule::LongestHoldIsRecorded | Rule::ChangeOfVotersWaits => (THREE, of_exposure()),
        Rule::RequestNumbersAreNew => (THREE, Bounds { ticks: 2, crashes: 1, ..of(2, bounds()) }),
        Rule::RecallBeforeATransfer => ((4, 3), of_transfer()),
        Rule::RestartHold => (THREE, Bounds { ticks: 1, crashes: 1, ..of(1, bounds()) }),
        Rule::OrderlyStopRecordsObligations => (THREE, Bounds { ticks: 1, stops: 1, ..of(1, bounds()) }),
    }
}

#[test]
fn the_absence_of_a_rule_is_found() {
    for rule in Rule::ALL.into_iter().filter(|rule| *rule != Rule::ReceivedIsOfTheTerm) {
        let (nodes, bounds) = where_it_shows(rule);
        let found = explore(&of_searches(nodes, Some(rule)), &bounds);
        let violation =
            found.violation.unwrap_or_else(|| panic!("without {rule:?} nothing fails in {} states", found.states));
        println!("without {rule:?}, after {} states:\n{violation}\n", found.states);
    }
}

/// Longer schedules, with more faults than a search can combine.
#[test]
fn random_schedules_have_no_stale_read_and_heal() {
    let mut all = walk::Walked::default();
    let fixed = [((2, 1), 0..200), ((3, 3), 200..800), ((4, 3), 800..1000), ((5, 5), 1000..1200)];
    let fixed = fixed.into_iter().map(|(nodes, seeds)| (of_walks(nodes, None), seeds));
    for (setup, seeds) in fixed.chain([(of_changing_walks(), 1200..1600)]) {
        for seed in seeds {
            let walked = walk::walk(&setup, seed, 3000)
                .unwrap_or_else(|error| panic!("{} of {} nodes vote, {error}", setup.voters, setup.nodes));
            all.changes += walked.changes;
            all.elections += walked.elections;
            all.exposed += walked.exposed;
            all.local += walked.local;
            all.granted += walked.granted;
            all.returned += walked.returned;
            all.expired += walked.expired;
            all.delays += walked.delays;
            all.slow += walked.slow;
        }
    }
    println!("{all:?}");
    let few = all.elections < 5000 || all.local < 50_000 || all.returned < 500 || all.expired < 2000;
    assert!(!few && all.delays > 500 && all.slow > 50 && all.changes > 200, "the schedules prove too little: {all:?}");
}

#[test]
fn random_schedules_find_the_absence_of_rules() {
    for rule in [
        Rule::Exposure,
        Rule::FollowersAreToldWhatIsExposed,
        Rule::ReceivedBeforeTheAcknowledgement,
        Rule::Floor,
        Rule::ReceivedIsOfTheTerm,
    ] {
        // Most take less than a hundred schedules, that of the entries of an earlier term 1,500.
        let found = (0..10_000).find_map(|seed| walk::walk(&of_walks((3, 3), Some(rule)), seed, 3000).err());
        let error = found.unwrap_or_else(|| panic!("without {rule:?} nothing fails"));
        assert!(error.contains("was exposed before"), "without {rule:?}: {error}");
    }
}
