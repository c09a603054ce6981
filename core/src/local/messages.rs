//! The values in messages between a reader and its leader.

use crate::ids::{Index, Term};
use core::time::Duration;

/// The number of a request; it rises, and no other process of the node ever uses it. The count of the node's starts is in
/// the high bits.
pub type RequestNumber = u64;

/// A reader's request for a sublease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Request {
    /// The term of the leader that is asked.
    pub term: Term,
    /// The number of the request.
    pub number: RequestNumber,
    /// The drift that the reader assumes, in parts per million.
    pub drift_ppm: u32,
}

/// A leader's answer to a [`Request`]: the right to answer reads, for `length` after the reading at which it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Grant {
    /// The term in which the sender leads.
    pub term: Term,
    /// The number of the request.
    pub number: RequestNumber,
    /// The length of the sublease, counted from the request.
    pub length: Duration,
    /// The exposed index of the leader: the reader must have received this much of the log.
    pub floor: Index,
}

/// A reader's guarantee that it uses no sublease of this request or an earlier one; permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Return {
    /// The last request returned.
    pub through: RequestNumber,
}
