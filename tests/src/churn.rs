//! Changes of the members of a real cluster, drawn at random, while nodes are killed and stopped and clients go on.

use crate::fleet::{Counts, Fleet};
use crate::processes::{PATIENCE, eventually};
use leasehold_testing::dice::Dice;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The most members.
const MAX_MEMBERS: usize = 5;
/// The steps after which everything is healed.
const STEPS_BETWEEN_CALM: u64 = 6;

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number of steps.
    pub steps: u64,
    /// The seed of all choices.
    pub seed: u64,
    /// The hold of the nodes, in milliseconds.
    pub hold_ms: u64,
    /// The runtime of the nodes.
    pub runtime: String,
    /// The number of groups.
    pub groups: u64,
}

/// Changes the members step by step, and returns what the clients counted.
///
/// # Panics
/// If a change does not succeed although a quorum runs, or a process does not behave.
pub fn run(options: &Options) -> Counts {
    let Options { steps, seed, hold_ms, runtime, groups } = options;
    let (hold, heartbeat) = (hold_ms.to_string(), (hold_ms / 10).max(1).to_string());
    let several = groups.to_string();
    let flags = ["--runtime", runtime, "--hold-ms", &hold, "--heartbeat-ms", &heartbeat, "--groups", &several];
    let fleet = Fleet::found(3, &flags);
    println!("churn on {runtime} with seed {seed} and {groups} groups");
    let mut churn = Churn {
        fleet,
        dice: Dice::new(*seed, 0),
        hold: Duration::from_millis(*hold_ms),
        groups: *groups,
        voters: [1, 2, 3].into(),
        learners: BTreeSet::new(),
        down: BTreeSet::new(),
        next: 4,
    };
    for step in 1..=*steps {
        churn.step();
        if step % STEPS_BETWEEN_CALM == 0 || step == *steps {
            churn.calm();
        }
    }
    churn.fleet.finish()
}

struct Churn {
    fleet: Fleet,
    dice: Dice,
    hold: Duration,
    groups: u64,
    voters: BTreeSet<u64>,
    learners: BTreeSet<u64>,
    /// The members that do not run.
    down: BTreeSet<u64>,
    /// The next number that was never used.
    next: u64,
}

impl Churn {
    fn step(&mut self) {
        match self.dice.below(9) {
            0 | 1 if self.members().len() < MAX_MEMBERS => self.add(true),
            2 if self.members().len() < MAX_MEMBERS => self.add(false),
            3 => self.promote(),
            4 | 5 => self.remove(),
            6 => self.replace(),
            7 => self.transfer(),
            _ => self.fail(),
        }
    }

    fn members(&self) -> BTreeSet<u64> {
        &self.voters | &self.learners
    }

    fn up(&self) -> Vec<u64> {
        self.members().difference(&self.down).copied().collect()
    }

    /// Returns true if most of these voters run, even without one of them.
    fn quorum_without(&self, gone: u64) -> bool {
        let up = self.voters.iter().filter(|voter| **voter != gone && !self.down.contains(voter)).count();
        up > self.voters.len() / 2
    }

    /// Returns one of these nodes.
    fn pick(&mut self, nodes: impl IntoIterator<Item = u64>) -> Option<u64> {
        let nodes: Vec<u64> = nodes.into_iter().collect();
        (!nodes.is_empty()).then(|| nodes[self.dice.below(nodes.len() as u64) as usize])
    }

    /// Has clients use the members that run.
    fn serve(&self) {
        self.fleet.serve(&self.up());
    }

    fn make(&self, line: &str) {
        println!("leasehold ctl {line}");
        self.fleet.must(line);
    }

    fn launch(&mut self) -> u64 {
        let node = self.next;
        self.next += 1;
        self.fleet.launch(node);
        node
    }

    /// Adds a node, and sometimes kills the leader while that goes on.
    fn add(&mut self, votes: bool) {
        let node = self.launch();
        let role = if votes { "" } else { " --learner" };
        let line = format!("add {node} {}{role}", self.fleet.address(node));
        let leader = self.fleet.status()["leader"].as_u64();
        let leader = leader.filter(|leader| self.quorum_without(*leader) && self.dice.below(2) == 0);
        match leader {
            None => self.make(&line),
            Some(leader) => {
                self.make(&format!("{line} --no-wait"));
                self.kill(leader);
                let part = if votes { "voter" } else { "learner" };
                let added = eventually(PATIENCE, || {
                    (self.fleet.members().get(&node).map(String::as_str) == Some(part)).then_some(())
                });
                assert!(added.is_some(), "node {node}: {}", self.fleet.ctl(&["status"]).output);
            }
        }
        if votes {
            self.voters.insert(node)
        } else {
            self.learners.insert(node)
        };
        self.serve();
    }

    fn promote(&mut self) {
        let able = &self.learners - &self.down;
        if let Some(node) = self.pick(able) {
            self.make(&format!("promote {node}"));
            self.learners.remove(&node);
            self.voters.insert(node);
        }
    }

    fn remove(&mut self) {
        let able = self.members().into_iter().filter(|node| {
            let left: BTreeSet<u64> = self.voters.iter().copied().filter(|voter| voter != node).collect();
            !left.is_empty() && left.difference(&self.down).count() > left.len() / 2
        });
        let able: Vec<u64> = able.collect();
        if let Some(node) = self.pick(able) {
            self.voters.remove(&node);
            self.learners.remove(&node);
            self.serve();
            self.make(&format!("remove {node}"));
            self.gone(node);
        }
    }

    /// Checks that a node that was removed stops, if it runs.
    fn gone(&mut self, node: u64) {
        if !self.down.remove(&node) {
            self.fleet.until_removed(node);
        }
    }

    fn replace(&mut self) {
        let down = self.pick(&self.voters & &self.down);
        let old = match down {
            Some(old) => Some(old),
            None => self.pick(self.voters.clone()),
        };
        if let Some(old) = old {
            let new = self.launch();
            self.make(&format!("replace {old} {new} {}", self.fleet.address(new)));
            self.voters.remove(&old);
            self.voters.insert(new);
            self.serve();
            self.gone(old);
        }
    }

    fn transfer(&mut self) {
        let able = &self.voters - &self.down;
        if let Some(node) = self.pick(able) {
            let group = if self.groups > 1 { format!("{} ", self.dice.below(self.groups)) } else { String::new() };
            self.make(&format!("transfer {group}{node}"));
        }
    }

    /// Kills a node if a quorum is left, starts one that was killed, or stops the leader for a while.
    fn fail(&mut self) {
        let able: Vec<u64> = self.up().into_iter().filter(|node| self.quorum_without(*node)).collect();
        match (self.dice.below(3), self.pick(self.down.clone()), self.pick(able)) {
            (0, Some(node), _) => self.start(node),
            (1, _, Some(node)) => self.kill(node),
            _ => {
                if let Some(leader) = self.fleet.status()["leader"].as_u64() {
                    println!("node {leader} stands still");
                    self.fleet.cluster.process(leader).signal("STOP");
                    std::thread::sleep(2 * self.hold);
                    self.fleet.cluster.process(leader).signal("CONT");
                }
            }
        }
    }

    fn kill(&mut self, node: u64) {
        println!("node {node} is killed");
        self.fleet.cluster.take(node).kill();
        self.down.insert(node);
        self.serve();
    }

    fn start(&mut self, node: u64) {
        println!("node {node} is started");
        self.fleet.cluster.start_node(node);
        self.down.remove(&node);
        self.serve();
    }

    /// Starts every member, and waits until all is well and the members are those that they should be.
    fn calm(&mut self) {
        self.down.clone().into_iter().for_each(|node| self.start(node));
        self.fleet.until_status("HEALTHY", "");
        let with =
            |nodes: &BTreeSet<u64>, part: &str| nodes.iter().map(|node| (*node, part.to_owned())).collect::<Vec<_>>();
        let expected: BTreeMap<u64, String> =
            [with(&self.voters, "voter"), with(&self.learners, "learner")].concat().into_iter().collect();
        // There may be an election between two looks.
        let reached = eventually(PATIENCE, || (self.fleet.members() == expected).then_some(()));
        assert!(reached.is_some(), "the members are not {expected:?}: {}", self.fleet.ctl(&["status"]).output);
        let voters: Vec<u64> = self.voters.iter().copied().collect();
        let same = |node: &Value| {
            let groups = node["groups"].as_array().cloned().unwrap_or_default();
            groups.len() as u64 == self.groups && groups.iter().all(|group| group["voters"] == json!(voters))
        };
        let same = || self.fleet.status()["nodes"].as_array().is_some_and(|nodes| nodes.iter().all(same)).then_some(());
        assert!(self.groups == 1 || eventually(PATIENCE, same).is_some(), "{}", self.fleet.status());
        println!("all is well: voters {:?}, learners {:?}", self.voters, self.learners);
    }
}
