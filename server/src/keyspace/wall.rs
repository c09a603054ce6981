//! The wall clock, from which the leader takes the time of log entries.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of the time of day. It decides when keys die, and nothing else: it may step and drift.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl WallClock {
    /// Returns the clock of this machine.
    #[expect(clippy::disallowed_methods, reason = "the wall clock decides when keys die, and nothing else")]
    pub fn system() -> WallClock {
        WallClock::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// Returns a clock that reads what `read` returns, in milliseconds since the epoch.
    pub fn new(read: impl Fn() -> u64 + Send + Sync + 'static) -> WallClock {
        WallClock(Arc::new(read))
    }

    /// Returns the milliseconds since the epoch.
    pub fn now(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("WallClock")
    }
}
