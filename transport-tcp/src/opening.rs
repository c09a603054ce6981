//! The messages of a handshake as bytes, and the first one of each side: versions, a nonce, and the demand for a secret.
//!
//! ```text
//! message: "LSHD" | u16 handshake version | u16 length of what follows | opening or hello
//! opening: u16 oldest version | u16 newest version | u8 flags (1: proves a secret) | 32 bytes nonce | more
//! ```
//!
//! All numbers are little-endian. The first eight bytes stay the same in every version. What a later release adds to an
//! opening is ignored.

use crate::error::HandshakeError;
use crate::hello::Reader;
use crate::versions::{HANDSHAKE_VERSION, Versions};
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use std::io;

/// The first bytes on a connection between nodes.
const MAGIC: [u8; 4] = *b"LSHD";
/// The bytes before the content of a message.
pub(crate) const PREFIX_BYTES: usize = 4 + 2 + 2;
/// The longest opening, including its prefix.
pub(crate) const MAX_OPENING_BYTES: usize = 1024;
/// The longest other message, including its prefix. A hello may describe many nodes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 32 << 10;
/// The flag of a side that proves a secret and demands the same of the other.
const PROVES_SECRET: u8 = 1;

/// A random number that is used for one handshake.
pub(crate) type Nonce = [u8; 32];

/// The first message of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) versions: Versions,
    pub(crate) proves_secret: bool,
    pub(crate) nonce: Nonce,
}

impl Opening {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.versions.min.to_le_bytes());
        body.extend_from_slice(&self.versions.max.to_le_bytes());
        body.push(if self.proves_secret { PROVES_SECRET } else { 0 });
        body.extend_from_slice(&self.nonce);
        message(&body)
    }

    /// Decodes a whole message.
    pub(crate) fn decode(message: &[u8]) -> Option<Opening> {
        let mut bytes = Reader(message.get(PREFIX_BYTES..)?);
        let versions = Versions::checked(bytes.u16()?, bytes.u16()?)?;
        let proves_secret = bytes.u8()? & PROVES_SECRET != 0;
        let nonce = bytes.array()?;
        Some(Opening { versions, proves_secret, nonce })
    }
}

/// Returns a message with this content.
pub(crate) fn message(body: &[u8]) -> Vec<u8> {
    let mut message = prefix(body.len()).to_vec();
    message.extend_from_slice(body);
    message
}

/// Returns the prefix of a message whose content has this many bytes.
pub(crate) fn prefix(length: usize) -> [u8; PREFIX_BYTES] {
    let [m0, m1, m2, m3] = MAGIC;
    let [v0, v1] = HANDSHAKE_VERSION.to_le_bytes();
    let [l0, l1] = u16::try_from(length).expect("far below the limit").to_le_bytes();
    [m0, m1, m2, m3, v0, v1, l0, l1]
}

pub(crate) async fn write<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> io::Result<()> {
    stream.write_all(message).await?;
    stream.flush().await
}

/// Reads a whole message of at most `limit` bytes.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S, limit: usize) -> Result<Vec<u8>, HandshakeError> {
    let mut message = vec![0; PREFIX_BYTES];
    // Read the magic alone: another protocol's client may send less than a prefix and wait.
    let (magic, rest) = message.split_at_mut(MAGIC.len());
    stream.read_exact(magic).await?;
    if magic != MAGIC {
        // The records of TLS that can come first: a handshake or an alert of version 3.
        let is_tls = matches!(magic, [0x15 | 0x16, 3, ..]);
        return Err(if is_tls { HandshakeError::UnexpectedTls } else { HandshakeError::NotLeasehold });
    }
    stream.read_exact(rest).await?;
    let theirs = u16::from_le_bytes([message[4], message[5]]);
    let length = usize::from(u16::from_le_bytes([message[6], message[7]]));
    // Read it for any version: closing a connection with unread bytes resets it, and the answer could be lost.
    message.resize(PREFIX_BYTES + length.min(limit - PREFIX_BYTES), 0);
    stream.read_exact(&mut message[PREFIX_BYTES..]).await?;
    if theirs != HANDSHAKE_VERSION {
        return Err(HandshakeError::OtherVersion { theirs });
    }
    if message.len() != PREFIX_BYTES + length {
        return Err(HandshakeError::Malformed);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_of_a_later_release_may_be_longer_but_not_shorter() {
        let opening = Opening { versions: Versions::new(3, 4), proves_secret: true, nonce: [7; 32] };
        let message = opening.encode();
        assert_eq!(Opening::decode(&message), Some(opening));
        assert_eq!(Opening::decode(&[message.as_slice(), b"more"].concat()), Some(opening));
        for end in 0..message.len() {
            assert_eq!(Opening::decode(&message[..end]), None, "cut at {end}");
        }
        let mut reversed = message;
        reversed[PREFIX_BYTES..PREFIX_BYTES + 4].copy_from_slice(&[4, 0, 3, 0]);
        assert_eq!(Opening::decode(&reversed), None);
    }
}
