//! What crosses the network and reaches the disk, as plain structs.
//!
//! The `raft` crate's own messages are protobuf; its parser never sees bytes from outside (RUSTSEC-2024-0437). They are
//! turned into these at the edge of this crate, and these into bytes by whoever owns the socket or the file.

use bytes::Bytes;
use leasehold_core::{Index, NodeId, Round, Term};
use wincode::{SchemaRead, SchemaWrite};

/// One batch of what a node has to say to one peer: the lease protocol's part, and the engine's messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Envelope {
    /// From a leader: its term and its newest round.
    pub round: Option<(Term, Round)>,
    /// From anyone: the newest round it acknowledged to this peer, and that round's term.
    pub ack: Option<(Term, Round)>,
    /// With "campaign now" and with vote requests: no lease rests on this round of this term or an earlier one.
    pub release: Option<(Term, Round)>,
    /// The engine's messages, in order.
    pub messages: Vec<Message>,
}

impl Envelope {
    /// Whether nothing would be lost by not sending this.
    pub fn is_empty(&self) -> bool {
        self.round.is_none() && self.ack.is_none() && self.messages.is_empty()
    }

    /// Whether this replicates the log, and so may be long and must not delay heartbeats and votes. Appends without
    /// entries are among it: overtaking those with entries, they would look like gaps.
    pub fn is_bulk(&self) -> bool {
        self.messages.iter().any(|message| message.kind.is_bulk())
    }
}

/// The messages that peers send each other. Kinds that the engine only sends to itself have no place here.
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
    Snapshot,
    TransferLeader,
    TimeoutNow,
}

impl MessageKind {
    /// Whether messages of this kind replicate the log. An envelope holds either such messages or others.
    pub fn is_bulk(self) -> bool {
        matches!(self, MessageKind::Append | MessageKind::Snapshot)
    }
}

/// One message of the engine; fields as in the `raft` crate's `Message`. Sender and receiver are the link's.
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
    /// Marks a campaign of a leadership transfer.
    pub transfer: bool,
    pub priority: i64,
    pub entries: Vec<Entry>,
    pub snapshot: Option<Snapshot>,
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Entry {
    /// The term in which a leader created it.
    pub term: Term,
    /// Its place in the log, from 1.
    pub index: Index,
    /// What it says.
    pub payload: Payload,
}

/// What a log entry says.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Payload {
    /// A command for the state machine; empty for the entry with which a leader opens its term.
    Command(Bytes),
    /// A change of configuration.
    Change(Change),
}

/// A change of configuration, through a joint one where more than one step is taken at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Change {
    /// How the joint configuration is entered and left.
    pub transition: Transition,
    /// The steps, in order; none leaves a joint configuration.
    pub steps: Vec<Step>,
}

/// How a joint configuration is entered and left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Transition {
    /// Joint only if more than one step is taken, left by itself.
    #[default]
    Auto,
    /// Always joint, left by itself.
    Implicit,
    /// Always joint, left by a change without steps.
    Explicit,
}

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

/// Who takes part: the engine's configuration at some index.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Membership {
    /// The voters of the incoming (or only) half.
    pub voters: Vec<NodeId>,
    /// The learners: they receive the log, and count for nothing.
    pub learners: Vec<NodeId>,
    /// The voters of the outgoing half; empty unless joint.
    pub voters_outgoing: Vec<NodeId>,
    /// Voters of the outgoing half that become learners when it is left.
    pub learners_next: Vec<NodeId>,
    /// Whether a joint configuration is left by itself.
    pub auto_leave: bool,
}

impl Membership {
    /// Whether a node takes part, as a voter or as a learner.
    pub fn names(&self, id: NodeId) -> bool {
        [&self.voters, &self.learners, &self.voters_outgoing].into_iter().any(|nodes| nodes.contains(&id))
    }
}

/// The state machine at some index, in one piece.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Snapshot {
    /// The last index the state includes.
    pub index: Index,
    /// The term of the entry at that index.
    pub term: Term,
    /// The configuration at that index.
    pub membership: Membership,
    /// The state, in the driver's encoding.
    pub data: Bytes,
}

/// The engine's promises: what it must not forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct HardState {
    /// The newest term seen.
    pub term: Term,
    /// Whom this node voted for in that term; 0 for nobody.
    pub vote: NodeId,
    /// The highest index known to be committed.
    pub commit: Index,
}
