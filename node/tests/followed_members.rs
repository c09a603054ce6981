//! Changes of the members of several groups: group 0 decides, and the others follow it.

mod support;

use leasehold_core::NodeId;
use leasehold_node::identity::Contact;
use leasehold_node::members::{Aim, ChangeError, MemberChange, Members};
use leasehold_node::ports::GroupId;
use std::collections::BTreeSet;
use std::time::Duration;
use support::{Cluster, GROUP, HOLD, InTransit, TICK, leader_of};

/// A group that some tests cut off.
const CUT: GroupId = 2;

fn contact(node: NodeId) -> Contact {
    Contact { incarnation: 10 * node, entries: 2, ..Contact::default() }
}

fn add(node: NodeId, aim: Aim) -> MemberChange {
    MemberChange::Add { node, contact: contact(node), aim }
}

fn remove(node: NodeId) -> MemberChange {
    MemberChange::Remove { node }
}

/// Returns three nodes with so many groups, each of which leads every third one. Group 0 decides.
fn led(groups: u32) -> Cluster {
    let mut cluster = Cluster::with_leaders(groups, |node, _| node.deciding_group = Some(GROUP));
    cluster.run(3 * TICK);
    cluster
}

fn groups(cluster: &Cluster) -> Vec<GroupId> {
    let (_, first) = cluster.members.first_key_value().expect("a node");
    first.groups.keys().copied().collect()
}

fn members(cluster: &Cluster, at: NodeId, group: GroupId) -> Members {
    cluster.members[&at].node.group(group).expect("the group").members()
}

fn voters(cluster: &Cluster, at: NodeId, group: GroupId) -> Vec<NodeId> {
    members(cluster, at, group).membership.voters
}

fn leader(cluster: &Cluster, group: GroupId) -> Option<NodeId> {
    // A node that is cut off may not know that another one leads.
    let leads = cluster.members.keys().copied().filter(|node| cluster.leads_in(*node, group));
    leads.max_by_key(|node| cluster.members[node].node.status(group).expect("the group").term)
}

/// Tells whichever node leads group 0 about a change, until it takes it.
fn decide(cluster: &mut Cluster, change: MemberChange) -> NodeId {
    for _ in 0..200 {
        for at in cluster.members.keys().copied().collect::<Vec<_>>() {
            let now = cluster.reading(at);
            let outcome = cluster.node(at).change_members(now, GROUP, change.clone());
            cluster.drain(at);
            match outcome {
                Ok(_) => return at,
                Err(ChangeError::NotLeader | ChangeError::Busy | ChangeError::NoQuorum { .. }) => {}
                Err(error) => panic!("{change:?}: {error}"),
            }
        }
        run(cluster, TICK);
    }
    panic!("no leader takes {change:?}");
}

/// Hands leadership of a group over.
#[track_caller]
fn transfer(cluster: &mut Cluster, group: GroupId, from: NodeId, to: NodeId) {
    let now = cluster.reading(from);
    cluster.node(from).transfer(now, group, to).expect("an active voter");
    cluster.drain(from);
    run(cluster, 2 * TICK);
    assert!(cluster.leads_in(to, group));
}

fn has_released(cluster: &Cluster, at: NodeId, group: GroupId, node: NodeId) -> bool {
    members(cluster, at, group).membership.has_removed(node)
}

/// Lets time pass. Nodes refuse those that group 0 has removed, as links do, and no group may need one of them.
fn run(cluster: &mut Cluster, time: Duration) {
    let ticks = time.as_nanos().div_ceil(TICK.as_nanos());
    for _ in 0..ticks {
        cluster.run(TICK);
        let nodes: Vec<NodeId> = cluster.members.keys().copied().collect();
        for at in nodes.iter().copied() {
            for node in 1..=members(cluster, at, GROUP).membership.highest() {
                if has_released(cluster, at, GROUP, node) {
                    cluster.cut.extend([(at, node), (node, at)]);
                    for group in groups(cluster) {
                        let known = nodes.iter().any(|other| has_released(cluster, *other, group, node));
                        assert!(known, "group 0 removed node {node} before group {group}");
                    }
                }
            }
        }
    }
}

/// Lets time pass until every one of these nodes has exactly these voters, and no learner, in every group.
#[track_caller]
fn until_voters(cluster: &mut Cluster, expected: &[NodeId]) {
    let all = groups(cluster);
    let differ = |cluster: &Cluster| {
        let pairs = all.iter().flat_map(|group| expected.iter().map(move |node| (*node, *group)));
        let differs = |at: &(NodeId, GroupId)| {
            let membership = members(cluster, at.0, at.1).membership;
            membership.voters != expected || !membership.learners.is_empty() || !membership.voters_outgoing.is_empty()
        };
        pairs.filter(differs).map(|(node, group)| (node, group, members(cluster, node, group))).next()
    };
    for _ in 0..1_000 {
        if differ(cluster).is_none() {
            return;
        }
        run(cluster, TICK);
    }
    panic!("not {expected:?}: {:?}", differ(cluster));
}

/// Writes to every group through a node, and checks that all these nodes apply it.
#[track_caller]
fn write_everywhere(cluster: &mut Cluster, through: NodeId, nodes: &[NodeId], command: &str) {
    let all = groups(cluster);
    let tickets: Vec<_> = all.iter().map(|group| cluster.write_in(through, *group, command.to_owned())).collect();
    run(cluster, 4 * HOLD);
    for (group, ticket) in all.into_iter().zip(tickets) {
        assert!(cluster.output(ticket) > 0);
        for node in nodes {
            let applied = cluster.applied_in(*node, group);
            assert!(applied.contains(&command.to_owned()), "node {node} lacks {command} in group {group}: {applied:?}");
        }
    }
}

fn is_of_cut_group(transit: &InTransit) -> bool {
    transit.message.group == CUT
}

fn is_of_deciding_group(transit: &InTransit) -> bool {
    transit.message.group == GROUP
}

fn is_of_deciding_group_for_3(transit: &InTransit) -> bool {
    is_of_deciding_group(transit) && transit.to == 3
}

/// Returns true if a message is for one of the nodes to which those of its group are late: of group 0, 1 or 2.
fn is_late(transit: &InTransit, decisions: &[NodeId], first: &[NodeId], second: &[NodeId]) -> bool {
    let late = match transit.message.group {
        GROUP => decisions,
        1 => first,
        _ => second,
    };
    late.contains(&transit.to)
}

#[test]
fn a_new_member_joins_every_group() {
    let mut cluster = led(4);
    write_everywhere(&mut cluster, 1, &[1, 2, 3], "a");
    decide(&mut cluster, add(4, Aim::Voter));
    cluster.join(4);
    until_voters(&mut cluster, &[1, 2, 3, 4]);
    write_everywhere(&mut cluster, 4, &[1, 2, 3, 4], "b");
    for group in groups(&cluster) {
        assert_eq!(leader(&cluster, group), Some(leader_of(group)), "no leader is lost");
        assert_eq!(members(&cluster, 2, group).member(4).contact, contact(4));
    }
}

#[test]
fn a_learner_is_one_in_every_group_until_it_is_promoted() {
    let mut cluster = led(3);
    decide(&mut cluster, add(4, Aim::Learner));
    cluster.join(4);
    run(&mut cluster, 3 * HOLD);
    for group in groups(&cluster) {
        assert_eq!(members(&cluster, 4, group).membership.learners, [4], "group {group}");
    }
    decide(&mut cluster, MemberChange::Promote { node: 4 });
    until_voters(&mut cluster, &[1, 2, 3, 4]);
}

#[test]
fn only_the_deciding_group_is_told_of_changes() {
    let mut cluster = led(2);
    let at = leader_of(1);
    let now = cluster.reading(at);
    let refused = cluster.node(at).change_members(now, 1, add(4, Aim::Voter));
    assert_eq!(refused.map(drop), Err(ChangeError::Follows(GROUP)));
}

#[test]
fn a_node_that_leads_groups_hands_them_over_and_the_deciding_group_removes_it_last() {
    for node in 1..=3 {
        let mut cluster = led(4);
        let left: Vec<NodeId> = (1..=3).filter(|other| *other != node).collect();
        decide(&mut cluster, remove(node));
        until_voters(&mut cluster, &left);
        write_everywhere(&mut cluster, left[0], &left, "a");
        for group in groups(&cluster) {
            assert!(leader(&cluster, group).is_some_and(|leader| left.contains(&leader)), "group {group}");
        }
        for group in groups(&cluster) {
            assert!(has_released(&cluster, left[0], group, node), "group {group} has used its number");
        }
    }
}

#[test]
fn a_member_is_removed_a_hold_after_the_other_groups_have_released_it() {
    let mut cluster = led(2);
    let at = decide(&mut cluster, remove(3));
    while !has_released(&cluster, at, 1, 3) {
        run(&mut cluster, TICK);
    }
    run(&mut cluster, HOLD - TICK);
    assert!(members(&cluster, at, GROUP).membership.names(3), "heartbeats may not have told the other group yet");
    until_voters(&mut cluster, &[1, 2]);
}

#[test]
fn any_later_leader_carries_a_removal_out() {
    let mut cluster = led(4);
    // No other group moves yet.
    cluster.held = |transit| transit.message.group != GROUP;
    decide(&mut cluster, remove(3));
    for _ in 0..4 {
        cluster.fire_timer(1);
        cluster.settle();
    }
    assert_eq!(members(&cluster, 2, GROUP).member(3).aim, Aim::Leaving);
    cluster.held = |_| false;
    cluster.isolate(1);
    run(&mut cluster, 4 * HOLD);
    assert!(leader(&cluster, GROUP).is_some_and(|leader| leader != 1));
    assert_eq!(voters(&cluster, 2, GROUP), [1, 2, 3], "without node 1, no quorum of the others was heard");
    cluster.heal();
    until_voters(&mut cluster, &[1, 2]);
}

#[test]
fn a_group_without_a_quorum_delays_a_removal_and_nothing_else() {
    let mut cluster = led(4);
    cluster.held = is_of_cut_group;
    decide(&mut cluster, remove(3));
    run(&mut cluster, 6 * HOLD);
    for group in groups(&cluster) {
        let at = leader(&cluster, group).filter(|_| group != CUT).unwrap_or(1);
        let expected: &[NodeId] = if group == GROUP || group == CUT { &[1, 2, 3] } else { &[1, 2] };
        assert_eq!(voters(&cluster, at, group), expected, "group {group}");
    }
    assert_eq!(members(&cluster, 1, GROUP).member(3).aim, Aim::Leaving);
    let ticket = cluster.write_in(2, 1, "a");
    run(&mut cluster, TICK);
    assert!(cluster.output(ticket) > 0, "the others serve");
    cluster.held = |_| false;
    cluster.wire.clear();
    until_voters(&mut cluster, &[1, 2]);
}

#[test]
fn a_group_without_a_quorum_delays_a_replacement_and_nothing_else() {
    let mut cluster = led(4);
    cluster.held = is_of_cut_group;
    decide(&mut cluster, add(4, Aim::Replaces(3)));
    cluster.join(4);
    run(&mut cluster, 6 * HOLD);
    for group in groups(&cluster) {
        let at = leader(&cluster, group).filter(|_| group != CUT).unwrap_or(1);
        let expected: &[NodeId] = if group == GROUP || group == CUT { &[1, 2, 3] } else { &[1, 2, 4] };
        assert_eq!(voters(&cluster, at, group), expected, "group {group}");
    }
    assert_eq!(members(&cluster, 1, GROUP).member(4).aim, Aim::Replaces(3));
    cluster.held = |_| false;
    cluster.wire.clear();
    until_voters(&mut cluster, &[1, 2, 4]);
}

#[test]
fn a_node_that_is_cut_off_is_removed_from_every_group() {
    for node in [1, 3] {
        let mut cluster = led(4);
        let left: Vec<NodeId> = (1..=3).filter(|other| *other != node).collect();
        cluster.isolate(node);
        run(&mut cluster, 3 * HOLD);
        decide(&mut cluster, remove(node));
        until_voters(&mut cluster, &left);
        cluster.heal();
        run(&mut cluster, 3 * HOLD);
        until_voters(&mut cluster, &left);
        write_everywhere(&mut cluster, left[1], &left, "a");
    }
}

#[test]
fn a_node_that_is_cut_off_when_some_groups_have_removed_it_is_removed_from_the_others() {
    // The node that leaves, and the leader of group 0.
    for cut_off in [3, 1] {
        let mut cluster = led(4);
        cluster.held = is_of_cut_group;
        decide(&mut cluster, remove(3));
        run(&mut cluster, 3 * HOLD);
        assert_eq!((voters(&cluster, 1, 1), voters(&cluster, 1, CUT)), (vec![1, 2], vec![1, 2, 3]));
        cluster.isolate(cut_off);
        cluster.held = |_| false;
        cluster.wire.clear();
        run(&mut cluster, 4 * HOLD);
        cluster.heal();
        until_voters(&mut cluster, &[1, 2]);
        write_everywhere(&mut cluster, 2, &[1, 2], "a");
    }
}

#[test]
fn a_group_whose_leader_knows_less_never_adds_a_member_that_was_removed() {
    let mut cluster = led(3);
    assert!(cluster.leads_in(3, CUT));
    // Node 3 does not learn what group 0 decides, and leads a group.
    cluster.held = is_of_deciding_group_for_3;
    decide(&mut cluster, add(4, Aim::Voter));
    cluster.join(4);
    run(&mut cluster, 2 * HOLD);
    assert_eq!(voters(&cluster, 1, 1), [1, 2, 3, 4]);
    assert_eq!(members(&cluster, 3, CUT).membership.highest(), 3, "it knows nothing of node 4");
    decide(&mut cluster, remove(4));
    run(&mut cluster, 2 * HOLD);
    assert_eq!(voters(&cluster, 1, 1), [1, 2, 3]);
    assert!(members(&cluster, 1, GROUP).membership.names(4), "group {CUT} may still add it");
    cluster.held = |_| false;
    until_voters(&mut cluster, &[1, 2, 3]);
    for group in groups(&cluster) {
        assert_eq!(members(&cluster, 1, group).membership.highest(), 4, "group {group} used the number");
    }
    // Another one follows.
    decide(&mut cluster, add(5, Aim::Voter));
    cluster.join(5);
    until_voters(&mut cluster, &[1, 2, 3, 5]);
}

#[test]
fn a_group_whose_leader_knows_less_keeps_a_newer_member() {
    let mut cluster = led(3);
    transfer(&mut cluster, CUT, 3, 1);
    cluster.held = is_of_deciding_group_for_3;
    decide(&mut cluster, add(4, Aim::Voter));
    cluster.join(4);
    run(&mut cluster, 3 * HOLD);
    assert_eq!(voters(&cluster, 1, CUT), [1, 2, 3, 4]);
    transfer(&mut cluster, CUT, 1, 3);
    assert_eq!(members(&cluster, 3, GROUP).membership.highest(), 3, "it knows nothing of node 4");
    run(&mut cluster, 3 * HOLD);
    assert_eq!(voters(&cluster, 3, CUT), [1, 2, 3, 4]);
    cluster.held = |_| false;
    until_voters(&mut cluster, &[1, 2, 3, 4]);
}

#[test]
fn a_dead_node_is_replaced_in_sixteen_groups() {
    let mut cluster = led(16);
    write_everywhere(&mut cluster, 1, &[1, 2, 3], "a");
    cluster.isolate(3);
    run(&mut cluster, 3 * HOLD);
    decide(&mut cluster, add(4, Aim::Replaces(3)));
    cluster.join(4);
    until_voters(&mut cluster, &[1, 2, 4]);
    write_everywhere(&mut cluster, 4, &[1, 2, 4], "b");
    for group in groups(&cluster) {
        assert_eq!(cluster.applied_in(4, group), ["a", "b"], "group {group}");
        assert_eq!(members(&cluster, 1, group).member(4).aim, Aim::Voter);
    }
}

#[test]
fn a_leader_is_replaced() {
    let mut cluster = led(4);
    decide(&mut cluster, add(4, Aim::Replaces(1)));
    cluster.join(4);
    until_voters(&mut cluster, &[2, 3, 4]);
    write_everywhere(&mut cluster, 4, &[2, 3, 4], "a");
}

#[test]
fn the_only_voter_of_every_group_is_replaced() {
    let mut cluster = Cluster::with_groups(1, 3, |node, _| node.deciding_group = Some(GROUP));
    cluster.leap(HOLD + TICK);
    cluster.settle();
    (0..3).for_each(|group| cluster.elect_in(1, group));
    run(&mut cluster, 3 * TICK);
    let now = cluster.reading(1);
    let refused = cluster.node(1).change_members(now, GROUP, remove(1));
    assert_eq!(refused.map(drop), Err(ChangeError::LastVoter(1)));
    decide(&mut cluster, add(2, Aim::Replaces(1)));
    cluster.join(2);
    until_voters(&mut cluster, &[2]);
    write_everywhere(&mut cluster, 2, &[2], "a");
}

#[test]
fn a_restart_of_any_node_at_any_time_delays_a_change_only() {
    for restarted in 1..=4 {
        for ticks in [0, 2, 4, 7, 12, 20] {
            let mut cluster = led(3);
            decide(&mut cluster, add(4, Aim::Replaces(3)));
            cluster.join(4);
            run(&mut cluster, ticks * TICK);
            cluster.restart(restarted);
            until_voters(&mut cluster, &[1, 2, 4]);
            decide(&mut cluster, remove(1));
            run(&mut cluster, ticks * TICK);
            // Node 3 is no member any more.
            let restarted = if restarted == 3 { 2 } else { restarted };
            cluster.restart(restarted);
            until_voters(&mut cluster, &[2, 4]);
        }
    }
}

#[test]
fn a_replacement_that_was_given_up_half_way_is_completed_by_another() {
    let mut cluster = led(4);
    cluster.held = is_of_cut_group;
    cluster.isolate(3);
    decide(&mut cluster, add(4, Aim::Replaces(3)));
    cluster.join(4);
    run(&mut cluster, 4 * HOLD);
    assert_eq!((voters(&cluster, 1, 1), voters(&cluster, 1, CUT)), (vec![1, 2, 4], vec![1, 2, 3]));
    decide(&mut cluster, remove(4));
    cluster.held = |_| false;
    cluster.wire.clear();
    run(&mut cluster, 4 * HOLD);
    let parts: BTreeSet<_> = groups(&cluster).into_iter().map(|group| voters(&cluster, 1, group)).collect();
    assert_eq!(parts, [vec![1, 2], vec![1, 2, 3]].into(), "node 3 is out where node 4 took its place");
    decide(&mut cluster, add(5, Aim::Replaces(3)));
    cluster.join(5);
    until_voters(&mut cluster, &[1, 2, 5]);
    write_everywhere(&mut cluster, 5, &[1, 2, 5], "a");
}

#[test]
fn a_leader_that_other_groups_have_removed_hands_the_decisions_over() {
    let mut cluster = led(4);
    // Groups 1 and 3 put node 4 in the place of node 1, which leads group 0 and does not hear from node 4 there.
    cluster.held = |transit| is_of_cut_group(transit) || (is_of_deciding_group(transit) && transit.to == 4);
    decide(&mut cluster, add(4, Aim::Replaces(1)));
    cluster.join(4);
    run(&mut cluster, 4 * HOLD);
    assert_eq!((voters(&cluster, 2, 1), voters(&cluster, 2, 3)), (vec![2, 3, 4], vec![2, 3, 4]));
    assert!(cluster.leads(1));
    cluster.isolate(4);
    decide(&mut cluster, remove(4));
    run(&mut cluster, 4 * HOLD);
    assert_eq!((voters(&cluster, 2, 1), voters(&cluster, 2, 3)), (vec![2, 3], vec![2, 3]));
    cluster.held = |_| false;
    cluster.wire.clear();
    run(&mut cluster, 4 * HOLD);
    assert!(cluster.leads(1), "it does not know that node 4 is gone there");
    run(&mut cluster, 40 * HOLD);
    assert!(!members(&cluster, 2, GROUP).membership.names(4));
    decide(&mut cluster, add(5, Aim::Replaces(1)));
    cluster.join(5);
    until_voters(&mut cluster, &[2, 3, 5]);
}

#[test]
fn all_voters_are_replaced_at_once_and_in_another_order_in_each_group() {
    let mut cluster = led(3);
    let phases: [fn(&InTransit) -> bool; 4] = [
        |at| is_late(at, &[4, 5, 6], &[5, 6], &[4, 5]),
        |at| is_late(at, &[4, 5, 6], &[6], &[4]),
        |at| is_late(at, &[4, 5, 6], &[], &[]),
        |_| false,
    ];
    for old in 1..=3 {
        decide(&mut cluster, add(old + 3, Aim::Replaces(old)));
        run(&mut cluster, TICK);
    }
    cluster.held = phases[0];
    (4..=6).for_each(|node| cluster.join(node));
    for held in phases {
        cluster.held = held;
        cluster.wire.clear();
        run(&mut cluster, 4 * HOLD);
    }
    until_voters(&mut cluster, &[4, 5, 6]);
    write_everywhere(&mut cluster, 4, &[4, 5, 6], "a");
}

#[test]
fn two_leaders_that_leave_do_not_hand_over_to_each_other() {
    let mut cluster = Cluster::with_groups(5, 4, |node, _| node.deciding_group = Some(GROUP));
    cluster.leap(HOLD + TICK);
    cluster.settle();
    (0..4).for_each(|group| cluster.elect_in(1 + u64::from(group) % 2, group));
    run(&mut cluster, 3 * TICK);
    decide(&mut cluster, remove(1));
    decide(&mut cluster, remove(2));
    until_voters(&mut cluster, &[3, 4, 5]);
    write_everywhere(&mut cluster, 3, &[3, 4, 5], "a");
}

#[test]
fn a_member_that_leaves_is_neither_promoted_nor_counted_for_a_quorum() {
    let mut cluster = led(3);
    cluster.held = is_of_cut_group;
    decide(&mut cluster, add(4, Aim::Learner));
    cluster.join(4);
    run(&mut cluster, HOLD);
    decide(&mut cluster, remove(4));
    decide(&mut cluster, remove(3));
    run(&mut cluster, 2 * HOLD);
    let refusal = |cluster: &mut Cluster, change| {
        let at = leader(cluster, GROUP).expect("a leader");
        let now = cluster.reading(at);
        cluster.node(at).change_members(now, GROUP, change).map(drop)
    };
    assert_eq!(refusal(&mut cluster, MemberChange::Promote { node: 4 }), Err(ChangeError::IsLeaving(4)));
    decide(&mut cluster, remove(2));
    run(&mut cluster, TICK);
    assert_eq!(refusal(&mut cluster, remove(1)), Err(ChangeError::LastVoter(1)));
    cluster.held = |_| false;
    cluster.wire.clear();
    until_voters(&mut cluster, &[1]);
    write_everywhere(&mut cluster, 1, &[1], "a");
}
