//! The failures that local reads must survive, as short schedules of a whole group: each holds with all rules, and shows a
//! stale read without its rule.

use crate::checker::Checker;
use crate::node::{Body, Input, Message, Node, Rule, Setup};
use leasehold_core::{Config, Instant, NodeId, Options};
use std::time::Duration;

/// The outcome of a schedule: an error is a stale read.
type Outcome = Result<(), String>;

/// A group whose node 1 leads in term 1. Its lease rests on node 2, which reads; node 3 is not held.
struct Stage {
    setup: Setup,
    nodes: Vec<Node>,
    at: Instant,
    sent: Vec<Message>,
    checker: Checker,
}

fn config(hold: Duration) -> Config {
    let options = Options::new(hold, 0).with_heartbeat(Duration::from_millis(10));
    Config::new(options).expect("a consistent configuration")
}

impl Stage {
    fn new(nodes: NodeId, off: Option<Rule>) -> Stage {
        let config = config(Duration::from_secs(1));
        let readers: &[NodeId] = &[2, 4];
        let setup =
            Setup { config, next: config, nodes, voters: 3, changes: &[], off, readers: &[], reports_terms: false };
        let start = Instant::from_nanos(1_000_000_000, 1_000_000_000);
        let nodes = (1..=nodes).map(|id| Node::new(id, &setup, Some(start))).collect();
        let mut stage = Stage { setup, nodes, at: start, sent: Vec::new(), checker: Checker::default() };
        stage.wait(2000).expect("nothing to read");
        stage.give(1, Input::Campaign).expect("nothing to read");
        stage.deliver_all();
        stage.give(1, Input::Replicate).expect("nothing to read");
        stage.deliver_all();
        stage.give(1, Input::Replicate).expect("nothing to read");
        stage.deliver_all();
        assert!(stage.nodes.iter().all(|node| node.exposed == 1), "each node has the log");
        stage.wait(1000).expect("nothing to read");
        stage.setup.readers = readers;
        stage.sent.clear();
        stage
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize - 1]
    }

    fn give(&mut self, id: NodeId, input: Input) -> Outcome {
        let sent = self.nodes[id as usize - 1].handle(Some(self.at), input, &self.setup);
        self.sent.extend(sent);
        self.checker.note(&self.nodes[id as usize - 1])?;
        self.nodes.iter().try_for_each(|node| self.checker.judge(node, self.at).map(drop))
    }

    fn wait(&mut self, millis: u64) -> Outcome {
        self.at = self.at.plus(Duration::from_millis(millis));
        (1..=self.nodes.len() as NodeId).try_for_each(|id| self.give(id, Input::Look))
    }

    /// Delivers the oldest message between two nodes.
    fn pass(&mut self, from: NodeId, to: NodeId) -> Outcome {
        let message = self.take(from, to);
        self.give(to, Input::Deliver(message))
    }

    fn take(&mut self, from: NodeId, to: NodeId) -> Message {
        let at = self.sent.iter().position(|message| (message.from, message.to) == (from, to));
        self.sent
            .remove(at.unwrap_or_else(|| panic!("nothing was sent from node {from} to node {to}: {:?}", self.sent)))
    }

    fn deliver_all(&mut self) {
        while !self.sent.is_empty() {
            let message = self.sent.remove(0);
            self.give(message.to, Input::Deliver(message)).expect("nothing to read");
        }
    }

    fn reads(&self, id: NodeId) -> bool {
        self.node(id).local().is_some_and(|(until, _)| until.is_surely_after(self.at))
    }

    /// Node 1 has a round echoed by readers, and grants them subleases.
    fn lend(&mut self, readers: &[NodeId]) -> Outcome {
        self.give(1, Input::Heartbeat)?;
        for reader in readers {
            self.pass(1, *reader)?;
            self.pass(*reader, 1)?;
            self.pass(1, *reader)?;
            assert!(self.reads(*reader), "node {reader} holds a sublease");
        }
        self.sent.clear();
        Ok(())
    }

    /// Node 1 writes, and commits with node 3.
    fn write(&mut self) -> Outcome {
        self.give(1, Input::Write)?;
        self.give(1, Input::Replicate)?;
        self.pass(1, 3)?;
        self.pass(3, 1)
    }

    /// Lets a candidate become leader with the vote of another node, if it gets it, and commit with that node's help.
    fn elect(&mut self, candidate: NodeId, voter: NodeId) -> Outcome {
        self.sent.retain(|message| matches!(message.body, Body::RequestVote { .. }));
        if self.sent.is_empty() {
            return Ok(());
        }
        self.pass(candidate, voter)?;
        if self.sent.iter().all(|message| message.from != voter) {
            return Ok(());
        }
        self.pass(voter, candidate)?;
        assert!(self.node(candidate).leads());
        self.sent.clear();
        self.give(candidate, Input::Replicate)?;
        self.pass(candidate, voter)?;
        self.pass(voter, candidate)
    }
}

/// Asserts that a schedule shows no stale read, and that it does without the rule.
fn fails_without(rule: Rule, nodes: NodeId, schedule: fn(&mut Stage) -> Outcome) {
    schedule(&mut Stage::new(nodes, None)).expect("no read is stale");
    schedule(&mut Stage::new(nodes, Some(rule))).expect_err("without the rule a read is stale");
}

#[test]
fn own_vote_elects_another() {
    fails_without(Rule::OwnHold, 3, |stage| {
        stage.lend(&[2])?;
        stage.give(3, Input::Campaign)?;
        stage.elect(3, 1)
    });
}

#[test]
fn obligated_node_campaigns() {
    fails_without(Rule::OwnHold, 3, |stage| {
        stage.lend(&[2])?;
        stage.give(1, Input::StepDown)?;
        stage.give(1, Input::Campaign)?;
        stage.elect(1, 3)?;
        // It still knows of the obligation, so it exposes nothing. Its next leadership must not begin all the same.
        let both = stage.node(1).leads() && stage.reads(2);
        if both { Err("node 1 leads again, and node 2 reads in the term before".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn leader_steps_down_and_returns() {
    fails_without(Rule::OwnHold, 3, |stage| {
        stage.lend(&[2])?;
        stage.give(1, Input::StepDown)?;
        stage.give(3, Input::Campaign)?;
        stage.elect(3, 1)
    });
}

#[test]
fn exposed_before_grant() {
    fails_without(Rule::Floor, 3, |stage| {
        stage.lend(&[2])?;
        stage.give(2, Input::Return)?;
        stage.pass(2, 1)?;
        stage.wait(10)?;
        stage.write()?;
        assert_eq!(stage.node(1).exposed, 2, "no obligation is in force");
        stage.sent.clear();
        // Its answer has an echo and a request, and no entries.
        stage.give(1, Input::Heartbeat)?;
        stage.pass(1, 2)?;
        stage.pass(2, 1)?;
        stage.pass(1, 2)
    });
}

#[test]
fn exposed_after_grant() {
    fails_without(Rule::Exposure, 3, |stage| {
        stage.lend(&[2])?;
        stage.write()?;
        assert_eq!((stage.node(1).commit, stage.node(1).lender.exposed()), (2, 1));
        // The reader acknowledges it, and it is exposed.
        stage.pass(1, 2)?;
        stage.pass(2, 1)?;
        assert_eq!(stage.node(1).exposed, 2);
        Ok(())
    });
}

#[test]
fn shown_by_another_follower() {
    fails_without(Rule::FollowersAreToldWhatIsExposed, 3, |stage| {
        stage.lend(&[2])?;
        stage.write()?;
        stage.give(1, Input::Replicate)?;
        stage.pass(1, 3)
    });
}

#[test]
fn shown_by_former_leader() {
    fails_without(Rule::FormerLeaderKeepsTheExposedIndex, 3, |stage| {
        stage.lend(&[2])?;
        stage.write()?;
        stage.give(1, Input::StepDown)?;
        assert_eq!(stage.node(1).exposed, 1);
        // Time ends the gate.
        stage.wait(1000)?;
        assert_eq!(stage.node(1).exposed, 2);
        Ok(())
    });
}

#[test]
fn received_across_restart() {
    fails_without(Rule::ReceivedIsComputed, 3, |stage| {
        stage.give(1, Input::Write)?;
        stage.give(1, Input::Replicate)?;
        // The reader has the entry. Its answer is late, and it restarts.
        stage.pass(1, 2)?;
        let answer = stage.take(2, 1);
        stage.sent.clear();
        stage.give(2, Input::Crash)?;
        stage.wait(20)?;
        stage.lend(&[2])?;
        stage.give(1, Input::Deliver(answer))?;
        assert_eq!(stage.node(1).exposed, 2, "the reader acknowledged it");
        Ok(())
    });
}

#[test]
fn request_number_reused() {
    fails_without(Rule::RequestNumbersAreNew, 3, |stage| {
        stage.give(1, Input::Heartbeat)?;
        stage.pass(1, 2)?;
        stage.pass(2, 1)?;
        let grant = stage.take(1, 2);
        stage.sent.clear();
        stage.give(2, Input::Crash)?;
        stage.wait(990)?;
        // It asks again, with the last frame of the leader, and the grant of before arrives.
        stage.give(1, Input::Replicate)?;
        stage.pass(1, 2)?;
        stage.give(2, Input::Deliver(grant))?;
        stage.wait(20)?;
        stage.sent.clear();
        stage.give(3, Input::Campaign)?;
        stage.elect(3, 1)
    });
}

#[test]
fn transfer_with_readers() {
    // Node 4 is a learner: it does not vote, so nothing revokes what it has.
    fails_without(Rule::RecallBeforeATransfer, 4, |stage| {
        stage.lend(&[2, 4])?;
        stage.give(1, Input::StartTransfer { to: 2 })?;
        let sent = stage.sent.iter().any(|message| matches!(message.body, Body::CampaignNow { .. }));
        if !sent {
            // Readers are asked to return, and the transfer starts once they have.
            stage.wait(20)?;
            stage.give(1, Input::Heartbeat)?;
            for reader in [2, 4] {
                stage.pass(1, reader)?;
                assert!(!stage.reads(reader));
                stage.pass(reader, 1)?;
                stage.pass(reader, 1)?;
            }
        }
        stage.pass(1, 2)?;
        assert_eq!(stage.node(2).term, 2, "it campaigns");
        stage.elect(2, 3)
    });
}

#[test]
fn transfer_with_a_dead_reader_takes_at_most_a_lease() {
    let mut stage = Stage::new(4, None);
    stage.lend(&[2, 4]).expect("no read is stale");
    stage.give(1, Input::StartTransfer { to: 2 }).expect("no read is stale");
    stage.wait(999).expect("no read is stale");
    assert!(stage.sent.is_empty() && stage.reads(4));
    stage.wait(1).expect("no read is stale");
    assert!(matches!(stage.take(1, 2).body, Body::CampaignNow { .. }));

    let mut without = Stage::new(4, Some(Rule::RecallBeforeATransfer));
    without.lend(&[2, 4]).expect("no read is stale");
    without.give(1, Input::StartTransfer { to: 2 }).expect("no read is stale");
    assert!(matches!(without.take(1, 2).body, Body::CampaignNow { .. }) && without.reads(4));
}

#[test]
fn restart_of_leader() {
    fails_without(Rule::RestartHold, 3, |stage| {
        stage.lend(&[2])?;
        stage.give(1, Input::Crash)?;
        stage.give(3, Input::Campaign)?;
        stage.elect(3, 1)
    });
}

#[test]
fn voters_change_once_no_sublease_is_left() {
    for off in [None, Some(Rule::ChangeOfVotersWaits)] {
        let mut stage = Stage::new(4, off);
        stage.setup.changes = &[&[1, 2, 3, 4]];
        let mut changes = || {
            stage.lend(&[2])?;
            stage.give(1, Input::Change)?;
            stage.give(1, Input::Replicate)?;
            for id in [2, 3] {
                stage.pass(1, id)?;
                stage.pass(id, 1)?;
            }
            let under_a_sublease = (stage.reads(2), stage.node(1).changes);
            stage.sent.clear();
            stage.wait(20)?;
            stage.give(1, Input::Heartbeat)?;
            stage.pass(1, 2)?;
            stage.pass(2, 1)?;
            if off.is_none() {
                // The reader was asked to return what it has.
                stage.pass(2, 1)?;
                assert!(!stage.reads(2));
            }
            assert_eq!(stage.node(1).changes, 1);
            Ok::<_, String>(under_a_sublease)
        };
        assert_eq!(changes(), Ok((true, usize::from(off.is_some()))), "without {off:?}");
    }
}

#[test]
fn hold_not_recorded_before_grant() {
    fails_without(Rule::LongestHoldIsRecorded, 3, |stage| {
        // Node 1 has acknowledged no round, and starts again with half the hold.
        stage.lend(&[2])?;
        stage.setup.next = config(Duration::from_millis(500));
        stage.give(1, Input::Crash)?;
        stage.wait(600)?;
        stage.give(3, Input::Campaign)?;
        stage.elect(3, 1)
    });
}

#[test]
fn orderly_stop_of_leader() {
    fails_without(Rule::OrderlyStopRecordsObligations, 3, |stage| {
        stage.lend(&[2])?;
        stage.give(1, Input::Stop)?;
        stage.give(3, Input::Campaign)?;
        stage.elect(3, 1)
    });
}

#[test]
fn received_after_the_acknowledgement() {
    fails_without(Rule::ReceivedBeforeTheAcknowledgement, 3, |stage| {
        stage.lend(&[2])?;
        stage.write()?;
        stage.pass(1, 2)?;
        stage.pass(2, 1)
    });
}

#[test]
fn learner_reader() {
    let mut stage = Stage::new(4, None);
    stage.lend(&[2, 4]).expect("no read is stale");
    stage.write().expect("no read is stale");
    stage.pass(1, 2).and_then(|()| stage.pass(2, 1)).expect("no read is stale");
    assert_eq!(stage.node(1).exposed, 1, "every voter has the entry, and the learner does not");
    stage.pass(1, 4).and_then(|()| stage.pass(4, 1)).expect("no read is stale");
    assert_eq!((stage.node(1).exposed, stage.node(4).local().map(|(_, index)| index)), (2, Some(2)));
}
