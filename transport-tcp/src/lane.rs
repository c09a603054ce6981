//! The limits of each lane and its number in the handshake.
//!
//! A node opens one connection to each peer for each [`Lane`], so that an urgent message never waits behind a large
//! one, in a queue or in the kernel's buffers.

use leasehold_node::ports::Lane;

const MIB: usize = 1 << 20;

/// The limits of a lane's queue. An empty queue accepts one frame of any permitted size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

/// Returns the largest payload that a lane carries, in bytes: 1 MiB on the urgent lane, whose messages hold no data;
/// 512 MiB on the others. Snapshots travel in chunks, so this does not bound them.
pub const fn max_payload_bytes(lane: Lane) -> usize {
    match lane {
        Lane::Urgent => MIB,
        Lane::Append | Lane::Request => 512 * MIB,
    }
}

pub(crate) const fn queue_limits(lane: Lane) -> QueueLimits {
    match lane {
        Lane::Urgent => QueueLimits { frames: 4096, bytes: 4 * MIB },
        Lane::Append | Lane::Request => QueueLimits { frames: 4096, bytes: 64 * MIB },
    }
}

/// Returns the lane's number in the handshake, which is also its position in [`Lane::ALL`].
pub(crate) const fn number(lane: Lane) -> u8 {
    match lane {
        Lane::Urgent => 0,
        Lane::Append => 1,
        Lane::Request => 2,
    }
}

pub(crate) fn from_number(wanted: u8) -> Option<Lane> {
    Lane::ALL.into_iter().find(|lane| number(*lane) == wanted)
}
