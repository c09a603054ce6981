//! Local reads with real replicas on virtual time.

use leasehold_core::{Index, NodeId, Term};
use leasehold_raft::Role;
use leasehold_raft::wire::{Change, Envelope, Message, MessageKind, Step, Transition};
use leasehold_testing::cluster::{Cluster, HEARTBEAT, HOLD, InTransit};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A cluster of three with a leader, of which the others are readers that hold a sublease.
fn with_readers() -> (Cluster, NodeId, [NodeId; 2]) {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    let mut others = (1..=3).filter(|id| *id != leader);
    let readers = [others.next().expect("two others"), others.next().expect("two others")];
    for reader in readers {
        cluster.set_local_reads(reader, true);
    }
    await_permits(&mut cluster, &readers);
    (cluster, leader, readers)
}

#[track_caller]
fn await_permits(cluster: &mut Cluster, readers: &[NodeId]) {
    cluster.run_until("subleases", |cluster| readers.iter().all(|reader| cluster.local_permit(*reader).is_some()));
}

fn applied(cluster: &Cluster, id: NodeId) -> Index {
    cluster.nodes[&id].position.index
}

fn obligations(cluster: &Cluster, id: NodeId) -> usize {
    cluster.replica(id).lender().obligations().count()
}

/// Returns an envelope with a message of the engine in which there is only its term.
fn message(kind: MessageKind, term: Term) -> Envelope {
    Envelope { messages: vec![Message::new(kind, term)], ..Envelope::default() }
}

/// Makes the leader hear of a later term, as from a node that campaigned and failed.
fn depose(cluster: &mut Cluster, leader: NodeId, by: NodeId) {
    let later = message(MessageKind::HeartbeatResponse, cluster.replica(leader).term() + 1);
    cluster.with(leader, |replica, now| replica.handle_envelope(now, by, later));
    assert_eq!(cluster.replica(leader).role(), Role::Follower);
}

#[test]
fn followers_read_from_their_own_state_without_a_frame() {
    let (mut cluster, leader, readers) = with_readers();
    let written = cluster.propose(leader, "set a").expect("a leader").index;
    cluster.run(HOLD / 2);
    for reader in readers {
        let permit = cluster.local_permit(reader).expect("a sublease");
        assert_eq!(permit.index, written, "node {reader}");
        assert_eq!(applied(&cluster, reader), written, "node {reader}");
    }
    assert_eq!(cluster.local_permit(leader), None, "a leader has a lease of its own");
    assert_eq!(cluster.replica(leader).exposed(), written);
    // A quiet second has the frames of its heartbeats, and no others.
    let frames = |cluster: &mut Cluster, reader: NodeId, on: bool| {
        cluster.set_local_reads(reader, on);
        cluster.run(HOLD / 2);
        (0..1000).fold(0, |sent, _| {
            cluster.run(MS);
            sent + cluster.wire.iter().filter(|message| message.at == cluster.now + cluster.latency).count()
        })
    };
    let with = frames(&mut cluster, readers[0], true);
    cluster.set_local_reads(readers[1], false);
    let without = frames(&mut cluster, readers[0], false);
    assert!(with <= without + 2, "{with} frames with a reader, {without} without");
    assert!(without > 20, "there are heartbeats");
}

#[test]
fn a_write_waits_for_a_reader_that_died_for_a_lease_and_no_longer() {
    let (mut cluster, leader, [dead, alive]) = with_readers();
    cluster.kill(dead);
    let start = cluster.now;
    let written = cluster.propose(leader, "set a").expect("a leader").index;
    cluster.run_until("the commit", |cluster| cluster.replica(leader).commit() == written);
    cluster.run(HOLD / 2);
    assert_eq!(cluster.replica(leader).exposed(), written - 1);
    assert_eq!(applied(&cluster, leader), written - 1, "it is not applied, so not acknowledged");
    assert_eq!(cluster.permit(leader).expect("a lease").index, written - 1, "readers at the leader do not see it");
    assert_eq!(cluster.replica(alive).commit(), written - 1, "other followers are not told of it");
    assert!(cluster.local_permit(alive).is_some_and(|permit| permit.index == written), "it is received");
    cluster.run_until("the write", |cluster| applied(cluster, leader) == written);
    let took = cluster.now - start;
    assert!(took <= HOLD, "it took {took:?}");
    cluster.run(2 * MS);
    assert_eq!(applied(&cluster, alive), written, "the others hear of it at once");
    let next = cluster.propose(leader, "set b").expect("a leader").index;
    cluster.run(10 * MS);
    assert_eq!(applied(&cluster, leader), next, "the next write waits for no dead reader");
    cluster.restart(dead);
    await_permits(&mut cluster, &[dead]);
    assert_eq!(cluster.local_permit(dead).expect("a sublease").index, next, "it is granted again once it caught up");
}

#[test]
fn reads_by_quorum_see_nothing_that_a_reader_does_not_have() {
    let (mut cluster, leader, [away, _]) = with_readers();
    cluster.cut.insert((leader, away));
    let written = cluster.propose(leader, "set a").expect("a leader").index;
    cluster.run_until("the commit", |cluster| cluster.replica(leader).commit() == written);
    let ticket = cluster.quorum_read(leader).expect("a leader");
    assert_eq!(ticket.index, written - 1);
    cluster.run(10 * MS);
    assert!(cluster.nodes[&leader].confirmed_through >= ticket.round);
    assert_eq!(cluster.local_permit(away).expect("a sublease").index, written - 1);
}

/// A leader that stepped down, and one that shuts down, hand out nothing that a reader does not have.
#[test]
fn a_former_leader_shows_nothing_more() {
    for retires in [false, true] {
        let (mut cluster, leader, [away, near]) = with_readers();
        cluster.cut.insert((leader, away));
        cluster.run(2 * MS);
        let written = cluster.propose(leader, "set a").expect("a leader").index;
        cluster.run_until("the commit", |cluster| cluster.replica(leader).commit() == written);
        if retires {
            cluster.with(leader, |replica, now| replica.retire(now));
        } else {
            depose(&mut cluster, leader, near);
        }
        assert!(cluster.local_permit(away).is_some(), "retires: {retires}");
        while cluster.local_permit(away).is_some() {
            assert!(applied(&cluster, leader) < written, "retires: {retires}");
            cluster.run(MS);
        }
        cluster.heal();
        cluster.run_until("the entry everywhere", |cluster| (1..=3).all(|id| applied(cluster, id) >= written));
    }
}

#[test]
fn a_node_that_granted_helps_elect_no_other_leader() {
    let (mut cluster, leader, [away, near]) = with_readers();
    cluster.cut.insert((leader, away));
    depose(&mut cluster, leader, near);
    let term = cluster.replica(leader).term();
    let held = cluster.replica(leader).held_for().expect("a clock");
    assert!(held > HOLD / 2, "an orderly stop would record {held:?}");
    let mut withheld = cluster.replica(leader).statistics().votes_withheld;
    assert!(cluster.local_permit(away).is_some());
    while cluster.local_permit(away).is_some() {
        assert!(cluster.with(leader, |replica, now| replica.campaign(now)).is_err(), "it does not campaign");
        // Anyone would vote for a log that is so long.
        for kind in [MessageKind::RequestPreVote, MessageKind::RequestVote] {
            let mut request = message(kind, term + 1);
            (request.messages[0].index, request.messages[0].log_term) = (100, term);
            cluster.with(leader, |replica, now| replica.handle_envelope(now, near, request));
            withheld += 1;
            let replica = cluster.replica(leader);
            assert_eq!((replica.statistics().votes_withheld, replica.term()), (withheld, term), "its engine saw it");
        }
        cluster.run(MS);
        assert!((1..=3).all(|id| cluster.replica(id).role() != Role::Leader), "it votes for no other");
    }
    cluster.heal();
    cluster.run_until("a leader", |cluster| cluster.leader().is_some_and(|id| cluster.replica(id).term() >= term));
}

#[test]
fn a_transfer_recalls_the_subleases_first() {
    for dies in [false, true] {
        let (mut cluster, leader, [target, reader]) = with_readers();
        if dies {
            cluster.kill(reader);
        }
        let start = cluster.now;
        cluster.with(leader, |replica, now| replica.transfer(now, target)).expect("an active voter");
        assert!(obligations(&cluster, leader) > 0);
        assert!(cluster.permit(leader).is_some(), "the lease is not released while a reader may use a sublease");
        while cluster.leader() == Some(leader) {
            let left = obligations(&cluster, leader);
            let released = cluster.replica(leader).holder().release();
            assert!(left == 0 || released.is_none(), "released with {left} obligations");
            cluster.run(MS);
        }
        cluster.run_until("the target leads", |cluster| cluster.leader() == Some(target));
        let took = cluster.now - start;
        if dies {
            assert!(took > HOLD / 2 && took < HOLD + 10 * HEARTBEAT, "a dead reader delays it by a lease: {took:?}");
        } else {
            assert!(took < HEARTBEAT, "the readers return at once: {took:?}");
            await_permits(&mut cluster, &[reader]);
        }
    }
}

#[test]
fn a_transfer_that_a_peer_asked_for_waits_for_readers_too() {
    let (mut cluster, leader, [target, reader]) = with_readers();
    cluster.kill(reader);
    let request = message(MessageKind::TransferLeader, cluster.replica(leader).term());
    cluster.with(leader, |replica, now| replica.handle_envelope(now, target, request));
    assert!(cluster.permit(leader).is_some(), "nothing is released yet");
    cluster.run_until("the target leads", |cluster| cluster.leader() == Some(target));
    // A transfer to itself abandons one that waits.
    let (mut cluster, leader, [target, reader]) = with_readers();
    cluster.kill(reader);
    cluster.with(leader, |replica, now| replica.transfer(now, target)).expect("an active voter");
    cluster.with(leader, |replica, now| replica.transfer(now, leader)).expect("the leader");
    cluster.run(2 * HOLD);
    assert_eq!(cluster.leader(), Some(leader));
    await_permits(&mut cluster, &[target]);
}

#[test]
fn a_leader_without_a_clock_and_with_a_dead_reader_steps_down() {
    let (mut cluster, leader, [dead, other]) = with_readers();
    cluster.kill(dead);
    cluster.nodes.get_mut(&leader).expect("a node").clock_failed = true;
    let written = cluster.propose(leader, "set a").expect("a leader").index;
    let start = cluster.now;
    cluster.run_until("the leader steps down", |cluster| cluster.replica(leader).role() != Role::Leader);
    let counts = cluster.replica(leader).statistics();
    assert_eq!((counts.leaderships_blocked, counts.leaderships_given_up), (1, 0), "neither its disk nor its links");
    assert!(cluster.now - start > HOLD, "a lease may still be in use by the clock of the reader");
    assert!(applied(&cluster, leader) < written);
    cluster.restart(dead);
    cluster.run_until("another leads", |cluster| cluster.leader().is_some_and(|new| new != leader));
    cluster.run_until("the write", |cluster| applied(cluster, other) >= written);
}

#[test]
fn a_reader_that_does_not_keep_up_is_recalled_and_granted_again_later() {
    let (mut cluster, leader, [slow, _]) = with_readers();
    // Appends to it are lost, everything small arrives: its sublease could be renewed for ever.
    let written = cluster.propose(leader, "set a").expect("a leader").index;
    let start = cluster.now;
    let is_append = |message: &InTransit| {
        message.to == slow && message.envelope.messages.iter().any(|m| m.kind == MessageKind::Append)
    };
    while applied(&cluster, leader) < written {
        cluster.intercept(is_append);
        cluster.run(MS);
    }
    let took = cluster.now - start;
    assert!(took < HOLD * 3 / 4, "the reader returned its sublease: {took:?}");
    for _ in 0..2000 {
        cluster.intercept(is_append);
        cluster.run(MS);
        assert_eq!(cluster.local_permit(slow), None, "it gets none before it has caught up");
    }
    await_permits(&mut cluster, &[slow]);
    assert_eq!(cluster.local_permit(slow).expect("a sublease").index, written);
}

/// Adds learner 4, which reads locally, and compacts what it would need, so that it gets the state. Returns the last index
/// that was compacted.
fn add_learner_without_log(cluster: &mut Cluster, leader: NodeId) -> Index {
    for _ in 0..5 {
        cluster.propose(leader, "set a").expect("a leader");
        cluster.run(10 * MS);
    }
    let last = applied(cluster, leader);
    cluster.with(leader, |replica, _| replica.compact(last));
    cluster.add_node(4);
    cluster.set_local_reads(4, true);
    cluster.change(leader, &Change::new(Transition::Auto, vec![Step::AddLearner(4)])).expect("no change is pending");
    last
}

#[test]
fn a_learner_reads_and_so_does_a_node_that_got_a_snapshot() {
    let (mut cluster, leader, readers) = with_readers();
    let last = add_learner_without_log(&mut cluster, leader);
    await_permits(&mut cluster, &[4]);
    await_permits(&mut cluster, &readers);
    assert!(cluster.replica(4).compacted() >= last, "it got a snapshot");
    let written = cluster.propose(leader, "set b").expect("a leader").index;
    cluster.run(10 * MS);
    assert_eq!(cluster.local_permit(4).expect("a sublease").index, written);
    cluster.isolate(4);
    let written = cluster.propose(leader, "set c").expect("a leader").index;
    cluster.run(HOLD / 2);
    assert!(applied(&cluster, leader) < written, "a write waits for a learner too");
    cluster.run_until("the write", |cluster| applied(cluster, leader) == written);
    assert_eq!(cluster.local_permit(4), None);
}

/// A node that gets the leader's state delays no write before it has caught up, and then reads what was shown meanwhile.
#[test]
fn snapshot_to_reader() {
    let (mut cluster, leader, readers) = with_readers();
    add_learner_without_log(&mut cluster, leader);
    let is_state = |message: &InTransit| message.to == 4 && message.state.is_some();
    cluster.run_until("the state leaves", |cluster| cluster.wire.iter().any(is_state));
    let state = cluster.intercept(is_state);
    for _ in 0..100 {
        let written = cluster.propose(leader, "set b").expect("a leader").index;
        cluster.run(10 * MS);
        assert_eq!(applied(&cluster, leader), written, "nothing waits for it");
        assert_eq!(cluster.local_permit(4), None);
    }
    let requested = cluster.replica(4).reader().expect("it has started once").statistics().requested;
    assert!(requested > 0, "it asks all the time");
    state.into_iter().for_each(|state| cluster.deliver(state));
    await_permits(&mut cluster, &[4]);
    let permit = cluster.local_permit(4).expect("a sublease");
    assert!(permit.index >= applied(&cluster, leader), "{permit:?}");
    assert!(readers.iter().all(|reader| cluster.local_permit(*reader).is_some()));
}

#[test]
fn voters_change_only_when_no_sublease_is_left() {
    for dies in [false, true] {
        let (mut cluster, leader, [one, two]) = with_readers();
        for id in [4, 5] {
            cluster.add_node(id);
            cluster.set_local_reads(id, true);
        }
        let learners = Change::new(Transition::Auto, vec![Step::AddLearner(4), Step::AddLearner(5)]);
        cluster.change(leader, &learners).expect("no change is pending");
        await_permits(&mut cluster, &[one, two, 4, 5]);
        if dies {
            cluster.kill(two);
        }
        let replace = Change::new(Transition::Auto, vec![Step::AddVoter(4), Step::AddVoter(5), Step::Remove(two)]);
        let start = cluster.now;
        let changed = cluster.change(leader, &replace).expect("no change is pending").index;
        while cluster.replica(leader).membership().changed < changed {
            cluster.run(MS);
            let voters = cluster.replica(leader).membership().voters.contains(&4);
            assert!(!voters || obligations(&cluster, leader) == 0, "changed under subleases");
        }
        let took = cluster.now - start;
        assert!(if dies { took > HOLD / 2 } else { took < HEARTBEAT }, "dies: {dies}, it took {took:?}");
        cluster.run_until("the joint configuration is left", |cluster| {
            cluster.replica(leader).membership().voters_outgoing.is_empty()
        });
        await_permits(&mut cluster, &[one, 4, 5]);
        if !dies {
            cluster.run(HOLD);
            assert_eq!(cluster.local_permit(two), None, "a node that was removed reads no more");
        }
    }
}

#[test]
fn a_reader_that_is_switched_off_reads_no_more_and_delays_no_write() {
    let (mut cluster, leader, [reader, _]) = with_readers();
    cluster.set_local_reads(reader, false);
    assert_eq!(cluster.local_permit(reader), None);
    cluster.run(5 * MS);
    cluster.isolate(reader);
    let written = cluster.propose(leader, "set a").expect("a leader").index;
    cluster.run(10 * MS);
    assert_eq!(applied(&cluster, leader), written);
}

#[test]
fn subleases_end_with_the_term_of_their_leader() {
    let (mut cluster, leader, [one, two]) = with_readers();
    cluster.isolate(leader);
    cluster.run_until("another leads", |cluster| {
        let new = cluster.leader().filter(|new| *new != leader);
        new.is_some_and(|new| cluster.permit(new).is_some())
    });
    let new = cluster.leader().expect("a leader");
    let reader = if new == one { two } else { one };
    await_permits(&mut cluster, &[reader]);
    assert_eq!(cluster.local_permit(reader).expect("a sublease").term, cluster.replica(new).term());
    assert_eq!(cluster.local_permit(new), None);
}

#[test]
fn no_sublease_is_cut_while_a_change_of_voters_waits_to_be_applied() {
    let (mut cluster, leader, [removed, _]) = with_readers();
    let granted = |cluster: &Cluster| cluster.replica(leader).lender().statistics().granted;
    let remove = Change::new(Transition::Auto, vec![Step::Remove(removed)]);
    let changed = cluster.change(leader, &remove).expect("no change is pending").index;
    let before = granted(&cluster);
    for _ in 0..500 {
        cluster.intercept(|message| message.envelope.is_bulk());
        cluster.run(MS);
    }
    assert!(cluster.replica(leader).commit() < changed && cluster.permit(leader).is_some());
    assert_eq!(granted(&cluster), before);
    cluster.run_until("the change", |cluster| cluster.replica(leader).membership().changed == changed);
    cluster.run_until("subleases again", |cluster| granted(cluster) > before);
}

#[test]
fn an_orderly_stop_records_how_long_its_subleases_last() {
    let (mut cluster, leader, readers) = with_readers();
    let remaining = cluster.with(leader, |replica, now| replica.leave(now)).expect("a clock");
    cluster.run(remaining);
    for reader in readers {
        assert_eq!(cluster.local_permit(reader), None, "node {reader}, after {remaining:?}");
    }
}

#[test]
fn a_reader_that_shuts_down_delays_no_write() {
    let (mut cluster, leader, [reader, _]) = with_readers();
    cluster.with(reader, |replica, now| replica.retire(now));
    assert_eq!(cluster.local_permit(reader), None);
    cluster.run(5 * MS);
    cluster.kill(reader);
    let written = cluster.propose(leader, "set a").expect("a leader").index;
    cluster.run(10 * MS);
    assert_eq!(applied(&cluster, leader), written);
}

#[test]
fn a_reader_that_restarts_acknowledges_anew_before_it_reads() {
    let (mut cluster, leader, [reader, _]) = with_readers();
    for _ in 0..20 {
        cluster.restart(reader);
        assert_eq!(cluster.local_permit(reader), None, "a restart forgets its sublease");
        let written = cluster.propose(leader, "set a").expect("a leader").index;
        await_permits(&mut cluster, &[reader]);
        assert!(cluster.local_permit(reader).is_some_and(|permit| permit.index >= written));
        cluster.run(30 * MS);
    }
}

#[test]
fn a_reader_that_lost_entries_of_its_log_reads_no_more() {
    let (mut cluster, leader, [reader, _]) = with_readers();
    let mut beyond = message(MessageKind::Heartbeat, cluster.replica(leader).term());
    beyond.messages[0].commit = cluster.replica(leader).commit() + 1;
    cluster.with(reader, |replica, now| {
        assert!(replica.reader_cell().try_read(now).is_some());
        replica.handle_envelope(now, leader, beyond);
        assert_eq!(replica.reader_cell().try_read(now), None, "before anything of that step leaves");
        assert!(replica.log_may_be_cut());
    });
}

#[test]
fn a_leader_that_shuts_down_recalls_its_subleases() {
    let (mut cluster, leader, readers) = with_readers();
    let written = cluster.propose(leader, "set a").expect("a leader").index;
    cluster.with(leader, |replica, now| replica.retire(now));
    cluster.run(10 * MS);
    assert_eq!((obligations(&cluster, leader), applied(&cluster, leader)), (0, written));
    assert!(readers.iter().all(|reader| cluster.local_permit(*reader).is_none()));
}

#[test]
fn a_transfer_that_waited_for_readers_checks_its_target_again() {
    for hands_over in [false, true] {
        let mut cluster = Cluster::founded(5);
        let leader = cluster.elect();
        cluster.run(2 * HOLD);
        let reader = if leader == 5 { 4 } else { 5 };
        cluster.set_local_reads(reader, true);
        await_permits(&mut cluster, &[reader]);
        cluster.kill(reader);
        let target = cluster.with(leader, |replica, now| match hands_over {
            true => replica.hand_over(now).expect("voters that follow"),
            false => (1..=3)
                .find(|id| *id != leader)
                .inspect(|id| replica.transfer(now, *id).expect("it follows"))
                .expect("one"),
        });
        assert!(obligations(&cluster, leader) > 0 && target != reader);
        cluster.kill(target);
        let start = cluster.now;
        while cluster.now - start < 2 * HOLD && cluster.leader() == Some(leader) {
            if !hands_over {
                cluster.propose(leader, "set a").expect("it leads on");
                assert!(cluster.permit(leader).is_some(), "its lease is not released");
            }
            cluster.run(MS);
        }
        assert_eq!(cluster.leader() == Some(leader), !hands_over);
    }
}

#[test]
fn followers_learn_at_once_of_what_is_exposed_while_a_later_entry_waits() {
    let (mut cluster, leader, [dead, alive]) = with_readers();
    cluster.run(HEARTBEAT / 2);
    let first = cluster.propose(leader, "set a").expect("a leader").index;
    let mut acks = Vec::new();
    for _ in 0..10 {
        acks.extend(cluster.intercept(|message| (message.from, message.to) == (dead, leader)));
        cluster.run(MS);
    }
    cluster.kill(dead);
    let second = cluster.propose(leader, "set b").expect("a leader").index;
    cluster.run_until("the commit", |cluster| cluster.replica(leader).commit() == second);
    assert_eq!(cluster.replica(leader).exposed(), first - 1);
    acks.into_iter().for_each(|ack| cluster.deliver(ack));
    assert_eq!(cluster.replica(leader).exposed(), first);
    cluster.run(cluster.latency + MS);
    assert_eq!(applied(&cluster, alive), first);
}
