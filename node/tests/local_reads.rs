//! Reads that followers answer by subleases.

mod support;

use bytes::Bytes;
use leasehold_node::{Ground, ReadGate, ReadMode};
use std::time::Duration;
use support::*;

/// Returns a cluster of three nodes, all of which read locally. Node 1 leads, and the others have subleases.
fn cluster() -> Cluster {
    let mut cluster = Cluster::with_options(3, |group| {
        group.local_reads = true;
        group.replica.starts = Some(1);
    });
    cluster.elect(1);
    for _ in 0..100 {
        if [2, 3].iter().all(|id| holds_sublease(&cluster, *id)) {
            return cluster;
        }
        cluster.run(TICK);
    }
    panic!("no subleases");
}

fn gate(cluster: &Cluster, id: u64) -> &ReadGate {
    cluster.members[&id].node.group(GROUP).expect("it hosts the group").read_gate()
}

fn holds_sublease(cluster: &Cluster, id: u64) -> bool {
    gate(cluster, id).try_read_local(cluster.reading(id)).is_some()
}

fn asked(cluster: &Cluster, id: u64) -> u64 {
    cluster.members[&id].node.router_statistics(GROUP).read_indexes_asked
}

#[test]
fn a_reader_answers_at_once_and_sends_nothing() {
    let mut cluster = cluster();
    let write = cluster.write(3, "a");
    cluster.settle();
    assert_eq!(cluster.output(write), 1);
    cluster.wire.clear();
    let read = cluster.read(2);
    let grant = cluster.grant(read);
    assert!(grant.ground == Ground::Sublease && !grant.as_follower);
    assert!(cluster.wire.is_empty());
    assert!(cluster.members[&2].node.status(GROUP).expect("it hosts it").applied >= grant.index);
    assert_eq!(gate(&cluster, 1).try_read_local(cluster.reading(1)), None, "the leader has a lease");
}

/// A write that was received touches its key until it is applied.
#[test]
fn key_filter() {
    let mut cluster = cluster();
    // Node 2 receives the write and does not acknowledge it, so its effect is shown nowhere.
    cluster.member(2).disk_stalled = true;
    let write = cluster.write(1, "a");
    cluster.settle();
    assert_eq!(cluster.reply(write), None);
    let leader = cluster.members[&1].node.status(GROUP).expect("it hosts it");
    assert!(leader.exposed < leader.commit, "node 3 has it");
    let touched = |cluster: &Cluster| ["a", "b"].map(|key| gate(cluster, 2).touched().may_contain(key.as_bytes()));
    assert_eq!(touched(&cluster), [true, false]);
    assert!(holds_sublease(&cluster, 2));
    // A read of its key does not wait for it, because the leader has not shown it either.
    let read = cluster.read(2);
    assert_eq!(cluster.reply(read), None);
    cluster.run(HOLD / 4);
    assert!(cluster.grant(read).as_follower);
    assert_eq!((cluster.reply(write), asked(&cluster, 2)), (None, 1));
    cluster.member(2).disk_stalled = false;
    cluster.run(HOLD / 4);
    assert_eq!(cluster.output(write), 1);
    assert_eq!(touched(&cluster), [false, false]);
    let read = cluster.read(2);
    assert!(cluster.grant(read).ground == Ground::Sublease);
    assert_eq!(asked(&cluster, 2), 1);
}

/// The entries with which a node starts touch every key.
#[test]
fn key_filter_after_a_restart() {
    let mut cluster = cluster();
    // Node 2 stores the write, and does not learn that it is committed.
    cluster.held = |message| message.to == 1 && message.is_raft();
    let write = cluster.write(1, "a");
    cluster.settle();
    assert_eq!(cluster.reply(write), None);
    cluster.member(2).options.replica.starts = Some(2);
    cluster.restart(2);
    assert!(gate(&cluster, 2).touched().may_contain(b"z"), "nothing is known of what was there");
    cluster.held = |_| false;
    cluster.run(HOLD + HOLD / 2);
    assert_eq!(cluster.output(write), 1);
    assert!(!gate(&cluster, 2).touched().may_contain(b"a") && holds_sublease(&cluster, 2));
}

#[test]
fn a_node_that_returned_its_sublease_asks_the_leader() {
    let mut cluster = cluster();
    let now = cluster.reading(2);
    cluster.node(2).set_local_reads(now, false);
    assert!(!holds_sublease(&cluster, 2), "at once");
    cluster.settle();
    let read = cluster.read(2);
    cluster.settle();
    assert!(cluster.grant(read).as_follower);
    cluster.run(TICK);
    let lender = cluster.members[&1].node.group(GROUP).expect("it hosts it").replica().lender();
    assert_eq!(lender.obligations().collect::<Vec<_>>(), [3]);
}

#[test]
fn a_reader_that_is_cut_off_does_not_read_what_its_leader_no_longer_waits_for() {
    let mut cluster = cluster();
    cluster.cut.extend([(1, 2), (2, 1), (3, 2), (2, 3)]);
    let write = cluster.write(1, "a");
    while cluster.reply(write).is_none() {
        assert!(cluster.leads(1), "its other follower is there");
        cluster.run(TICK);
    }
    assert!(!holds_sublease(&cluster, 2), "the sublease ended before the write was shown");
}

#[test]
fn a_disruption_of_the_counters_ends_the_sublease_of_a_follower() {
    for off in [Duration::ZERO, TICK / 2] {
        let mut cluster = cluster();
        cluster.leap(off);
        let now = cluster.reading(2).expect("a clock");
        assert!(holds_sublease(&cluster, 2) && !cluster.leads(2));
        cluster.node(2).handle_disruption(now);
        assert!(!holds_sublease(&cluster, 2), "before anything else is done");
    }
}

#[test]
fn a_step_back_between_two_ticks_ends_the_sublease_of_a_follower() {
    let mut cluster = cluster();
    cluster.member(2).clock_behind = 1_000;
    let now = cluster.reading(2);
    cluster.node(2).handle_timeout(now);
    assert!(!holds_sublease(&cluster, 2));
}

#[test]
fn a_leader_takes_no_more_than_it_can_keep_while_a_reader_delays_it() {
    const MIB: usize = 1 << 20;
    let mut cluster = cluster();
    cluster.isolate(3);
    let command = Bytes::from(vec![0; MIB]);
    let writes: Vec<_> = (0..80).map(|_| cluster.write(1, command.clone())).collect();
    cluster.settle();
    let more: Vec<_> = (0..20).map(|_| cluster.write(1, command.clone())).collect();
    cluster.settle();
    let group = cluster.members[&1].node.group(GROUP).expect("it hosts it");
    let (status, withheld) = (group.status(), group.replica().withheld_bytes());
    assert!(status.exposed < status.commit, "the reader delays the writes");
    assert_eq!(withheld, 80 * MIB, "{} MiB are committed and shown nowhere", withheld / MIB);
    assert!(writes.iter().chain(&more).all(|write| cluster.reply(*write).is_none()));
    cluster.run(2 * HOLD);
    assert!(writes.iter().chain(&more).all(|write| matches!(cluster.reply(*write), Some(Ok(_)))));
    assert_eq!(cluster.members[&1].node.group(GROUP).expect("it hosts it").replica().withheld_bytes(), 0);
}

#[test]
fn a_leader_that_reads_by_quorum_grants_no_sublease() {
    let mut cluster = Cluster::with_options(3, |group| {
        group.local_reads = true;
        group.replica.starts = Some(1);
        group.reads = if group.replica.id == 1 { ReadMode::Quorum } else { ReadMode::Lease };
    });
    cluster.elect(1);
    cluster.run(3 * HOLD);
    let statistics = cluster.members[&1].node.group(GROUP).expect("it hosts it").statistics();
    assert!(cluster.leads(1) && statistics.subleases_granted == 0);
    let read = cluster.read(2);
    cluster.settle();
    let grant = cluster.grant(read);
    assert!(grant.as_follower && grant.ground == Ground::Quorum);
}

#[test]
fn a_group_that_is_being_founded_learns_that_this_node_reads_locally_no_more() {
    let mut cluster = cluster();
    let now = cluster.reading(2);
    cluster.try_to_create(2, 1).expect("a new group");
    cluster.node(2).set_local_reads(now, false);
    cluster.drain(2);
    cluster.settle();
    [1, 3].into_iter().for_each(|id| cluster.create_group(id, 1));
    cluster.settle();
    cluster.leap(HOLD + TICK);
    cluster.elect_in(1, 1);
    cluster.run(HOLD);
    let lender = cluster.members[&1].node.group(1).expect("it hosts it").replica().lender();
    assert_eq!(lender.obligations().collect::<Vec<_>>(), [3]);
}
