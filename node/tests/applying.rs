//! Groups that apply entries on a thread of their own: one that hangs affects no other.

mod support;

use leasehold_node::ports::{Batch, GroupId, Record};
use leasehold_node::snapshot::Work;
use leasehold_node::{Ground, Input, Request, RequestError};
use std::time::Duration;
use support::{Cluster, HOLD, TICK, leader_of};

const GROUPS: u32 = 4;
/// The group that hangs. Node 1 leads it, and group 0.
const HUNG: GroupId = 3;

/// A cluster of three nodes, of which each leads every third group.
fn cluster() -> Cluster {
    Cluster::with_leaders(GROUPS, |_, group| {
        group.applies_on_thread = true;
        (group.max_log_entries, group.max_kept_log_entries) = (16, 16);
    })
}

#[test]
fn a_state_machine_that_hangs_costs_the_other_groups_neither_lease_nor_writes() {
    let mut cluster = cluster();
    cluster.member(1).hung.insert(HUNG);
    let stuck = cluster.write_in(1, HUNG, "stuck");
    cluster.settle();
    let late = cluster.read_in(1, HUNG);
    for round in 1..=40 {
        cluster.run(TICK);
        for group in 0..HUNG {
            let leader = leader_of(group);
            let (granted, written) = (cluster.read_in(leader, group), cluster.write_in(leader, group, "kept"));
            assert!(cluster.grant(granted).ground == Ground::Lease, "group {group} in round {round}");
            cluster.settle();
            assert_eq!(cluster.output(written), round, "group {group}");
            assert!(!cluster.node(1).has_backlog(), "the node waits for the group without work");
        }
    }
    assert_eq!((cluster.reply(stuck), cluster.reply(late)), (None, None), "it shows nothing that is not applied");
    let now = cluster.reading(1);
    let gate = cluster.node(1).group(HUNG).expect("the group").read_gate().clone();
    assert!(gate.lease().try_read(now).is_some() && gate.try_read(now).is_none());

    cluster.member(1).hung.clear();
    cluster.run(TICK);
    assert_eq!(cluster.output(stuck), 1);
    assert!(cluster.grant(late).index > 0);
    for id in 1..=3 {
        assert_eq!(cluster.applied_in(id, HUNG), ["stuck"]);
    }
}

#[test]
fn a_leader_whose_state_machine_hangs_hands_over_and_catches_up_later() {
    let mut cluster = cluster();
    cluster.member(1).hung.insert(HUNG);
    let stuck = cluster.write_in(1, HUNG, "stuck");
    cluster.run(2 * HOLD);
    assert!(cluster.leads_in(1, HUNG));
    cluster.run(HOLD + 4 * TICK);
    let next = (2..=3).find(|id| cluster.leads_in(*id, HUNG)).expect("another node leads");
    assert!(cluster.leads_in(1, 0), "the other group of the same leader stays");
    let written = cluster.write_in(next, HUNG, "next");
    cluster.settle();
    assert_eq!(cluster.output(written), 2);
    cluster.run(3 * HOLD);
    assert_eq!(cluster.reply(stuck), Some(Err(RequestError::Uncertain)), "it has waited too long");
    cluster.member(1).hung.clear();
    cluster.run(TICK);
    assert_eq!(cluster.applied_in(1, HUNG), ["stuck", "next"]);
}

#[test]
fn leadership_goes_round_ever_slower_if_the_state_machines_of_all_nodes_hang() {
    let mut cluster = cluster();
    (1..=3).for_each(|id| cluster.member(id).hung.extend([HUNG]));
    cluster.write_in(1, HUNG, "stuck");
    let (mut tenures, mut leader) = (vec![Duration::ZERO], 1);
    while tenures.len() <= 6 {
        cluster.run(TICK);
        *tenures.last_mut().expect("one at least") += TICK;
        let next = (1..=3).find(|id| *id != leader && cluster.leads_in(*id, HUNG));
        if let Some(next) = next.filter(|_| !cluster.leads_in(leader, HUNG)) {
            leader = next;
            tenures.push(Duration::ZERO);
        }
    }
    assert!(tenures[..6].iter().all(|tenure| *tenure >= 3 * HOLD - TICK), "{tenures:?}");
    assert!(tenures[3..6].iter().any(|tenure| *tenure >= 6 * HOLD - TICK), "{tenures:?}");
    let hangs_for = |cluster: &Cluster, group| {
        let statistics = |member: &support::Member| member.node.group(group).expect("the group").statistics();
        cluster.members.values().map(|member| statistics(member).applying_for).min().expect("three nodes")
    };
    assert!(hangs_for(&cluster, HUNG) > 18 * HOLD && hangs_for(&cluster, 0).is_zero(), "on every role");
    (1..=3).for_each(|id| cluster.member(id).hung.clear());
    cluster.run(TICK);
    assert!((1..=3).all(|id| cluster.applied_in(id, HUNG) == ["stuck"]) && hangs_for(&cluster, HUNG).is_zero());
}

#[test]
fn entries_that_arrive_while_others_are_applied_follow_in_order_and_in_portions() {
    let mut cluster = Cluster::with_all_options(1, |node, group| {
        node.max_apply_bytes = 2_000;
        group.applies_on_thread = true;
    });
    cluster.elect(1);
    let mut written = 0;
    // A portion is limited by its bytes and by its entries.
    for (size, count, portion) in [(500, 6, 2), (1, 40, 16)] {
        cluster.member(1).work_stalled = true;
        let tickets: Vec<u64> = (0..count)
            .map(|_| {
                let ticket = cluster.submit(1, Request::Write(vec![b'x'; size].into()));
                cluster.drain(1);
                cluster.settle();
                ticket
            })
            .collect();
        let mut answered = Vec::new();
        while cluster.work(1) {
            answered.push(tickets.iter().filter(|ticket| cluster.reply(**ticket).is_some()).count());
        }
        assert_eq!(answered.last(), Some(&count));
        assert!(answered.windows(2).all(|pair| pair[0] < pair[1] && pair[1] <= pair[0] + portion), "{answered:?}");
        assert!(tickets.iter().zip(written + 1..).all(|(ticket, number)| cluster.output(*ticket) == number));
        written += count as u64;
    }
}

#[test]
fn a_snapshot_is_sent_and_installed_once_the_state_machine_is_back() {
    let mut cluster = cluster();
    let fill = |cluster: &mut Cluster| {
        for _ in 0..40 {
            let leader = (1..=2).find(|id| cluster.leads_in(*id, HUNG)).expect("a leader");
            cluster.write_in(leader, HUNG, "a");
            cluster.settle();
        }
    };
    cluster.isolate(3);
    fill(&mut cluster);
    // The leader's state machine is busy when the follower turns out to need a snapshot.
    cluster.member(1).hung.insert(HUNG);
    cluster.write_in(1, HUNG, "a");
    cluster.settle();
    cluster.heal();
    cluster.run(HOLD);
    let sent = |cluster: &Cluster| cluster.members[&1].node.group(HUNG).expect("the group").statistics().snapshots_sent;
    assert_eq!((sent(&cluster), cluster.applied_in(3, HUNG).len()), (0, 0));
    cluster.member(1).hung.clear();
    cluster.run(HOLD);
    assert_eq!(sent(&cluster), 1);
    assert_eq!(cluster.applied_in(3, HUNG).len(), 41);

    // A follower's state machine is busy while it gets one.
    cluster.member(3).hung.insert(HUNG);
    cluster.write_in(1, HUNG, "a");
    cluster.settle();
    cluster.isolate(3);
    fill(&mut cluster);
    cluster.heal();
    cluster.run(2 * HOLD);
    let installed =
        |cluster: &Cluster| cluster.members[&3].node.group(HUNG).expect("the group").statistics().snapshots_installed;
    assert_eq!(installed(&cluster), 1);
    cluster.member(3).hung.clear();
    cluster.run(2 * HOLD);
    assert_eq!(installed(&cluster), 2);
    assert_eq!(cluster.applied_in(3, HUNG).len(), 82);
}

#[test]
fn a_group_can_be_removed_while_its_state_machine_hangs() {
    let mut cluster = cluster();
    cluster.member(1).hung.insert(HUNG);
    let stuck = cluster.write_in(1, HUNG, "stuck");
    cluster.settle();
    let now = cluster.reading(1);
    assert!(cluster.node(1).remove_group(now, HUNG));
    cluster.drain(1);
    assert_eq!(cluster.reply(stuck), Some(Err(RequestError::Uncertain)));
    cluster.member(1).hung.clear();
    assert!(cluster.work(1));
    let Some(Work::End(machine)) = cluster.members[&1].work.front() else { panic!("its state machine is dropped") };
    assert_eq!(machine.records.len(), 1, "as it came back");
    cluster.run(TICK);
    assert!(cluster.members[&1].work.is_empty());
    cluster.input(1, Input::NotSent { to: 2, messages: Vec::new() });
    let ticket = cluster.read_in(1, 0);
    assert!(cluster.grant(ticket).ground == Ground::Lease);
}

/// Lets node 1 commit an entry of a group and end the group in the same turn. Returns the records of the state machine
/// that went out to be dropped, and what the disk got of the group.
fn end_while_committing(applies_on_thread: bool, end: impl Fn(&mut Cluster)) -> (Vec<Record>, Vec<Batch>) {
    let mut cluster = Cluster::with_groups(1, GROUPS, |_, group| group.applies_on_thread = applies_on_thread);
    cluster.leap(HOLD + TICK);
    (0..GROUPS).for_each(|group| cluster.elect_in(1, group));
    let before = cluster.write_in(1, HUNG, "before");
    cluster.settle();
    assert_eq!(cluster.output(before), 1);
    let late = cluster.write_in(1, HUNG, "late");
    let member = cluster.member(1);
    let number = member.commits.back().expect("the entry is written").0;
    member.commits.clear();
    let now = cluster.reading(1);
    cluster.node(1).handle(now, Input::Committed { number });
    end(&mut cluster);
    cluster.drain(1);
    assert_eq!(cluster.reply(late), Some(Err(RequestError::Uncertain)));
    let Some(Work::End(machine)) = cluster.member(1).work.pop_front() else { panic!("its state machine is dropped") };
    assert!(cluster.members[&1].work.is_empty(), "nothing is applied any more");
    let batches = cluster.members[&1].commits.iter().flat_map(|(_, batches)| batches.iter().cloned()).collect();
    (machine.records, batches)
}

#[test]
fn a_group_that_ends_applies_nothing_more_and_keeps_its_state_for_readers_with_a_permit() {
    for applies_on_thread in [false, true] {
        let (records, _) = end_while_committing(applies_on_thread, |cluster| {
            let now = cluster.reading(1);
            assert!(cluster.node(1).remove_group(now, HUNG));
        });
        assert_eq!(records.len(), 1, "the one entry that was applied before");
        let (records, batches) = end_while_committing(applies_on_thread, |cluster| {
            let now = cluster.reading(1);
            assert!(cluster.node(1).fail_group(now, HUNG));
        });
        assert_eq!(records.len(), 1);
        assert!(!batches.is_empty() && batches.iter().all(|batch| batch.changes.len() <= 1), "{batches:?}");
    }
}
