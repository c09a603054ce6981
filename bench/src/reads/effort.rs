//! Shared by all measurements of reads.

use leasehold_core::{Config, Event, Holder, LeaseCell, Options, Reading, Voters};
use std::time::Duration;

/// The extent of a measurement.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    /// The number of runs of ours and of the peer, in turns.
    pub(super) runs: u32,
    /// The duration of one run.
    pub(super) lasts: Duration,
}

impl Effort {
    /// Returns how many calls of about this many nanoseconds make one run.
    pub(super) fn calls(self, nanos: f64) -> u32 {
        (self.lasts.as_secs_f64() * 1e9 / nanos) as u32
    }
}

/// Returns a cell with a lease that lasts an hour from now.
pub(super) fn leased(now: Reading) -> LeaseCell {
    let hour = Options::new(Duration::from_secs(3600), 1000).with_heartbeat(Duration::from_millis(100));
    let cell = LeaseCell::new();
    let mut holder = Holder::new(1, Config::new(hour).expect("a sound configuration"));
    let voters = Voters::simple(&[1]).expect("one voter");
    holder.handle_event(now, Event::Elected { term: 1, voters, barrier: 1, commit: 1 }, &cell).expect("the first term");
    cell
}

/// Runs both so often, each first in turn.
pub(super) fn in_turns(runs: u32, mut ours: impl FnMut(), mut theirs: impl FnMut()) {
    for run in 0..runs {
        if run % 2 == 0 {
            ours();
            theirs();
        } else {
            theirs();
            ours();
        }
    }
}
