//! The machines for many groups: every state of small worlds, long random schedules, and one scenario for each rule.
//!
//! `cargo test -p leasehold-core --test groups -- --nocapture` prints the number of states of each world, and the shortest
//! schedule that fails without each rule. The larger worlds take two minutes: `-- --ignored --nocapture`.
#![cfg(not(loom))]

mod node;
mod scenarios;
mod search;
mod walk;

use leasehold_core::{Config, Options};
use node::{Rule, Setup};
use search::{Bounds, DRIFT_PPM, FAST_TICK, Found, SLOW_TICK, explore};
use std::time::Duration;

const TWO: &[u64] = &[1, 2];
const THREE: &[u64] = &[1, 2, 3];

/// A hold of two fast ticks, and the lease it covers: two slow ones, to the nanosecond.
fn setup(voters: &[u64], off: Option<Rule>, reports_terms: bool) -> Setup {
    let options = Options::new(Duration::from_nanos(2 * FAST_TICK), DRIFT_PPM)
        .with_lease(Duration::from_nanos(2 * SLOW_TICK))
        .with_heartbeat(Duration::from_nanos(1));
    let config = Config::new(options).expect("the longest lease that the hold covers");
    let nodes = voters.len().max(3) as u64;
    Setup { config, nodes, voters: voters.to_vec(), off, reports_terms }
}

fn search(world: &str, voters: &[u64], bounds: &Bounds) -> Found {
    let found = explore(&setup(voters, None, bounds.heals), bounds);
    println!("{world}: {} states; {} states of a node, {} runs of one", found.states, found.nodes, found.runs);
    if let Some(violation) = &found.violation {
        panic!("{world}:\n{violation}");
    }
    // A world without leases and elections would prove nothing.
    assert!(found.leases.contains(&1), "{world}: the first leader never had a lease");
    assert_eq!(found.elected, bounds.terms, "{world}: the last term elected no leader");
    found
}

/// Three ticks are the shortest time in which a hold can end and a later lease be taken.
fn bounds() -> Bounds {
    Bounds { ticks: 3, terms: 2, ..Bounds::default() }
}

/// Only node 2 decides: nodes 1 and 3 do not hear each other.
fn cut() -> Bounds {
    Bounds { cut: true, ..bounds() }
}

/// The group rests under node 1, and each state must heal.
fn at_rest() -> Bounds {
    Bounds { ticks: 1, terms: 1, at_rest: true, heals: true, ..Bounds::default() }
}

#[test]
fn no_lease_outlives_an_election() {
    search("three voters", THREE, &bounds());
    search("rounds", THREE, &Bounds { rounds: 2, ..cut() });
    search("a restart", THREE, &Bounds { rounds: 1, restarts: 1, ..cut() });
    search("a transfer", THREE, &Bounds { rounds: 1, transfers: 1, shows: 1, ..cut() });
    search("a replica hosted again", THREE, &Bounds { rounds: 1, hostings: 1, ..cut() });
    search("votes in another group", THREE, &Bounds { rounds: 1, votes_elsewhere: 2, shows: 1, ..cut() });
    search("a failing clock", THREE, &Bounds { rounds: 1, failures: 1, ..cut() });
    search("a backward clock", THREE, &Bounds { rounds: 1, steps_back: 1, ..cut() });
    search("a suspended machine", THREE, &Bounds { rounds: 1, suspends: 1, ..cut() });
    let found = search("two voters, two elections", TWO, &Bounds { terms: 3, ticks: 4, rounds: 1, ..bounds() });
    assert!(found.leases.contains(&2));
}

#[test]
#[ignore = "takes a minute"]
fn no_lease_outlives_an_election_in_larger_worlds() {
    search("rounds", THREE, &Bounds { rounds: 1, ticks: 2, ..bounds() });
    search("a restart", THREE, &Bounds { restarts: 1, ..bounds() });
    search("a transfer", THREE, &Bounds { transfers: 1, ..bounds() });
    search("a failing clock", THREE, &Bounds { failures: 1, ..bounds() });
    search("a backward clock", THREE, &Bounds { steps_back: 1, ..bounds() });
    search("suspended machines", THREE, &Bounds { suspends: 2, ..bounds() });
    search("a restart and a transfer", THREE, &Bounds { restarts: 1, transfers: 1, ..cut() });
    search("two restarts", THREE, &Bounds { rounds: 1, restarts: 2, ..cut() });
}

#[test]
fn every_state_heals() {
    let active = Bounds { ticks: 1, heals: true, ..bounds() };
    search("two voters", TWO, &active);
    search("three voters", THREE, &Bounds { terms: 1, ..active });
    search("a transfer", TWO, &Bounds { transfers: 1, ..active });
    search("a leader that gives up", TWO, &Bounds { resignations: 1, ..at_rest() });
    search("a leader that gives up, and a restart", TWO, &Bounds { resignations: 1, restarts: 1, ..at_rest() });
    search("a node that dies", THREE, &Bounds { ticks: 0, deaths: 1, ..at_rest() });
    search("a replica hosted again", TWO, &Bounds { hostings: 1, resignations: 1, ..at_rest() });
    search("clocks", TWO, &Bounds { failures: 1, steps_back: 1, ..at_rest() });
    let elsewhere = Bounds { ticks: 2, deaths: 1, votes_elsewhere: 2, silent: true, ..at_rest() };
    search("votes in another group", THREE, &elsewhere);
}

#[test]
#[ignore = "takes half a minute"]
fn every_state_of_larger_worlds_heals() {
    search("a leader that gives up", THREE, &Bounds { resignations: 1, ..at_rest() });
    search("a restart", THREE, &Bounds { ticks: 0, restarts: 1, ..at_rest() });
    search("a leader that gives up, and two restarts", TWO, &Bounds { resignations: 1, restarts: 2, ..at_rest() });
    search("two leaders", TWO, &Bounds { terms: 2, ticks: 3, resignations: 1, ..at_rest() });
    search("a node that dies", THREE, &Bounds { deaths: 1, ..at_rest() });
}

/// Returns the smallest world that fails without a rule.
fn where_it_shows(rule: Rule) -> (&'static [u64], Bounds) {
    match rule {
        Rule::AttachedVoterElectsNoOther => (THREE, cut()),
        Rule::RestartHold => (THREE, Bounds { restarts: 1, ..cut() }),
        Rule::EpochsAreNewAfterARestart => (THREE, Bounds { restarts: 1, rounds: 1, ..cut() }),
        Rule::EpochOfTheEchoIsThatOfTheAttachment => (THREE, Bounds { rounds: 1, ..cut() }),
        Rule::ReleaseMustCoverTheAttachment | Rule::TransferEndsTheLease | Rule::ReleasedAttachmentsDoNotCount => {
            (THREE, Bounds { transfers: 1, ..cut() })
        }
        Rule::BackwardReadingEndsAllLeases => (THREE, Bounds { steps_back: 1, ..cut() }),
        Rule::AttachmentOutlivesTheReplica => (THREE, Bounds { hostings: 1, ..cut() }),
        Rule::SupportThatEndedIsWithdrawnByATimer => (THREE, Bounds { deaths: 1, ..at_rest() }),
        Rule::WithdrawalWakesEveryGroup => {
            (THREE, Bounds { ticks: 2, deaths: 1, votes_elsewhere: 2, silent: true, ..at_rest() })
        }
        Rule::ReleaseWakesTheGroup | Rule::EndedLeadershipIsAnnounced | Rule::ReleasedOfferIsOutOfDate => {
            (TWO, Bounds { resignations: 1, ..at_rest() })
        }
        Rule::UnwantedAttachmentIsReleased | Rule::RestNamesTheAttachment => {
            (TWO, Bounds { resignations: 1, restarts: 1, ..at_rest() })
        }
    }
}

#[test]
fn the_absence_of_a_rule_is_found() {
    for rule in Rule::ALL {
        let (voters, bounds) = where_it_shows(rule);
        let found = explore(&setup(voters, Some(rule), bounds.heals), &bounds);
        let violation =
            found.violation.unwrap_or_else(|| panic!("without {rule:?} nothing fails in {} states", found.states));
        println!("without {rule:?}, after {} states:\n{violation}\n", found.states);
    }
}

/// Longer schedules, with more faults than a search can combine.
#[test]
fn random_schedules_have_no_stale_lease_and_heal() {
    let (mut leases, mut elections) = (0, 0);
    for (voters, seeds) in [(TWO, 0..200), (THREE, 200..1000), (&[1, 2, 3, 4, 5], 1000..1400)] {
        for seed in seeds {
            let walked = walk::walk(&setup(voters, None, true), seed, 3000).unwrap_or_else(|error| panic!("{error}"));
            leases += walked.leases;
            elections += walked.elections;
        }
    }
    println!("{elections} elections, and {leases} steps with a lease");
    assert!(elections > 1000 && leases > 10_000, "{elections} elections, and {leases} steps with a lease");
}

#[test]
fn random_schedules_find_the_absence_of_rules() {
    for rule in [
        Rule::AttachedVoterElectsNoOther,
        Rule::EpochsAreNewAfterARestart,
        Rule::EpochOfTheEchoIsThatOfTheAttachment,
        Rule::TransferEndsTheLease,
    ] {
        // Restarts that meet late echoes are rare: that rule takes 4,000 schedules, the others less than a hundred.
        let mut errors = (0..20_000).filter_map(|seed| walk::walk(&setup(THREE, Some(rule), true), seed, 3000).err());
        // An election that comes late is no proof that stale reads are noticed.
        let is_stale = |error: String| error.contains("the lease of term") || error.contains("confirms a read");
        assert!(errors.any(is_stale), "without {rule:?} no read is stale");
    }
}
