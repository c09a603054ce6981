//! Stopping a node in an orderly way, and starting it again.

mod support;

use leasehold_core::{Instant, NodeId};
use leasehold_node::ports::{Applied, Recovered};
use leasehold_node::{GroupOptions, GroupStart, Input, Node, NodeOptions, Output, RequestError, Role};
use leasehold_raft::wire::{HardState, Membership};
use std::time::Duration;
use support::{Cluster, GROUP, HOLD, List, TICK};

/// Stops a node and returns the record of it, if there is one.
fn stop(cluster: &mut Cluster, id: NodeId) -> Option<Duration> {
    let now = cluster.reading(id);
    cluster.node(id).stop(now);
    cluster.settle();
    for _ in 0..200 {
        if !cluster.node(id).is_stopped() {
            cluster.run(TICK);
        }
    }
    assert!(cluster.node(id).is_stopped());
    let now = cluster.reading(id);
    cluster.node(id).finish(now);
    let mut record = None;
    while let Some(output) = cluster.node(id).poll_output() {
        if let Output::Commit { batches, .. } = output {
            record = batches.iter().rev().find_map(|batch| batch.orderly_stop).or(record);
        }
    }
    record.flatten()
}

fn hand_over(cluster: &mut Cluster, id: NodeId) -> NodeId {
    let now = cluster.reading(id);
    let to = cluster.node(id).hand_over(now, GROUP).expect("another voter can take over");
    cluster.drain(id);
    to
}

#[test]
fn a_leader_that_stops_hands_over_and_no_request_fails() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(2 * HOLD);
    let before = [cluster.write(1, "a"), cluster.write(2, "b")];
    let to = hand_over(&mut cluster, 1);
    let during = [cluster.write(1, "c"), cluster.write(2, "d"), cluster.write(3, "e")];
    let reads = [cluster.read(1), cluster.read(2)];
    cluster.settle();
    cluster.run(TICK);
    assert!(cluster.leads(to), "without waiting for a hold");
    for ticket in before.into_iter().chain(during) {
        assert!(cluster.reply(ticket).is_some_and(|reply| reply.is_ok()), "{:?}", cluster.reply(ticket));
    }
    for ticket in reads {
        cluster.grant(ticket);
    }
    assert_eq!(cluster.applied(to).len(), 5);
}

#[test]
fn a_leader_hands_over_to_a_node_that_is_not_held() {
    for started in [2, 3] {
        let mut cluster = Cluster::led_by(1, 3);
        cluster.run(HOLD);
        // As if it had restarted a moment ago.
        cluster.isolate(started);
        cluster.run(HOLD / 2);
        cluster.heal();
        cluster.run(HOLD / 2);
        assert_eq!(hand_over(&mut cluster, 1), 5 - started);
    }
}

#[test]
fn a_leader_does_not_hand_over_to_a_silent_node() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(2 * HOLD);
    cluster.isolate(2);
    cluster.run(HOLD * 6 / 10);
    assert_eq!(hand_over(&mut cluster, 1), 3);
}

#[test]
fn a_leader_that_handed_over_records_that_it_is_held_by_nothing() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(2 * HOLD);
    hand_over(&mut cluster, 1);
    cluster.settle();
    cluster.run(4 * TICK);
    assert!(!cluster.leads(1), "the next leader has sent rounds, which this node did not acknowledge");
    assert_eq!(stop(&mut cluster, 1), Some(Duration::ZERO));
}

#[test]
fn a_follower_that_stops_waits_for_the_end_of_its_hold() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(2 * HOLD);
    let now = cluster.reading(2);
    cluster.node(2).stop(now);
    cluster.run(HOLD - 2 * TICK);
    assert!(!cluster.node(2).is_stopped());
    let write = cluster.write(1, "a");
    cluster.settle();
    assert_eq!((cluster.output(write), cluster.applied(2).len()), (1, 1), "it follows its leader meanwhile");
    cluster.run(3 * TICK);
    assert_eq!(stop(&mut cluster, 2), Some(Duration::ZERO));
}

#[test]
fn a_follower_that_stops_records_what_remains_of_a_long_hold() {
    let mut cluster = Cluster::with_options(3, |group| {
        let timing = leasehold_core::Options::new(4 * HOLD, 1000).with_heartbeat(2 * TICK);
        let config = leasehold_core::Config::new(timing).expect("it fits together");
        group.replica = leasehold_raft::Options::new(group.replica.id, config, 7);
    });
    cluster.leap(3 * HOLD);
    cluster.elect(1);
    cluster.run(2 * HOLD);
    let remaining = stop(&mut cluster, 2).expect("recorded");
    assert!((HOLD..=2 * HOLD).contains(&remaining), "{remaining:?}");
}

#[test]
fn a_stopping_node_acknowledges_no_round() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(2 * HOLD);
    let now = cluster.reading(2);
    cluster.node(2).stop(now);
    cluster.settle();
    let newest = |cluster: &Cluster| cluster.members[&2].node.group(GROUP).unwrap().replica().grantor().newest();
    let before = newest(&cluster);
    cluster.run(10 * TICK);
    assert_eq!(newest(&cluster), before);
}

#[test]
fn nothing_is_recorded_without_a_reading() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(HOLD);
    cluster.member(2).clock_failed = true;
    assert_eq!(stop(&mut cluster, 2), None);
}

fn options() -> GroupOptions {
    let timing = leasehold_core::Options::new(HOLD, 1000).with_heartbeat(2 * TICK);
    let config = leasehold_core::Config::new(timing).expect("it fits together");
    GroupOptions::new(GROUP, leasehold_raft::Options::new(1, config, 7), vec![1])
}

fn recovered(orderly_stop: Option<Duration>) -> Recovered {
    let membership = Membership { voters: vec![1], ..Membership::default() };
    Recovered {
        hard_state: HardState { term: 1, vote: 0, commit: 1 },
        compacted: (1, 1),
        applied: Applied { index: 1, term: 1, membership },
        longest_hold: HOLD,
        orderly_stop,
        ..Recovered::default()
    }
}

#[test]
fn the_record_of_an_orderly_stop_is_removed_before_anything_is_sent() {
    assert!(GroupStart::new(options(), recovered(None)).first_batch().is_none());
    let batch = GroupStart::new(options(), recovered(Some(HOLD / 2))).first_batch().expect("it must be removed");
    assert_eq!(batch.orderly_stop, Some(None));
}

#[test]
fn a_node_that_stopped_in_an_orderly_way_is_held_for_what_remained() {
    for (orderly_stop, held) in [(None, HOLD), (Some(HOLD / 2), HOLD / 2), (Some(Duration::ZERO), Duration::ZERO)] {
        let mut node: Node<List> = Node::new(NodeOptions::new(1, 7));
        let at = |after: Duration| {
            let nanos = (Duration::from_secs(100) + after).as_nanos() as u64;
            Some(Instant::from_nanos(nanos, nanos))
        };
        let start = GroupStart::new(options(), recovered(orderly_stop));
        node.add_group(at(Duration::ZERO), start, List::default()).expect("it starts");
        if held > Duration::ZERO {
            assert!(node.campaign(at(held - Duration::from_nanos(1)), GROUP).is_err(), "{orderly_stop:?}");
        }
        node.campaign(at(held), GROUP).expect("nothing holds it");
        while let Some(output) = node.poll_output() {
            if let Output::Commit { number, .. } = output {
                node.handle(at(held), Input::Committed { number });
            }
        }
        assert_eq!(node.status(GROUP).expect("the group").role, Role::Leader);
    }
}

#[test]
fn a_stopping_node_refuses_requests() {
    let mut cluster = Cluster::led_by(1, 3);
    let now = cluster.reading(2);
    cluster.node(2).stop(now);
    let (write, read) = (cluster.write(2, "a"), cluster.read(2));
    assert_eq!(cluster.reply(write), Some(Err(RequestError::Stopping)));
    assert_eq!(cluster.reply(read), Some(Err(RequestError::Stopping)));
}

#[test]
fn a_log_that_may_be_cut_shows_no_orderly_stop() {
    let cut = Recovered { log_may_be_cut: true, ..recovered(Some(Duration::ZERO)) };
    let mut options = options();
    options.accept_data_loss = true;
    let mut node: Node<List> = Node::new(NodeOptions::new(1, 7));
    let at = |after: Duration| Some(Instant::from_nanos(after.as_nanos() as u64, after.as_nanos() as u64));
    node.add_group(at(HOLD), GroupStart::new(options, cut), List::default()).expect("it starts");
    assert!(node.campaign(at(2 * HOLD - Duration::from_nanos(1)), GROUP).is_err(), "the removal may be cut off");
    node.campaign(at(2 * HOLD), GROUP).expect("the hold of a restart is over");
}
