//! The published lease, a sequence lock: one writer, any number of readers, no reader ever blocks the writer.

use crate::ids::{Index, Term};
use crate::sync::{Ordering, Version, Word, fence, spin_loop};
use crate::time::{Instant, Reading};
use core::time::Duration;

/// The number of times that a reader tries to load a cell that is being written. The limit keeps readers from spinning
/// while the writer is descheduled; they take a quorum round instead. Under loom one attempt is enough: loom tries
/// every interleaving, so a second attempt can see nothing that a first one cannot.
const MAX_ATTEMPTS: u32 = if cfg!(loom) { 1 } else { 64 };

/// Permission to answer a read from local state.
///
/// It covers the reads that had arrived when the reading for the check was sampled, and no later ones. The reader may
/// take any time to answer: state only grows, so it never falls behind what the check guaranteed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a read without a permit must go through a quorum round"]
pub struct Permit {
    /// The term of the lease.
    pub term: Term,
    /// The commit index at the time of the check; answer once it is applied. On a [`Reader`](crate::local::Reader), the
    /// end of the log that it has received.
    pub index: Index,
}

/// The lease as its holder last published it. Readers check it against a clock reading of their own.
///
/// Only a [`Holder`](crate::Holder) or a [`Reader`](crate::local::Reader) writes a cell, and each needs its own.
///
/// A cell keeps no last reading, so readers cannot detect a clock that stepped back. Until the holder's next input
/// detects it, a reader can accept an expired lease, by at most the size of the step.
#[derive(Debug, Default)]
pub struct LeaseCell {
    /// Odd while a write is in progress.
    version: Version,
    /// The end of the lease on each counter; zero if there is no lease.
    awake: Word,
    total: Word,
    term: Word,
    index: Word,
}

/// A published lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Published {
    pub(crate) until: Instant,
    pub(crate) permit: Permit,
}

impl LeaseCell {
    /// Creates a cell without a lease.
    pub fn new() -> LeaseCell {
        LeaseCell::default()
    }

    /// Returns permission to read if the published lease is valid at `now`, which must be sampled after the read
    /// arrived.
    ///
    /// A sample from just before the lease's anchor is accepted: the quorum acknowledged after it.
    #[inline]
    pub fn try_read(&self, now: Reading) -> Option<Permit> {
        let now = now?;
        let published = self.load()?;
        published.until.is_surely_after(now).then_some(published.permit)
    }

    /// Returns how much of the published lease remains at `now`, for display. Use [`try_read`](LeaseCell::try_read) to
    /// read.
    pub fn remaining(&self, now: Reading) -> Option<Duration> {
        let now = now?;
        let published = self.load()?;
        let left = published.until.elapsed_since(now).at_least;
        (!left.is_zero()).then_some(left)
    }

    /// Returns the end of the published lease, which may have passed, for display; `None` if there is no lease.
    pub fn until(&self) -> Option<Instant> {
        self.load().map(|published| published.until).filter(|until| *until != Instant::from_nanos(0, 0))
    }

    #[inline]
    fn load(&self) -> Option<Published> {
        for _ in 0..MAX_ATTEMPTS {
            let before = self.version.load(Ordering::Acquire);
            if before % 2 == 0 {
                let until = Instant::from_nanos(self.awake.load(), self.total.load());
                let permit = Permit { term: self.term.load(), index: self.index.load() };
                // Orders the loads above before the one below, so that all of them belong to one version.
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

    /// Removes the lease. Once this returns, no new check grants a permit.
    pub(crate) fn revoke(&self) {
        self.store(Instant::from_nanos(0, 0), Permit { term: 0, index: 0 });
        // The vote or message that must follow this revocation does not leave through this memory, so no acquire load
        // orders it. The fence makes the stores visible to every core before it leaves.
        fence(Ordering::SeqCst);
    }

    fn store(&self, until: Instant, permit: Permit) {
        let version = self.version.load(Ordering::Relaxed);
        assert!(version % 2 == 0, "two holders or readers write one lease cell; give each its own");
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Orders the store above before those below: a reader that sees any of those also sees the odd version.
        fence(Ordering::Release);
        self.awake.store(until.awake_nanos());
        self.total.store(until.total_nanos());
        self.term.store(permit.term);
        self.index.store(permit.index);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}
