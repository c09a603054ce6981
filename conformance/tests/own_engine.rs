//! The engine of the core's example passes. Its log has no content, so the values travel with its messages here.

#[path = "../../core/examples/own_engine/engine.rs"]
mod engine;

use engine::{Log, Message, Node};
use leasehold_conformance::{Answer, Contents, Engine, Kind, NotExpressible, Output, ReadId, Start, check};
use leasehold_core::{Action, Config, Fresh, Index, LeaseTiming, Member, NodeId, Read, Reading, Tag, Term, Ticket};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

thread_local! {
    /// The reading of the present input.
    static NOW: Cell<Reading> = const { Cell::new(None) };
}

/// A message of the engine, and the values in the sender's log.
#[derive(Clone)]
struct Carried {
    message: Message,
    values: BTreeMap<Index, u64>,
}

struct Disk {
    term: Term,
    log: Log,
    values: BTreeMap<Index, u64>,
    longest_hold: Duration,
}

enum Needs {
    Committed(Index, fn(u64) -> Answer),
    Confirmed(Ticket),
}

struct Own {
    config: Config,
    longest_hold: Duration,
    node: Node,
    links: BTreeMap<NodeId, Receiver<(NodeId, Message)>>,
    values: BTreeMap<Index, u64>,
    /// The values that this node proposed in a term, by index.
    writes: (Term, BTreeMap<Index, u64>),
    reads: Vec<(ReadId, Needs)>,
    outputs: VecDeque<Output<Carried>>,
}

impl Own {
    fn new(start: Start<Disk>) -> Own {
        NOW.set(start.now);
        let (id, config) = (start.id, start.config);
        let first = Disk { term: 0, log: Log::default(), values: BTreeMap::new(), longest_hold: Duration::ZERO };
        let Disk { term, log, values, longest_hold } = start.disk.unwrap_or(first);
        let channels = start.voters.iter().filter(|peer| **peer != id).map(|peer| (*peer, channel()));
        let (peers, links) = channels.map(|(peer, (to, at))| ((peer, to), (peer, at))).unzip();
        let node = Node {
            id,
            member: Member::new(id, config, longest_hold, Fresh::new(start.now), Arc::default()),
            peers,
            cut: Arc::default(),
            now: || NOW.get(),
            term,
            leads: false,
            votes: 0,
            log,
            commit: 0,
            silent: 0,
            acknowledged: Arc::default(),
        };
        let longest_hold = longest_hold.max(config.hold());
        let (writes, reads, outputs) = ((0, BTreeMap::new()), Vec::new(), VecDeque::new());
        Own { config, longest_hold, node, links, values, writes, reads, outputs }
    }

    /// Takes the actions, sends, and answers what can be answered. Called after each input.
    fn finish(&mut self) {
        while let Some(action) = self.node.member.poll_action() {
            match action {
                Action::SendRound(_) => self.node.replicate(),
                Action::Confirmed { through } => {
                    for (_, needs) in &mut self.reads {
                        if let Needs::Confirmed(ticket) = *needs
                            && ticket.round <= through
                        {
                            *needs = Needs::Committed(ticket.index, Answer::ByQuorum);
                        }
                    }
                }
                Action::Aborted { .. } => {
                    for (read, _) in self.reads.extract_if(.., |(_, needs)| matches!(needs, Needs::Confirmed(_))) {
                        self.outputs.push_back(Output::Answer(read, Answer::Refused));
                    }
                }
            }
        }
        for (to, link) in &self.links {
            for (_, message) in link.try_iter() {
                let message = Carried { message, values: self.values.clone() };
                self.outputs.push_back(Output::Send { to: *to, message });
            }
        }
        let (term, writes) = &mut self.writes;
        if !self.node.leads || *term != self.node.term {
            (*term, *writes) = (self.node.term, BTreeMap::new());
        }
        let pending = writes.split_off(&(self.node.commit + 1));
        for value in std::mem::replace(writes, pending).into_values() {
            self.outputs.push_back(Output::Acknowledge(value));
        }
        let commit = self.node.commit;
        let value = self.values.range(..=commit).next_back().map_or(0, |(_, value)| *value);
        for (read, needs) in self.reads.extract_if(.., |(_, needs)| match needs {
            Needs::Committed(index, _) => *index <= commit,
            Needs::Confirmed(_) => false,
        }) {
            if let Needs::Committed(_, answer) = needs {
                self.outputs.push_back(Output::Answer(read, answer(value)));
            }
        }
    }
}

impl Engine for Own {
    type Message = Carried;
    type Disk = Disk;

    fn supports(voters: usize, learners: usize) -> Result<(), NotExpressible> {
        if (voters, learners) == (3, 0) { Ok(()) } else { Err(NotExpressible("the example has three voters")) }
    }

    fn contents(carried: &Carried) -> Contents {
        let (kind, tag) = match carried.message {
            Message::Frame { round, .. } => (Kind::Lead, Tag { round: Some(round), ..Tag::default() }),
            Message::Stored { echo, .. } => (Kind::Answer, Tag { ack: echo, ..Tag::default() }),
            Message::RequestVote { .. } => (Kind::AskVote, Tag::default()),
            Message::Vote { .. } => (Kind::Vote, Tag::default()),
        };
        Contents { kind: Some(kind), tag }
    }

    fn kill(self) -> Disk {
        let Node { term, log, .. } = self.node;
        Disk { term, log, values: self.values, longest_hold: self.longest_hold }
    }

    fn accept_peer(&self, timing: LeaseTiming) -> bool {
        self.config.accept_peer(timing).is_ok()
    }

    fn receive(&mut self, now: Reading, from: NodeId, carried: Carried) {
        NOW.set(now);
        let frame = match carried.message {
            Message::Frame { round, length, .. } => Some(Log { term: round.term, length }),
            _ => None,
        };
        self.node.handle(from, carried.message);
        if frame == Some(self.node.log) {
            self.values = carried.values;
        }
        self.finish();
    }

    fn tick(&mut self, now: Reading) {
        NOW.set(now);
        self.node.tick();
        self.finish();
    }

    fn write(&mut self, now: Reading, value: u64) -> bool {
        NOW.set(now);
        if self.node.leads {
            self.node.log.length += 1;
            self.values.insert(self.node.log.length, value);
            self.writes.1.insert(self.node.log.length, value);
            self.node.replicate();
        }
        self.finish();
        self.node.leads
    }

    fn read(&mut self, now: Reading, read: ReadId) {
        NOW.set(now);
        let permit = self.node.member.cell().try_read(now).map(Read::Lease);
        match permit.map_or_else(|| self.node.member.read(Fresh::new(now)), Ok) {
            Ok(Read::Lease(permit)) => self.reads.push((read, Needs::Committed(permit.index, Answer::ByLease))),
            Ok(Read::Quorum(ticket)) => self.reads.push((read, Needs::Confirmed(ticket))),
            Err(_) => self.outputs.push_back(Output::Answer(read, Answer::Refused)),
        }
        self.finish();
    }

    fn poll_output(&mut self) -> Option<Output<Carried>> {
        self.outputs.pop_front()
    }

    fn leads(&self) -> bool {
        self.node.leads
    }

    fn term(&self) -> Term {
        self.node.term
    }

    fn voters(&self) -> Vec<NodeId> {
        vec![1, 2, 3]
    }

    fn delay_reports(&mut self, _: Reading, _: bool) -> Result<(), NotExpressible> {
        // Every step is seen.
        Ok(())
    }
}

#[test]
fn the_engine_of_the_example_passes() {
    insta::assert_snapshot!(check(Own::new).to_string());
}

#[test]
fn a_schedule_that_is_not_run_must_be_named() {
    let report = check(Own::new);
    let skipped = report.checked().iter().filter(|checked| !checked.verdict.is_safe());
    let skipped: Vec<&str> = skipped.map(|checked| checked.schedule.name).collect();
    report.assert_passed_except(&skipped);
    let one_less = std::panic::catch_unwind(|| report.assert_passed_except(&skipped[1..]));
    let text = *one_less.expect_err("a schedule was not run").downcast::<String>().expect("a report");
    assert!(text.ends_with(&format!("assert_passed_except: {}", skipped[0])), "{text}");
}
