//! A `RawNode` loop with an [`AttachedLease`] passes the acceptance kit.

use leasehold_conformance::{Answer, Contents, Engine, Kind, NotExpressible, Output, ReadId, Start, check};
use leasehold_core::{Config, Index, LeaseCell, LeaseTiming, NodeId, Read, Reading, Tag, Term, Ticket};
use leasehold_raft::{AttachedLease, Options, ReadOutcome};
use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType, Snapshot,
    SnapshotMetadata,
};
use raft::{RawNode, StateRole, storage::MemStorage};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

const ELECTION_TICKS: usize = 20;

/// A message of the engine, if there is one, and the tag that travels with it.
#[derive(Clone)]
struct Packet {
    message: Option<Message>,
    tag: Tag,
}

/// What survives the process: this storage's memory stands in for a disk.
#[derive(Clone)]
struct Disk {
    storage: MemStorage,
    applied: Index,
    value: u64,
    longest_hold: Duration,
}

enum Waiting {
    Applied(Index, fn(u64) -> Answer),
    Confirmed(Ticket),
}

struct Node {
    config: Config,
    seed: u64,
    raw: RawNode<MemStorage>,
    lease: AttachedLease,
    disk: Disk,
    voters: Vec<NodeId>,
    /// Proposals of this process that are not applied, and the term in which it made them.
    writes: Vec<(Term, u64)>,
    reads: Vec<(ReadId, Waiting)>,
    outputs: VecDeque<Output<Packet>>,
}

fn founding(voters: Vec<NodeId>, learners: Vec<NodeId>) -> MemStorage {
    let conf = ConfState { voters, learners, ..ConfState::default() };
    let metadata = SnapshotMetadata { index: 1, term: 1, conf_state: Some(conf).into(), ..SnapshotMetadata::default() };
    let snapshot = Snapshot { metadata: Some(metadata).into(), ..Snapshot::default() };
    let storage = MemStorage::new();
    storage.wl().apply_snapshot(snapshot).expect("a first snapshot");
    storage
}

impl Node {
    fn new(start: Start<Disk>) -> Node {
        let Start { id, config, seed, now, .. } = start;
        let mut disk = start.disk.unwrap_or_else(|| Disk {
            storage: founding(start.voters.clone(), start.learners),
            applied: 1,
            value: 0,
            longest_hold: Duration::ZERO,
        });
        let engine = raft::Config {
            id,
            applied: disk.applied,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: 2,
            check_quorum: true,
            pre_vote: true,
            ..raft::Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&engine, disk.storage.clone(), &logger).expect("a sound configuration");
        let cell = Arc::new(LeaseCell::new());
        let lease = AttachedLease::new(Options::new(id, config, seed), &raw, disk.longest_hold, now, cell);
        disk.longest_hold = disk.longest_hold.max(config.hold());
        let voters = raw.raft.prs().conf().to_conf_state().voters;
        let (writes, reads, outputs) = (Vec::new(), Vec::new(), VecDeque::new());
        let lease = lease.expect("a suitable engine");
        let mut node = Node { config, seed, raw, lease, disk, voters, writes, reads, outputs };
        node.draw_election_timeout();
        node
    }

    /// The engine draws it from the thread's randomness; a run must be repeatable.
    fn draw_election_timeout(&mut self) {
        let drawn = (self.seed ^ self.raw.raft.term).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        self.raw.raft.set_randomized_election_timeout(ELECTION_TICKS + drawn as usize % ELECTION_TICKS);
    }

    /// The loop's body, as the raft crate's documentation gives it.
    fn handle_ready(&mut self, now: Reading) {
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            let mut messages = ready.take_messages();
            if !ready.snapshot().is_empty() {
                self.disk.storage.wl().apply_snapshot(ready.snapshot().clone()).expect("a newer snapshot");
            }
            self.apply(now, ready.take_committed_entries());
            self.disk.storage.wl().append(ready.entries()).expect("entries that follow the log");
            if let Some(hard_state) = ready.hs() {
                self.disk.storage.wl().set_hardstate(hard_state.clone());
            }
            self.lease.term_is_durable(self.raw.raft.term);
            messages.append(&mut ready.take_persisted_messages());
            let mut light = self.raw.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.disk.storage.wl().mut_hard_state().set_commit(commit);
            }
            messages.append(&mut light.take_messages());
            // Before any message of this step leaves, and before a write is acknowledged.
            self.lease.follow(now, &self.raw);
            self.apply(now, light.take_committed_entries());
            self.raw.advance_apply();
            self.lease.follow(now, &self.raw);
            for message in messages {
                let tag = self.lease.tag(&message);
                self.outputs
                    .push_back(Output::Send { to: message.to, message: Packet { message: Some(message), tag } });
            }
        }
        for (to, tag) in self.lease.tags(&self.raw) {
            self.outputs.push_back(Output::Send { to, message: Packet { message: None, tag } });
        }
        self.draw_election_timeout();
        self.answer_reads();
    }

    fn apply(&mut self, now: Reading, entries: Vec<Entry>) {
        for entry in entries {
            self.disk.applied = entry.index;
            match entry.entry_type {
                EntryType::EntryNormal if entry.data.is_empty() => {}
                EntryType::EntryNormal => {
                    let value = u64::from_le_bytes(entry.data.as_ref().try_into().expect("a value"));
                    self.disk.value = value;
                    self.lease.follow(now, &self.raw);
                    let written = self.writes.iter().position(|write| *write == (entry.term, value));
                    if let Some((_, value)) = written.map(|at| self.writes.swap_remove(at)) {
                        self.outputs.push_back(Output::Acknowledge(value));
                    }
                }
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                    let mut change = ConfChangeV2::default();
                    change.merge_from_bytes(&entry.data).expect("a change");
                    if let Ok(conf) = self.raw.apply_conf_change(&change) {
                        self.voters = if conf.voters_outgoing.is_empty() { conf.voters.clone() } else { Vec::new() };
                        self.disk.storage.wl().set_conf_state(conf);
                        self.lease.follow_voters(now, &mut self.raw);
                    }
                }
            }
        }
    }

    fn answer_reads(&mut self) {
        while let Some(outcome) = self.lease.poll_read() {
            for (read, waiting) in std::mem::take(&mut self.reads) {
                match (waiting, outcome) {
                    (Waiting::Confirmed(ticket), ReadOutcome::Confirmed(through)) if ticket.round <= through => {
                        self.reads.push((read, Waiting::Applied(ticket.index, Answer::ByQuorum)));
                    }
                    (Waiting::Confirmed(ticket), ReadOutcome::Aborted(through)) if ticket.round <= through => {
                        self.outputs.push_back(Output::Answer(read, Answer::Refused));
                    }
                    (waiting, _) => self.reads.push((read, waiting)),
                }
            }
        }
        let Disk { applied, value, .. } = self.disk;
        for (read, waiting) in std::mem::take(&mut self.reads) {
            match waiting {
                Waiting::Applied(index, answer) if index <= applied => {
                    self.outputs.push_back(Output::Answer(read, answer(value)));
                }
                waiting => self.reads.push((read, waiting)),
            }
        }
    }
}

impl Engine for Node {
    type Message = Packet;
    type Disk = Disk;

    fn contents(packet: &Packet) -> Contents {
        use MessageType::*;
        let kind = packet.message.as_ref().map(|message| match message.get_msg_type() {
            MsgTimeoutNow => Kind::CampaignNow,
            MsgRequestVote | MsgRequestPreVote => Kind::AskVote,
            MsgRequestVoteResponse | MsgRequestPreVoteResponse => Kind::Vote,
            MsgAppendResponse | MsgHeartbeatResponse => Kind::Answer,
            _ => Kind::Lead,
        });
        Contents { kind, tag: packet.tag }
    }

    fn kill(self) -> Disk {
        self.disk
    }

    fn accept_peer(&self, timing: LeaseTiming) -> bool {
        self.config.accept_peer(timing).is_ok()
    }

    fn receive(&mut self, now: Reading, from: NodeId, packet: Packet) {
        // The engine refuses some messages of a configuration that it does not know yet; they count as lost.
        let _ = self.lease.step(now, &mut self.raw, from, packet.tag, packet.message);
        self.handle_ready(now);
    }

    fn tick(&mut self, now: Reading) {
        self.lease.tick(now, &mut self.raw);
        self.handle_ready(now);
    }

    fn write(&mut self, now: Reading, value: u64) -> bool {
        let proposed = self.leads() && self.raw.propose(Vec::new(), value.to_le_bytes().to_vec()).is_ok();
        if proposed {
            self.writes.push((self.raw.raft.term, value));
        }
        self.lease.follow(now, &self.raw);
        self.handle_ready(now);
        proposed
    }

    fn read(&mut self, now: Reading, read: ReadId) {
        let permit = self.lease.cell().try_read(now).map(Read::Lease);
        match permit.map_or_else(|| self.lease.read(now), Ok) {
            Ok(Read::Lease(permit)) => self.reads.push((read, Waiting::Applied(permit.index, Answer::ByLease))),
            Ok(Read::Quorum(ticket)) => self.reads.push((read, Waiting::Confirmed(ticket))),
            Err(_) => self.outputs.push_back(Output::Answer(read, Answer::Refused)),
        }
        self.handle_ready(now);
    }

    fn poll_output(&mut self) -> Option<Output<Packet>> {
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

    fn transfer(&mut self, now: Reading, to: NodeId) -> Result<(), NotExpressible> {
        self.raw.transfer_leader(to);
        self.lease.follow(now, &self.raw);
        self.handle_ready(now);
        Ok(())
    }

    fn campaign(&mut self, now: Reading) -> Result<(), NotExpressible> {
        self.lease.campaign(now, &mut self.raw);
        self.handle_ready(now);
        Ok(())
    }

    fn delay_reports(&mut self, _: Reading, _: bool) -> Result<(), NotExpressible> {
        // Every step is seen.
        Ok(())
    }

    fn change_voters(&mut self, now: Reading, voters: &[NodeId]) -> Result<bool, NotExpressible> {
        let single = |node_id: NodeId, kind: ConfChangeType| {
            let mut single = ConfChangeSingle { node_id, ..ConfChangeSingle::default() };
            single.set_change_type(kind);
            single
        };
        let added = voters.iter().filter(|id| !self.voters.contains(id));
        let removed = self.voters.iter().filter(|id| !voters.contains(id));
        let added = added.map(|id| single(*id, ConfChangeType::AddNode));
        let changes: Vec<_> = added.chain(removed.map(|id| single(*id, ConfChangeType::RemoveNode))).collect();
        let change = ConfChangeV2 { changes: changes.into(), ..ConfChangeV2::default() };
        let proposed = self.raw.propose_conf_change(Vec::new(), change).is_ok();
        self.lease.follow(now, &self.raw);
        self.handle_ready(now);
        Ok(proposed)
    }
}

#[test]
fn a_loop_with_an_attached_lease_passes_the_acceptance_kit() {
    check(Node::new).assert_passed();
}
