//! Random schedules: messages are lost, repeated and reordered, disks and other threads are slow, clocks fail and step
//! back, leaders change, nodes stop.

mod support;

use leasehold_core::{Index, NodeId};
use leasehold_node::{Input, ReadMode, Reply, Request, RequestError};
use leasehold_testing::dice::Dice;
use std::collections::BTreeMap;
use support::{Cluster, GROUP, HOLD, TICK};

const SCHEDULES: u64 = 200;
const STEPS: u64 = 2_000;
const NODES: u64 = 3;

struct Schedule {
    dice: Dice,
    cluster: Cluster,
    /// The commands of writes by ticket.
    writes: BTreeMap<u64, String>,
    /// For each read, the highest index of a write that was acknowledged before the read was sent.
    reads: BTreeMap<u64, Index>,
}

impl Schedule {
    fn new(seed: u64) -> Schedule {
        let mut dice = Dice::new(seed, 0);
        let entries = dice.pick(&[8, 32_768]);
        let reads = dice.pick(&[ReadMode::Lease, ReadMode::Lease, ReadMode::Quorum]);
        let mut cluster = Cluster::with_options(NODES, |group| {
            group.max_log_entries = entries;
            group.reads = reads;
        });
        if dice.one_in(2) {
            cluster.elect(dice.between(1, NODES));
        }
        Schedule { dice, cluster, writes: BTreeMap::new(), reads: BTreeMap::new() }
    }

    fn node(&mut self) -> NodeId {
        self.dice.between(1, NODES)
    }

    fn acknowledged(&self) -> Index {
        let index = |outcome: &support::Outcome| match outcome {
            Ok(Reply::Written { index, .. }) => Some(*index),
            _ => None,
        };
        self.cluster.replies.values().filter_map(index).max().unwrap_or(0)
    }

    fn step(&mut self) {
        let node = self.node();
        match self.dice.below(1000) {
            0..500 if !self.cluster.wire.is_empty() => {
                let at = self.dice.index(self.cluster.wire.len().min(6));
                let transit = self.cluster.wire.remove(at).expect("it is in range");
                if self.dice.one_in(10) {
                    self.cluster.wire.push_back(transit.clone());
                }
                if !self.dice.one_in(20) {
                    self.cluster.deliver(transit);
                }
            }
            500..600 => {
                let after = self.dice.millis(1, 20);
                self.cluster.leap(after);
                (1..=NODES).for_each(|id| self.cluster.fire_timer(id));
            }
            600..750 => drop(self.cluster.sync(node)),
            750..800 => drop(self.cluster.work(node)),
            800..880 => {
                let command = format!("command {}", self.cluster.tickets.len());
                let ticket = self.cluster.write(node, command.clone());
                self.writes.insert(ticket, command);
            }
            880..950 => {
                let acknowledged = self.acknowledged();
                let ticket = self.cluster.submit(node, Request::Read(ReadMode::Lease));
                self.reads.insert(ticket, acknowledged);
            }
            950..955 => {
                let to = self.node();
                let now = self.cluster.reading(node);
                let _ = self.cluster.node(node).transfer(now, GROUP, to);
            }
            955..960 => {
                let now = self.cluster.reading(node);
                let _ = self.cluster.node(node).campaign(now, GROUP);
            }
            960..970 => self.cluster.isolate(node),
            970..985 => self.cluster.heal(),
            985..988 => self.cluster.member(node).cannot_send ^= true,
            988..992 => self.cluster.member(node).clock_failed ^= true,
            992..994 => {
                let back = self.dice.millis(1, 200);
                self.cluster.member(node).clock_behind += back.as_nanos() as u64;
            }
            994..996 => {
                let (number, group) = (self.dice.below(4), GROUP + 1);
                let ticket = self.cluster.tickets.len() as u64;
                self.cluster.tickets.insert(ticket, node);
                let request = Request::Read(if number == 0 { ReadMode::Quorum } else { ReadMode::Lease });
                self.cluster.input(node, Input::Request { ticket, group, request });
            }
            996..998 if self.dice.one_in(10) => {
                let now = self.cluster.reading(node);
                self.cluster.node(node).stop(now);
            }
            _ => self.cluster.drain(node),
        }
    }

    /// Repairs everything, and lets every deadline pass.
    fn finish(&mut self) {
        self.cluster.heal();
        for id in 1..=NODES {
            let member = self.cluster.member(id);
            (member.clock_failed, member.cannot_send) = (false, false);
        }
        // A leader counts a snapshot as lost after 200 ticks.
        self.cluster.run(3 * HOLD + 250 * TICK);
    }

    fn check(&self) {
        for ticket in self.cluster.tickets.keys() {
            assert!(self.cluster.reply(*ticket).is_some(), "ticket {ticket} is not answered");
        }
        let logs: Vec<_> = (1..=NODES).map(|id| self.cluster.applied(id)).collect();
        let statuses: Vec<_> = (1..=NODES).map(|id| self.cluster.members[&id].node.status(GROUP)).collect();
        assert!(logs.iter().all(|log| *log == logs[0]), "the nodes agree: {statuses:?}");
        for (ticket, command) in &self.writes {
            let times = logs[0].iter().filter(|applied| *applied == command).count();
            match self.cluster.reply(*ticket).expect("it was checked") {
                Ok(Reply::Written { output, .. }) => {
                    assert_eq!((times, &logs[0][output as usize - 1]), (1, command), "it was acknowledged");
                }
                Err(RequestError::Uncertain) => assert!(times <= 1, "{command} was executed {times} times"),
                outcome => assert_eq!(times, 0, "{command} was executed in spite of {outcome:?}"),
            }
        }
        for (ticket, acknowledged) in &self.reads {
            if let Some(Ok(Reply::Readable(grant))) = self.cluster.reply(*ticket) {
                assert!(grant.index >= *acknowledged, "ticket {ticket} reads {grant:?}, before {acknowledged}");
            }
        }
    }
}

#[test]
fn every_ticket_is_answered_exactly_once() {
    let (mut written, mut read, mut failed) = (0, 0, BTreeMap::<String, u64>::new());
    for seed in 0..SCHEDULES {
        println!("seed {seed}");
        let mut schedule = Schedule::new(seed);
        (0..STEPS).for_each(|_| schedule.step());
        schedule.finish();
        // `Cluster::drain` checks that no ticket is answered twice.
        schedule.check();
        for outcome in schedule.cluster.replies.values() {
            match outcome {
                Ok(Reply::Written { .. }) => written += 1,
                Ok(Reply::Readable(_)) => read += 1,
                Err(error) => *failed.entry(format!("{error:?}")).or_default() += 1,
            }
        }
    }
    println!("{written} written, {read} read, failed: {failed:?}");
    assert!(written > 0 && read > 0 && failed.contains_key("Uncertain") && failed.contains_key("TimedOut"));
}
