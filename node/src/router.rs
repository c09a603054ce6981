//! Routing: where a request is executed, and its outcome.
//!
//! A read is answered under the lease, after a quorum round, or on a follower from its own state at an index that the leader
//! grants. A write is proposed here or forwarded to the leader. A request that was certainly not executed is tried again until
//! its deadline; one that may have been executed never is. Deadlines are judged by readings, and by ticks while the
//! clock gives none.

mod timeouts;

use crate::dedup::Seen;
use crate::events::{Output, Reply, Request, RequestError};
use crate::group::{Group, ReadMode};
use crate::pending::{RequestKey, WriteOutcome};
use crate::ports::{GroupId, StateMachine};
use crate::status::{ReadGrant, RouterStatistics};
use crate::stopwatch::Stopwatch;
use crate::wire::{Body, Message, PeerAnswer, PeerRequest, RequestId};
use leasehold_core::{Index, NodeId, Reading};
use leasehold_raft::{Position, ProposeError};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The time that a request waits for a leader and its outcome, unless the options say otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that a request that was not executed waits before it is tried again. A new leader ends it early.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// The largest number of clients' requests that may be pending.
const MAX_REQUESTS: usize = 65_536;
/// The largest number of peers' requests that may be pending, and the bytes of their commands together. A peer that
/// limits the writes of its clients reaches neither.
const MAX_PEER_REQUESTS: usize = 4096;
const MAX_PEER_BYTES: usize = 512 << 20;

/// The sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A client of this node, by the ticket under which the reply goes out.
    Client { ticket: u64 },
    /// Another node.
    Peer { node: NodeId, id: RequestId, bytes: usize },
}

/// The progress of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No leader is known, or the last attempt was certainly not executed. It is tried again.
    Waiting,
    /// Proposed here: it may be executed.
    Proposed(Position),
    /// Waits for a quorum round.
    AwaitsRound,
    /// Waits for a read index from the leader.
    AwaitsReadIndex,
    /// Granted at this index, which is not applied yet.
    AwaitsApply { grant: ReadGrant, since: Duration },
    /// Sent to the leader: it may be executed. `deposed_at` is set when another node was seen to lead.
    Forwarded { attempt: u64, leader: NodeId, deposed_at: Option<Duration> },
}

impl State {
    /// Returns true if the request may have been executed, or may still be.
    fn may_execute(self) -> bool {
        matches!(self, State::Proposed(_) | State::Forwarded { .. })
    }
}

impl Request {
    /// Returns the time that it may take beyond the timeout, because every node has to send and to write its bytes: a
    /// second for each megabyte.
    pub(crate) fn time_for_its_bytes(&self) -> Duration {
        match self {
            Request::Write(command) => Duration::from_micros(command.len() as u64),
            Request::Read(_) => Duration::ZERO,
        }
    }
}

#[derive(Debug)]
struct Pending {
    origin: Origin,
    group: GroupId,
    request: Request,
    /// The time at which it has waited long enough, by the stopwatch.
    deadline: Duration,
    state: State,
}

/// Reads of a follower that wait for an index from the leader. Those that arrive while one request is out share the
/// next: each request leaves after every read it is for has arrived.
#[derive(Debug, Default)]
struct ReadIndexes {
    asked: Option<Asked>,
    gathering: Vec<RequestKey>,
}

#[derive(Debug)]
struct Asked {
    attempt: u64,
    leader: NodeId,
    since: Duration,
    requests: Vec<RequestKey>,
}

/// The groups that the router acts on, and the queue of its outputs.
pub(crate) struct Context<'a, M: StateMachine> {
    pub(crate) now: Reading,
    pub(crate) groups: &'a mut BTreeMap<GroupId, Group<M>>,
    pub(crate) outputs: &'a mut VecDeque<Output<M>>,
    /// Too much waits for the disk, so nothing is proposed.
    pub(crate) disk_is_full: bool,
}

/// Routes the requests of clients and peers for every group of a node.
#[derive(Debug)]
pub(crate) struct Router {
    node: NodeId,
    boot: u64,
    timeout: Duration,
    requests: BTreeMap<RequestKey, Pending>,
    next_key: RequestKey,
    next_attempt: u64,
    /// Forwarded writes by attempt.
    attempts: BTreeMap<u64, RequestKey>,
    /// Requests in [`State::Waiting`], and when they are tried again.
    waiting: Vec<RequestKey>,
    retry_at: Reading,
    stopwatch: Stopwatch,
    read_indexes: BTreeMap<GroupId, ReadIndexes>,
    /// Reads in [`State::AwaitsApply`].
    awaiting_apply: BTreeSet<(GroupId, Index, RequestKey)>,
    /// Groups in which a read has waited too long for this node to catch up with its leader.
    lagging: BTreeSet<GroupId>,
    seen: Seen,
    /// The writes of peers that are pending.
    peer_writes: BTreeMap<(NodeId, RequestId), RequestKey>,
    /// No write is taken until this time: see [`Router::note_time`].
    refuses_until: Duration,
    peer_requests: usize,
    peer_bytes: usize,
    stopping: bool,
    /// Nothing is proposed here.
    refuses_writes: bool,
    statistics: RouterStatistics,
}

impl Router {
    /// Returns a router. `boot` is a number that this process drew at random.
    pub(crate) fn new(node: NodeId, boot: u64, timeout: Duration) -> Router {
        Router {
            node,
            boot,
            timeout,
            requests: BTreeMap::new(),
            next_key: 1,
            next_attempt: 1,
            attempts: BTreeMap::new(),
            waiting: Vec::new(),
            retry_at: None,
            stopwatch: Stopwatch::default(),
            read_indexes: BTreeMap::new(),
            awaiting_apply: BTreeSet::new(),
            lagging: BTreeSet::new(),
            seen: Seen::default(),
            peer_writes: BTreeMap::new(),
            refuses_until: Duration::ZERO,
            peer_requests: 0,
            peer_bytes: 0,
            stopping: false,
            refuses_writes: false,
            statistics: RouterStatistics::default(),
        }
    }

    pub(crate) fn statistics(&self) -> RouterStatistics {
        self.statistics
    }

    /// Returns the number of requests that are pending.
    pub(crate) fn pending(&self) -> usize {
        self.requests.len()
    }

    /// Refuses every write that would be proposed here, or accepts them again.
    pub(crate) fn refuse_writes(&mut self, refuse: bool) {
        self.refuses_writes = refuse;
    }

    /// Takes a client's request. Its reply goes out under `ticket`, exactly once.
    pub(crate) fn submit<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        ticket: u64,
        group: GroupId,
        request: Request,
    ) {
        let refused = if self.stopping {
            Some(RequestError::Stopping)
        } else if self.requests.len() - self.peer_requests >= MAX_REQUESTS {
            Some(RequestError::Busy)
        } else if matches!(request, Request::Write(_)) && self.is_resuming(context.now) {
            Some(RequestError::TimedOut)
        } else {
            None
        };
        match refused {
            Some(error) => context.outputs.push_back(Output::Reply { ticket, outcome: Err(error) }),
            None => {
                let within = self.timeout + request.time_for_its_bytes();
                let key = self.insert(context.now, Origin::Client { ticket }, group, request, within);
                self.attempt(context, key);
            }
        }
    }

    fn insert(
        &mut self,
        now: Reading,
        origin: Origin,
        group: GroupId,
        request: Request,
        within: Duration,
    ) -> RequestKey {
        let deadline = self.stopwatch.at(now) + within;
        let key = self.next_key;
        self.next_key += 1;
        self.requests.insert(key, Pending { origin, group, request, deadline, state: State::Waiting });
        key
    }

    /// Takes a peer's request. It is executed here or not at all: a node forwards only its own clients' requests.
    pub(crate) fn handle_peer_request<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        from: NodeId,
        group: GroupId,
        id: RequestId,
        request: PeerRequest,
    ) {
        let (request, bytes, within) = match request {
            PeerRequest::ReadIndex => (Request::Read(ReadMode::Lease), 0, self.timeout),
            PeerRequest::Outcome => {
                // A copy that arrives later is not executed: the outcome stays unknown.
                let unknown = self.seen.first_time(id) || !self.peer_writes.contains_key(&(from, id));
                if unknown {
                    Self::answer(context, from, group, id, PeerAnswer::Uncertain);
                }
                return;
            }
            PeerRequest::Propose { command, .. } if command.is_empty() => return,
            // A node that cannot apply it would have to stop.
            PeerRequest::Propose { command, .. }
                if !context.groups.get(&group).is_some_and(|group| group.may_propose(&command)) =>
            {
                return Self::answer(context, from, group, id, PeerAnswer::NotExecuted);
            }
            PeerRequest::Propose { command, within } => {
                if !self.seen.first_time(id) {
                    // The first execution answers.
                    self.statistics.requests_repeated += 1;
                    return;
                }
                let bytes = command.len();
                let request = Request::Write(command);
                let within = within.min(self.timeout + request.time_for_its_bytes());
                (request, bytes, within)
            }
        };
        let is_write = matches!(request, Request::Write(_));
        let alone = self.peer_requests == 0;
        if self.stopping || (is_write && (within.is_zero() || self.is_resuming(context.now))) {
            return Self::answer(context, from, group, id, PeerAnswer::NotExecuted);
        }
        if self.peer_requests >= MAX_PEER_REQUESTS || (!alone && self.peer_bytes + bytes > MAX_PEER_BYTES) {
            // A valid lease answers at once, so that needs no room.
            if let Request::Read(_) = request
                && let Some(grant) =
                    context.groups.get_mut(&group).and_then(|group| group.read_under_lease(context.now))
            {
                let answer = PeerAnswer::ReadIndex { index: grant.index, by_lease: true };
                return Self::answer(context, from, group, id, answer);
            }
            self.statistics.requests_refused += 1;
            return Self::answer(context, from, group, id, PeerAnswer::Busy);
        }
        self.peer_requests += 1;
        self.peer_bytes += bytes;
        let key = self.insert(context.now, Origin::Peer { node: from, id, bytes }, group, request, within);
        if is_write {
            self.peer_writes.insert((from, id), key);
        }
        self.attempt(context, key);
    }

    fn answer<M: StateMachine>(
        context: &mut Context<'_, M>,
        to: NodeId,
        group: GroupId,
        id: RequestId,
        answer: PeerAnswer,
    ) {
        let message = Message { group, body: Body::Answer { id, answer } };
        context.outputs.push_back(Output::Send { to, message });
    }

    /// Tries to execute a request.
    fn attempt<M: StateMachine>(&mut self, context: &mut Context<'_, M>, key: RequestKey) {
        let Some(pending) = self.requests.get(&key) else { return };
        let (origin, id, now) = (pending.origin, pending.group, context.now);
        let Some(group) = context.groups.get_mut(&id) else { return self.wait(context, key) };
        let leader = group.replica().leader();
        let is_peer = matches!(origin, Origin::Peer { .. });
        match (&pending.request, leader) {
            (Request::Write(_), Some(leader)) if self.refuses_writes && (leader == self.node || is_peer) => {
                self.fail(context, key, RequestError::Busy);
            }
            (Request::Write(command), Some(leader)) if leader == self.node || is_peer => {
                if context.disk_is_full && leader == self.node {
                    // The disk has until its deadline.
                    return self.try_later(context, key);
                }
                match group.propose(now, key, command.clone()) {
                    Ok(position) => self.set_state(key, State::Proposed(position)),
                    // The proposals before it need the disk's time, which its deadline allows for.
                    Err(ProposeError::Busy) => self.try_later(context, key),
                    Err(_) => self.wait(context, key),
                }
            }
            (Request::Write(command), Some(leader)) => {
                let within = pending.deadline.saturating_sub(self.stopwatch.at(now));
                let request = PeerRequest::Propose { command: command.clone(), within };
                let attempt = self.send_request(context, leader, id, request);
                self.statistics.writes_forwarded += 1;
                self.attempts.insert(attempt, key);
                let state = State::Forwarded { attempt, leader, deposed_at: None };
                self.set_state(key, state);
            }
            (Request::Read(mode), Some(leader)) if leader == self.node || is_peer => {
                match group.read(now, key, *mode) {
                    Ok(Some(grant)) => self.granted(context, key, grant),
                    Ok(None) => self.set_state(key, State::AwaitsRound),
                    Err(_) => self.wait(context, key),
                }
            }
            (Request::Read(_), Some(_)) => {
                // Its request leaves once everything else of this turn is done: see `ask_read_indexes`.
                self.set_state(key, State::AwaitsReadIndex);
                let reads = self.read_indexes.entry(id).or_default();
                reads.gathering.push(key);
            }
            (_, None) => self.wait(context, key),
        }
    }

    fn set_state(&mut self, key: RequestKey, state: State) {
        if let Some(pending) = self.requests.get_mut(&key) {
            pending.state = state;
        }
    }

    /// The request was certainly not executed: a client's is tried again later, a peer tries again itself.
    fn wait<M: StateMachine>(&mut self, context: &mut Context<'_, M>, key: RequestKey) {
        let Some(pending) = self.requests.get(&key) else { return };
        if self.stopping {
            return self.fail(context, key, RequestError::Stopping);
        }
        match pending.origin {
            Origin::Peer { .. } => self.fail(context, key, RequestError::TimedOut),
            Origin::Client { .. } => self.try_later(context, key),
        }
    }

    fn try_later<M: StateMachine>(&mut self, context: &mut Context<'_, M>, key: RequestKey) {
        self.set_state(key, State::Waiting);
        self.waiting.push(key);
        self.retry_at = self.retry_at.or_else(|| context.now.map(|now| now.plus(RETRY_INTERVAL)));
    }

    fn send_request<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        to: NodeId,
        group: GroupId,
        request: PeerRequest,
    ) -> u64 {
        let attempt = self.next_attempt;
        self.next_attempt += 1;
        self.send(context, to, group, attempt, request);
        attempt
    }

    fn send<M: StateMachine>(
        &self,
        context: &mut Context<'_, M>,
        to: NodeId,
        group: GroupId,
        attempt: u64,
        request: PeerRequest,
    ) {
        let id = RequestId { boot: self.boot, sequence: attempt };
        let message = Message { group, body: Body::Request { id, request } };
        context.outputs.push_back(Output::Send { to, message });
    }

    /// Asks a group's leader for one index for all reads that have gathered, unless one is asked for. Returns false if
    /// there was nothing to do.
    pub(crate) fn ask_read_indexes<M: StateMachine>(&mut self, context: &mut Context<'_, M>) -> bool {
        let due = |reads: &ReadIndexes| reads.asked.is_none() && !reads.gathering.is_empty();
        let Some((&group, reads)) = self.read_indexes.iter_mut().find(|(_, reads)| due(reads)) else { return false };
        let requests = std::mem::take(&mut reads.gathering);
        let leader = context.groups.get(&group).and_then(|group| group.replica().leader());
        match leader.filter(|leader| *leader != self.node) {
            Some(leader) => {
                let attempt = self.send_request(context, leader, group, PeerRequest::ReadIndex);
                self.statistics.read_indexes_asked += 1;
                let asked = Asked { attempt, leader, since: self.stopwatch.at(context.now), requests };
                self.read_indexes.entry(group).or_default().asked = Some(asked);
            }
            None => requests.into_iter().for_each(|key| self.attempt(context, key)),
        }
        true
    }

    /// The request for a read index has an answer, or will have none. Reads that gathered meanwhile ask for the next.
    fn read_index_ended<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        group: GroupId,
        outcome: Option<Result<ReadGrant, RequestError>>,
    ) {
        let Some(reads) = self.read_indexes.get_mut(&group) else { return };
        let Some(asked) = reads.asked.take() else { return };
        for key in asked.requests {
            match outcome {
                Some(Ok(grant)) => self.granted(context, key, grant),
                Some(Err(error)) => self.fail(context, key, error),
                None => self.wait(context, key),
            }
        }
    }

    /// A read was granted. A client's is answered once the index is applied here; a peer waits for that itself.
    fn granted<M: StateMachine>(&mut self, context: &mut Context<'_, M>, key: RequestKey, grant: ReadGrant) {
        let Some(pending) = self.requests.get(&key) else { return };
        let group = pending.group;
        if let Origin::Peer { node, id, .. } = pending.origin {
            self.remove(context, key);
            let ReadGrant { index, by_lease, .. } = grant;
            return Self::answer(context, node, group, id, PeerAnswer::ReadIndex { index, by_lease });
        }
        let applied = context.groups.get(&group).map_or(0, |group| group.applied().index);
        if applied >= grant.index {
            self.lagging.remove(&group);
            self.finish(context, key, Ok(Reply::Readable(grant)));
        } else if grant.as_follower && self.lagging.contains(&group) {
            // Another read has waited too long, and no read has succeeded since.
            self.fail(context, key, RequestError::Lagging);
        } else {
            self.statistics.reads_awaited_apply += 1;
            let since = self.stopwatch.at(context.now);
            self.set_state(key, State::AwaitsApply { grant, since });
            self.awaiting_apply.insert((group, grant.index, key));
        }
    }

    /// Entries were applied, or a snapshot installed.
    pub(crate) fn applied<M: StateMachine>(&mut self, context: &mut Context<'_, M>, group: GroupId, applied: Index) {
        while let Some(&(of, index, key)) = self.awaiting_apply.range((group, 0, 0)..).next()
            && of == group
            && index <= applied
        {
            if let Some(State::AwaitsApply { grant, .. }) = self.requests.get(&key).map(|pending| pending.state) {
                self.lagging.remove(&group);
                self.finish(context, key, Ok(Reply::Readable(grant)));
            }
            self.awaiting_apply.remove(&(of, index, key));
        }
    }

    /// A quorum round confirmed a read.
    pub(crate) fn confirmed<M: StateMachine>(&mut self, context: &mut Context<'_, M>, key: RequestKey, index: Index) {
        self.granted(context, key, ReadGrant { index, by_lease: false, as_follower: false });
    }

    /// A read's quorum round ended with the leadership.
    pub(crate) fn aborted<M: StateMachine>(&mut self, context: &mut Context<'_, M>, key: RequestKey) {
        self.wait(context, key);
    }

    /// A proposed write has its outcome.
    pub(crate) fn decided<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        key: RequestKey,
        index: Index,
        outcome: WriteOutcome<M::Output>,
    ) {
        match outcome {
            WriteOutcome::Applied(output) => self.finish(context, key, Ok(Reply::Written { index, output })),
            WriteOutcome::Displaced => self.wait(context, key),
            WriteOutcome::Unknown => self.fail(context, key, RequestError::Uncertain),
        }
    }

    /// A peer answered. An answer that is not awaited, or comes from another node than the one asked, is dropped.
    pub(crate) fn handle_answer<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        from: NodeId,
        group: GroupId,
        id: RequestId,
        answer: PeerAnswer,
    ) {
        if id.boot != self.boot {
            return;
        }
        let awaited = |asked: &Asked| asked.attempt == id.sequence && asked.leader == from;
        if self.read_indexes.get(&group).and_then(|reads| reads.asked.as_ref()).is_some_and(awaited) {
            let outcome = match answer {
                PeerAnswer::ReadIndex { index, by_lease } => Some(Ok(ReadGrant { index, by_lease, as_follower: true })),
                PeerAnswer::Busy => Some(Err(RequestError::Busy)),
                _ => None,
            };
            return self.read_index_ended(context, group, outcome);
        }
        let Some(&key) = self.attempts.get(&id.sequence) else { return };
        let forwarded_to = |pending: &Pending| match pending.state {
            State::Forwarded { leader, .. } => Some(leader),
            _ => None,
        };
        if self.requests.get(&key).and_then(forwarded_to) != Some(from) {
            return;
        }
        self.attempts.remove(&id.sequence);
        match answer {
            PeerAnswer::Applied { index, output } => match M::decode_output(&output) {
                Some(output) => self.finish(context, key, Ok(Reply::Written { index, output })),
                None => self.fail(context, key, RequestError::Uncertain),
            },
            PeerAnswer::NotExecuted => self.wait(context, key),
            PeerAnswer::Busy => self.fail(context, key, RequestError::Busy),
            PeerAnswer::Uncertain | PeerAnswer::ReadIndex { .. } => self.fail(context, key, RequestError::Uncertain),
        }
    }

    /// A request to a peer certainly did not leave.
    pub(crate) fn handle_not_sent<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        group: GroupId,
        id: RequestId,
        request: &PeerRequest,
    ) {
        let asked = self.read_indexes.get(&group).and_then(|reads| reads.asked.as_ref());
        if asked.is_some_and(|asked| asked.attempt == id.sequence) {
            self.read_index_ended(context, group, None);
        } else if let Some(key) = self.attempts.remove(&id.sequence) {
            match request {
                // The write itself did leave, and the node that got it is lost.
                PeerRequest::Outcome => self.fail(context, key, RequestError::Uncertain),
                _ => self.wait(context, key),
            }
        }
    }

    fn fail<M: StateMachine>(&mut self, context: &mut Context<'_, M>, key: RequestKey, error: RequestError) {
        self.finish(context, key, Err(error));
    }

    /// Ends a request.
    fn finish<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        key: RequestKey,
        outcome: Result<Reply<M::Output>, RequestError>,
    ) {
        let Some(pending) = self.remove(context, key) else { return };
        match pending.origin {
            Origin::Client { ticket } => context.outputs.push_back(Output::Reply { ticket, outcome }),
            Origin::Peer { node, id, .. } => {
                let answer = match outcome {
                    Ok(Reply::Written { index, output }) => {
                        PeerAnswer::Applied { index, output: M::encode_output(&output) }
                    }
                    Ok(Reply::Readable(ReadGrant { index, by_lease, .. })) => PeerAnswer::ReadIndex { index, by_lease },
                    Err(RequestError::Busy) => PeerAnswer::Busy,
                    Err(RequestError::Uncertain) => PeerAnswer::Uncertain,
                    Err(RequestError::TimedOut | RequestError::Stopping | RequestError::Lagging) => {
                        PeerAnswer::NotExecuted
                    }
                };
                Self::answer(context, node, pending.group, id, answer);
            }
        }
    }

    fn remove<M: StateMachine>(&mut self, context: &mut Context<'_, M>, key: RequestKey) -> Option<Pending> {
        let pending = self.requests.remove(&key)?;
        match pending.state {
            State::Proposed(position) => {
                if let Some(group) = context.groups.get_mut(&pending.group) {
                    group.forget_write(position);
                }
            }
            State::Forwarded { attempt, .. } => drop(self.attempts.remove(&attempt)),
            State::AwaitsApply { grant, .. } => drop(self.awaiting_apply.remove(&(pending.group, grant.index, key))),
            State::Waiting | State::AwaitsRound | State::AwaitsReadIndex => {}
        }
        if let Origin::Peer { node, id, bytes } = pending.origin {
            self.peer_requests -= 1;
            self.peer_bytes -= bytes;
            if matches!(pending.request, Request::Write(_)) {
                self.peer_writes.remove(&(node, id));
            }
        }
        Some(pending)
    }
}
