//! Who acknowledged which round, and the quorum round that follows.

use crate::voters::{MAX_VOTERS, Voters};
use crate::{NodeId, Round};

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
        [(self.voters.incoming(), incoming), (self.voters.outgoing(), outgoing)]
            .into_iter()
            .find_map(|(half, rounds)| half.iter().position(|voter| *voter == id).map(|at| rounds[at]))
    }

    /// Notes that `id` acknowledged `round`; nothing happens if it is no voter.
    pub(crate) fn note(&mut self, id: NodeId, round: Round) {
        let [incoming, outgoing] = &mut self.rounds;
        for (half, rounds) in [(self.voters.incoming(), incoming), (self.voters.outgoing(), outgoing)] {
            if let Some(at) = half.iter().position(|voter| *voter == id) {
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
        let incoming = majority_round(&self.rounds[0], self.voters.incoming().len());
        if self.voters.outgoing().is_empty() {
            return incoming;
        }
        incoming.min(majority_round(&self.rounds[1], self.voters.outgoing().len()))
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
}
