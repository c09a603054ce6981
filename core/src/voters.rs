//! The sets of voters: one, or two while the configuration is joint.

use crate::ids::NodeId;
use core::fmt;

/// The largest number of voters in one half of a configuration.
pub const MAX_VOTERS: usize = 15;

/// The voters of the configuration in force. Learners are not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Voters {
    incoming: Half,
    outgoing: Half,
}

/// The voters of one half: distinct and ascending; the rest of the array is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Half {
    ids: [NodeId; MAX_VOTERS],
    len: usize,
}

/// An error of [`Voters::simple`] and [`Voters::joint`]: the list is not a set of voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VotersError {
    /// A half has more voters than [`MAX_VOTERS`].
    TooMany {
        /// The number of voters given.
        given: usize,
    },
    /// The same node occurs twice in one half.
    Repeated(NodeId),
    /// The list contains node 0; nodes are numbered from 1.
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
    /// The empty set, in which nothing has a quorum; the state of a node that has not joined yet.
    pub const NONE: Voters = Voters { incoming: Half::EMPTY, outgoing: Half::EMPTY };

    /// Creates a simple configuration.
    ///
    /// # Errors
    /// [`VotersError`] if the list has too many nodes, a repeated node, or node 0.
    pub fn simple(ids: &[NodeId]) -> Result<Voters, VotersError> {
        Voters::joint(ids, &[])
    }

    /// Creates a joint configuration, in which a quorum needs a majority of both halves; simple if `outgoing` is empty.
    ///
    /// # Errors
    /// [`VotersError`] if a half has too many nodes, a repeated node, or node 0.
    pub fn joint(incoming: &[NodeId], outgoing: &[NodeId]) -> Result<Voters, VotersError> {
        Ok(Voters { incoming: Half::new(incoming)?, outgoing: Half::new(outgoing)? })
    }

    /// Returns whether a node is a voter of either half.
    pub fn contains(&self, id: NodeId) -> bool {
        self.incoming.as_slice().contains(&id) || self.outgoing.as_slice().contains(&id)
    }

    /// Returns the voters of the incoming (or only) half, ascending.
    pub fn incoming(&self) -> &[NodeId] {
        self.incoming.as_slice()
    }

    /// Returns the voters of the outgoing half, ascending; empty unless the configuration is joint.
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
            VotersError::Repeated(id) => write!(f, "node {id} occurs twice among the voters; list each node once"),
            VotersError::Zero => f.write_str("node 0 cannot be a voter; number nodes from 1"),
        }
    }
}

impl core::error::Error for VotersError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_lists_with_too_many_repeated_or_zero_nodes() {
        assert_eq!(Voters::simple(&[1, 2, 1]), Err(VotersError::Repeated(1)));
        assert_eq!(Voters::simple(&[0]), Err(VotersError::Zero));
        assert_eq!(Voters::simple(&[7; 16]), Err(VotersError::TooMany { given: 16 }));
    }
}
