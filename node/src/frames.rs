//! Frames: the messages of one turn for one peer and lane, as the payloads that [`Links`](crate::ports::Links) carry.
//!
//! ```text
//! version 4: one message, see [`wire`](crate::wire)
//! version 5: u8 5 | message, two or more: u32 length | u8 kind | u32 group | body      all little-endian
//! version 6: as version 5, and a replica's message may carry local reads
//! ```
//!
//! A payload with one message is the same in all versions, and so is a large message, which travels alone. A release
//! that speaks version 4 only gets each message in a payload of its own, and one that speaks no version 6 gets messages
//! without local reads: it would refuse them, and the acknowledgement that they ride with.

use crate::wire::{DecodeError, EncodeError, Message};
use bytes::Bytes;

/// The newest version of payloads.
pub const VERSION: u8 = 6;
/// The first version with local reads.
const WITH_LOCAL_READS: u8 = 6;
/// The first version with payloads of several messages, and the first byte of such a payload.
pub const JOINED: u8 = 5;
/// The oldest version of payloads that is still spoken: that of single messages.
pub const OLDEST_VERSION: u8 = crate::wire::VERSION;

/// The largest number of messages in a frame. It bounds the work that a node does between two looks at its timer.
pub const MAX_MESSAGES: usize = 1_024;
/// The bytes of a frame beyond which no further message joins it. A larger message travels alone, and is not copied.
const MAX_JOINED_BYTES: usize = 128 << 10;

/// The bytes of a message's length.
const LENGTH_BYTES: usize = 4;

/// The messages of a turn, encoded for a peer.
#[derive(Debug)]
pub struct Payload {
    /// The number of messages in it.
    pub messages: usize,
    /// Its bytes, or the reason why its message has none.
    pub bytes: Result<Bytes, EncodeError>,
}

/// Encodes messages for a peer that speaks `version`, in order.
pub fn encode(messages: &[Message], version: u16) -> Vec<Payload> {
    let mut payloads = Vec::with_capacity(1);
    let mut joined = Joined::default();
    for message in messages {
        let encoded = message.encode_with(version >= WITH_LOCAL_READS.into());
        let size = encoded.as_ref().map_or(usize::MAX, Bytes::len);
        if version < u16::from(JOINED) || size > MAX_JOINED_BYTES {
            payloads.extend(joined.take());
            payloads.push(Payload { messages: 1, bytes: encoded });
        } else if let Ok(encoded) = encoded {
            if joined.bytes + size > MAX_JOINED_BYTES || joined.messages.len() == MAX_MESSAGES {
                payloads.extend(joined.take());
            }
            joined.bytes += size;
            joined.messages.push(encoded);
        }
    }
    payloads.extend(joined.take());
    payloads
}

/// The messages of one payload.
#[derive(Default)]
struct Joined {
    messages: Vec<Bytes>,
    bytes: usize,
}

impl Joined {
    fn take(&mut self) -> Option<Payload> {
        let Joined { messages, bytes } = std::mem::take(self);
        let encoded = match messages.as_slice() {
            [] => return None,
            [single] => single.clone(),
            several => {
                let mut frame = Vec::with_capacity(1 + bytes + several.len() * LENGTH_BYTES);
                frame.push(JOINED);
                for message in several {
                    // The frame's version is that of all its messages.
                    let rest = &message[1..];
                    frame.extend_from_slice(&(rest.len() as u32).to_le_bytes());
                    frame.extend_from_slice(rest);
                }
                frame.into()
            }
        };
        Some(Payload { messages: messages.len(), bytes: Ok(encoded) })
    }
}

/// Returns about how many bytes of memory the messages of a payload take once they are decoded. It does not decode them.
pub(crate) fn decoded_bytes(payload: &[u8]) -> usize {
    let mut messages = 1;
    if let Some((&JOINED, mut rest)) = payload.split_first() {
        while messages <= MAX_MESSAGES
            && let Some((length, after)) = rest.split_first_chunk()
            && let Some((_, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize)
        {
            messages += 1;
            rest = after;
        }
    }
    payload.len() + messages * size_of::<Message>()
}

/// Decodes a payload of any version. Commands and outputs are copied out of it.
///
/// # Errors
/// [`DecodeError`]. No input causes a panic, nor an allocation out of proportion to its own length.
pub fn decode(payload: &[u8]) -> Result<Vec<Message>, DecodeError> {
    let Some((&JOINED, mut rest)) = payload.split_first() else { return Ok(vec![Message::decode(payload)?]) };
    let malformed = DecodeError::Malformed { length: payload.len() };
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let message = rest
            .split_first_chunk()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        let Some((message, after)) = message.filter(|_| messages.len() < MAX_MESSAGES) else { return Err(malformed) };
        messages.push(Message::decode_body(message, payload.len())?);
        rest = after;
    }
    // A single message has a payload of its own.
    if messages.len() < 2 { Err(malformed) } else { Ok(messages) }
}
