//! Whole clusters on virtual time: a few hundred seeds of the soak.

use leasehold_raft::wire::{Change, MessageKind, Step, Transition};
use leasehold_raft::{CampaignError, Role};
use leasehold_testing::cluster::{Cluster, HOLD};
use leasehold_tests::simulation::{Clocks, FailureKind, Options, Outcome, Soak, plan, run, shrink, soak};
use std::time::Duration;

/// The number of seeds and threads of the short soak.
const SEEDS: u64 = 240;
const JOBS: usize = 2;

fn short_soak() -> Soak {
    Soak { first: 1, seeds: SEEDS, jobs: JOBS, clocks: Clocks::Within, until_failure: false }
}

#[test]
fn a_few_hundred_clusters_survive_what_their_seeds_plan() {
    let report = soak(short_soak(), || true, |_| {});
    let failures: Vec<String> = report
        .failures
        .iter()
        .map(|found| format!("seed {}: {}: {}", found.seed, found.failure.kind.name(), found.failure.what))
        .collect();
    assert!(failures.is_empty(), "{}\nreplay one: soak --seed N --replay", failures.join("\n"));
    assert_eq!(report.seeds, SEEDS);
    assert!(report.operations.lease_reads > report.operations.quorum_reads, "leases were hardly used");
    let missing = report.marks.missing();
    assert!(missing.is_empty(), "never reached in {SEEDS} seeds: {missing:?}");
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    for seed in [3, 11, 12] {
        let options = Options { trace: true, ..Options::default() };
        let first = run(seed, &options);
        assert!(first.trace.lines().count() > 100, "seed {seed} has a trace");
        let again = run(seed, &options);
        assert!(first.trace == again.trace, "seed {seed} has two different traces");
        // Recording a trace changes nothing.
        let untraced = run(seed, &Options::default());
        assert_eq!((untraced.events, untraced.simulated), (first.events, first.simulated));
        assert_eq!(untraced.operations, first.operations);
    }
}

#[test]
fn clocks_beyond_the_drift_are_found_out_and_the_schedule_is_shrunk() {
    let options = Soak { first: 1, seeds: 200, jobs: JOBS, clocks: Clocks::Beyond, until_failure: true };
    let report = soak(options, || true, |_| {});
    let found = report.failures.first().expect("a clock that stops or leaps breaks a lease within 200 seeds");
    let kinds = [FailureKind::LeaseOutlivedElection, FailureKind::StaleRead, FailureKind::NotLinearizable];
    assert!(kinds.contains(&found.failure.kind), "{:?}", found.failure);

    let options = Options { clocks: Clocks::Beyond, ..Options::default() };
    let planned = plan(found.seed, &options).len();
    let shrunk = shrink(found.seed, &options, &found.failure);
    let left = plan(found.seed, &shrunk.options).len();
    assert!(left < planned, "all of {planned} faults are left");
    let Outcome { failure, trace, .. } = run(found.seed, &Options { trace: true, ..shrunk.options });
    assert_eq!(failure, Some(shrunk.failure), "what was shrunk fails as it did while shrinking");
    assert!(trace.contains("broken"), "the trace says where it broke");
}

/// Found by the simulator: the engine lets any node campaign that is asked to, and panics when a node wins that is no member.
#[test]
fn a_removed_node_does_not_campaign_when_an_operator_says_so() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    let removed = leader % 3 + 1;
    let change = Change::new(Transition::Auto, vec![Step::Remove(removed)]);
    cluster.change(leader, &change).expect("a leader takes it");
    cluster.run_until("the removed node knows", |cluster| !cluster.replica(removed).membership().names(removed));
    cluster.kill(leader);
    cluster.run(Duration::from_secs(3));
    let campaign = cluster.with(removed, |replica, now| replica.campaign(now));
    assert_eq!(campaign, Err(CampaignError::NotVoter));
    cluster.run(Duration::from_secs(1));
    assert_ne!(cluster.leader(), Some(removed));
}

/// What the simulator does not reach: the engine of a voter is as reluctant as its hold, so a second campaign mostly comes when
/// both have ended anyway. Not where the voter's clock had failed, and its hold begins only when it is back.
#[test]
fn a_release_is_shown_again_with_later_requests_for_votes() {
    let mut cluster = Cluster::founded(3);
    let old = cluster.elect();
    let [target, voter] = [old % 3 + 1, (old + 1) % 3 + 1];
    cluster.run(Duration::from_millis(500));
    cluster.nodes.get_mut(&voter).unwrap().clock_failed = true;
    cluster.run(Duration::from_millis(200));

    cluster.with(old, |replica, now| replica.transfer(now, target)).expect("an active voter");
    let asked_at = cluster.now;
    let is = |kind| {
        move |message: &leasehold_testing::cluster::InTransit| message.envelope.messages.iter().any(|m| m.kind == kind)
    };
    let campaign_now = cluster.intercept(is(MessageKind::TimeoutNow)).pop().expect("the target has caught up");
    cluster.isolate(old);
    cluster.deliver(campaign_now);
    cluster.run_until("the first requests", |cluster| cluster.wire.iter().any(is(MessageKind::RequestVote)));
    assert!(!cluster.intercept(is(MessageKind::RequestVote)).is_empty(), "they are lost");

    cluster.run(HOLD * 9 / 10);
    cluster.nodes.get_mut(&voter).unwrap().clock_failed = false;
    // Once the hold of the voter is lifted, it may win as well.
    cluster.run_until("one of the two leads", |cluster| {
        [target, voter].into_iter().any(|id| cluster.replica(id).role() == Role::Leader)
    });
    let took = cluster.now - asked_at;
    assert!(took < HOLD * 7 / 4, "after {took:?}: the voter was held although it had been released");
}
