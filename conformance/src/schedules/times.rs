//! The times of the schedules, and the names of nodes in a group of three.

use leasehold_core::NodeId;
use std::time::Duration;

/// Long enough for all timers to run out, in milliseconds: the longest election timeout is two seconds.
pub(crate) const RIPE: u64 = 2500;
/// Shorter than any lease that was just renewed, in milliseconds.
pub(crate) const WITHIN_THE_LEASE: u64 = 850;
/// The longest election timeout, and time for a late tick and an election, in milliseconds.
pub(crate) const LONGEST_ELECTION: u64 = 2300;
/// Long enough for an election by timeout, in milliseconds.
pub(crate) const AN_ELECTION: u64 = 5000;
/// Longer than an isolated leader leads on if its engine checks for a quorum once in an election timeout of a second. A later
/// read tests something else than `check_quorum_is_no_lease`.
pub(crate) const CHECKED: u64 = 2100;
/// The distance by which a clock steps.
pub(crate) const JUMP: Duration = Duration::from_secs(5);

/// Returns the two followers in a group of three.
pub(crate) fn others(a: NodeId) -> [NodeId; 2] {
    match a {
        1 => [2, 3],
        2 => [1, 3],
        _ => [1, 2],
    }
}
