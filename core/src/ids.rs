//! Numbers of nodes, terms, log entries and rounds.

/// The number of a node, from 1; 0 is never a node.
pub type NodeId = u64;
/// A Raft term.
pub type Term = u64;
/// A position in the replicated log, from 1.
pub type Index = u64;
/// The number of a round that a holder opened; strictly increasing for the life of the process, never reused.
pub type Round = u64;

/// A round and the term in which it was opened, ordered by term first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TermRound {
    /// The term of the leader that opened the round.
    pub term: Term,
    /// The round.
    pub round: Round,
}

impl TermRound {
    /// The length of the encoding.
    pub const BYTES: usize = 16;

    /// Encodes it: the term, then the round, little-endian. The encoding never changes.
    pub fn to_bytes(self) -> [u8; TermRound::BYTES] {
        let mut bytes = [0; TermRound::BYTES];
        bytes[..8].copy_from_slice(&self.term.to_le_bytes());
        bytes[8..].copy_from_slice(&self.round.to_le_bytes());
        bytes
    }

    /// Decodes it. Any bytes are a term and a round.
    pub fn from_bytes(bytes: [u8; TermRound::BYTES]) -> TermRound {
        let [term, round] = [0, 8].map(|at| u64_at(&bytes, at));
        TermRound { term, round }
    }
}

/// Returns the number in the eight bytes at a position.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A holder's guarantee that it no longer relies on any round up to `through` of that term; permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Release {
    /// The last round released.
    pub through: TermRound,
}

impl Release {
    /// Encodes it, as the round in it.
    pub fn to_bytes(self) -> [u8; TermRound::BYTES] {
        self.through.to_bytes()
    }

    /// Decodes it.
    pub fn from_bytes(bytes: [u8; TermRound::BYTES]) -> Release {
        Release { through: TermRound::from_bytes(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_fixed() {
        let round = TermRound { term: 0x0102, round: u64::MAX };
        let bytes = [2, 1, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(round.to_bytes(), bytes);
        assert_eq!(TermRound::from_bytes(bytes), round);
        assert_eq!(Release::from_bytes(Release { through: round }.to_bytes()), Release { through: round });
    }
}
