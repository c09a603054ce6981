//! A node: a machine with a clock and a disk, and the process that may run on it.
//!
//! What a process does with a replica's outputs, and when it reads its clock, follows `driver/src/drive.rs` line by line.
//! The two must be read together.

use super::Nanos;
use super::clients::{Asker, OperationRef};
use super::clock::Clock;
use super::disk::{Disk, Written};
use bytes::Bytes;
use leasehold::keyspace::{Keyspace, View};
use leasehold_core::{Index, Instant, LeaseCell, NodeId, Reading, Term, TermRound, Ticket};
use leasehold_driver::{Applied, Batch};
use leasehold_raft::wire::{Change, Envelope};
use leasehold_raft::{Replica, Role, Undelivered};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How long a write or a read may wait, as in the driver.
const PATIENCE: Nanos = 5_000_000_000;

/// A machine.
pub(super) struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its clock.
    pub clock: Clock,
    /// Its disk.
    pub disk: Disk,
    /// What runs on it.
    pub process: Option<Process>,
    /// Counts the processes that ran on it.
    pub boot: u32,
    /// Which timing its process has, or the next one gets.
    pub timing: u8,
    /// Until when its whole process stands still.
    pub paused_until: Nanos,
    /// Until when its loop stands still.
    pub stalled_until: Nanos,
    /// Whether an old leader's lease was valid when it was paused, to see what becomes of it.
    pub paused_with_lease: bool,
    /// When a start is due, so that an earlier one can take its place.
    pub starts_at: Option<Nanos>,
    /// What it has promised, by true time: an oracle that knows no clock.
    pub promise: Option<Promise>,
    /// The newest round it echoed, and which of its processes did.
    pub echoed: Option<(u32, TermRound)>,
    /// The newest release it was shown, and which of its processes was.
    pub released: Option<(u32, TermRound)>,
}

/// What a node promised when it first echoed its newest round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    /// The round.
    pub echoed: TermRound,
    /// The process that echoed it.
    pub boot: u32,
    /// Until when, by the fastest clock there may be.
    pub until: Nanos,
}

impl Node {
    /// Whether its readers run.
    pub(super) fn readers_run(&self, now: Nanos) -> bool {
        now >= self.paused_until
    }

    /// Whether its loop runs.
    pub(super) fn loop_runs(&self, now: Nanos) -> bool {
        now >= self.paused_until && now >= self.stalled_until
    }
}

/// One input of a process's loop.
pub(super) enum Input {
    /// From a peer.
    Envelope { from: NodeId, envelope: Envelope },
    /// A command to propose.
    Write { command: Bytes, asker: Asker },
    /// A read that the cell did not grant.
    Read { asker: Asker, by_quorum: bool },
    /// An operator has leadership handed over.
    Transfer { to: NodeId },
    /// An operator has this node campaign.
    Campaign,
    /// An operator changes the configuration.
    Reconfigure { change: Change },
    /// A stalled timer fires many times.
    Burst { times: u8 },
}

/// What others see of a process: as of the end of its last turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Whether it leads.
    pub leads: bool,
    /// The newest term it knows.
    pub term: Term,
    /// Who leads in it; 0 for nobody.
    pub leader: NodeId,
}

/// Why a write was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was not executed, and will not be.
    NotExecuted,
    /// Nobody knows.
    Uncertain,
}

/// A process: what the driver and the server hold in memory.
pub(super) struct Process {
    /// The machine under test.
    pub replica: Replica,
    /// Its published lease.
    pub cell: Arc<LeaseCell>,
    /// The state.
    pub machine: Keyspace,
    /// The same state, as readers see it.
    pub view: View,
    /// How far it includes the log.
    pub applied: Applied,
    /// The applied position that is on disk.
    pub durable_applied: Index,
    /// The hold to record once the longer one of an earlier process has run out.
    pub lower_hold: bool,
    /// What rides with the next write.
    pub unwritten: Batch,
    /// Writes that wait for their fate.
    pub writes: BTreeMap<(Index, Term), (Reading, Asker)>,
    /// Quorum reads that wait, and in which term they were taken.
    pub reads: VecDeque<(Ticket, Term, Reading, Asker)>,
    /// Peers to report as unreachable, and what was not delivered.
    pub unreachable: Vec<(NodeId, Undelivered)>,
    /// Inputs that wait for the loop.
    pub inbox: VecDeque<Input>,
    /// What the disk has reported.
    pub written: VecDeque<Written>,
    /// Whether the timer has fired while the loop stood still.
    pub timer_fired: bool,
    /// Whether a turn of the loop is due.
    pub turn_is_due: bool,
    /// What others see.
    pub status: Status,
    /// Reads that wait until an index is applied.
    pub waiting: Vec<(Index, OperationRef)>,
    /// What waits for a read index from the leader.
    pub read_indexes: ReadIndexes,
    /// Writes that were sent to a leader, by request.
    pub forwarded: BTreeMap<u64, (OperationRef, NodeId)>,
    /// The newest request.
    pub request: u64,
    /// Requests of peers that were executed, by boot.
    pub seen: BTreeMap<(NodeId, u32), Vec<u64>>,
    /// Requests of peers that arrived while nobody ran.
    pub requests: Vec<(NodeId, u32, u64, Ask)>,
    /// What was last seen of it.
    pub watched: Watched,
}

/// What one node asks another.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// From which index on does a state answer a read?
    ReadIndex,
    /// Execute this.
    Entry(Bytes),
}

/// Reads of a follower that wait for an index, as in `server/src/follower.rs`: those that arrive while one request is out
/// share the next.
#[derive(Default)]
pub(super) struct ReadIndexes {
    /// The request that is out, whom it asked, and what it is for.
    pub asked: Option<(u64, NodeId, Vec<OperationRef>)>,
    /// What gathers for the next.
    pub waiting: Vec<OperationRef>,
}

/// What the checks and the marks compare.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    /// Its role and term.
    pub role: Role,
    /// The term.
    pub term: Term,
    /// The engine's counts.
    pub statistics: leasehold_raft::Statistics,
    /// The holder's counts.
    pub holder: leasehold_core::Statistics,
    /// Whether its lease was valid when last looked at, and until when.
    pub lease: Option<Instant>,
    /// The transfer under way: to whom, and since which term.
    pub transfer: Option<(NodeId, Term)>,
    /// Whether a transfer of this term was given up, and no lease was earned since.
    pub abandoned: bool,
    /// The clock when it started.
    pub started: Reading,
    /// Whether the holder forgot its stamps for a reading that went back.
    pub voided: bool,
    /// Whether its last tick would have begun a campaign and was kept back, and nothing has happened since.
    pub kept_back: bool,
}

impl Process {
    /// Whether what has waited since then has waited too long.
    pub(super) fn is_overdue(now: Reading, since: &mut Reading) -> bool {
        *since = since.or(now);
        let waited = |(now, since): (Instant, Instant)| now.elapsed_since(since).at_most.as_nanos() as Nanos;
        now.zip(*since).is_some_and(|both| waited(both) >= PATIENCE)
    }

    /// A request's number.
    pub(super) fn next_request(&mut self) -> u64 {
        self.request += 1;
        self.request
    }
}
