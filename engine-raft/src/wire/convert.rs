//! Conversion between the engine's protobuf structs and the plain ones.
//!
//! The protobuf parser runs only here, and only on the body of a change of configuration that this process encoded
//! itself, as a leader or in [`entry_in`].

use super::{Change, Entry, HardState, Membership, Message, MessageKind, Payload, Snapshot, Step, Transition};
use bytes::Bytes;
use leasehold_core::NodeId;
use protobuf::Message as _;
use raft::eraftpb;
use std::collections::BTreeMap;

/// The context by which the engine marks messages of a campaign that a leadership transfer started.
const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";

/// Converts a message of the engine. Returns `None` for the kinds that no engine sends to a peer here.
pub(crate) fn message_out(message: eraftpb::Message) -> Option<Message> {
    use eraftpb::MessageType::*;
    let kind = match message.msg_type {
        MsgAppend => MessageKind::Append,
        MsgAppendResponse => MessageKind::AppendResponse,
        MsgHeartbeat => MessageKind::Heartbeat,
        MsgHeartbeatResponse => MessageKind::HeartbeatResponse,
        MsgRequestVote => MessageKind::RequestVote,
        MsgRequestVoteResponse => MessageKind::RequestVoteResponse,
        MsgRequestPreVote => MessageKind::RequestPreVote,
        MsgRequestPreVoteResponse => MessageKind::RequestPreVoteResponse,
        MsgTransferLeader => MessageKind::TransferLeader,
        MsgTimeoutNow => MessageKind::TimeoutNow,
        // A snapshot leaves as an output of its own.
        MsgSnapshot | MsgHup | MsgBeat | MsgPropose | MsgUnreachable | MsgSnapStatus | MsgCheckQuorum
        | MsgReadIndex | MsgReadIndexResp => return None,
    };
    Some(Message {
        kind,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        commit_term: message.commit_term,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        transfer: message.context == CAMPAIGN_TRANSFER,
        priority: message.priority,
        entries: message.entries.into_iter().map(|entry| entry_out(&entry)).collect(),
    })
}

/// Converts a message from a peer.
pub(crate) fn message_in(from: NodeId, to: NodeId, message: Message) -> eraftpb::Message {
    use eraftpb::MessageType::*;
    let mut engine = eraftpb::Message::default();
    engine.set_msg_type(match message.kind {
        MessageKind::Append => MsgAppend,
        MessageKind::AppendResponse => MsgAppendResponse,
        MessageKind::Heartbeat => MsgHeartbeat,
        MessageKind::HeartbeatResponse => MsgHeartbeatResponse,
        MessageKind::RequestVote => MsgRequestVote,
        MessageKind::RequestVoteResponse => MsgRequestVoteResponse,
        MessageKind::RequestPreVote => MsgRequestPreVote,
        MessageKind::RequestPreVoteResponse => MsgRequestPreVoteResponse,
        MessageKind::TransferLeader => MsgTransferLeader,
        MessageKind::TimeoutNow => MsgTimeoutNow,
    });
    engine.from = from;
    engine.to = to;
    engine.term = message.term;
    engine.log_term = message.log_term;
    engine.index = message.index;
    engine.commit = message.commit;
    engine.commit_term = message.commit_term;
    engine.request_snapshot = message.request_snapshot;
    engine.reject = message.reject;
    engine.reject_hint = message.reject_hint;
    engine.priority = message.priority;
    if message.transfer {
        engine.context = Bytes::from_static(CAMPAIGN_TRANSFER);
    }
    engine.entries = message.entries.into_iter().map(entry_in).collect::<Vec<_>>().into();
    engine
}

pub(crate) fn entry_out(entry: &eraftpb::Entry) -> Entry {
    let payload = match entry.entry_type {
        eraftpb::EntryType::EntryNormal => Payload::Command(entry.data.clone()),
        eraftpb::EntryType::EntryConfChange | eraftpb::EntryType::EntryConfChangeV2 => {
            Payload::Change(change_out(&change_of(entry)))
        }
    };
    Entry { term: entry.term, index: entry.index, payload }
}

pub(crate) fn entry_in(entry: Entry) -> eraftpb::Entry {
    let mut engine = eraftpb::Entry { term: entry.term, index: entry.index, ..Default::default() };
    match entry.payload {
        Payload::Command(data) => engine.data = data,
        Payload::Change(change) => {
            engine.set_entry_type(eraftpb::EntryType::EntryConfChangeV2);
            engine.data = change_in(&change).write_to_bytes().expect("a change of configuration encodes").into();
        }
    }
    engine
}

/// Decodes the change in an entry. This process encoded it.
pub(crate) fn change_of(entry: &eraftpb::Entry) -> eraftpb::ConfChangeV2 {
    let mut change = eraftpb::ConfChangeV2::default();
    change.merge_from_bytes(&entry.data).expect("a change of configuration that this process encoded");
    change
}

pub(crate) fn change_out(change: &eraftpb::ConfChangeV2) -> Change {
    Change {
        transition: match change.transition {
            eraftpb::ConfChangeTransition::Auto => Transition::Auto,
            eraftpb::ConfChangeTransition::Implicit => Transition::Implicit,
            eraftpb::ConfChangeTransition::Explicit => Transition::Explicit,
        },
        steps: change
            .changes
            .iter()
            .map(|single| match single.change_type {
                eraftpb::ConfChangeType::AddNode => Step::AddVoter(single.node_id),
                eraftpb::ConfChangeType::AddLearnerNode => Step::AddLearner(single.node_id),
                eraftpb::ConfChangeType::RemoveNode => Step::Remove(single.node_id),
            })
            .collect(),
        notes: notes_out(&change.context),
    }
}

pub(crate) fn change_in(change: &Change) -> eraftpb::ConfChangeV2 {
    let mut engine = eraftpb::ConfChangeV2::default();
    engine.set_transition(match change.transition {
        Transition::Auto => eraftpb::ConfChangeTransition::Auto,
        Transition::Implicit => eraftpb::ConfChangeTransition::Implicit,
        Transition::Explicit => eraftpb::ConfChangeTransition::Explicit,
    });
    let singles = change.steps.iter().map(|step| {
        let (kind, node) = match *step {
            Step::AddVoter(node) => (eraftpb::ConfChangeType::AddNode, node),
            Step::AddLearner(node) => (eraftpb::ConfChangeType::AddLearnerNode, node),
            Step::Remove(node) => (eraftpb::ConfChangeType::RemoveNode, node),
        };
        raft_proto::new_conf_change_single(node, kind)
    });
    engine.changes = singles.collect::<Vec<_>>().into();
    if !change.notes.is_empty() {
        engine.context = wincode::serialize(&change.notes).expect("notes encode").into();
    }
    engine
}

/// Decodes the notes in a change. This process encoded them. The engine itself makes changes without notes.
fn notes_out(context: &[u8]) -> BTreeMap<NodeId, Bytes> {
    if context.is_empty() {
        return BTreeMap::new();
    }
    wincode::deserialize(context).expect("notes that this process encoded")
}

pub(crate) fn membership_out(state: &eraftpb::ConfState) -> Membership {
    // The engine's sets are hash sets. Sorting makes the same configuration the same bytes on every node.
    let sorted = |ids: &[NodeId]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    Membership {
        voters: sorted(&state.voters),
        learners: sorted(&state.learners),
        voters_outgoing: sorted(&state.voters_outgoing),
        learners_next: sorted(&state.learners_next),
        auto_leave: state.auto_leave,
        ..Membership::default()
    }
}

pub(crate) fn membership_in(membership: &Membership) -> eraftpb::ConfState {
    eraftpb::ConfState {
        voters: membership.voters.clone(),
        learners: membership.learners.clone(),
        voters_outgoing: membership.voters_outgoing.clone(),
        learners_next: membership.learners_next.clone(),
        auto_leave: membership.auto_leave,
        ..Default::default()
    }
}

pub(crate) fn snapshot_out(snapshot: &eraftpb::Snapshot) -> Snapshot {
    let metadata = snapshot.get_metadata();
    // The engine's own description of the configuration has no notes.
    let membership = wincode::deserialize(&snapshot.data).expect("a configuration that this process encoded");
    Snapshot { index: metadata.index, term: metadata.term, membership }
}

pub(crate) fn snapshot_in(snapshot: Snapshot) -> eraftpb::Snapshot {
    let mut engine = eraftpb::Snapshot::default();
    let metadata = engine.mut_metadata();
    metadata.index = snapshot.index;
    metadata.term = snapshot.term;
    metadata.set_conf_state(membership_in(&snapshot.membership));
    engine.data = wincode::serialize(&snapshot.membership).expect("a configuration encodes").into();
    engine
}

pub(crate) fn hard_state_out(state: &eraftpb::HardState) -> HardState {
    HardState { term: state.term, vote: state.vote, commit: state.commit }
}

pub(crate) fn hard_state_in(state: HardState) -> eraftpb::HardState {
    eraftpb::HardState { term: state.term, vote: state.vote, commit: state.commit, ..Default::default() }
}
