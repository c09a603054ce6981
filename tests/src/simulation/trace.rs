//! The trace of a run: one line per event, in fixed columns.
//!
//! ```text
//!    1203.004ms  n2  lease    > ack from=n3 term=4 round=17   < lease until 2190ms   wake 1300ms heartbeat
//! ```
//!
//! The columns are the time since the run started, the node, the subject and the details. Lines about a lease have the
//! format that a running server records (`leasehold_core::trace`). The times in them are the node's own, since its
//! process started.

use super::types::Nanos;
use leasehold_core::NodeId;
use leasehold_node::ports::GroupId;
use leasehold_node::wire::{self, Body, PeerRequest, Transfer};
use leasehold_raft::wire::{Message, MessageKind};
use std::fmt::Write as _;

/// Adds a line.
pub(super) fn line(trace: &mut String, now: Nanos, node: Option<NodeId>, what: &str, text: &str) {
    let node = node.map_or_else(|| "all".to_owned(), |node| format!("n{node}"));
    let written = writeln!(trace, "{:>10}.{:03}ms  {node:<4} {what:<8} {text}", now / 1_000_000, now / 1_000 % 1_000);
    written.expect("a string takes whatever is written to it");
}

/// Adds a line that a replica recorded. The line already names its node.
pub(super) fn lease_line(trace: &mut String, now: Nanos, node: NodeId, group: GroupId, recorded: &str) {
    let recorded = recorded.trim_start();
    let named = format!("  n{node} ");
    let text = match recorded.split_once(&named) {
        Some((time, rest)) => format!("{rest}   at {time}"),
        None => recorded.to_owned(),
    };
    let what = if group == 0 { "lease".to_owned() } else { format!("lease{group}") };
    line(trace, now, Some(node), &what, &text);
}

/// Describes a frame briefly. Its round and echo are in the lines about the lease.
pub(super) fn describe(message: &wire::Message) -> String {
    let text = describe_body(&message.body);
    if message.group == 0 { text } else { format!("g{}: {text}", message.group) }
}

fn describe_body(body: &Body) -> String {
    let envelope = match body {
        Body::Raft(envelope) => envelope,
        Body::Request { id, request: PeerRequest::ReadIndex } => {
            return format!("request {} for a read index", id.sequence);
        }
        Body::Request { id, request: PeerRequest::Outcome } => {
            return format!("request for the outcome of request {}", id.sequence);
        }
        Body::Request { id, request: PeerRequest::Propose { .. } } => {
            return format!("request {} to execute a command", id.sequence);
        }
        Body::Answer { id, answer } => return format!("answer to request {}: {answer:?}", id.sequence),
        Body::Transfer { id, transfer } => {
            let step = match transfer {
                Transfer::Offer { snapshot, stored, .. } => {
                    format!("offer of the state through {}, {stored} chunks stored", snapshot.index)
                }
                Transfer::Chunk { number, total, .. } => format!("chunk {number}, the last with {total:?} records"),
                answer => format!("{answer:?}"),
            };
            return format!("transfer {}: {step}", id.sequence);
        }
    };
    let mut said = String::new();
    for message in &envelope.messages {
        let Message { kind, term, index, commit, reject, entries, .. } = message;
        let part = match kind {
            MessageKind::Append => format!("append after {index} of {} entries, commit {commit}", entries.len()),
            MessageKind::AppendResponse if *reject => format!("append refused at {index}"),
            MessageKind::AppendResponse => format!("appended through {index}"),
            MessageKind::Heartbeat => format!("heartbeat, commit {commit}"),
            MessageKind::HeartbeatResponse => "heartbeat response".to_owned(),
            MessageKind::RequestVote => "requests a vote".to_owned(),
            MessageKind::RequestVoteResponse if *reject => "refuses the vote".to_owned(),
            MessageKind::RequestVoteResponse => "grants the vote".to_owned(),
            MessageKind::RequestPreVote => "requests a pre-vote".to_owned(),
            MessageKind::RequestPreVoteResponse if *reject => "refuses the pre-vote".to_owned(),
            MessageKind::RequestPreVoteResponse => "grants the pre-vote".to_owned(),
            MessageKind::TransferLeader => "transfer".to_owned(),
            MessageKind::TimeoutNow => "campaign now".to_owned(),
        };
        let comma = if said.is_empty() { "" } else { "; " };
        said.push_str(&format!("{comma}{part} (term {term})"));
    }
    if said.is_empty() {
        said.push_str("only a round or an echo");
    }
    if let Some((term, round)) = envelope.release {
        said.push_str(&format!(", releases round {round} of term {term}"));
    }
    said
}

/// Returns the last lines of a trace.
pub fn tail(trace: &str, lines: usize) -> &str {
    let from = trace.lines().count().saturating_sub(lines);
    let mut at = 0;
    for line in trace.lines().take(from) {
        at += line.len() + 1;
    }
    &trace[at..]
}
