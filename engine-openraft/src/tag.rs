//! The lease's part of a message, and its encoding.

use leasehold_core::{LeaseTiming, NotATag, Release, TermRound};

/// The lease's part of a message between two nodes. Send it as it is with the message of openraft that it came with.
///
/// `Tag::default()` says nothing. It is right for a message of a peer that has no leases yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tag {
    lease: leasehold_core::Tag,
    /// The timing of the node that acknowledges: an acknowledgement is worth what its sender's hold covers. It is there with an
    /// acknowledgement, and only then.
    timing: Option<LeaseTiming>,
}

impl Tag {
    /// The length of the encoding.
    pub const BYTES: usize = leasehold_core::Tag::BYTES + LeaseTiming::BYTES;

    pub(crate) fn of_round(round: Option<TermRound>) -> Tag {
        Tag { lease: leasehold_core::Tag { round, ..Default::default() }, timing: None }
    }

    pub(crate) fn of_ack(ack: Option<TermRound>, timing: LeaseTiming) -> Tag {
        Tag { lease: leasehold_core::Tag { ack, ..Default::default() }, timing: ack.map(|_| timing) }
    }

    pub(crate) fn of_release(release: Option<Release>) -> Tag {
        Tag { lease: leasehold_core::Tag { release, ..Default::default() }, timing: None }
    }

    pub(crate) fn round(&self) -> Option<TermRound> {
        self.lease.round
    }

    pub(crate) fn ack(&self) -> Option<(TermRound, LeaseTiming)> {
        self.lease.ack.zip(self.timing)
    }

    pub(crate) fn release(&self) -> Option<Release> {
        self.lease.release
    }

    /// Encodes it: the [tag of the core](leasehold_core::Tag::to_bytes), and the timing, zero without an acknowledgement.
    pub fn to_bytes(&self) -> [u8; Tag::BYTES] {
        let mut bytes = [0; Tag::BYTES];
        let (lease, timing) = bytes.split_at_mut(leasehold_core::Tag::BYTES);
        lease.copy_from_slice(&self.lease.to_bytes());
        if let Some(of_ack) = self.timing {
            timing.copy_from_slice(&of_ack.to_bytes());
        }
        bytes
    }

    /// Decodes it.
    ///
    /// # Errors
    /// [`NotATag`] if [`to_bytes`](Tag::to_bytes) of this version does not produce these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Tag, NotATag> {
        let (lease, timing) = bytes.split_at(bytes.len().min(leasehold_core::Tag::BYTES));
        let lease = leasehold_core::Tag::from_bytes(lease).map_err(|_| NotATag::of(bytes))?;
        let timing = LeaseTiming::from_bytes(timing.try_into().map_err(|_| NotATag::of(bytes))?);
        let tag = Tag { timing: lease.ack.map(|_| timing), lease };
        if tag.to_bytes() == *bytes { Ok(tag) } else { Err(NotATag::of(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_its_encoding_and_other_bytes_are_refused() {
        let round = Some(TermRound { term: 3, round: 9 });
        let timing = LeaseTiming { hold_nanos: 9, lease_nanos: 8, drift_ppm: 7 };
        let release = round.map(|through| Release { through });
        for tag in [Tag::default(), Tag::of_round(round), Tag::of_ack(round, timing), Tag::of_release(release)] {
            let bytes = tag.to_bytes();
            assert_eq!(Tag::from_bytes(&bytes), Ok(tag));
            for other in
                [&bytes[1..], &bytes[..leasehold_core::Tag::BYTES], &[&bytes[..], &[0]].concat(), &[9; Tag::BYTES]]
            {
                assert_eq!(Tag::from_bytes(other), Err(NotATag::of(other)));
            }
        }
        let mut timed = Tag::default().to_bytes();
        timed[Tag::BYTES - 1] = 1;
        assert!(Tag::from_bytes(&timed).is_err(), "a timing without an acknowledgement");
    }
}
