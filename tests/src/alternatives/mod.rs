//! The same failures against other ways of reading by a lease.
//!
//! A [`Schedule`](story::Schedule) is written once, against a [`Subject`]: a cluster of somebody's replicas on virtual time,
//! whose messages, clocks and processes the schedule disturbs. Two subjects live here, [`ours`] and [`lease_based`]; the third
//! needs an async runtime and lives beside its tests.

pub mod lease_based;
pub mod ours;
pub mod story;

use leasehold_core::{NodeId, Term};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a message is for, as far as a schedule tells messages apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// From a leader: entries, heartbeats, rounds, snapshots.
    Lead,
    /// What followers answer to those.
    Answer,
    /// A request for a vote or a pre-vote.
    AskVote,
    /// A vote or a pre-vote, given or refused.
    Vote,
    /// A leader tells its successor to campaign at once.
    CampaignNow,
}

/// A fault of one node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockFault {
    /// From now on it shows this much less.
    Back(Duration),
    /// From now on it shows this much more.
    Forward(Duration),
    /// From now on it gives no readings.
    Fails,
    /// It gives readings again.
    Works,
    /// The counter that also stops during a suspend stands still from now on; one that counts suspended time goes on.
    AwakeCounterStops,
}

/// A fault that a system cannot be put to, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotExpressible(pub &'static str);

/// How a read was answered, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It waits.
    Pending,
    /// The system said that it cannot answer here.
    Refused,
    /// Locally, with this value.
    ByLease(u64),
    /// With this value, after a quorum confirmed the leader.
    ByQuorum(u64),
}

/// What a read is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub usize);

/// A founding group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founding {
    /// Its voters.
    pub voters: &'static [NodeId],
    /// Its learners.
    pub learners: &'static [NodeId],
    /// What its randomness follows from.
    pub seed: u64,
}

/// Which messages do not arrive.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// Directions in which everything is lost that arrives while they are cut.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// What is kept on its way until the subject is told to [`deliver`](Subject::deliver) it.
    pub held: BTreeSet<(NodeId, NodeId, Kind)>,
    /// What is lost although the rest of its direction arrives.
    pub lost: BTreeSet<(NodeId, NodeId, Kind)>,
}

impl Links {
    /// Whether a message of one of these kinds is kept on its way.
    pub fn holds(&self, from: NodeId, to: NodeId, kinds: &[Kind]) -> bool {
        kinds.iter().any(|kind| self.held.contains(&(from, to, *kind)))
    }

    /// Whether a message of one of these kinds is lost if it arrives now.
    pub fn loses(&self, from: NodeId, to: NodeId, kinds: &[Kind]) -> bool {
        self.cut.contains(&(from, to)) || kinds.iter().any(|kind| self.lost.contains(&(from, to, *kind)))
    }
}

/// A cluster under test: a replicated register that holds one number.
///
/// Time passes only in [`advance`](Subject::advance). A message takes a millisecond, unless the schedule says otherwise.
pub trait Subject {
    /// Lets a millisecond pass.
    fn advance(&mut self);
    /// The links, to be cut and mended.
    fn links(&mut self) -> &mut Links;
    /// How long a message takes from now on.
    fn set_latency(&mut self, latency: Duration);
    /// Lets everything arrive that was held, at once, through links that are cut by now too: it had left before.
    fn deliver(&mut self);
    /// Every node.
    fn nodes(&self) -> Vec<NodeId>;
    /// Whether a node is up and takes itself for the leader.
    fn leads(&self, id: NodeId) -> bool;
    /// The newest term a node knows.
    fn term(&self, id: NodeId) -> Term;
    /// Lets a process stand still: what is sent to it queues up, its timers do not fire, its clock goes on.
    fn pause(&mut self, id: NodeId);
    /// Lets it go on, with what has queued up first.
    fn resume(&mut self, id: NodeId);
    /// Lets a machine fall asleep: as a pause, and the clocks that stop during a suspend stop too.
    fn suspend(&mut self, id: NodeId);
    /// Wakes it.
    fn wake(&mut self, id: NodeId);
    /// Kills a process and starts it again at once from its disk; with timeouts `shortened` times as short.
    fn restart(&mut self, id: NodeId, shortened: u32);
    /// Disturbs a clock.
    ///
    /// # Errors
    /// When the system cannot be put to this.
    fn disturb(&mut self, id: NodeId, fault: ClockFault) -> Result<(), NotExpressible>;
    /// Lets a node's timer fire this often at once.
    ///
    /// # Errors
    /// When the system owns its timers, so that nobody can do that to it.
    fn burst(&mut self, id: NodeId, ticks: u32) -> Result<(), NotExpressible>;
    /// Tells a leader to hand over.
    fn transfer(&mut self, from: NodeId, to: NodeId);
    /// Tells a node to campaign, as an operator would.
    fn campaign(&mut self, id: NodeId);
    /// Asks a leader for other voters; whoever is none of them leaves. Whether it was taken.
    fn change_voters(&mut self, leader: NodeId, voters: &[NodeId]) -> bool;
    /// The voters, as a node knows them to be committed; empty while it is in between two sets.
    fn voters(&self, id: NodeId) -> Vec<NodeId>;
    /// Proposes a value, a new one each time. Whether it was taken.
    fn write(&mut self, id: NodeId, value: u64) -> bool;
    /// Whether the writer was told that this value is written.
    fn acknowledged(&self, value: u64) -> bool;
    /// Asks a node for the value.
    fn ask(&mut self, id: NodeId) -> ReadId;
    /// What became of it.
    fn answer(&self, read: ReadId) -> Answer;
}
