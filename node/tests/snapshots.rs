//! Snapshots are encoded and decoded off the node, which goes on meanwhile.

mod support;

use leasehold_core::NodeId;
use leasehold_node::Input;
use leasehold_node::snapshot::{Work, WorkResult};
use leasehold_node::wire::Body;
use support::{Cluster, GROUP, HOLD, InTransit, List, TICK};

/// The number of entries beyond which the log is compacted.
const MAX_LOG_ENTRIES: usize = 10;

fn carries_snapshot(transit: &InTransit) -> bool {
    matches!(&transit.message.body, Body::Raft(envelope) if envelope.messages.iter().any(|m| m.snapshot.is_some()))
}

/// Returns a cluster led by node 1 in which node 3 is down for so long that it needs a snapshot of these many commands.
fn with_outdated_follower() -> (Cluster, usize) {
    let mut cluster = Cluster::with_options(3, |group| group.max_log_entries = MAX_LOG_ENTRIES);
    cluster.elect(1);
    cluster.isolate(3);
    let commands = 3 * MAX_LOG_ENTRIES;
    for _ in 0..commands {
        cluster.write(1, "a");
        cluster.run(TICK);
    }
    (cluster, commands)
}

/// Lets time pass until node 3 has a snapshot to decode. It stays undone.
fn until_decoding(cluster: &mut Cluster) {
    cluster.member(3).work_stalled = true;
    cluster.heal();
    for _ in 0..200 {
        cluster.run(TICK);
        if cluster.members[&3].work.iter().any(|work| matches!(work, Work::Decode { .. })) {
            return;
        }
    }
    panic!("no snapshot arrives");
}

#[test]
fn a_snapshot_is_decoded_and_installed_off_the_node() {
    let (mut cluster, commands) = with_outdated_follower();
    until_decoding(&mut cluster);
    let term = cluster.members[&3].node.status(GROUP).unwrap().term;
    cluster.run(2 * HOLD);
    assert_eq!(cluster.applied(3), [""; 0], "nothing is installed before it is decoded");
    assert!(cluster.leads(1), "node 3 goes on meanwhile");
    assert_eq!(cluster.members[&3].node.status(GROUP).unwrap().term, term);
    cluster.member(3).work_stalled = false;
    cluster.run(4 * TICK);
    assert_eq!(cluster.applied(3).len(), commands);
    let read = cluster.read(3);
    cluster.settle();
    assert!(cluster.grant(read).as_follower);
}

#[test]
fn one_snapshot_is_decoded_at_a_time() {
    let (mut cluster, commands) = with_outdated_follower();
    cluster.held = carries_snapshot;
    cluster.member(3).work_stalled = true;
    cluster.heal();
    let mut snapshot = None;
    for _ in 0..200 {
        cluster.run(TICK);
        snapshot = cluster.intercept(carries_snapshot).pop().or(snapshot);
    }
    let snapshot = snapshot.expect("one was sent");
    cluster.held = |_| false;
    for _ in 0..3 {
        cluster.deliver(snapshot.clone());
    }
    assert_eq!(cluster.members[&3].work.len(), 1);
    cluster.member(3).work_stalled = false;
    cluster.settle();
    // Its state is the present one, so it is dropped without being decoded.
    cluster.deliver(snapshot);
    assert_eq!(cluster.members[&3].work.len(), 0);
    cluster.run(4 * TICK);
    assert_eq!(cluster.applied(3).len(), commands);
}

#[test]
fn a_decoded_snapshot_that_is_outdated_is_dropped() {
    let (mut cluster, commands) = with_outdated_follower();
    until_decoding(&mut cluster);
    let Some(Work::Decode { group, from, envelope }) = cluster.member(3).work.pop_front() else { panic!("a decode") };
    let again = Work::<List>::Decode { group, from, envelope: envelope.clone() };
    let results = [Work::Decode { group, from, envelope }.run(), again.run()];
    for result in results.into_iter().flatten() {
        cluster.input(3, Input::WorkDone(result));
        cluster.settle();
        assert_eq!(cluster.applied(3).len(), commands);
    }
    assert!(cluster.members[&3].work.iter().all(|work| matches!(work, Work::Drop(_))));
    assert_eq!(cluster.members[&3].work.len(), 2, "the former state, and the one that was not installed");
}

#[test]
fn a_snapshot_that_cannot_be_read_is_refused_and_the_next_is_installed() {
    let (mut cluster, commands) = with_outdated_follower();
    until_decoding(&mut cluster);
    let Some(Work::Decode { group, from, envelope }) = cluster.member(3).work.pop_front() else { panic!("a decode") };
    cluster.input(3, Input::WorkDone(WorkResult::Decoded { group, from, envelope, state: None }));
    cluster.settle();
    assert_eq!(cluster.applied(3), [""; 0]);
    cluster.member(3).work_stalled = false;
    // The leader counts a snapshot as lost after 200 ticks.
    cluster.run(202 * TICK);
    assert_eq!(cluster.applied(3).len(), commands);
}

#[test]
fn a_write_that_a_snapshot_covers_is_uncertain() {
    let mut cluster = Cluster::with_options(3, |group| group.max_log_entries = MAX_LOG_ENTRIES);
    cluster.elect(1);
    cluster.isolate(1);
    let lost = cluster.write(1, "lost");
    let leader: NodeId = cluster.elect_other_than(1);
    for _ in 0..3 * MAX_LOG_ENTRIES {
        cluster.write(leader, "a");
        cluster.run(TICK);
    }
    assert_eq!(cluster.reply(lost), None);
    cluster.heal();
    cluster.run(HOLD);
    assert_eq!(cluster.reply(lost), Some(Err(leasehold_node::RequestError::Uncertain)));
    assert_eq!(cluster.applied(1), cluster.applied(leader));
}

#[test]
fn the_log_is_not_compacted_beyond_a_snapshot_until_it_can_be_sent() {
    let (mut cluster, _) = with_outdated_follower();
    cluster.member(1).work_stalled = true;
    cluster.heal();
    for _ in 0..200 {
        cluster.run(TICK);
        if !cluster.members[&1].work.is_empty() {
            break;
        }
    }
    assert!(matches!(cluster.members[&1].work.front(), Some(Work::Encode { .. })));
    for _ in 0..5 * MAX_LOG_ENTRIES {
        cluster.write(1, "b");
        cluster.run(TICK);
    }
    assert_eq!(cluster.members[&1].work.len(), 1, "one is encoded at a time");
    // One snapshot is enough, because the log still continues it.
    cluster.work(1);
    cluster.run(HOLD);
    assert_eq!(cluster.applied(3), cluster.applied(1));
    assert!(cluster.members[&1].work.is_empty());
    // The log is compacted again once as much was applied as half of it may hold.
    let entries = |cluster: &Cluster| {
        let replica = cluster.members[&1].node.group(GROUP).unwrap().replica();
        (1..=replica.commit()).filter(|index| replica.committed_entry(*index).is_some()).count()
    };
    assert!(entries(&cluster) >= 5 * MAX_LOG_ENTRIES);
    for _ in 0..MAX_LOG_ENTRIES {
        cluster.write(1, "c");
        cluster.run(TICK);
    }
    assert!(entries(&cluster) <= MAX_LOG_ENTRIES);
}
