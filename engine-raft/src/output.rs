//! The outputs of a replica.

use crate::wire::{Entry, Envelope, HardState, Membership, Snapshot};
use bytes::Bytes;
use leasehold_core::{Index, NodeId, Term};

/// One thing for the caller to do. Do the outputs in their order, and all of them before those of the next input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send an envelope. It may be lost.
    Send {
        /// The receiver.
        to: NodeId,
        /// The contents, to be delivered together or not at all.
        envelope: Envelope,
    },
    /// Write to disk, after everything that was written before.
    Persist(Persist),
    /// Apply these entries in order, before the next output.
    Apply(Vec<Committed>),
    /// Confirm every pending read with a ticket of this round or an earlier one.
    ReadsConfirmed {
        /// The quorum round.
        through: u64,
    },
    /// Fail every pending read with a ticket of this round or an earlier one: no quorum will confirm it.
    ReadsAborted {
        /// The last round of the leadership that ended.
        through: u64,
    },
    /// Send the state as applied now: a follower needs entries that the log no longer holds. The receiver installs it
    /// with [`Replica::install`](crate::Replica::install). Report the outcome with
    /// [`Replica::handle_snapshot_ended`](crate::Replica::handle_snapshot_ended); nothing else is sent to this follower
    /// until then.
    SendSnapshot {
        /// The receiver.
        to: NodeId,
        /// The applied index known to the engine. The state may be newer.
        index: Index,
    },
    /// Record durably that the log may have been cut, or that it is whole again, with or after the writes so far. It
    /// becomes [`PersistentState::may_be_cut`](crate::PersistentState::may_be_cut).
    LogMayBeCut(bool),
}

/// A write that must become durable as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// The number to report to [`Replica::handle_persisted`](crate::Replica::handle_persisted). It rises with every
    /// write.
    pub number: u64,
    /// True if something waits for this write. If not, it may be combined with the next one that must be synced, and
    /// needs no report.
    pub must_sync: bool,
    /// The hard state. It goes with every write: an entry must never be durable without the commit index that was known
    /// when it was appended, or a restarted node could campaign under a configuration that is two changes old.
    pub hard_state: HardState,
    /// Replaces the log and the state machine, if given. The entries follow it.
    pub snapshot: Option<Snapshot>,
    /// The entries to append, after dropping all entries from the first one's index on.
    pub entries: Vec<Entry>,
}

/// A position in the log. At most one entry is ever proposed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The term of the leader that appended the entry.
    pub term: Term,
    /// The index of the entry.
    pub index: Index,
}

/// A committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The position of the entry.
    pub position: Position,
    /// The effect of the entry.
    pub effect: Effect,
}

/// The effect of a committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A command for the state machine.
    Command(Bytes),
    /// No effect: a leader opened its term with this entry.
    Nothing,
    /// The engine adopted this configuration.
    Membership(Membership),
}
