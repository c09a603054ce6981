//! The routing of requests: each property holds although messages are lost, late or repeated.

mod support;

use bytes::Bytes;
use leasehold_node::wire::{Body, Message, PeerAnswer, PeerRequest, RequestId};
use leasehold_node::{Ground, Input, ReadMode, Request, RequestError};
use std::collections::BTreeSet;
use std::time::Duration;
use support::{Cluster, GROUP, HOLD, InTransit, NEWER, TICK, UNKNOWN};

/// Longer than a request may wait.
const PAST_DEADLINE: Duration = Duration::from_millis(5_200);

#[test]
fn a_write_on_a_follower_is_forwarded_and_executed_once() {
    let mut cluster = Cluster::led_by(1, 3);
    let ticket = cluster.write(2, "a");
    assert_eq!(cluster.wire.iter().filter(|transit| transit.is_write()).count(), 1);
    cluster.settle();
    assert_eq!(cluster.output(ticket), 1);
    cluster.run(2 * HOLD);
    for id in 1..=3 {
        assert_eq!(cluster.applied(id), ["a"], "node {id}");
    }
}

#[test]
fn a_repeated_request_is_executed_once() {
    let mut cluster = Cluster::led_by(1, 3);
    let ticket = cluster.write(2, "a");
    let request = cluster.wire.iter().find(|transit| transit.is_write()).expect("a forwarded write").clone();
    cluster.wire.push_back(request.clone());
    cluster.settle();
    cluster.deliver(request);
    cluster.settle();
    assert_eq!(cluster.output(ticket), 1);
    assert_eq!(cluster.applied(1), ["a"]);
    assert_eq!(cluster.members[&1].node.router_statistics(GROUP).requests_repeated, 2);
}

#[test]
fn a_repeated_answer_ends_no_other_request() {
    let mut cluster = Cluster::led_by(1, 3);
    let first = cluster.write(2, "a");
    cluster.held = InTransit::is_answer;
    cluster.settle();
    let answer = cluster.intercept(InTransit::is_answer).remove(0);
    cluster.held = InTransit::is_write;
    cluster.deliver(answer.clone());
    assert_eq!(cluster.output(first), 1);
    let second = cluster.write(2, "b");
    cluster.deliver(answer);
    assert_eq!(cluster.reply(second), None);
}

#[test]
fn an_answer_counts_only_from_the_node_that_was_asked() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.held = |transit| !transit.is_raft();
    let (write, read) = (cluster.write(2, "a"), cluster.read(2));
    for transit in cluster.intercept(|transit| !transit.is_raft()) {
        let Body::Request { id, request } = transit.message.body else { panic!("a request") };
        let answer = match request {
            PeerRequest::ReadIndex => PeerAnswer::ReadIndex { index: 1, by_lease: true },
            PeerRequest::Propose { .. } => PeerAnswer::Busy,
            PeerRequest::Outcome => panic!("the leader has not changed"),
        };
        let other_boot = RequestId { boot: id.boot + 1, ..id };
        for (from, id) in [(3, id), (1, other_boot)] {
            let message = Message { group: GROUP, body: Body::Answer { id, answer: answer.clone() } };
            cluster.input(2, Input::Messages { from, messages: vec![message] });
        }
    }
    assert_eq!((cluster.reply(write), cluster.reply(read)), (None, None));
}

#[test]
fn a_write_that_was_certainly_not_executed_is_tried_again() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.member(2).cannot_send = true;
    let ticket = cluster.write(2, "a");
    cluster.run(2 * TICK);
    assert_eq!(cluster.reply(ticket), None);
    cluster.member(2).cannot_send = false;
    cluster.run(2 * TICK);
    assert_eq!(cluster.output(ticket), 1);
}

#[test]
fn an_uncertain_write_is_never_tried_again() {
    let mut cluster = Cluster::led_by(1, 3);
    let ticket = cluster.write(2, "a");
    assert_eq!(cluster.intercept(InTransit::is_write).len(), 1);
    cluster.isolate(1);
    cluster.elect_other_than(1);
    cluster.run(2 * HOLD);
    assert_eq!(cluster.reply(ticket), Some(Err(RequestError::Uncertain)));
    cluster.heal();
    cluster.run(PAST_DEADLINE);
    assert_eq!(cluster.applied(3), [""; 0]);
}

#[test]
fn a_forwarded_write_without_an_answer_ends_by_its_deadline() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.held = InTransit::is_answer;
    let ticket = cluster.write(2, "a");
    cluster.run(Duration::from_millis(4_900));
    assert_eq!(cluster.reply(ticket), None);
    cluster.run(4 * TICK);
    assert_eq!(cluster.reply(ticket), Some(Err(RequestError::Uncertain)));
    assert_eq!(cluster.applied(2), ["a"]);
}

#[test]
fn a_displaced_write_is_executed_by_the_next_leader() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.isolate(1);
    let ticket = cluster.write(1, "a");
    let next = cluster.elect_other_than(1);
    let other = cluster.write(next, "b");
    cluster.settle();
    cluster.heal();
    cluster.run(4 * TICK);
    assert_eq!((cluster.output(other), cluster.output(ticket)), (1, 2));
    assert_eq!(cluster.applied(1), ["b", "a"]);
}

#[test]
fn a_read_on_a_follower_waits_until_its_index_is_applied() {
    let mut cluster = Cluster::led_by(1, 3);
    // Node 2 learns of nothing new, and can still ask.
    cluster.held = |transit| transit.to == 2 && transit.is_raft();
    let write = cluster.write(1, "a");
    cluster.settle();
    assert_eq!(cluster.output(write), 1);
    let read = cluster.read(2);
    cluster.settle();
    assert_eq!(cluster.reply(read), None);
    assert_eq!(cluster.applied(2), [""; 0]);
    cluster.held = |_| false;
    cluster.settle();
    let grant = cluster.grant(read);
    assert!(grant.as_follower && grant.index <= cluster.members[&2].node.status(GROUP).unwrap().applied);
    assert_eq!(cluster.applied(2), ["a"]);
}

#[test]
fn reads_that_arrive_while_an_index_is_requested_share_the_next_request() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.held = |transit| !transit.is_raft();
    let mut reads = vec![cluster.read(2)];
    reads.extend((0..10).map(|_| cluster.read(2)));
    for expected in [1, 10] {
        let requests = cluster.intercept(InTransit::is_read_index);
        assert_eq!(requests.len(), 1, "one request at a time");
        requests.into_iter().for_each(|request| cluster.deliver(request));
        cluster.settle();
        let answers = cluster.intercept(InTransit::is_answer);
        let before = cluster.replies.len();
        answers.into_iter().for_each(|answer| cluster.deliver(answer));
        assert_eq!(cluster.replies.len() - before, expected);
    }
    reads.into_iter().for_each(|read| assert!(cluster.grant(read).as_follower));
}

#[test]
fn reads_of_one_turn_share_a_request() {
    let mut cluster = Cluster::led_by(1, 3);
    let reads: Vec<u64> = (0..10).map(|_| cluster.submit(2, Request::Read(ReadMode::Lease))).collect();
    cluster.drain(2);
    assert_eq!(cluster.wire.iter().filter(|transit| transit.is_read_index()).count(), 1);
    cluster.settle();
    reads.into_iter().for_each(|read| assert!(cluster.grant(read).as_follower));
    assert_eq!(cluster.members[&2].node.router_statistics(GROUP).read_indexes_asked, 1);
}

#[test]
fn a_read_whose_request_is_lost_asks_again() {
    let mut cluster = Cluster::led_by(1, 3);
    let read = cluster.read(2);
    assert_eq!(cluster.intercept(InTransit::is_read_index).len(), 1);
    cluster.run(Duration::from_millis(1_200));
    assert!(cluster.grant(read).as_follower);
}

#[test]
fn a_read_index_that_a_former_leader_owes_is_asked_of_the_next() {
    let mut cluster = Cluster::led_by(1, 3);
    let read = cluster.read(2);
    assert_eq!(cluster.intercept(InTransit::is_read_index).len(), 1);
    let now = cluster.reading(1);
    cluster.node(1).transfer(now, GROUP, 3).expect("an active voter");
    cluster.drain(1);
    cluster.settle();
    assert!(cluster.leads(3));
    assert!(cluster.grant(read).as_follower);
}

#[test]
fn a_request_without_a_leader_ends_by_its_deadline() {
    let mut cluster = Cluster::new(3);
    cluster.isolate(1);
    let (write, read) = (cluster.write(1, "a"), cluster.read(1));
    cluster.run(Duration::from_millis(4_900));
    assert_eq!((cluster.reply(write), cluster.reply(read)), (None, None));
    cluster.run(4 * TICK);
    let late = Some(Err(RequestError::TimedOut));
    assert_eq!((cluster.reply(write), cluster.reply(read)), (late.clone(), late));
}

#[test]
fn deadlines_hold_although_the_clock_gave_no_reading_at_first() {
    let mut cluster = Cluster::new(3);
    cluster.isolate(1);
    cluster.member(1).clock_failed = true;
    let ticket = cluster.write(1, "a");
    cluster.run(2 * TICK);
    cluster.member(1).clock_failed = false;
    cluster.run(PAST_DEADLINE);
    assert_eq!(cluster.reply(ticket), Some(Err(RequestError::TimedOut)));
}

#[test]
fn deadlines_hold_although_the_clock_gives_no_reading() {
    let mut cluster = Cluster::new(3);
    cluster.isolate(1);
    cluster.member(1).clock_failed = true;
    let ticket = cluster.write(1, "a");
    cluster.run(Duration::from_millis(4_900));
    assert_eq!(cluster.reply(ticket), None);
    cluster.run(4 * TICK);
    assert_eq!(cluster.reply(ticket), Some(Err(RequestError::TimedOut)));
}

#[test]
fn deadlines_hold_although_the_clock_steps_back() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.held = InTransit::is_answer;
    let ticket = cluster.write(2, "a");
    cluster.run(HOLD);
    cluster.member(2).clock_behind = 50_000_000_000;
    cluster.run(PAST_DEADLINE);
    assert_eq!(cluster.reply(ticket), Some(Err(RequestError::Uncertain)));
}

#[test]
fn a_request_is_tried_again_although_the_clock_steps_back() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.member(2).cannot_send = true;
    let ticket = cluster.write(2, "a");
    cluster.member(2).clock_behind = 50_000_000_000;
    cluster.member(2).cannot_send = false;
    cluster.run(4 * TICK);
    assert_eq!(cluster.output(ticket), 1);
}

#[test]
fn stopping_answers_every_request() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.held = |transit| !transit.is_raft();
    let (write, read) = (cluster.write(2, "a"), cluster.read(2));
    let now = cluster.reading(2);
    cluster.node(2).stop(now);
    let refused = cluster.write(2, "b");
    assert_eq!(cluster.reply(read), Some(Err(RequestError::Stopping)));
    assert_eq!(cluster.reply(refused), Some(Err(RequestError::Stopping)));
    assert!(!cluster.node(2).is_stopped(), "a forwarded write may still be answered");
    cluster.held = |_| false;
    cluster.settle();
    assert_eq!(cluster.output(write), 1);
    cluster.run(HOLD + TICK);
    assert!(cluster.node(2).is_stopped());
}

#[test]
fn a_leader_that_stops_still_answers_the_writes_it_proposed() {
    let mut cluster = Cluster::led_by(1, 3);
    let (own, forwarded) = (cluster.write(1, "a"), cluster.write(2, "b"));
    for request in cluster.intercept(InTransit::is_write) {
        cluster.deliver(request);
    }
    let now = cluster.reading(1);
    cluster.node(1).stop(now);
    cluster.drain(1);
    assert!(!cluster.node(1).is_stopped());
    cluster.settle();
    assert_eq!((cluster.output(own), cluster.output(forwarded)), (1, 2));
    assert!(cluster.node(1).is_stopped());
}

#[test]
fn requests_beyond_the_limit_are_refused() {
    let mut cluster = Cluster::new(3);
    for _ in 0..65_536 {
        cluster.submit(1, Request::Read(ReadMode::Lease));
    }
    let refused = cluster.read(1);
    assert_eq!(cluster.reply(refused), Some(Err(RequestError::Busy)));
    assert_eq!(cluster.replies.len(), 1);
}

#[test]
fn reads_that_timed_out_do_not_wait_for_their_round_any_more() {
    let mut cluster = Cluster::with_all_options(3, |node, _| node.request_timeout = 2 * HOLD);
    // The leader's first entry is not committed, so no round confirms a read. Heartbeats keep it in office.
    cluster.held = |transit| matches!(&transit.message.body, Body::Raft(envelope) if envelope.is_bulk());
    cluster.elect(1);
    let late = cluster.read(1);
    cluster.run(HOLD);
    let read = cluster.read(1);
    cluster.run(HOLD + 4 * TICK);
    assert!(cluster.leads(1));
    assert_eq!((cluster.reply(late), cluster.reply(read)), (Some(Err(RequestError::TimedOut)), None));
    cluster.held = |_| false;
    cluster.settle();
    assert!(cluster.grant(read).ground != Ground::Lease);
    let statistics = cluster.members[&1].node.group(GROUP).unwrap().statistics();
    assert_eq!(statistics.quorum_reads_confirmed, 1);
}

#[test]
fn abandoning_answers_every_request() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(2 * TICK);
    let write = cluster.write(1, "a");
    let read = cluster.submit(1, Request::Read(ReadMode::Lease));
    let outcomes = cluster.node(1).abandon();
    assert_eq!(outcomes.len(), 2);
    for (ticket, outcome) in outcomes {
        cluster.replies.insert(ticket, outcome);
    }
    assert!(cluster.grant(read).ground == Ground::Lease, "it was granted, and its reply not taken yet");
    assert_eq!(cluster.reply(write), Some(Err(RequestError::Uncertain)));
}

/// Has node 2 send requests to node 1 until that one's limit is reached.
fn fill_with_peer_requests(cluster: &mut Cluster) {
    cluster.member(1).disk_stalled = true;
    cluster.held = |transit| transit.from == 1;
    for sequence in 0..4096 {
        let id = RequestId { boot: 77, sequence };
        let body =
            Body::Request { id, request: PeerRequest::Propose { command: Bytes::from_static(b"x"), within: HOLD } };
        cluster.input(1, Input::Messages { from: 2, messages: vec![Message { group: GROUP, body }] });
    }
    cluster.wire.clear();
}

#[test]
fn a_large_write_has_more_time() {
    let mut cluster = Cluster::new(3);
    cluster.isolate(1);
    let (small, large) = (cluster.write(1, "a"), cluster.write(1, vec![0; 3_000_000]));
    cluster.run(PAST_DEADLINE);
    assert_eq!((cluster.reply(small), cluster.reply(large)), (Some(Err(RequestError::TimedOut)), None));
    cluster.run(Duration::from_secs(3));
    assert_eq!(cluster.reply(large), Some(Err(RequestError::TimedOut)));
}

#[test]
fn writes_of_peers_beyond_the_limit_are_refused() {
    let mut cluster = Cluster::led_by(1, 3);
    fill_with_peer_requests(&mut cluster);
    cluster.held = |transit| transit.is_raft();
    let ticket = cluster.write(2, "a");
    cluster.settle();
    assert_eq!(cluster.reply(ticket), Some(Err(RequestError::Busy)));
}

#[test]
fn writes_beyond_what_may_be_uncommitted_wait_for_those_before_them() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(2 * TICK);
    let large = Bytes::from(vec![0; 60 << 20]);
    cluster.held = InTransit::is_raft;
    let mut tickets: Vec<u64> = (0..5).map(|_| cluster.write(1, large.clone())).collect();
    tickets.push(cluster.write(2, large));
    cluster.settle();
    assert!(tickets.iter().all(|ticket| cluster.reply(*ticket).is_none()));
    cluster.held = |_| false;
    cluster.run(HOLD);
    // They are concurrent, so their order is open.
    let outputs: BTreeSet<u64> = tickets.iter().map(|ticket| cluster.output(*ticket)).collect();
    assert_eq!(outputs, (1..=6).collect());
}

#[test]
fn a_leader_that_refuses_writes_executes_none_and_serves_reads() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(2 * TICK);
    cluster.node(1).refuse_writes(true);
    let (own, forwarded, read) = (cluster.write(1, "a"), cluster.write(2, "b"), cluster.read(1));
    cluster.settle();
    for write in [own, forwarded] {
        assert_eq!(cluster.reply(write), Some(Err(RequestError::Busy)));
    }
    assert!(cluster.grant(read).ground == Ground::Lease);
    cluster.node(1).refuse_writes(false);
    cluster.node(2).refuse_writes(true);
    let (own, forwarded) = (cluster.write(1, "c"), cluster.write(2, "d"));
    cluster.settle();
    assert_eq!((cluster.output(own), cluster.output(forwarded)), (1, 2), "only a leader proposes");
    assert_eq!(cluster.applied(3), ["c", "d"]);
}

#[test]
fn a_node_stops_before_a_command_that_only_a_newer_release_knows() {
    let mut cluster = Cluster::led_by(1, 3);
    let before = cluster.write(1, "a");
    // As a leader of the newer release proposes it.
    let (newer, after) = (cluster.write(1, UNKNOWN), cluster.write(1, "b"));
    cluster.settle();
    cluster.run(TICK);
    assert_eq!(cluster.output(before), 1);
    for ticket in [newer, after] {
        assert_eq!(cluster.reply(ticket), Some(Err(RequestError::Uncertain)));
    }
    // The next leader stops too.
    cluster.run(6 * HOLD);
    let mut stopped = Vec::new();
    for (id, member) in &cluster.members {
        let disk = &member.groups[&GROUP].disk;
        assert_eq!(disk.records.len(), 1, "node {id}");
        assert_eq!(member.node.group(GROUP).is_none(), member.halted.is_some());
        stopped.extend(member.halted.map(|at| (*id, at - disk.applied.index)));
    }
    assert!(stopped.len() >= 2 && stopped.iter().all(|(_, next)| *next == 1), "{stopped:?}");
    let refused = cluster.read(1);
    assert_eq!(cluster.reply(refused), Some(Err(RequestError::Halted)));
}

#[test]
fn a_group_that_stops_before_an_unknown_command_costs_the_others_nothing() {
    for applies_on_thread in [false, true] {
        let mut cluster = Cluster::with_groups(3, 3, |_, group| group.applies_on_thread = applies_on_thread);
        cluster.leap(HOLD + TICK);
        cluster.settle();
        (0..3).for_each(|group| cluster.elect_in(1, group));
        cluster.run(2 * TICK);
        let lost = cluster.submit_to(1, 1, Request::Write(UNKNOWN.into()));
        cluster.drain(1);
        cluster.settle();
        cluster.run(TICK);
        assert_eq!(cluster.reply(lost), Some(Err(RequestError::Uncertain)));
        for group in [0, 2] {
            let (read, write) = (Request::Read(ReadMode::Lease), Request::Write(Bytes::from_static(b"a")));
            let (read, write) = (cluster.submit_to(1, group, read), cluster.submit_to(2, group, write));
            cluster.drain(1);
            cluster.drain(2);
            cluster.run(TICK);
            assert!(cluster.grant(read).ground == Ground::Lease);
            assert_eq!(cluster.output(write), 1);
        }
        let refused = cluster.submit_to(2, 1, Request::Read(ReadMode::Lease));
        cluster.drain(2);
        assert_eq!(cluster.reply(refused), Some(Err(RequestError::Halted)));
        assert_eq!(cluster.node(1).groups().collect::<Vec<_>>(), [0, 2]);
        // A release that knows the command would go on from here.
        cluster.restart(1);
        assert_eq!(cluster.node(1).groups().collect::<Vec<_>>(), [0, 1, 2]);
    }
}

#[test]
fn a_group_that_has_stopped_can_be_removed() {
    let mut cluster = Cluster::with_groups(1, 2, |_, _| {});
    cluster.leap(HOLD + TICK);
    cluster.elect_in(1, 1);
    cluster.submit_to(1, 1, Request::Write(UNKNOWN.into()));
    cluster.drain(1);
    cluster.settle();
    assert_eq!(cluster.node(1).groups().collect::<Vec<_>>(), [0]);
    let now = cluster.reading(1);
    assert!(cluster.node(1).remove_group(now, 1) && !cluster.node(1).remove_group(now, 1));
    cluster.drain(1);
    let refused = cluster.submit_to(1, 1, Request::Read(ReadMode::Lease));
    cluster.drain(1);
    assert_eq!(cluster.reply(refused), Some(Err(RequestError::NoGroup)));
    assert!(cluster.node(1).is_removing(1));
    cluster.settle();
    assert!(!cluster.node(1).is_removing(1) && cluster.member(1).removed.contains(&1), "its data is deleted");
}

#[test]
fn a_leader_does_not_propose_a_command_that_it_does_not_know() {
    let mut cluster = Cluster::led_by(1, 3);
    let ticket = cluster.write(2, NEWER);
    cluster.settle();
    cluster.run(PAST_DEADLINE);
    assert_eq!(cluster.reply(ticket), Some(Err(RequestError::TimedOut)));
    assert_eq!(cluster.members[&1].halted, None);
}

#[test]
fn a_valid_lease_grants_reads_of_peers_beyond_the_limit() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(2 * TICK);
    fill_with_peer_requests(&mut cluster);
    cluster.held = |transit| transit.is_raft();
    let ticket = cluster.read(2);
    cluster.settle();
    assert!(cluster.grant(ticket).ground == Ground::Lease);
}

#[test]
fn a_request_for_an_unknown_group_is_refused_at_once() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.tickets.insert(0, 1);
    let request = Request::Write(Bytes::from_static(b"a"));
    cluster.input(1, Input::Request { ticket: 0, group: GROUP + 1, request });
    assert_eq!(cluster.reply(0), Some(Err(RequestError::NoGroup)));
    assert_eq!(cluster.node(1).pending_requests(), 0);
}

#[test]
fn a_forwarded_write_whose_leader_is_lost_ends_when_the_next_one_is_known() {
    let mut cluster = Cluster::led_by(1, 3);
    let ticket = cluster.write(2, "a");
    cluster.isolate(1);
    // Its connections are closed: nothing can be sent to it any more.
    cluster.member(2).unreachable.insert(1);
    cluster.settle();
    cluster.elect_other_than(1);
    assert_eq!(cluster.reply(ticket), Some(Err(RequestError::Uncertain)));
}

#[test]
fn a_forwarded_write_waits_for_the_answer_of_a_leader_that_was_only_deposed() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(HOLD);
    cluster.cut.extend([(1, 3), (3, 1)]);
    cluster.member(1).disk_stalled = true;
    cluster.member(2).disk_stalled = true;
    let ticket = cluster.write(2, "a");
    cluster.settle();
    cluster.heal();
    let now = cluster.reading(1);
    cluster.node(1).transfer(now, GROUP, 3).expect("an active voter");
    cluster.drain(1);
    cluster.settle();
    assert_eq!(cluster.reply(ticket), None);
    cluster.member(1).disk_stalled = false;
    cluster.member(2).disk_stalled = false;
    cluster.run(4 * TICK);
    assert_eq!(cluster.output(ticket), 1);
}

#[test]
fn a_node_that_does_not_know_a_write_says_so_and_never_executes_it() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.held = InTransit::is_write;
    let ticket = cluster.write(2, "a");
    let late = cluster.intercept(InTransit::is_write).remove(0);
    cluster.held = |_| false;
    cluster.run(HOLD);
    let now = cluster.reading(1);
    cluster.node(1).transfer(now, GROUP, 3).expect("an active voter");
    cluster.drain(1);
    cluster.settle();
    assert_eq!(cluster.reply(ticket), Some(Err(RequestError::Uncertain)), "without waiting");
    let now = cluster.reading(3);
    cluster.run(HOLD);
    cluster.node(3).transfer(now, GROUP, 1).expect("an active voter");
    cluster.drain(3);
    cluster.settle();
    assert!(cluster.leads(1));
    cluster.deliver(late);
    cluster.settle();
    assert_eq!(cluster.applied(1), [""; 0]);
}

#[test]
fn a_write_that_waits_is_dropped_when_its_client_leaves() {
    let mut cluster = Cluster::new(3);
    let (left, stays) = (cluster.write(1, "left"), cluster.write(1, "stays"));
    let now = cluster.reading(1);
    cluster.node(1).drop_abandoned(now, |ticket| ticket == left);
    cluster.drain(1);
    assert_eq!(cluster.reply(left), Some(Err(RequestError::TimedOut)));
    cluster.elect(2);
    cluster.run(2 * TICK);
    assert!(cluster.reply(stays).is_some_and(|reply| reply.is_ok()));
    assert_eq!(cluster.applied(2), ["stays"]);
}

#[test]
fn a_write_that_was_proposed_is_not_dropped() {
    let mut cluster = Cluster::led_by(1, 3);
    let ticket = cluster.write(1, "a");
    let now = cluster.reading(1);
    cluster.node(1).drop_abandoned(now, |_| true);
    cluster.settle();
    assert_eq!(cluster.output(ticket), 1);
}

#[test]
fn a_process_that_was_paused_for_long_refuses_writes_of_unknown_age() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.leap(Duration::from_secs(20));
    let own = cluster.write(1, "own");
    assert_eq!(cluster.reply(own), Some(Err(RequestError::TimedOut)), "it may have waited in the socket all the time");
    let body = |sequence| {
        let request = PeerRequest::Propose { command: Bytes::from_static(b"forwarded"), within: HOLD };
        Body::Request { id: RequestId { boot: 77, sequence }, request }
    };
    cluster.input(1, Input::Messages { from: 2, messages: vec![Message { group: GROUP, body: body(1) }] });
    let answers = cluster.intercept(InTransit::is_answer);
    let Body::Answer { answer, .. } = &answers[0].message.body else { panic!("an answer") };
    assert_eq!(*answer, PeerAnswer::NotExecuted);
    // A copy of what was refused is not executed either.
    cluster.run(2 * HOLD);
    let leader = cluster.members.keys().copied().find(|id| cluster.leads(*id)).expect("a leader");
    cluster.input(1, Input::Messages { from: 2, messages: vec![Message { group: GROUP, body: body(1) }] });
    let later = cluster.write(1, "later");
    cluster.run(2 * TICK);
    assert!(cluster.reply(later).is_some_and(|reply| reply.is_ok()));
    assert_eq!(cluster.applied(leader), ["later"]);
}

#[test]
fn a_forwarded_write_without_time_left_is_not_executed() {
    let mut cluster = Cluster::led_by(1, 3);
    let request = PeerRequest::Propose { command: Bytes::from_static(b"late"), within: Duration::ZERO };
    let body = Body::Request { id: RequestId { boot: 77, sequence: 1 }, request };
    cluster.input(1, Input::Messages { from: 2, messages: vec![Message { group: GROUP, body }] });
    cluster.run(2 * TICK);
    assert_eq!(cluster.applied(1), [""; 0]);
}

#[test]
fn a_read_on_a_follower_that_lags_is_sent_to_the_leader_soon() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(HOLD);
    cluster.held =
        |transit| transit.to == 3 && matches!(&transit.message.body, Body::Raft(envelope) if envelope.is_bulk());
    let write = cluster.write(1, "a");
    cluster.settle();
    assert_eq!(cluster.output(write), 1);
    let read = cluster.read(3);
    cluster.run(HOLD - TICK);
    assert_eq!(cluster.reply(read), None, "it may catch up");
    cluster.run(2 * TICK);
    assert_eq!(cluster.reply(read), Some(Err(RequestError::Lagging)));
    let next = cluster.read(3);
    cluster.settle();
    assert_eq!(cluster.reply(next), Some(Err(RequestError::Lagging)), "the next read does not wait");
    cluster.held = |_| false;
    cluster.run(4 * TICK);
    let read = cluster.read(3);
    cluster.settle();
    assert!(cluster.grant(read).as_follower);
}
