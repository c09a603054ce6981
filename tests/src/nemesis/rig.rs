//! The cluster under test, and the operations that inject faults into it.

use super::faketime::{self, Faketime};
use super::fault::Fault;
use super::options::Options;
use super::session::{Fate, Session};
use super::summary::Summary;
use super::workload::{KEYS, Seen, Workload};
use crate::linearizability::Call;
use crate::processes::{Processes, eventually, now};
use crate::proxy::{Passage, Proxy};
use leasehold_testing::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// The number of nodes.
const NODES: u64 = 3;
/// The time limit for recovery. It takes seconds, and longer on a busy machine.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// The time limit for a reply to `INFO`.
const INFO_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for a reply that must come: a node gives up after 5 s and replies with an error.
const REPLY_TIMEOUT: Duration = Duration::from_secs(7);
/// The time limit for each of the repeated reads.
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);
/// The number of connections with queued reads to a stopped leader.
const QUEUES: usize = 4;

/// The directions of a node's links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To and from the node.
    BothWays,
    /// To the node.
    In,
    /// From the node.
    Out,
}

/// A cluster of processes, the network between them, and their clients.
pub struct Rig {
    // The fields are dropped in this order.
    workload: Workload,
    cluster: Processes,
    proxy: Proxy,
    paused: BTreeSet<u64>,
    summary: Summary,
}

impl Rig {
    /// Starts three nodes with additional flags, and their clients. `arrange` may change the recipes first.
    ///
    /// # Panics
    /// If they do not start.
    pub fn start(options: &Options, flags: &[&str], arrange: impl FnOnce(&mut Processes)) -> Rig {
        let mut cluster = Processes::prepare(NODES, flags);
        let proxy = Proxy::through(&mut cluster).expect("sockets and threads for the links");
        for recipe in cluster.recipes.values_mut() {
            recipe.flags.extend(["--runtime".to_owned(), options.runtime.to_string()]);
        }
        arrange(&mut cluster);
        (1..=NODES).for_each(|id| cluster.start_node(id));
        cluster.leader();
        let ports: Vec<u16> = cluster.recipes.values().map(|recipe| recipe.client_port).collect();
        let workload = Workload::start(&ports, &mut Dice::new(options.seed, 1));
        Rig { workload, cluster, proxy, paused: BTreeSet::new(), summary: Summary::new(options) }
    }

    /// Returns the time since the clients started.
    pub fn elapsed(&self) -> Duration {
        self.workload.elapsed()
    }

    /// Returns true if no violation is known.
    pub fn is_good(&self) -> bool {
        self.summary.is_good()
    }

    /// Returns the numbers of all nodes.
    pub fn nodes(&self) -> Vec<u64> {
        self.cluster.recipes.keys().copied().collect()
    }

    /// Returns every ordered pair of nodes.
    pub fn pairs(&self) -> Vec<(u64, u64)> {
        self.proxy.pairs()
    }

    /// Returns the running node that leads with a valid lease, if there is one. If there are several, returns the one
    /// with the highest term.
    pub fn leader(&self) -> Option<u64> {
        let awake = self.cluster.running().into_iter().filter(|id| !self.paused.contains(id));
        let leads = |id: u64| {
            let info = self.info(id)?;
            let leads = info.get("role")? == "leader" && info.get("lease_valid")? == "1";
            leads.then_some((info.get("term")?.parse::<u64>().ok()?, id))
        };
        awake.filter_map(leads).max().map(|(_, id)| id)
    }

    /// Waits for a leader with a valid lease, for at most `patience`.
    pub fn await_leader(&self, patience: Duration) -> Option<u64> {
        eventually(patience, || self.leader())
    }

    /// Kills a node, as `kill -9` does.
    pub fn kill(&mut self, id: u64) {
        self.say(format_args!("kill -9 node {id}"));
        self.harvest(id);
        self.paused.remove(&id);
        faketime::end(self.cluster.take(id));
    }

    /// Starts a killed node.
    pub fn restart(&mut self, id: u64) {
        self.say(format_args!("start node {id}"));
        self.cluster.start_node(id);
    }

    /// Deletes the data of a killed node, which an operator must never do.
    pub fn lose_disk(&mut self, id: u64) {
        self.say(format_args!("the disk of node {id} is lost"));
        std::fs::remove_dir_all(&self.cluster.recipes[&id].data_dir).expect("it was there");
    }

    /// Sets the rate of a node's clocks from its next start on.
    pub fn set_rate(&mut self, faketime: &Faketime, id: u64, rate: f64) {
        self.say(format_args!("the clocks of node {id} will run at {rate:.4}"));
        faketime.apply(&mut self.cluster, id, rate);
    }

    /// Stops a node's process (SIGSTOP).
    pub fn pause(&mut self, id: u64) {
        self.say(format_args!("stop node {id}"));
        self.cluster.process(id).signal("STOP");
        self.paused.insert(id);
    }

    /// Continues a stopped process.
    pub fn resume(&mut self, id: u64) {
        self.cluster.process(id).signal("CONT");
        self.paused.remove(&id);
        self.say(format_args!("resume node {id}"));
    }

    /// Sets the treatment of bytes from one node to another.
    pub fn set(&mut self, from: u64, to: u64, passage: Passage) {
        self.say(format_args!("link {from}>{to}: {passage:?}"));
        self.proxy.set(from, to, passage);
    }

    /// Sets the treatment of bytes on all links of a node, in the given direction.
    pub fn isolate(&mut self, id: u64, direction: Direction, passage: Passage) {
        self.say(format_args!("links of node {id}, {direction:?}: {passage:?}"));
        for (from, to) in self.proxy.pairs() {
            if (from == id && direction != Direction::In) || (to == id && direction != Direction::Out) {
                self.proxy.set(from, to, passage);
            }
        }
    }

    /// Reads from a node repeatedly for this long.
    pub fn probe(&self, id: u64, duration: Duration) {
        let started = now();
        let mut session = None;
        let mut slot = 0;
        while started.elapsed() < duration {
            let Some(open) = session.as_mut() else {
                session = Session::connect(self.port(id), PROBE_TIMEOUT).ok();
                continue;
            };
            slot = (slot + 1) % KEYS;
            if self.workload.ask(open, slot, Call::Get) == Fate::Lost {
                session = None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops the clients, so that only the nemesis itself uses the keys from now on.
    pub fn stop_clients(&mut self) {
        self.workload.stop_clients();
    }

    /// Writes every key in use through a node. Returns true if all writes were acknowledged.
    pub fn write_everywhere(&self, id: u64) -> bool {
        self.ask_everywhere(id, || Call::Set(self.workload.fresh_value()))
    }

    /// Reads every key in use through a node. Returns true if all reads were answered.
    pub fn read_everywhere(&self, id: u64) -> bool {
        self.ask_everywhere(id, || Call::Get)
    }

    fn ask_everywhere(&self, id: u64, call: impl Fn() -> Call) -> bool {
        let Ok(mut session) = Session::connect(self.port(id), REPLY_TIMEOUT) else { return false };
        (0..KEYS).all(|slot| matches!(self.workload.ask(&mut session, slot, call()), Fate::Answered(_)))
    }

    /// Opens connections to a node for later requests, because it may not accept new ones then.
    pub(super) fn connections(&self, id: u64) -> Vec<Session> {
        (0..QUEUES).filter_map(|_| Session::connect(self.port(id), REPLY_TIMEOUT).ok()).collect()
    }

    /// Queues reads of every key on these connections to a stopped node, resumes it, and receives the replies.
    pub(super) fn resume_amid_reads(&mut self, id: u64, queues: Vec<Session>) {
        let mut waiting = Vec::new();
        for mut session in queues {
            let mut pending = Vec::new();
            for slot in 0..KEYS {
                let read = self.workload.begin(slot, Call::Get);
                // A request that could not be sent receives no reply.
                let _ = session.send(read.key(), read.call());
                pending.push(read);
            }
            waiting.push((session, pending));
        }
        self.resume(id);
        for (mut session, pending) in waiting {
            for read in pending {
                let fate = session.receive(read.call());
                self.summary.reads_on_resume += u64::from(matches!(fate, Fate::Answered(_)));
                self.workload.end(read, fate);
            }
        }
    }

    /// Ends every fault, and waits for a leader with a valid lease and until every node serves reads and writes. A
    /// timeout is a violation.
    pub fn recover(&mut self) {
        self.paused.clone().into_iter().for_each(|id| self.resume(id));
        self.proxy.heal();
        let running = self.cluster.running();
        self.nodes().into_iter().filter(|id| !running.contains(id)).for_each(|id| self.restart(id));
        self.say(format_args!("all faults healed"));
        let healed = now();
        let all = eventually(RECOVERY_TIMEOUT, || self.nodes().into_iter().all(|id| self.serves(id)).then_some(()));
        let leader = all.and_then(|()| self.await_leader(RECOVERY_TIMEOUT));
        self.summary.longest_recovery = self.summary.longest_recovery.max(healed.elapsed());
        match leader {
            Some(leader) => self.say(format_args!("node {leader} leads, and every node serves reads and writes")),
            None => {
                let states: Vec<_> = self.nodes().into_iter().map(|id| (id, self.info(id))).collect();
                let states = format!(
                    "not every node serves reads and writes within {RECOVERY_TIMEOUT:?} after healing: {states:?}"
                );
                self.summary.violations.push(states);
            }
        }
        self.judge();
    }

    /// Returns true if a node serves a write and a read of every key.
    fn serves(&self, id: u64) -> bool {
        self.ask_everywhere(id, || Call::Increment) && self.ask_everywhere(id, || Call::Get)
    }

    /// Checks the histories that are complete.
    fn judge(&mut self) {
        let judgement = self.workload.judge_retired();
        self.summary.given_up = judgement.given_up;
        if let Some(violation) = judgement.violations.first()
            && self.summary.violations.is_empty()
        {
            self.summary.violations.push(violation.clone());
        }
    }

    /// Ends the run and returns its summary.
    ///
    /// # Panics
    /// If a process panicked.
    pub fn finish(mut self) -> Summary {
        self.summary.lasted = self.elapsed();
        for id in self.cluster.running() {
            self.harvest(id);
        }
        let Rig { workload, mut cluster, mut summary, .. } = self;
        let Seen { judgement, reads, writes, longest_without_read, longest_without_write } = workload.finish();
        cluster.running().into_iter().for_each(|id| faketime::end(cluster.take(id)));
        for violation in judgement.violations {
            if !summary.violations.contains(&violation) {
                summary.violations.push(violation);
            }
        }
        Summary {
            reads,
            writes,
            longest_without_read,
            longest_without_write,
            keys: judgement.keys,
            given_up: judgement.given_up,
            ..summary
        }
    }

    pub(super) fn skipped(&mut self, fault: Fault, reason: String) {
        self.summary.skipped.push((fault, reason));
    }

    pub(super) fn note(&mut self, fault: Fault, leader: u64) {
        self.say(format_args!("{fault} (node {leader} leads)"));
        *self.summary.faults.entry(fault).or_default() += 1;
    }

    /// Adds a node's counters to the summary before they are lost.
    fn harvest(&mut self, id: u64) {
        let Some(info) = self.info(id).filter(|_| !self.paused.contains(&id)) else { return };
        let number = |field: &str| info.get(field).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        self.summary.reads_lease += number("reads_lease");
        self.summary.reads_local += number("reads_local");
        self.summary.reads_quorum += number("reads_quorum");
        self.summary.reads_forwarded += number("reads_forwarded");
        self.summary.terms = self.summary.terms.max(number("term"));
    }

    fn info(&self, id: u64) -> Option<BTreeMap<String, String>> {
        Session::connect(self.port(id), INFO_TIMEOUT).ok()?.info(&["lease"])
    }

    fn port(&self, id: u64) -> u16 {
        self.cluster.recipes[&id].client_port
    }

    fn say(&mut self, what: fmt::Arguments<'_>) {
        let line = format!("{:>8.3} s  {what}", self.elapsed().as_secs_f64());
        self.summary.journal.push(line);
    }
}
