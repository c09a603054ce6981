//! Real processes under real faults, with histories checked for linearizability. Two tests show that violations are found.
//!
//! A longer run takes `NEMESIS_SECONDS`, `NEMESIS_SEED` and `NEMESIS_RUNTIME` (`tokio` or `smol`). With an even seed the
//! nodes run with `--local-reads`, and with one that three divides, with four groups:
//!
//! `cargo test -p leasehold-tests --test nemesis -- --ignored --nocapture`

use leasehold_tests::nemesis::{Direction, Faketime, Fault, Options, Rig, Runtime, Summary, run};
use leasehold_tests::processes::{PATIENCE, eventually};
use leasehold_tests::proxy::Passage;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lets one cluster run at a time, because there are few processors.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn options(seconds: u64, faults: &[Fault]) -> Options {
    Options { seconds, seed: 1, runtime: Runtime::Tokio, faults: faults.to_vec(), local_reads: false, groups: 1 }
}

fn assert_good(summary: &Summary) {
    assert!(summary.is_good(), "{summary}");
    assert!(summary.reads.ok > 0 && summary.writes.ok > 0 && summary.keys > 0, "{summary}");
    assert!(summary.reads_lease > 0, "leases were used, not only safe:\n{summary}");
}

#[test]
fn a_cluster_stays_linearizable_and_recovers_from_every_fault() {
    let _alone = alone();
    let faults = [Fault::PauseLeader, Fault::IsolateLeader, Fault::SlowLinksAndKillLeader];
    let summary = run(&options(6, &faults));
    assert_good(&summary);
}

#[test]
fn a_cluster_whose_followers_read_locally_stays_linearizable_and_recovers_from_every_fault() {
    let _alone = alone();
    let faults = [Fault::PauseFollower, Fault::KillFollower, Fault::SplitPair, Fault::PauseLeader];
    let summary = run(&Options { local_reads: true, ..options(8, &faults) });
    assert_good(&summary);
    assert!(summary.reads_local > 0, "subleases were used, not only safe:\n{summary}");
}

#[test]
fn a_cluster_of_several_groups_stays_linearizable_and_recovers_from_every_fault() {
    let _alone = alone();
    let faults = [Fault::KillLeader, Fault::IsolateLeader, Fault::PauseLeader];
    let summary = run(&Options { groups: 4, ..options(8, &faults) });
    assert_good(&summary);
}

#[test]
fn a_cluster_that_loses_all_its_disks_is_detected() {
    let _alone = alone();
    let mut rig = Rig::start(&options(0, &[]), &[], |_| {});
    // Otherwise a client may write each key again before it is read, as if nothing had been lost.
    rig.stop_clients();
    let written = eventually(PATIENCE, || rig.leader().filter(|leader| rig.write_everywhere(*leader)));
    written.expect("there is a leader");
    for id in rig.nodes() {
        rig.kill(id);
    }
    // Two of three would not be enough: they found no cluster without the third, whose folder belongs to one.
    for id in rig.nodes() {
        rig.lose_disk(id);
        rig.restart(id);
    }
    let read = eventually(PATIENCE, || rig.leader().filter(|leader| rig.read_everywhere(*leader)));
    read.expect("a new cluster, with nothing on its disks");
    let summary = rig.finish();
    assert!(!summary.is_good(), "{summary}");
    assert!(summary.to_string().contains("not linearizable"), "{summary}");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{variable}={value:?}")))
}

#[test]
#[ignore = "takes a minute or as long as NEMESIS_SECONDS says"]
fn every_fault_repeatedly() {
    let _alone = alone();
    let runtime = match std::env::var("NEMESIS_RUNTIME").as_deref() {
        Ok("smol") => Runtime::Smol,
        _ => Runtime::Tokio,
    };
    let seed = number("NEMESIS_SEED", u64::from(std::process::id()));
    let (seconds, local_reads) = (number("NEMESIS_SECONDS", 60), seed.is_multiple_of(2));
    let groups = if seed.is_multiple_of(3) { 4 } else { 1 };
    let summary = run(&Options { seconds, seed, runtime, faults: Fault::ALL.to_vec(), local_reads, groups });
    println!("{summary}");
    assert_good(&summary);
}

/// Runs a leader with slow clocks, followers with fast ones and a partition, and returns what the leader's clients saw.
fn isolated_slow_leader(faketime: &Faketime, [slow, fast]: [f64; 2], drift_ppm: &str) -> Summary {
    let flags = ["--heartbeat-ms", "20", "--drift-ppm", drift_ppm];
    let mut rig = Rig::start(&options(0, &[]), &flags, |cluster| {
        [1, 2, 3].into_iter().for_each(|id| faketime.apply(cluster, id, slow));
    });
    let leader = rig.await_leader(PATIENCE).expect("it has just been there");
    for id in rig.nodes().into_iter().filter(|id| *id != leader) {
        rig.kill(id);
        rig.set_rate(faketime, id, fast);
        rig.restart(id);
        // It follows the leader before the next one is killed, so that the leader stays.
        rig.await_leader(PATIENCE);
        std::thread::sleep(Duration::from_secs(2));
    }
    rig.isolate(leader, Direction::BothWays, Passage::Stalled);
    rig.probe(leader, Duration::from_secs(4));
    rig.recover();
    rig.finish()
}

#[test]
#[ignore = "builds the server for libfaketime"]
fn clocks_as_wrong_as_allowed_are_safe_and_far_beyond_that_a_stale_read_is_found() {
    let _alone = alone();
    let faketime = match Faketime::prepare() {
        Ok(faketime) => faketime,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let allowed = isolated_slow_leader(&faketime, [0.951, 1.049], "50000");
    println!("{allowed}");
    assert_good(&allowed);
    // Then the followers hold for a quarter of a second, and the leader trusts its lease for four.
    let beyond = isolated_slow_leader(&faketime, [0.25, 4.0], "1000");
    println!("{beyond}");
    assert!(beyond.to_string().contains("not linearizable"), "the rig is blind:\n{beyond}");
}
