//! The queue of outputs, and the packing of messages, rounds and acknowledgements into envelopes.

use crate::gate::Gate;
use crate::lease::Lease;
use crate::local::LocalReads;
use crate::output::Output;
use crate::rejoin::Rejoin;
use crate::wire::{Envelope, MessageKind, convert};
use leasehold_core::{Index, NodeId, Release, Term, TermRound};
use raft::eraftpb;
use std::collections::VecDeque;

/// The outputs that are ready, and the messages that are not packed yet.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    /// The messages that may leave. The gate has released them.
    pub(crate) messages: Vec<eraftpb::Message>,
    /// The newest acknowledgement of a round, and its receiver.
    ack: Option<(NodeId, TermRound)>,
    ack_is_due: bool,
    round_is_due: bool,
    /// The envelopes being packed; empty between two calls. Kept for its allocation.
    peers: Vec<(NodeId, [Envelope; 2])>,
}

impl Outbox {
    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Notes that a round must be sent to all peers.
    pub(crate) fn note_round(&mut self) {
        self.round_is_due = true;
    }

    /// Notes an acknowledgement. A `new` one is sent even if nothing else is sent to that peer.
    pub(crate) fn note_ack(&mut self, to: NodeId, ack: TermRound, new: bool) {
        self.ack = Some((to, ack));
        self.ack_is_due |= new;
    }

    /// Packs everything that may leave: per peer one envelope that must not be delayed, and one that replicates the
    /// log.
    ///
    /// `others` are the other members of the group. `term` and `last` are this node's term and the last index of its log.
    pub(crate) fn pack(
        &mut self,
        lease: &mut Lease,
        local: &mut LocalReads,
        gate: &Gate,
        others: impl Iterator<Item = NodeId>,
        rejoin: &mut Rejoin,
        (term, last): (Term, Index),
    ) {
        let leads = lease.holder().term();
        // A round that is due before its term is durable waits for that.
        let leads_durably = leads.is_some_and(|term| gate.admits(term));
        let round_leaves = self.round_is_due && leads_durably;
        let mut peers = std::mem::take(&mut self.peers);
        if round_leaves {
            for id in others {
                envelopes_for(&mut peers, id);
            }
        }
        self.round_is_due &= leads.is_some() && !leads_durably;
        let mut messages = std::mem::take(&mut self.messages);
        for message in messages.drain(..) {
            let to = message.to;
            if message.msg_type == eraftpb::MessageType::MsgSnapshot {
                let index = message.get_snapshot().get_metadata().index;
                self.queue.push_back(Output::SendSnapshot { to, index });
            }
            let Some(message) = convert::message_out(message) else { continue };
            let envelope = &mut envelopes_for(&mut peers, to)[usize::from(message.kind.is_bulk())];
            match message.kind {
                // A release is permanent, so this is correct even if the transfer has ended.
                MessageKind::TimeoutNow => envelope.release = lease.holder().release().map(pair),
                MessageKind::RequestVote | MessageKind::RequestPreVote => {
                    envelope.release = lease.release_to_show().map(pair);
                }
                _ => {}
            }
            envelope.messages.push(message);
        }
        if let Some((to, ack)) = self.ack
            && gate.admits(ack.term)
        {
            let due = std::mem::take(&mut self.ack_is_due);
            if due || peers.iter().any(|(peer, _)| *peer == to) {
                envelopes_for(&mut peers, to)[0].ack = Some((ack.term, ack.round));
            }
        }
        if let Some((leader, request)) = rejoin.take_request(last) {
            envelopes_for(&mut peers, leader)[0].rejoin = Some(request);
        }
        let local_is_due = local.take_due();
        for to in &local_is_due {
            envelopes_for(&mut peers, *to);
        }
        for (to, envelopes) in peers.drain(..) {
            for (bulk, mut envelope) in envelopes.into_iter().enumerate() {
                // An envelope with nothing but a round is sent only when the round is due. Every other envelope carries
                // the newest round too. Requests and grants of subleases wait for an envelope that leaves anyway.
                let due = bulk == 0 && (round_leaves || local_is_due.contains(&to));
                if envelope.is_empty() && !due {
                    continue;
                }
                if bulk == 0 {
                    envelope.local = local.take_for(to, envelope.ack.is_some(), leads_durably);
                }
                let standing = if leads_durably { rejoin.admission_for(to, term) } else { rejoin.membership(term) };
                envelope.rejoin = envelope.rejoin.or(standing);
                if leads_durably {
                    envelope.round = lease.frame_round().map(|round| (round.term, round.round));
                }
                self.queue.push_back(Output::Send { to, envelope });
            }
        }
        (self.messages, self.peers) = (messages, peers);
    }
}

/// Returns the envelopes for a peer: one that must not be delayed, and one that replicates the log. Keeps `peers`
/// sorted.
fn envelopes_for(peers: &mut Vec<(NodeId, [Envelope; 2])>, to: NodeId) -> &mut [Envelope; 2] {
    let at = peers.partition_point(|(peer, _)| *peer < to);
    if peers.get(at).is_none_or(|(peer, _)| *peer != to) {
        peers.insert(at, (to, Default::default()));
    }
    &mut peers[at].1
}

fn pair(release: Release) -> (u64, u64) {
    (release.through.term, release.through.round)
}
