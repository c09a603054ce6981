//! The failures that the protocol must survive, each as a short story with a trace.

mod found;
mod known;
mod pictures;
mod replicas;

use leasehold::replay;
use leasehold_core::NodeId;
use leasehold_storage::{Identity, OpenError, Storage};
use leasehold_testing::cluster::Cluster;
use leasehold_tests::exploration::SHOWN;
use leasehold_tests::journal::Journal;
use leasehold_tests::rules::{Rule, Rules};
use leasehold_tests::world::{StoryResult, World};
use std::collections::BTreeMap;

/// A story for the pure machines, and the rules it needs.
struct Scenario {
    name: &'static str,
    story: fn(&mut World) -> StoryResult,
    needs: &'static [Rule],
}

/// Runs a story with the product's machines, compares its trace with the stored one, and replays it.
fn tell(name: &str, story: fn(&mut World) -> StoryResult) {
    let mut world = World::real();
    if let Err(broken) = story(&mut world) {
        panic!("{name}: {}\n{}", broken.0, world.text());
    }
    if !world.is_elided() {
        assert_eq!(replay(world.text()).as_deref(), Ok(world.text()), "the trace replays to itself");
    }
    keep(name, world.text());
}

/// Compares the trace of a story with the stored one.
fn keep(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// A story for real replicas, with or without tampering.
type ReplicaStory = fn(bool, &mut Journal, NodeId) -> StoryResult;

/// A story for real replicas, and the way to break it.
struct ReplicaScenario {
    name: &'static str,
    founders: u64,
    story: ReplicaStory,
    broken_by: Breaking,
}

/// The way in which a story for replicas was shown to fail.
enum Breaking {
    /// The harness breaks the rule from outside, in a test.
    Tampering(&'static str),
    /// An edit of a copy of the product, made by hand.
    Mutation(&'static str),
}

impl Scenario {
    /// Returns the last column of this scenario's row in the docs.
    fn shown_by(&self) -> String {
        self.needs.iter().map(|rule| format!("`{rule:?}`")).collect::<Vec<_>>().join(", ")
    }
}

impl ReplicaScenario {
    /// Returns the last column of this scenario's row in the docs.
    fn shown_by(&self) -> String {
        match self.broken_by {
            Breaking::Tampering(how) => format!("tampering: {how}"),
            Breaking::Mutation(how) => format!("mutation: {how}"),
        }
    }
}

fn tell_replicas(name: &str, founders: u64, story: ReplicaStory) {
    let (mut journal, leader) = Journal::of(Cluster::founded(founders));
    if let Err(broken) = story(false, &mut journal, leader) {
        panic!("{name}: {}\n{}", broken.0, journal.text());
    }
    keep(name, journal.text());
}

macro_rules! scenarios {
    (pure { $($place:ident :: $name:ident needs $($rule:ident),+;)* }
     replicas { $($founders:literal founders :: $replicas:ident broken by $kind:ident $how:literal;)* }) => {
        const SCENARIOS: &[Scenario] = &[
            $(Scenario { name: stringify!($name), story: $place::$name, needs: &[$(Rule::$rule),+] },)*
        ];

        const REPLICA_SCENARIOS: &[ReplicaScenario] = &[
            $(ReplicaScenario {
                name: stringify!($replicas),
                founders: $founders,
                story: replicas::$replicas,
                broken_by: Breaking::$kind($how),
            },)*
        ];

        mod scenarios {
            $(#[test]
            fn $replicas() {
                crate::tell_replicas(stringify!($replicas), $founders, crate::replicas::$replicas);
            })*

            $(#[test]
            fn $name() {
                crate::tell(stringify!($name), crate::$place::$name);
            })*
        }
    };
}

scenarios! {
    pure {
        known::restart_forgets_promise needs RestartHold;
        known::delayed_campaign_now needs ReleaseMustCoverTheNewestAck;
        known::transfer_in_flight needs TransferReleases;
        known::check_quorum_is_no_lease needs LeaseEndsByTheClock;
        known::delayed_response needs AnchorIsTheOpening;
        known::paused_leader_with_buffered_ack needs AnchorIsTheOpening;
        known::suspended_leader needs LeaseAgesByTheFasterCounter;
        known::higher_term_response needs HigherTermDeposes;
        known::old_term_response needs AcksAreOfThisTerm;
        known::no_commit_in_term needs Barrier;
        known::reject_counts_as_ack needs AcksAreRounds;
        known::applied_behind_commit needs PermitShowsTheCommit;
        known::removed_peer_ghost needs OnlyVotersCount;
        known::grow_after_shrink needs QuorumFollowsTheVoters;
        known::leader_removes_itself needs OwnAckOnlyAsVoter;
        known::joint_one_half needs BothHalvesCount;
        known::learner_acks needs OnlyVotersCount;
        known::clock_fails needs NoReadingNoLease, EchoWithoutReadingHolds;
        known::slow_quorum_read needs AckCountsForItsRound;
        known::sample_before_anchor needs SampleBeforeTheAnchorIsGood;
        known::revoke_before_vote needs RevokedBeforeTheVoteLeaves;
        known::stale_renewal needs DepositionRevokes, AcksAreOfThisTerm;
        found::stale_now_frame needs ReadingBelongsToItsInput;
        found::stale_now_read needs ReadingBelongsToItsInput;
        found::clock_steps_back needs BackwardReadingVoids;
        found::grantor_clock_glitch needs GrantorIgnoresBackwardReadings;
        found::one_counter_frozen needs LeaseAgesByTheFasterCounter, HoldAgesByTheSlowerCounter;
        found::unseen_vote needs SuspendedLeaderHasNoLease;
        found::lowered_hold_restart needs LongestHoldIsRecorded;
        found::override_after_restart needs RestartHoldEndsOnlyByTime;
        found::transfer_target_held needs ReleaseLiftsTheHold;
        found::lost_vote_requests needs ReleaseIsShownAgain;
        found::many_rounds_slow_voter needs StampsAreShared;
        found::pending_transfer_rounds needs NoRoundWhileTransferring;
        found::rolling_hold_change needs PeersCheckHolds, LongestHoldIsRecorded;
        found::two_processes_one_folder needs OneProcessPerFolder;
    }
    replicas {
        3 founders::tick_burst_voter broken by Mutation
        "handle_envelope steps every Admission::Vote without asking may_vote_or_campaign";
        3 founders::tick_burst_candidate broken by Mutation
            "tick_is_due and may_campaign always return true";
        3 founders::operator_campaign broken by Mutation
            "campaign does not ask may_campaign";
        3 founders::forgotten_commit broken by Tampering
            "the hard state on disk has lost its commit index";
        1 founders::single_voter_unsynced_term broken by Mutation
        "Gate::admits always returns true";
        3 founders::two_transfers broken by Tampering
            "a late \"campaign now\" carries a release that covers every round";
        3 founders::hidden_transfer broken by Mutation
            "sync_lease_with_raft does not look at lead_transferee";
        4 founders::leader_without_quorum broken by Mutation
            "the engine is built with check_quorum off";
        3 founders::cut_off_reader broken by Tampering
            "a return is forged in the reader's name";
    }
}

#[test]
fn the_model_has_the_same_trace_as_the_product_in_every_scenario() {
    for scenario in SCENARIOS {
        let mut product = World::real();
        let mut model = World::model(Rules::ALL);
        assert_eq!((scenario.story)(&mut product), Ok(()), "{}", scenario.name);
        assert_eq!((scenario.story)(&mut model), Ok(()), "{}\n{}", scenario.name, model.text());
        assert_eq!(model.text(), product.text(), "{}", scenario.name);
    }
}

#[test]
fn every_scenario_fails_without_its_rule() {
    for scenario in SCENARIOS {
        for rule in scenario.needs {
            let mut world = World::model(Rules::without(*rule));
            let result = (scenario.story)(&mut world);
            assert!(result.is_err(), "{} passes without {rule:?}\n{}", scenario.name, world.text());
        }
    }
}

#[test]
fn scenarios_of_replicas_fail_when_the_harness_breaks_a_rule() {
    for scenario in REPLICA_SCENARIOS {
        if let Breaking::Tampering(how) = scenario.broken_by {
            let (mut journal, leader) = Journal::of(Cluster::founded(scenario.founders));
            let result = (scenario.story)(true, &mut journal, leader);
            assert!(result.is_err(), "{} passes although {how}\n{}", scenario.name, journal.text());
        }
    }
}

#[test]
fn every_switch_of_the_model_is_shown_by_a_scenario_or_by_the_enumeration() {
    for rule in Rule::switches() {
        let needed = SCENARIOS.iter().any(|scenario| scenario.needs.contains(&rule));
        assert!(needed || SHOWN.contains(&rule), "{rule:?}");
    }
}

#[test]
fn a_second_process_cannot_open_the_folder_of_a_running_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let identity = || Identity { cluster: "story".to_owned(), node: 3, founders: [1, 2, 3].into() };
    let running = Storage::open(folder.path(), identity()).expect("the first process");
    assert!(matches!(Storage::open(folder.path(), identity()), Err(OpenError::InUse { .. })));
    drop(running);
    assert!(Storage::open(folder.path(), identity()).is_ok(), "the folder is free after that process has ended");
}

/// Returns the name and the last cell of each row in the docs whose first cell is a name.
fn documented() -> BTreeMap<String, String> {
    let rows = include_str!("../../../docs/scenarios.md").lines().filter_map(|line| {
        let cells = line.strip_prefix("| `")?.strip_suffix(" |")?;
        let (name, cells) = cells.split_once("` | ")?;
        let last = cells.rsplit(" | ").next()?;
        Some((name.to_owned(), last.to_owned()))
    });
    let mut documented = BTreeMap::new();
    for (name, last) in rows {
        assert_eq!(documented.insert(name.clone(), last), None, "{name} has two rows in docs/scenarios.md");
    }
    documented
}

#[test]
fn the_docs_list_these_scenarios_and_switches_and_no_others() {
    let pure = SCENARIOS.iter().map(|scenario| (scenario.name.to_owned(), scenario.shown_by()));
    let replicas = REPLICA_SCENARIOS.iter().map(|scenario| (scenario.name.to_owned(), scenario.shown_by()));
    let rules = Rule::switches().filter_map(|rule| Some((format!("{rule:?}"), rule.off()?.to_owned())));
    let there: BTreeMap<String, String> = pure.chain(replicas).chain(rules).collect();
    assert_eq!(SCENARIOS.len() + REPLICA_SCENARIOS.len(), 45);
    assert_eq!(documented(), there, "docs/scenarios.md on the left, the tests on the right");
}
