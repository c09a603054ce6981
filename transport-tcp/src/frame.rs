//! Frames as bytes. Pure: no sockets here.
//!
//! ```text
//! u32 length of what follows | u8 kind | u32 group | body                        all little-endian
//!                              0 Raft               an envelope, in wincode's encoding
//!                              1 request            u64 boot, u64 sequence, payload
//!                              2 answer             u64 boot, u64 sequence, payload
//! ```

use bytes::Bytes;
use leasehold_driver::{Body, Frame, RequestId};
use leasehold_raft::wire::Envelope;
use wincode::config::Configuration;
use wincode::error::{ReadError, ReadResult};

/// The bytes of the length field.
pub const LENGTH_BYTES: usize = 4;
/// The bytes of kind and group.
const HEADER_BYTES: usize = 1 + 4;
/// The bytes of a request's identity.
const ID_BYTES: usize = 8 + 8;

const RAFT: u8 = 0;
const REQUEST: u8 = 1;
const ANSWER: u8 = 2;

/// Why bytes are not a frame, or a frame cannot become bytes.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The frame is larger than its lane permits.
    #[error("a frame of {length} bytes is larger than the {limit} that its lane permits")]
    TooLarge {
        /// The length, claimed or real.
        length: usize,
        /// The lane's limit.
        limit: usize,
    },
    /// The frame ends before its fixed fields do.
    #[error("a frame of {length} bytes ends before its fields do")]
    Short {
        /// The length of the whole frame, without its length field.
        length: usize,
    },
    /// The kind is none of those above.
    #[error("a frame of unknown kind {kind}: run the same release on all nodes")]
    UnknownKind {
        /// The kind claimed.
        kind: u8,
    },
    /// The envelope does not decode, or something follows it.
    #[error("a frame with a malformed envelope: {0}")]
    Envelope(#[from] ReadError),
    /// The envelope has no encoding.
    #[error("an envelope that cannot be encoded: {0}")]
    Unencodable(#[from] wincode::WriteError),
}

/// How many bytes [`encode`] will append.
///
/// # Errors
/// [`FrameError::Unencodable`] when the envelope's size overflows.
pub fn encoded_len(frame: &Frame) -> Result<usize, FrameError> {
    let body = match &frame.body {
        Body::Raft(envelope) => {
            let size = wincode::config::serialized_size(envelope, UNLIMITED)?;
            usize::try_from(size).unwrap_or(usize::MAX)
        }
        Body::Request { payload, .. } | Body::Answer { payload, .. } => ID_BYTES.saturating_add(payload.len()),
    };
    Ok(body.saturating_add(LENGTH_BYTES + HEADER_BYTES))
}

/// Appends the frame, with its length field.
///
/// # Errors
/// [`FrameError::TooLarge`] when it exceeds `limit`, [`FrameError::Unencodable`] when the envelope has no encoding;
/// nothing is appended then.
pub fn encode(frame: &Frame, limit: usize, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let total = encoded_len(frame)?;
    let length = total - LENGTH_BYTES;
    let field = match u32::try_from(length) {
        Ok(field) if length <= limit => field,
        _ => return Err(FrameError::TooLarge { length, limit }),
    };
    let start = out.len();
    out.reserve(total);
    out.extend_from_slice(&field.to_le_bytes());
    out.push(match &frame.body {
        Body::Raft(_) => RAFT,
        Body::Request { .. } => REQUEST,
        Body::Answer { .. } => ANSWER,
    });
    out.extend_from_slice(&frame.group.to_le_bytes());
    match &frame.body {
        Body::Raft(envelope) => {
            if let Err(error) = wincode::config::serialize_into(&mut *out, envelope, UNLIMITED) {
                out.truncate(start);
                return Err(error.into());
            }
        }
        Body::Request { id, payload } | Body::Answer { id, payload } => {
            out.extend_from_slice(&id.boot.to_le_bytes());
            out.extend_from_slice(&id.sequence.to_le_bytes());
            out.extend_from_slice(payload);
        }
    }
    debug_assert_eq!(out.len() - start, total, "a frame is as long as it was said to be");
    Ok(())
}

/// The frame in these bytes, which follow a length field and are as many as it says.
///
/// # Errors
/// [`FrameError`]; no input panics, and none makes this take memory out of proportion to its own length.
pub fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
    let short = FrameError::Short { length: bytes.len() };
    let Some((&[kind], rest)) = bytes.split_first_chunk() else { return Err(short) };
    let Some((group, rest)) = rest.split_first_chunk() else { return Err(short) };
    let group = u32::from_le_bytes(*group);
    let body = match kind {
        RAFT => Body::Raft(decode_envelope(rest)?),
        REQUEST | ANSWER => {
            let Some((boot, rest)) = rest.split_first_chunk() else { return Err(short) };
            let Some((sequence, payload)) = rest.split_first_chunk() else { return Err(short) };
            let id = RequestId { boot: u64::from_le_bytes(*boot), sequence: u64::from_le_bytes(*sequence) };
            // A copy, so that a small payload does not keep a whole receive buffer alive.
            let payload = Bytes::copy_from_slice(payload);
            if kind == REQUEST { Body::Request { id, payload } } else { Body::Answer { id, payload } }
        }
        kind => return Err(FrameError::UnknownKind { kind }),
    };
    Ok(Frame { group, body })
}

/// What this node writes, it has measured; only what it reads needs limits.
const UNLIMITED: Configuration<true, { usize::MAX }> = Configuration::default().disable_preallocation_size_limit();

/// What one level of an envelope may preallocate for an envelope of so many bytes. A vector's elements are up to four
/// times larger in memory than in the shortest encoding, so this much must be allowed.
const IN_MEMORY: usize = 4;

/// Decodes with a limit on each vector's preallocation that fits the envelope's own size. wincode's limits are constants
/// of the type, so there is one decoder for each power of eight.
fn decode_envelope(bytes: &[u8]) -> ReadResult<Envelope> {
    fn within<const LIMIT: usize>(bytes: &[u8]) -> ReadResult<Envelope> {
        let config = Configuration::default().with_preallocation_size_limit::<LIMIT>();
        wincode::config::deserialize_exact(bytes, config)
    }
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    let needed = bytes.len().saturating_mul(IN_MEMORY);
    match needed {
        _ if needed <= 4 * KIB => within::<{ 4 * KIB }>(bytes),
        _ if needed <= 32 * KIB => within::<{ 32 * KIB }>(bytes),
        _ if needed <= 256 * KIB => within::<{ 256 * KIB }>(bytes),
        _ if needed <= 2 * MIB => within::<{ 2 * MIB }>(bytes),
        _ if needed <= 16 * MIB => within::<{ 16 * MIB }>(bytes),
        _ if needed <= 128 * MIB => within::<{ 128 * MIB }>(bytes),
        _ if needed <= 1024 * MIB => within::<{ 1024 * MIB }>(bytes),
        _ => within::<{ 2048 * MIB - 1 }>(bytes),
    }
}

/// Collects what a socket delivers and cuts it into frames. Memory follows the bytes that arrived, not those announced.
#[derive(Debug)]
pub struct FrameBuffer {
    limit: usize,
    /// Initialised throughout; `start..end` is received and not yet decoded.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// The buffer's size at first.
const USUAL: usize = 64 << 10;
/// A buffer that a large frame made larger than this is given back after it.
const KEPT: usize = 4 << 20;

impl FrameBuffer {
    /// An empty buffer that refuses frames larger than `limit`.
    pub fn new(limit: usize) -> Self {
        Self { limit, bytes: vec![0; USUAL], start: 0, end: 0 }
    }

    /// Where the next bytes go; never empty. Take all [`frames`](Self::next_frame) first, and tell [`received`](Self::received) how many came.
    pub fn space(&mut self) -> &mut [u8] {
        let waiting = self.end - self.start;
        if self.bytes.len() > KEPT && waiting <= USUAL / 2 {
            let mut bytes = vec![0; USUAL];
            bytes[..waiting].copy_from_slice(&self.bytes[self.start..self.end]);
            (self.bytes, self.start, self.end) = (bytes, 0, waiting);
        } else if waiting == 0 || (self.start > 0 && self.bytes.len() - self.end < self.bytes.len() / 4) {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, waiting);
        }
        if self.end == self.bytes.len() {
            // The frame at the front fills it all. Doubling keeps the copies linear and the memory in proportion to what
            // arrived; a little beyond the frame's end is enough.
            let needed = self.announced().map_or(USUAL, |length| LENGTH_BYTES + length + USUAL);
            let size = needed.clamp(self.bytes.len() + 1, 2 * self.bytes.len());
            self.bytes.reserve_exact(size - self.bytes.len());
            self.bytes.resize(size, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Counts `count` bytes written at the front of the last [`space`](Self::space).
    ///
    /// # Panics
    /// When that space was smaller.
    pub fn received(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.end, "no more was received than there was space");
        self.end += count;
    }

    /// The next complete frame; `None` until more is received.
    ///
    /// # Errors
    /// [`FrameError`]; the stream cannot be trusted after one. A length above the limit is one as soon as it is seen.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(length) = self.announced() else { return Ok(None) };
        if length > self.limit {
            return Err(FrameError::TooLarge { length, limit: self.limit });
        }
        let waiting = &self.bytes[self.start..self.end];
        let Some(bytes) = waiting.get(LENGTH_BYTES..LENGTH_BYTES + length) else { return Ok(None) };
        let frame = decode(bytes)?;
        self.start += LENGTH_BYTES + length;
        Ok(Some(frame))
    }

    /// What the length field at the front says, once it is there.
    fn announced(&self) -> Option<usize> {
        let field = self.bytes[self.start..self.end].first_chunk::<LENGTH_BYTES>()?;
        Some(usize::try_from(u32::from_le_bytes(*field)).unwrap_or(usize::MAX))
    }
}
