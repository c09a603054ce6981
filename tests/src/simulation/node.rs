//! A node: a machine with a clock and a disk, and the process that may run on it.

use super::clock::Clock;
use super::disk::Disk;
use super::types::Nanos;
use leasehold::keyspace::{Keyspace, View};
use leasehold_core::local::LenderStatistics;
use leasehold_core::{Index, Instant, NodeId, Reading, Term, TermRound};
use leasehold_node::members::MemberChange;
use leasehold_node::ports::GroupId;
use leasehold_node::{Group, GroupStatistics, ReadGate, Role, RouterStatistics};
use leasehold_raft::Replica;
use leasehold_raft::wire::Change;
use std::collections::VecDeque;
use std::sync::Arc;

/// A machine and its node.
pub(super) struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its clock.
    pub clock: Clock,
    /// Its disk.
    pub disk: Disk,
    /// The process that runs on it, if any.
    pub process: Option<Process>,
    /// The number of processes that ran on it.
    pub boot: u32,
    /// The timing of its process, or of the next one.
    pub timing: u8,
    /// The end of the pause of its whole process.
    pub paused_until: Nanos,
    /// The end of the stall of its node's task.
    pub stalled_until: Nanos,
    /// The node was paused with a valid lease, and is not yet known to have lost it.
    pub paused_with_lease: bool,
    /// The time of the next start, so that an earlier one can replace it.
    pub starts_at: Option<Nanos>,
    /// The process is being stopped in an orderly way: the time after which it starts again, and its next timing.
    pub stops: Option<(Nanos, Option<u8>)>,
    /// What it promised, by group.
    pub promises: Vec<Promises>,
}

/// What a node promised in one group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Promises {
    /// The hold it promised, in true time: an oracle that is independent of its clock.
    pub promise: Option<Promise>,
    /// The newest round it echoed, with the boot of the process that echoed it.
    pub echoed: Option<(u32, TermRound)>,
    /// The newest release it received, with the boot of the process that received it.
    pub released: Option<(u32, TermRound)>,
}

/// The hold that a node promised when it first echoed its newest round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    /// The round.
    pub echoed: TermRound,
    /// The boot of the process that echoed it.
    pub boot: u32,
    /// The end of the hold, by the fastest clock within the drift.
    pub until: Nanos,
}

impl Node {
    /// Returns true if client threads run.
    pub(super) fn readers_run(&self, now: Nanos) -> bool {
        now >= self.paused_until
    }

    /// Returns true if the node's task runs.
    pub(super) fn task_runs(&self, now: Nanos) -> bool {
        now >= self.paused_until && now >= self.stalled_until
    }
}

/// The group that decides who the members of all groups are, if one does.
pub(super) const DECIDING_GROUP: GroupId = 0;

/// An input queued for a process's node.
pub(super) enum Input {
    /// An input of the node itself.
    Node(leasehold_node::Input<Keyspace>),
    /// An operator transfers leadership.
    Transfer { group: usize, to: NodeId },
    /// An operator makes this node campaign.
    Campaign { group: usize },
    /// An operator stops this node: it hands leadership over first.
    HandOver,
    /// The second step of the stop.
    Stop,
    /// An operator changes the configuration.
    Reconfigure { group: usize, change: Change },
    /// An operator creates the group that passes.
    CreateGroup,
    /// An operator removes it.
    RemoveGroup,
    /// An operator changes the members of all groups.
    Decide { change: MemberChange },
    /// A stalled timer fires many times at once.
    Burst { times: u8 },
}

/// A process: the product's node, and the state of its asynchronous shell.
pub(super) struct Process {
    /// The node under test.
    pub node: leasehold_node::Node<Keyspace>,
    /// Its groups.
    pub groups: Vec<Hosted>,
    /// The group that the world looks at.
    pub focus: usize,
    /// Inputs queued for the node.
    pub inbox: VecDeque<Input>,
    /// Reports from the disk and the snapshot thread. They are handled first.
    pub reports: VecDeque<leasehold_node::Input<Keyspace>>,
    /// The timer fired while the node's task was not running.
    pub timer_fired: bool,
    /// A turn of the node's task is due.
    pub turn_is_due: bool,
}

/// A group of a process.
pub(super) struct Hosted {
    /// The published lease and applied index, as client threads see them.
    pub gate: Arc<ReadGate>,
    /// The state, as client threads see it.
    pub view: View,
    /// The state of the group when it was last examined.
    pub watched: Watched,
}

/// The values that checks and marks compare with earlier ones.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    /// The role.
    pub role: Role,
    /// The term.
    pub term: Term,
    /// The highest index whose entry was compared across nodes.
    pub applied: Index,
    /// The commit index.
    pub commit: Index,
    /// The group's counts.
    pub statistics: GroupStatistics,
    /// The router's counts.
    pub router: RouterStatistics,
    /// The reading at which its lease was first seen valid, while it stays valid.
    pub lease: Option<Instant>,
    /// The transfer in progress: its target, and the term in which it began.
    pub transfer: Option<(NodeId, Term)>,
    /// A transfer in this term was abandoned, and no lease has been earned since.
    pub abandoned: bool,
    /// The reading at its start.
    pub started: Reading,
    /// The holder cleared its stamps because of a backward reading.
    pub voided: bool,
    /// Its last tick would have started a campaign and was withheld, and nothing has happened since.
    pub kept_back: bool,
    /// Its log may be cut.
    pub cut: bool,
    /// The lender's counts.
    pub lender: LenderStatistics,
}

impl Process {
    /// Returns the group that the world looks at.
    pub(super) fn group(&self) -> &Group<Keyspace> {
        self.node.group(self.focus as GroupId).expect("every node hosts every group")
    }

    /// Returns what the simulator knows of that group.
    pub(super) fn hosted(&self) -> &Hosted {
        &self.groups[self.focus]
    }

    /// Returns what the simulator knows of that group.
    pub(super) fn hosted_mut(&mut self) -> &mut Hosted {
        &mut self.groups[self.focus]
    }

    /// Returns true if the lease of any group is valid.
    pub(super) fn has_lease(&self, reading: Reading) -> bool {
        self.groups.iter().any(|group| group.gate.lease().try_read(reading).is_some())
    }

    /// Returns the replica.
    pub(super) fn replica(&self) -> &Replica {
        self.group().replica()
    }

    /// Returns the highest index applied.
    pub(super) fn applied(&self) -> Index {
        self.group().applied().index
    }
}
