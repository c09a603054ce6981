//! The wall clock. It is only reported to clients and decides nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the time since the epoch.
#[expect(clippy::disallowed_methods, reason = "clients ask for the time of the wall clock")]
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
