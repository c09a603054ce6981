//! The inputs and outputs of a node.

use crate::group::ReadMode;
use crate::ports::{Batch, GroupId, Lane, StateMachine, UnknownCommand};
use crate::snapshot::{Work, WorkResult};
use crate::status::ReadGrant;
use crate::wire::Message;
use bytes::Bytes;
use leasehold_core::{Index, NodeId};
use std::fmt;

/// An input of a node.
#[non_exhaustive]
pub enum Input<M: StateMachine> {
    /// Messages from a peer, which arrived together.
    Messages {
        /// The peer, as the link authenticated it.
        from: NodeId,
        /// The messages.
        messages: Vec<Message>,
    },
    /// A client's request. The reply goes out under `ticket`, exactly once.
    Request {
        /// The caller's number for the request.
        ticket: u64,
        /// The group it concerns.
        group: GroupId,
        /// The request.
        request: Request,
    },
    /// The commits through this number are durable.
    Committed {
        /// The number of an [`Output::Commit`].
        number: u64,
    },
    /// Work for another thread is done.
    WorkDone(WorkResult<M>),
    /// Messages were certainly not sent.
    NotSent {
        /// The peer they were for.
        to: NodeId,
        /// The messages.
        messages: Vec<Message>,
    },
}

/// An output of a node. Carry them out in the order in which they come.
pub enum Output<M: StateMachine> {
    /// Sends messages, which may be lost. If some certainly were, say so with [`Input::NotSent`]. There is one such output
    /// for each peer and lane until the next input.
    Send {
        /// The peer.
        to: NodeId,
        /// The lane.
        lane: Lane,
        /// The messages of all groups, in order: one at least.
        messages: Vec<Message>,
    },
    /// Writes batches to disk, in order, as one synced transaction, after all earlier ones. Report it with
    /// [`Input::Committed`]; one report for the last of several commits is enough.
    Commit {
        /// The number to report; it rises from one to the next.
        number: u64,
        /// The batches.
        batches: Vec<Batch>,
    },
    /// Replies to a client.
    Reply {
        /// The caller's number for the request.
        ticket: u64,
        /// The outcome.
        outcome: Outcome<M>,
    },
    /// Work that takes time in proportion to the state, or that may wait. Run it on another thread, and report the result,
    /// if it has one, with [`Input::WorkDone`]. Run [`Work::Apply`] on a thread for each group: on one that groups share, a
    /// state machine that hangs would stop the work of all of them.
    Work(Work<M>),
    /// The log of a group has a command that only a newer release knows. The group has ended on this node: it gives up its
    /// lease, and its requests are answered. The other groups go on. A newer release continues from the same disk.
    Halted {
        /// The group.
        group: GroupId,
        /// The position of the command.
        index: Index,
        /// The reason.
        unknown: UnknownCommand,
    },
}

impl<M: StateMachine> fmt::Debug for Input<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Messages { from, messages } => write!(formatter, "Messages {{ from: {from}, {messages:?} }}"),
            Input::Request { ticket, group, request } => {
                write!(formatter, "Request {{ ticket: {ticket}, group: {group}, {request:?} }}")
            }
            Input::Committed { number } => write!(formatter, "Committed {{ number: {number} }}"),
            Input::WorkDone(result) => write!(formatter, "WorkDone({result:?})"),
            Input::NotSent { to, messages } => write!(formatter, "NotSent {{ to: {to}, {messages:?} }}"),
        }
    }
}

impl<M: StateMachine> fmt::Debug for Output<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Send { to, lane, messages } => {
                write!(formatter, "Send {{ to: {to}, lane: {lane:?}, {messages:?} }}")
            }
            Output::Commit { number, batches } => write!(formatter, "Commit {{ number: {number}, {batches:?} }}"),
            Output::Reply { ticket, .. } => write!(formatter, "Reply {{ ticket: {ticket}, .. }}"),
            Output::Work(work) => write!(formatter, "Work({work:?})"),
            Output::Halted { group, index, unknown } => {
                write!(formatter, "Halted {{ group: {group}, index: {index}, {unknown} }}")
            }
        }
    }
}

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Executes a command, which must not be empty: an empty entry is how a leader opens its term.
    Write(Bytes),
    /// Grants a read of this node's state, in the mode of the group or in a stricter one.
    Read(ReadMode),
}

/// The outcome of a request that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<O> {
    /// The command was executed.
    Written {
        /// Its index in the log.
        index: Index,
        /// Its output.
        output: O,
    },
    /// The state of this node may be read now.
    Readable(ReadGrant),
}

/// The outcome of a request to a node with the state machine `M`.
pub type Outcome<M> = Result<Reply<<M as StateMachine>::Output>, RequestError>;

/// The reason why a request did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No leader answered in time. The request was not and will not be executed.
    #[error("no leader answered in time; the request was not executed; try again")]
    TimedOut,
    /// Too many requests are pending, or the leader refuses writes. The request was not and will not be executed.
    #[error(
        "too many requests are pending, or the leader refuses writes; the request was not executed; try again later"
    )]
    Busy,
    /// This node lags behind its leader, so the read of its state would take too long. A command that reads can be
    /// written to the log instead: the leader executes it.
    #[error("this node lags behind its leader; read at the leader")]
    Lagging,
    /// The node is shutting down. The request was not and will not be executed.
    #[error("the node is shutting down; the request was not executed; send it to another node")]
    Stopping,
    /// This node does not host the group. The request was not and will not be executed here.
    #[error("this node does not host the group; the request was not executed; send it to another node")]
    NoGroup,
    /// The group has stopped on this node: its log has a command that only a newer release knows, or its state machine
    /// failed. The request was not and will not be executed here.
    #[error(
        "the group has stopped on this node, for the reason in its log; the request was not executed; send it to another \
         node"
    )]
    Halted,
    /// The write may have been executed, may be executed later, or never: its leader was lost before it answered.
    #[error("the outcome of the write is unknown; read before you repeat it")]
    Uncertain,
}
