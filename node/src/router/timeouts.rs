//! The ends of a wait: another leader, a deadline, a client that left, the end of the node.

use super::{Context, Origin, Pending, RETRY_INTERVAL, Router, State};
use crate::events::RequestError;
use crate::pending::RequestKey;
use crate::ports::StateMachine;
use crate::status::Ground;
use crate::wire::PeerRequest;
use leasehold_core::{Instant, NodeId};
use std::time::Duration;

/// The time that a forwarded write waits for its answer after another node became leader. The former leader, if it
/// lives, learns that it was deposed and says so.
const LATE_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// The time to wait for the answer to a request for a read index before its reads try again.
const READ_INDEX_TIMEOUT: Duration = Duration::from_secs(1);
/// The time that a read waits until what this node has received is applied. Then it asks the leader, which may know an
/// earlier index: it shows no write before every reader has it, and another leader may have replaced the entries. It
/// is looked at once per tick, so the read may wait for a tick more.
const LOCAL_TIMEOUT: Duration = Duration::from_millis(50);
/// The time that a read waits for this node to catch up with the index that the leader granted.
const LAG_TIMEOUT: Duration = Duration::from_secs(1);

impl Router {
    /// The leader of the group changed, or this node's view of it.
    pub(crate) fn leader_changed<M: StateMachine>(&mut self, context: &mut Context<'_, M>) {
        let leader = context.group.replica().leader();
        if let Some(leader) = leader {
            let now = self.stopwatch.at(context.now);
            for pending in self.requests.values_mut() {
                if let State::Forwarded { leader: asked, deposed_at, .. } = &mut pending.state
                    && *asked != leader
                {
                    deposed_at.get_or_insert(now);
                }
            }
        }
        self.ask_outcomes(context, leader);
        if self.read_indexes.asked.as_ref().is_some_and(|asked| Some(asked.leader) != leader) {
            self.read_index_ended(context, None);
        }
        self.retry(context);
    }

    /// Asks every node that was sent a write, and does not lead any more, what became of the write. If it cannot be
    /// asked, it is lost, and the client need not wait for it.
    fn ask_outcomes<M: StateMachine>(&mut self, context: &mut Context<'_, M>, leader: Option<NodeId>) {
        for pending in self.requests.values() {
            if let State::Forwarded { attempt, leader: asked, .. } = pending.state
                && Some(asked) != leader
            {
                Self::send(context, asked, attempt, PeerRequest::Outcome);
            }
        }
    }

    /// Returns true if requests wait to be tried again.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Ends the requests that wait to be tried again and whose clients have left.
    pub(crate) fn drop_abandoned<M: StateMachine>(
        &mut self,
        context: &mut Context<'_, M>,
        is_abandoned: impl Fn(u64) -> bool,
    ) {
        let left = |pending: &Pending| match pending.origin {
            Origin::Client { ticket } => pending.state == State::Waiting && is_abandoned(ticket),
            Origin::Peer { .. } => false,
        };
        let waiting = self.waiting.iter().copied();
        let abandoned: Vec<_> = waiting.filter(|key| self.requests.get(key).is_some_and(left)).collect();
        for key in abandoned {
            self.statistics.requests_abandoned += 1;
            self.fail(context, key, RequestError::TimedOut);
        }
    }

    pub(super) fn retry<M: StateMachine>(&mut self, context: &mut Context<'_, M>) {
        self.retry_at = None;
        for key in std::mem::take(&mut self.waiting) {
            if self.requests.get(&key).is_some_and(|pending| pending.state == State::Waiting) {
                self.attempt(context, key);
            }
        }
    }

    /// Ends what is overdue, and tries again what waits. It is called at least once per `tick`.
    pub(crate) fn handle_timeout<M: StateMachine>(&mut self, context: &mut Context<'_, M>, tick: Duration) {
        let now = self.stopwatch.at_timer(context.now, tick);
        let has_passed = |limit: Duration, since: Duration| now.saturating_sub(since) >= limit;
        self.ask_for_local_reads(now);
        let lags = |state: State| {
            matches!(state, State::AwaitsApply { grant, since }
                if grant.as_follower && has_passed(LAG_TIMEOUT, since))
        };
        let is_overdue = |pending: &Pending| {
            let late = matches!(pending.state, State::Forwarded { deposed_at: Some(deposed_at), .. }
                if has_passed(LATE_ANSWER_TIMEOUT, deposed_at));
            late || lags(pending.state) || now >= pending.deadline
        };
        let overdue: Vec<_> =
            self.requests.iter().filter(|(_, pending)| is_overdue(pending)).map(|(key, _)| *key).collect();
        let mut rounds_ended = false;
        for key in overdue {
            let Some(pending) = self.requests.get(&key) else { continue };
            rounds_ended |= pending.state == State::AwaitsRound;
            let uncertain = pending.state.may_execute();
            let error = match pending.state {
                _ if uncertain => RequestError::Uncertain,
                state if lags(state) => {
                    self.is_lagging = true;
                    RequestError::Lagging
                }
                _ => RequestError::TimedOut,
            };
            self.statistics.requests_timed_out += 1;
            self.fail(context, key, error);
        }
        // A leader whose rounds are not confirmed may lead on, so its group must not keep the reads that gave up.
        if rounds_ended {
            context.group.retain_reads(|key| self.requests.contains_key(&key));
        }
        if self.read_indexes.asked.as_ref().is_some_and(|asked| has_passed(READ_INDEX_TIMEOUT, asked.since)) {
            self.read_index_ended(context, None);
        }
        // A retry that lies further ahead was set before the clock stepped back.
        let due = context
            .now
            .zip(self.retry_at)
            .is_none_or(|(now, at)| !at.is_surely_after(now) || at.elapsed_since(now).at_most > RETRY_INTERVAL);
        if due && !self.waiting.is_empty() {
            // Without a leader every request would only wait again, which takes long if there are many.
            if context.group.replica().leader().is_some() {
                self.retry(context);
            } else {
                self.retry_at = context.now.map(|now| now.plus(RETRY_INTERVAL));
            }
        }
    }

    /// Has the reads ask the leader that wait for what this node has received, and have waited for long.
    fn ask_for_local_reads(&mut self, now: Duration) {
        let waits_long = |key: &RequestKey| {
            let state = self.requests.get(key).map(|pending| pending.state);
            matches!(state, Some(State::AwaitsApply { grant, since })
                if grant.ground == Ground::Sublease && now.saturating_sub(since) >= LOCAL_TIMEOUT)
        };
        let waiting = self.awaiting_apply.iter().copied().filter(|(_, key)| waits_long(key));
        for (index, key) in waiting.collect::<Vec<_>>() {
            self.awaiting_apply.remove(&(index, key));
            self.set_state(key, State::AwaitsReadIndex);
            self.read_indexes.gathering.push(key);
        }
    }

    /// Returns when to call [`handle_timeout`](Router::handle_timeout) for a retry.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Fails the requests that were certainly not executed, because the node stops.
    pub(crate) fn stop<M: StateMachine>(&mut self, context: &mut Context<'_, M>) {
        let idle = self.requests.iter().filter(|(_, pending)| !pending.state.may_execute()).map(|(key, _)| *key);
        for key in idle.collect::<Vec<_>>() {
            self.fail(context, key, RequestError::Stopping);
        }
    }

    /// Ends every request, because this node does not host the group any more. `not_executed` is the answer to those that were
    /// not executed.
    pub(crate) fn close<M: StateMachine>(&mut self, context: &mut Context<'_, M>, not_executed: RequestError) {
        let error = |pending: &Pending| match pending.state.may_execute() {
            true => RequestError::Uncertain,
            false => not_executed,
        };
        let ended: Vec<_> = self.requests.iter().map(|(key, pending)| (*key, error(pending))).collect();
        for (key, error) in ended {
            self.fail(context, key, error);
        }
    }

    /// Returns every client's ticket that still waits, with the error to reply: the node ends now.
    pub(crate) fn abandon(&mut self) -> Vec<(u64, RequestError)> {
        let requests = std::mem::take(&mut self.requests);
        let error = |state: State| if state.may_execute() { RequestError::Uncertain } else { RequestError::Stopping };
        let tickets = requests.into_values().filter_map(|pending| match pending.origin {
            Origin::Client { ticket } => Some((ticket, error(pending.state))),
            Origin::Peer { .. } => None,
        });
        tickets.collect()
    }
}
