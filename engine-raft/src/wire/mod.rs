//! The messages between nodes and the stored entries, as plain structs.
//!
//! The `raft` crate's own messages are protobuf, and its parser never sees bytes from outside (RUSTSEC-2024-0437). This
//! crate converts them to these structs. The transport and the storage encode these structs as bytes.

pub(crate) mod convert;
mod local;

use bytes::Bytes;
use leasehold_core::{Index, NodeId, Round, Term};
use std::collections::BTreeMap;
use wincode::{SchemaRead, SchemaWrite};

pub use local::{Local, SubleaseGrant, SubleaseRequest};

/// A batch of messages from one node to another: the lease protocol's part, and the engine's messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Envelope {
    /// From a leader: its term and its newest round.
    pub round: Option<(Term, Round)>,
    /// From any node: the newest round it acknowledged to this peer, with the round's term.
    pub ack: Option<(Term, Round)>,
    /// With "campaign now" and with vote requests: no lease relies on this round of this term or on an earlier one.
    pub release: Option<(Term, Round)>,
    /// The way back of a node whose log may have been cut.
    pub rejoin: Option<Rejoin>,
    /// The engine's messages, in order.
    pub messages: Vec<Message>,
    /// Local reads. It is not part of the encoding: only a node that asks for subleases makes the others fill it.
    #[wincode(skip)]
    pub local: Local,
}

impl Envelope {
    /// Returns whether the envelope is not worth sending: it has no round, no acknowledgement, no request to rejoin, no
    /// message, and nothing for local reads.
    pub fn is_empty(&self) -> bool {
        let asks = matches!(self.rejoin, Some(Rejoin::Request { .. }));
        self.round.is_none() && self.ack.is_none() && !asks && self.messages.is_empty() && self.local.is_empty()
    }

    /// Returns whether the envelope replicates the log. Such an envelope may be long and must not delay heartbeats and
    /// votes. Appends without entries count too: if they overtook appends with entries, the receiver would see a gap.
    pub fn is_bulk(&self) -> bool {
        self.messages.iter().any(|message| message.kind.is_bulk())
    }
}

/// A step on the way back of a node whose log may have been cut. `attempt` identifies the request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Rejoin {
    /// To a leader: the sender's log may have been cut, and it asks to follow again.
    Request {
        /// The leader's term.
        term: Term,
        /// The last index that the log holds.
        last: Index,
        /// A number that no other attempt of this node has.
        attempt: u64,
    },
    /// From a leader: every other voter has acknowledged a round that was opened after the request arrived.
    Admitted {
        /// The leader's term.
        term: Term,
        /// The attempt that it answers.
        attempt: u64,
        /// The last index of the leader's log. Once everything through it is committed and durable, the log is whole.
        through: Index,
    },
    /// To the leader: the sender was admitted, so it did not send this before its request.
    Member {
        /// The attempt that was admitted.
        attempt: u64,
    },
}

/// The kinds of messages between peers. The kinds that the engine only sends to itself are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
#[expect(missing_docs, reason = "the raft crate's MessageType, name for name")]
pub enum MessageKind {
    Append,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    RequestVote,
    RequestVoteResponse,
    RequestPreVote,
    RequestPreVoteResponse,
    TransferLeader,
    TimeoutNow,
}

impl MessageKind {
    /// Returns whether messages of this kind replicate the log. An envelope never mixes such messages with others.
    pub fn is_bulk(self) -> bool {
        matches!(self, MessageKind::Append)
    }
}

/// A message of the engine. The fields are those of the `raft` crate's `Message`; the link knows the sender and the
/// receiver.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
#[expect(missing_docs, reason = "the raft crate's Message, field for field")]
pub struct Message {
    pub kind: MessageKind,
    pub term: Term,
    pub log_term: Term,
    pub index: Index,
    pub commit: Index,
    pub commit_term: Term,
    pub request_snapshot: Index,
    pub reject: bool,
    pub reject_hint: Index,
    /// True if the message belongs to a campaign that a leadership transfer started.
    pub transfer: bool,
    pub priority: i64,
    pub entries: Vec<Entry>,
}

impl Message {
    /// Returns a message of a term with nothing else in it.
    pub fn new(kind: MessageKind, term: Term) -> Message {
        Message {
            kind,
            term,
            log_term: 0,
            index: 0,
            commit: 0,
            commit_term: 0,
            request_snapshot: 0,
            reject: false,
            reject_hint: 0,
            transfer: false,
            priority: 0,
            entries: Vec::new(),
        }
    }
}

/// An entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: Term,
    /// Its index in the log, from 1.
    pub index: Index,
    /// Its contents.
    pub payload: Payload,
}

/// The contents of a log entry.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Payload {
    /// A command for the state machine. Empty in the entry with which a leader opens its term.
    Command(Bytes),
    /// A change of configuration.
    Change(Change),
}

/// A change of configuration. It passes through a joint configuration if it has more than one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Change {
    /// The way the joint configuration is entered and left.
    pub transition: Transition,
    /// The steps, in order. A change without steps leaves a joint configuration.
    pub steps: Vec<Step>,
    /// The new notes of some members. A change that only sets notes has one step that changes nothing, such as making a
    /// voter a voter.
    pub notes: BTreeMap<NodeId, Bytes>,
}

impl Change {
    /// Returns a change with these steps and no notes.
    pub fn new(transition: Transition, steps: Vec<Step>) -> Change {
        Change { transition, steps, notes: BTreeMap::new() }
    }
}

/// The way a joint configuration is entered and left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Transition {
    /// Joint only if there is more than one step; left automatically.
    #[default]
    Auto,
    /// Always joint; left automatically.
    Implicit,
    /// Always joint; left by a change without steps.
    Explicit,
}

/// The most notes in a change or a configuration.
pub const MAX_NOTES: usize = 64;
/// The longest note, in bytes.
pub const MAX_NOTE_BYTES: usize = 1024;

/// One step of a change of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Step {
    /// Make this node a voter.
    AddVoter(NodeId),
    /// Make this node a learner.
    AddLearner(NodeId),
    /// Remove this node.
    Remove(NodeId),
}

/// The members of a group: the engine's configuration at some index.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Membership {
    /// The voters of the incoming (or only) half.
    pub voters: Vec<NodeId>,
    /// The learners: they receive the log, and count in no quorum.
    pub learners: Vec<NodeId>,
    /// The voters of the outgoing half; empty unless joint.
    pub voters_outgoing: Vec<NodeId>,
    /// The voters of the outgoing half that become learners when the joint configuration is left.
    pub learners_next: Vec<NodeId>,
    /// True if a joint configuration is left automatically.
    pub auto_leave: bool,
    /// A note on some members, for the caller: the replica does not read it. It is gone with the member.
    pub notes: BTreeMap<NodeId, Bytes>,
    /// The index of the change that made this configuration; 0 if the group was founded with it.
    pub changed: Index,
    /// The highest number of a member of an earlier configuration: see [`highest`](Membership::highest).
    pub highest_before: NodeId,
}

impl Membership {
    /// Returns the configuration with which a group of these voters is founded.
    pub fn founding(voters: Vec<NodeId>) -> Membership {
        Membership { voters, ..Membership::default() }
    }

    /// Returns whether a node is a member, as a voter or as a learner.
    pub fn names(&self, id: NodeId) -> bool {
        self.members().any(|member| member == id)
    }

    /// Returns the members, voters and learners. One that is a voter of both halves is returned twice.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        [&self.voters, &self.learners, &self.voters_outgoing].into_iter().flatten().copied()
    }

    /// Returns the highest number of any node that is or ever was a member. A caller that gives each new member a higher
    /// one never uses a number twice.
    pub fn highest(&self) -> NodeId {
        self.members().max().unwrap_or(0).max(self.highest_before)
    }

    /// Returns whether a node's number was used or passed over, and the node is no member. If numbers are used once, that
    /// never changes back.
    pub fn has_removed(&self, id: NodeId) -> bool {
        id <= self.highest() && !self.names(id)
    }

    /// Returns the configuration that the engine made of `before` by a change at `index`.
    pub(crate) fn following(self, before: &Membership, change: Change, index: Index) -> Membership {
        let mut notes = before.notes.clone();
        notes.extend(change.notes);
        notes.retain(|member, _| self.names(*member));
        Membership { notes, changed: index, highest_before: before.highest(), ..self }
    }
}

/// The position of a state machine's state.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Snapshot {
    /// The last index the state includes.
    pub index: Index,
    /// The term of the entry at that index.
    pub term: Term,
    /// The configuration at that index.
    pub membership: Membership,
}

/// The state that the engine must not lose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct HardState {
    /// The newest term this node knows.
    pub term: Term,
    /// The node that this node voted for in that term; 0 if none.
    pub vote: NodeId,
    /// The highest index this node knows to be committed.
    pub commit: Index,
}
