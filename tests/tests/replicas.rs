//! The behaviour of a cluster of replicas on virtual time.

use bytes::Bytes;
use leasehold_core::Read;
use leasehold_raft::wire::{Change, Envelope, Message, MessageKind, Step, Transition};
use leasehold_raft::{ProposeError, Role};
use leasehold_testing::cluster::{Cluster, HOLD};
use std::time::Duration;

#[test]
fn a_leader_is_elected_and_reads_by_lease() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    cluster.propose(leader, "set a").unwrap();
    cluster.run(Duration::from_millis(20));
    for id in 1..=3 {
        assert_eq!(cluster.applied(id), ["set a"], "node {id}");
    }
    let Some(Read::Lease(permit)) = cluster.read(leader) else { panic!("no lease") };
    assert_eq!(permit.index, cluster.replica(leader).commit());
    cluster.run(Duration::from_secs(30));
    assert_eq!(cluster.leader(), Some(leader), "an idle cluster keeps its leader");
    assert!(cluster.permit(leader).is_some(), "and its lease warm");
}

#[test]
fn a_write_costs_one_frame_to_each_follower_and_what_follows_it_tells_them_of_the_commit() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    cluster.run(2 * HOLD);
    // The test starts just after a heartbeat, so that none is due within it.
    cluster.run_until("a heartbeat", |cluster| cluster.wire.iter().any(|message| message.from == leader));
    cluster.run(Duration::from_millis(10));
    cluster.wire.clear();
    let from_leader = |cluster: &mut Cluster| {
        let sent = cluster.wire.iter().filter(|message| message.from == leader);
        sent.map(|message| message.envelope.messages.iter().map(|message| message.kind).collect()).collect()
    };

    let written = cluster.propose(leader, "set a").unwrap().index;
    let frames: Vec<Vec<MessageKind>> = from_leader(&mut cluster);
    assert_eq!(frames, [[MessageKind::Append], [MessageKind::Append]], "the round rides with the append");

    cluster.run_until("the commit", |cluster| cluster.replica(leader).commit() == written);
    cluster.run(Duration::from_millis(1));
    for id in 1..=3 {
        assert_eq!(
            cluster.replica(id).commit(),
            written,
            "node {id}: the commit index is sent at once, because nothing else is in flight"
        );
    }
}

#[test]
fn another_leader_only_after_the_lease_is_over() {
    let mut cluster = Cluster::founded(3);
    let old = cluster.elect();
    cluster.isolate(old);
    let cut_at = cluster.now;
    cluster.run_until("another leader", |cluster| cluster.leader().is_some_and(|new| new != old));
    let new = cluster.leader().unwrap();
    assert_eq!(cluster.permit(old), None, "the old lease was over before the new leader was there");
    assert!(cluster.now - cut_at < 2 * HOLD, "after {:?}", cluster.now - cut_at);
    cluster.propose(new, "set b").unwrap();
    cluster.run(Duration::from_secs(2));
    assert_ne!(cluster.replica(old).role(), Role::Leader, "a leader that hears from no quorum steps down");
    cluster.heal();
    cluster.run(Duration::from_millis(500));
    assert_eq!(cluster.applied(old), ["set b"]);
}

#[test]
fn a_quorum_read_needs_no_clock() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    for node in cluster.nodes.values_mut() {
        node.clock_failed = true;
    }
    let Some(Read::Quorum(ticket)) = cluster.read(leader) else { panic!("a lease without a clock") };
    cluster.run(Duration::from_millis(5));
    assert!(cluster.nodes[&leader].confirmed_through >= ticket.round);
    cluster.run(Duration::from_secs(20));
    assert_eq!(cluster.leader(), Some(leader), "held voters elect no other leader");
    for node in cluster.nodes.values_mut() {
        node.clock_failed = false;
    }
    cluster.run(Duration::from_millis(150));
    assert!(cluster.permit(leader).is_some(), "the lease is back with the clocks");
}

#[test]
fn leadership_moves_at_once_although_everyone_is_held() {
    let mut cluster = Cluster::founded(3);
    let old = cluster.elect();
    let target = (1..=3).find(|id| *id != old).unwrap();
    let asked_at = cluster.now;
    cluster.with(old, |replica, now| replica.transfer(now, target)).expect("an active voter");
    assert_eq!(cluster.permit(old), None, "the lease is gone before the message is");
    cluster.run_until("the target leads", |cluster| cluster.leader() == Some(target));
    assert!(cluster.now - asked_at < Duration::from_millis(100), "after {:?}", cluster.now - asked_at);
    cluster.run_until("its lease", |cluster| cluster.permit(target).is_some());
}

#[test]
fn a_late_campaign_now_finds_everyone_held() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    let target = (1..=3).find(|id| *id != leader).unwrap();
    cluster.with(leader, |replica, now| replica.transfer(now, target)).expect("an active voter");
    let is_campaign_now = |kind: MessageKind| kind == MessageKind::TimeoutNow;
    let late = cluster.intercept(|m| m.envelope.messages.iter().any(|m| is_campaign_now(m.kind)));
    assert_eq!(late.len(), 1);
    cluster.run_until("the lease is earned again", |cluster| cluster.permit(leader).is_some());
    for message in late {
        cluster.deliver(message);
    }
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.leader(), Some(leader));
    assert_eq!(cluster.replica(target).statistics().transfers_withheld, 1);
}

#[test]
fn a_restarted_voter_keeps_the_promise_it_forgot() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    let others: Vec<_> = (1..=3).filter(|id| *id != leader).collect();
    cluster.isolate(others[0]);
    cluster.run(Duration::from_millis(900));
    cluster.isolate(leader);
    cluster.restart(others[1]);
    cluster.cut.remove(&(others[0], others[1]));
    cluster.cut.remove(&(others[1], others[0]));
    let until = cluster.now + HOLD;
    while cluster.now < until {
        let elected = others.iter().any(|id| cluster.replica(*id).role() == Role::Leader);
        assert!(!(elected && cluster.permit(leader).is_some()));
        assert!(!elected, "elected {:?} before the restart hold was over", until - cluster.now);
        cluster.run(Duration::from_millis(1));
    }
    cluster.run_until("a leader among the two", |cluster| {
        others.iter().any(|id| cluster.replica(*id).role() == Role::Leader)
    });
}

#[test]
fn a_cluster_restarts_from_its_disks() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    cluster.propose(leader, "set a").unwrap();
    cluster.run(Duration::from_millis(100));
    for id in 1..=3 {
        cluster.restart(id);
    }
    let leader = cluster.elect();
    assert_eq!(cluster.applied(leader), ["set a"]);
}

#[test]
fn a_slow_disk_slows_writes_and_not_the_lease() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    cluster.disk_latency = Duration::from_secs(3);
    cluster.propose(leader, "set a").unwrap();
    for _ in 0..2900 {
        cluster.run(Duration::from_millis(1));
        assert!(cluster.permit(leader).is_some(), "the lease went cold");
    }
    assert!(cluster.applied(leader).is_empty());
    cluster.run(Duration::from_millis(400));
    assert_eq!(cluster.applied(leader), ["set a"]);
}

#[test]
fn a_single_voter_leads_alone() {
    let mut cluster = Cluster::founded(1);
    let leader = cluster.elect();
    cluster.propose(leader, "set a").unwrap();
    cluster.run(Duration::from_millis(5));
    assert_eq!(cluster.applied(leader), ["set a"]);
    cluster.restart(leader);
    assert_eq!(cluster.elect(), leader);
}

#[test]
fn nodes_join_and_leave_while_the_lease_goes_on() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    cluster.propose(leader, "set a").unwrap();
    cluster.add_node(4);
    cluster.add_node(5);
    let gone = (1..=3).find(|id| *id != leader).unwrap();
    let steps = vec![Step::AddVoter(4), Step::AddVoter(5), Step::Remove(gone)];
    cluster.change(leader, &Change::new(Transition::Auto, steps)).unwrap();
    cluster.run_until("the new configuration is in force", |cluster| {
        let membership = cluster.replica(leader).membership();
        membership.voters_outgoing.is_empty() && membership.voters.len() == 4
    });
    cluster.run(Duration::from_millis(300));
    assert!(cluster.permit(leader).is_some());
    for id in [4, 5] {
        assert_eq!(cluster.applied(id), ["set a"], "node {id} caught up from a snapshot");
        assert_eq!(cluster.replica(id).membership(), cluster.replica(leader).membership());
    }
    // The new nodes restart from the snapshot they received.
    cluster.restart(4);
    cluster.run(Duration::from_millis(300));
    assert_eq!(cluster.replica(4).membership(), cluster.replica(leader).membership());
}

#[test]
fn a_leader_that_removes_itself_tells_another_voter_first() {
    let mut cluster = Cluster::founded(2);
    let leader = cluster.elect();
    let other = 3 - leader;
    let change = Change::new(Transition::Auto, vec![Step::Remove(leader)]);
    let removal = cluster.change(leader, &change).unwrap().index;
    cluster.run_until("the other voter stores the change", |cluster| {
        cluster.nodes[&other].disk.entries.iter().any(|entry| entry.index == removal)
    });
    // It is committed once its acknowledgement arrives, and nothing more arrives from the leader.
    cluster.cut.insert((leader, other));
    cluster.run(HOLD / 4);
    assert!(cluster.replica(leader).commit() >= removal && cluster.replica(other).commit() < removal);
    cluster.cut.clear();
    cluster.run_until("the removed leader steps down", |cluster| cluster.replica(leader).role() != Role::Leader);
    // An operator switches it off at once.
    cluster.kill(leader);
    cluster.run_until("the other voter leads", |cluster| cluster.leader() == Some(other));
}

#[test]
fn a_leader_that_removes_itself_steps_down_although_no_voter_answers() {
    let mut cluster = Cluster::founded(2);
    let leader = cluster.elect();
    let other = 3 - leader;
    let change = Change::new(Transition::Auto, vec![Step::Remove(leader)]);
    let removal = cluster.change(leader, &change).unwrap().index;
    cluster.run_until("the change is committed", |cluster| cluster.replica(leader).commit() >= removal);
    cluster.kill(other);
    cluster.run_until("the removed leader steps down", |cluster| cluster.replica(leader).role() != Role::Leader);
}

#[test]
fn a_message_whose_term_jumps_is_refused() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    let [hostile, victim] = [leader % 3 + 1, (leader + 1) % 3 + 1];
    let term = cluster.replica(victim).term();
    for (term, kind) in [(u64::MAX >> 2, MessageKind::AppendResponse), (term + (1 << 33), MessageKind::Heartbeat)] {
        let envelope = Envelope { messages: vec![Message::new(kind, term)], ..Envelope::default() };
        cluster.with(victim, |replica, now| replica.handle_envelope(now, hostile, envelope));
    }
    cluster.run(Duration::from_secs(2));
    assert_eq!((cluster.replica(victim).term(), cluster.leader()), (term, Some(leader)));
    assert_eq!(cluster.replica(victim).statistics().messages_refused, 2);
}

#[test]
fn notes_travel_with_the_configuration() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    cluster.add_node(4);
    let note = |node: u64, text: &str| (node, Bytes::from(text.to_owned()));
    let mut change = Change::new(Transition::Auto, vec![Step::AddLearner(4)]);
    change.notes = [note(4, "four"), note(1, "one"), note(9, "no member")].into();
    cluster.change(leader, &change).unwrap();
    cluster.run_until("the learner joins from a snapshot", |cluster| cluster.replica(4).membership().names(4));
    let position = cluster.replica(4).membership().changed;
    assert_eq!(cluster.replica(4).membership().notes, [note(4, "four"), note(1, "one")].into());
    // A change of a note alone: the step makes a voter a voter.
    let mut change = Change::new(Transition::Auto, vec![Step::AddVoter(2)]);
    change.notes = [note(1, "moved")].into();
    cluster.change(leader, &change).unwrap();
    cluster.run_until("it is applied", |cluster| cluster.replica(4).membership().changed > position);
    assert_eq!(cluster.replica(4).membership().notes, [note(4, "four"), note(1, "moved")].into());
    assert!(cluster.permit(leader).is_some(), "the voters are the same");
    cluster.restart(4);
    assert_eq!(cluster.replica(4).membership().notes.len(), 2);
    // A member takes its note along, and its number stays known.
    cluster.change(leader, &Change::new(Transition::Auto, vec![Step::Remove(4)])).unwrap();
    cluster.run_until("it is removed", |cluster| !cluster.replica(leader).membership().names(4));
    let membership = cluster.replica(leader).membership();
    assert_eq!((membership.notes.len(), membership.highest()), (1, 4));
    let long = Change { notes: [(1, Bytes::from(vec![0; 1025]))].into(), ..change };
    assert_eq!(cluster.change(leader, &long), Err(ProposeError::Notes));
}

#[test]
fn a_follower_behind_the_compacted_log_gets_a_snapshot() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    let behind = (1..=3).find(|id| *id != leader).unwrap();
    cluster.kill(behind);
    for command in ["one", "two", "three"] {
        cluster.propose(leader, command).unwrap();
        cluster.run(Duration::from_millis(10));
    }
    let commit = cluster.replica(leader).commit();
    cluster.with(leader, |replica, _| replica.compact(commit));
    cluster.start(behind, leasehold_testing::cluster::timing());
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.applied(behind), ["one", "two", "three"]);
    cluster.propose(leader, "four").unwrap();
    cluster.run(Duration::from_millis(50));
    assert_eq!(cluster.applied(behind), ["one", "two", "three", "four"]);
}

#[test]
fn a_paused_leader_wakes_without_a_lease() {
    let mut cluster = Cluster::founded(3);
    let old = cluster.elect();
    cluster.nodes.get_mut(&old).unwrap().paused = true;
    cluster.run(Duration::from_secs(10));
    assert_eq!(cluster.permit(old), None);
    let new = cluster.leader().unwrap();
    assert_ne!(new, old);
    cluster.nodes.get_mut(&old).unwrap().paused = false;
    for _ in 0..2000 {
        cluster.run(Duration::from_millis(1));
        assert_eq!(cluster.permit(old), None, "responses from before the pause gave a lease");
    }
}

#[test]
fn a_chain_of_changes_never_outruns_the_commit_index_on_disk() {
    let mut cluster = Cluster::founded(3);
    cluster.elect();
    // The harness checks every write to disk. This test makes many, with crashes between them.
    for id in 4..=8 {
        cluster.add_node(id);
        let steps = match id {
            4 => vec![Step::AddVoter(4)],
            // The leader may change, because a removed leader steps down.
            _ => vec![Step::AddVoter(id), Step::Remove(cluster.leader().unwrap_or(id - 1))],
        };
        let change = Change::new(Transition::Auto, steps);
        // The engine takes one change at a time, and a new leader none before it has applied its predecessor's.
        let deadline = cluster.now + Duration::from_secs(10);
        while cluster.leader().is_none_or(|leader| cluster.change(leader, &change).is_err()) {
            assert!(cluster.now < deadline, "the change to add {id} was never taken");
            cluster.run(Duration::from_millis(10));
        }
        cluster.run_until("the new voter is in", |cluster| {
            cluster.leader().is_some_and(|leader| {
                let membership = cluster.replica(leader).membership();
                membership.voters_outgoing.is_empty() && membership.voters.contains(&id)
            })
        });
        cluster.restart(1 + id % 3);
    }
    let leader = cluster.elect();
    cluster.propose(leader, "set a").unwrap();
    cluster.run(Duration::from_millis(100));
    assert_eq!(cluster.applied(leader), ["set a"]);
}

#[test]
fn a_leader_leads_on_while_the_only_follower_left_catches_up() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    let term = cluster.replica(leader).term();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let (behind, lost) = (others[0], others[1]);
    cluster.isolate(behind);
    for count in 1..=30 {
        cluster.propose(leader, "early").expect("the leader takes it");
        cluster.run_until("it is applied", |cluster| cluster.applied(leader).len() == count);
    }
    cluster.heal();
    cluster.kill(lost);
    cluster.propose(leader, "pending").expect("the leader takes it");
    // The link to the follower passes two entries at a time, so catching up takes several holds.
    let mut queue = std::collections::VecDeque::new();
    for millis in 0..60_000 {
        cluster.run(Duration::from_millis(1));
        queue.extend(cluster.intercept(|sent| sent.to == behind && sent.envelope.is_bulk()));
        if millis % 200 == 199
            && let Some(mut append) = queue.pop_back()
        {
            queue.clear();
            append.envelope.messages.truncate(1);
            append.envelope.messages[0].entries.truncate(2);
            cluster.deliver(append);
        }
        assert_eq!((cluster.leader(), cluster.replica(leader).term()), (Some(leader), term), "after {millis} ms");
        if cluster.applied(leader).contains(&"pending") {
            assert!(millis > 3_500, "it took {millis} ms");
            return;
        }
    }
    panic!("the write was never committed");
}
