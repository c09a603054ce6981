//! A client and its operation in flight.

use super::types::Nanos;
use crate::linearizability::{Call, OperationId};
use leasehold_core::{Index, Reading, Term};
use leasehold_node::ReadGrant;
use leasehold_testing::dice::Dice;

/// A reference to an operation that may already have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OperationRef {
    /// The client.
    pub client: u16,
    /// The operation's number, unique per client.
    pub number: u32,
}

impl OperationRef {
    /// Returns the operation that a reply with this ticket belongs to.
    pub(super) fn of_ticket(ticket: u64) -> OperationRef {
        OperationRef { client: (ticket >> 32) as u16, number: ticket as u32 }
    }

    /// Returns the ticket under which a node replies.
    pub(super) fn ticket(self) -> u64 {
        (u64::from(self.client) << 32) | u64::from(self.number)
    }
}

/// A client.
pub(super) struct Client {
    pub dice: Dice,
    pub number: u32,
    /// The node used when no better one is known.
    pub home: usize,
    /// The node that answered last.
    pub favourite: usize,
    /// The operation in flight.
    pub active: Option<Operation>,
    pub awaits_deadline: bool,
}

/// An operation in flight.
pub(super) struct Operation {
    pub id: OperationId,
    pub key: u32,
    /// The group that has the key.
    pub group: usize,
    pub call: Call,
    /// For sets: the lifetime of the value in milliseconds, if it has one, and its death.
    pub lifetime: Option<(u64, OperationId)>,
    /// The node that received the request, and the boot of its process.
    pub node: usize,
    pub boot: u32,
    /// The lowest index that an answer may reflect.
    pub floor: Index,
    /// The time at which the client gives up.
    pub deadline: Nanos,
    /// Counts the steps taken, so that an outdated step is recognised.
    pub steps: u32,
    /// For reads: the read must use a quorum round, not the lease.
    pub only_quorum: bool,
    /// For reads: the grant, if the node gave one.
    pub granted: Option<ReadGrant>,
    /// For reads: the term of a permit from the published lease.
    pub permit: Option<Term>,
    /// For reads: the end of the log that the node had received when its sublease permitted the read.
    pub local: Option<Index>,
}

/// The next step of the server thread that serves an operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Accept the request.
    Begin,
    /// Take a clock reading.
    Sample,
    /// Check the lease with an earlier reading, taken when this term was the newest one elected.
    Check(Reading, Term),
    /// Read the state.
    View,
}

/// The end of an operation.
pub(super) enum Ending {
    Done(crate::linearizability::Answer, Index),
    NotExecuted,
    Unknown,
}

impl Client {
    pub(super) fn new(dice: Dice, home: usize) -> Client {
        Client { dice, number: 0, home, favourite: home, active: None, awaits_deadline: false }
    }
}
