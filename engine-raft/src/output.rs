//! What leaves a replica, and when: nothing before what it rests on is durable.

use crate::convert;
use crate::replica::{Position, Replica};
use crate::wire::{Entry, Envelope, HardState, Membership, MessageKind, Snapshot};
use bytes::Bytes;
use leasehold_core::{Action, NodeId, Release, Term, TermRound};
use raft::{StateRole, eraftpb};
use std::collections::VecDeque;

/// What a replica wants done. Do these in the order they come; all before the next input's outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this. It may be lost.
    Send {
        /// To this node.
        to: NodeId,
        /// All of this, as one.
        envelope: Envelope,
    },
    /// Write this down, after all that came before.
    Persist(Persist),
    /// Apply these, in order, before the next output.
    Apply(Vec<Committed>),
    /// Every parked read with a ticket of this round or an earlier one is confirmed.
    ReadsConfirmed {
        /// The quorum round.
        through: u64,
    },
    /// Every parked read with a ticket of this round or an earlier one will never be confirmed.
    ReadsAborted {
        /// The last round of the leadership that ended.
        through: u64,
    },
    /// A follower needs a snapshot: call [`Replica::offer_snapshot`] with the state as applied now.
    SnapshotWanted,
}

/// What must become durable together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// What to tell [`Replica::handle_persisted`]; rises from one to the next.
    pub number: u64,
    /// Whether anything waits for it. If not, it may be written with the next one that is, and needs no report.
    pub must_sync: bool,
    /// The hard state. It goes with every write: an entry must never be durable without the commit index that was known
    /// when it was appended, or a restarted node could campaign under a configuration two steps old.
    pub hard_state: HardState,
    /// Takes the place of the log and of the state machine, if given; the entries follow it.
    pub snapshot: Option<Snapshot>,
    /// Entries to append after dropping any at or after the first one's index.
    pub entries: Vec<Entry>,
}

/// One committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where it stands.
    pub position: Position,
    /// What it does.
    pub effect: Effect,
}

/// What a committed entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A command for the state machine.
    Command(Bytes),
    /// Nothing: a leader opened its term with it.
    Nothing,
    /// The engine took this configuration.
    Membership(Membership),
}

/// Keeps messages until what they promise is durable.
pub(crate) struct Gate {
    /// The newest term that is durable. Nothing of a later one leaves.
    durable_term: Term,
    /// Writes on their way to disk, each with what waits for it.
    in_flight: VecDeque<InFlight>,
    /// The newest `Ready` of the engine, written or not.
    newest: u64,
}

struct InFlight {
    number: u64,
    term: Term,
    messages: Vec<eraftpb::Message>,
}

/// What must be durable before a message leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rests {
    /// Everything written so far: it acknowledges entries, or casts a vote.
    OnTheLog,
    /// The sender's term: a leader need not wait for its own disk to replicate. But a single voter leads before it is.
    OnTheTerm,
}

impl Gate {
    pub(crate) fn new(durable_term: Term) -> Gate {
        Gate { durable_term, in_flight: VecDeque::new(), newest: 0 }
    }

    /// Whether nothing is on its way to disk.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether messages of this term may leave.
    fn admits(&self, term: Term) -> bool {
        term <= self.durable_term
    }

    /// Lets a message out, or keeps it until what it rests on is durable.
    fn pass(&mut self, message: eraftpb::Message, term: Term, rests: Rests, outbox: &mut Outbox) {
        // An answer to a heartbeat says nothing of the log. If it waited for a slow disk, the leader would think itself alone
        // and step down, although its rounds are acknowledged.
        let rests_on_log = rests == Rests::OnTheLog && message.msg_type != eraftpb::MessageType::MsgHeartbeatResponse;
        let durable = self.admits(term);
        match self.in_flight.back_mut() {
            Some(write) if rests_on_log || !durable => write.messages.push(message),
            _ => outbox.messages.push(message),
        }
    }

    /// Lets out what waited for writes through `number`. Returns up to which `Ready` the engine may count as durable.
    pub(crate) fn open_through(&mut self, number: u64, outbox: &mut Outbox) -> u64 {
        while let Some(write) = self.in_flight.pop_front_if(|write| write.number <= number) {
            self.durable_term = self.durable_term.max(write.term);
            outbox.messages.extend(write.messages);
        }
        // What the engine made since then, if nothing is in flight, had nothing to wait for.
        if self.in_flight.is_empty() { self.newest } else { number }
    }
}

/// What is ready to leave.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    messages: Vec<eraftpb::Message>,
    /// The newest echo, and to whom.
    ack: Option<(NodeId, TermRound)>,
    ack_is_due: bool,
    round_is_due: bool,
    /// Where envelopes are put together; empty in between.
    peers: Vec<(NodeId, [Envelope; 2])>,
}

impl Outbox {
    pub(crate) fn note_ack(&mut self, to: NodeId, ack: TermRound, new: bool) {
        self.ack = Some((to, ack));
        self.ack_is_due |= new;
    }
}

impl Replica {
    /// The next thing to do; `None` when nothing is left.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outbox.queue.is_empty() {
            self.collect();
        }
        self.outbox.queue.pop_front()
    }

    /// Empties the engine and the holder into the queue.
    fn collect(&mut self) {
        loop {
            while let Some(action) = self.lease.poll_action() {
                match action {
                    Action::SendRound(_) => self.outbox.round_is_due = true,
                    Action::Confirmed { through } => self.outbox.queue.push_back(Output::ReadsConfirmed { through }),
                    Action::Aborted { through } => self.outbox.queue.push_back(Output::ReadsAborted { through }),
                }
            }
            self.spread_commit();
            if !self.raw.has_ready() {
                break;
            }
            self.take_ready();
        }
        if self.raw.mut_store().take_snapshot_wanted() {
            self.outbox.queue.push_back(Output::SnapshotWanted);
        }
        self.pack();
    }

    /// Tells the followers what is committed, unless more is on its way to be: then the next append tells them, and while
    /// writes are pipelined that saves an append without entries, and its answer, for each of them and each commit.
    fn spread_commit(&mut self) {
        let raft = &mut self.raw.raft;
        let commit = raft.raft_log.committed;
        if raft.state == StateRole::Leader && commit > self.commit_spread && raft.raft_log.last_index() == commit {
            self.commit_spread = commit;
            raft.bcast_append();
        }
    }

    fn take_ready(&mut self) {
        let mut ready = self.raw.ready();
        let number = ready.number();
        let must_sync = ready.must_sync();
        let hard_state_changed = ready.hs().is_some();
        let entries = ready.take_entries();
        let snapshot = Some(ready.snapshot().clone()).filter(|snapshot| !snapshot.is_empty());
        let at_once = ready.take_messages();
        let once_durable = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        if let Some(snapshot) = &snapshot {
            let metadata = snapshot.get_metadata();
            let membership = convert::membership_out(metadata.get_conf_state());
            self.raw.mut_store().install(metadata.index, metadata.term, membership);
        }
        self.raw.mut_store().append(&entries);
        self.raw.advance_append_async(ready);
        self.gate.newest = number;

        if must_sync || hard_state_changed {
            let hard_state = convert::hard_state_out(&self.raw.raft.hard_state());
            if must_sync {
                self.gate.in_flight.push_back(InFlight { number, term: hard_state.term, messages: Vec::new() });
            }
            self.outbox.queue.push_back(Output::Persist(Persist {
                number,
                must_sync,
                hard_state,
                snapshot: snapshot.map(convert::snapshot_out),
                entries: entries.iter().map(convert::entry_out).collect(),
            }));
        }
        let term = self.raw.raft.term;
        if self.gate.is_idle() {
            assert!(self.gate.admits(term), "term {term} is neither durable nor on its way to disk");
            self.raw.on_persist_ready(number);
        }
        for message in once_durable {
            self.gate.pass(message, term, Rests::OnTheLog, &mut self.outbox);
        }
        for message in at_once {
            self.gate.pass(message, term, Rests::OnTheTerm, &mut self.outbox);
        }
        self.hand_out(committed);
    }

    fn hand_out(&mut self, committed: Vec<eraftpb::Entry>) {
        let Some(last) = committed.last().map(|entry| entry.index) else { return };
        let mut effects = Vec::with_capacity(committed.len());
        let mut membership_changed = false;
        for entry in committed {
            let effect = match entry.entry_type {
                eraftpb::EntryType::EntryNormal if entry.data.is_empty() => Effect::Nothing,
                eraftpb::EntryType::EntryNormal => Effect::Command(entry.data.clone()),
                eraftpb::EntryType::EntryConfChange | eraftpb::EntryType::EntryConfChangeV2 => {
                    membership_changed = true;
                    // The engine refuses a change that makes no sense from here; on every node alike, so it is void.
                    if let Ok(state) = self.raw.apply_conf_change(&convert::change_of(&entry)) {
                        self.raw.mut_store().set_membership(convert::membership_out(&state));
                    }
                    self.settle_membership();
                    Effect::Membership(self.membership().clone())
                }
            };
            effects.push(Committed { position: Position { term: entry.term, index: entry.index }, effect });
        }
        self.outbox.queue.push_back(Output::Apply(effects));
        self.raw.advance_apply_to(last);
        if membership_changed {
            // Leaving a joint configuration by itself is a proposal that the engine makes when told what is applied.
            self.settle_membership();
        }
    }

    /// Puts what may leave into envelopes: one per peer for what must not wait, one for what replicates the log.
    fn pack(&mut self) {
        let leads = self.lease.holder().term();
        // A round that is due while its term is not durable yet waits for that.
        let speaks_as_leader = leads.is_some_and(|term| self.gate.admits(term));
        let round_leaves = self.outbox.round_is_due && speaks_as_leader;
        let mut peers = std::mem::take(&mut self.outbox.peers);
        if round_leaves {
            let others = self.raw.raft.prs().iter().map(|(id, _)| *id).filter(|id| *id != self.id);
            for id in others {
                of(&mut peers, id);
            }
        }
        self.outbox.round_is_due &= leads.is_some() && !speaks_as_leader;
        let mut messages = std::mem::take(&mut self.outbox.messages);
        for message in messages.drain(..) {
            let to = message.to;
            let Some(message) = convert::message_out(message) else { continue };
            let envelope = &mut of(&mut peers, to)[usize::from(message.kind.is_bulk())];
            match message.kind {
                // What a transfer released stays released, so this is right even if the transfer ended meanwhile.
                MessageKind::TimeoutNow => envelope.release = self.lease.holder().release().map(pair),
                MessageKind::RequestVote | MessageKind::RequestPreVote => {
                    envelope.release = self.release_shown().map(pair);
                }
                _ => {}
            }
            envelope.messages.push(message);
        }
        if let Some((to, ack)) = self.outbox.ack
            && self.gate.admits(ack.term)
        {
            let due = std::mem::take(&mut self.outbox.ack_is_due);
            if due || peers.iter().any(|(peer, _)| *peer == to) {
                of(&mut peers, to)[0].ack = Some((ack.term, ack.round));
            }
        }
        for (to, envelopes) in peers.drain(..) {
            for (bulk, mut envelope) in envelopes.into_iter().enumerate() {
                // A round has a frame of its own only when it is due: what replicates the log carries it too.
                let due = bulk == 0 && round_leaves;
                if envelope.is_empty() && !due {
                    continue;
                }
                if speaks_as_leader {
                    envelope.round = self.lease.frame_round().map(|round| (round.term, round.round));
                }
                self.outbox.queue.push_back(Output::Send { to, envelope });
            }
        }
        (self.outbox.messages, self.outbox.peers) = (messages, peers);
    }
}

/// What leaves for a peer: what must not wait, and what replicates the log.
fn of(peers: &mut Vec<(NodeId, [Envelope; 2])>, to: NodeId) -> &mut [Envelope; 2] {
    let at = peers.partition_point(|(peer, _)| *peer < to);
    if peers.get(at).is_none_or(|(peer, _)| *peer != to) {
        peers.insert(at, (to, Default::default()));
    }
    &mut peers[at].1
}

fn pair(release: Release) -> (u64, u64) {
    (release.through.term, release.through.round)
}
