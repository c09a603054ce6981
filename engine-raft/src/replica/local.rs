//! Local reads: subleases to and from other nodes, and the exposed index.

use super::Replica;
use crate::wire::Local;
use leasehold_core::local::{Lender, Reader};
use leasehold_core::{Index, Instant, LeaseCell, NodeId, Reading};
use raft::eraftpb::{Message, MessageType};
use std::sync::Arc;

impl Replica {
    /// Returns the exposed index: the highest one whose effect anyone may see. It takes the place of the commit index,
    /// which it is behind only while a node holds a sublease of this one and has not acknowledged everything.
    pub fn exposed(&self) -> Index {
        self.local.lender().exposed()
    }

    /// Returns the size of the committed entries that are not handed out for applying, because a node that may be using a
    /// sublease has not acknowledged them. The caller must limit it: propose nothing more while it is large.
    pub fn withheld_bytes(&self) -> usize {
        self.withheld_bytes
    }

    /// Returns the leader's side of local reads.
    pub fn lender(&self) -> &Lender {
        self.local.lender()
    }

    /// Returns the reader's side of local reads; `None` without [`Options::starts`](crate::Options::starts).
    pub fn reader(&self) -> Option<&Reader> {
        self.local.reader()
    }

    /// Returns the cell in which this node, while it follows, publishes its right to read from its own state.
    ///
    /// The index of a permit is the end of the log that was handed out with [`Output::Persist`](crate::Output::Persist):
    /// answer once it is applied, or at once if no entry up to it that is not applied changes what is read.
    pub fn reader_cell(&self) -> &Arc<LeaseCell> {
        self.local.cell()
    }

    /// Begins or ends to ask the leader for subleases. It has no effect without [`Options::starts`](crate::Options::starts).
    /// When `on` is false, the cell is revoked before this returns.
    pub fn set_local_reads(&mut self, now: Reading, on: bool) {
        self.note_reading(now);
        self.local.set_asks(on);
    }

    /// Handles what an envelope carried for local reads. Requests ride with echoes, whose reading the holder has seen.
    pub(super) fn handle_local(&mut self, now: Reading, from: NodeId, echoes: bool, local: Local) {
        if local.is_empty() {
            return;
        }
        if let Some(returned) = local.returned() {
            self.local.lender_mut().handle_return(from, returned);
        }
        if let Some(request) = local.request.filter(|_| echoes) {
            self.local.handle_request(now, self.lease.lend(), &self.raw.raft, from, request.into());
        }
        if let Some(grant) = local.grant {
            self.local.handle_grant(now, from, grant.into());
        }
        if local.recall {
            self.local.handle_recall(from);
        }
        self.sync_lease_with_raft(now);
    }

    /// Publishes the end of the log in the reader's cell. What was appended before has been handed out by now, and no
    /// acknowledgement of it has left.
    pub(super) fn publish_received(&mut self) {
        self.local.publish_received(self.raw.store().end());
    }

    /// Tells others of no commit beyond the exposed index, in the messages that leave next.
    pub(super) fn cap_commits(&mut self) {
        let exposed = self.exposed();
        for message in &mut self.outbox.messages {
            cap_commit(message, exposed);
        }
    }

    /// Returns when to look again, because an obligation ends and entries wait for that. It has ended once both counters
    /// have reached its end.
    pub(super) fn next_exposure(&self) -> Option<Instant> {
        let (now, end) = (self.now?, self.local.lender().poll_timeout()?);
        Some(now.plus(end.elapsed_since(now).at_most))
    }
}

fn cap_commit(message: &mut Message, exposed: Index) {
    if message.commit <= exposed {
        return;
    }
    match message.get_msg_type() {
        MessageType::MsgAppend | MessageType::MsgHeartbeat => message.commit = exposed,
        MessageType::MsgRequestVote
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVoteResponse => (message.commit, message.commit_term) = (0, 0),
        // They tell a leader what this follower knows.
        _ => {}
    }
}
