//! The values in messages between nodes about rounds, support and attachments.

use crate::ids::{NodeId, Round, Term};

/// The number of a process among those of its node: a durable count of starts, which rises with each start.
pub type Boot = u64;

/// A round that a process of a node opened for all groups that it leads, ordered by process first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeRound {
    /// The process that opened the round. Without it, an echo to an earlier process would count for a round of a later
    /// one that has the same number.
    pub boot: Boot,
    /// The round.
    pub round: Round,
}

/// A period in which one node supports another; chosen by the node that gives the support, and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Epoch {
    /// The process that gives the support. A restart forgets attachments, so it must not use an earlier epoch.
    pub boot: Boot,
    /// The number of the epoch in that process.
    pub number: u64,
}

/// An acknowledgement of a node's round: under this epoch, the sender supports the node for a full hold from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Echo {
    /// The epoch of the support.
    pub epoch: Epoch,
    /// The round.
    pub round: NodeRound,
}

/// A leader's request, in each of its frames, that a voter of a group attach to it. Ordered by term first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Offer {
    /// The term in which the sender leads.
    pub term: Term,
    /// The number of attachments to ask for; it rises with each release in this term.
    pub number: u64,
}

/// A voter's promise to the leader of a group: until it has withdrawn the epoch, it helps to elect no other leader of the
/// group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Attached {
    /// The leader whose offer it is. Any other node that receives the promise must ignore it: it cannot release it.
    pub leader: NodeId,
    /// The offer that the voter accepted.
    pub offer: Offer,
    /// The epoch of the voter's support for the leader's node.
    pub epoch: Epoch,
}

/// A leader's guarantee that in this group it no longer relies on any attachment up to an offer; permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GroupRelease {
    /// The last offer released.
    pub through: Offer,
}

impl GroupRelease {
    /// The release of a leadership that has ended: no term is led twice, see [`GroupHolder`](super::GroupHolder).
    pub(super) fn of_term(term: Term) -> GroupRelease {
        GroupRelease { through: Offer { term, number: u64::MAX } }
    }
}
