//! The lanes between two nodes.

use leasehold_driver::{Body, Frame};

/// One of the connections that a node opens to each peer. They are separate so that what is urgent never waits, in a queue
/// or in the kernel's buffers, behind what is large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Rounds, heartbeats, votes and all acknowledgements.
    Urgent,
    /// Log entries and snapshots.
    Append,
    /// Requests between servers, and their answers.
    Command,
}

/// What may wait in a lane's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

const MIB: usize = 1 << 20;

impl Lane {
    /// Every lane.
    pub const ALL: [Lane; 3] = [Lane::Urgent, Lane::Append, Lane::Command];

    /// The lane that this frame takes.
    pub fn of(frame: &Frame) -> Lane {
        match &frame.body {
            Body::Raft(envelope) if envelope.is_bulk() => Lane::Append,
            Body::Raft(_) => Lane::Urgent,
            Body::Request { .. } | Body::Answer { .. } => Lane::Command,
        }
    }

    /// The largest frame on this lane, in bytes after the length field: 1 MiB on the urgent lane, whose frames carry no
    /// data; 512 MiB on the others, which bounds a snapshot.
    pub const fn frame_limit(self) -> usize {
        match self {
            Lane::Urgent => MIB,
            Lane::Append | Lane::Command => 512 * MIB,
        }
    }

    /// What may wait to be sent. An empty queue admits one frame of any permitted size.
    pub(crate) const fn room(self) -> Room {
        match self {
            Lane::Urgent => Room { frames: 4096, bytes: 4 * MIB },
            Lane::Append | Lane::Command => Room { frames: 4096, bytes: 64 * MIB },
        }
    }

    /// The lane's number in the handshake.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Lane::Urgent => 0,
            Lane::Append => 1,
            Lane::Command => 2,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| lane.number() == number)
    }
}
