//! Frames as bytes. Pure: no sockets here.
//!
//! ```text
//! u32 length of the payload, little-endian | payload
//! ```

use bytes::Bytes;

/// The bytes of the length field.
pub const LENGTH_BYTES: usize = 4;

/// A frame is larger than its lane permits. The stream that announced it cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes, above this lane's limit of {limit}")]
pub struct TooLarge {
    /// The payload's length, announced or real.
    pub length: usize,
    /// The lane's limit.
    pub limit: usize,
}

/// A payload within its lane's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    length: u32,
    payload: Bytes,
}

impl Frame {
    /// Makes a frame of a payload, without copying it.
    ///
    /// # Errors
    /// [`TooLarge`] if the payload exceeds `limit` or its length does not fit into the length field.
    pub fn new(payload: Bytes, limit: usize) -> Result<Self, TooLarge> {
        match u32::try_from(payload.len()) {
            Ok(length) if payload.len() <= limit => Ok(Self { length, payload }),
            _ => Err(TooLarge { length: payload.len(), limit }),
        }
    }

    /// Returns the length field.
    pub fn length_field(&self) -> [u8; LENGTH_BYTES] {
        self.length.to_le_bytes()
    }

    /// Returns the payload, which follows the length field.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns the bytes of the whole frame.
    pub fn size(&self) -> usize {
        LENGTH_BYTES + self.payload.len()
    }
}

/// Collects received bytes and splits them into frames. Its memory follows the bytes received, not the lengths
/// announced.
#[derive(Debug)]
pub struct FrameBuffer {
    limit: usize,
    /// Initialised throughout. `start..end` is received and not yet returned as frames.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// The buffer's initial size.
const INITIAL_BYTES: usize = 64 << 10;
/// A buffer that grew beyond this for a large frame is replaced by a small one afterwards.
const MAX_KEPT_BYTES: usize = 4 << 20;

impl FrameBuffer {
    /// Creates an empty buffer that rejects payloads larger than `limit`.
    pub fn new(limit: usize) -> Self {
        Self { limit, bytes: vec![0; INITIAL_BYTES], start: 0, end: 0 }
    }

    /// Returns the space for the next received bytes; never empty. Call [`next_frame`](Self::next_frame) until it
    /// returns `None` first, and [`received`](Self::received) afterwards.
    pub fn space(&mut self) -> &mut [u8] {
        let pending = self.end - self.start;
        if self.bytes.len() > MAX_KEPT_BYTES && pending <= INITIAL_BYTES / 2 {
            let mut bytes = vec![0; INITIAL_BYTES];
            bytes[..pending].copy_from_slice(&self.bytes[self.start..self.end]);
            (self.bytes, self.start, self.end) = (bytes, 0, pending);
        } else if pending == 0 || (self.start > 0 && self.bytes.len() - self.end < self.bytes.len() / 4) {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, pending);
        }
        if self.end == self.bytes.len() {
            // An incomplete frame fills the buffer. Doubling bounds the total cost of copies and keeps the memory in
            // proportion to the bytes received. The buffer grows to at most a little more than the frame needs.
            let needed = self.announced().map_or(INITIAL_BYTES, |length| LENGTH_BYTES + length + INITIAL_BYTES);
            let size = needed.clamp(self.bytes.len() + 1, 2 * self.bytes.len());
            self.bytes.reserve_exact(size - self.bytes.len());
            self.bytes.resize(size, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Records that `count` bytes were written at the start of the last [`space`](Self::space).
    ///
    /// # Panics
    /// If that space was smaller.
    pub fn received(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.end, "more bytes were received than there was space");
        self.end += count;
    }

    /// Returns the payload of the next complete frame, or `None` until more bytes are received.
    ///
    /// # Errors
    /// [`TooLarge`] as soon as a length field above the limit is received.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, TooLarge> {
        let Some(length) = self.announced() else { return Ok(None) };
        if length > self.limit {
            return Err(TooLarge { length, limit: self.limit });
        }
        let pending = &self.bytes[self.start..self.end];
        let Some(payload) = pending.get(LENGTH_BYTES..LENGTH_BYTES + length) else { return Ok(None) };
        self.start += LENGTH_BYTES + length;
        Ok(Some(payload))
    }

    /// Returns the length field at the front, once it is received.
    fn announced(&self) -> Option<usize> {
        let field = self.bytes[self.start..self.end].first_chunk::<LENGTH_BYTES>()?;
        Some(usize::try_from(u32::from_le_bytes(*field)).unwrap_or(usize::MAX))
    }
}
