//! A state is sent to a follower in chunks, off the node, which goes on meanwhile.

mod support;

use bytes::Bytes;
use leasehold_core::NodeId;
use leasehold_node::ports::Stage;
use leasehold_node::snapshot::Work;
use leasehold_node::wire::{Body, RequestId, Transfer};
use leasehold_node::{GroupStatistics, Input};
use leasehold_raft::wire::{Membership, Snapshot};
use leasehold_testing::dice::Dice;
use support::{Cluster, GROUP, HOLD, InTransit, List, TICK};

/// The number of entries beyond which the log is compacted.
const MAX_LOG_ENTRIES: usize = 10;
/// The commands in the state: more than chunks may be sent ahead.
const COMMANDS: usize = 60;

fn transfer(transit: &InTransit) -> Option<&Transfer> {
    match &transit.message.body {
        Body::Transfer { transfer, .. } => Some(transfer),
        _ => None,
    }
}

fn is_chunk(transit: &InTransit) -> bool {
    matches!(transfer(transit), Some(Transfer::Chunk { .. }))
}

fn is_offer(transit: &InTransit) -> bool {
    matches!(transfer(transit), Some(Transfer::Offer { .. }))
}

fn is_answer(transit: &InTransit) -> bool {
    matches!(transfer(transit), Some(Transfer::Stored { .. } | Transfer::Lacking { .. } | Transfer::Done))
}

/// Returns a cluster led by node 1 in which node 3 is down for so long that it needs a snapshot. A chunk has a record.
fn with_outdated_follower() -> Cluster {
    let mut cluster = Cluster::with_options(3, |group| {
        group.max_log_entries = MAX_LOG_ENTRIES;
        group.max_kept_log_entries = 4 * COMMANDS;
        group.max_chunk_bytes = 1;
    });
    cluster.elect(1);
    cluster.isolate(3);
    for _ in 0..COMMANDS - 4 {
        cluster.write(1, "a");
        cluster.run(TICK);
    }
    // Longer than the log is kept for a follower that does not answer.
    cluster.run(31 * HOLD);
    // Each compaction drops half of the log.
    for _ in 0..4 {
        cluster.write(1, "a");
        cluster.run(2 * TICK);
    }
    assert!(log_entries(&cluster, 1) <= MAX_LOG_ENTRIES);
    assert_eq!(cluster.applied(1).len(), COMMANDS);
    cluster
}

fn log_entries(cluster: &Cluster, id: NodeId) -> usize {
    cluster.members[&id].node.group(GROUP).unwrap().replica().log_size().0
}

fn statistics(cluster: &Cluster, id: NodeId) -> GroupStatistics {
    cluster.members[&id].node.group(GROUP).unwrap().statistics()
}

/// Lets time pass until node 3 has stored some chunks, and the others are held back.
fn until_half_way(cluster: &mut Cluster) {
    cluster.heal();
    for _ in 0..200 {
        cluster.run(TICK);
        let held = cluster.intercept(is_chunk);
        for transit in held {
            cluster.deliver(transit);
            cluster.settle();
        }
        let staged = cluster.members[&3].groups[&GROUP].staged.len();
        if staged > COMMANDS / 3 {
            assert!(staged < COMMANDS);
            return;
        }
    }
    panic!("no snapshot arrives");
}

fn is_equal(cluster: &Cluster) -> bool {
    cluster.applied(3) == cluster.applied(1)
}

#[test]
fn a_snapshot_arrives_in_chunks_and_is_installed_when_all_are_durable() {
    let mut cluster = with_outdated_follower();
    cluster.held = is_chunk;
    until_half_way(&mut cluster);
    let term = cluster.members[&3].node.status(GROUP).unwrap().term;
    assert_eq!(cluster.applied(3), [""; 0], "nothing is installed before everything is there");
    cluster.held = |_| false;
    cluster.member(3).disk_stalled = true;
    cluster.run(2 * HOLD);
    assert_eq!(cluster.applied(3), [""; 0], "nothing is installed before everything is durable");
    assert!(cluster.leads(1), "node 3 goes on meanwhile");
    assert_eq!(cluster.members[&3].node.status(GROUP).unwrap().term, term);
    cluster.member(3).disk_stalled = false;
    cluster.run(4 * TICK);
    assert!(is_equal(&cluster));
    assert_eq!(cluster.members[&3].groups[&GROUP].staged.len(), 0, "what was staged is installed");
    let read = cluster.read(3);
    cluster.settle();
    assert!(cluster.grant(read).as_follower);
}

#[test]
fn a_sender_is_only_a_few_chunks_ahead_of_what_is_durable() {
    let mut cluster = with_outdated_follower();
    cluster.member(3).disk_stalled = true;
    cluster.heal();
    cluster.run(4 * HOLD);
    let batches = cluster.members[&3].commits.iter().flat_map(|(_, batches)| batches);
    assert_eq!(batches.filter(|batch| matches!(batch.stage, Some(Stage::Add(_)))).count(), 8);
    cluster.member(3).disk_stalled = false;
    cluster.run(4 * TICK);
    assert!(is_equal(&cluster));
}

#[test]
fn a_transfer_resumes_after_lost_chunks_and_answers() {
    let mut cluster = with_outdated_follower();
    cluster.heal();
    let (mut lost, mut delivered) = (0, 0);
    let mut dice = Dice::new(7, 0);
    cluster.held = |transit| is_chunk(transit) || is_answer(transit);
    for _ in 0..4000 {
        cluster.run(TICK);
        for transit in cluster.intercept(|transit| is_chunk(transit) || is_answer(transit)) {
            if dice.chance(200_000) {
                lost += 1;
                continue;
            }
            delivered += 1;
            cluster.deliver(transit.clone());
            if dice.chance(300_000) {
                cluster.deliver(transit);
            }
            cluster.settle();
        }
        if is_equal(&cluster) {
            break;
        }
    }
    assert!(is_equal(&cluster), "{lost} lost, {delivered} delivered");
    assert!(lost > 10);
    assert!(statistics(&cluster, 1).transfers_resumed > 0);
    assert!(statistics(&cluster, 3).transfer_steps_ignored > 0);
    assert!(delivered < 4 * COMMANDS, "what had arrived is not sent again: {delivered}");
}

#[test]
fn the_log_is_kept_for_a_transfer_under_load_and_one_snapshot_is_enough() {
    let mut cluster = with_outdated_follower();
    cluster.held = is_chunk;
    cluster.heal();
    for _ in 0..COMMANDS - 5 {
        cluster.write(1, "b");
        cluster.run(TICK);
        // One chunk for each write.
        if let Some(chunk) = cluster.wire.iter().position(is_chunk) {
            let transit = cluster.wire.remove(chunk).unwrap();
            cluster.deliver(transit);
        }
    }
    assert!(log_entries(&cluster, 1) > 5 * MAX_LOG_ENTRIES, "what follows the snapshot is kept");
    cluster.held = |_| false;
    cluster.run(HOLD);
    assert!(is_equal(&cluster));
    assert_eq!(statistics(&cluster, 3).snapshots_installed, 1);
    for _ in 0..2 * MAX_LOG_ENTRIES {
        cluster.write(1, "c");
        cluster.run(TICK);
    }
    assert!(log_entries(&cluster, 1) <= MAX_LOG_ENTRIES, "the log is compacted again");
}

#[test]
fn the_log_is_kept_for_a_follower_that_catches_up() {
    let mut cluster = with_outdated_follower();
    cluster.heal();
    cluster.run(HOLD);
    assert!(is_equal(&cluster));
    cluster.isolate(3);
    for _ in 0..3 * MAX_LOG_ENTRIES {
        cluster.write(1, "b");
        cluster.run(TICK);
    }
    cluster.heal();
    cluster.run(HOLD);
    assert!(is_equal(&cluster));
    assert_eq!(statistics(&cluster, 3).snapshots_installed, 1, "the log still had the entries");
}

#[test]
fn a_transfer_that_the_log_no_longer_continues_is_started_again() {
    let mut cluster = with_outdated_follower();
    cluster.held = is_chunk;
    until_half_way(&mut cluster);
    for _ in 0..5 * COMMANDS {
        cluster.write(1, "b");
        cluster.settle();
    }
    cluster.run(TICK);
    assert!(log_entries(&cluster, 1) <= 4 * COMMANDS, "the log is not kept beyond its limit");
    cluster.held = |_| false;
    cluster.run(4 * HOLD);
    assert!(is_equal(&cluster));
}

#[test]
fn a_transfer_without_progress_is_given_up_and_tried_again() {
    let mut cluster = with_outdated_follower();
    cluster.heal();
    cluster.held = is_chunk;
    cluster.run(29 * HOLD);
    let first = cluster.intercept(is_chunk);
    assert!(!first.is_empty());
    let id = |transit: &InTransit| match transit.message.body {
        Body::Transfer { id, .. } => id,
        _ => panic!("a chunk"),
    };
    cluster.run(10 * HOLD);
    let second = cluster.intercept(is_chunk);
    assert_ne!(id(second.last().unwrap()), id(&first[0]));
    cluster.held = |_| false;
    cluster.run(10 * HOLD);
    assert!(is_equal(&cluster));
    // Chunks of the transfer that was given up change nothing.
    let ignored = statistics(&cluster, 3).transfer_steps_ignored;
    first.into_iter().for_each(|chunk| cluster.deliver(chunk));
    cluster.settle();
    assert!(statistics(&cluster, 3).transfer_steps_ignored > ignored);
    assert_eq!(cluster.members[&3].groups[&GROUP].staged.len(), 0);
    assert!(is_equal(&cluster));
}

#[test]
fn chunks_of_two_states_are_never_mixed() {
    let mut cluster = with_outdated_follower();
    cluster.heal();
    cluster.held = is_chunk;
    cluster.run(29 * HOLD);
    let first = cluster.intercept(is_chunk);
    cluster.run(10 * HOLD);
    assert!(cluster.wire.iter().any(is_chunk), "another transfer has begun");
    let ignored = statistics(&cluster, 3).transfer_steps_ignored;
    for chunk in &first {
        cluster.deliver(chunk.clone());
    }
    cluster.settle();
    assert_eq!(statistics(&cluster, 3).transfer_steps_ignored, ignored + first.len() as u64);
    assert_eq!(cluster.members[&3].groups[&GROUP].staged.len(), 0, "none of them is staged");
    cluster.held = |_| false;
    cluster.run(10 * HOLD);
    assert!(is_equal(&cluster));
}

#[test]
fn a_transfer_with_progress_goes_on_however_long_it_takes() {
    let mut cluster = with_outdated_follower();
    let is_bulk = |transit: &InTransit| is_chunk(transit) || is_offer(transit);
    cluster.held = is_bulk;
    cluster.heal();
    let mut chunks = 0;
    for _ in 0..2 * COMMANDS {
        // A link that carries a chunk in five holds.
        cluster.run(5 * HOLD);
        while let Some(next) = cluster.wire.iter().position(is_bulk) {
            let transit = cluster.wire.remove(next).unwrap();
            cluster.deliver(transit.clone());
            if is_chunk(&transit) {
                chunks += 1;
                break;
            }
        }
    }
    assert!(is_equal(&cluster));
    assert_eq!(chunks, COMMANDS, "no chunk is sent twice");
    assert_eq!(statistics(&cluster, 1).snapshots_sent, 1);
}

#[test]
fn a_follower_that_restarts_in_the_middle_gets_the_same_state_again_from_its_start() {
    let mut cluster = with_outdated_follower();
    cluster.held = is_chunk;
    until_half_way(&mut cluster);
    cluster.restart(3);
    assert_eq!(cluster.members[&3].groups[&GROUP].staged.len(), 0);
    cluster.held = |_| false;
    cluster.run(4 * HOLD);
    assert!(is_equal(&cluster));
    assert_eq!(statistics(&cluster, 1).snapshots_sent, 1, "no other state was needed");
}

#[test]
fn a_new_leader_sends_its_own_state() {
    let mut cluster = with_outdated_follower();
    cluster.held = is_chunk;
    until_half_way(&mut cluster);
    cluster.isolate(1);
    let leader = cluster.elect_other_than(1);
    assert_eq!(leader, 2, "node 3 lacks entries");
    cluster.held = |_| false;
    cluster.run(8 * HOLD);
    assert_eq!(cluster.applied(3), cluster.applied(2));
    cluster.heal();
    cluster.run(4 * HOLD);
    assert!(is_equal(&cluster));
    assert_eq!(cluster.members[&3].groups[&GROUP].staged.len(), 0);
}

#[test]
fn a_state_that_is_complete_when_its_sender_no_longer_leads_is_installed_all_the_same() {
    let mut cluster = with_outdated_follower();
    cluster.held = |transit| matches!(transfer(transit), Some(Transfer::Chunk { total: Some(_), .. }));
    cluster.heal();
    cluster.run(HOLD);
    assert_eq!(cluster.members[&3].groups[&GROUP].staged.len(), COMMANDS - 1);
    let last = cluster.intercept(is_chunk).pop().expect("the last chunk");
    cluster.isolate(1);
    // Nothing of the next leader's own transfer arrives.
    cluster.held = |transit| transit.from == 2 && transfer(transit).is_some();
    let leader = cluster.elect_other_than(1);
    assert_eq!(cluster.members[&3].node.status(GROUP).unwrap().leader, Some(leader));
    cluster.input(3, Input::Messages { from: 1, messages: vec![last.message] });
    cluster.settle();
    assert_eq!(cluster.applied(3).len(), COMMANDS);
    cluster.held = |_| false;
    cluster.run(4 * HOLD);
    assert_eq!(cluster.applied(3), cluster.applied(2));
}

#[test]
fn a_state_with_the_wrong_number_of_records_is_not_installed() {
    let mut cluster = with_outdated_follower();
    cluster.held = |transit| matches!(transfer(transit), Some(Transfer::Chunk { total: Some(_), .. }));
    cluster.heal();
    cluster.run(HOLD);
    let mut last = cluster.intercept(is_chunk).pop().expect("the last chunk");
    let Body::Transfer { transfer: Transfer::Chunk { total, .. }, .. } = &mut last.message.body else { panic!() };
    *total = Some(COMMANDS as u64 + 1);
    cluster.deliver(last);
    cluster.settle();
    assert_eq!(cluster.applied(3), [""; 0]);
    assert_eq!(cluster.members[&3].groups[&GROUP].staged.len(), 0, "what was staged is dropped");
    cluster.held = |_| false;
    cluster.run(8 * HOLD);
    assert!(is_equal(&cluster), "the state is sent again");
}

#[test]
fn an_offer_or_a_chunk_of_another_than_the_leader_changes_nothing() {
    let mut cluster = with_outdated_follower();
    cluster.held = is_chunk;
    until_half_way(&mut cluster);
    let (term, staged) =
        (cluster.members[&3].node.status(GROUP).unwrap().term, cluster.members[&3].groups[&GROUP].staged.len());
    let id = RequestId { boot: 9, sequence: 9 };
    let membership = Membership { voters: vec![1, 2, 3], ..Membership::default() };
    let snapshot = Snapshot { index: 1 << 40, term, membership };
    let records = Bytes::from_static(&[0; 8]);
    for step in [
        Transfer::Offer { term, stored: 0, sent: 0, snapshot: snapshot.clone() },
        Transfer::Offer { term: term - 1, stored: 0, sent: 0, snapshot },
        Transfer::Chunk { number: 0, total: Some(1), records },
        Transfer::Done,
        Transfer::Unknown,
    ] {
        let ignored = statistics(&cluster, 3).transfer_steps_ignored;
        let message = leasehold_node::wire::Message { group: GROUP, body: Body::Transfer { id, transfer: step } };
        cluster.input(3, Input::Messages { from: 2, messages: vec![message] });
        assert_eq!(statistics(&cluster, 3).transfer_steps_ignored, ignored + 1);
    }
    cluster.settle();
    assert_eq!(cluster.members[&3].groups[&GROUP].staged.len(), staged);
    cluster.held = |_| false;
    cluster.run(4 * HOLD);
    assert!(is_equal(&cluster));
    assert_eq!(statistics(&cluster, 1).snapshots_sent, 1);
}

#[test]
fn chunks_beyond_the_window_are_not_kept() {
    let mut cluster = with_outdated_follower();
    cluster.held = is_chunk;
    until_half_way(&mut cluster);
    cluster.member(3).work_stalled = true;
    let chunk = cluster.wire.iter().find(|transit| is_chunk(transit)).cloned();
    let chunk = chunk.unwrap_or_else(|| cluster.wire.back().cloned().expect("a message"));
    let Body::Transfer { id, .. } = chunk.message.body else { panic!("a chunk is held") };
    for number in 0..1000 {
        let transfer = Transfer::Chunk { number, total: None, records: Bytes::from(vec![0; 8]) };
        let message = leasehold_node::wire::Message { group: GROUP, body: Body::Transfer { id, transfer } };
        cluster.input(3, Input::Messages { from: 1, messages: vec![message] });
    }
    assert!(statistics(&cluster, 3).transfer_steps_ignored >= 990);
    assert_eq!(cluster.members[&3].work.len(), 1, "one chunk is added at a time");
}

#[test]
fn a_write_that_a_snapshot_covers_is_uncertain() {
    let mut cluster = Cluster::with_options(3, |group| {
        group.max_log_entries = MAX_LOG_ENTRIES;
        group.max_kept_log_entries = MAX_LOG_ENTRIES;
    });
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
fn the_former_state_is_dropped_off_the_node() {
    let mut cluster = with_outdated_follower();
    cluster.held = |transit| matches!(transfer(transit), Some(Transfer::Chunk { total: Some(_), .. }));
    cluster.heal();
    cluster.run(HOLD);
    cluster.held = |_| false;
    let last = cluster.intercept(is_chunk).pop().expect("the last chunk");
    cluster.deliver(last);
    while cluster.members[&3].work.iter().any(|work| matches!(work, Work::<List>::Add { .. })) {
        cluster.work(3);
        cluster.member(3).work_stalled = true;
    }
    cluster.settle();
    assert!(cluster.members[&3].work.iter().all(|work| matches!(work, Work::Drop(_))));
    assert_eq!(cluster.members[&3].work.len(), 1);
}
