//! Who counts: one set of voters, or two while the configuration is joint.

use crate::NodeId;
use core::fmt;

/// The most voters that one half of a configuration may have.
pub const MAX_VOTERS: usize = 15;

/// The voters of the configuration in force. Learners are never in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Voters {
    incoming: Half,
    outgoing: Half,
}

/// One half's voters: distinct, ascending, the rest of the array zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Half {
    ids: [NodeId; MAX_VOTERS],
    len: usize,
}

/// Why a list of nodes is not a set of voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VotersError {
    /// A half has more voters than [`MAX_VOTERS`].
    TooMany {
        /// How many were given.
        given: usize,
    },
    /// The same node is named twice in one half.
    Repeated(NodeId),
    /// Node 0 is not a valid number.
    Zero,
}

impl Half {
    const EMPTY: Half = Half { ids: [0; MAX_VOTERS], len: 0 };

    fn new(ids: &[NodeId]) -> Result<Half, VotersError> {
        if ids.len() > MAX_VOTERS {
            return Err(VotersError::TooMany { given: ids.len() });
        }
        let mut half = Half { ids: [0; MAX_VOTERS], len: ids.len() };
        half.ids[..ids.len()].copy_from_slice(ids);
        let sorted = &mut half.ids[..ids.len()];
        sorted.sort_unstable();
        if sorted.first() == Some(&0) {
            return Err(VotersError::Zero);
        }
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(VotersError::Repeated(pair[0])),
            None => Ok(half),
        }
    }

    fn as_slice(&self) -> &[NodeId] {
        &self.ids[..self.len]
    }
}

impl Voters {
    /// No voters at all: nothing has a quorum. What a node knows before it has joined.
    pub const NONE: Voters = Voters { incoming: Half::EMPTY, outgoing: Half::EMPTY };

    /// A simple configuration.
    ///
    /// # Errors
    /// [`VotersError`], when the list has too many nodes, a repeated one, or node 0.
    pub fn simple(ids: &[NodeId]) -> Result<Voters, VotersError> {
        Voters::joint(ids, &[])
    }

    /// A joint configuration, in which a quorum needs a majority of both halves; simple if `outgoing` is empty.
    ///
    /// # Errors
    /// [`VotersError`], when a half has too many nodes, a repeated one, or node 0.
    pub fn joint(incoming: &[NodeId], outgoing: &[NodeId]) -> Result<Voters, VotersError> {
        Ok(Voters { incoming: Half::new(incoming)?, outgoing: Half::new(outgoing)? })
    }

    /// Whether a node is a voter of either half.
    pub fn contains(&self, id: NodeId) -> bool {
        self.incoming.as_slice().contains(&id) || self.outgoing.as_slice().contains(&id)
    }

    /// The voters of the incoming (or only) half, ascending.
    pub fn incoming(&self) -> &[NodeId] {
        self.incoming.as_slice()
    }

    /// The voters of the outgoing half, ascending; empty unless the configuration is joint.
    pub fn outgoing(&self) -> &[NodeId] {
        self.outgoing.as_slice()
    }
}

impl fmt::Display for VotersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VotersError::TooMany { given } => {
                write!(f, "{given} voters in one half of a configuration; at most {MAX_VOTERS} are supported")
            }
            VotersError::Repeated(id) => write!(f, "node {id} is named twice among the voters; name each once"),
            VotersError::Zero => f.write_str("node 0 cannot be a voter; number nodes from 1"),
        }
    }
}

impl core::error::Error for VotersError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_no_set_of_voters_is_refused() {
        assert_eq!(Voters::simple(&[1, 2, 1]), Err(VotersError::Repeated(1)));
        assert_eq!(Voters::simple(&[0]), Err(VotersError::Zero));
        assert_eq!(Voters::simple(&[7; 16]), Err(VotersError::TooMany { given: 16 }));
    }
}
