//! The trait that puts an engine under test.

use crate::subject::{Answer, Kind, NotExpressible, ReadId};
use leasehold_core::{Config, LeaseTiming, NodeId, Reading, Tag, Term};
use std::time::Duration;

/// The inputs of a process that starts, for the first time or again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Start<D> {
    /// The number of the node.
    pub id: NodeId,
    /// The voters that found the group. A node that starts again takes those that its disk has.
    pub voters: Vec<NodeId>,
    /// The learners that belong to the group from its beginning.
    pub learners: Vec<NodeId>,
    /// The timing of the lease. An election timeout is at least the hold and at most twice as long.
    pub config: Config,
    /// The interval of [`Engine::tick`]: half a heartbeat interval.
    pub tick: Duration,
    /// The seed of the node's randomness. Election timeouts must follow from it, or a failure cannot be repeated.
    pub seed: u64,
    /// The reading at the start.
    pub now: Reading,
    /// The disk that the former process left behind; `None` at the first start.
    pub disk: Option<D>,
}

/// An output of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<M> {
    /// Send a message.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: M,
    },
    /// Tell the client that this value is written: [`Engine::write`] accepted it, and it is committed.
    Acknowledge(u64),
    /// Give a client the answer to its read.
    Answer(ReadId, Answer),
}

/// The content of a message, as far as the kit must know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The kind of the engine's own message, if there is one. Schedules hold and lose messages by it. One that holds a kind
    /// which no node has sent counts as not run.
    pub kind: Option<Kind>,
    /// The lease's part. With `Tag::default()` the kit cannot see which promise a node breaks: it then notices stale reads
    /// only.
    pub tag: Tag,
}

/// One node of an engine with leases: a replicated register that holds one number, which is 0 at first.
///
/// The kit calls one method at a time and then [`poll_output`](Engine::poll_output) until it returns `None`. Each input comes
/// with a reading of the node's clock that was sampled for it. An engine that runs on threads or on a runtime drives them
/// inside the implementation; it is done when a method returns.
///
/// A client writes each value once, and larger values later. What the methods do to the disk is durable when they return.
pub trait Engine {
    /// A message between two nodes.
    type Message: Clone;
    /// The state that survives the process: the log, the vote, the record of the longest hold.
    type Disk;

    /// Returns whether a group may begin with so many voters and learners. By default, it may.
    ///
    /// # Errors
    /// That the engine has no such groups. Schedules that need them are not run.
    fn supports(voters: usize, learners: usize) -> Result<(), NotExpressible> {
        let _ = (voters, learners);
        Ok(())
    }

    /// Returns what a message carries.
    fn contents(message: &Self::Message) -> Contents;

    /// Ends the process, as by a power failure, and returns its disk.
    fn kill(self) -> Self::Disk;

    /// Returns whether this node talks to a peer with this timing. Usually `config.accept_peer(timing).is_ok()`.
    fn accept_peer(&self, timing: LeaseTiming) -> bool;

    /// Handles a message. `from` is authentic.
    fn receive(&mut self, now: Reading, from: NodeId, message: Self::Message);

    /// Handles a tick. Ticks may come late, or many at once.
    fn tick(&mut self, now: Reading);

    /// Proposes to write a value. Returns `false` if this node does not lead.
    fn write(&mut self, now: Reading, value: u64) -> bool;

    /// Handles a read, which [`Output::Answer`] answers, now or later.
    fn read(&mut self, now: Reading, read: ReadId);

    /// Returns the next output.
    fn poll_output(&mut self) -> Option<Output<Self::Message>>;

    /// Returns whether this node considers itself the leader.
    fn leads(&self) -> bool;

    /// Returns the newest term that this node knows.
    fn term(&self) -> Term;

    /// Returns the voters that this node knows to be committed, in any order; empty during a joint configuration.
    fn voters(&self) -> Vec<NodeId>;

    /// Hands leadership over. It is `Ok` also if the engine refuses: the schedule goes on.
    ///
    /// # Errors
    /// By default, that the engine cannot.
    fn transfer(&mut self, now: Reading, to: NodeId) -> Result<(), NotExpressible> {
        let _ = (now, to);
        Err(NotExpressible("the engine hands no leadership over"))
    }

    /// Campaigns because an operator wants it. It is `Ok` also if the engine refuses: the schedule goes on.
    ///
    /// # Errors
    /// By default, that the engine has no such command.
    fn campaign(&mut self, now: Reading) -> Result<(), NotExpressible> {
        let _ = now;
        Err(NotExpressible("the engine has no command to campaign"))
    }

    /// From now on, or no longer, delays the reports of a task in which the engine decides: its decisions take effect and its
    /// messages leave, but the lease learns of them only when this is called with `false`. An engine whose every step is seen
    /// has no such task, and returns `Ok`.
    ///
    /// # Errors
    /// By default, that the engine does not say which of the two it is.
    fn delay_reports(&mut self, now: Reading, on: bool) -> Result<(), NotExpressible> {
        let _ = (now, on);
        Err(NotExpressible("Engine::delay_reports is not implemented"))
    }

    /// Changes the voters to these, in one step or several. Returns whether this node, which leads, accepted the change.
    ///
    /// # Errors
    /// By default, that the voters are fixed.
    fn change_voters(&mut self, now: Reading, voters: &[NodeId]) -> Result<bool, NotExpressible> {
        let _ = (now, voters);
        Err(NotExpressible("the voters of the engine are fixed"))
    }
}
