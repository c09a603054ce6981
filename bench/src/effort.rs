//! Shared by the measurements of reads in this process.

use leasehold_core::{Config, Event, Holder, LeaseCell, Options, Reading, Voters};
use std::time::Duration;

/// The extent of a measurement.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// The number of runs of ours and of the peer, in turns.
    pub(crate) runs: u32,
    /// The duration of one run.
    pub(crate) lasts: Duration,
}

impl Effort {
    /// Returns how many calls of about this many nanoseconds make one run.
    pub(crate) fn calls(self, nanos: f64) -> u32 {
        (self.lasts.as_secs_f64() * 1e9 / nanos) as u32
    }
}

/// Returns a cell with a lease that lasts an hour from now.
pub(crate) fn leased(now: Reading) -> LeaseCell {
    let hour = Options::new(Duration::from_secs(3600), 1000).with_heartbeat(Duration::from_millis(100));
    let cell = LeaseCell::new();
    let mut holder = Holder::new(1, Config::new(hour).expect("a sound configuration"));
    let voters = Voters::simple(&[1]).expect("one voter");
    holder.handle_event(now, Event::Elected { term: 1, voters, barrier: 1, commit: 1 }, &cell).expect("the first term");
    cell
}

/// Runs both so often, each first in turn.
pub(crate) fn in_turns(runs: u32, mut ours: impl FnMut(), mut theirs: impl FnMut()) {
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
