//! What travels with openraft's own messages.

use leasehold_core::{LeaseTiming, Release, TermRound};

/// The version of the encoding.
const VERSION: u8 = 1;

/// The lease's part of a message between two nodes. Send it as it is with the message of openraft that it came with.
///
/// `Tag::default()` says nothing. It is right for a message of a peer that has no leases yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tag {
    /// The timing of the node that acknowledges: an acknowledgement is worth what its sender's hold covers.
    pub(crate) timing: Option<LeaseTiming>,
    pub(crate) round: Option<TermRound>,
    pub(crate) ack: Option<TermRound>,
    pub(crate) release: Option<Release>,
}

/// An error of [`Tag::from_bytes`]: the bytes are not a tag of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{length} bytes that begin with {version:?} are not a tag of version {VERSION}; does the peer run another release?"
)]
pub struct NotATag {
    length: usize,
    version: Option<u8>,
}

impl Tag {
    /// The length of the encoding.
    pub const BYTES: usize = 2 + LeaseTiming::BYTES + 3 * TermRound::BYTES;

    /// Encodes it: the version, a bit for each of the four parts that is there, and the parts, zero where there is none.
    pub fn to_bytes(&self) -> [u8; Tag::BYTES] {
        let mut bytes = [0; Tag::BYTES];
        bytes[0] = VERSION;
        if let Some(timing) = self.timing {
            bytes[1] |= 1;
            bytes[2..2 + LeaseTiming::BYTES].copy_from_slice(&timing.to_bytes());
        }
        let parts = [self.round, self.ack, self.release.map(|release| release.through)];
        for (position, part) in parts.into_iter().enumerate() {
            if let Some(part) = part {
                bytes[1] |= 2 << position;
                let at = 2 + LeaseTiming::BYTES + position * TermRound::BYTES;
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
        let wrong = NotATag { length: bytes.len(), version: bytes.first().copied() };
        let known: &[u8; Tag::BYTES] = bytes.try_into().map_err(|_| wrong)?;
        let timing = known[2..].first_chunk().map(|bytes| LeaseTiming::from_bytes(*bytes));
        let part = |position: usize| {
            let at = 2 + LeaseTiming::BYTES + position * TermRound::BYTES;
            let part = known[at..].first_chunk().map(|bytes| TermRound::from_bytes(*bytes));
            part.filter(|_| known[1] & 2 << position != 0)
        };
        let tag = Tag {
            timing: timing.filter(|_| known[1] & 1 != 0),
            round: part(0),
            ack: part(1),
            release: part(2).map(|through| Release { through }),
        };
        if tag.to_bytes() == *known { Ok(tag) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_its_encoding_and_other_bytes_are_refused() {
        let part = |round| TermRound { term: 3, round };
        let timing = LeaseTiming { hold_nanos: 9, lease_nanos: 8, drift_ppm: 7 };
        let tags = (0..16).map(|parts| Tag {
            timing: (parts & 8 > 0).then_some(timing),
            round: (parts & 1 > 0).then(|| part(1)),
            ack: (parts & 2 > 0).then(|| part(u64::MAX)),
            release: (parts & 4 > 0).then(|| Release { through: part(3) }),
        });
        for tag in tags {
            let bytes = tag.to_bytes();
            assert_eq!(Tag::from_bytes(&bytes), Ok(tag));
            assert!(Tag::from_bytes(&bytes[1..]).is_err());
            // Another version, an unknown part, and a part of which the bit is missing.
            for (at, other) in [(0, 2), (1, bytes[1] | 16), (1, bytes[1] & !4)] {
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
