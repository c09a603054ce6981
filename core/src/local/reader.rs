//! The reader's side of local reads.

use super::messages::{Grant, Request, RequestNumber, Return};
use crate::cell::{LeaseCell, Permit, Published};
use crate::config::Config;
use crate::ids::{Index, NodeId, Term};
use crate::time::{Instant, Reading};
use core::time::Duration;

/// The number of the last requests whose readings are kept.
const MAX_ASKED: usize = 16;
/// The number of requests that one process can make.
const MAX_REQUESTS: RequestNumber = 1 << 40;
/// Requests are at least this share of a lease apart, so the kept ones span half a lease.
const MIN_SPACING_SHARE: u32 = 32;

/// Asks for subleases and publishes the newest one, on a node that follows.
///
/// A process has one reader, with a cell of its own. After each step of the engine, and before anything of that step
/// leaves:
///
/// * Report [`follows`](Reader::follows) or [`lost_leader`](Reader::lost_leader), and then [`received`](Reader::received).
///   An acknowledgement of entries must not leave before `received` has returned.
/// * Pass each clock reading of the step to [`observe`](Reader::observe), unless another method takes it.
/// * With an echo send [`request`](Reader::request), if there is one. Pass grants to
///   [`handle_grant`](Reader::handle_grant).
/// * When the leader recalls, or when this node is to read no more, send [`return_all`](Reader::return_all).
///
/// A read thread samples a reading after the read arrived and calls [`LeaseCell::try_read`]. The index of the permit is
/// the end of the log that was received: answer once it is applied, or at once if no entry up to it that is not applied
/// touches what is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reader {
    drift_ppm: u32,
    spacing: Duration,
    /// The newest request.
    number: RequestNumber,
    /// The last request of this process.
    last_number: RequestNumber,
    /// The term, and the leader of that term, that the node follows.
    following: Option<(Term, NodeId)>,
    /// The readings before the last requests left, at the place of their number; `None` if forgotten.
    asked: [Option<(RequestNumber, Instant)>; MAX_ASKED],
    last: Reading,
    received: Option<Index>,
    sublease: Option<Sublease>,
    published: Option<Published>,
    statistics: ReaderStatistics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sublease {
    until: Instant,
    floor: Index,
}

/// Counters of a [`Reader`], since the process started or since they were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ReaderStatistics {
    /// Requests.
    pub requested: u64,
    /// Grants that were taken.
    pub granted: u64,
    /// Grants that were ignored: of another term or node, or for a request that was returned or forgotten.
    pub grants_ignored: u64,
    /// Returns.
    pub returned: u64,
    /// Readings that were earlier than the one before.
    pub backward_readings: u64,
}

impl Reader {
    /// Creates the reader of a process that has just started. `starts` is a durable count of the starts of this node, with
    /// this one: higher than that of every earlier process. It must be below 2^24, or the reader asks for nothing.
    pub fn new(config: Config, starts: u64) -> Reader {
        let number = starts.saturating_mul(MAX_REQUESTS);
        Reader {
            drift_ppm: config.timing().drift_ppm,
            spacing: (config.heartbeat() / 2).max(config.lease() / MIN_SPACING_SHARE),
            number,
            last_number: number.saturating_add(MAX_REQUESTS - 1),
            following: None,
            asked: [None; MAX_ASKED],
            last: None,
            received: None,
            sublease: None,
            published: None,
            statistics: ReaderStatistics::default(),
        }
    }

    /// Returns the end of the sublease on each counter; `None` if there is none, or if too little was received. The end may
    /// have passed.
    pub fn sublease_until(&self) -> Option<Instant> {
        self.published.map(|published| published.until)
    }

    /// Returns the counters.
    pub fn statistics(&self) -> &ReaderStatistics {
        &self.statistics
    }

    /// Returns the counters and resets them to zero.
    pub fn take_statistics(&mut self) -> ReaderStatistics {
        core::mem::take(&mut self.statistics)
    }

    /// Notes a reading. After one that goes back, no earlier request or grant gives a sublease.
    pub fn observe(&mut self, now: Reading, cell: &LeaseCell) {
        let Some(reading) = now else { return };
        if self.last.is_some_and(|last| reading.is_before_on_either_counter(last)) {
            self.statistics.backward_readings += 1;
            self.forget(cell);
        }
        self.last = now;
    }

    /// Notes that the engine follows this leader. A change revokes the sublease, and what was received is reported anew.
    pub fn follows(&mut self, term: Term, leader: NodeId, cell: &LeaseCell) {
        if self.following != Some((term, leader)) {
            self.lost_leader(cell);
            self.following = Some((term, leader));
        }
    }

    /// Notes that the engine follows no leader: it leads, campaigns, or knows of none.
    pub fn lost_leader(&mut self, cell: &LeaseCell) {
        if self.following.take().is_some() {
            self.received = None;
            self.forget(cell);
        }
    }

    /// Notes the last index of the log if that entry is of the current term, else `None`. Only the leader of that term can
    /// have sent it, so the whole log up to it is the leader's. It is computed, never remembered.
    pub fn received(&mut self, last: Option<Index>, cell: &LeaseCell) {
        self.received = last;
        self.publish(cell);
    }

    /// Returns the request to send with an echo, stamped with `now`; `None` if no leader is known, too little time has
    /// passed since the last request, or there is no reading.
    pub fn request(&mut self, now: Reading, cell: &LeaseCell) -> Option<Request> {
        self.observe(now, cell);
        let (now, (term, _)) = (now?, self.following?);
        let asked_at = self.asked[self.place(self.number)].filter(|(number, _)| *number == self.number);
        if asked_at.is_some_and(|(_, at)| now.elapsed_since(at).at_most < self.spacing) {
            return None;
        }
        if self.number >= self.last_number {
            return None;
        }
        self.number += 1;
        let at = self.place(self.number);
        self.asked[at] = Some((self.number, now));
        self.statistics.requested += 1;
        Some(Request { term, number: self.number, drift_ppm: self.drift_ppm })
    }

    /// Handles a grant. It is ignored unless it came from the leader that the node follows and answers a request that is
    /// not returned.
    pub fn handle_grant(&mut self, now: Reading, from: NodeId, grant: Grant, cell: &LeaseCell) {
        self.observe(now, cell);
        let asked = self.asked[self.place(grant.number)].filter(|(number, _)| *number == grant.number);
        let (Some((_, asked)), true) = (asked, self.following == Some((grant.term, from))) else {
            self.statistics.grants_ignored += 1;
            return;
        };
        let until = asked.plus(grant.length);
        if self.sublease.is_some_and(|sublease| !until.is_maybe_after(sublease.until)) {
            // An older grant that arrived late.
            return;
        }
        self.sublease = Some(Sublease { until, floor: grant.floor });
        self.statistics.granted += 1;
        self.publish(cell);
    }

    /// Stops using every sublease, and returns the message for the leader; `None` if no leader is known. Send it also
    /// if there is no sublease: the leader may wait for one of an earlier process.
    pub fn return_all(&mut self, cell: &LeaseCell) -> Option<Return> {
        self.forget(cell);
        self.following?;
        self.statistics.returned += 1;
        Some(Return { through: self.number })
    }

    /// Forgets all requests and the sublease.
    fn forget(&mut self, cell: &LeaseCell) {
        self.asked = [None; MAX_ASKED];
        self.sublease = None;
        self.publish(cell);
    }

    fn place(&self, number: RequestNumber) -> usize {
        (number % MAX_ASKED as u64) as usize
    }

    fn publish(&mut self, cell: &LeaseCell) {
        let usable = self.sublease.zip(self.received).filter(|(sublease, received)| *received >= sublease.floor);
        let published = usable
            .zip(self.following)
            .map(|((sublease, index), (term, _))| Published { until: sublease.until, permit: Permit { term, index } });
        if published == self.published {
            return;
        }
        match published {
            Some(sublease) => cell.publish(sublease),
            None => cell.revoke(),
        }
        self.published = published;
    }
}
