//! The leader's side of local reads.

use super::messages::{Grant, Request, RequestNumber, Return};
use crate::cell::LeaseCell;
use crate::config::{Config, MAX_DRIFT_PPM, scale_by_drift};
use crate::holder::Holder;
use crate::ids::{Index, NodeId, Term};
use crate::time::{Instant, Reading};
use core::time::Duration;

/// The largest number of readers that hold a sublease of one leader at the same time.
pub const MAX_READERS: usize = 16;

/// A reader must acknowledge what was committed within this many heartbeats, or it is recalled.
const MAX_HEARTBEATS_BEHIND: u32 = 4;

/// Grants subleases, keeps the obligations that follow from them, and decides which index may be exposed.
///
/// A process has one lender, through every term: an obligation does not end with the leadership. After each step of the
/// engine, and before anything of that step leaves or is applied:
///
/// * Report [`elected`](Lender::elected), [`deposed`](Lender::deposed) and [`follows`](Lender::follows). Report `deposed`
///   also when the node is about to shut down.
/// * Call [`advance`](Lender::advance). The index that it returns takes the place of the commit index: apply, acknowledge,
///   tell followers and report to the [`Holder`] nothing beyond it.
/// * Then pass requests to [`handle_request`](Lender::handle_request), and send the grants. Each frame to a peer for which
///   [`recalls`](Lender::recalls) is `true` asks it to return its subleases.
///
/// Besides:
///
/// * While [`is_obligated`](Lender::is_obligated), this node must neither vote for another nor campaign. No release lifts
///   this, and [`Grantor`](crate::Grantor) does not know of it: both must agree.
/// * Before a transfer of leadership starts, call [`start_recall`](Lender::start_recall), and wait until the node is not
///   obligated. Only then may the engine and the holder learn of it.
/// * A process that stops in an orderly way records the longer of [`remaining`](Lender::remaining) and
///   [`Grantor::remaining`](crate::Grantor::remaining).
/// * The longest hold is recorded durably before the first grant leaves, as before the first echo.
/// * At each tick call [`handle_tick`](Lender::handle_tick), and call `advance` at the instant of
///   [`poll_timeout`](Lender::poll_timeout).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lender {
    config: Config,
    role: Role,
    /// The exposed index.
    exposed: Index,
    /// The commit index when the exposed index was last brought up to date.
    commit: Index,
    borrowers: [Option<Borrower>; MAX_READERS],
    /// Subleases are recalled for a transfer.
    recalling: bool,
    /// The exposed index waits at a change of voters.
    change_waits: bool,
    /// The ticks since the exposed index last advanced, while it is behind the commit index.
    blocked: u32,
    statistics: LenderStatistics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// No sublease limits what this node exposes.
    Follows,
    Leads(Term),
    /// It led in this term and no longer does, and obligations may be in force.
    Led(Term),
}

/// A node that asked for subleases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Borrower {
    id: NodeId,
    /// The end of the obligation; `None` if there is none.
    until: Option<Instant>,
    /// The newest request that was granted.
    granted: RequestNumber,
    /// It acknowledges what is committed fast enough. Otherwise it gets no grant.
    keeps_up: bool,
    /// The commit index at `since`.
    target: Index,
    since: Reading,
}

/// Counters of a [`Lender`], since the process started or since they were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LenderStatistics {
    /// Grants.
    pub granted: u64,
    /// Obligations that a return ended.
    pub returned: u64,
    /// Obligations that ended because their time had passed.
    pub expired: u64,
    /// Readers that held a sublease and were recalled because they did not keep up.
    pub slow: u64,
    /// Times at which the exposed index began to be behind the commit index.
    pub delays: u64,
}

impl Lender {
    /// Creates the lender of a process that has just started.
    pub fn new(config: Config) -> Lender {
        Lender {
            config,
            role: Role::Follows,
            exposed: 0,
            commit: 0,
            borrowers: [None; MAX_READERS],
            recalling: false,
            change_waits: false,
            blocked: 0,
            statistics: LenderStatistics::default(),
        }
    }

    /// Returns the exposed index: the highest one whose effect anyone may see.
    pub fn exposed(&self) -> Index {
        self.exposed
    }

    /// Returns the nodes with an obligation. It may have passed since the last call of [`advance`](Lender::advance).
    pub fn obligations(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.borrowers.iter().flatten().filter(|borrower| borrower.until.is_some()).map(|borrower| borrower.id)
    }

    /// Returns the nodes that asked for a sublease and get none before they have caught up.
    pub fn slow_readers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.borrowers.iter().flatten().filter(|borrower| !borrower.keeps_up).map(|borrower| borrower.id)
    }

    /// Returns the counters.
    pub fn statistics(&self) -> &LenderStatistics {
        &self.statistics
    }

    /// Returns the counters and resets them to zero.
    pub fn take_statistics(&mut self) -> LenderStatistics {
        core::mem::take(&mut self.statistics)
    }

    /// Returns whether a reader may still use a sublease of this process: then this node must neither vote for another
    /// nor campaign. Without a reading every obligation is in force.
    pub fn is_obligated(&self, now: Reading) -> bool {
        self.in_force(now).next().is_some()
    }

    /// Returns how much longer this node is obligated at `now`; `None` without a reading.
    pub fn remaining(&self, now: Reading) -> Option<Duration> {
        let now = now?;
        // Either counter may be the one that keeps the promised time.
        let left = self.in_force(Some(now)).filter_map(|borrower| borrower.until);
        Some(left.map(|until| until.elapsed_since(now).at_most).max().unwrap_or_default())
    }

    /// Returns whether the frames to this reader must ask it to return its subleases.
    pub fn recalls(&self, reader: NodeId) -> bool {
        self.borrowers.iter().flatten().any(|borrower| {
            let asked = match self.role {
                Role::Follows => false,
                Role::Leads(_) => self.recalling || self.change_waits || !borrower.keeps_up,
                // A reader that has another leader ignores it. While this node shuts down, they follow it still.
                Role::Led(_) => true,
            };
            borrower.id == reader && borrower.until.is_some() && asked
        })
    }

    /// Notes that this node was elected.
    pub fn elected(&mut self, term: Term) {
        self.deposed();
        self.role = Role::Leads(term);
        // The engine forgets what its peers acknowledged.
        for slot in &mut self.borrowers {
            *slot = slot.filter(|borrower| borrower.until.is_some());
            if let Some(borrower) = slot {
                borrower.keeps_up = false;
            }
        }
    }

    /// Notes that this node no longer leads, or shuts down. It exposes nothing more until no obligation is in force, or
    /// until it [follows](Lender::follows) a leader of a later term.
    pub fn deposed(&mut self) {
        if let Role::Leads(term) = self.role {
            self.role = Role::Led(term);
        }
        self.recalling = false;
        self.change_waits = false;
        self.blocked = 0;
    }

    /// Notes that the engine accepted a leader of this term. The subleases of an earlier term ended before it was elected.
    pub fn follows(&mut self, term: Term) {
        if matches!(self.role, Role::Led(led) if led < term) {
            self.role = Role::Follows;
        }
    }

    /// Asks for the return of all subleases and grants none, for a transfer of leadership.
    pub fn start_recall(&mut self) {
        self.recalling = matches!(self.role, Role::Leads(_));
    }

    /// Notes that the transfer was abandoned. Subleases may be granted again.
    pub fn end_recall(&mut self) {
        self.recalling = false;
    }

    /// Brings the exposed index up to date, and returns it.
    ///
    /// * `commit`: the engine's commit index.
    /// * `change`: the first entry beyond the exposed index that changes the voters, if there is one.
    /// * `matched`: the index up to which the log of a node is known to be the leader's, as acknowledged in this term;
    ///   `None` if the engine does not replicate to it. It is asked on a leader only.
    pub fn advance(
        &mut self,
        now: Reading,
        commit: Index,
        change: Option<Index>,
        matched: impl Fn(NodeId) -> Option<Index>,
    ) -> Index {
        let was_blocked = self.exposed < self.commit;
        self.commit = self.commit.max(commit);
        self.expire(now);
        let before = self.exposed;
        match self.role {
            Role::Follows => self.exposed = self.commit,
            Role::Led(_) if self.is_obligated(now) => {}
            Role::Led(_) => {
                self.role = Role::Follows;
                self.exposed = self.commit;
            }
            Role::Leads(_) => self.advance_leader(now, change, matched),
        }
        if self.exposed > before || self.exposed == self.commit {
            self.blocked = 0;
        }
        self.statistics.delays += u64::from(!was_blocked && self.exposed < self.commit);
        self.exposed
    }

    /// Counts a tick, and returns the number of ticks for which the exposed index of this leader has been blocked. After
    /// about two leases the leader must step down: its clock may have failed, so that no obligation ends.
    pub fn handle_tick(&mut self) -> u32 {
        if matches!(self.role, Role::Leads(_)) && self.exposed < self.commit {
            self.blocked = self.blocked.saturating_add(1);
        }
        self.blocked
    }

    /// Returns when to call [`advance`](Lender::advance) because an obligation ends and something waits for that; `None`
    /// if nothing does.
    ///
    /// Both counters must reach the instant. So wait for [`at_most`](crate::Elapsed::at_most) of
    /// [`end.elapsed_since(now)`](Instant::elapsed_since). [`Instant::time_until`] is zero once the first has.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ends = self.borrowers.iter().flatten().filter_map(|borrower| borrower.until);
        let waits = self.exposed < self.commit || self.recalling;
        ends.filter(|_| waits).min_by_key(|end| end.total_nanos())
    }

    /// Decides about a request, and returns the grant to send. The obligation is recorded before this returns.
    ///
    /// `now` must be sampled after the request arrived. `matched` is as for [`advance`](Lender::advance), for the node
    /// `from`. It grants nothing without a lease that is valid at `now`, to a node to which the engine does not replicate
    /// or which is slow, and during a recall.
    pub fn handle_request(
        &mut self,
        now: Reading,
        holder: &mut Holder,
        cell: &LeaseCell,
        from: NodeId,
        matched: Option<Index>,
        request: Request,
    ) -> Option<Grant> {
        // The holder must see every reading, also one that goes back.
        let left = holder.lease_left(now, cell);
        let leads = self.role == Role::Leads(request.term) && holder.term() == Some(request.term);
        if !leads || from == holder.id() || request.drift_ppm >= MAX_DRIFT_PPM {
            return None;
        }
        let (matched, commit) = (matched?, self.commit);
        let patience = self.patience();
        let at = self.slot_of(from, now)?;
        let borrower = self.borrowers[at].as_mut()?;
        borrower.judge(now, matched, commit, patience);
        if !borrower.keeps_up || self.recalling || self.change_waits {
            return None;
        }
        let (now, left) = (now?, left?);
        let length = scale_by_drift(left, self.config.timing().drift_ppm.max(request.drift_ppm));
        if length.is_zero() {
            return None;
        }
        let until = now.plus(left);
        borrower.until = Some(borrower.until.map_or(until, |earlier| earlier.max_each(until)));
        borrower.granted = borrower.granted.max(request.number);
        self.statistics.granted += 1;
        Some(Grant { term: request.term, number: request.number, length, floor: self.exposed })
    }

    /// Handles a reader's return. It ends the obligation if no later request of that reader was granted.
    pub fn handle_return(&mut self, from: NodeId, returned: Return) {
        for borrower in self.borrowers.iter_mut().flatten().filter(|borrower| borrower.id == from) {
            if returned.through >= borrower.granted && borrower.until.take().is_some() {
                self.statistics.returned += 1;
            }
        }
    }

    /// Ends the obligations whose instant has passed on both counters.
    fn expire(&mut self, now: Reading) {
        let Some(now) = now else { return };
        for borrower in self.borrowers.iter_mut().flatten() {
            if borrower.until.is_some_and(|until| !until.is_maybe_after(now)) {
                borrower.until = None;
                self.statistics.expired += 1;
            }
        }
    }

    fn advance_leader(&mut self, now: Reading, change: Option<Index>, matched: impl Fn(NodeId) -> Option<Index>) {
        let (commit, patience) = (self.commit, self.patience());
        let mut limit = commit;
        for slot in &mut self.borrowers {
            let Some(borrower) = slot else { continue };
            let tracked = matched(borrower.id);
            if borrower.until.is_some() {
                // A node to which the engine does not replicate acknowledges nothing more.
                limit = limit.min(tracked.unwrap_or(0));
            } else if tracked.is_none() {
                *slot = None;
                continue;
            }
            let kept_up = borrower.keeps_up;
            borrower.judge(now, tracked.unwrap_or(0), commit, patience);
            self.statistics.slow += u64::from(kept_up && !borrower.keeps_up && borrower.until.is_some());
        }
        let obligated = self.is_obligated(now);
        let change = change.filter(|change| obligated && (self.exposed + 1..=commit).contains(change));
        self.change_waits = change.is_some();
        if let Some(change) = change {
            limit = limit.min(change - 1);
        }
        self.exposed = self.exposed.max(limit);
    }

    fn in_force(&self, now: Reading) -> impl Iterator<Item = &Borrower> {
        self.borrowers.iter().flatten().filter(move |borrower| borrower.is_obligation_in_force(now))
    }

    /// Returns the place of a node. A new one takes that of a node without an obligation, if no place is empty.
    fn slot_of(&mut self, id: NodeId, now: Reading) -> Option<usize> {
        let known = |slot: &Option<Borrower>| slot.is_some_and(|borrower| borrower.id == id);
        let unused = |slot: &Option<Borrower>| !slot.is_some_and(|borrower| borrower.until.is_some());
        let slots = &self.borrowers;
        if let Some(at) = slots.iter().position(known) {
            return Some(at);
        }
        let at = slots.iter().position(Option::is_none).or_else(|| slots.iter().position(unused))?;
        let (granted, target, since) = (0, self.commit, now);
        self.borrowers[at] = Some(Borrower { id, until: None, granted, keeps_up: false, target, since });
        Some(at)
    }

    fn patience(&self) -> Duration {
        self.config.heartbeat() * MAX_HEARTBEATS_BEHIND
    }
}

impl Borrower {
    /// Returns whether the reader may still use a sublease. Without a reading it may.
    fn is_obligation_in_force(&self, now: Reading) -> bool {
        match (self.until, now) {
            (Some(until), Some(now)) => until.is_maybe_after(now),
            (until, None) => until.is_some(),
            (None, Some(_)) => false,
        }
    }

    /// Judges, by what it has acknowledged, if the reader keeps up: under load it is always a little behind, so it must
    /// reach in time what was committed a little earlier.
    fn judge(&mut self, now: Reading, matched: Index, commit: Index, patience: Duration) {
        let late = now.zip(self.since).is_some_and(|(now, since)| now.elapsed_since(since).at_most > patience);
        if matched >= commit || (matched >= self.target && !late) {
            self.keeps_up = true;
        } else if matched < self.target && late {
            self.keeps_up = false;
        }
        if late || matched >= self.target || self.since.is_none() {
            (self.target, self.since) = (commit, now);
        }
    }
}
