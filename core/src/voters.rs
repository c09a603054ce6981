//! Who counts: one set of voters, or two while the configuration is joint.

use crate::{NodeId, Round};
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
pub enum VotersError {
    /// A half has more voters than [`MAX_VOTERS`].
    TooMany {
        /// How many were given.
        given: usize,
    },
    /// The same node is named twice in one half.
    Repeated(NodeId),
    /// Node 0 names nobody.
    Nobody,
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
            return Err(VotersError::Nobody);
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

/// The newest round each voter acknowledged in the current term, and the quorum round that follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Acks {
    voters: Voters,
    /// Per half, beside the voter's place in it; 0 where nothing was acknowledged.
    rounds: [[Round; MAX_VOTERS]; 2],
}

impl Acks {
    pub(crate) fn none(voters: Voters) -> Acks {
        Acks { voters, rounds: [[0; MAX_VOTERS]; 2] }
    }

    /// The newest round that `id` acknowledged; `None` if it is no voter.
    pub(crate) fn newest_of(&self, id: NodeId) -> Option<Round> {
        let [incoming, outgoing] = &self.rounds;
        [(&self.voters.incoming, incoming), (&self.voters.outgoing, outgoing)]
            .into_iter()
            .find_map(|(half, rounds)| half.as_slice().iter().position(|voter| *voter == id).map(|at| rounds[at]))
    }

    /// Notes that `id` acknowledged `round`; nothing happens if it is no voter.
    pub(crate) fn note(&mut self, id: NodeId, round: Round) {
        let [incoming, outgoing] = &mut self.rounds;
        for (half, rounds) in [(&self.voters.incoming, incoming), (&self.voters.outgoing, outgoing)] {
            if let Some(at) = half.as_slice().iter().position(|voter| *voter == id) {
                rounds[at] = round;
            }
        }
    }

    /// The same acknowledgements under other voters: those of nodes that are no longer voters are forgotten for good.
    pub(crate) fn under(&self, voters: Voters) -> Acks {
        let mut acks = Acks::none(voters);
        for id in voters.incoming().iter().chain(voters.outgoing()) {
            acks.note(*id, self.newest_of(*id).unwrap_or(0));
        }
        acks
    }

    /// The greatest round that a quorum of the voters acknowledged, or a later one; 0 if there is none.
    pub(crate) fn quorum_round(&self) -> Round {
        let incoming = majority_round(&self.rounds[0], self.voters.incoming.len);
        if self.voters.outgoing.len == 0 {
            return incoming;
        }
        incoming.min(majority_round(&self.rounds[1], self.voters.outgoing.len))
    }
}

/// The greatest round that a majority of the first `len` reached; 0 of an empty half, which has no majority.
fn majority_round(rounds: &[Round; MAX_VOTERS], len: usize) -> Round {
    if len == 0 {
        return 0;
    }
    let mut sorted = *rounds;
    // Insertion sort: the slice is short, and nearly every half has three or five.
    for end in 1..len {
        let mut at = end;
        while at > 0 && sorted[at - 1] < sorted[at] {
            sorted.swap(at - 1, at);
            at -= 1;
        }
    }
    sorted[len / 2]
}

impl fmt::Display for VotersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VotersError::TooMany { given } => {
                write!(f, "{given} voters in one half of a configuration; at most {MAX_VOTERS} are supported")
            }
            VotersError::Repeated(id) => write!(f, "node {id} is named twice among the voters; name each once"),
            VotersError::Nobody => f.write_str("node 0 cannot be a voter; number nodes from 1"),
        }
    }
}

impl core::error::Error for VotersError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorum_round(voters: Voters, acked: &[(NodeId, Round)]) -> Round {
        let mut acks = Acks::none(voters);
        for (id, round) in acked {
            acks.note(*id, *round);
        }
        acks.quorum_round()
    }

    #[test]
    fn a_majority_reached_the_quorum_round() {
        let three = Voters::simple(&[3, 1, 2]).unwrap();
        assert_eq!(quorum_round(three, &[]), 0);
        assert_eq!(quorum_round(three, &[(1, 9)]), 0);
        assert_eq!(quorum_round(three, &[(1, 9), (2, 4)]), 4);
        assert_eq!(quorum_round(three, &[(1, 9), (2, 4), (3, 7)]), 7);
        let four = Voters::simple(&[1, 2, 3, 4]).unwrap();
        assert_eq!(quorum_round(four, &[(1, 9), (2, 8)]), 0);
        assert_eq!(quorum_round(four, &[(1, 9), (2, 8), (3, 2)]), 2);
        assert_eq!(quorum_round(Voters::simple(&[5]).unwrap(), &[(5, 3)]), 3);
        assert_eq!(quorum_round(Voters::NONE, &[(1, 3)]), 0);
    }

    #[test]
    fn a_joint_configuration_needs_both_halves() {
        let joint = Voters::joint(&[1, 2, 3], &[3, 4, 5]).unwrap();
        assert_eq!(quorum_round(joint, &[(1, 9), (2, 9), (3, 9)]), 0);
        assert_eq!(quorum_round(joint, &[(1, 9), (2, 9), (3, 5), (4, 7)]), 5);
    }

    #[test]
    fn a_removed_voter_is_forgotten_even_if_it_returns() {
        let three = Voters::simple(&[1, 2, 3]).unwrap();
        let mut acks = Acks::none(three);
        acks.note(1, 9);
        acks.note(2, 9);
        let back = acks.under(Voters::simple(&[1]).unwrap()).under(three);
        assert_eq!(back.newest_of(1), Some(9));
        assert_eq!(back.newest_of(2), Some(0));
        assert_eq!(back.quorum_round(), 0);
    }

    #[test]
    fn a_list_that_is_no_set_of_voters_is_refused() {
        assert_eq!(Voters::simple(&[1, 2, 1]), Err(VotersError::Repeated(1)));
        assert_eq!(Voters::simple(&[0]), Err(VotersError::Nobody));
        assert_eq!(Voters::simple(&[7; 16]), Err(VotersError::TooMany { given: 16 }));
    }
}
