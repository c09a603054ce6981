//! Failures that need an engine, with real replicas on virtual time. With `tampered` the harness breaks a rule from outside the
//! replicas, where that is possible.

use leasehold_core::NodeId;
use leasehold_raft::wire::{Change, Envelope, Local, Message, MessageKind, Payload, Step, Transition};
use leasehold_raft::{CampaignError, Role};
use leasehold_testing::cluster::{Cluster, HOLD, InTransit};
use leasehold_tests::journal::Journal;
use leasehold_tests::world::{StoryError, StoryResult};
use std::time::Duration;

/// Returns the two followers in a cluster of three.
fn others(leader: NodeId) -> [NodeId; 2] {
    match leader {
        1 => [2, 3],
        2 => [1, 3],
        _ => [1, 2],
    }
}

fn is_campaign_now(message: &InTransit) -> bool {
    message.envelope.messages.iter().any(|message| message.kind == MessageKind::TimeoutNow)
}

/// Returns a request that any voter with the leader's log would grant.
fn vote_request(cluster: &Cluster, leader: NodeId, kind: MessageKind, transfer: bool) -> Envelope {
    let replica = cluster.replica(leader);
    let message = Message {
        log_term: replica.term() + 1,
        index: replica.commit() + 10,
        transfer,
        ..Message::new(kind, replica.term() + 1)
    };
    Envelope { messages: vec![message], ..Envelope::default() }
}

pub(crate) fn tick_burst_voter(_: bool, journal: &mut Journal, leader: NodeId) -> StoryResult {
    let [candidate, voter] = others(leader);
    journal.says(
        "A voter's timer was stalled for 0.9 s and fires a thousand times at once; then it is asked for its vote:",
    );
    journal.says("a pre-vote, a vote, and a forced vote as in a transfer. Its hold is kept in time, not in ticks.");
    journal.cluster.cut.insert((leader, candidate));
    journal.run(300)?;
    journal.cluster.nodes.get_mut(&voter).expect("a node").paused = true;
    journal.run(900)?;
    journal.cluster.nodes.get_mut(&voter).expect("a node").paused = false;
    // It handles what it missed first, and so has acknowledged a moment ago.
    journal.run(1)?;
    for _ in 0..1000 {
        journal.cluster.with(voter, |replica, now| replica.handle_timeout(now));
    }
    let withheld = journal.cluster.replica(voter).statistics().votes_withheld;
    for (kind, transfer) in
        [(MessageKind::RequestPreVote, false), (MessageKind::RequestVote, false), (MessageKind::RequestVote, true)]
    {
        let request = vote_request(&journal.cluster, leader, kind, transfer);
        journal.cluster.with(voter, |replica, now| replica.handle_envelope(now, candidate, request));
        journal.look()?;
    }
    let (term, granted) = (journal.cluster.replica(leader).term(), journal.cluster.replica(voter).term());
    journal.must(granted == term, "the voter stays in the leader's term")?;
    let withheld = journal.cluster.replica(voter).statistics().votes_withheld - withheld;
    journal.must(withheld == 3, "its engine saw none of the three")?;
    journal.run(200)?;
    journal.must(journal.cluster.permit(leader).is_some(), "the leader's lease is warm")?;
    journal.says("No term has changed, and the leader still reads by its lease.");
    Ok(())
}

pub(crate) fn tick_burst_candidate(_: bool, journal: &mut Journal, leader: NodeId) -> StoryResult {
    let [stalled, _] = others(leader);
    journal.says("A follower that acknowledged a moment ago fires a thousand ticks at once. It must not campaign.");
    for _ in 0..1000 {
        journal.cluster.with(stalled, |replica, now| replica.handle_timeout(now));
    }
    journal.look()?;
    journal.must(journal.cluster.replica(stalled).role() == Role::Follower, "it follows on")?;
    journal.run(500)?;
    journal.must(journal.cluster.leader() == Some(leader), "the leader leads on")?;
    journal.must(journal.cluster.permit(leader).is_some(), "with a lease")?;
    journal.says("Half a second later nothing has changed.");
    Ok(())
}

pub(crate) fn operator_campaign(_: bool, journal: &mut Journal, leader: NodeId) -> StoryResult {
    let [follower, _] = others(leader);
    journal.says("An operator tells a follower to campaign, which acknowledged the leader's round just now.");
    let refused = journal.cluster.with(follower, |replica, now| replica.campaign(now));
    journal.look()?;
    journal.must(refused == Err(CampaignError::Held), "it is told that the node is held")?;
    journal.run(300)?;
    journal.must(journal.cluster.permit(leader).is_some(), "the lease goes on")?;
    journal.says("The leader is cut off. As soon as the follower's hold is over, the operator's request succeeds.");
    journal.cluster.isolate(leader);
    journal.run(HOLD.as_millis() as u64 + 1)?;
    journal.must(journal.cluster.permit(leader).is_none(), "the lease was over before that")?;
    let taken = journal.cluster.with(follower, |replica, now| replica.campaign(now));
    journal.look()?;
    journal.must(taken == Ok(()), "the campaign begins")?;
    journal.run_until("the follower leads", 100, |cluster| cluster.leader() == Some(follower))
}

pub(crate) fn forgotten_commit(tampered: bool, journal: &mut Journal, leader: NodeId) -> StoryResult {
    let [one, two] = others(leader);
    journal.says("Two learners become voters, one after the other; then two founders restart, cut off from the rest.");
    journal.says(
        "They have both changes in their logs. A commit index that was not on disk would let the two of them elect",
    );
    journal.says("a second leader, under the configuration of three, next to the one of five.");
    let before = journal.cluster.nodes[&one].disk.hard_state.commit;
    journal.cluster.add_node(4);
    journal.cluster.add_node(5);
    let learners = Change::new(Transition::Auto, vec![Step::AddLearner(4), Step::AddLearner(5)]);
    let position = journal.cluster.change(leader, &learners);
    journal.must(position.is_ok(), "the learners are proposed")?;
    journal.run_until("both have joined", 2000, |cluster| {
        [4, 5].into_iter().all(|node| cluster.replica(node).membership().learners == [4, 5])
    })?;
    for id in [4, 5] {
        let change = Change::new(Transition::Auto, vec![Step::AddVoter(id)]);
        let position = journal.cluster.change(leader, &change);
        journal.must(position.is_ok(), "the change is proposed")?;
        journal.run_until("the change is applied everywhere", 2000, |cluster| {
            (1..=5).all(|node| cluster.replica(node).membership().voters.contains(&id))
        })?;
    }
    for id in [one, two] {
        for other in [leader, 4, 5] {
            journal.cluster.cut.insert((id, other));
            journal.cluster.cut.insert((other, id));
        }
        journal.cluster.kill(id);
    }
    journal.look()?;
    for id in [one, two] {
        if tampered {
            // The same as if entries were written without the commit index that was known by then.
            journal.cluster.nodes.get_mut(&id).expect("a node").disk.hard_state.commit = before;
        }
        journal.cluster.start(id, leasehold_testing::cluster::timing());
        if tampered {
            // The harness would reject such a disk if it were written again; it is not.
            journal.cluster.nodes.get_mut(&id).expect("a node").disk.entries.iter_mut().for_each(|entry| {
                entry.payload = Payload::Command(Default::default());
            });
        }
    }
    for _ in 0..5000 {
        journal.run(1)?;
        for id in [one, two] {
            journal.must(journal.cluster.replica(id).role() != Role::Leader, "two of five elect no leader")?;
        }
    }
    journal.must(journal.cluster.permit(leader).is_some(), "three of five go on")?;
    journal.says("Five seconds later the two have no leader, and the leader of the other three reads by its lease.");
    Ok(())
}

/// A single voter, node 1, and a learner.
pub(crate) fn single_voter_unsynced_term(_: bool, journal: &mut Journal, leader: NodeId) -> StoryResult {
    journal.says("n1 is the only voter, n2 a learner. n1 restarts with a slow disk, and elects itself at once.");
    journal.says("Nothing of the new term may leave before it is on disk: a crash would take the term back.");
    journal.cluster.add_node(2);
    let change = Change::new(Transition::Auto, vec![Step::AddLearner(2)]);
    let position = journal.cluster.change(leader, &change);
    journal.must(position.is_ok(), "the learner is proposed")?;
    journal
        .run_until("the learner has joined", 2000, |cluster| cluster.replica(2).term() == cluster.replica(1).term())?;
    // Two writes, so that what is on disk says that the learner's addition is committed.
    for command in ["set a", "set b"] {
        let position = journal.cluster.propose(leader, command);
        journal.must(position.is_ok(), "a write is proposed")?;
        journal.run(100)?;
    }
    journal.cluster.restart(1);
    journal.run_until("n1 knows its learner", 2000, |cluster| cluster.replica(1).membership().learners == [2])?;
    journal.cluster.disk_latency = Duration::from_secs(60);
    let durable = journal.cluster.nodes[&1].disk.hard_state.term;
    journal.run_until("n1 leads again", 4000, |cluster| cluster.leader() == Some(1))?;
    journal.run(1000)?;
    journal.must(journal.cluster.replica(2).term() == durable, "the learner has not heard of the new term")?;
    journal.must(journal.cluster.permit(1).is_none(), "n1 has no lease in it")?;
    journal.says(
        "n1 crashes: the term was never on its disk. It elects itself again, this time with a disk that keeps up.",
    );
    journal.cluster.kill(1);
    journal.look()?;
    journal.cluster.disk_latency = Duration::from_millis(1);
    journal.cluster.start(1, leasehold_testing::cluster::timing());
    journal.run_until("n1 has a lease", 4000, |cluster| cluster.permit(1).is_some())?;
    let term = journal.cluster.replica(1).term();
    journal.run_until("the learner hears of the term", 1000, |cluster| cluster.replica(2).term() == term)
}

pub(crate) fn two_transfers(tampered: bool, journal: &mut Journal, leader: NodeId) -> StoryResult {
    let [first, second] = others(leader);
    journal.says(
        "Leadership is handed to one node, then, before anything came of it, to another. Both messages are delayed.",
    );
    journal.says("The leader abandons both and earns its lease again. After that, either message is stale.");
    let mut late = Vec::new();
    for target in [first, second] {
        journal.cluster.with(leader, |replica, now| replica.transfer(now, target)).expect("an active voter");
        late.extend(journal.cluster.intercept(is_campaign_now));
        journal.look()?;
        journal.run(20)?;
    }
    journal.must(late.len() == 2, "both were asked to campaign")?;
    journal.run_until("the lease is earned again", 3000, |cluster| cluster.permit(leader).is_some())?;
    for mut message in late.clone() {
        if tampered {
            // The same as if grantors did not compare a release with what they acknowledged.
            let term = journal.cluster.replica(leader).term();
            message.envelope.release = Some((term, u64::MAX));
        }
        journal.cluster.deliver(message);
        journal.look()?;
        journal.run(100)?;
        journal.must(journal.cluster.leader() == Some(leader), "a stale release makes no node campaign")?;
    }
    journal.must(journal.cluster.permit(leader).is_some(), "the lease goes on")?;
    journal.says("The first message comes once more, while a third transfer, to the second node, is under way: that one succeeds.");
    journal.cluster.with(leader, |replica, now| replica.transfer(now, second)).expect("an active voter");
    if let Some(again) = late.into_iter().next() {
        journal.cluster.deliver(again);
    }
    journal.look()?;
    journal.run_until("the second node leads", 100, |cluster| cluster.leader() == Some(second))?;
    journal.run_until("with a lease", 100, |cluster| cluster.permit(second).is_some())
}

pub(crate) fn hidden_transfer(_: bool, journal: &mut Journal, leader: NodeId) -> StoryResult {
    let [target, _] = others(leader);
    journal.says("A follower that lags asks the leader for leadership. The engine waits until it has caught up,");
    journal.says("and sends \"campaign now\" inside a later step, which the lease must notice.");
    journal.cluster.cut.insert((leader, target));
    let position = journal.cluster.propose(leader, "set a");
    journal.must(position.is_ok(), "a write is proposed")?;
    journal.run(10)?;
    let mut request = vote_request(&journal.cluster, leader, MessageKind::TransferLeader, false);
    for message in &mut request.messages {
        message.term = journal.cluster.replica(leader).term();
        (message.index, message.log_term) = (0, 0);
    }
    journal.cluster.with(leader, |replica, now| replica.handle_envelope(now, target, request));
    journal.must(journal.cluster.permit(leader).is_none(), "the lease is gone when the transfer begins")?;
    journal.look()?;
    journal.must(!journal.cluster.wire.iter().any(is_campaign_now), "the target is not asked yet")?;
    journal.run(30)?;
    journal.says("The link is repaired, and the target catches up.");
    journal.cluster.heal();
    journal.run_until("it is asked to campaign", 500, |cluster| cluster.wire.iter().any(is_campaign_now))?;
    let released = journal.cluster.wire.iter().filter(|message| is_campaign_now(message));
    let released = released.map(|message| message.envelope.release).all(|release| release.is_some());
    journal.must(released, "the message carries the release")?;
    journal.must(journal.cluster.permit(leader).is_none(), "the leader has no lease")?;
    journal.run_until("the target leads", 100, |cluster| cluster.leader() == Some(target))?;
    journal.run_until("with a lease", 200, |cluster| cluster.permit(target).is_some())
}

/// Four voters, of which three are a quorum.
pub(crate) fn leader_without_quorum(_: bool, journal: &mut Journal, leader: NodeId) -> StoryResult {
    let rest: Vec<NodeId> = (1..=4).filter(|id| *id != leader).collect();
    journal.says("Of four voters, the leader still reaches one, which the other two need for an election.");
    journal.says(
        "Its frames hold that one. Without a quorum it must step down in bounded time, or no leader could be elected.",
    );
    for other in &rest[1..] {
        journal.cluster.cut.insert((leader, *other));
        journal.cluster.cut.insert((*other, leader));
    }
    let hold = HOLD.as_millis() as u64;
    journal
        .run_until("the leader steps down", 2 * hold + 100, |cluster| cluster.replica(leader).role() != Role::Leader)?;
    journal.run_until("another leads, with a lease", 6 * hold, |cluster| {
        rest.iter().any(|id| cluster.permit(*id).is_some())
    })
}

pub(crate) fn cut_off_reader(tampered: bool, journal: &mut Journal, leader: NodeId) -> StoryResult {
    let [away, near] = others(leader);
    journal.says("Both followers read locally.");
    for reader in [away, near] {
        journal.cluster.set_local_reads(reader, true);
    }
    let lent = |cluster: &Cluster| [away, near].iter().all(|reader| cluster.local_permit(*reader).is_some());
    journal.run_until("both may read", 1000, lent)?;
    journal.says("One of them is cut off, and cannot know of a write that the other two store.");
    journal.cluster.isolate(away);
    let written = journal.cluster.propose(leader, "x = 1").map(|position| position.index);
    let written = written.map_err(|error| StoryError(format!("expected: a leader that takes writes, not {error}")))?;
    journal.run_until("the write is committed", 100, |cluster| cluster.replica(leader).commit() == written)?;
    if tampered {
        let returned = Local { returned: Some(u64::MAX), ..Local::default() };
        let envelope = Envelope { local: returned, ..Envelope::default() };
        journal.cluster.with(leader, |replica, now| replica.handle_envelope(now, away, envelope));
    }
    let applied = |cluster: &Cluster| cluster.nodes[&leader].position.index >= written;
    journal.says("The reader that is connected has the write, and may not show it either until it hears of that.");
    journal.run_until("the write is executed", 1000, applied)?;
    journal.must(journal.cluster.local_permit(away).is_none(), "the sublease was over before that")?;
    journal
        .says("The links are repaired, and the reader catches up. Then leadership is handed over: the subleases are");
    journal.says("returned first.");
    journal.cluster.heal();
    journal.run_until("both may read", 2000, lent)?;
    let permit = journal.cluster.local_permit(away);
    journal.must(permit.is_some_and(|permit| permit.index >= written), "it has the write")?;
    let begun = journal.cluster.with(leader, |replica, now| replica.transfer(now, near));
    journal.look()?;
    journal.must(begun.is_ok(), "the other reader takes over")?;
    let release = |cluster: &Cluster| cluster.replica(leader).holder().release().is_some();
    journal.run_until("the lease is released", 100, release)?;
    journal.must(!lent(&journal.cluster), "no sublease is left")?;
    journal.run_until("the other reader leads", 100, |cluster| cluster.leader() == Some(near))?;
    journal.run_until("it lends", 1000, |cluster| cluster.local_permit(away).is_some())
}
