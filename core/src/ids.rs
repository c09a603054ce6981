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
pub struct TermRound {
    /// The term of the leader that opened the round.
    pub term: Term,
    /// The round.
    pub round: Round,
}

/// A holder's guarantee that it no longer relies on any round up to `through` of that term; permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    /// The last round released.
    pub through: TermRound,
}
