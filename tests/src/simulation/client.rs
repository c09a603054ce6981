//! A client and its operation under way.

use super::types::Nanos;
use crate::linearizability::{Call, OperationId};
use leasehold_core::{Index, Reading, Term};
use leasehold_node::ReadGrant;
use leasehold_testing::dice::Dice;

/// An operation that may have ended by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OperationRef {
    /// Its client.
    pub client: u16,
    /// Its number among that client's.
    pub number: u32,
}

impl OperationRef {
    /// Returns the operation that a node's reply is for.
    pub(super) fn of_ticket(ticket: u64) -> OperationRef {
        OperationRef { client: (ticket >> 32) as u16, number: ticket as u32 }
    }

    /// Returns the number under which a node replies.
    pub(super) fn ticket(self) -> u64 {
        (u64::from(self.client) << 32) | u64::from(self.number)
    }
}

/// A client.
pub(super) struct Client {
    pub dice: Dice,
    pub number: u32,
    /// The node it turns to when it has no better one.
    pub home: usize,
    /// The node that answered last.
    pub favourite: usize,
    /// The operation it waits for.
    pub active: Option<Operation>,
    pub awaits_deadline: bool,
}

/// An operation under way.
pub(super) struct Operation {
    pub id: OperationId,
    pub key: u32,
    pub call: Call,
    /// The node that was asked, and which of its processes.
    pub node: usize,
    pub boot: u32,
    /// Nothing older than this may be answered.
    pub floor: Index,
    /// The time at which the client gives up.
    pub deadline: Nanos,
    /// Counts the steps taken, so that a step that was overtaken is recognised.
    pub steps: u32,
    /// Reads: must not use the lease.
    pub only_quorum: bool,
    /// Reads: the grant, if the node gave one.
    pub granted: Option<ReadGrant>,
    /// Reads: the term of a permit from the published lease.
    pub permit: Option<Term>,
}

/// The next step of a client's thread for an operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// It takes up the request.
    Begin,
    /// It takes a reading.
    Sample,
    /// It checks the lease with a reading taken earlier, when this was the newest term elected.
    Check(Reading, Term),
    /// It reads the state.
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
