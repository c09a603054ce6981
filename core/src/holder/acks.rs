//! The acknowledgements of the current term, and the quorum round that follows from them.

use crate::ids::{NodeId, Round};
use crate::voters::{MAX_VOTERS, Voters};

/// The newest round that each voter acknowledged in the current term, and the quorum round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Acks {
    voters: Voters,
    /// Per half, at the voter's position in it; 0 where nothing was acknowledged.
    rounds: [[Round; MAX_VOTERS]; 2],
    quorum: Round,
    /// Per half, the number of voters that acknowledged a round later than the quorum round.
    beyond: [usize; 2],
}

/// The effect of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Newer than this voter's last, and it completed a quorum: the quorum round advanced.
    Completing,
    /// Newer than this voter's last; the quorum round is unchanged.
    Newer,
    /// Not newer than the last of this voter, or than `base`.
    Old,
    /// The sender is not a voter.
    NotVoter,
}

impl Acks {
    pub(crate) fn none(voters: Voters) -> Acks {
        Acks { voters, rounds: [[0; MAX_VOTERS]; 2], quorum: 0, beyond: [0; 2] }
    }

    /// Returns the newest round that a quorum of the voters acknowledged, that round or a later one; 0 if there is
    /// none.
    #[inline]
    pub(crate) fn quorum_round(&self) -> Round {
        self.quorum
    }

    /// Notes that `id` acknowledged `round`, if that is newer than its last and than `base`.
    // Inlined: the path of an acknowledgement is one function, except for `advance`, which most do not reach.
    #[inline(always)]
    pub(crate) fn note(&mut self, id: NodeId, round: Round, base: Round) -> Noted {
        let incoming = position(self.voters.incoming(), id);
        let outgoing = position(self.voters.outgoing(), id);
        // A voter of both halves has the same newest round in both.
        let last = match (incoming, outgoing) {
            (Some(at), _) => self.rounds[0][at],
            (None, Some(at)) => self.rounds[1][at],
            (None, None) => return Noted::NotVoter,
        };
        if round <= base.max(last) {
            return Noted::Old;
        }
        for (half, at) in [(0, incoming), (1, outgoing)] {
            if let Some(at) = at {
                self.rounds[half][at] = round;
                self.beyond[half] += usize::from(round > self.quorum && last <= self.quorum);
            }
        }
        // The quorum round advances when a majority is beyond it, in both halves if there are two. Most
        // acknowledgements do not advance it.
        if has_majority(self.beyond[0], self.voters.incoming())
            && (self.voters.outgoing().is_empty() || has_majority(self.beyond[1], self.voters.outgoing()))
        {
            self.advance();
            return Noted::Completing;
        }
        Noted::Newer
    }

    /// Returns the same acknowledgements under other voters. Those of nodes that are no longer voters are dropped for
    /// good.
    pub(crate) fn with_voters(&self, voters: Voters) -> Acks {
        let mut acks = Acks::none(voters);
        for id in voters.incoming().iter().chain(voters.outgoing()) {
            // For a voter of both halves, the second call is a no-op.
            let _ = acks.note(*id, self.newest_of(*id).unwrap_or(0), 0);
        }
        acks
    }

    /// Returns the newest round that `id` acknowledged; `None` if it is not a voter.
    pub(crate) fn newest_of(&self, id: NodeId) -> Option<Round> {
        let incoming = position(self.voters.incoming(), id).map(|at| self.rounds[0][at]);
        incoming.or_else(|| position(self.voters.outgoing(), id).map(|at| self.rounds[1][at]))
    }

    /// Advances the quorum round to what a majority of each half reached.
    #[inline(never)]
    fn advance(&mut self) {
        let [incoming, outgoing] = &self.rounds;
        let incoming = &incoming[..self.voters.incoming().len()];
        let outgoing = &outgoing[..self.voters.outgoing().len()];
        if outgoing.is_empty() && self.beyond[0] == incoming.len() / 2 + 1 {
            // The common case: exactly a majority is beyond the quorum round, so the least of its rounds is the new
            // one.
            let (mut least, mut count) = (Round::MAX, 0);
            for round in incoming.iter().copied() {
                if round <= self.quorum || round > least {
                    continue;
                }
                if round < least {
                    (least, count) = (round, 0);
                }
                count += 1;
            }
            self.quorum = least;
            self.beyond[0] -= count;
            return;
        }
        let mut quorum = majority_round(incoming);
        if !outgoing.is_empty() {
            quorum = quorum.min(majority_round(outgoing));
        }
        self.quorum = quorum;
        self.beyond = [incoming, outgoing].map(|half| half.iter().filter(|round| **round > quorum).count());
    }
}

/// Returns the position of a voter in its half.
pub(crate) fn position(half: &[NodeId], id: NodeId) -> Option<usize> {
    half.iter().position(|voter| *voter == id)
}

/// Returns whether `count` voters are a majority of a half. An empty half has no majority.
fn has_majority(count: usize, half: &[NodeId]) -> bool {
    count > half.len() / 2
}

/// Returns the newest round that a majority reached.
pub(crate) fn majority_round(rounds: &[Round]) -> Round {
    let reached = |round: &Round| rounds.iter().filter(|other| **other >= *round).count() > rounds.len() / 2;
    rounds.iter().copied().filter(reached).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_xoshiro::SplitMix64;
    use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

    fn quorum_round(voters: Voters, acked: &[(NodeId, Round)]) -> Round {
        let mut acks = Acks::none(voters);
        for (id, round) in acked {
            acks.note(*id, *round, 0);
        }
        acks.quorum_round()
    }

    #[test]
    fn the_quorum_round_is_the_newest_that_a_majority_reached() {
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
    fn the_incremental_quorum_round_equals_a_full_recount() {
        let halves: [(&[NodeId], &[NodeId]); 4] =
            [(&[1, 2, 3], &[]), (&[1, 2, 3, 4], &[]), (&[1, 2, 3, 4, 5, 6, 7], &[]), (&[1, 2, 3], &[3, 4, 5, 6])];
        for (incoming, outgoing) in halves {
            let voters = match outgoing {
                [] => Voters::simple(incoming).unwrap(),
                _ => Voters::joint(incoming, outgoing).unwrap(),
            };
            let mut acks = Acks::none(voters);
            let mut draws = SplitMix64::seed_from_u64(1);
            for turn in 0..4_000 {
                let draw = draws.next_u64();
                let id = 1 + (draw >> 33) % 7;
                acks.note(id, turn / 8 + (draw >> 60), 0);
                let mut counted = majority_round(&acks.rounds[0][..incoming.len()]);
                if !outgoing.is_empty() {
                    counted = counted.min(majority_round(&acks.rounds[1][..outgoing.len()]));
                }
                assert_eq!(acks.quorum_round(), counted, "turn {turn} of {incoming:?} and {outgoing:?}");
            }
        }
    }

    #[test]
    fn a_removed_voter_stays_forgotten_if_it_returns() {
        let three = Voters::simple(&[1, 2, 3]).unwrap();
        let mut acks = Acks::none(three);
        acks.note(1, 9, 0);
        acks.note(2, 9, 0);
        let back = acks.with_voters(Voters::simple(&[1]).unwrap()).with_voters(three);
        assert_eq!(back.newest_of(1), Some(9));
        assert_eq!(back.newest_of(2), Some(0));
        assert_eq!(back.quorum_round(), 0);
    }
}
