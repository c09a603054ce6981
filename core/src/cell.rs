//! The published lease: one writer, any number of readers, no lock.

use crate::sync::{AtomicU64, Ordering, fence, spin_loop};
use crate::time::{Instant, Reading};
use crate::{Index, Term};
use core::time::Duration;

/// How often a reader that meets the writer at work looks again before it gives up. A writer that is descheduled half way
/// must not keep readers spinning; a quorum read serves them meanwhile. Under loom, which tries every interleaving, what a
/// second look can show is what a first one can.
const ATTEMPTS: u32 = if cfg!(loom) { 1 } else { 64 };

/// Leave to answer a read from this node's own state. The answer is as of the instant sampled for the check, however
/// long the reader then takes: state only grows. It is good for the reads that had arrived by that sample, and no later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a permit is the answer to a check; without it the read must go through a quorum round"]
pub struct Permit {
    /// The term of the lease.
    pub term: Term,
    /// The commit index known when the check was made: answer once this is applied.
    pub index: Index,
}

/// The lease as the holder last published it. Readers check it with a clock sample of their own.
///
/// Only a [`Holder`](crate::Holder) writes it, and one cell belongs to one holder. Readers have no last reading to compare
/// theirs with: between a clock's step back and the holder's next input, a reader can believe a lease that is over by as
/// much as the clock stepped.
#[derive(Debug, Default)]
pub struct LeaseCell {
    /// Odd while the writer is at work (a sequence lock).
    version: AtomicU64,
    /// When the lease ends, on each counter; zero if there is none.
    awake: AtomicU64,
    total: AtomicU64,
    term: AtomicU64,
    index: AtomicU64,
}

/// What a cell shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Published {
    pub(crate) until: Instant,
    pub(crate) permit: Permit,
}

impl LeaseCell {
    /// A cell that shows no lease.
    pub fn new() -> LeaseCell {
        LeaseCell::default()
    }

    /// Leave to read at `now`, if the published lease is valid then. `now` must have been sampled after the read arrived.
    ///
    /// A sample from just before the lease's anchor is good: the quorum answered after it.
    #[inline]
    pub fn try_read(&self, now: Reading) -> Option<Permit> {
        let now = now?;
        let published = self.load()?;
        published.until.is_surely_after(now).then_some(published.permit)
    }

    /// How much of the published lease is left at `now`; `None` if there is none. For display: to read, [`try_read`](LeaseCell::try_read).
    pub fn remaining(&self, now: Reading) -> Option<Duration> {
        let now = now?;
        let published = self.load()?;
        let left = published.until.elapsed_since(now).at_least;
        (!left.is_zero()).then_some(left)
    }

    #[inline]
    fn load(&self) -> Option<Published> {
        for _ in 0..ATTEMPTS {
            let before = self.version.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let until = Instant::from_nanos(self.awake.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
                let permit =
                    Permit { term: self.term.load(Ordering::Relaxed), index: self.index.load(Ordering::Relaxed) };
                // Orders the loads above before the one below: what was read belongs to one version.
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    return Some(Published { until, permit });
                }
            }
            spin_loop();
        }
        None
    }

    pub(crate) fn publish(&self, lease: Published) {
        self.store(lease.until, lease.permit);
    }

    /// Shows no lease. Once this returns, no reader that looks will get a permit.
    pub(crate) fn revoke(&self) {
        self.store(Instant::from_nanos(0, 0), Permit { term: 0, index: 0 });
        // The vote or message that this revocation comes before leaves by other means than this memory: what was stored
        // must be visible to every core by then, not on its way.
        fence(Ordering::SeqCst);
    }

    fn store(&self, until: Instant, permit: Permit) {
        let version = self.version.load(Ordering::Relaxed);
        assert!(version.is_multiple_of(2), "two holders write one lease cell; give each its own");
        self.version.store(version + 1, Ordering::Relaxed);
        // Orders the store above before those below: a reader that sees one of them also sees the odd version.
        fence(Ordering::Release);
        self.awake.store(until.awake_nanos(), Ordering::Relaxed);
        self.total.store(until.total_nanos(), Ordering::Relaxed);
        self.term.store(permit.term, Ordering::Relaxed);
        self.index.store(permit.index, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }
}
