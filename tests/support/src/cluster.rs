//! A cluster of real replicas on virtual time, in one thread: the test decides when each message arrives, when each write
//! becomes durable and when each timer fires.

use bytes::Bytes;
use leasehold_core::{Config, Index, Instant, LeaseCell, NodeId, Options as Timing, Permit, Read, Reading, Ticket};
use leasehold_raft::wire::{Change, Envelope, Payload, Snapshot};
use leasehold_raft::{
    Effect, Options, Output, Persist, PersistentState, Position, ProposeError, Replica, Role, SnapshotOutcome,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The hold of a node by default.
pub const HOLD: Duration = Duration::from_millis(1000);
/// The heartbeat interval of every node.
pub const HEARTBEAT: Duration = Duration::from_millis(100);

/// The first position of a founder's log.
const FOUNDATION: Position = Position { term: 1, index: 1 };

/// Returns the timing of a node by default.
pub fn timing() -> Config {
    Config::new(Timing::new(HOLD, 1000).with_heartbeat(HEARTBEAT)).expect("it fits together")
}

/// One node: a replica, its cell, its disk and its clock.
pub struct Node {
    /// The machine under test. `None` while the node is down.
    pub replica: Option<Replica>,
    /// Its published lease.
    pub cell: Arc<LeaseCell>,
    /// What its disk holds.
    pub disk: PersistentState,
    /// The longest hold its disk has a record of.
    pub longest_hold: Duration,
    /// Commands applied, in order.
    pub applied: Vec<(Index, Bytes)>,
    /// The last position that was applied.
    pub position: Position,
    /// The round through which quorum reads were confirmed.
    pub confirmed_through: u64,
    /// The round through which quorum reads were aborted.
    pub aborted_through: u64,
    /// The offset of its clock from the world's time, in nanoseconds.
    pub clock_offset: i64,
    /// The time that its machine was suspended: its awake counter is behind the total one by as much.
    pub awake_behind: Duration,
    /// True while its clock gives no readings.
    pub clock_failed: bool,
    /// True while its loop is paused: inputs queue up, time goes on.
    pub paused: bool,
    /// The time at which its timer fires, in the world's time.
    pub wakes: Duration,
    /// True while the mark that its log may be cut does not become durable.
    pub mark_is_held: bool,
    /// True if it asks for subleases, in every process.
    reads_locally: bool,
    /// The number of processes it has started.
    starts: u64,
    inbox: VecDeque<InTransit>,
    /// A state that arrived, while the engine decides about it.
    arrived: Vec<(Index, Bytes)>,
    writes: VecDeque<(Duration, Persist)>,
    config: Config,
}

/// A message in flight.
#[derive(Clone, Debug)]
pub struct InTransit {
    /// The time at which it arrives.
    pub at: Duration,
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The content.
    pub envelope: Envelope,
    /// A state, in a message without other content.
    pub state: Option<(Snapshot, Vec<(Index, Bytes)>)>,
}

/// The cluster and its world.
pub struct Cluster {
    /// Its nodes, by number.
    pub nodes: BTreeMap<NodeId, Node>,
    /// World time since the story began.
    pub now: Duration,
    /// Messages in flight.
    pub wire: VecDeque<InTransit>,
    /// Directions, from and to, in which all messages are lost.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// The time that a message takes.
    pub latency: Duration,
    /// The time that a write takes to become durable.
    pub disk_latency: Duration,
    founders: Vec<NodeId>,
    seed: u64,
}

impl Cluster {
    /// Returns a cluster founded by nodes `1..=size`, all started at once.
    pub fn founded(size: u64) -> Cluster {
        Cluster::founded_with_seed(size, 7)
    }

    /// Returns the same cluster with another seed.
    pub fn founded_with_seed(size: u64, seed: u64) -> Cluster {
        let founders: Vec<NodeId> = (1..=size).collect();
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            now: Duration::from_secs(100),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            latency: Duration::from_millis(1),
            disk_latency: Duration::from_millis(1),
            founders: founders.clone(),
            seed,
        };
        for id in founders {
            cluster.add_node(id);
        }
        cluster
    }

    /// Starts a node on an empty disk. If it is no founder, it knows no other node until a leader's snapshot reaches it.
    pub fn add_node(&mut self, id: NodeId) {
        let founder = self.founders.contains(&id);
        let disk = if founder { PersistentState::founding(self.founders.clone()) } else { PersistentState::default() };
        let node = Node {
            replica: None,
            cell: Arc::default(),
            disk,
            longest_hold: Duration::ZERO,
            applied: Vec::new(),
            position: FOUNDATION,
            confirmed_through: 0,
            aborted_through: 0,
            clock_offset: 0,
            awake_behind: Duration::ZERO,
            clock_failed: false,
            paused: false,
            wakes: self.now,
            mark_is_held: false,
            reads_locally: false,
            starts: 0,
            inbox: VecDeque::new(),
            arrived: Vec::new(),
            writes: VecDeque::new(),
            config: timing(),
        };
        self.nodes.insert(id, node);
        self.start(id, timing());
    }

    /// Reads the clock of node `id`.
    pub fn reading(&self, id: NodeId) -> Reading {
        let node = &self.nodes[&id];
        let nanos =
            (self.now.as_nanos() as u64).checked_add_signed(node.clock_offset).expect("a clock after its origin");
        let awake = nanos - node.awake_behind.as_nanos() as u64;
        (!node.clock_failed).then(|| Instant::from_nanos(awake, nanos))
    }

    /// Kills a node: what was not durable is lost.
    pub fn kill(&mut self, id: NodeId) {
        let node = self.node(id);
        node.replica = None;
        node.cell = Arc::default();
        node.inbox.clear();
        node.writes.clear();
        node.paused = false;
    }

    /// Starts a node from its disk.
    pub fn start(&mut self, id: NodeId, config: Config) {
        let (now, seed) = (self.reading(id), self.seed);
        let node = self.node(id);
        let longest_hold = node.longest_hold;
        node.longest_hold = longest_hold.max(config.hold());
        node.config = config;
        node.applied.clear();
        node.position = FOUNDATION;
        node.starts += 1;
        let mut options = Options::new(id, config, seed);
        options.process = node.starts << 32;
        options.starts = Some(node.starts);
        let replica = Replica::new(options, node.disk.clone(), longest_hold, now, node.cell.clone());
        let mut replica = replica.expect("a replica from what its predecessor wrote");
        replica.set_local_reads(now, node.reads_locally);
        node.replica = Some(replica);
        self.drain(id);
    }

    /// Kills a node and starts it again at once.
    pub fn restart(&mut self, id: NodeId) {
        let config = self.nodes[&id].config;
        self.kill(id);
        self.start(id, config);
    }

    /// Cuts all links of node `id`.
    pub fn isolate(&mut self, id: NodeId) {
        for other in self.nodes.keys().copied().filter(|other| *other != id).collect::<Vec<_>>() {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    /// Repairs all links.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Lets `duration` pass, a millisecond at a time.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += Duration::from_millis(1);
            self.instant();
        }
    }

    /// Lets time pass until `until` holds.
    ///
    /// # Panics
    /// If it does not within ten seconds.
    #[track_caller]
    pub fn run_until(&mut self, what: &str, until: impl Fn(&Cluster) -> bool) {
        let deadline = self.now + Duration::from_secs(10);
        while !until(self) {
            assert!(self.now < deadline, "ten seconds passed without: {what}");
            self.run(Duration::from_millis(1));
        }
    }

    /// Waits for a leader whose lease is valid.
    #[track_caller]
    pub fn elect(&mut self) -> NodeId {
        self.run_until("a leader with a lease", |cluster| {
            cluster.leader().is_some_and(|id| cluster.permit(id).is_some())
        });
        self.leader().expect("it was there a moment ago")
    }

    /// Returns the leader of the newest term, if there is one.
    pub fn leader(&self) -> Option<NodeId> {
        let running = self.nodes.iter().filter_map(|(id, node)| node.replica.as_ref().map(|replica| (id, replica)));
        let leaders = running.filter(|(_, replica)| replica.role() == Role::Leader);
        leaders.max_by_key(|(_, replica)| replica.term()).map(|(id, _)| *id)
    }

    /// Returns what the cell of node `id` grants a reader now.
    pub fn permit(&self, id: NodeId) -> Option<Permit> {
        self.nodes[&id].cell.try_read(self.reading(id))
    }

    /// Makes node `id` ask for subleases, or no more.
    pub fn set_local_reads(&mut self, id: NodeId, on: bool) {
        self.node(id).reads_locally = on;
        self.with(id, |replica, now| replica.set_local_reads(now, on));
    }

    /// Returns what the cell of node `id` grants a reader of its own state now.
    pub fn local_permit(&self, id: NodeId) -> Option<Permit> {
        self.replica(id).reader_cell().try_read(self.reading(id))
    }

    /// Returns the replica of a running node.
    pub fn replica(&self, id: NodeId) -> &Replica {
        self.nodes[&id].replica.as_ref().expect("a node that is up")
    }

    /// Gives node `id` one input, with a reading of its clock, and carries out what follows.
    pub fn with<T>(&mut self, id: NodeId, input: impl FnOnce(&mut Replica, Reading) -> T) -> T {
        let now = self.reading(id);
        let node = self.node(id);
        let outcome = input(node.replica.as_mut().expect("a node that is up"), now);
        self.drain(id);
        outcome
    }

    /// Proposes a command at `id`.
    ///
    /// # Errors
    /// As the replica's.
    pub fn propose(&mut self, id: NodeId, command: &'static str) -> Result<Position, ProposeError> {
        self.with(id, |replica, now| replica.propose(now, Bytes::from_static(command.as_bytes())))
    }

    /// Proposes a change of configuration at `id`.
    ///
    /// # Errors
    /// As the replica's.
    pub fn change(&mut self, id: NodeId, change: &Change) -> Result<Position, ProposeError> {
        self.with(id, |replica, now| replica.propose_change(now, change))
    }

    /// Asks `id` for a quorum read.
    pub fn quorum_read(&mut self, id: NodeId) -> Option<Ticket> {
        self.with(id, |replica, now| replica.quorum_read(now)).ok()
    }

    /// Asks `id` how a read may be answered.
    pub fn read(&mut self, id: NodeId) -> Option<Read> {
        self.with(id, |replica, now| replica.read(now)).ok()
    }

    /// Returns the commands that node `id` has applied.
    pub fn applied(&self, id: NodeId) -> Vec<&str> {
        self.nodes[&id].applied.iter().map(|(_, command)| std::str::from_utf8(command).expect("text")).collect()
    }

    /// Removes and returns the messages in flight that `which` selects; the caller may deliver them later.
    pub fn intercept(&mut self, which: impl Fn(&InTransit) -> bool) -> Vec<InTransit> {
        let (taken, left) = std::mem::take(&mut self.wire).into_iter().partition(|message| which(message));
        self.wire = left;
        taken.into()
    }

    /// Delivers a message at once.
    pub fn deliver(&mut self, message: InTransit) {
        let InTransit { from, to, envelope, state, .. } = message;
        let Some((snapshot, applied)) = state else {
            return self.with(to, |replica, now| replica.handle_envelope(now, from, envelope));
        };
        self.node(to).arrived = applied;
        let installed = self.with(to, |replica, now| replica.install(now, snapshot));
        let outcome = if installed.is_ok() { SnapshotOutcome::Delivered } else { SnapshotOutcome::Failed };
        self.end_snapshot(from, to, outcome);
    }

    /// Tells the sender of a state how that ended.
    fn end_snapshot(&mut self, from: NodeId, to: NodeId, outcome: SnapshotOutcome) {
        if self.nodes[&from].replica.is_some() {
            self.with(from, |replica, now| replica.handle_snapshot_ended(now, to, outcome));
        }
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the cluster")
    }

    /// Executes everything that is due now.
    fn instant(&mut self) {
        let now = self.now;
        let cut = self.cut.clone();
        for message in self.intercept(|message| message.at <= now) {
            let up = self.nodes.get(&message.to).is_some_and(|node| node.replica.is_some());
            if up && !cut.contains(&(message.from, message.to)) {
                self.node(message.to).inbox.push_back(message);
            } else if message.state.is_some() {
                self.end_snapshot(message.from, message.to, SnapshotOutcome::Failed);
            }
        }
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            if self.nodes[&id].replica.is_none() || self.nodes[&id].paused {
                continue;
            }
            while let Some(message) = self.node(id).inbox.pop_front() {
                self.deliver(message);
            }
            // A write that nothing waits for reaches the disk with the next one that something does: as late as it may.
            while let Some(awaited) =
                self.nodes[&id].writes.iter().position(|(at, write)| write.must_sync && *at <= now)
            {
                for (_, persist) in self.node(id).writes.drain(..=awaited).collect::<Vec<_>>() {
                    self.node(id).store(&persist);
                    if persist.must_sync {
                        self.with(id, |replica, now| replica.handle_persisted(now, persist.number));
                    }
                }
            }
            let due = match (self.reading(id), self.replica(id).poll_timeout()) {
                (Some(now), Some((at, _))) => !at.is_surely_after(now),
                // Without a reading the timer falls back to a fixed interval.
                _ => self.now.as_millis().is_multiple_of(50),
            };
            if due || self.now >= self.nodes[&id].wakes {
                self.with(id, |replica, now| replica.handle_timeout(now));
                self.set_timer(id);
            }
        }
    }

    /// Sets the timer as a node does: to the deadline by the node's clock, but at most a tick ahead. The timer itself does not
    /// depend on that clock, so it fires even after the clock was set back.
    fn set_timer(&mut self, id: NodeId) {
        let replica = self.replica(id);
        let until = self.reading(id).zip(replica.poll_timeout()).map(|(now, (at, _))| at.elapsed_since(now).at_least);
        let wakes = self.now + until.unwrap_or(replica.tick()).min(replica.tick());
        self.node(id).wakes = wakes;
    }

    fn drain(&mut self, id: NodeId) {
        let (arrives, durable) = (self.now + self.latency, self.now + self.disk_latency);
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        let Some(replica) = node.replica.as_mut() else { return };
        while let Some(output) = replica.poll_output() {
            match output {
                Output::Send { to, envelope } => {
                    self.wire.push_back(InTransit { at: arrives, from: id, to, envelope, state: None });
                }
                Output::Persist(persist) => {
                    if let Some(snapshot) = &persist.snapshot {
                        node.applied = std::mem::take(&mut node.arrived);
                        node.position = Position { term: snapshot.term, index: snapshot.index };
                    }
                    node.writes.push_back((durable, persist));
                }
                Output::Apply(committed) => {
                    for entry in committed {
                        node.position = entry.position;
                        if let Effect::Command(command) = entry.effect {
                            node.applied.push((entry.position.index, command));
                        }
                    }
                }
                Output::ReadsConfirmed { through } => node.confirmed_through = through,
                Output::ReadsAborted { through } => node.aborted_through = through,
                Output::SendSnapshot { to, .. } => {
                    let Position { term, index } = node.position;
                    let snapshot = Snapshot { index, term, membership: replica.membership().clone() };
                    let (envelope, state) = (Envelope::default(), Some((snapshot, node.applied.clone())));
                    self.wire.push_back(InTransit { at: arrives, from: id, to, envelope, state });
                }
                Output::LogMayBeCut(cut) => {
                    if cut && node.mark_is_held {
                        continue;
                    }
                    node.disk.may_be_cut = cut;
                    if cut {
                        replica.handle_cut_recorded();
                    }
                }
            }
        }
    }
}

impl Node {
    /// Stores what a replica wants on disk.
    fn store(&mut self, persist: &Persist) {
        self.disk.hard_state = persist.hard_state;
        if let Some(snapshot) = &persist.snapshot {
            self.disk.compacted = (snapshot.index, snapshot.term);
            self.disk.applied = snapshot.index;
            self.disk.membership = snapshot.membership.clone();
            self.disk.entries.clear();
        }
        if let Some(first) = persist.entries.first() {
            self.disk.entries.truncate((first.index - self.disk.compacted.0 - 1) as usize);
            self.disk.entries.extend(persist.entries.iter().cloned());
        }
        // This keeps a restarted node from campaigning under a configuration two steps old: see docs/protocol.md.
        let commit = self.disk.hard_state.commit;
        let beyond = self.disk.entries.iter().filter(|entry| entry.index > commit);
        let changes = beyond.filter(|entry| matches!(entry.payload, Payload::Change(_))).count();
        assert!(changes <= 1, "{changes} changes of configuration are durable beyond commit index {commit}");
    }
}
