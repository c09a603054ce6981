//! What may reach the engine. It panics on messages that no correct peer sends, and some that arrive too early; they end here.

use crate::log::Log;
use crate::wire::{Membership, Message, MessageKind, Payload, Snapshot};
use leasehold_core::Voters;
use raft::{RawNode, StateRole};

/// No group comes near this, counting a million entries or elections a second for ten thousand years. The engine adds to
/// terms and indexes without looking, and so never sees one from which it could not.
const HIGHEST: u64 = 1 << 62;

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
        if message.term == 0 || message.request_snapshot != 0 || !countable(message) {
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
            // The engine would let a snapshot take the place of the last committed entry, were it of another term.
            MessageKind::Snapshot => message.snapshot.as_ref().is_some_and(|snapshot| {
                let Snapshot { index, term, .. } = *snapshot;
                sound(snapshot, message) && (index != raft.raft_log.committed || raft.raft_log.match_term(index, term))
            }),
            // Another's engine would pass it on to the leader, and cannot: it panics at the term that is in it.
            MessageKind::TransferLeader => raft.state == StateRole::Leader,
            MessageKind::HeartbeatResponse | MessageKind::RequestVoteResponse | MessageKind::RequestPreVoteResponse => {
                true
            }
        };
        if understood { Admission::Step } else { Admission::Refused }
    }
}

/// Whether every term and index can still be added to. Those of entries follow from the message's own.
fn countable(message: &Message) -> bool {
    let Message { term, log_term, index, commit, commit_term, reject_hint, snapshot, .. } = message;
    let snapshot = snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    [*term, *log_term, *index, *commit, *commit_term, *reject_hint, snapshot].into_iter().all(|number| number < HIGHEST)
}

/// Whether an append's entries follow its index one by one, in terms that never fall and never pass the sender's. Only
/// before the first entry the term is 0: to the engine that is also the term of whatever it does not have.
fn consecutive(message: &Message) -> bool {
    let mut index = message.index;
    let mut term = message.log_term;
    let begins = (term == 0) == (index == 0);
    begins
        && message.entries.iter().all(|entry| {
            let terms = term.max(1)..=message.term;
            let follows = index.checked_add(1) == Some(entry.index) && terms.contains(&entry.term);
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
