//! Routing: where a request is executed, and its outcome. Each group has a router of its own, so that the requests of a
//! group that makes no progress cost the others nothing.
//!
//! A read is answered under the lease, after a quorum round, or on a follower from its own state at an index that the leader
//! grants. A write is proposed here or forwarded to the leader. A request that was certainly not executed is tried again until
//! its deadline; one that may have been executed never is. Deadlines are judged by readings, and by ticks while the
//! clock gives none.

mod common;
mod timeouts;

pub(crate) use common::Common;

use crate::events::{Output, Reply, Request, RequestError};
use crate::group::{Group, ReadMode};
use crate::outputs::Outputs;
use crate::pending::{RequestKey, WriteOutcome};
use crate::ports::{GroupId, StateMachine};
use crate::status::{Ground, ReadGrant, RouterStatistics};
use crate::stopwatch::Stopwatch;
use crate::wire::{Body, Message, PeerAnswer, PeerRequest, RequestId};
use common::Kind;
use leasehold_core::{Index, NodeId, Reading};
use leasehold_raft::{Position, ProposeError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The time that a request waits for a leader and its outcome, unless the options say otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that a request that was not executed waits before it is tried again. A new leader ends it early.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A client of this node, by the ticket under which the reply goes out.
    Client { ticket: u64 },
    /// Another node.
    Peer { node: NodeId, id: RequestId, bytes: usize },
}

impl Origin {
    fn kind(self) -> Kind {
        match self {
            Origin::Client { .. } => Kind::Client,
            Origin::Peer { .. } => Kind::Peer,
        }
    }

    /// Returns the bytes that count towards the limit for peers.
    fn bytes(self) -> usize {
        match self {
            Origin::Client { .. } => 0,
            Origin::Peer { bytes, .. } => bytes,
        }
    }
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

/// The group that a router acts on, what it shares with other routers, and the queue of its outputs.
pub(crate) struct Context<'a, M: StateMachine> {
    pub(crate) now: Reading,
    pub(crate) id: GroupId,
    pub(crate) group: &'a mut Group<M>,
    pub(crate) common: &'a mut Common,
    pub(crate) outputs: &'a mut Outputs<M>,
    /// Too much waits for the disk, or to be applied, so the group takes no entries.
    pub(crate) is_overloaded: bool,
}

/// Routes the requests of clients and peers for one group.
#[derive(Debug, Default)]
pub(crate) struct Router {
    requests: BTreeMap<RequestKey, Pending>,
    next_key: RequestKey,
    /// Forwarded writes by attempt.
    attempts: BTreeMap<u64, RequestKey>,
    /// Requests in [`State::Waiting`], and when they are tried again.
    waiting: Vec<RequestKey>,
    retry_at: Reading,
    stopwatch: Stopwatch,
    read_indexes: ReadIndexes,
    /// Reads in [`State::AwaitsApply`].
    awaiting_apply: BTreeSet<(Index, RequestKey)>,
    /// A read has waited too long for this node to catch up with its leader.
    is_lagging: bool,
    /// The writes of peers that are pending.
    peer_writes: BTreeMap<(NodeId, RequestId), RequestKey>,
    peer_requests: usize,
    peer_bytes: usize,
    statistics: RouterStatistics,
}

impl Router {
    pub(crate) fn statistics(&self) -> RouterStatistics {
        self.statistics
    }

    /// Takes a client's request. Its reply goes out under `ticket`, exactly once.
    pub(crate) fn submit<M: StateMachine>(&mut self, context: &mut Context<'_, M>, ticket: u64, request: Request) {
        let pending = self.requests.len() - self.peer_requests;
        let refused = if context.common.stopping {
            Some(RequestError::Stopping)
        } else if !context.common.has_room(Kind::Client, pending) {
            Some(RequestError::Busy)
        } else if matches!(request, Request::Write(_)) && context.common.is_resuming(context.now) {
            Some(RequestError::TimedOut)
        } else {
            None
        };
        match refused {
            Some(error) => context.outputs.push(Output::Reply { ticket, outcome: Err(error) }),
            None => {
                let within = context.common.timeout + request.time_for_its_bytes();
                let key = self.insert(context, Origin::Client { ticket }, request, within);
                self.attempt(context, key);
            }
        }
    }

    fn insert<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        origin: Origin,
        request: Request,
        within: Duration,
    ) -> RequestKey {
        let deadline = self.stopwatch.at(context.now) + within;
        self.next_key += 1;
        context.common.add(origin.kind(), origin.bytes());
        self.requests.insert(self.next_key, Pending { origin, request, deadline, state: State::Waiting });
        self.next_key
    }

    /// Takes a peer's request. It is executed here or not at all: a node forwards only its own clients' requests.
    pub(crate) fn handle_peer_request<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        from: NodeId,
        id: RequestId,
        request: PeerRequest,
    ) {
        let timeout = context.common.timeout;
        let (request, bytes, within) = match request {
            PeerRequest::ReadIndex => (Request::Read(ReadMode::Lease), 0, timeout),
            PeerRequest::Outcome => {
                // A copy that arrives later is not executed: the outcome stays unknown.
                let unknown = context.common.seen.first_time(id) || !self.peer_writes.contains_key(&(from, id));
                if unknown {
                    Self::answer(context, from, id, PeerAnswer::Uncertain);
                }
                return;
            }
            PeerRequest::Propose { command, .. } if command.is_empty() => return,
            // A node that cannot apply it would have to stop.
            PeerRequest::Propose { command, .. } if !context.group.may_propose(&command) => {
                return Self::answer(context, from, id, PeerAnswer::NotExecuted);
            }
            PeerRequest::Propose { command, within } => {
                if !context.common.seen.first_time(id) {
                    // The first execution answers.
                    self.statistics.requests_repeated += 1;
                    return;
                }
                let bytes = command.len();
                let request = Request::Write(command);
                let within = within.min(timeout + request.time_for_its_bytes());
                (request, bytes, within)
            }
        };
        let is_write = matches!(request, Request::Write(_));
        if context.common.stopping || (is_write && (within.is_zero() || context.common.is_resuming(context.now))) {
            return Self::answer(context, from, id, PeerAnswer::NotExecuted);
        }
        let fits = context.common.has_room_for_bytes(self.peer_bytes, bytes);
        if !fits || !context.common.has_room(Kind::Peer, self.peer_requests) {
            // A valid lease answers at once, so that needs no room.
            if let Request::Read(_) = request
                && let Some(grant) = context.group.read_under_lease(context.now)
            {
                let answer = PeerAnswer::ReadIndex { index: grant.index, by_lease: true };
                return Self::answer(context, from, id, answer);
            }
            self.statistics.requests_refused += 1;
            return Self::answer(context, from, id, PeerAnswer::Busy);
        }
        self.peer_requests += 1;
        self.peer_bytes += bytes;
        let key = self.insert(context, Origin::Peer { node: from, id, bytes }, request, within);
        if is_write {
            self.peer_writes.insert((from, id), key);
        }
        self.attempt(context, key);
    }

    fn answer<M: StateMachine>(context: &mut Context<'_, M>, to: NodeId, id: RequestId, answer: PeerAnswer) {
        let message = Message { group: context.id, body: Body::Answer { id, answer } };
        context.outputs.send(to, message);
    }

    /// Tries to execute a request.
    fn attempt<M: StateMachine>(&mut self, context: &mut Context<'_, M>, key: RequestKey) {
        let Some(pending) = self.requests.get(&key) else { return };
        let (origin, node, now) = (pending.origin, context.common.node, context.now);
        let leader = context.group.replica().leader();
        let is_peer = matches!(origin, Origin::Peer { .. });
        match (&pending.request, leader) {
            (Request::Write(_), Some(leader)) if context.common.refuses_writes && (leader == node || is_peer) => {
                self.fail(context, key, RequestError::Busy);
            }
            (Request::Write(command), Some(leader)) if leader == node || is_peer => {
                // What waits for readers counts as well, but keeps no entries of another leader away.
                let is_behind = context.common.is_behind(context.group.committed_bytes());
                if (context.is_overloaded || is_behind) && leader == node {
                    // The load has until its deadline to pass.
                    return self.try_later(context, key);
                }
                match context.group.propose(now, key, command.clone()) {
                    Ok(position) => self.set_state(key, State::Proposed(position)),
                    // The proposals before it need the disk's time, which its deadline allows for.
                    Err(ProposeError::Busy) => self.try_later(context, key),
                    Err(_) => self.wait(context, key),
                }
            }
            (Request::Write(command), Some(leader)) => {
                let within = pending.deadline.saturating_sub(self.stopwatch.at(now));
                let request = PeerRequest::Propose { command: command.clone(), within };
                let attempt = Self::send_request(context, leader, request);
                self.statistics.writes_forwarded += 1;
                self.attempts.insert(attempt, key);
                let state = State::Forwarded { attempt, leader, deposed_at: None };
                self.set_state(key, state);
            }
            (Request::Read(mode), Some(leader)) if leader == node || is_peer => {
                match context.group.read(now, key, *mode) {
                    Ok(Some(grant)) => self.granted(context, key, grant),
                    Ok(None) => self.set_state(key, State::AwaitsRound),
                    Err(_) => self.wait(context, key),
                }
            }
            (Request::Read(ReadMode::Lease), Some(_)) if let Some(grant) = context.group.read_locally(now) => {
                self.granted(context, key, grant);
            }
            (Request::Read(_), Some(_)) => {
                // Its request leaves once everything else of this turn is done: see `ask_read_indexes`.
                self.set_state(key, State::AwaitsReadIndex);
                let reads = &mut self.read_indexes;
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
        if context.common.stopping {
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

    fn send_request<M: StateMachine>(context: &mut Context<'_, M>, to: NodeId, request: PeerRequest) -> u64 {
        let attempt = context.common.next_attempt();
        Self::send(context, to, attempt, request);
        attempt
    }

    fn send<M: StateMachine>(context: &mut Context<'_, M>, to: NodeId, attempt: u64, request: PeerRequest) {
        let id = RequestId { boot: context.common.boot, sequence: attempt };
        let message = Message { group: context.id, body: Body::Request { id, request } };
        context.outputs.send(to, message);
    }

    /// Asks the leader for one index for all reads that have gathered, unless one is asked for. Returns false if there
    /// was nothing to do.
    pub(crate) fn ask_read_index<M: StateMachine>(&mut self, context: &mut Context<'_, M>) -> bool {
        if self.read_indexes.asked.is_some() || self.read_indexes.gathering.is_empty() {
            return false;
        }
        let requests = std::mem::take(&mut self.read_indexes.gathering);
        let leader = context.group.replica().leader();
        match leader.filter(|leader| *leader != context.common.node) {
            Some(leader) => {
                let attempt = Self::send_request(context, leader, PeerRequest::ReadIndex);
                self.statistics.read_indexes_asked += 1;
                let since = self.stopwatch.at(context.now);
                self.read_indexes.asked = Some(Asked { attempt, leader, since, requests });
            }
            None => requests.into_iter().for_each(|key| self.attempt(context, key)),
        }
        true
    }

    /// The request for a read index has an answer, or will have none. Reads that gathered meanwhile ask for the next.
    fn read_index_ended<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        outcome: Option<Result<ReadGrant, RequestError>>,
    ) {
        let Some(asked) = self.read_indexes.asked.take() else { return };
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
        if let Origin::Peer { node, id, .. } = pending.origin {
            self.remove(context, key);
            let ReadGrant { index, ground, .. } = grant;
            let by_lease = ground == Ground::Lease;
            return Self::answer(context, node, id, PeerAnswer::ReadIndex { index, by_lease });
        }
        if context.group.applied().index >= grant.index {
            self.is_lagging = false;
            self.finish(context, key, Ok(Reply::Readable(grant)));
        } else if grant.as_follower && self.is_lagging {
            // Another read has waited too long, and no read has succeeded since.
            self.fail(context, key, RequestError::Lagging);
        } else {
            self.statistics.reads_awaited_apply += 1;
            let since = self.stopwatch.at(context.now);
            self.set_state(key, State::AwaitsApply { grant, since });
            self.awaiting_apply.insert((grant.index, key));
        }
    }

    /// Entries were applied, or a snapshot installed.
    pub(crate) fn applied<M: StateMachine>(&mut self, context: &mut Context<'_, M>, applied: Index) {
        while let Some(&(index, key)) = self.awaiting_apply.first()
            && index <= applied
        {
            if let Some(State::AwaitsApply { grant, .. }) = self.requests.get(&key).map(|pending| pending.state) {
                self.is_lagging = false;
                self.finish(context, key, Ok(Reply::Readable(grant)));
            }
            self.awaiting_apply.remove(&(index, key));
        }
    }

    /// A quorum round confirmed a read.
    pub(crate) fn confirmed<M: StateMachine>(&mut self, context: &mut Context<'_, M>, key: RequestKey, index: Index) {
        self.granted(context, key, ReadGrant { index, ground: Ground::Quorum, as_follower: false });
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
        id: RequestId,
        answer: PeerAnswer,
    ) {
        if id.boot != context.common.boot {
            return;
        }
        let awaited = |asked: &Asked| asked.attempt == id.sequence && asked.leader == from;
        if self.read_indexes.asked.as_ref().is_some_and(awaited) {
            let outcome = match answer {
                PeerAnswer::ReadIndex { index, by_lease } => {
                    Some(Ok(ReadGrant { index, ground: Ground::of_leader(by_lease), as_follower: true }))
                }
                PeerAnswer::Busy => Some(Err(RequestError::Busy)),
                _ => None,
            };
            return self.read_index_ended(context, outcome);
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
        id: RequestId,
        request: &PeerRequest,
    ) {
        let asked = self.read_indexes.asked.as_ref();
        if asked.is_some_and(|asked| asked.attempt == id.sequence) {
            self.read_index_ended(context, None);
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
            Origin::Client { ticket } => context.outputs.push(Output::Reply { ticket, outcome }),
            Origin::Peer { node, id, .. } => {
                let answer = match outcome {
                    Ok(Reply::Written { index, output }) => {
                        PeerAnswer::Applied { index, output: M::encode_output(&output) }
                    }
                    Ok(Reply::Readable(ReadGrant { index, ground, .. })) => {
                        PeerAnswer::ReadIndex { index, by_lease: ground == Ground::Lease }
                    }
                    Err(RequestError::Busy) => PeerAnswer::Busy,
                    Err(RequestError::Uncertain) => PeerAnswer::Uncertain,
                    Err(
                        RequestError::TimedOut
                        | RequestError::Stopping
                        | RequestError::Lagging
                        | RequestError::NoGroup
                        | RequestError::Halted,
                    ) => PeerAnswer::NotExecuted,
                };
                Self::answer(context, node, id, answer);
            }
        }
    }

    fn remove<M: StateMachine>(&mut self, context: &mut Context<'_, M>, key: RequestKey) -> Option<Pending> {
        let pending = self.requests.remove(&key)?;
        match pending.state {
            State::Proposed(position) => context.group.forget_write(position),
            State::Forwarded { attempt, .. } => drop(self.attempts.remove(&attempt)),
            State::AwaitsApply { grant, .. } => drop(self.awaiting_apply.remove(&(grant.index, key))),
            State::Waiting | State::AwaitsRound | State::AwaitsReadIndex => {}
        }
        context.common.remove(pending.origin.kind(), pending.origin.bytes());
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
