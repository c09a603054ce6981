//! What the routers of a node's groups share: the identity of its requests, the limits of pending ones, and the reasons
//! to refuse them.

use crate::dedup::Seen;
use crate::stopwatch::Stopwatch;
use leasehold_core::{NodeId, Reading};
use std::time::Duration;

/// The largest number of clients' requests that may be pending.
const MAX_REQUESTS: usize = 65_536;
/// The largest number of peers' requests that may be pending, and the bytes of their commands together. A peer that
/// limits the writes of its clients reaches neither.
const MAX_PEER_REQUESTS: usize = 4096;
const MAX_PEER_BYTES: usize = 512 << 20;
/// The bytes of committed entries that may wait to be applied. A group with its part of them takes no more entries.
const MAX_UNAPPLIED_BYTES: usize = 64 << 20;
/// The time for which a process that was paused for long refuses writes. It is enough to empty the sockets.
const RESUME_INTERVAL: Duration = Duration::from_secs(1);

/// A kind of requests that has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Client,
    Peer,
}

/// What the routers of a node share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(super) node: NodeId,
    /// A number that this process drew at random.
    pub(super) boot: u64,
    /// The time after which a pending request of a client fails.
    pub(super) timeout: Duration,
    /// The number of groups.
    pub(crate) groups: usize,
    /// No more requests are taken.
    pub(crate) stopping: bool,
    /// Nothing is proposed here.
    pub(crate) refuses_writes: bool,
    /// The requests of peers that have arrived.
    pub(super) seen: Seen,
    attempts: u64,
    client_requests: usize,
    peer_requests: usize,
    peer_bytes: usize,
    unapplied_bytes: usize,
    stopwatch: Stopwatch,
    /// No write is taken until this time: see [`Common::note_time`].
    refuses_until: Duration,
}

impl Common {
    pub(crate) fn new(node: NodeId, boot: u64, timeout: Duration) -> Common {
        Common {
            node,
            boot,
            timeout,
            groups: 0,
            stopping: false,
            refuses_writes: false,
            seen: Seen::default(),
            attempts: 0,
            client_requests: 0,
            peer_requests: 0,
            peer_bytes: 0,
            unapplied_bytes: 0,
            stopwatch: Stopwatch::default(),
            refuses_until: Duration::ZERO,
        }
    }

    /// Returns a number that no request of this process has had.
    pub(super) fn next_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    /// Returns the number of requests that are pending in all groups.
    pub(crate) fn pending(&self) -> usize {
        self.client_requests + self.peer_requests
    }

    /// Returns true if a group with so many pending requests may take one more.
    pub(super) fn has_room(&self, kind: Kind, pending: usize) -> bool {
        let (max, all) = match kind {
            Kind::Client => (MAX_REQUESTS, self.client_requests),
            Kind::Peer => (MAX_PEER_REQUESTS, self.peer_requests),
        };
        pending < share(max, self.groups, all)
    }

    /// Returns true if a group may take a peer's request of so many bytes. The only one may have any size.
    pub(super) fn has_room_for_bytes(&self, pending: usize, bytes: usize) -> bool {
        self.peer_requests == 0 || pending.saturating_add(bytes) <= share(MAX_PEER_BYTES, self.groups, self.peer_bytes)
    }

    /// Returns true if a group has so many bytes to apply that it may take no more entries.
    pub(crate) fn is_behind(&self, unapplied: usize) -> bool {
        unapplied > 0 && unapplied >= share(MAX_UNAPPLIED_BYTES, self.groups, self.unapplied_bytes)
    }

    /// Notes how many bytes a group has to apply, in place of those that were noted before.
    pub(crate) fn note_unapplied(&mut self, noted: &mut usize, unapplied: usize) {
        self.unapplied_bytes = self.unapplied_bytes - std::mem::replace(noted, unapplied) + unapplied;
    }

    pub(super) fn add(&mut self, kind: Kind, bytes: usize) {
        *self.count(kind) += 1;
        self.peer_bytes += bytes;
    }

    pub(super) fn remove(&mut self, kind: Kind, bytes: usize) {
        *self.count(kind) -= 1;
        self.peer_bytes -= bytes;
    }

    fn count(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Client => &mut self.client_requests,
            Kind::Peer => &mut self.peer_requests,
        }
    }

    /// Notes the time of an input. A process that did not run for longer than a request may wait finds requests in its
    /// sockets that arrived meanwhile. Their age is unknown, and their clients may have given up: for a moment, writes
    /// are refused, and so certainly not executed.
    pub(crate) fn note_time(&mut self, now: Reading) {
        let before = self.stopwatch.elapsed();
        let now = self.stopwatch.at(now);
        if now.saturating_sub(before) > self.timeout {
            self.refuses_until = now + RESUME_INTERVAL;
        }
    }

    /// Lets `tick` pass if the clock gives no reading.
    pub(crate) fn handle_timeout(&mut self, now: Reading, tick: Duration) {
        self.stopwatch.at_timer(now, tick);
    }

    /// Returns true if writes are refused because their age is unknown.
    pub(super) fn is_resuming(&mut self, now: Reading) -> bool {
        self.stopwatch.at(now) < self.refuses_until
    }
}

/// Returns the part of `max` that one of `groups` may use while all of them use `all` of it: an equal share in any case,
/// and more as long as at least as much stays free. So a group with a flood of requests takes half of the room, and
/// never that of the others. All groups together take less than twice `max`.
fn share(max: usize, groups: usize, all: usize) -> usize {
    (max / groups.max(1)).max(max.saturating_sub(all))
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_flood_leaves_room_for_the_other_groups() {
        assert_eq!(share(100, 1, 0), 100);
        assert_eq!(share(100, 1, 99), 100, "a single group has everything");
        let mut flood = 0;
        while flood < share(100, 10, flood) {
            flood += 1;
        }
        assert_eq!(flood, 50);
        let mut second = 0;
        while second < share(100, 10, flood + second) {
            second += 1;
        }
        assert_eq!(second, 25);
        assert_eq!(share(100, 10, 175), 10, "an equal share is always left");
    }
}
