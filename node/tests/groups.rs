//! Several groups on each node: they share frames, commits and a timer, and nothing that happens to one of them affects
//! what another may answer.

mod support;

use bytes::Bytes;
use leasehold_core::{Config, Options as Timing};
use leasehold_node::ports::{GroupId, Lane};
use leasehold_node::wire::{Body, Message, PeerRequest, RequestId};
use leasehold_node::{AddGroupError, Ground, Input, Output, ReadMode, Request, RequestError, Role};
use std::collections::BTreeSet;
use support::{Cluster, HOLD, InTransit, TICK, leader_of};

const GROUPS: u32 = 6;

/// A cluster of three nodes, of which each leads every third group.
fn cluster() -> Cluster {
    Cluster::with_leaders(GROUPS, |_, _| {})
}

#[test]
fn each_group_has_a_leader_and_a_state_of_its_own() {
    let mut cluster = cluster();
    let writes: Vec<u64> = (0..GROUPS).map(|group| cluster.write_in(2, group, format!("g{group}"))).collect();
    cluster.run(2 * TICK);
    for (group, ticket) in (0..GROUPS).zip(writes) {
        assert_eq!(cluster.output(ticket), 1, "the first command of group {group}");
        for id in 1..=3 {
            assert_eq!(cluster.applied_in(id, group), [format!("g{group}")]);
            assert_eq!(cluster.leads_in(id, group), leader_of(group) == id);
        }
    }
    assert_eq!(cluster.node(1).groups().collect::<Vec<_>>(), (0..GROUPS).collect::<Vec<_>>());
}

#[test]
fn groups_share_a_frame_for_each_peer_and_lane_and_a_commit() {
    let mut cluster = Cluster::with_groups(3, GROUPS, |_, _| {});
    cluster.leap(HOLD + TICK);
    cluster.settle();
    (0..GROUPS).for_each(|group| cluster.elect_in(1, group));
    cluster.run(2 * TICK);
    for group in 0..GROUPS {
        cluster.submit_to(1, group, Request::Write(Bytes::from_static(b"a")));
    }
    cluster.leap(2 * TICK);
    let now = cluster.reading(1);
    cluster.node(1).handle_timeout(now);
    let (mut frames, mut commits) = (BTreeSet::new(), 0);
    let all: Vec<GroupId> = (0..GROUPS).collect();
    while let Some(output) = cluster.node(1).poll_output() {
        match output {
            Output::Send { to, lane, messages } => {
                let mut groups: Vec<GroupId> = messages.iter().map(|message| message.group).collect();
                groups.dedup();
                assert_eq!(groups, all, "what each group says stays together and in order");
                assert!(messages.iter().all(|message| message.lane() == lane));
                assert!(frames.insert((to, lane)), "a second frame to {to}");
                assert_eq!(commits, 0, "no message waits for the disk");
            }
            Output::Commit { batches, .. } => {
                assert_eq!(batches.iter().map(|batch| batch.group).collect::<BTreeSet<_>>().len(), all.len());
                commits += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(frames, [2, 3].into_iter().flat_map(|to| [(to, Lane::Urgent), (to, Lane::Append)]).collect());
    assert_eq!(commits, 1);
}

#[test]
fn all_groups_recover_from_the_disk_and_are_held() {
    let mut cluster = cluster();
    for group in 0..GROUPS {
        cluster.write_in(1, group, format!("g{group}"));
    }
    cluster.run(2 * TICK);
    cluster.restart(1);
    for group in 0..GROUPS {
        assert_eq!(cluster.applied_in(1, group), [format!("g{group}")]);
        let now = cluster.reading(1);
        assert!(cluster.node(1).campaign(now, group).is_err(), "group {group} is held");
    }
    cluster.run(4 * HOLD);
    for group in 0..GROUPS {
        let leader = (1..=3).find(|id| cluster.leads_in(*id, group)).expect("a leader");
        let ticket = cluster.read_in(leader, group);
        assert!(cluster.grant(ticket).ground == Ground::Lease, "group {group}");
    }
}

#[test]
fn a_group_without_a_quorum_costs_the_others_neither_lease_nor_writes() {
    let mut cluster = cluster();
    // Group 3 has the same leader as group 0.
    cluster.held = |transit| transit.message.group == 3;
    for round in 0..60 {
        cluster.run(TICK);
        let mut lost = Vec::new();
        for id in 1..=3 {
            lost.push(cluster.write_in(id, 3, "lost"));
        }
        for group in (0..GROUPS).filter(|group| *group != 3) {
            let (leader, applied) = (leader_of(group), cluster.applied_in(1, group).len() as u64);
            assert!(cluster.leads_in(leader, group), "group {group} kept its leader");
            let (ticket, written) = (cluster.read_in(leader, group), cluster.write_in(leader, group, "kept"));
            assert!(cluster.grant(ticket).ground == Ground::Lease, "group {group} in round {round}");
            cluster.settle();
            assert_eq!(cluster.output(written), applied + 1);
        }
    }
    let ticket = cluster.read_in(1, 3);
    assert_eq!(cluster.reply(ticket), None, "group 3 has no lease");
    assert!((1..=3).all(|id| cluster.members[&id].node.status(3).expect("the group").role != Role::Leader));

    cluster.held = |_| false;
    cluster.run(6 * HOLD);
    let leader = (1..=3).find(|id| cluster.leads_in(*id, 3)).expect("group 3 has a leader again");
    let ticket = cluster.write_in(leader, 3, "back");
    cluster.run(TICK);
    assert!(cluster.output(ticket) > 0);
}

#[test]
fn a_flood_in_one_group_leaves_room_for_the_requests_of_the_others() {
    let mut cluster = cluster();
    // Nothing of group 3 is answered.
    cluster.held = |transit| transit.message.group == 3;
    let mut busy = 0;
    for _ in 0..50_000 {
        let ticket = cluster.write_in(2, 3, "flood");
        busy += u32::from(cluster.reply(ticket) == Some(Err(RequestError::Busy)));
    }
    assert_eq!(busy, 50_000 - 65_536 / 2);
    // Nor is what a peer asks of it.
    for sequence in 0..4_096 {
        let request = PeerRequest::Propose { command: Bytes::from_static(b"flood"), within: HOLD };
        let body = Body::Request { id: RequestId { boot: 77, sequence }, request };
        cluster.input(1, Input::Messages { from: 2, messages: vec![Message { group: 3, body }] });
    }
    let refused = cluster.node(1).router_statistics(3).requests_refused;
    assert_eq!(refused, 4_096 / 2);
    // Node 1 leads group 0. A write that node 2 forwards to it counts among those of peers.
    let (own, forwarded) = (cluster.write_in(1, 0, "own"), cluster.write_in(2, 0, "forwarded"));
    cluster.settle();
    assert_eq!((cluster.output(own), cluster.output(forwarded)), (1, 2));
    assert!(cluster.wire.iter().all(|transit| transit.message.group == 3));
}

#[test]
fn only_one_command_of_a_peer_may_exceed_its_limit_in_all_groups_together() {
    const BYTES: usize = 300 << 20;
    let mut cluster = cluster();
    cluster.held = |_| true;
    // Node 1 leads both groups. They share the zeros, which no link could.
    let command = Bytes::from(vec![0; BYTES]);
    for (group, refused) in [(0, 0), (3, 1)] {
        let request = PeerRequest::Propose { command: command.clone(), within: HOLD };
        let body = Body::Request { id: RequestId { boot: 77, sequence: u64::from(group) }, request };
        cluster.input(1, Input::Messages { from: 2, messages: vec![Message { group, body }] });
        assert_eq!(cluster.node(1).router_statistics(group).requests_refused, refused, "in group {group}");
    }
}

#[test]
fn only_groups_with_an_input_are_looked_at() {
    let mut cluster = cluster();
    cluster.node(1).take_changed();
    let ticket = cluster.read_in(1, 0);
    assert!(cluster.grant(ticket).ground == Ground::Lease);
    assert_eq!(cluster.node(1).take_changed(), [0]);
    assert_eq!(cluster.node(1).take_changed(), []);
    // Group 3 gets a request that it tries again soon. The others have nothing to do before the tick.
    cluster.held = |transit| transit.message.group == 3;
    cluster.run(3 * HOLD);
    cluster.write_in(2, 3, "waits");
    cluster.node(2).take_changed();
    let now = cluster.reading(2);
    assert!(cluster.node(2).until_timeout(now) < TICK, "it is tried again");
    cluster.node(2).drop_abandoned(now, |_| false);
    cluster.drain(2);
    assert_eq!(cluster.node(2).take_changed(), [3]);
    cluster.leap(TICK / 2);
    cluster.fire_timer(2);
    assert_eq!(cluster.node(2).take_changed(), [3]);
    let now = cluster.reading(2);
    assert!(cluster.node(2).until_timeout(now) <= TICK / 2, "the tick is not put off");
    cluster.leap(TICK / 2);
    cluster.fire_timer(2);
    assert_eq!(cluster.node(2).take_changed().into_iter().collect::<BTreeSet<_>>().len(), GROUPS as usize);
}

#[test]
fn a_frame_may_be_lost_as_a_whole() {
    let mut cluster = cluster();
    cluster.member(1).cannot_send = true;
    let writes: Vec<u64> = (0..GROUPS).map(|group| cluster.write_in(1, group, "a")).collect();
    assert_eq!(cluster.intercept(|transit: &InTransit| transit.from == 1).len(), 0);
    cluster.member(1).cannot_send = false;
    cluster.run(4 * TICK);
    assert!(writes.iter().all(|ticket| cluster.output(*ticket) == 1));
}

#[test]
fn a_group_with_much_to_apply_lets_the_others_go_first() {
    let mut cluster = Cluster::with_groups(3, GROUPS, |node, _| node.max_apply_bytes = 2_000);
    cluster.leap(HOLD + TICK);
    cluster.settle();
    (0..GROUPS).for_each(|group| cluster.elect_in(1, group));
    cluster.run(2 * TICK);
    let command = || Request::Write(vec![b'x'; 500].into());
    let many: Vec<u64> = (0..40).map(|_| cluster.submit_to(1, 0, command())).collect();
    cluster.drain_turn(1);
    cluster.held = |transit| transit.to == 1;
    cluster.settle();
    // The acknowledgements arrive at once, and so does a request of another group.
    for transit in cluster.intercept(|transit| transit.to == 1) {
        let now = cluster.reading(1);
        let messages = vec![transit.message];
        cluster.node(1).handle(now, Input::Messages { from: transit.from, messages });
    }
    let other = cluster.submit_to(1, 1, command());
    let mut turns = 0;
    cluster.drain_turn(1);
    while cluster.node(1).has_backlog() {
        turns += 1;
        assert_eq!(cluster.applied_in(1, 0).len(), 2 * turns, "two entries fit into a turn");
        let ticket = cluster.submit_to(1, 2, Request::Read(ReadMode::Lease));
        let now = cluster.reading(1);
        cluster.node(1).resume(now);
        cluster.drain_turn(1);
        assert!(cluster.grant(ticket).ground == Ground::Lease, "another group is served in every turn");
    }
    assert_eq!(turns, 19);
    assert!(many.iter().zip(1..).all(|(ticket, number)| cluster.output(*ticket) == number));
    cluster.held = |_| false;
    cluster.run(2 * TICK);
    assert_eq!(cluster.output(other), 1);
}

#[test]
fn all_groups_together_apply_what_fits_into_a_turn() {
    const WRITES: usize = 5;
    // An entry counts with its command and its change.
    let mut cluster = Cluster::with_groups(3, GROUPS, |node, _| node.max_apply_bytes = 2_000);
    cluster.leap(HOLD + TICK);
    cluster.settle();
    (0..GROUPS).for_each(|group| cluster.elect_in(1, group));
    cluster.run(2 * TICK);
    for group in 0..GROUPS {
        for _ in 0..WRITES {
            cluster.submit_to(2, group, Request::Write(vec![b'x'; 500].into()));
        }
    }
    cluster.drain(2);
    cluster.held = |transit| transit.to == 1 && transit.is_raft();
    cluster.settle();
    // Node 2 is gone, so every answer to it is refused.
    cluster.member(1).unreachable.insert(2);
    for transit in cluster.intercept(|transit| transit.to == 1) {
        let now = cluster.reading(1);
        cluster.node(1).handle(now, Input::Messages { from: transit.from, messages: vec![transit.message] });
    }
    let applied = |cluster: &Cluster| (0..GROUPS).map(|group| cluster.applied_in(1, group).len()).collect::<Vec<_>>();
    let mut turns = 0;
    loop {
        let before: usize = applied(&cluster).iter().sum();
        cluster.drain_turn(1);
        let after = applied(&cluster);
        assert!(after.iter().sum::<usize>() <= before + 2, "a turn applied more than two entries");
        let (least, most) = (after.iter().min(), after.iter().max());
        assert!(most <= least.map(|least| least + 2).as_ref(), "the groups take turns: {after:?}");
        if !cluster.node(1).has_backlog() {
            break;
        }
        turns += 1;
        let now = cluster.reading(1);
        cluster.node(1).resume(now);
    }
    assert_eq!(applied(&cluster), [WRITES; GROUPS as usize]);
    assert!(turns >= GROUPS as usize * WRITES / 2 - 1);
}

#[test]
fn a_snapshot_replaces_what_is_left_to_apply() {
    let mut cluster = Cluster::with_groups(3, 1, |node, group| {
        node.max_apply_bytes = 1;
        (group.max_log_entries, group.max_kept_log_entries) = (8, 8);
    });
    cluster.elect(1);
    cluster.run(2 * TICK);
    // Node 3 learns that all of these are committed, and applies one.
    cluster.member(3).applying_stalled = true;
    for _ in 0..6 {
        cluster.submit(1, Request::Write(Bytes::from_static(b"early")));
    }
    cluster.drain(1);
    cluster.settle();
    cluster.held = |transit| transit.to == 3;
    for _ in 0..40 {
        cluster.write(1, "late");
        cluster.settle();
    }
    cluster.wire.clear();
    cluster.held = |_| false;
    let installed =
        |cluster: &Cluster| cluster.members[&3].node.group(0).expect("the group").statistics().snapshots_installed;
    while installed(&cluster) == 0 {
        assert!(cluster.node(3).has_backlog() && cluster.applied_in(3, 0).len() < 6, "it has entries left to apply");
        cluster.run(TICK);
    }
    cluster.member(3).applying_stalled = false;
    cluster.run(2 * TICK);
    assert_eq!(cluster.applied_in(3, 0), cluster.applied_in(1, 0));
    assert_eq!(cluster.applied_in(3, 0).len(), 46);
}

#[test]
fn a_group_created_on_running_nodes_takes_part_once_it_is_durable() {
    const NEW: GroupId = 9;
    let mut cluster = cluster();
    (1..=3).for_each(|id| cluster.create_group(id, NEW));
    assert!(cluster.node(1).group(NEW).is_none(), "its first batch is not durable");
    let ticket = cluster.read_in(1, NEW);
    assert_eq!(cluster.reply(ticket), Some(Err(RequestError::NoGroup)));
    cluster.settle();
    assert_eq!(cluster.node(1).groups().last(), Some(NEW));
    for group in 0..GROUPS {
        let ticket = cluster.read_in(leader_of(group), group);
        assert!(cluster.grant(ticket).ground == Ground::Lease, "the others are not held");
    }
    cluster.run(3 * HOLD);
    let ticket = cluster.write_in(2, NEW, "new");
    cluster.run(2 * TICK);
    assert_eq!(cluster.output(ticket), 1);
    cluster.restart(2);
    cluster.run(TICK);
    assert_eq!(cluster.applied_in(2, NEW), ["new"], "it is recovered with the others");
}

#[test]
fn all_groups_tick_at_the_same_time() {
    const NEW: GroupId = 9;
    let mut cluster = cluster();
    cluster.leap(TICK / 3);
    (1..=3).for_each(|id| cluster.create_group(id, NEW));
    cluster.settle();
    for late in [TICK / 5, TICK / 2, TICK / 4] {
        cluster.leap(late);
        cluster.run(TICK);
        for id in 1..=3 {
            let node = cluster.node(id);
            let replicas = node.groups().filter_map(|group| node.group(group)).map(|group| group.replica());
            let ticked: BTreeSet<_> = replicas.map(|replica| replica.ticked_at().map(|at| at.awake_nanos())).collect();
            assert_eq!(ticked.len(), 1, "on node {id}");
        }
    }
}

#[test]
fn a_node_whose_groups_tick_more_slowly_than_one_that_was_removed_sleeps_all_the_same() {
    const SLOW: GroupId = 9;
    let mut cluster = Cluster::with_groups(3, 1, |_, _| {});
    let timing = Timing::new(HOLD, 1000).with_heartbeat(6 * TICK);
    cluster.member(1).options.replica.config = Config::new(timing).expect("it fits together");
    cluster.create_group(1, SLOW);
    cluster.settle();
    let now = cluster.reading(1);
    assert!(cluster.node(1).remove_group(now, 0));
    for _ in 0..10 {
        cluster.leap(TICK);
        cluster.fire_timer(1);
        let now = cluster.reading(1);
        assert_eq!(cluster.node(1).until_timeout(now), TICK);
    }
}

#[test]
fn heartbeats_that_are_due_at_about_the_same_time_share_their_frames() {
    let mut cluster = cluster();
    let due = |cluster: &mut Cluster| {
        [0, 3].map(|group| cluster.node(1).group(group).and_then(|group| group.replica().holder().poll_timeout()))
    };
    // Each opens a round.
    cluster.leap(TICK / 2);
    cluster.submit_to(1, 0, Request::Read(ReadMode::Quorum));
    cluster.settle();
    cluster.leap(TICK / 10);
    cluster.submit_to(1, 3, Request::Read(ReadMode::Quorum));
    cluster.settle();
    let [one, other] = due(&mut cluster);
    assert!(one.is_some() && one != other);
    for _ in 0..4 {
        let now = cluster.reading(1);
        let sleeps = cluster.node(1).until_timeout(now);
        cluster.leap(sleeps);
        cluster.fire_timer(1);
        cluster.settle();
    }
    let [one, other] = due(&mut cluster);
    assert!(one.is_some() && one == other, "{one:?} {other:?}");
}

#[test]
fn a_group_that_is_created_later_is_held_for_the_rest_of_the_nodes_restart_hold() {
    const NEW: GroupId = 9;
    let mut cluster = Cluster::with_groups(3, 1, |_, _| {});
    cluster.leap(HOLD / 2);
    (1..=3).for_each(|id| cluster.create_group(id, NEW));
    cluster.settle();
    cluster.leap(HOLD / 2 - TICK);
    let now = cluster.reading(1);
    assert!(cluster.node(1).campaign(now, NEW).is_err(), "as long as the groups that the node started with");
    cluster.leap(TICK);
    cluster.elect_in(1, NEW);
    (1..=3).for_each(|id| cluster.create_group(id, NEW + 1));
    cluster.settle();
    cluster.elect_in(1, NEW + 1);
    let ticket = cluster.read_in(1, NEW + 1);
    assert!(cluster.grant(ticket).ground == Ground::Lease);

    // Nothing is known without a clock.
    cluster.member(1).clock_failed = true;
    cluster.create_group(1, NEW + 2);
    cluster.settle();
    cluster.member(1).clock_failed = false;
    cluster.fire_timer(1);
    cluster.leap(HOLD - TICK);
    let now = cluster.reading(1);
    assert!(cluster.node(1).campaign(now, NEW + 2).is_err());

    // A hold of an earlier process that was longer than the present one counts for every group.
    cluster.member(2).groups.get_mut(&0).expect("the group").disk.longest_hold = 4 * HOLD;
    cluster.restart(2);
    cluster.leap(2 * HOLD);
    cluster.create_group(2, NEW + 3);
    cluster.settle();
    cluster.leap(HOLD);
    let now = cluster.reading(2);
    assert!(cluster.node(2).campaign(now, NEW + 3).is_err());
    cluster.leap(HOLD);
    let now = cluster.reading(2);
    assert!(cluster.node(2).campaign(now, NEW + 3).is_ok());
}

#[test]
fn a_group_that_is_not_durable_yet_does_not_take_part_in_a_node_that_stops() {
    const NEW: GroupId = 9;
    let mut cluster = cluster();
    cluster.create_group(1, NEW);
    cluster.leap(2 * HOLD);
    let now = cluster.reading(1);
    cluster.node(1).stop(now);
    cluster.sync(1);
    assert!(cluster.node(1).group(NEW).is_none());
    cluster.fire_timer(1);
    assert!(cluster.node(1).is_stopped());
}

#[test]
fn a_group_with_a_long_heartbeat_counts_its_own_ticks_while_the_clock_fails() {
    const SLOW: GroupId = 9;
    let mut cluster = cluster();
    let timing = Timing::new(10 * HOLD, 1000).with_heartbeat(20 * TICK);
    for id in 1..=3 {
        cluster.member(id).options.replica.config = Config::new(timing).expect("it fits together");
        cluster.create_group(id, SLOW);
    }
    cluster.settle();
    cluster.leap(11 * HOLD);
    cluster.elect_in(1, SLOW);
    cluster.elect_in(1, 0);
    cluster.member(1).clock_failed = true;
    cluster.held = |transit| transit.to == 1;
    cluster.run(3 * HOLD);
    assert!(!cluster.leads_in(1, 0), "it has heard no voter for longer than its hold");
    assert!(cluster.leads_in(1, SLOW), "it need not have heard a voter yet");
    cluster.run(30 * HOLD);
    assert!(!cluster.leads_in(1, SLOW));
}

#[test]
fn a_removed_group_ends_here_and_goes_on_elsewhere() {
    let mut cluster = cluster();
    let gate = cluster.node(1).group(3).expect("the group").read_gate().clone();
    let now = cluster.reading(1);
    assert!(gate.try_read(now).is_some());
    cluster.held = |transit| transit.message.group == 3;
    let proposed = cluster.write_in(1, 3, "proposed");
    let forwarded = cluster.write_in(2, 3, "forwarded");
    let quorum = cluster.submit_to(1, 3, Request::Read(ReadMode::Quorum));
    cluster.drain(1);
    assert!(cluster.node(1).remove_group(now, 3) && !cluster.node(1).remove_group(now, 3));
    assert!(gate.try_read(now).is_none(), "the lease is given up at once");
    cluster.drain(1);
    assert_eq!(cluster.reply(proposed), Some(Err(RequestError::Uncertain)));
    assert_eq!(cluster.reply(quorum), Some(Err(RequestError::NoGroup)));
    assert_eq!((cluster.node(1).pending_requests(), cluster.node(1).groups().count()), (0, GROUPS as usize - 1));
    let refused = cluster.write_in(1, 3, "refused");
    assert_eq!(cluster.reply(refused), Some(Err(RequestError::NoGroup)));

    cluster.held = |_| false;
    cluster.run(6 * HOLD);
    let leader = (2..=3).find(|id| cluster.leads_in(*id, 3)).expect("the others elect a leader");
    let ticket = cluster.write_in(leader, 3, "later");
    cluster.run(2 * TICK);
    assert!(cluster.output(ticket) > 0 && cluster.reply(forwarded).is_some());
    for group in (0..GROUPS).filter(|group| *group != 3) {
        let ticket = cluster.read_in(leader_of(group), group);
        assert!(cluster.grant(ticket).ground == Ground::Lease, "group {group}");
    }
    assert!(!cluster.node(1).is_removing(3) && !cluster.members[&1].groups.contains_key(&3), "its data is deleted");
    // No later process hosts it again.
    cluster.restart(1);
    assert!(cluster.node(1).group(3).is_none());
    assert!(matches!(cluster.try_to_create(1, 3), Err(AddGroupError::Ended(3))));
    cluster.run(2 * HOLD);
    assert!(cluster.leads_in(leader, 3), "and nothing that it would answer is missed");
}

#[test]
fn a_crash_before_a_removal_is_durable_leaves_the_group_as_it_was() {
    let mut cluster = cluster();
    let written = cluster.write_in(1, 3, "kept");
    cluster.run(2 * TICK);
    assert_eq!(cluster.output(written), 1);
    let now = cluster.reading(1);
    assert!(cluster.node(1).remove_group(now, 3));
    cluster.drain(1);
    assert!(cluster.node(1).is_removing(3));
    cluster.restart(1);
    assert_eq!(cluster.applied_in(1, 3), ["kept"]);
    cluster.run(4 * HOLD);
    let now = cluster.reading(1);
    assert!(cluster.node(1).remove_group(now, 3));
    cluster.drain(1);
    cluster.sync(1);
    assert!(!cluster.node(1).is_removing(3));
    cluster.restart(1);
    assert!(cluster.node(1).group(3).is_none());
}
