//! Leaders that make no progress, disks that hang, and transfers that do not succeed.

mod support;

use bytes::Bytes;
use leasehold_core::NodeId;
use leasehold_node::wire::Body;
use leasehold_node::{Ground, Request, RequestError, Role, TransferError};
use leasehold_raft::wire::MessageKind;
use std::time::Duration;
use support::{Cluster, GROUP, HOLD, InTransit, TICK};

const MIB: usize = 1 << 20;

fn has_entries(transit: &InTransit) -> bool {
    let Body::Raft(envelope) = &transit.message.body else { return false };
    envelope.messages.iter().any(|message| !message.entries.is_empty())
}

fn is_campaign_now(transit: &InTransit) -> bool {
    let Body::Raft(envelope) = &transit.message.body else { return false };
    envelope.messages.iter().any(|message| message.kind == MessageKind::TimeoutNow)
}

fn leaderships_given_up(cluster: &Cluster, id: NodeId) -> u64 {
    cluster.members[&id].node.group(GROUP).expect("the group").statistics().replica.leaderships_given_up
}

fn transfer(cluster: &mut Cluster, from: NodeId, to: NodeId) -> Result<(), TransferError> {
    let now = cluster.reading(from);
    let started = cluster.node(from).transfer(now, GROUP, to);
    cluster.drain(from);
    started
}

#[test]
fn a_leader_whose_disk_hangs_hands_over_and_campaigns_only_once_it_answers() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.member(1).disk_stalled = true;
    let stuck = cluster.write(1, "a");
    cluster.run(2 * HOLD);
    assert!(cluster.leads(1), "a slow write is no reason to give up");
    cluster.run(HOLD + 3 * TICK);
    let next = cluster.members.keys().copied().find(|id| cluster.leads(*id)).expect("handed over within a moment");
    assert_ne!(next, 1);
    assert_eq!(leaderships_given_up(&cluster, 1), 1);
    let silent = cluster.members[&1].node.disk_statistics().silent_for;
    assert!(silent >= 3 * HOLD, "{silent:?}");
    let write = cluster.write(next, "b");
    cluster.settle();
    assert_eq!(cluster.output(write), 2);
    // Without the others it would be elected now, if its disk let it.
    cluster.members.keys().copied().filter(|id| *id != 1).collect::<Vec<_>>().into_iter().for_each(|id| {
        cluster.cut.insert((id, 1));
    });
    let now = cluster.reading(1);
    cluster.run(40 * HOLD);
    assert!(cluster.node(1).campaign(now, GROUP).is_err());
    cluster.heal();
    cluster.member(1).disk_stalled = false;
    cluster.run(3 * HOLD);
    assert_eq!(cluster.reply(stuck), Some(Err(RequestError::Uncertain)), "it has waited too long");
    for id in 1..=3 {
        assert_eq!(cluster.applied(id), ["a", "b"], "node {id}");
    }
    assert_eq!(cluster.members[&1].node.disk_statistics().silent_for, Duration::ZERO);
}

#[test]
fn a_leader_whose_entries_do_not_arrive_gives_up_and_is_not_elected_again_at_once() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.held = |transit| transit.from == 1 && has_entries(transit);
    let write = cluster.write(1, "a");
    cluster.run(3 * HOLD + 4 * TICK);
    let next = cluster.members.keys().copied().find(|id| *id != 1 && cluster.leads(*id)).expect("handed over");
    cluster.run(HOLD);
    assert_eq!(cluster.applied(next), ["a"], "the write was displaced and tried again at the new leader");
    assert!(cluster.reply(write).is_some_and(|reply| reply.is_ok()));
    // The new leader is lost. The other node is elected, although the old leader's log is the longest.
    cluster.run(HOLD);
    cluster.isolate(next);
    let third = 6 - 1 - next;
    assert_eq!(cluster.elect_other_than(next), third);
}

#[test]
fn a_leader_that_cannot_hand_over_steps_down() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.held = |transit| transit.from == 1 && (has_entries(transit) || is_campaign_now(transit));
    cluster.write(1, "a");
    cluster.run(3 * HOLD + 4 * TICK);
    assert!(cluster.leads(1), "the transfer is pending");
    cluster.run(HOLD + TICK);
    assert!(!cluster.leads(1));
    assert_ne!(cluster.elect_other_than(1), 1);
}

#[test]
fn a_leader_that_gave_up_leaves_the_next_campaigns_to_others() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.held = |transit| transit.from == 1 && (has_entries(transit) || is_campaign_now(transit));
    cluster.write(1, "a");
    cluster.run(4 * HOLD + 6 * TICK);
    assert!(!cluster.leads(1));
    cluster.isolate(1);
    cluster.run(2 * HOLD - 8 * TICK);
    let role = |cluster: &Cluster| cluster.members[&1].node.status(GROUP).expect("the group").role;
    assert_eq!(role(&cluster), Role::Follower);
    cluster.run(HOLD);
    assert_eq!(role(&cluster), Role::PreCandidate, "it does not wait for ever");
}

#[test]
fn a_leader_with_nothing_to_do_leads_on_while_its_disk_hangs() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(HOLD);
    cluster.member(1).disk_stalled = true;
    cluster.run(10 * HOLD);
    assert!(cluster.leads(1));
}

#[test]
fn a_single_voter_leads_on_while_its_disk_hangs() {
    let mut cluster = Cluster::led_by(1, 1);
    cluster.member(1).disk_stalled = true;
    cluster.write(1, "a");
    cluster.run(10 * HOLD);
    assert!(cluster.leads(1));
    assert_eq!(leaderships_given_up(&cluster, 1), 0);
}

#[test]
fn a_leader_gives_up_without_a_clock_too() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.member(1).clock_failed = true;
    cluster.member(1).disk_stalled = true;
    cluster.write(1, "a");
    cluster.run(2 * HOLD);
    assert!(cluster.leads(1));
    cluster.run(HOLD + 4 * TICK);
    assert!(!cluster.leads(1));
}

/// Commits more at once than a node applies in a turn, and gives it no further one.
fn leave_backlog(cluster: &mut Cluster, id: u64) {
    cluster.member(id).applying_stalled = true;
    for _ in 0..4 {
        cluster.submit(1, Request::Write(vec![7; MIB].into()));
    }
    cluster.drain(1);
    cluster.settle();
    assert!(cluster.node(id).has_backlog());
}

#[test]
fn a_follower_that_applies_slowly_takes_a_bounded_number_of_entries() {
    let mut cluster = Cluster::with_options(3, |group| group.max_log_bytes = u64::MAX);
    cluster.elect(1);
    cluster.run(2 * TICK);
    leave_backlog(&mut cluster, 3);
    let tickets = write_large(&mut cluster);
    assert!(tickets.iter().all(|ticket| cluster.reply(*ticket).is_some_and(|reply| reply.is_ok())));
    let log_size = |cluster: &Cluster| cluster.members[&3].node.group(GROUP).expect("the group").replica().log_size().1;
    assert!(log_size(&cluster) < 80 * MIB as u64, "the log has {} bytes", log_size(&cluster));
    assert!(cluster.members[&3].node.disk_statistics().appends_withheld > 0);
    cluster.member(3).applying_stalled = false;
    cluster.run(4 * HOLD);
    assert_eq!(cluster.applied(3).len(), tickets.len() + 4, "it has caught up");
}

#[test]
fn a_leader_that_applies_slowly_proposes_a_bounded_number_of_entries() {
    let mut cluster = Cluster::with_options(1, |group| group.max_log_bytes = u64::MAX);
    cluster.elect(1);
    cluster.run(2 * TICK);
    leave_backlog(&mut cluster, 1);
    let tickets = write_large(&mut cluster);
    let size = cluster.members[&1].node.group(GROUP).expect("the group").replica().log_size().1;
    assert!(size < 80 * MIB as u64, "the log has {size} bytes");
    cluster.member(1).applying_stalled = false;
    cluster.run(4 * TICK);
    assert!(tickets.iter().all(|ticket| cluster.reply(*ticket).is_some_and(|reply| reply.is_ok())));
}

/// Sends node 1 more writes than may wait for a disk, and returns their tickets.
fn write_large(cluster: &mut Cluster) -> Vec<u64> {
    let value = Bytes::from(vec![7; MIB]);
    let write = |_| {
        let ticket = cluster.write(1, value.clone());
        cluster.settle();
        ticket
    };
    (0..300).map(write).collect()
}

#[test]
fn a_follower_whose_disk_hangs_takes_a_bounded_number_of_bytes() {
    let mut cluster = Cluster::with_options(3, |group| group.max_log_bytes = u64::MAX);
    cluster.elect(1);
    cluster.member(3).disk_stalled = true;
    let tickets = write_large(&mut cluster);
    assert!(tickets.iter().all(|ticket| cluster.reply(*ticket).is_some_and(|reply| reply.is_ok())));
    let disk = cluster.members[&3].node.disk_statistics();
    assert!(disk.pending_bytes < 130 * MIB, "{} bytes wait", disk.pending_bytes);
    assert!(disk.appends_withheld > 0);
    cluster.member(3).disk_stalled = false;
    cluster.run(4 * HOLD);
    assert_eq!(cluster.applied(3).len(), tickets.len(), "it has caught up");
}

#[test]
fn a_leader_whose_disk_hangs_takes_a_bounded_number_of_bytes() {
    let mut cluster = Cluster::with_options(3, |group| group.max_log_bytes = u64::MAX);
    cluster.elect(1);
    cluster.member(1).disk_stalled = true;
    let tickets = write_large(&mut cluster);
    assert!(tickets.iter().all(|ticket| cluster.reply(*ticket).is_none()), "they wait for the disk");
    assert!(cluster.members[&1].node.disk_statistics().pending_bytes < 130 * MIB);
}

#[test]
fn naming_other_targets_does_not_prolong_a_transfer() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(HOLD);
    cluster.held = is_campaign_now;
    for to in [2, 3, 2] {
        transfer(&mut cluster, 1, to).expect("an active voter");
        cluster.run(6 * TICK);
    }
    let read = cluster.read(1);
    cluster.settle();
    assert_eq!(cluster.reply(read), None, "a transfer is pending");
    cluster.run(3 * TICK);
    // Under the lease, because the first transfer began more than a hold ago.
    let read = cluster.read(1);
    assert!(cluster.grant(read).ground == Ground::Lease);
}

#[test]
fn a_transfer_is_abandoned_after_a_hold_and_not_before() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.held = is_campaign_now;
    // The engine checks its quorum once per hold, at a time that has nothing to do with the transfer's.
    for offset in 0..5 {
        cluster.run(HOLD + 4 * offset * TICK);
        transfer(&mut cluster, 1, 2).expect("an active voter");
        cluster.run(HOLD - TICK);
        let read = cluster.read(1);
        cluster.settle();
        assert_eq!(cluster.reply(read), None, "the transfer is pending");
        cluster.run(4 * TICK);
        let read = cluster.read(1);
        assert!(cluster.grant(read).ground == Ground::Lease);
    }
}

#[test]
fn a_transfer_to_a_node_that_cannot_take_over_is_refused() {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(HOLD);
    assert_eq!(transfer(&mut cluster, 2, 3), Err(TransferError::NotLeader));
    assert_eq!(transfer(&mut cluster, 1, 4), Err(TransferError::NotVoter));
    cluster.held = |transit| transit.to == 3 && has_entries(transit);
    for _ in 0..9_000 {
        cluster.write(1, "a");
        if cluster.wire.len() > 100 {
            cluster.settle();
            cluster.intercept(has_entries);
        }
    }
    cluster.settle();
    assert!(matches!(transfer(&mut cluster, 1, 3), Err(TransferError::Behind { entries }) if entries > 8_192));
    cluster.isolate(3);
    cluster.run(HOLD + 2 * TICK);
    assert_eq!(transfer(&mut cluster, 1, 3), Err(TransferError::Unreachable));
    let read = cluster.read(1);
    assert!(cluster.grant(read).ground == Ground::Lease, "a refused transfer costs no lease");
}
