//! Leases for a `RawNode` loop that exists: five nodes of the `raft` crate in one process, with its own storage, messages and
//! `Ready` loop. `cargo run -p leasehold-raft --example raw_node_loop`
//!
//! The lines that the lease adds to such a loop are those with `lease`. The rest is like the raft crate's own example.

use leasehold_clock::{Clock as _, SystemClock};
use leasehold_core::{Config, LeaseCell, NodeId, Options as Timing};
use leasehold_raft::{AttachedLease, Options, Stepped, Tag};
use raft::eraftpb::{ConfState, Entry, Message};
use raft::{RawNode, StateRole, storage::MemStorage};
use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

const NODES: u64 = 5;
const HOLD: Duration = Duration::from_millis(500);
const HEARTBEAT: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_millis(25);

/// A message on the wire: the engine's own, and the bytes of a tag. Either may travel without the other.
type Packet = (NodeId, NodeId, Option<Message>, [u8; Tag::BYTES]);

struct Node {
    id: NodeId,
    raw: RawNode<MemStorage>,
    lease: AttachedLease,
    clock: SystemClock,
    applied: u64,
}

impl Node {
    fn new(id: NodeId, clock: SystemClock) -> Result<Node, Box<dyn Error>> {
        let ticks = (HOLD.as_millis() / TICK.as_millis()) as usize;
        let config = raft::Config {
            id,
            election_tick: ticks,
            heartbeat_tick: 2,
            // Leases need both of these.
            check_quorum: true,
            pre_vote: true,
            ..Default::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let storage = MemStorage::new_with_conf_state(ConfState::from(((1..=NODES).collect::<Vec<_>>(), vec![])));
        let raw = RawNode::new(&config, storage, &logger)?;
        let timing = Config::new(Timing::new(HOLD, 1000).with_heartbeat(HEARTBEAT))?;
        // A new node has no record of a hold. It must write this one to its disk before it sends anything.
        let (record, cell) = (Duration::ZERO, Arc::new(LeaseCell::new()));
        let lease = AttachedLease::new(Options::new(id, timing, id), &raw, record, clock.now(), cell)?;
        Ok(Node { id, raw, lease, clock, applied: 0 })
    }

    fn receive(&mut self, (from, _, message, tag): Packet) -> Result<(), Box<dyn Error>> {
        let tag = Tag::from_bytes(&tag)?;
        // The reading is taken here, after the packet arrived. Instead of `raw.step(message)`:
        match self.lease.step(self.clock.now(), &mut self.raw, from, tag, message) {
            Stepped::Seen(seen) => Ok(seen?),
            Stepped::Withheld => Ok(()),
        }
    }

    /// The loop's body, as the raft crate's documentation gives it.
    fn handle_ready(&mut self, wire: &mut VecDeque<Packet>) -> Result<(), Box<dyn Error>> {
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            let mut messages = ready.take_messages();
            let mut committed = ready.take_committed_entries();
            if let Some(hard_state) = ready.hs().cloned() {
                self.raw.mut_store().wl().set_hardstate(hard_state);
            }
            self.raw.mut_store().wl().append(ready.entries())?;
            // The term is durable now: this storage's memory stands in for a disk.
            self.lease.term_is_durable(self.raw.raft.term);
            messages.extend(ready.take_persisted_messages());
            let mut light = self.raw.advance(ready);
            messages.extend(light.take_messages());
            committed.extend(light.take_committed_entries());
            self.applied = committed.last().map_or(self.applied, |entry: &Entry| entry.index);
            self.raw.advance_apply();
            // Before any message of this step leaves.
            self.lease.follow(self.clock.now(), &self.raw);
            for message in messages {
                let tag = self.lease.tag(&message).to_bytes();
                wire.push_back((self.id, message.to, Some(message), tag));
            }
        }
        for (to, tag) in self.lease.tags(&self.raw) {
            wire.push_back((self.id, to, None, tag.to_bytes()));
        }
        Ok(())
    }

    /// Returns the index at which this node answers a read by its lease, if it may, and has applied what it needs.
    fn read(&self) -> Option<u64> {
        let permit = self.lease.cell().try_read(self.clock.now())?;
        (self.applied >= permit.index).then_some(self.applied)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let clock = SystemClock::new()?;
    let mut nodes = (1..=NODES).map(|id| Node::new(id, clock)).collect::<Result<Vec<_>, _>>()?;
    let (mut wire, mut acknowledged, mut cut) = (VecDeque::<Packet>::new(), 0, None);
    let (mut leaders, mut reads) = (Vec::new(), [0_u64; NODES as usize]);
    for step in 0..160 {
        std::thread::sleep(TICK);
        for node in &mut nodes {
            // Instead of `raw.tick()`.
            node.lease.tick(clock.now(), &mut node.raw);
            if node.raw.raft.state == StateRole::Leader && node.raw.propose(vec![], vec![1]).is_ok() {
                node.lease.follow(clock.now(), &node.raw);
            }
            node.handle_ready(&mut wire)?;
        }
        while let Some(packet) = wire.pop_front() {
            if [packet.0, packet.1].into_iter().any(|end| Some(end) == cut) {
                continue;
            }
            let node = &mut nodes[packet.1 as usize - 1];
            node.receive(packet)?;
            node.handle_ready(&mut wire)?;
        }
        for node in &mut nodes {
            if let Some(index) = node.read() {
                assert!(index >= acknowledged, "n{} read {index}, but {acknowledged} was acknowledged", node.id);
                reads[node.id as usize - 1] += 1;
            }
            if node.raw.raft.state == StateRole::Leader && !leaders.contains(&(node.id, node.raw.raft.term)) {
                println!("n{} leads term {}", node.id, node.raw.raft.term);
                leaders.push((node.id, node.raw.raft.term));
            }
            // A write is acknowledged once it is applied at the leader of the newest term.
            if leaders.iter().max_by_key(|(_, term)| *term).is_some_and(|(leader, _)| *leader == node.id) {
                acknowledged = acknowledged.max(node.applied);
            }
        }
        if step == 80 {
            cut = leaders.last().map(|(leader, _)| *leader);
            println!("n{} is cut off", cut.unwrap_or(0));
        }
    }
    for (node, reads) in nodes.iter().zip(reads) {
        println!("n{} answered {reads} reads by its lease, none of them stale", node.id);
    }
    assert!(reads.iter().filter(|reads| **reads > 0).count() > 1, "the lease moved to another node");
    Ok(())
}
