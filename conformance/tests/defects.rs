//! A small engine passes. Each defect fails, and the report names the rule.

mod small;

use leasehold_conformance::story::Verdict;
use leasehold_conformance::{Report, Rule, SCHEDULES, check, check_seeded};
use small::{Defect, Small};
use std::collections::BTreeSet;

fn with(defect: Option<Defect>) -> Report {
    check(|start| Small::new(start, defect))
}

#[test]
fn a_correct_engine_passes_and_nothing_is_skipped() {
    with(None).assert_passed();
}

#[test]
fn a_report_says_what_is_wrong_and_what_to_do() {
    insta::assert_snapshot!(with(Some(Defect::VotesWhileHeld)).to_string());
    insta::assert_snapshot!(with(Some(Defect::DropsActions)).to_string());
}

#[test]
fn a_term_may_be_led_again_with_newer_rounds() {
    with(Some(Defect::LeadsItsTermAgainWithNewRounds)).assert_passed();
}

#[test]
fn a_correct_engine_passes_with_other_seeds() {
    for seed in 1..8 {
        check_seeded(seed, |start| Small::new(start, None)).assert_passed();
    }
}

#[test]
fn a_report_follows_from_its_seed() {
    let report = || check_seeded(3, |start| Small::new(start, Some(Defect::KeepsAReading))).to_string();
    assert_eq!(report(), report());
}

#[test]
#[should_panic(expected = "poll_output must return None")]
fn outputs_without_end_are_reported() {
    let _ = with(Some(Defect::RepeatsAnOutput));
}

#[test]
#[should_panic(expected = "messages are on their way")]
fn messages_without_bound_are_reported() {
    let _ = with(Some(Defect::AnswersTwice));
}

#[test]
fn a_schedule_is_not_run_if_nothing_has_the_kind_that_it_holds() {
    let not_run = |defect| {
        let report = with(Some(defect));
        assert_eq!(report.broken(), None, "{report}");
        let not_run = report.checked().iter().filter(|checked| !checked.verdict.is_safe());
        not_run.map(|checked| checked.schedule.name).collect::<Vec<_>>()
    };
    assert_eq!(not_run(Defect::NamesNoKinds).len(), SCHEDULES.len());
    let transfers = ["delayed_campaign_now", "transfer_in_flight", "two_transfers", "hidden_transfer"];
    assert_eq!(not_run(Defect::NamesNoOrders), transfers);
}

/// The defects that return nothing stale and break no promise. Something that must happen does not.
const ONLY_SLOW: &[Defect] = &[
    Defect::LeadsWithoutAQuorum,
    Defect::DropsActions,
    Defect::ForgetsChanges,
    Defect::CampaignsLate,
    Defect::ReadsByQuorum,
    Defect::SendsNoRelease,
    Defect::NeverResumes,
];

macro_rules! defects {
    ($($test:ident: $defect:ident => $rule:ident;)*) => {
        $(#[test] fn $test() {
            let report = with(Some(Defect::$defect));
            assert_eq!(report.broken(), Some(Rule::$rule), "{report}");
            // Most are unsafe: a defect that only stops progress no longer tests what finds the unsafe engine.
            let failed = report.checked().iter().find(|checked| checked.broken().is_some()).expect("a rule is broken");
            let is_unavailable = matches!(failed.verdict, Verdict::Unavailable(..));
            assert_eq!(is_unavailable, ONLY_SLOW.contains(&Defect::$defect), "{report}");
        })*

        #[test]
        fn every_rule_has_a_defect() {
            let rules: BTreeSet<Rule> = [$(Rule::$rule),*].into();
            assert_eq!(rules, Rule::ALL.iter().copied().collect());
        }
    };
}

defects! {
    reads_wait_for_their_index: ReadsBeforeItApplies => ReadIndex;
    reads_return_what_is_committed: AppliesEarly => Committed;
    elections_are_in_time: CampaignsLate => ElectionTimeout;
    commits_are_reported_first: ReportsCommitsLate => ReadIndex;
    requests_for_votes_are_gated: VotesWhileHeld => VoteGate;
    ticks_are_gated: CampaignsByTick => TickGate;
    commands_are_gated: CampaignsByCommand => CommandGate;
    orders_to_campaign_are_gated: CampaignsByOrder => TransferGate;
    answers_to_pre_votes_are_gated: CampaignsByPreVotes => PreVoteGate;
    holds_survive_a_restart: ForgetsItsHold => RestartHold;
    a_term_is_led_once: LeadsItsTermAgain => TermLedOnce;
    a_term_is_led_once_also_if_messages_are_opaque: LeadsItsTermAgainUnseen => TermLedOnce;
    votes_out_of_sight_suspend_the_lease: VotesUnsuspended => SuspendFirst;
    suspensions_end: NeverResumes => SuspendFirst;
    readings_are_fresh: KeepsAReading => FreshReading;
    both_counters_are_read: ReadsOneCounter => BothCounters;
    a_missing_reading_stays_missing: ReplacesAMissingReading => MissingReading;
    a_reading_may_go_back: MakesReadingsMonotonic => BackwardReading;
    step_downs_are_reported_first: ReportsStepDownsLate => StepDownFirst;
    transfers_are_reported_first: MakesUpReleases => TransferFirst;
    releases_travel: SendsNoRelease => Release;
    senders_are_accepted_first: AcknowledgesOldLeaders => AcceptFirst;
    acknowledgements_are_echoes: TakesAnswersForAcknowledgements => Echo;
    the_barrier_opens_the_term: HasNoBarrier => Barrier;
    changes_of_voters_are_reported: ReportsNoVoters => Voters;
    changes_of_voters_are_reported_step_by_step: ReportsVotersEarly => Voters;
    changes_of_voters_happen: ForgetsChanges => Voters;
    learners_are_no_voters: ReportsLearners => Voters;
    a_leader_without_a_quorum_steps_down: LeadsWithoutAQuorum => CheckQuorum;
    reads_use_the_lease: ReadsByQuorum => Renewal;
    actions_are_taken: DropsActions => Actions;
    quorum_reads_await_their_round: TakesAnyConfirmation => QuorumRound;
    quorum_reads_await_a_quorum: AwaitsNoConfirmation => QuorumRound;
    timings_are_compared: AcceptsAnyTiming => Timing;
    nodes_are_counted: CountsMessages => Repetition;
}
