//! Messages between nodes as bytes: the payloads that [`Links`](crate::ports::Links) carry.
//!
//! ```text
//! u8 version | u8 kind | u32 group | body                                            all little-endian
//!              0 Raft                an envelope, in wincode's encoding
//!              1 request: read index u64 boot | u64 sequence
//!              2 request: propose    u64 boot | u64 sequence | command
//!              3 answer: read index  u64 boot | u64 sequence | u64 index | u8 by_lease
//!              4 answer: applied     u64 boot | u64 sequence | u64 index | output
//!              5 answer: not executed, 6 busy, 7 uncertain: u64 boot | u64 sequence
//! ```
//!
//! The first byte is the version in every version. The link marks the end of a payload: a command or an output extends
//! to it and has no length field.

use crate::ports::{GroupId, Lane, Rejected};
use bytes::Bytes;
use leasehold_core::Index;
use leasehold_raft::wire::Envelope;
use wincode::config::Configuration;
use wincode::error::ReadResult;

/// The version of this format.
const VERSION: u8 = 2;

const RAFT: u8 = 0;
const REQUEST_READ_INDEX: u8 = 1;
const REQUEST_PROPOSE: u8 = 2;
const ANSWER_READ_INDEX: u8 = 3;
const ANSWER_APPLIED: u8 = 4;
const ANSWER_NOT_EXECUTED: u8 = 5;
const ANSWER_BUSY: u8 = 6;
const ANSWER_UNCERTAIN: u8 = 7;

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
}

/// Identifies a request. Ids stay unique across restarts.
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
    /// Asks the leader to propose this command.
    Propose(Bytes),
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
    #[error("a message of format version {version}, not {VERSION}: run the same release on all nodes")]
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
            Body::Request { .. } | Body::Answer { .. } => Lane::Request,
        }
    }

    /// Encodes the message into a buffer of exactly its size.
    ///
    /// # Errors
    /// [`EncodeError`] if the envelope has no encoding.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        match &self.body {
            Body::Raft(envelope) => {
                let unencodable = |error: wincode::WriteError| EncodeError::Envelope { reason: error.to_string() };
                let size = wincode::config::serialized_size(envelope, UNLIMITED).map_err(unencodable)?;
                let mut out = self.header(RAFT, usize::try_from(size).unwrap_or_default());
                wincode::config::serialize_into(&mut out, envelope, UNLIMITED).map_err(unencodable)?;
                Ok(out.into())
            }
            Body::Request { id, request } => Ok(match request {
                PeerRequest::ReadIndex => self.with_id(REQUEST_READ_INDEX, *id, &[]),
                PeerRequest::Propose(command) => self.with_id(REQUEST_PROPOSE, *id, &[command]),
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
        }
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
        let Some((&kind, rest)) = rest.split_first() else { return Err(malformed) };
        if kind > ANSWER_UNCERTAIN {
            return Err(DecodeError::UnknownKind { kind });
        }
        let Some((group, rest)) = rest.split_first_chunk() else { return Err(malformed) };
        let body = if kind == RAFT {
            let envelope =
                decode_envelope(rest).map_err(|error| DecodeError::Envelope { reason: error.to_string() })?;
            Body::Raft(envelope)
        } else {
            decode_request_or_answer(kind, rest).ok_or(malformed)?
        };
        Ok(Message { group: GroupId::from_le_bytes(*group), body })
    }
}

/// Decodes the body of every kind but [`RAFT`].
fn decode_request_or_answer(kind: u8, bytes: &[u8]) -> Option<Body> {
    let (boot, rest) = bytes.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let id = RequestId { boot: u64::from_le_bytes(*boot), sequence: u64::from_le_bytes(*sequence) };
    let request = |request| Body::Request { id, request };
    let answer = |answer| Body::Answer { id, answer };
    Some(match kind {
        REQUEST_READ_INDEX if rest.is_empty() => request(PeerRequest::ReadIndex),
        REQUEST_PROPOSE => request(PeerRequest::Propose(Bytes::copy_from_slice(rest))),
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
            snapshot: None,
        };
        let envelope =
            Envelope { round: Some((3, 9)), ack: None, release: Some((3, 8)), rejoin: None, messages: vec![message] };
        let encoded = super::Message { group: 0, body: Body::Raft(envelope) }.encode().expect("it encodes");
        let encoded = &encoded[HEADER_BYTES..];
        // The number of messages follows round (tag and two numbers), no ack, and release (as round).
        let messages = 17 + 1 + 17;
        // The command's length, the command and the absent snapshot are last.
        let command = encoded.len() - 1 - 7 - 8;
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
