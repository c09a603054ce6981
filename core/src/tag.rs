//! The lease's part of a message, and its encoding.

use crate::ids::{Release, TermRound};
use core::fmt;

/// The version of the encoding.
const VERSION: u8 = 1;

/// The lease's part of a message between two nodes. It travels with a message of the engine, or alone. The engine's own
/// message stays as it is. `Tag::default()` says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tag {
    /// The newest round of the sender, which leads.
    pub round: Option<TermRound>,
    /// The newest round of the receiver that the sender acknowledges.
    pub ack: Option<TermRound>,
    /// The release that goes with the order to campaign, or with a request for a vote.
    pub release: Option<Release>,
}

/// An error of [`Tag::from_bytes`]: the bytes are not a tag of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATag {
    length: usize,
    version: Option<u8>,
}

impl Tag {
    /// The length of the encoding.
    pub const BYTES: usize = 2 + 3 * TermRound::BYTES;

    /// Encodes it: the version, a bit for each of the three parts that is there, and the parts, zero where there is none.
    pub fn to_bytes(&self) -> [u8; Tag::BYTES] {
        let parts = [self.round, self.ack, self.release.map(|release| release.through)];
        let mut bytes = [0; Tag::BYTES];
        bytes[0] = VERSION;
        for (position, part) in parts.into_iter().enumerate() {
            if let Some(part) = part {
                bytes[1] |= 1 << position;
                let at = 2 + position * TermRound::BYTES;
                bytes[at..at + TermRound::BYTES].copy_from_slice(&part.to_bytes());
            }
        }
        bytes
    }

    /// Decodes it.
    ///
    /// # Errors
    /// [`NotATag`] if [`to_bytes`](Tag::to_bytes) of this version does not produce these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Tag, NotATag> {
        let wrong = NotATag::of(bytes);
        let known: &[u8; Tag::BYTES] = bytes.try_into().map_err(|_| wrong)?;
        let part = |position: usize| {
            let at = 2 + position * TermRound::BYTES;
            let part = known[at..].first_chunk().map(|bytes| TermRound::from_bytes(*bytes));
            part.filter(|_| known[1] & 1 << position != 0)
        };
        let tag = Tag { round: part(0), ack: part(1), release: part(2).map(|through| Release { through }) };
        if tag.to_bytes() == *known { Ok(tag) } else { Err(wrong) }
    }
}

impl NotATag {
    /// Returns the error about these bytes.
    pub fn of(bytes: &[u8]) -> NotATag {
        NotATag { length: bytes.len(), version: bytes.first().copied() }
    }
}

impl fmt::Display for NotATag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotATag { length, version } = self;
        write!(
            f,
            "{length} bytes that begin with {version:?} are not a tag of version {VERSION}; does the peer run another "
        )?;
        f.write_str("release?")
    }
}

impl core::error::Error for NotATag {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_its_encoding_and_other_bytes_are_refused() {
        let part = |round| TermRound { term: 3, round };
        let tags = (0..8).map(|parts| Tag {
            round: (parts & 1 > 0).then(|| part(1)),
            ack: (parts & 2 > 0).then(|| part(u64::MAX)),
            release: (parts & 4 > 0).then(|| Release { through: part(3) }),
        });
        for tag in tags {
            let bytes = tag.to_bytes();
            assert_eq!(Tag::from_bytes(&bytes), Ok(tag));
            assert!(Tag::from_bytes(&bytes[1..]).is_err());
            // Another version, an unknown part, and a part of which the bit is missing.
            for (at, other) in [(0, 2), (1, bytes[1] | 8), (1, bytes[1] & !4)] {
                let mut changed = bytes;
                if changed[at] == other {
                    continue;
                }
                changed[at] = other;
                assert!(Tag::from_bytes(&changed).is_err(), "{tag:?} with byte {at} changed");
            }
        }
    }
}
