//! The `raft` crate's own lease reads, [`ReadOnlyOption::LeaseBased`], without holder or grantor.
//!
//! It is set up as its documentation recommends: check-quorum (which it requires), pre-vote, an election timeout of ten
//! heartbeats, and the `ready`/`advance` loop of its crate docs. A heartbeat and the least election timeout are as long as ours.
//! Two choices favour it: the disk is as fast as memory and loses nothing, and a timer that fires late counts one tick, unless
//! the schedule says otherwise. Its random election timeouts are replaced by seeded ones from the same range.

use leasehold_conformance::subject::{Answer, ClockFault, Founding, Kind, Links, NotExpressible, ReadId, Subject};
use leasehold_core::{Index, NodeId, Term};
use leasehold_testing::cluster::{HEARTBEAT, HOLD};
use leasehold_testing::dice::{Dice, mix};
use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType,
};
use raft::eraftpb::{Snapshot, SnapshotMetadata};
use raft::storage::MemStorage;
use raft::{RawNode, ReadOnlyOption, ReadState, StateRole};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The crate's default: "We suggest election_tick = 10 * HeartbeatTick".
const HEARTBEAT_TICKS: usize = 2;
const ELECTION_TICKS: usize = 10 * HEARTBEAT_TICKS;
/// The length of a tick, which makes a heartbeat as long as ours.
const TICK: Duration = Duration::from_millis(HEARTBEAT.as_millis() as u64 / HEARTBEAT_TICKS as u64);
const _: () = assert!(TICK.as_millis() * ELECTION_TICKS as u128 == HOLD.as_millis());

/// A cluster of the engine's own nodes.
pub struct LeaseBased {
    nodes: BTreeMap<NodeId, Node>,
    now: Duration,
    latency: Duration,
    links: Links,
    wire: VecDeque<InTransit>,
    held: Vec<InTransit>,
    writes: BTreeMap<u64, Write>,
    reads: Vec<Asked>,
    seed: u64,
    /// Draws the delays of messages that are repeated and reordered.
    scrambled: Option<Dice>,
}

struct Node {
    raw: RawNode<MemStorage>,
    /// Survives a restart, as `value` does.
    disk: MemStorage,
    applied: Index,
    value: u64,
    voters: Vec<NodeId>,
    inbox: VecDeque<Message>,
    paused: bool,
    tick: Duration,
    /// The time since the last tick of its timer.
    since_tick: Duration,
    /// True while the counter that its timer uses stands still.
    stopped: bool,
    /// The number of campaigns. Each draws another timeout.
    campaigns: u64,
    role: StateRole,
}

struct InTransit {
    at: Duration,
    message: Message,
}

struct Write {
    at: NodeId,
    acknowledged: bool,
}

struct Asked {
    of: NodeId,
    state: State,
}

enum State {
    /// The node is paused.
    Unheard,
    /// The engine has been asked for an index.
    Asked,
    /// It is answered once this index is applied.
    Ready(Index),
    Done(Answer),
}

fn config(id: NodeId, applied: Index) -> raft::Config {
    raft::Config {
        id,
        applied,
        election_tick: ELECTION_TICKS,
        heartbeat_tick: HEARTBEAT_TICKS,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ReadOnlyOption::LeaseBased,
        skip_bcast_commit: false,
        max_size_per_msg: 1 << 20,
        max_inflight_msgs: 256,
        ..raft::Config::default()
    }
}

fn engine(id: NodeId, applied: Index, disk: &MemStorage) -> RawNode<MemStorage> {
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    RawNode::new(&config(id, applied), disk.clone(), &logger).expect("a sound configuration")
}

impl LeaseBased {
    /// Returns a newly founded cluster. Every node starts from the same snapshot, as in the crate's example.
    pub fn founded(founding: Founding) -> LeaseBased {
        let mut cluster = LeaseBased {
            nodes: BTreeMap::new(),
            now: Duration::from_secs(100),
            latency: Duration::from_millis(1),
            links: Links::default(),
            wire: VecDeque::new(),
            held: Vec::new(),
            writes: BTreeMap::new(),
            reads: Vec::new(),
            seed: founding.seed,
            scrambled: None,
        };
        for id in founding.voters.iter().chain(founding.learners).copied() {
            let conf = ConfState {
                voters: founding.voters.to_vec(),
                learners: founding.learners.to_vec(),
                ..ConfState::default()
            };
            let metadata = SnapshotMetadata { index: 1, term: 1, conf_state: Some(conf).into(), ..Default::default() };
            let disk = MemStorage::new();
            disk.wl()
                .apply_snapshot(Snapshot { metadata: Some(metadata).into(), ..Snapshot::default() })
                .expect("a first snapshot");
            let node = Node {
                raw: engine(id, 1, &disk),
                disk,
                applied: 1,
                value: 0,
                voters: founding.voters.to_vec(),
                inbox: VecDeque::new(),
                paused: false,
                tick: TICK,
                since_tick: Duration::ZERO,
                stopped: false,
                campaigns: 0,
                role: StateRole::Follower,
            };
            cluster.nodes.insert(id, node);
            cluster.draw_election_timeout(id);
        }
        cluster
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the cluster")
    }

    /// Gives a node one input and executes its outputs.
    fn with<T>(&mut self, id: NodeId, input: impl FnOnce(&mut RawNode<MemStorage>) -> T) -> T {
        let outcome = input(&mut self.node(id).raw);
        self.drain(id);
        self.draw_election_timeout(id);
        outcome
    }

    /// Runs the loop of the crate's documentation.
    fn drain(&mut self, id: NodeId) {
        let mut messages = Vec::new();
        let mut reads = Vec::new();
        let at = self.now + self.latency;
        let node = self.node(id);
        while node.raw.has_ready() {
            let mut ready = node.raw.ready();
            reads.append(&mut ready.take_read_states());
            messages.append(&mut ready.take_messages());
            if !ready.snapshot().is_empty() {
                node.disk.wl().apply_snapshot(ready.snapshot().clone()).expect("a newer snapshot");
            }
            node.apply(ready.take_committed_entries());
            node.disk.wl().append(ready.entries()).expect("entries that follow the log");
            if let Some(hard_state) = ready.hs() {
                node.disk.wl().set_hardstate(hard_state.clone());
            }
            messages.append(&mut ready.take_persisted_messages());
            let mut light = node.raw.advance(ready);
            if let Some(commit) = light.commit_index() {
                node.disk.wl().mut_hard_state().set_commit(commit);
            }
            messages.append(&mut light.take_messages());
            node.apply(light.take_committed_entries());
            node.raw.advance_apply();
        }
        if node.role != node.raw.raft.state {
            node.role = node.raw.raft.state;
            node.campaigns += u64::from(matches!(node.role, StateRole::Candidate | StateRole::PreCandidate));
        }
        let now_holds = node.value;
        for message in messages {
            if let Some(dice) = &mut self.scrambled {
                self.wire.push_back(InTransit { at: at + dice.millis(0, 60), message: message.clone() });
                self.wire.push_back(InTransit { at: at + dice.millis(0, 60), message });
            } else {
                self.wire.push_back(InTransit { at, message });
            }
        }
        for ReadState { index, request_ctx } in reads {
            let number = u64::from_le_bytes(request_ctx.try_into().expect("a context of ours"));
            self.reads[number as usize].state = State::Ready(index);
        }
        for (value, write) in self.writes.iter_mut().rev().take_while(|(_, write)| !write.acknowledged) {
            write.acknowledged = write.at == id && *value == now_holds;
        }
    }

    /// Draws a timeout from the engine's range.
    fn draw_election_timeout(&mut self, id: NodeId) {
        let seed = self.seed;
        let node = self.node(id);
        let from = [seed, id, node.raw.raft.term, node.campaigns];
        let drawn = from.into_iter().fold(0, |drawn: u64, part| mix(drawn ^ part));
        node.raw.raft.set_randomized_election_timeout(ELECTION_TICKS + drawn as usize % ELECTION_TICKS);
    }

    fn receive(&mut self, message: Message) {
        let id = message.to;
        // The engine rejects some messages of a configuration that it does not know yet; they count as lost.
        let _ = self.with(id, |raw| raw.step(message));
    }

    /// Removes held messages from the wire.
    fn sort_wire(&mut self) {
        if self.links.held.is_empty() {
            return;
        }
        let links = &self.links;
        let (held, on): (Vec<_>, Vec<_>) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition(|InTransit { message, .. }| links.holds(message.from, message.to, &kinds(message)));
        self.held.extend(held);
        self.wire = on.into();
    }

    fn look_after_reads(&mut self) {
        for at in 0..self.reads.len() {
            let id = self.reads[at].of;
            if matches!(self.reads[at].state, State::Done(_)) || self.nodes[&id].paused {
                continue;
            }
            if let State::Unheard = self.reads[at].state {
                // A follower's engine would forward the read; a server redirects its client to the leader instead.
                if self.leads(id) {
                    self.reads[at].state = State::Asked;
                    self.with(id, |raw| raw.read_index((at as u64).to_le_bytes().to_vec()));
                } else {
                    self.reads[at].state = State::Done(Answer::Refused);
                }
            }
            let node = &self.nodes[&id];
            match self.reads[at].state {
                State::Ready(index) if node.applied >= index => {
                    self.reads[at].state = State::Done(Answer::ByLease(node.value));
                }
                State::Asked if node.role != StateRole::Leader => self.reads[at].state = State::Done(Answer::Refused),
                _ => {}
            }
        }
    }
}

impl Node {
    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.applied = entry.index;
            match entry.entry_type {
                EntryType::EntryNormal if entry.data.is_empty() => {}
                EntryType::EntryNormal => {
                    self.value = u64::from_le_bytes(entry.data.as_ref().try_into().expect("a value of ours"));
                }
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                    let mut change = ConfChangeV2::default();
                    change.merge_from_bytes(&entry.data).expect("a change of ours");
                    if let Ok(conf) = self.raw.apply_conf_change(&change) {
                        self.voters = if conf.voters_outgoing.is_empty() { conf.voters.clone() } else { Vec::new() };
                        self.disk.wl().set_conf_state(conf);
                    }
                }
            }
        }
    }
}

impl Subject for LeaseBased {
    fn advance(&mut self) {
        self.sort_wire();
        self.now += Duration::from_millis(1);
        for node in self.nodes.values_mut().filter(|node| !node.stopped) {
            node.since_tick += Duration::from_millis(1);
        }
        let now = self.now;
        let (due, on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.wire).into_iter().partition(|InTransit { at, .. }| *at <= now);
        self.wire = on.into();
        for InTransit { message, .. } in due {
            if !self.links.loses(message.from, message.to, &kinds(&message)) {
                self.node(message.to).inbox.push_back(message);
            }
        }
        for id in self.nodes() {
            if self.nodes[&id].paused {
                continue;
            }
            while let Some(message) = self.node(id).inbox.pop_front() {
                self.receive(message);
            }
            let node = self.node(id);
            if node.since_tick >= node.tick {
                node.since_tick = Duration::ZERO;
                self.with(id, |raw| raw.tick());
            }
        }
        self.sort_wire();
        self.look_after_reads();
    }

    fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    fn set_latency(&mut self, latency: Duration) {
        self.latency = latency;
    }

    fn scramble(&mut self, on: bool) -> Result<(), NotExpressible> {
        self.scrambled = on.then(|| Dice::new(self.seed, 1));
        Ok(())
    }

    fn deliver(&mut self) {
        self.sort_wire();
        for InTransit { message, .. } in std::mem::take(&mut self.held) {
            match self.nodes[&message.to].paused {
                true => self.node(message.to).inbox.push_back(message),
                false => self.receive(message),
            }
        }
        self.look_after_reads();
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    fn leads(&self, id: NodeId) -> bool {
        self.nodes[&id].raw.raft.state == StateRole::Leader
    }

    fn term(&self, id: NodeId) -> Term {
        self.nodes[&id].raw.raft.term
    }

    fn pause(&mut self, id: NodeId) {
        self.node(id).paused = true;
    }

    fn resume(&mut self, id: NodeId) {
        self.node(id).paused = false;
    }

    fn suspend(&mut self, id: NodeId) {
        self.pause(id);
        self.node(id).stopped = true;
    }

    fn wake(&mut self, id: NodeId) {
        self.node(id).stopped = false;
        self.resume(id);
    }

    fn restart(&mut self, id: NodeId, shortened: u32) {
        let node = self.node(id);
        node.raw = engine(id, node.applied, &node.disk);
        node.role = StateRole::Follower;
        node.inbox.clear();
        node.paused = false;
        node.tick = TICK / shortened;
        node.since_tick = Duration::ZERO;
        self.draw_election_timeout(id);
        for read in self.reads.iter_mut().filter(|read| read.of == id && !matches!(read.state, State::Done(_))) {
            read.state = State::Done(Answer::Refused);
        }
    }

    fn disturb(&mut self, id: NodeId, fault: ClockFault) -> Result<(), NotExpressible> {
        match fault {
            ClockFault::AwakeCounterStops => self.node(id).stopped = true,
            // The engine reads no clock, and its timer does not depend on one.
            ClockFault::Back(_) | ClockFault::Forward(_) | ClockFault::Fails | ClockFault::Works => {}
        }
        Ok(())
    }

    fn burst(&mut self, id: NodeId, ticks: u32) -> Result<(), NotExpressible> {
        for _ in 0..ticks {
            self.with(id, |raw| raw.tick());
        }
        Ok(())
    }

    fn transfer(&mut self, from: NodeId, to: NodeId) -> Result<(), NotExpressible> {
        self.with(from, |raw| raw.transfer_leader(to));
        Ok(())
    }

    fn campaign(&mut self, id: NodeId) -> Result<(), NotExpressible> {
        self.with(id, |raw| raw.campaign()).expect("a campaign is not a proposal");
        Ok(())
    }

    fn delay_reports(&mut self, _: NodeId, _: bool) -> Result<(), NotExpressible> {
        // Nothing here learns of a decision later than the engine.
        Ok(())
    }

    fn change_voters(&mut self, leader: NodeId, voters: &[NodeId]) -> Result<bool, NotExpressible> {
        if voters.len() == 1 && !voters.contains(&leader) {
            // `maybe_commit` looks for the progress of the leader itself, which is gone, when that voter answers.
            return Err(NotExpressible("the crate panics when the only voter answers the leader that was removed"));
        }
        let now = self.voters(leader);
        let single = |node_id: NodeId, kind: ConfChangeType| {
            let mut single = ConfChangeSingle { node_id, ..ConfChangeSingle::default() };
            single.set_change_type(kind);
            single
        };
        let removed = now.iter().filter(|id| !voters.contains(id));
        let removed = removed.map(|id| single(*id, ConfChangeType::RemoveNode));
        let added = voters.iter().filter(|id| !now.contains(id));
        let added = added.map(|id| single(*id, ConfChangeType::AddNode));
        let changes: Vec<_> = added.chain(removed).collect();
        let change = ConfChangeV2 { changes: changes.into(), ..ConfChangeV2::default() };
        Ok(self.with(leader, |raw| raw.propose_conf_change(Vec::new(), change)).is_ok())
    }

    fn voters(&self, id: NodeId) -> Vec<NodeId> {
        self.nodes[&id].voters.clone()
    }

    fn write(&mut self, id: NodeId, value: u64) -> bool {
        // A follower's engine would forward the proposal.
        let taken = self.leads(id) && {
            self.writes.insert(value, Write { at: id, acknowledged: false });
            self.with(id, |raw| raw.propose(Vec::new(), value.to_le_bytes().to_vec())).is_ok()
        };
        if !taken {
            self.writes.remove(&value);
        }
        taken
    }

    fn acknowledged(&self, value: u64) -> bool {
        self.writes.get(&value).is_some_and(|write| write.acknowledged)
    }

    fn ask(&mut self, id: NodeId) -> ReadId {
        self.reads.push(Asked { of: id, state: State::Unheard });
        self.look_after_reads();
        ReadId(self.reads.len() - 1)
    }

    fn answer(&self, read: ReadId) -> Answer {
        match self.reads[read.0].state {
            State::Done(answer) => answer,
            _ => Answer::Pending,
        }
    }
}

/// Returns the kind of a message.
fn kinds(message: &Message) -> [Kind; 1] {
    use MessageType::*;
    [match message.get_msg_type() {
        MsgTimeoutNow => Kind::CampaignNow,
        MsgRequestVote | MsgRequestPreVote => Kind::AskVote,
        MsgRequestVoteResponse | MsgRequestPreVoteResponse => Kind::Vote,
        MsgAppendResponse | MsgHeartbeatResponse => Kind::Answer,
        _ => Kind::Lead,
    }]
}
