//! Checks of peer messages. The engine panics on messages that no correct peer sends, and on some that arrive too
//! early. They are refused here.

use crate::log::Log;
use crate::wire::{MAX_NOTE_BYTES, MAX_NOTES, Membership, Message, MessageKind, Payload, Snapshot};
use bytes::Bytes;
use leasehold_core::{NodeId, Voters};
use raft::{RawNode, StateRole};
use std::collections::BTreeMap;

/// Terms and indexes are below this. The engine adds to them without checking for overflow. A group with a million
/// entries or elections a second reaches it after more than a hundred thousand years.
const MAX_NUMBER: u64 = 1 << 62;
/// A message of a term further ahead is refused. Terms rise by one with each election, so no group gets there while a
/// node is away, but a peer that made such a number up would take the terms of the whole group with it. Once they are
/// used up, no leader can be elected any more.
const MAX_TERM_JUMP: u64 = 1 << 32;

/// The treatment of a message from a peer.
pub(crate) enum Admission {
    /// The engine may see the message.
    Step,
    /// The message requests a vote or a pre-vote. The engine may see it if the hold allows.
    Vote,
    /// The message tells this node to campaign. The engine may see it if the hold allows.
    CampaignNow,
    /// This node's log lacks entries that it acknowledged.
    LogIsCut,
    /// The message requests a transfer of leadership to its sender.
    Transfer,
    /// The engine must not see the message.
    Refused,
}

impl Admission {
    /// Returns the treatment of `message`.
    pub(crate) fn of(message: &Message, raw: &RawNode<Log>) -> Admission {
        let raft = &raw.raft;
        let last = raft.raft_log.last_index();
        // The engine takes a message without a term for one of the node's own.
        if message.term == 0 || message.request_snapshot != 0 || !numbers_in_range(message) {
            return Admission::Refused;
        }
        if message.term > raft.term.saturating_add(MAX_TERM_JUMP) {
            return Admission::Refused;
        }
        let valid = match message.kind {
            MessageKind::RequestVote | MessageKind::RequestPreVote => return Admission::Vote,
            // The engine ignores one of an old term, and any while this node leads.
            MessageKind::TimeoutNow => return Admission::CampaignNow,
            MessageKind::Append => has_consecutive_entries(message),
            // A leader sends a follower no commit index beyond what that follower acknowledged. A higher one means that
            // this node lost entries it acknowledged.
            MessageKind::Heartbeat if message.commit > last && message.term >= raft.term => {
                return if raft.state == StateRole::Leader { Admission::Refused } else { Admission::LogIsCut };
            }
            MessageKind::Heartbeat => true,
            MessageKind::AppendResponse => {
                raft.state != StateRole::Leader || message.term != raft.term || message.reject || message.index <= last
            }
            // The engine of a follower forwards it to the leader, and panics because a forwarded message must have no
            // term.
            MessageKind::TransferLeader if raft.state == StateRole::Leader => return Admission::Transfer,
            MessageKind::TransferLeader => false,
            MessageKind::HeartbeatResponse | MessageKind::RequestVoteResponse | MessageKind::RequestPreVoteResponse => {
                true
            }
        };
        if valid { Admission::Step } else { Admission::Refused }
    }
}

/// Returns whether no term or index can overflow. Those of the entries follow from the message's own.
fn numbers_in_range(message: &Message) -> bool {
    let Message { term, log_term, index, commit, commit_term, reject_hint, .. } = message;
    [*term, *log_term, *index, *commit, *commit_term, *reject_hint].into_iter().all(|number| number < MAX_NUMBER)
}

/// Returns whether an append's entries have consecutive indexes, and terms that never fall and never exceed the
/// sender's. Term 0 is allowed only at index 0: the engine also uses it as the term of an entry it does not have.
fn has_consecutive_entries(message: &Message) -> bool {
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
                    Payload::Change(change) => {
                        change.steps.len() <= 2 * leasehold_core::MAX_VOTERS && are_bounded(&change.notes)
                    }
                }
        })
}

/// Returns whether a snapshot has a valid position and a valid configuration.
pub(crate) fn is_valid_snapshot(snapshot: &Snapshot, raw: &RawNode<Log>) -> bool {
    let Snapshot { index, term, ref membership } = *snapshot;
    let log = &raw.raft.raft_log;
    index > 0
        && index < MAX_NUMBER
        && (1..=raw.raft.term).contains(&term)
        // The engine accepts a snapshot at the commit index even if its term is not that of the committed entry.
        && (index != log.committed || log.match_term(index, term))
        && is_valid_membership(membership)
}

fn is_valid_membership(membership: &Membership) -> bool {
    let Membership { voters, learners, voters_outgoing, learners_next, auto_leave, notes, .. } = membership;
    let joint = !voters_outgoing.is_empty();
    !voters.is_empty()
        && Voters::joint(voters, voters_outgoing).is_ok()
        && are_distinct(learners)
        && are_distinct(learners_next)
        && learners.iter().all(|id| *id != 0 && !voters.contains(id) && !voters_outgoing.contains(id))
        && learners_next.iter().all(|id| voters_outgoing.contains(id) && !voters.contains(id))
        && (joint || !auto_leave)
        && are_bounded(notes)
        && notes.keys().all(|id| membership.names(*id))
}

fn are_bounded(notes: &BTreeMap<NodeId, Bytes>) -> bool {
    notes.len() <= MAX_NOTES && notes.values().all(|note| note.len() <= MAX_NOTE_BYTES)
}

fn are_distinct(ids: &[u64]) -> bool {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}
