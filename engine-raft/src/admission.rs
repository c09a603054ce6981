//! What may reach the engine. It panics on messages that no correct peer sends, and some that arrive too early; they end here.

use crate::log::Log;
use crate::wire::{Membership, Message, MessageKind, Payload, Snapshot};
use leasehold_core::Voters;
use raft::{RawNode, StateRole};

/// What to do with a message from a peer.
pub(crate) enum Admission {
    /// The engine may see it.
    Step,
    /// It asks for a vote or a pre-vote: the engine may see it if the hold allows.
    Vote,
    /// It asks this node to campaign: the engine may see it if the hold allows.
    CampaignNow,
    /// The engine must not see it.
    Refused,
}

impl Admission {
    pub(crate) fn of(message: &Message, raw: &RawNode<Log>) -> Admission {
        let raft = &raw.raft;
        let last = raft.raft_log.last_index();
        // Without a term a message passes for one of the node's own.
        if message.term == 0 || message.request_snapshot != 0 {
            return Admission::Refused;
        }
        let understood = match message.kind {
            MessageKind::RequestVote | MessageKind::RequestPreVote => return Admission::Vote,
            // One of an old term would be ignored by the engine; one while leading too.
            MessageKind::TimeoutNow => return Admission::CampaignNow,
            MessageKind::Append => consecutive(message) && message.snapshot.is_none(),
            // A leader never tells a follower of a commit beyond what that follower acknowledged, but the follower may have
            // lost what it acknowledged: then it must not vote again under this number, and the operator must know.
            MessageKind::Heartbeat => message.commit <= last || message.term < raft.term,
            MessageKind::AppendResponse => {
                raft.state != StateRole::Leader || message.term != raft.term || message.reject || message.index <= last
            }
            MessageKind::Snapshot => message.snapshot.as_ref().is_some_and(|snapshot| sound(snapshot, message)),
            MessageKind::HeartbeatResponse
            | MessageKind::RequestVoteResponse
            | MessageKind::RequestPreVoteResponse
            | MessageKind::TransferLeader => true,
        };
        if understood { Admission::Step } else { Admission::Refused }
    }
}

/// Whether an append's entries follow its index one by one, in terms that never fall and never pass the sender's.
fn consecutive(message: &Message) -> bool {
    let mut index = message.index;
    let mut term = message.log_term;
    message.entries.iter().all(|entry| {
        let follows = index.checked_add(1) == Some(entry.index) && term <= entry.term && entry.term <= message.term;
        (index, term) = (entry.index, entry.term);
        follows
            && match &entry.payload {
                Payload::Command(_) => true,
                Payload::Change(change) => change.steps.len() <= 2 * leasehold_core::MAX_VOTERS,
            }
    })
}

/// Whether a snapshot says where it stands, and its configuration can be one.
fn sound(snapshot: &Snapshot, message: &Message) -> bool {
    snapshot.index > 0 && snapshot.term > 0 && snapshot.term <= message.term && possible(&snapshot.membership)
}

fn possible(membership: &Membership) -> bool {
    let Membership { voters, learners, voters_outgoing, learners_next, auto_leave } = membership;
    let joint = !voters_outgoing.is_empty();
    !voters.is_empty()
        && Voters::joint(voters, voters_outgoing).is_ok()
        && distinct(learners)
        && distinct(learners_next)
        && learners.iter().all(|id| *id != 0 && !voters.contains(id) && !voters_outgoing.contains(id))
        && learners_next.iter().all(|id| voters_outgoing.contains(id) && !voters.contains(id))
        && (joint || !auto_leave)
}

fn distinct(ids: &[u64]) -> bool {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}
