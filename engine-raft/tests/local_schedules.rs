//! Random schedules of real replicas with readers: no local read may miss what anyone was shown before.

use bytes::Bytes;
use leasehold_core::{Index, NodeId};
use leasehold_raft::Role;
use leasehold_raft::wire::{Change, Step, Transition};
use leasehold_testing::cluster::{Cluster, timing};
use leasehold_testing::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
/// The virtual milliseconds of a schedule.
const LENGTH: u64 = 12_000;
/// The seeds of a run, unless `LEASEHOLD_SEEDS` says how many.
const SEEDS: u64 = 16;

struct Schedule {
    dice: Dice,
    cluster: Cluster,
    /// The highest index whose effect anyone can have been shown.
    shown: Index,
    /// The nodes whose process has known a leader: nothing of a process is shown before that.
    heard: BTreeSet<NodeId>,
    /// The nodes that asked to be members once.
    added: BTreeSet<NodeId>,
    /// The nodes that retired.
    retired: BTreeSet<NodeId>,
    seen: Seen,
}

/// Counts that show that a schedule tests something.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    local: u64,
    behind: u64,
    blocked: u64,
    writes: u64,
    transfers: u64,
    changes: u64,
    elections: u64,
    held: u64,
}

impl Schedule {
    fn new(seed: u64) -> Schedule {
        let mut dice = Dice::new(seed, 1);
        let mut cluster = Cluster::founded_with_seed(dice.pick(&[2, 3, 3, 3, 5]), seed);
        let nodes: Vec<NodeId> = cluster.nodes.keys().copied().collect();
        for id in nodes {
            if dice.chance(700_000) {
                cluster.set_local_reads(id, true);
            }
        }
        let seen = Seen::default();
        let (heard, added, retired) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Schedule { dice, cluster, shown: 0, heard, added, retired, seen }
    }

    fn ids(&self) -> Vec<NodeId> {
        self.cluster.nodes.keys().copied().collect()
    }

    fn any(&mut self) -> NodeId {
        let ids = self.ids();
        self.dice.pick(&ids)
    }

    fn is_up(&self, id: NodeId) -> bool {
        self.cluster.nodes[&id].replica.is_some()
    }

    /// Notes what can be shown by now, and checks every permit against it.
    fn check(&mut self) {
        let up: Vec<NodeId> = self.ids().into_iter().filter(|id| self.is_up(*id)).collect();
        let mut newest = 0;
        for id in &up {
            let (node, replica) = (&self.cluster.nodes[id], self.cluster.replica(*id));
            if replica.leader().is_some() {
                self.heard.insert(*id);
            }
            if self.heard.contains(id) {
                self.shown = self.shown.max(node.position.index);
            }
            if replica.role() == Role::Leader {
                newest = newest.max(replica.term());
                self.seen.blocked += u64::from(replica.exposed() < replica.commit());
            }
        }
        for id in up {
            if let Some(permit) = self.cluster.local_permit(id) {
                let applied = self.cluster.nodes[&id].position.index;
                self.seen.local += 1;
                self.seen.behind += u64::from(applied < permit.index);
                let (index, shown) = (permit.index, self.shown);
                assert!(index >= shown, "node {id} reads entry {index} after {shown} was shown");
                assert!(permit.term >= newest, "node {id} reads in term {} after {newest} was won", permit.term);
            }
            if let Some(permit) = self.cluster.permit(id) {
                assert!(permit.index >= self.shown, "leader {id} reads {} after {}", permit.index, self.shown);
            }
        }
    }

    fn kill(&mut self, id: NodeId) {
        self.cluster.kill(id);
        self.heard.remove(&id);
        self.retired.remove(&id);
    }

    fn step(&mut self) {
        let leader = self.cluster.leader();
        match 50 + self.dice.below(50) {
            ..58 => {
                let (from, to) = (self.any(), self.any());
                self.cluster.cut.insert((from, to));
                if self.dice.chance(500_000) {
                    self.cluster.cut.insert((to, from));
                }
            }
            58..66 => self.cluster.heal(),
            66..69 => {
                let id = self.any();
                self.cluster.isolate(id);
            }
            69..73 => {
                let id = self.any();
                if self.is_up(id) {
                    self.kill(id);
                    if self.dice.chance(500_000) {
                        self.cluster.start(id, timing());
                    }
                }
            }
            73..79 => {
                let down: Vec<NodeId> = self.ids().into_iter().filter(|id| !self.is_up(*id)).collect();
                down.into_iter().for_each(|id| self.cluster.start(id, timing()));
            }
            79..83 => {
                let to = self.any();
                if let Some(leader) = leader {
                    let started = self.cluster.with(leader, |replica, now| replica.transfer(now, to));
                    self.seen.transfers += u64::from(started.is_ok());
                }
            }
            83 => {
                let id = self.any();
                if self.is_up(id) {
                    let refused = self.cluster.with(id, |replica, now| replica.campaign(now)).is_err();
                    self.seen.held += u64::from(refused);
                }
            }
            84 => {
                let id = self.any();
                if self.is_up(id) {
                    self.cluster.with(id, |replica, now| replica.retire(now));
                    self.retired.insert(id);
                }
            }
            85..87 => {
                let retired: Vec<NodeId> = self.retired.iter().copied().collect();
                for id in retired {
                    self.kill(id);
                    self.cluster.start(id, timing());
                }
            }
            87..89 => {
                let (id, on) = (self.any(), self.dice.chance(700_000));
                if self.is_up(id) {
                    self.cluster.set_local_reads(id, on);
                }
            }
            89..92 => {
                let id = self.any();
                let paused = self.dice.chance(400_000);
                self.cluster.nodes.get_mut(&id).expect("a node").paused = paused && self.is_up(id);
            }
            92 => {
                self.cluster.latency = MS * self.dice.pick(&[1, 1, 2, 5, 30]);
                self.cluster.disk_latency = MS * self.dice.pick(&[1, 1, 3, 20, 100]);
            }
            93..95 => self.disturb_clock(),
            _ => self.change(),
        }
    }

    fn write(&mut self) {
        let Some(leader) = self.cluster.leader() else { return };
        let command = Bytes::from_static(b"set");
        let proposed = self.cluster.with(leader, |replica, now| replica.propose(now, command));
        self.seen.writes += u64::from(proposed.is_ok());
    }

    fn disturb_clock(&mut self) {
        let (id, kind) = (self.any(), self.dice.below(4));
        let by = self.dice.below(800_000_000) as i64;
        // A cell does not know that the clock went back before its writer has seen it, so the writer looks before and after.
        if self.is_up(id) {
            self.cluster.with(id, |replica, now| replica.handle_timeout(now));
        }
        let node = self.cluster.nodes.get_mut(&id).expect("a node");
        match kind {
            0 => node.clock_failed = true,
            1 => node.clock_failed = false,
            // The machine is suspended for a while: only one counter goes on.
            2 => {
                node.clock_offset += by;
                node.awake_behind += Duration::from_nanos(by as u64);
            }
            _ => node.clock_offset -= by.min(1_000_000_000 + node.clock_offset),
        }
        if self.is_up(id) {
            self.cluster.with(id, |replica, now| replica.handle_timeout(now));
        }
    }

    fn change(&mut self) {
        let Some(leader) = self.cluster.leader() else { return };
        let membership = self.cluster.replica(leader).membership().clone();
        let joiner = [11, 12].into_iter().find(|id| !self.added.contains(id));
        let (voters, learners) = (membership.voters, membership.learners);
        let steps = match self.dice.below(4) {
            0 if joiner.is_some() => vec![Step::AddLearner(joiner.unwrap_or_default())],
            1 if !learners.is_empty() => vec![Step::AddVoter(learners[0])],
            2 if !learners.is_empty() && voters.len() > 2 => {
                vec![Step::AddVoter(learners[0]), Step::Remove(self.dice.pick(&voters))]
            }
            3 if voters.len() > 2 && self.dice.chance(300_000) => vec![Step::Remove(self.dice.pick(&voters))],
            _ => return,
        };
        if let [Step::AddLearner(id)] = steps[..] {
            self.added.insert(id);
            if !self.cluster.nodes.contains_key(&id) {
                self.cluster.add_node(id);
                self.cluster.set_local_reads(id, true);
            }
        }
        let proposed = self.cluster.change(leader, &Change::new(Transition::Auto, steps));
        self.seen.changes += u64::from(proposed.is_ok());
    }

    fn run(&mut self) {
        let mut terms = BTreeMap::new();
        while self.cluster.now < Duration::from_secs(100) + MS * LENGTH as u32 {
            if self.dice.chance(40_000) {
                self.write();
                self.check();
            }
            if self.dice.chance(5_000) {
                self.step();
                self.check();
            }
            self.cluster.run(MS);
            self.check();
            if let Some(leader) = self.cluster.leader() {
                terms.insert(self.cluster.replica(leader).term(), leader);
            }
        }
        self.seen.elections = terms.len() as u64;
    }

    /// Once everything works, a write is exposed, and each reader that is a member has a sublease.
    fn recover(&mut self) {
        self.cluster.heal();
        (self.cluster.latency, self.cluster.disk_latency) = (MS, MS);
        for id in self.ids() {
            let node = self.cluster.nodes.get_mut(&id).expect("a node");
            (node.paused, node.clock_failed) = (false, false);
            if self.retired.contains(&id) {
                self.kill(id);
            }
            if !self.is_up(id) {
                self.cluster.start(id, timing());
            }
        }
        let (mut written, mut left) = (None, 40_000);
        loop {
            self.cluster.run(MS);
            self.check();
            left -= 1;
            assert!(left > 0, "forty seconds passed without a write that is exposed");
            let Some(leader) = self.cluster.leader() else { continue };
            let replica = self.cluster.replica(leader);
            if written.is_some_and(|(term, index)| term == replica.term() && replica.exposed() >= index) {
                return;
            }
            if written.is_none_or(|(term, _)| term != replica.term()) {
                written = self.cluster.propose(leader, "last").ok().map(|position| (position.term, position.index));
            }
        }
    }
}

#[test]
fn no_schedule_makes_a_reader_miss_what_was_shown() {
    let seeds = std::env::var("LEASEHOLD_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let first = std::env::var("LEASEHOLD_FIRST").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let mut sum = Seen::default();
    for seed in first..first + seeds.unwrap_or(SEEDS) {
        println!("seed {seed}");
        let mut schedule = Schedule::new(seed);
        schedule.run();
        schedule.recover();
        let seen = schedule.seen;
        sum.local += seen.local;
        sum.behind += seen.behind;
        sum.blocked += seen.blocked;
        sum.writes += seen.writes;
        sum.transfers += seen.transfers;
        sum.changes += seen.changes;
        sum.elections += seen.elections;
        sum.held += seen.held;
    }
    println!("{sum:?}");
    let Seen { local, behind, blocked, writes, transfers, changes, elections, held } = sum;
    for seen in [local, behind, blocked, writes, transfers, changes, elections, held] {
        assert!(seen > 0, "the schedules test too little: {sum:?}");
    }
}
