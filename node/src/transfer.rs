//! Transfers of a state to a follower that needs entries which the log no longer holds.
//!
//! The sender offers the state and sends its records in numbered chunks, a few ahead of what the receiver has stored. The
//! receiver stores chunks in order and acknowledges each once it is durable. A sender that hears nothing for a while
//! offers again, and the answer says what the receiver lacks. So any message may be lost, repeated or overtaken.

mod receive;
mod send;
mod transfers;

pub(crate) use receive::{Arrival, Receiving};
pub(crate) use send::{Sending, Step};
pub(crate) use transfers::{Follower, Transfers};

use std::time::Duration;

/// The number of chunks, and their size, that may be sent ahead of what the receiver has stored. One chunk of any size
/// may always be.
const MAX_CHUNKS_AHEAD: usize = 8;
const MAX_BYTES_AHEAD: usize = 4 << 20;

/// The number of holds without an answer after which a sender offers again.
const RETRY_HOLDS: u32 = 1;
/// The number of holds without progress after which a transfer is given up.
const MAX_IDLE_HOLDS: u32 = 30;

/// Returns the time without progress after which a transfer is given up.
pub(crate) fn idle_timeout(hold: Duration) -> Duration {
    hold.saturating_mul(MAX_IDLE_HOLDS)
}
