//! Messages between nodes as bytes. [`frames`](crate::frames) makes payloads of them.
//!
//! ```text
//! u8 version | u8 kind | u32 group | body                                            all little-endian
//!              0 Raft                an envelope, in wincode's encoding
//!              1 request: read index u64 boot | u64 sequence
//!              2 request: propose    u64 boot | u64 sequence | u32 milliseconds | command
//!              3 answer: read index  u64 boot | u64 sequence | u64 index | u8 by_lease
//!              4 answer: applied     u64 boot | u64 sequence | u64 index | output
//!              5 answer: not executed, 6 busy, 7 uncertain: u64 boot | u64 sequence
//!              8 transfer: offer     u64 boot | u64 sequence | u64 stored | u64 sent | u64 term | the position, in wincode
//!              9 transfer: chunk     u64 boot | u64 sequence | u64 number | u64 checksum | records
//!             10 transfer: last      u64 boot | u64 sequence | u64 number | u64 checksum | u64 total | records
//!             11 transfer: stored    u64 boot | u64 sequence | u64 chunks
//!             12 transfer: lacking   u64 boot | u64 sequence | u64 stored | u64 from | u64 sent
//!             13 transfer: done, 14 unknown: u64 boot | u64 sequence
//!             15 request: outcome    u64 boot | u64 sequence
//!             16 Raft, local reads   a `Local` and an envelope, in wincode's encoding
//! ```
//!
//! The first byte is the version in every version. The link marks the end of a payload: a command or an output extends
//! to it and has no length field.

use crate::chunk::checksum;
use crate::ports::{GroupId, Lane, Rejected};
use bytes::Bytes;
use leasehold_core::{Index, Term};
use leasehold_raft::wire::{Envelope, Local, Snapshot};
use std::time::Duration;
use wincode::config::Configuration;
use wincode::error::ReadResult;

/// The version of this format. Frames of several messages have another one.
pub const VERSION: u8 = 4;

const RAFT: u8 = 0;
const REQUEST_READ_INDEX: u8 = 1;
const REQUEST_PROPOSE: u8 = 2;
const ANSWER_READ_INDEX: u8 = 3;
const ANSWER_APPLIED: u8 = 4;
const ANSWER_NOT_EXECUTED: u8 = 5;
const ANSWER_BUSY: u8 = 6;
const ANSWER_UNCERTAIN: u8 = 7;
const TRANSFER_OFFER: u8 = 8;
const TRANSFER_CHUNK: u8 = 9;
const TRANSFER_LAST: u8 = 10;
const TRANSFER_STORED: u8 = 11;
const TRANSFER_LACKING: u8 = 12;
const TRANSFER_DONE: u8 = 13;
const TRANSFER_UNKNOWN: u8 = 14;
const REQUEST_OUTCOME: u8 = 15;
const RAFT_LOCAL: u8 = 16;

/// The bytes of version, kind and group.
const HEADER_BYTES: usize = 1 + 1 + 4;
/// The bytes of a request's identity.
const ID_BYTES: usize = 8 + 8;

/// A message from one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The group it concerns.
    pub group: GroupId,
    /// The content.
    pub body: Body,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// From replica to replica.
    Raft(Envelope),
    /// A request to the leader.
    Request {
        /// Repeated in the answer.
        id: RequestId,
        /// The request.
        request: PeerRequest,
    },
    /// The answer to a request.
    Answer {
        /// The request's id.
        id: RequestId,
        /// The answer.
        answer: PeerAnswer,
    },
    /// A step of a transfer of a state.
    Transfer {
        /// The transfer.
        id: RequestId,
        /// The step.
        transfer: Transfer,
    },
}

/// Identifies a request, or a transfer of a state. Ids stay unique across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// A number that the requesting process drew at random when it started.
    pub boot: u64,
    /// The number of the request within that process.
    pub sequence: u64,
}

/// A request to the node that leads the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerRequest {
    /// Asks for an index: once a node has applied it, its state may answer the reads that had arrived before this
    /// request was sent.
    ReadIndex,
    /// Asks the leader to propose a command.
    Propose {
        /// The command.
        command: Bytes,
        /// The time that is left until its client is told that the outcome is unknown. The command must not be proposed
        /// later.
        within: Duration,
    },
    /// Asks what became of the [`Propose`](PeerRequest::Propose) with the same id. There is no answer while it is
    /// pending; otherwise the answer is [`PeerAnswer::Uncertain`], because an answer was sent, or the request never
    /// arrived.
    Outcome,
}

/// The answer to a [`PeerRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAnswer {
    /// The index to apply before reading.
    ReadIndex {
        /// The index.
        index: Index,
        /// True if the leader's lease confirmed it, false if a quorum round did.
        by_lease: bool,
    },
    /// The command was applied.
    Applied {
        /// The index of the command in the log.
        index: Index,
        /// Its output, as the state machine's `encode_output` encodes it.
        output: Bytes,
    },
    /// The request was not and will not be executed: the node does not lead.
    NotExecuted,
    /// The request was not and will not be executed: the node is overloaded.
    Busy,
    /// The command may have been executed, may be executed later, or never.
    Uncertain,
}

/// A step of the transfer of a state to a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// From a leader: it has a state for the receiver, or asks what the receiver has of it.
    Offer {
        /// The leader's term.
        term: Term,
        /// The number of chunks that the receiver has stored, as far as the sender knows.
        stored: u64,
        /// The number of chunks that were sent before this message.
        sent: u64,
        /// The position of the state.
        snapshot: Snapshot,
    },
    /// From the sender: a part of the state.
    Chunk {
        /// The number of the chunk, from 0.
        number: u64,
        /// In the last chunk: the number of all records.
        total: Option<u64>,
        /// The records, as [`chunk`](crate::chunk) encodes them.
        records: Bytes,
    },
    /// From the receiver: it has stored so many chunks.
    Stored {
        /// The number of chunks.
        chunks: u64,
    },
    /// From the receiver, in answer to an offer: what it has.
    Lacking {
        /// The number of chunks it has stored.
        stored: u64,
        /// The first chunk that it has not received.
        from: u64,
        /// The number of chunks that were sent before the offer, as the offer says.
        sent: u64,
    },
    /// From the receiver: it has the state, or all entries of the log through it.
    Done,
    /// From the receiver: it has nothing of this transfer.
    Unknown,
}

impl Transfer {
    /// Returns true if the sender of the state sends it, and not the receiver.
    fn is_bulk(&self) -> bool {
        matches!(self, Transfer::Offer { .. } | Transfer::Chunk { .. })
    }
}

/// A message that has no encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The envelope cannot be encoded.
    #[error("an envelope that cannot be encoded: {reason}")]
    Envelope {
        /// The encoder's error.
        reason: String,
    },
}

/// A payload that is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Another release encoded it.
    #[error(
        "a message of format version {version}, which this release does not read: run the same release on all nodes"
    )]
    OtherVersion {
        /// The version it claims.
        version: u8,
    },
    /// The kind is unknown.
    #[error("a message of unknown kind {kind}: run the same release on all nodes")]
    UnknownKind {
        /// The kind it claims.
        kind: u8,
    },
    /// It ends within a field, bytes follow the last field, or a field has an invalid value.
    #[error("a malformed message of {length} bytes")]
    Malformed {
        /// The payload's length.
        length: usize,
    },
    /// A chunk of a state is not what was sent.
    #[error("a chunk whose checksum is wrong: check the network and the memory of both machines")]
    Checksum,
    /// The envelope does not decode, or bytes follow it.
    #[error("a malformed envelope: {reason}")]
    Envelope {
        /// The decoder's error.
        reason: String,
    },
}

impl From<DecodeError> for Rejected {
    fn from(error: DecodeError) -> Rejected {
        Rejected { reason: format!("sent {error}") }
    }
}

impl Message {
    /// Returns the lane that carries this message.
    pub fn lane(&self) -> Lane {
        match &self.body {
            Body::Raft(envelope) if envelope.is_bulk() => Lane::Append,
            Body::Raft(_) => Lane::Urgent,
            Body::Transfer { transfer, .. } if transfer.is_bulk() => Lane::Append,
            Body::Transfer { .. } => Lane::Urgent,
            Body::Request { .. } | Body::Answer { .. } => Lane::Request,
        }
    }

    /// Encodes the message into a buffer of exactly its size.
    ///
    /// # Errors
    /// [`EncodeError`] if the envelope has no encoding.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        self.encode_with(true)
    }

    /// Encodes the message, without what it carries for local reads unless `local_reads`.
    pub(crate) fn encode_with(&self, local_reads: bool) -> Result<Bytes, EncodeError> {
        match &self.body {
            Body::Raft(envelope) => {
                let unencodable = |error: wincode::WriteError| EncodeError::Envelope { reason: error.to_string() };
                let local = Some(&envelope.local).filter(|local| local_reads && !local.is_empty());
                let mut size = wincode::config::serialized_size(envelope, UNLIMITED).map_err(unencodable)?;
                if let Some(local) = local {
                    size += wincode::config::serialized_size(local, UNLIMITED).map_err(unencodable)?;
                }
                let kind = if local.is_some() { RAFT_LOCAL } else { RAFT };
                let mut out = self.header(kind, usize::try_from(size).unwrap_or_default());
                if let Some(local) = local {
                    wincode::config::serialize_into(&mut out, local, UNLIMITED).map_err(unencodable)?;
                }
                wincode::config::serialize_into(&mut out, envelope, UNLIMITED).map_err(unencodable)?;
                Ok(out.into())
            }
            Body::Request { id, request } => Ok(match request {
                PeerRequest::ReadIndex => self.with_id(REQUEST_READ_INDEX, *id, &[]),
                PeerRequest::Propose { command, within } => {
                    let millis = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
                    self.with_id(REQUEST_PROPOSE, *id, &[&millis.to_le_bytes(), command])
                }
                PeerRequest::Outcome => self.with_id(REQUEST_OUTCOME, *id, &[]),
            }),
            Body::Answer { id, answer } => Ok(match answer {
                PeerAnswer::ReadIndex { index, by_lease } => {
                    self.with_id(ANSWER_READ_INDEX, *id, &[&index.to_le_bytes(), &[u8::from(*by_lease)]])
                }
                PeerAnswer::Applied { index, output } => {
                    self.with_id(ANSWER_APPLIED, *id, &[&index.to_le_bytes(), output])
                }
                PeerAnswer::NotExecuted => self.with_id(ANSWER_NOT_EXECUTED, *id, &[]),
                PeerAnswer::Busy => self.with_id(ANSWER_BUSY, *id, &[]),
                PeerAnswer::Uncertain => self.with_id(ANSWER_UNCERTAIN, *id, &[]),
            }),
            Body::Transfer { id, transfer } => self.encode_transfer(*id, transfer),
        }
    }

    fn encode_transfer(&self, id: RequestId, transfer: &Transfer) -> Result<Bytes, EncodeError> {
        Ok(match transfer {
            Transfer::Offer { term, stored, sent, snapshot } => {
                let position = wincode::config::serialize(snapshot, UNLIMITED)
                    .map_err(|error| EncodeError::Envelope { reason: error.to_string() })?;
                let [stored, sent, term] = [*stored, *sent, *term].map(u64::to_le_bytes);
                self.with_id(TRANSFER_OFFER, id, &[&stored, &sent, &term, &position])
            }
            Transfer::Chunk { number, total, records } => {
                let kind = if total.is_some() { TRANSFER_LAST } else { TRANSFER_CHUNK };
                let (number, checksum) = (number.to_le_bytes(), checksum(*number, records).to_le_bytes());
                let total = total.map(u64::to_le_bytes);
                self.with_id(kind, id, &[&number, &checksum, total.as_ref().map_or(&[], |total| total), records])
            }
            Transfer::Stored { chunks } => self.with_id(TRANSFER_STORED, id, &[&chunks.to_le_bytes()]),
            Transfer::Lacking { stored, from, sent } => {
                let [stored, from, sent] = [*stored, *from, *sent].map(u64::to_le_bytes);
                self.with_id(TRANSFER_LACKING, id, &[&stored, &from, &sent])
            }
            Transfer::Done => self.with_id(TRANSFER_DONE, id, &[]),
            Transfer::Unknown => self.with_id(TRANSFER_UNKNOWN, id, &[]),
        })
    }

    /// Returns a buffer with the header and room for a body of this size.
    fn header(&self, kind: u8, body: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES.saturating_add(body));
        out.extend_from_slice(&[VERSION, kind]);
        out.extend_from_slice(&self.group.to_le_bytes());
        out
    }

    /// Encodes a message whose body is an id and these parts.
    fn with_id(&self, kind: u8, id: RequestId, parts: &[&[u8]]) -> Bytes {
        let mut out = self.header(kind, ID_BYTES + parts.iter().map(|part| part.len()).sum::<usize>());
        out.extend_from_slice(&id.boot.to_le_bytes());
        out.extend_from_slice(&id.sequence.to_le_bytes());
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.into()
    }

    /// Decodes a payload. Commands and outputs are copied out of it.
    ///
    /// # Errors
    /// [`DecodeError`]. No input causes a panic, nor an allocation out of proportion to its own length.
    pub fn decode(payload: &[u8]) -> Result<Message, DecodeError> {
        let malformed = DecodeError::Malformed { length: payload.len() };
        let Some((&version, rest)) = payload.split_first() else { return Err(malformed) };
        if version != VERSION {
            return Err(DecodeError::OtherVersion { version });
        }
        Message::decode_body(rest, payload.len())
    }

    /// Decodes what follows the version. `length` is that of the payload, for errors.
    pub(crate) fn decode_body(bytes: &[u8], length: usize) -> Result<Message, DecodeError> {
        let malformed = DecodeError::Malformed { length };
        let Some((&kind, rest)) = bytes.split_first() else { return Err(malformed) };
        if kind > RAFT_LOCAL {
            return Err(DecodeError::UnknownKind { kind });
        }
        let Some((group, rest)) = rest.split_first_chunk() else { return Err(malformed) };
        let invalid = |error: wincode::ReadError| DecodeError::Envelope { reason: error.to_string() };
        let body = if kind == RAFT {
            Body::Raft(decode_envelope(rest).map_err(invalid)?)
        } else if kind == RAFT_LOCAL {
            let mut envelope = rest;
            let local: Local = wincode::config::deserialize_from(&mut envelope, POSITION).map_err(invalid)?;
            let envelope = decode_envelope(envelope).map_err(invalid)?;
            // It would have been of the other kind.
            if local.is_empty() {
                return Err(malformed);
            }
            Body::Raft(Envelope { local, ..envelope })
        } else if !(TRANSFER_OFFER..=TRANSFER_UNKNOWN).contains(&kind) {
            decode_request_or_answer(kind, rest).ok_or(malformed)?
        } else {
            let (id, transfer) = decode_transfer(kind, rest).ok_or(malformed)?;
            Body::Transfer { id, transfer: transfer.ok_or(DecodeError::Checksum)? }
        };
        Ok(Message { group: GroupId::from_le_bytes(*group), body })
    }
}

/// Splits a number from the front.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

/// Splits an id from the front.
fn request_id(bytes: &[u8]) -> Option<(RequestId, &[u8])> {
    let (boot, rest) = number(bytes)?;
    let (sequence, rest) = number(rest)?;
    Some((RequestId { boot, sequence }, rest))
}

/// Decodes the body of a transfer; without a step if a checksum is wrong.
fn decode_transfer(kind: u8, bytes: &[u8]) -> Option<(RequestId, Option<Transfer>)> {
    let (id, rest) = request_id(bytes)?;
    let transfer = match kind {
        TRANSFER_OFFER => {
            let (stored, rest) = number(rest)?;
            let (sent, rest) = number(rest)?;
            let (term, rest) = number(rest)?;
            Transfer::Offer { term, stored, sent, snapshot: wincode::config::deserialize_exact(rest, POSITION).ok()? }
        }
        TRANSFER_CHUNK | TRANSFER_LAST => {
            let (number_of_chunk, rest) = number(rest)?;
            let (sum, rest) = number(rest)?;
            let (total, records) =
                if kind == TRANSFER_LAST { number(rest).map(|(n, r)| (Some(n), r))? } else { (None, rest) };
            if checksum(number_of_chunk, records) != sum {
                return Some((id, None));
            }
            Transfer::Chunk { number: number_of_chunk, total, records: Bytes::copy_from_slice(records) }
        }
        TRANSFER_STORED => {
            let (chunks, rest) = number(rest)?;
            rest.is_empty().then_some(Transfer::Stored { chunks })?
        }
        TRANSFER_LACKING => {
            let (stored, rest) = number(rest)?;
            let (from, rest) = number(rest)?;
            let (sent, rest) = number(rest)?;
            rest.is_empty().then_some(Transfer::Lacking { stored, from, sent })?
        }
        TRANSFER_DONE if rest.is_empty() => Transfer::Done,
        TRANSFER_UNKNOWN if rest.is_empty() => Transfer::Unknown,
        _ => return None,
    };
    Some((id, Some(transfer)))
}

/// Decodes the body of a request or an answer.
fn decode_request_or_answer(kind: u8, bytes: &[u8]) -> Option<Body> {
    let (id, rest) = request_id(bytes)?;
    let request = |request| Body::Request { id, request };
    let answer = |answer| Body::Answer { id, answer };
    Some(match kind {
        REQUEST_READ_INDEX if rest.is_empty() => request(PeerRequest::ReadIndex),
        REQUEST_PROPOSE => {
            let (millis, command) = rest.split_first_chunk()?;
            let within = Duration::from_millis(u64::from(u32::from_le_bytes(*millis)));
            request(PeerRequest::Propose { command: Bytes::copy_from_slice(command), within })
        }
        REQUEST_OUTCOME if rest.is_empty() => request(PeerRequest::Outcome),
        ANSWER_READ_INDEX => {
            let (index, by_lease) = rest.split_first_chunk()?;
            let by_lease = match by_lease {
                [0] => false,
                [1] => true,
                _ => return None,
            };
            answer(PeerAnswer::ReadIndex { index: Index::from_le_bytes(*index), by_lease })
        }
        ANSWER_APPLIED => {
            let (index, output) = rest.split_first_chunk()?;
            let (index, output) = (Index::from_le_bytes(*index), Bytes::copy_from_slice(output));
            answer(PeerAnswer::Applied { index, output })
        }
        ANSWER_NOT_EXECUTED if rest.is_empty() => answer(PeerAnswer::NotExecuted),
        ANSWER_BUSY if rest.is_empty() => answer(PeerAnswer::Busy),
        ANSWER_UNCERTAIN if rest.is_empty() => answer(PeerAnswer::Uncertain),
        _ => return None,
    })
}

/// The configuration for encoding. Only decoding needs limits: a message to encode is already in memory.
const UNLIMITED: Configuration<true, { usize::MAX }> = Configuration::default().disable_preallocation_size_limit();

/// The configuration for decoding a position of a state, which has two short lists of nodes, and a [`Local`], which has
/// none.
const POSITION: Configuration<true, { 16 << 10 }> = Configuration::default().with_preallocation_size_limit();

/// The bytes that one level of an envelope may preallocate for each byte of its encoding. A vector's elements are up to
/// four times larger in memory than in their shortest encoding.
const MAX_EXPANSION: usize = 4;

/// Decodes an envelope. Limits each vector's preallocation in proportion to the envelope's size: wincode's limits are
/// constants of the type, so there is one decoder for each power of eight.
fn decode_envelope(bytes: &[u8]) -> ReadResult<Envelope> {
    fn decode_limited<const LIMIT: usize>(bytes: &[u8]) -> ReadResult<Envelope> {
        let config = Configuration::default().with_preallocation_size_limit::<LIMIT>();
        wincode::config::deserialize_exact(bytes, config)
    }
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    let needed = bytes.len().saturating_mul(MAX_EXPANSION);
    match needed {
        _ if needed <= 4 * KIB => decode_limited::<{ 4 * KIB }>(bytes),
        _ if needed <= 32 * KIB => decode_limited::<{ 32 * KIB }>(bytes),
        _ if needed <= 256 * KIB => decode_limited::<{ 256 * KIB }>(bytes),
        _ if needed <= 2 * MIB => decode_limited::<{ 2 * MIB }>(bytes),
        _ if needed <= 16 * MIB => decode_limited::<{ 16 * MIB }>(bytes),
        _ if needed <= 128 * MIB => decode_limited::<{ 128 * MIB }>(bytes),
        _ if needed <= 1024 * MIB => decode_limited::<{ 1024 * MIB }>(bytes),
        _ => decode_limited::<{ 2048 * MIB - 1 }>(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_raft::wire::{Entry, Message, MessageKind, Payload};

    #[test]
    fn rejects_absurd_inner_lengths_before_allocating() {
        let entry = Entry { term: 1, index: 2, payload: Payload::Command(Bytes::from_static(b"command")) };
        let message = Message {
            kind: MessageKind::Append,
            term: 3,
            log_term: 2,
            index: 7,
            commit: 6,
            commit_term: 2,
            request_snapshot: 0,
            reject: false,
            reject_hint: 0,
            transfer: false,
            priority: -1,
            entries: vec![entry],
        };
        let (round, release) = (Some((3, 9)), Some((3, 8)));
        let envelope = Envelope { round, release, messages: vec![message], ..Envelope::default() };
        let encoded = super::Message { group: 0, body: Body::Raft(envelope) }.encode().expect("it encodes");
        let encoded = &encoded[HEADER_BYTES..];
        // The number of messages follows round (tag and two numbers), no ack, release (as round), and no step of rejoining.
        let messages = 17 + 1 + 17 + 1;
        // The command's length and the command are last.
        let command = encoded.len() - 7 - 8;
        for position in [messages, command] {
            for claimed in [u64::MAX, 1 << 40, 1 << 20] {
                let mut hostile = encoded.to_vec();
                hostile[position..position + 8].copy_from_slice(&claimed.to_le_bytes());
                match decode_envelope(&hostile) {
                    Err(wincode::ReadError::PreallocationSizeLimit { limit, .. }) => {
                        assert!(limit <= 32 * encoded.len(), "the limit follows the envelope's size");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
