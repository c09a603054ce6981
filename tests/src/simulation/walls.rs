//! The wall clocks of the nodes, from which leaders take the time of log entries.
//!
//! They step at any time and differ from each other, all within one span. So an entry's time says, to within the span, when
//! its leader proposed it, and nothing else is known of it.

use super::types::Nanos;
use leasehold::keyspace::WallClock;
use leasehold_testing::dice::Dice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the slowest clock shows at the start, in milliseconds since the epoch.
const START: u64 = 1_700_000_000_000;
/// The spans of the runs.
const SPANS: [u64; 3] = [0, 200, 5_000];
/// The operations of clients between two steps of a clock, on average.
const OPERATIONS_PER_STEP: u64 = 40;

/// The wall clocks of all nodes.
pub(super) struct Walls {
    shared: Arc<Shared>,
    /// The most milliseconds by which two readings of any nodes differ that are taken at the same time.
    span: u64,
    dice: Dice,
}

struct Shared {
    now: AtomicU64,
    ahead: Vec<AtomicU64>,
}

impl Walls {
    /// Creates the clocks of so many nodes.
    pub(super) fn new(seed: u64, nodes: usize) -> Walls {
        let mut dice = Dice::new(seed, 5_000);
        let span = SPANS[dice.below(SPANS.len() as u64) as usize];
        let ahead = (0..nodes).map(|_| AtomicU64::new(dice.below(span + 1))).collect();
        Walls { shared: Arc::new(Shared { now: AtomicU64::new(0), ahead }), span, dice }
    }

    /// Sets the true time.
    pub(super) fn set_now(&self, now: Nanos) {
        self.shared.now.store(now, Ordering::Relaxed);
    }

    /// Returns the clock of a node.
    pub(super) fn clock(&self, node: usize) -> WallClock {
        let shared = self.shared.clone();
        WallClock::new(move || shared.read(node))
    }

    /// Returns what the clock of a node shows.
    pub(super) fn read(&self, node: usize) -> u64 {
        self.shared.read(node)
    }

    /// Has a clock step now and then. Returns whether one did.
    pub(super) fn step_one(&mut self) -> bool {
        let steps = self.span > 0 && self.dice.below(OPERATIONS_PER_STEP) == 0;
        if steps {
            let node = self.dice.below(self.shared.ahead.len() as u64) as usize;
            self.shared.ahead[node].store(self.dice.below(self.span + 1), Ordering::Relaxed);
        }
        steps
    }

    /// Returns the lifetime of a value, in milliseconds, or `None` if it has none.
    pub(super) fn draw_lifetime(&mut self) -> Option<u64> {
        self.dice.chance(400_000).then(|| self.dice.of_any_size(1, 8_000))
    }

    /// Returns the earliest true time at which a value can die that a request of `now` gives this lifetime. Its deadline is
    /// at least the lifetime after the slowest clock's reading of `now`, and the fastest clock must reach it.
    pub(super) fn earliest_death(&self, now: Nanos, lifetime: u64) -> Nanos {
        // A reading drops what is below a millisecond.
        now + lifetime.saturating_sub(self.span + 1) * 1_000_000
    }
}

impl Shared {
    fn read(&self, node: usize) -> u64 {
        let now = self.now.load(Ordering::Relaxed) / 1_000_000;
        START + now + self.ahead[node].load(Ordering::Relaxed)
    }
}
