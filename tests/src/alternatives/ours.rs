//! The product as a subject: real replicas with their holders and grantors, on the harness's disks, network and clocks.

use bytes::Bytes;
use leasehold_conformance::subject::{Answer, ClockFault, Founding, Kind, Links, NotExpressible, ReadId, Subject};
use leasehold_core::{Config, Index, NodeId, Options, Read, Term, Ticket};
use leasehold_raft::Role;
use leasehold_raft::wire::{Change, Envelope, MessageKind, Step, Transition};
use leasehold_testing::cluster::{Cluster, HOLD, InTransit, timing};
use leasehold_testing::dice::Dice;
use std::collections::BTreeMap;
use std::time::Duration;

/// A cluster of the product's replicas.
pub struct Ours {
    cluster: Cluster,
    links: Links,
    held: Vec<InTransit>,
    /// Nodes whose awake counter stands still.
    stopped: Vec<NodeId>,
    /// The timing of nodes that have another one than by default. Nodes refuse each other in the handshake of a link.
    timings: BTreeMap<NodeId, Config>,
    /// Draws the delays of messages that are repeated and reordered.
    scrambled: Option<Dice>,
    seed: u64,
    writes: BTreeMap<u64, Write>,
    reads: Vec<(NodeId, State)>,
}

/// A proposal: the node that accepted it, and whether that node has applied it.
struct Write {
    at: NodeId,
    acknowledged: bool,
}

/// The state of a read.
enum State {
    /// The node is paused.
    Unheard,
    /// The lease answers it once this index is applied.
    Permitted(Index),
    /// It waits for a quorum round.
    Parked(Ticket),
    Done(Answer),
}

impl Ours {
    /// Returns a newly founded cluster.
    pub fn founded(founding: Founding) -> Ours {
        let mut cluster = Cluster::founded_with_seed(founding.voters.len() as u64, founding.seed);
        if !founding.learners.is_empty() {
            let leader = cluster.elect();
            founding.learners.iter().for_each(|id| cluster.add_node(*id));
            let steps = founding.learners.iter().map(|id| Step::AddLearner(*id)).collect();
            let change = Change::new(Transition::Auto, steps);
            cluster.change(leader, &change).expect("a new leader takes a change");
            cluster.run_until("the learners have joined", |cluster| {
                founding.learners.iter().all(|id| cluster.replica(*id).membership().learners == founding.learners)
            });
        }
        Ours {
            cluster,
            links: Links::default(),
            held: Vec::new(),
            stopped: Vec::new(),
            timings: BTreeMap::new(),
            scrambled: None,
            seed: founding.seed,
            writes: BTreeMap::new(),
            reads: Vec::new(),
        }
    }

    fn is_up(&self, id: NodeId) -> bool {
        self.cluster.nodes[&id].replica.is_some()
    }

    /// Removes held and lost messages from the wire.
    fn sort_wire(&mut self) {
        let links = &self.links;
        if !self.timings.is_empty() {
            let of = |id: NodeId| self.timings.get(&id).copied().unwrap_or_else(timing);
            let accepts = |at: NodeId, peer: NodeId| of(at).accept_peer(of(peer).timing()).is_ok();
            let refused = |one: NodeId, other: NodeId| !accepts(one, other) || !accepts(other, one);
            self.cluster.intercept(|message| refused(message.from, message.to));
        }
        if !links.held.is_empty() {
            self.held.extend(
                self.cluster.intercept(|message| links.holds(message.from, message.to, &kinds(&message.envelope))),
            );
        }
        if !links.lost.is_empty() {
            self.cluster.intercept(|message| links.loses(message.from, message.to, &kinds(&message.envelope)));
        }
        if self.cluster.cut != links.cut {
            self.cluster.cut.clone_from(&links.cut);
        }
    }

    /// Repeats the messages that were just sent, and delays each copy.
    fn scramble_wire(&mut self) {
        let (now, latency) = (self.cluster.now, self.cluster.latency);
        let Some(dice) = &mut self.scrambled else { return };
        for message in self.cluster.intercept(|message| message.at == now + latency) {
            for _ in 0..2 {
                // A nanosecond more, so that it is not taken for a message that was just sent.
                let at = message.at + dice.millis(0, 60) + Duration::from_nanos(1);
                self.cluster.wire.push_back(InTransit { at, ..message.clone() });
            }
        }
    }

    /// Returns the value in the state machine of a node.
    fn value(&self, id: NodeId) -> u64 {
        let last = self.cluster.nodes[&id].applied.last();
        last.and_then(|(_, command)| std::str::from_utf8(command).ok()?.parse().ok()).unwrap_or(0)
    }

    fn look_after_reads(&mut self) {
        for at in 0..self.reads.len() {
            let id = self.reads[at].0;
            if matches!(self.reads[at].1, State::Done(_)) || self.cluster.nodes[&id].paused {
                continue;
            }
            if !self.is_up(id) {
                self.reads[at].1 = State::Done(Answer::Refused);
                continue;
            }
            if let State::Unheard = self.reads[at].1 {
                // As in the server, a read goes to the replica only if the cell grants nothing.
                let permit = self.cluster.permit(id);
                self.reads[at].1 = match permit.map(Read::Lease).or_else(|| self.cluster.read(id)) {
                    Some(Read::Lease(permit)) => State::Permitted(permit.index),
                    Some(Read::Quorum(ticket)) => State::Parked(ticket),
                    None => State::Done(Answer::Refused),
                };
            }
            let node = &self.cluster.nodes[&id];
            let applied = node.position.index;
            let done = match self.reads[at].1 {
                State::Permitted(index) if applied >= index => Some(Answer::ByLease(self.value(id))),
                State::Parked(ticket) if node.confirmed_through >= ticket.round => {
                    (applied >= ticket.index).then(|| Answer::ByQuorum(self.value(id)))
                }
                State::Parked(ticket) if node.aborted_through >= ticket.round => Some(Answer::Refused),
                _ => None,
            };
            if let Some(answer) = done {
                self.reads[at].1 = State::Done(answer);
            }
        }
    }
}

impl Subject for Ours {
    fn advance(&mut self) {
        for id in &self.stopped {
            let node = self.cluster.nodes.get_mut(id).expect("a node of the cluster");
            node.awake_behind += Duration::from_millis(1);
            node.wakes += Duration::from_millis(1);
        }
        self.sort_wire();
        self.cluster.run(Duration::from_millis(1));
        self.sort_wire();
        self.scramble_wire();
        for (value, write) in self.writes.iter_mut().rev().take_while(|(_, write)| !write.acknowledged) {
            let command = value.to_string();
            write.acknowledged =
                self.cluster.nodes[&write.at].applied.iter().any(|(_, applied)| *applied == command.as_bytes());
        }
        self.look_after_reads();
    }

    fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    fn set_latency(&mut self, latency: Duration) {
        self.cluster.latency = latency;
    }

    fn scramble(&mut self, on: bool) -> Result<(), NotExpressible> {
        self.scrambled = on.then(|| Dice::new(self.seed, 1));
        Ok(())
    }

    fn deliver(&mut self) {
        self.sort_wire();
        for message in std::mem::take(&mut self.held) {
            let now = self.cluster.now;
            match self.cluster.nodes[&message.to].paused {
                // It is queued before all other messages in flight.
                true => self.cluster.wire.push_front(InTransit { at: now, ..message }),
                false => self.cluster.deliver(message),
            }
        }
        self.look_after_reads();
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.cluster.nodes.keys().copied().collect()
    }

    fn leads(&self, id: NodeId) -> bool {
        self.is_up(id) && self.cluster.replica(id).role() == Role::Leader
    }

    fn term(&self, id: NodeId) -> Term {
        self.cluster.replica(id).term()
    }

    fn pause(&mut self, id: NodeId) {
        self.cluster.nodes.get_mut(&id).expect("a node of the cluster").paused = true;
    }

    fn resume(&mut self, id: NodeId) {
        self.cluster.nodes.get_mut(&id).expect("a node of the cluster").paused = false;
    }

    fn suspend(&mut self, id: NodeId) {
        self.pause(id);
        self.stopped.push(id);
    }

    fn wake(&mut self, id: NodeId) {
        self.stopped.retain(|stopped| *stopped != id);
        self.resume(id);
    }

    fn restart(&mut self, id: NodeId, shortened: u32) {
        let usual = timing();
        let hold = HOLD / shortened;
        let heartbeat = usual.heartbeat() / shortened;
        let config = Config::new(Options::new(hold, 1000).with_heartbeat(heartbeat)).expect("it fits together");
        if shortened > 1 {
            self.timings.insert(id, config)
        } else {
            self.timings.remove(&id)
        };
        self.cluster.kill(id);
        self.look_after_reads();
        self.cluster.start(id, config);
    }

    fn disturb(&mut self, id: NodeId, fault: ClockFault) -> Result<(), NotExpressible> {
        let node = self.cluster.nodes.get_mut(&id).expect("a node of the cluster");
        match fault {
            ClockFault::Back(by) => node.clock_offset -= by.as_nanos() as i64,
            ClockFault::Forward(by) => node.clock_offset += by.as_nanos() as i64,
            ClockFault::Fails => node.clock_failed = true,
            ClockFault::Works => node.clock_failed = false,
            ClockFault::AwakeCounterStops => self.stopped.push(id),
        }
        Ok(())
    }

    fn burst(&mut self, id: NodeId, ticks: u32) -> Result<(), NotExpressible> {
        for _ in 0..ticks {
            self.cluster.with(id, |replica, now| replica.handle_timeout(now));
        }
        Ok(())
    }

    fn transfer(&mut self, from: NodeId, to: NodeId) -> Result<(), NotExpressible> {
        self.cluster.with(from, |replica, now| replica.transfer(now, to)).expect("an active voter");
        Ok(())
    }

    fn campaign(&mut self, id: NodeId) -> Result<(), NotExpressible> {
        // Refused while the node is held, which is the point.
        let _ = self.cluster.with(id, |replica, now| replica.campaign(now));
        Ok(())
    }

    fn delay_reports(&mut self, _: NodeId, _: bool) -> Result<(), NotExpressible> {
        // `Replica` sees every step of its engine.
        Ok(())
    }

    fn change_voters(&mut self, leader: NodeId, voters: &[NodeId]) -> Result<bool, NotExpressible> {
        let now = self.voters(leader);
        let removed = now.iter().filter(|id| !voters.contains(id)).map(|id| Step::Remove(*id));
        let added = voters.iter().filter(|id| !now.contains(id)).map(|id| Step::AddVoter(*id));
        let change = Change::new(Transition::Auto, added.chain(removed).collect());
        Ok(self.cluster.change(leader, &change).is_ok())
    }

    fn voters(&self, id: NodeId) -> Vec<NodeId> {
        let membership = self.cluster.replica(id).membership();
        if membership.voters_outgoing.is_empty() { membership.voters.clone() } else { Vec::new() }
    }

    fn write(&mut self, id: NodeId, value: u64) -> bool {
        let command = Bytes::from(value.to_string());
        let taken = self.cluster.with(id, |replica, now| replica.propose(now, command)).is_ok();
        if taken {
            self.writes.insert(value, Write { at: id, acknowledged: false });
        }
        taken
    }

    fn acknowledged(&self, value: u64) -> bool {
        self.writes.get(&value).is_some_and(|write| write.acknowledged)
    }

    fn ask(&mut self, id: NodeId) -> ReadId {
        self.reads.push((id, State::Unheard));
        self.look_after_reads();
        ReadId(self.reads.len() - 1)
    }

    fn answer(&self, read: ReadId) -> Answer {
        match self.reads[read.0].1 {
            State::Done(answer) => answer,
            _ => Answer::Pending,
        }
    }
}

/// Returns the kinds of all messages in an envelope.
fn kinds(envelope: &Envelope) -> Vec<Kind> {
    let messages = envelope.messages.iter().filter_map(|message| match message.kind {
        MessageKind::Append | MessageKind::Heartbeat => Some(Kind::Lead),
        MessageKind::AppendResponse | MessageKind::HeartbeatResponse => Some(Kind::Answer),
        MessageKind::RequestVote | MessageKind::RequestPreVote => Some(Kind::AskVote),
        MessageKind::RequestVoteResponse | MessageKind::RequestPreVoteResponse => Some(Kind::Vote),
        MessageKind::TimeoutNow => Some(Kind::CampaignNow),
        MessageKind::TransferLeader => None,
    });
    let lease = envelope.round.map(|_| Kind::Lead).into_iter().chain(envelope.ack.map(|_| Kind::Answer));
    messages.chain(lease).collect()
}
