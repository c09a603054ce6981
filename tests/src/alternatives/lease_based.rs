//! The `raft` crate's own lease reads, [`ReadOnlyOption::LeaseBased`], without holder or grantor.
//!
//! It is set up as its documentation recommends: check-quorum (which it requires), pre-vote, an election timeout of ten
//! heartbeats, and the `ready`/`advance` loop of its crate docs. A heartbeat and the least election timeout are as long as ours.
//! Two choices favour it: the disk is as fast as memory and loses nothing, and a timer that fires late counts one tick, unless
//! the schedule says otherwise. Its random election timeouts are replaced by seeded ones from the same range.

use leasehold_conformance::subject::{Answer, Kind, NotExpressible, ReadId};
use leasehold_conformance::{Contents, Engine, Output, Start};
use leasehold_core::{Index, LeaseTiming, NodeId, Reading, Tag, Term};
use leasehold_testing::cluster::{HEARTBEAT, HOLD};
use leasehold_testing::dice::mix;
use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType,
};
use raft::eraftpb::{Snapshot, SnapshotMetadata};
use raft::storage::MemStorage;
use raft::{RawNode, ReadOnlyOption, ReadState, StateRole};
use std::collections::VecDeque;

/// The crate's default: "We suggest election_tick = 10 * HeartbeatTick".
const HEARTBEAT_TICKS: usize = 2;
const ELECTION_TICKS: usize = 10 * HEARTBEAT_TICKS;
// The kit ticks twice in a heartbeat.
const _: () = assert!(HEARTBEAT.as_millis() as usize * ELECTION_TICKS == HOLD.as_millis() as usize * HEARTBEAT_TICKS);

/// One of the engine's own nodes.
pub struct LeaseBased {
    raw: RawNode<MemStorage>,
    disk: Disk,
    voters: Vec<NodeId>,
    seed: u64,
    /// The number of campaigns. Each draws another timeout.
    campaigns: u64,
    role: StateRole,
    /// Proposals of this process that are not applied, and the term in which it made them.
    writes: Vec<(Term, u64)>,
    /// Reads, each with its index once the engine has given one.
    reads: Vec<(ReadId, Option<Index>)>,
    outputs: VecDeque<Output<Message>>,
}

/// What survives a process.
#[derive(Clone)]
pub struct Disk {
    storage: MemStorage,
    applied: Index,
    value: u64,
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

/// Returns the disk of a new node. Every node starts from the same snapshot, as in the crate's example.
fn founding(voters: Vec<NodeId>, learners: Vec<NodeId>) -> Disk {
    let conf = ConfState { voters, learners, ..ConfState::default() };
    let metadata = SnapshotMetadata { index: 1, term: 1, conf_state: Some(conf).into(), ..Default::default() };
    let storage = MemStorage::new();
    let snapshot = Snapshot { metadata: Some(metadata).into(), ..Snapshot::default() };
    storage.wl().apply_snapshot(snapshot).expect("a first snapshot");
    Disk { storage, applied: 1, value: 0 }
}

impl LeaseBased {
    /// Starts a process.
    pub fn new(start: Start<Disk>) -> LeaseBased {
        let disk = start.disk.unwrap_or_else(|| founding(start.voters, start.learners));
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config(start.id, disk.applied), disk.storage.clone(), &logger);
        let raw = raw.expect("a sound configuration");
        let voters = raw.raft.prs().conf().to_conf_state().voters;
        let mut node = LeaseBased {
            raw,
            disk,
            voters,
            seed: mix(start.seed ^ start.id),
            campaigns: 0,
            role: StateRole::Follower,
            writes: Vec::new(),
            reads: Vec::new(),
            outputs: VecDeque::new(),
        };
        node.draw_election_timeout();
        node
    }

    /// Gives the engine an input and executes its outputs.
    fn with<T>(&mut self, input: impl FnOnce(&mut RawNode<MemStorage>) -> T) -> T {
        let outcome = input(&mut self.raw);
        self.drain();
        self.draw_election_timeout();
        outcome
    }

    /// Runs the loop of the crate's documentation.
    fn drain(&mut self) {
        let mut messages = Vec::new();
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            for ReadState { index, request_ctx } in ready.take_read_states() {
                let number = u64::from_le_bytes(request_ctx.try_into().expect("a context of ours"));
                let read = self.reads.iter_mut().find(|(read, _)| read.0 as u64 == number);
                read.expect("a read that waits").1 = Some(index);
            }
            messages.append(&mut ready.take_messages());
            let storage = self.disk.storage.clone();
            if !ready.snapshot().is_empty() {
                storage.wl().apply_snapshot(ready.snapshot().clone()).expect("a newer snapshot");
            }
            self.apply(ready.take_committed_entries());
            storage.wl().append(ready.entries()).expect("entries that follow the log");
            if let Some(hard_state) = ready.hs() {
                storage.wl().set_hardstate(hard_state.clone());
            }
            messages.append(&mut ready.take_persisted_messages());
            let mut light = self.raw.advance(ready);
            if let Some(commit) = light.commit_index() {
                storage.wl().mut_hard_state().set_commit(commit);
            }
            messages.append(&mut light.take_messages());
            self.apply(light.take_committed_entries());
            self.raw.advance_apply();
        }
        if self.role != self.raw.raft.state {
            self.role = self.raw.raft.state;
            self.campaigns += u64::from(matches!(self.role, StateRole::Candidate | StateRole::PreCandidate));
        }
        self.outputs.extend(messages.into_iter().map(|message| Output::Send { to: message.to, message }));
        let Disk { applied, value, .. } = self.disk;
        let leads = self.leads();
        for (read, index) in self.reads.extract_if(.., |(_, index)| index.map_or(!leads, |index| index <= applied)) {
            let answer = index.map_or(Answer::Refused, |_| Answer::ByLease(value));
            self.outputs.push_back(Output::Answer(read, answer));
        }
    }

    /// Draws a timeout from the engine's range.
    fn draw_election_timeout(&mut self) {
        let drawn = mix(mix(self.seed ^ self.raw.raft.term) ^ self.campaigns);
        self.raw.raft.set_randomized_election_timeout(ELECTION_TICKS + drawn as usize % ELECTION_TICKS);
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.disk.applied = entry.index;
            match entry.entry_type {
                EntryType::EntryNormal if entry.data.is_empty() => {}
                EntryType::EntryNormal => {
                    let value = u64::from_le_bytes(entry.data.as_ref().try_into().expect("a value of ours"));
                    self.disk.value = value;
                    let written = self.writes.iter().position(|write| *write == (entry.term, value));
                    if let Some((_, value)) = written.map(|at| self.writes.swap_remove(at)) {
                        self.outputs.push_back(Output::Acknowledge(value));
                    }
                }
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                    let mut change = ConfChangeV2::default();
                    change.merge_from_bytes(&entry.data).expect("a change of ours");
                    if let Ok(conf) = self.raw.apply_conf_change(&change) {
                        self.voters = if conf.voters_outgoing.is_empty() { conf.voters.clone() } else { Vec::new() };
                        self.disk.storage.wl().set_conf_state(conf);
                    }
                }
            }
        }
    }
}

impl Engine for LeaseBased {
    type Message = Message;
    type Disk = Disk;

    fn contents(message: &Message) -> Contents {
        use MessageType::*;
        let kind = match message.get_msg_type() {
            MsgTimeoutNow => Kind::CampaignNow,
            MsgRequestVote | MsgRequestPreVote => Kind::AskVote,
            MsgRequestVoteResponse | MsgRequestPreVoteResponse => Kind::Vote,
            MsgAppendResponse | MsgHeartbeatResponse => Kind::Answer,
            _ => Kind::Lead,
        };
        Contents { kind: Some(kind), tag: Tag::default() }
    }

    fn kill(self) -> Disk {
        self.disk
    }

    fn accept_peer(&self, _: LeaseTiming) -> bool {
        true
    }

    fn receive(&mut self, _: Reading, _: NodeId, message: Message) {
        // The engine rejects some messages of a configuration that it does not know yet; they count as lost.
        let _ = self.with(|raw| raw.step(message));
    }

    fn tick(&mut self, _: Reading) {
        self.with(|raw| raw.tick());
    }

    fn write(&mut self, _: Reading, value: u64) -> bool {
        // A follower's engine would forward the proposal.
        let proposed = self.leads() && self.raw.propose(Vec::new(), value.to_le_bytes().to_vec()).is_ok();
        if proposed {
            self.writes.push((self.raw.raft.term, value));
        }
        self.drain();
        proposed
    }

    fn read(&mut self, _: Reading, read: ReadId) {
        // A follower's engine would forward the read; a server redirects its client to the leader instead.
        self.reads.push((read, None));
        if self.leads() {
            self.raw.read_index((read.0 as u64).to_le_bytes().to_vec());
        }
        self.drain();
    }

    fn poll_output(&mut self) -> Option<Output<Message>> {
        self.outputs.pop_front()
    }

    fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    fn term(&self) -> Term {
        self.raw.raft.term
    }

    fn voters(&self) -> Vec<NodeId> {
        self.voters.clone()
    }

    fn transfer(&mut self, _: Reading, to: NodeId) -> Result<(), NotExpressible> {
        self.with(|raw| raw.transfer_leader(to));
        Ok(())
    }

    fn campaign(&mut self, _: Reading) -> Result<(), NotExpressible> {
        self.with(|raw| raw.campaign()).expect("a campaign is not a proposal");
        Ok(())
    }

    fn delay_reports(&mut self, _: Reading, _: bool) -> Result<(), NotExpressible> {
        // Nothing here learns of a decision later than the engine.
        Ok(())
    }

    fn change_voters(&mut self, _: Reading, voters: &[NodeId]) -> Result<bool, NotExpressible> {
        if voters.len() == 1 && !voters.contains(&self.raw.raft.id) {
            // `maybe_commit` looks for the progress of the leader itself, which is gone, when that voter answers.
            return Err(NotExpressible("the crate panics when the only voter answers the leader that was removed"));
        }
        let single = |node_id: NodeId, kind: ConfChangeType| {
            let mut single = ConfChangeSingle { node_id, ..ConfChangeSingle::default() };
            single.set_change_type(kind);
            single
        };
        let removed = self.voters.iter().filter(|id| !voters.contains(id));
        let removed = removed.map(|id| single(*id, ConfChangeType::RemoveNode));
        let added = voters.iter().filter(|id| !self.voters.contains(id));
        let added = added.map(|id| single(*id, ConfChangeType::AddNode));
        let changes: Vec<_> = added.chain(removed).collect();
        let change = ConfChangeV2 { changes: changes.into(), ..ConfChangeV2::default() };
        Ok(self.with(|raw| raw.propose_conf_change(Vec::new(), change)).is_ok())
    }
}
