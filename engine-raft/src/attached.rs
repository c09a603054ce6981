//! A lease for a `RawNode` that the program drives.

use crate::lease::{Lease, would_campaign};
use crate::options::Options;
use leasehold_core::{
    Action, Event, Grantor, Holder, LeaseCell, NodeId, Read, ReadError, Reading, Release, Round, Tag, Term, TermRound,
    Ticket,
};
use raft::eraftpb::{Message, MessageType};
use raft::{RawNode, StateRole, Storage};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The lease of a node with a [`RawNode`] of its own. The storage, the messages and the loop stay as they are:
///
/// * [`step`](AttachedLease::step), [`tick`](AttachedLease::tick) and [`campaign`](AttachedLease::campaign) instead of the
///   engine's methods of these names.
/// * [`follow`](AttachedLease::follow) after everything else that touches the engine: `propose`, `advance`,
///   `advance_apply`, `transfer_leader`; and [`follow_voters`](AttachedLease::follow_voters) after `apply_conf_change`.
/// * [`term_is_durable`](AttachedLease::term_is_durable) once the hard state of a `Ready` is on disk.
/// * [`tag`](AttachedLease::tag) for each message of the engine that leaves, just before it leaves; then
///   [`tags`](AttachedLease::tags) for what must leave alone.
/// * [`read`](AttachedLease::read) for a read, and [`poll_read`](AttachedLease::poll_read) for those that waited.
///
/// Every input takes a reading that was sampled after it arrived.
///
/// The engine must persist before it answers, as its documentation says: an answer to an append, or a vote, leaves after
/// what it acknowledges is durable. A node must not campaign while entries of its own are not durable.
pub struct AttachedLease {
    lease: Lease,
    /// The newest term that is durable here. Nothing of a later one leaves.
    durable_term: Term,
    /// The leader that is followed and the newest acknowledgement for it.
    ack: Option<(NodeId, TermRound)>,
    /// True if the acknowledgement must leave even if nothing else does.
    ack_is_due: bool,
    round_is_due: bool,
    reads: VecDeque<ReadOutcome>,
}

/// The outcome of reads that waited for a quorum round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Every pending read with a ticket for this round or an earlier one is confirmed: answer it once its index is applied.
    Confirmed(Round),
    /// Every pending read with a ticket for this round or an earlier one has failed: send it to the new leader.
    Aborted(Round),
}

/// An error of [`AttachedLease::new`]: an option of the engine makes leases unsafe or useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsuitable {
    /// A leader that hears from no quorum must step down.
    #[error("the engine's check_quorum is off; set it to true, so that a leader without a quorum steps down")]
    CheckQuorum,
    /// A candidate that cannot win must not raise the terms of the others.
    #[error("the engine's pre_vote is off; set it to true, so that a node that was away does not depose the leader")]
    PreVote,
    /// The node's number differs from the engine's.
    #[error("the options are those of node {options}, but the engine is that of node {engine}")]
    Id {
        /// The number in the options.
        options: NodeId,
        /// The number in the engine.
        engine: NodeId,
    },
}

/// The engine's answer to a message, or the reason why the engine did not see it.
#[derive(Debug)]
#[must_use = "an error of the engine is in it"]
pub enum Stepped {
    /// The engine has seen the message.
    Seen(raft::Result<()>),
    /// This node is held: what would help elect another leader was withheld from the engine. It is sent again.
    Withheld,
}

impl AttachedLease {
    /// Returns the lease of a process that has just started. It publishes in `cell`, which must be new.
    ///
    /// `longest_hold` is the longest hold under which this node may ever have acknowledged a round, as recorded; zero for a
    /// new node. `max(longest_hold, hold)` must be durable before the first message leaves.
    ///
    /// # Errors
    /// [`Unsuitable`]: an option of the engine must be changed.
    pub fn new<S: Storage>(
        options: Options,
        raw: &RawNode<S>,
        longest_hold: Duration,
        now: Reading,
        cell: Arc<LeaseCell>,
    ) -> Result<AttachedLease, Unsuitable> {
        if !raw.raft.check_quorum {
            return Err(Unsuitable::CheckQuorum);
        }
        if !raw.raft.pre_vote {
            return Err(Unsuitable::PreVote);
        }
        if raw.raft.id != options.id {
            return Err(Unsuitable::Id { options: options.id, engine: raw.raft.id });
        }
        Ok(AttachedLease {
            lease: Lease::new(&options, longest_hold, now, cell),
            durable_term: raw.raft.term,
            ack: None,
            ack_is_due: false,
            round_is_due: false,
            reads: VecDeque::new(),
        })
    }

    /// Returns the holder.
    pub fn holder(&self) -> &Holder {
        self.lease.holder()
    }

    /// Returns the grantor.
    pub fn grantor(&self) -> &Grantor {
        self.lease.grantor()
    }

    /// Returns the cell, which readers on any thread check.
    pub fn cell(&self) -> &LeaseCell {
        self.lease.cell()
    }

    /// Handles a tag from `from`, as the link authenticated it, and the message of the engine that came with it, if one did.
    pub fn step<S: Storage>(
        &mut self,
        now: Reading,
        raw: &mut RawNode<S>,
        from: NodeId,
        tag: Tag,
        message: Option<Message>,
    ) -> Stepped {
        let mut stepped = Stepped::Seen(Ok(()));
        if let Some(message) = message {
            if self.may_see(now, raw, &message, tag.release) {
                stepped = Stepped::Seen(raw.step(message));
                self.follow(now, raw);
            } else {
                stepped = Stepped::Withheld;
            }
        }
        if let Some(round) = tag.round
            && let Some((ack, new)) = self.lease.handle_frame(now, &raw.raft, from, round)
        {
            self.ack = Some((from, ack));
            self.ack_is_due |= new;
        }
        if let Some(round) = tag.ack {
            self.lease.handle_event(now, Event::Acked { from, round });
        }
        self.take_actions();
        stepped
    }

    /// Counts a tick of the engine, and opens a round if a heartbeat interval has passed. A tick that would start a campaign
    /// is withheld while this node is held; the next one tries again. Returns whether the engine counted it.
    pub fn tick<S: Storage>(&mut self, now: Reading, raw: &mut RawNode<S>) -> bool {
        let counts = !would_campaign(&raw.raft) || (is_durable(raw) && self.lease.may_campaign(now));
        if counts {
            raw.tick();
            self.follow(now, raw);
        }
        self.lease.handle_timeout(now);
        self.take_actions();
        counts
    }

    /// Starts a campaign, if this node does not lead, is not held and its log is durable. Returns whether the engine was asked
    /// to; it refuses while a change of configuration is not applied.
    pub fn campaign<S: Storage>(&mut self, now: Reading, raw: &mut RawNode<S>) -> bool {
        let may = raw.raft.state != StateRole::Leader
            && raw.raft.promotable()
            && is_durable(raw)
            && self.lease.may_campaign(now);
        if may {
            // The engine's only error here is a dropped proposal, and a campaign proposes nothing.
            let _ = raw.campaign();
            self.follow(now, raw);
        }
        may
    }

    /// Learns what has changed in the engine. Call it after everything that touches the engine, before a message of that step
    /// leaves.
    pub fn follow<S: Storage>(&mut self, now: Reading, raw: &RawNode<S>) {
        self.lease.follow(now, &raw.raft, raw.raft.raft_log.committed);
        self.take_actions();
    }

    /// Learns of a change of the voters that was applied. A leader that is no voter any more steps down.
    pub fn follow_voters<S: Storage>(&mut self, now: Reading, raw: &mut RawNode<S>) {
        self.lease.follow_voters(now, &mut raw.raft);
        self.follow(now, raw);
    }

    /// Learns that the hard state with this term is durable.
    pub fn term_is_durable(&mut self, term: Term) {
        self.durable_term = self.durable_term.max(term);
    }

    /// Returns the tag for a message of the engine that leaves now.
    pub fn tag(&mut self, message: &Message) -> Tag {
        let release = match message.get_msg_type() {
            MessageType::MsgTimeoutNow => self.lease.holder().release(),
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => self.lease.release_to_show(),
            _ => None,
        };
        Tag { release, ..self.tag_for(message.to) }
    }

    /// Returns the tags that must leave now although no message of the engine takes them along: those of a new round, for
    /// every other node, and a new acknowledgement for its leader. Call it after the messages of the same step.
    pub fn tags<S: Storage>(&mut self, raw: &RawNode<S>) -> Vec<(NodeId, Tag)> {
        let leads = raw.raft.state == StateRole::Leader;
        let round_leaves = self.round_is_due && leads && raw.raft.term <= self.durable_term;
        self.round_is_due &= leads && !round_leaves;
        let others = raw.raft.prs().iter().map(|(id, _)| *id).filter(|id| *id != raw.raft.id);
        let mut to: Vec<NodeId> = if round_leaves { others.collect() } else { Vec::new() };
        to.extend(
            self.ack.filter(|(_, ack)| self.ack_is_due && ack.term <= self.durable_term).map(|(leader, _)| leader),
        );
        to.sort_unstable();
        to.dedup();
        to.into_iter().map(|to| (to, self.tag_for(to))).collect()
    }

    /// Decides how a read may be answered. `now` was sampled after the read arrived.
    ///
    /// # Errors
    /// [`ReadError`]: this node does not lead.
    pub fn read(&mut self, now: Reading) -> Result<Read, ReadError> {
        let read = self.lease.read(now);
        self.take_actions();
        read
    }

    /// Returns a ticket for a read that must not use the lease.
    ///
    /// # Errors
    /// [`ReadError`]: this node does not lead.
    pub fn quorum_read(&mut self, now: Reading) -> Result<Ticket, ReadError> {
        let ticket = self.lease.quorum_read(now);
        self.take_actions();
        ticket
    }

    /// Returns the next outcome of reads that waited for a quorum round.
    pub fn poll_read(&mut self) -> Option<ReadOutcome> {
        self.reads.pop_front()
    }

    /// Returns the round and the acknowledgement that everything for this node carries.
    fn tag_for(&mut self, to: NodeId) -> Tag {
        let durable = self.durable_term;
        let round = self.lease.frame_round().filter(|round| round.term <= durable);
        let ack = self.ack.filter(|(leader, ack)| *leader == to && ack.term <= durable).map(|(_, ack)| ack);
        self.ack_is_due &= ack.is_none();
        Tag { round, ack, release: None }
    }

    /// Returns whether the engine may see a message.
    fn may_see<S: Storage>(
        &mut self,
        now: Reading,
        raw: &RawNode<S>,
        message: &Message,
        release: Option<Release>,
    ) -> bool {
        match message.get_msg_type() {
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                self.lease.may_vote_or_campaign(now, release)
            }
            MessageType::MsgTimeoutNow => {
                self.lease.keep_release(release);
                is_durable(raw) && self.lease.may_campaign(now)
            }
            _ => true,
        }
    }

    fn take_actions(&mut self) {
        while let Some(action) = self.lease.poll_action() {
            match action {
                Action::SendRound(_) => self.round_is_due = true,
                Action::Confirmed { through } => self.reads.push_back(ReadOutcome::Confirmed(through)),
                Action::Aborted { through } => self.reads.push_back(ReadOutcome::Aborted(through)),
            }
        }
    }
}

/// Returns whether everything in the engine's log is durable: the engine assumes so of a new leader.
fn is_durable<S: Storage>(raw: &RawNode<S>) -> bool {
    raw.raft.raft_log.persisted == raw.raft.raft_log.last_index()
}
