//! The members of a group as operators see them, and the changes that they ask for. The rules are those of
//! `docs/protocol.md`, section "Members".
//!
//! The configuration has a note on each member, a [`Member`]: its folder, its addresses and its aim. The node that leads
//! carries the aim out, so the aim survives the loss of a leader.

use crate::identity::{Contact, MAX_MEMBERS, Numbers, Roster};
use crate::ports::GroupId;
use bytes::Bytes;
use leasehold_core::{Index, MAX_VOTERS, NodeId};
use leasehold_raft::wire::{Change, Membership, Step, Transition};
use leasehold_raft::{ProposeError, TransferError};
use std::collections::{BTreeMap, BTreeSet};
use wincode::{SchemaRead, SchemaWrite};

/// The part that a member is to play once it has caught up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Aim {
    /// It votes.
    #[default]
    Voter,
    /// It stays a learner.
    Learner,
    /// It votes in the place of this node, which is removed in the same step.
    Replaces(NodeId),
    /// It is removed once the other groups have removed it. Groups that take over the members of another one remove it at
    /// once.
    Leaving,
}

/// The replicated description of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Member {
    /// Its folder and its addresses.
    pub contact: Contact,
    /// The part that it is to play.
    pub aim: Aim,
}

impl Member {
    pub(crate) fn to_note(&self) -> Bytes {
        wincode::serialize(self).expect("a member encodes").into()
    }

    /// Decodes a note. Returns `None` for one that only a newer release understands.
    fn of_note(note: &[u8]) -> Option<Member> {
        wincode::deserialize_exact(note).ok()
    }
}

/// A change of the members that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Adds a node as a learner. Once it has caught up, it is made what the aim says.
    Add {
        /// Its number, which no member ever had.
        node: NodeId,
        /// Its folder and its addresses.
        contact: Contact,
        /// The part that it is to play.
        aim: Aim,
    },
    /// Makes a learner a voter once it has caught up.
    Promote {
        /// The learner.
        node: NodeId,
    },
    /// Removes a member.
    Remove {
        /// The member.
        node: NodeId,
    },
}

/// The reason why a change of the members was not made. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// This node does not lead.
    #[error("this node does not lead; ask the leader")]
    NotLeader,
    /// Another change is pending, or too much else.
    #[error("another change of the members is pending, or too many writes are; try again in a second")]
    Busy,
    /// This node leads and was told to remove itself. It hands leadership over first.
    #[error("node {0} leads and hands leadership over first; ask its successor to remove it")]
    HandingOver(NodeId),
    /// This node leads, must not lead after the change, and cannot hand leadership over.
    #[error("the leader cannot be removed: {0}")]
    NoSuccessor(TransferError),
    /// A removed node's number, or a lower one, is never used again.
    #[error(
        "node {node} is not above {highest}, the highest number that was ever used; give the new node a higher one"
    )]
    NumberUsed {
        /// The number.
        node: NodeId,
        /// The highest number that was ever used.
        highest: NodeId,
    },
    /// There is no such member.
    #[error("node {0} is not a member; the members are {1}")]
    NotMember(NodeId, Numbers),
    /// The node votes already.
    #[error("node {0} is a voter already")]
    IsVoter(NodeId),
    /// The node is being removed, which is never taken back.
    #[error("node {0} is being removed; add a new node with a higher number")]
    IsLeaving(NodeId),
    /// The group takes over the members of another one.
    #[error("the members of this group follow those of group {0}; change those")]
    Follows(GroupId),
    /// A newer release described the node, in a way that this one does not understand.
    #[error("a newer release added node {0}; transfer leadership to a node of that release, and ask that node")]
    NewerRelease(NodeId),
    /// The new node runs a release that cannot apply the entries that the cluster writes.
    #[error(
        "node {node} can apply log entries of version {theirs}, and this cluster writes version {ours}; start it with a \
         newer release"
    )]
    OlderRelease {
        /// The new node.
        node: NodeId,
        /// The newest version that it can apply.
        theirs: u32,
        /// The version that the cluster writes.
        ours: u32,
    },
    /// There would be no quorum.
    #[error(
        "without node {node} the voters would be {left}, of which only {up} were heard lately, and {needed} are needed; \
         start the others first, or add a node"
    )]
    NoQuorum {
        /// The node to be removed.
        node: NodeId,
        /// The voters that would be left.
        left: Numbers,
        /// The number of them that were heard.
        up: usize,
        /// The number that is needed.
        needed: usize,
    },
    /// There are as many voters as there can be.
    #[error("a cluster has at most {MAX_VOTERS} voters; remove or replace one, or add a learner")]
    TooManyVoters,
    /// The last voter cannot be removed.
    #[error("node {0} is the only voter; add another node before you remove it")]
    LastVoter(NodeId),
    /// There are too many members.
    #[error("a cluster has at most {MAX_MEMBERS} members; remove one first")]
    TooMany,
    /// The configuration would not be valid.
    #[error("the change is not possible: {0}")]
    Propose(ProposeError),
    /// The change was proposed, and it is not known if it was made.
    #[error("the leader was lost before the change was made; look at the members before you repeat it")]
    Uncertain,
}

impl From<ProposeError> for ChangeError {
    fn from(error: ProposeError) -> ChangeError {
        match error {
            ProposeError::NotLeader | ProposeError::HandingOver => ChangeError::NotLeader,
            ProposeError::Busy => ChangeError::Busy,
            error => ChangeError::Propose(error),
        }
    }
}

/// The progress of a member, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last index that is durable there, as far as the leader knows.
    pub stored: Index,
    /// It acknowledged something within the last hold.
    pub heard: bool,
}

/// The members of a group, as this node knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The configuration that this node has applied.
    pub membership: Membership,
    /// The progress of the other members; empty unless this node leads.
    pub progress: BTreeMap<NodeId, Progress>,
}

impl Members {
    /// Returns the replicated description of a member.
    pub fn member(&self, node: NodeId) -> Member {
        member(&self.membership, node)
    }

    /// Returns whether a member is to go, of its own or because another one takes its place.
    pub fn departs(&self, node: NodeId) -> bool {
        departures(&self.membership).contains(&node)
    }

    /// Returns the newest version of log entries that every member can apply, which is the one that a leader writes.
    pub fn entry_version(&self) -> u32 {
        entry_version(&self.membership, 1)
    }

    /// Returns the roster that the configuration makes.
    pub fn roster(&self) -> Roster {
        roster(&self.membership)
    }
}

pub(crate) fn member(membership: &Membership, node: NodeId) -> Member {
    understood(membership, node).unwrap_or_default()
}

/// Returns the description of a member that has none yet, or one that this release understands.
pub(crate) fn understood(membership: &Membership, node: NodeId) -> Option<Member> {
    membership.notes.get(&node).map_or(Some(Member::default()), |note| Member::of_note(note))
}

/// Returns the members that are to go, of their own or because others take their place.
pub(crate) fn departures(membership: &Membership) -> BTreeSet<NodeId> {
    let departure = |node| match understood(membership, node)?.aim {
        Aim::Leaving => Some(node),
        Aim::Replaces(old) => Some(old),
        Aim::Voter | Aim::Learner => None,
    };
    membership.members().filter_map(departure).filter(|node| membership.names(*node)).collect()
}

/// Returns the roster that a configuration makes. That of the founding has no notes, and stands for the founders.
pub(crate) fn roster(membership: &Membership) -> Roster {
    if membership.changed == 0 {
        return Roster::default();
    }
    let members = membership.members().map(|node| (node, member(membership, node).contact)).collect();
    Roster { changed: membership.changed, highest: membership.highest(), members }
}

/// Returns the newest version of log entries that every member can apply, and at least 1. A leader proposes none of a
/// newer version. A member's version is known by its note, so every replica decides alike. A member without one can
/// apply `unnoted`.
pub(crate) fn entry_version(membership: &Membership, unnoted: u32) -> u32 {
    let versions = membership.members().map(|node| match member(membership, node).contact.entries {
        0 => unnoted,
        noted => noted,
    });
    versions.min().unwrap_or(0).max(1)
}

/// Returns a change that sets notes, and nothing else. `None` if there are none, or no voter.
fn noting(membership: &Membership, notes: BTreeMap<NodeId, Bytes>) -> Option<Change> {
    // A step that changes nothing: this voter is one already.
    let voter = *membership.voters.first()?;
    (!notes.is_empty()).then(|| Change { transition: Transition::Auto, steps: vec![Step::AddVoter(voter)], notes })
}

/// Returns the change of the configuration that adds a learner.
pub(crate) fn adding(node: NodeId, contact: Contact, aim: Aim) -> Change {
    let notes = [(node, Member { contact, aim }.to_note())].into();
    Change { transition: Transition::Auto, steps: vec![Step::AddLearner(node)], notes }
}

/// Returns the change that carries out a learner's aim, or `None` if it is to stay a learner.
pub(crate) fn carrying_out(membership: &Membership, node: NodeId) -> Option<Change> {
    let Member { contact, aim } = understood(membership, node)?;
    let mut steps = vec![Step::AddVoter(node)];
    match aim {
        Aim::Learner | Aim::Leaving => return None,
        Aim::Voter => {}
        // It may have been removed in another way meanwhile.
        Aim::Replaces(old) if membership.names(old) => steps.push(Step::Remove(old)),
        Aim::Replaces(_) => {}
    }
    let notes = [(node, Member { contact, aim: Aim::Voter }.to_note())].into();
    Some(Change { transition: Transition::Auto, steps, notes })
}

/// Returns the change that sets the notes of those members whose contacts are not the replicated ones, or `None` if there
/// are none.
pub(crate) fn describing(membership: &Membership, contacts: &BTreeMap<NodeId, Contact>) -> Option<Change> {
    let mut notes = BTreeMap::new();
    for (node, contact) in contacts {
        let Some(known) = understood(membership, *node) else { continue };
        if membership.names(*node) && contact.updates(&known.contact) {
            notes.insert(*node, Member { contact: contact.clone(), aim: known.aim }.to_note());
        }
    }
    noting(membership, notes)
}

/// Returns the change that records that a member leaves, or `None` if only a newer release understands its note.
pub(crate) fn departing(membership: &Membership, node: NodeId) -> Option<Change> {
    let Member { contact, .. } = understood(membership, node)?;
    noting(membership, [(node, Member { contact, aim: Aim::Leaving }.to_note())].into())
}

/// Returns the change that lets a learner vote once it has caught up, and records that the voter in whose place it came
/// leaves. `None` if only a newer release understands a note.
pub(crate) fn succeeding(membership: &Membership, learner: NodeId, old: NodeId) -> Option<Change> {
    let mut change = departing(membership, old)?;
    let Member { contact, .. } = understood(membership, learner)?;
    change.steps = vec![Step::AddVoter(learner)];
    change.notes.insert(learner, Member { contact, aim: Aim::Voter }.to_note());
    Some(change)
}

/// Returns the change that lets a learner vote once it has caught up, or `None` if only a newer release understands its
/// note.
pub(crate) fn promoting(membership: &Membership, node: NodeId) -> Option<Change> {
    let Member { contact, .. } = understood(membership, node)?;
    let notes = [(node, Member { contact, aim: Aim::Voter }.to_note())].into();
    Some(Change { transition: Transition::Auto, steps: vec![Step::AddLearner(node)], notes })
}
