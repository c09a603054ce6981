//! A cluster under test, and what a schedule can do to it.

use crate::rule::Rule;
use leasehold_core::{NodeId, Term};
use std::collections::BTreeSet;
use std::time::Duration;

/// The kind of a message, as far as schedules distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// From a leader: entries, heartbeats, rounds, snapshots.
    Lead,
    /// The answers of followers to those.
    Answer,
    /// A request for a vote or a pre-vote.
    AskVote,
    /// A vote or a pre-vote, granted or refused.
    Vote,
    /// A leader asks its successor to campaign at once.
    CampaignNow,
}

/// A fault of one node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockFault {
    /// It steps back by this much.
    Back(Duration),
    /// It steps forward by this much.
    Forward(Duration),
    /// It stops giving readings.
    Fails,
    /// It gives readings again.
    Works,
    /// The counter that also stops during a suspend stands still from now on; one that counts suspended time goes on.
    AwakeCounterStops,
}

/// The reason why a system cannot be exposed to a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotExpressible(pub &'static str);

/// The answer to a read, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The read is waiting.
    Pending,
    /// The node cannot answer.
    Refused,
    /// This value, from local state.
    ByLease(u64),
    /// This value, after a quorum confirmed the leader.
    ByQuorum(u64),
}

/// Identifies a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub usize);

/// A founding group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founding {
    /// Its voters.
    pub voters: &'static [NodeId],
    /// Its learners.
    pub learners: &'static [NodeId],
    /// The seed of its randomness.
    pub seed: u64,
}

/// Messages that do not arrive.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// Directions in which all messages are lost.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Kinds of messages that are held until [`deliver`](Subject::deliver).
    pub held: BTreeSet<(NodeId, NodeId, Kind)>,
    /// Kinds of messages that are lost while others in the same direction arrive.
    pub lost: BTreeSet<(NodeId, NodeId, Kind)>,
}

impl Links {
    /// Returns whether a message of these kinds is held.
    pub fn holds(&self, from: NodeId, to: NodeId, kinds: &[Kind]) -> bool {
        kinds.iter().any(|kind| self.held.contains(&(from, to, *kind)))
    }

    /// Returns whether a message of these kinds is lost if it arrives now.
    pub fn loses(&self, from: NodeId, to: NodeId, kinds: &[Kind]) -> bool {
        self.cut.contains(&(from, to)) || kinds.iter().any(|kind| self.lost.contains(&(from, to, *kind)))
    }
}

/// A rule that a node was seen to break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The rule.
    pub rule: Rule,
    /// The act that broke it, for the report.
    pub what: String,
}

/// A cluster under test: a replicated register that holds one number.
///
/// Most engines implement [`Engine`](crate::Engine) instead, and the kit makes the cluster. This trait is for an engine that
/// comes with a runtime, a network or a simulator of its own.
///
/// Time passes only in [`advance`](Subject::advance). A message takes a millisecond, unless the schedule says otherwise.
pub trait Subject {
    /// Lets a millisecond pass.
    fn advance(&mut self);
    /// Returns the links, so that a schedule can cut and repair them.
    fn links(&mut self) -> &mut Links;
    /// Sets the time that a message takes from now on.
    fn set_latency(&mut self, latency: Duration);
    /// From now on, or no longer, delivers each message twice, and messages in another order than they were sent.
    ///
    /// # Errors
    /// If the system's network cannot do that.
    fn scramble(&mut self, on: bool) -> Result<(), NotExpressible>;
    /// Returns the first rule that a node was seen to break, if the system shows what its messages carry.
    fn broken(&self) -> Option<&Broken> {
        None
    }
    /// Returns a kind of message that a schedule relied on and that no node has sent, if the system knows.
    fn unseen(&self) -> Option<Kind> {
        None
    }
    /// Delivers all held messages at once, also through links that were cut after they were sent.
    fn deliver(&mut self);
    /// Returns all nodes.
    fn nodes(&self) -> Vec<NodeId>;
    /// Returns whether a node is up and considers itself the leader.
    fn leads(&self, id: NodeId) -> bool;
    /// Returns the newest term that a node knows.
    fn term(&self, id: NodeId) -> Term;
    /// Pauses a process: messages to it queue up, its timers do not fire, its clock goes on.
    fn pause(&mut self, id: NodeId);
    /// Resumes a process. It handles the queued messages first.
    fn resume(&mut self, id: NodeId);
    /// Suspends a machine: it is paused, and the counters that stop during a suspend stop.
    fn suspend(&mut self, id: NodeId);
    /// Resumes a suspended machine.
    fn wake(&mut self, id: NodeId);
    /// Kills a process and starts it again at once from its disk; with timeouts `shortened` times as short.
    fn restart(&mut self, id: NodeId, shortened: u32);
    /// Disturbs a clock.
    ///
    /// # Errors
    /// If the system cannot be exposed to this fault.
    fn disturb(&mut self, id: NodeId, fault: ClockFault) -> Result<(), NotExpressible>;
    /// Fires a node's timer this many times at once.
    ///
    /// # Errors
    /// If the system owns its timers, so that a schedule cannot fire them.
    fn burst(&mut self, id: NodeId, ticks: u32) -> Result<(), NotExpressible>;
    /// Asks a leader to transfer leadership.
    ///
    /// # Errors
    /// If the system has no such command.
    fn transfer(&mut self, from: NodeId, to: NodeId) -> Result<(), NotExpressible>;
    /// Asks a node to campaign, as an operator would.
    ///
    /// # Errors
    /// If the system has no such command.
    fn campaign(&mut self, id: NodeId) -> Result<(), NotExpressible>;
    /// From now on, or no longer, delays what the engine of a node reports to its lease, if the engine decides in a task of its
    /// own: see [`Engine::delay_reports`](crate::Engine::delay_reports).
    ///
    /// # Errors
    /// If the system cannot be exposed to this.
    fn delay_reports(&mut self, id: NodeId, on: bool) -> Result<(), NotExpressible>;
    /// Asks a leader to change the voters to these. Returns whether it accepted the change.
    ///
    /// # Errors
    /// If the voters of the system are fixed.
    fn change_voters(&mut self, leader: NodeId, voters: &[NodeId]) -> Result<bool, NotExpressible>;
    /// Returns the voters that a node knows to be committed, in any order; empty during a joint configuration.
    fn voters(&self, id: NodeId) -> Vec<NodeId>;
    /// Proposes a value that was not proposed before. Returns whether the node accepted it.
    fn write(&mut self, id: NodeId, value: u64) -> bool;
    /// Returns whether the write of this value was acknowledged.
    fn acknowledged(&self, value: u64) -> bool;
    /// Starts a read at a node.
    fn ask(&mut self, id: NodeId) -> ReadId;
    /// Returns the answer to a read.
    fn answer(&self, read: ReadId) -> Answer;
}
