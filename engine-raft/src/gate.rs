//! The durability gate: no message leaves before the writes it depends on are durable.

use leasehold_core::Term;
use raft::eraftpb::{Message, MessageType};
use std::collections::VecDeque;

/// Holds messages back until the writes they depend on are durable.
pub(crate) struct Gate {
    /// The newest durable term. No message leaves while the node is in a later one.
    durable_term: Term,
    /// The writes in flight, each with the messages that wait for it.
    in_flight: VecDeque<InFlight>,
    /// The number of the engine's newest `Ready`, whether or not it had something to write.
    newest: u64,
}

struct InFlight {
    number: u64,
    term: Term,
    messages: Vec<Message>,
}

/// The state that must be durable before a message leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DependsOn {
    /// Everything written so far: the message acknowledges entries or casts a vote.
    Log,
    /// The sender's term. A leader replicates without waiting for its own disk, but a single voter leads before its
    /// term is durable.
    Term,
}

impl Gate {
    /// Returns a gate with nothing in flight.
    pub(crate) fn new(durable_term: Term) -> Gate {
        Gate { durable_term, in_flight: VecDeque::new(), newest: 0 }
    }

    /// Returns whether no write is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Returns whether messages of this term may leave.
    pub(crate) fn admits(&self, term: Term) -> bool {
        term <= self.durable_term
    }

    /// Notes the number of the engine's newest `Ready`.
    pub(crate) fn note_ready(&mut self, number: u64) {
        self.newest = number;
    }

    /// Notes a write that later messages wait for. It makes `term` durable.
    pub(crate) fn note_write(&mut self, number: u64, term: Term) {
        self.in_flight.push_back(InFlight { number, term, messages: Vec::new() });
    }

    /// Appends a message to `released`, or holds it back until what it depends on is durable.
    pub(crate) fn pass(&mut self, message: Message, term: Term, on: DependsOn, released: &mut Vec<Message>) {
        // A response to a heartbeat acknowledges no entry. If it waited for a slow disk, check-quorum would make the
        // leader step down although followers acknowledge its rounds.
        let on_log = on == DependsOn::Log && message.msg_type != MessageType::MsgHeartbeatResponse;
        let durable = self.admits(term);
        match self.in_flight.back_mut() {
            Some(write) if on_log || !durable => write.messages.push(message),
            _ => released.push(message),
        }
    }

    /// Appends to `released` the messages that waited for writes through `number`. Returns the number of the newest
    /// `Ready` that the engine may count as durable.
    pub(crate) fn open_through(&mut self, number: u64, released: &mut Vec<Message>) -> u64 {
        while let Some(write) = self.in_flight.pop_front_if(|write| write.number <= number) {
            self.durable_term = self.durable_term.max(write.term);
            released.extend(write.messages);
        }
        // With nothing in flight, every later `Ready` of the engine had nothing to wait for.
        if self.in_flight.is_empty() { self.newest } else { number }
    }
}
