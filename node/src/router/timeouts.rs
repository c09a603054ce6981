//! The ends of a wait: another leader, a deadline, a client that left, the end of the node.

use super::{Context, Origin, Pending, RETRY_INTERVAL, ReadIndexes, Router, State};
use crate::events::RequestError;
use crate::ports::{GroupId, StateMachine};
use crate::wire::PeerRequest;
use leasehold_core::{Instant, NodeId, Reading};
use std::collections::BTreeSet;
use std::time::Duration;

/// The time that a forwarded write waits for its answer after another node became leader. The former leader, if it
/// lives, learns that it was deposed and says so.
const LATE_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// The time to wait for the answer to a request for a read index before its reads try again.
const READ_INDEX_TIMEOUT: Duration = Duration::from_secs(1);
/// The time that a read waits for this node to catch up with the index that the leader granted.
const LAG_TIMEOUT: Duration = Duration::from_secs(1);
/// The time for which a process that was paused for long refuses writes. It is enough to empty the sockets.
const RESUME_INTERVAL: Duration = Duration::from_secs(1);

impl Router {
    /// The leader of a group changed, or this node's view of it.
    pub(crate) fn leader_changed<M: StateMachine>(&mut self, context: &mut Context<'_, M>, group: GroupId) {
        let leader = context.groups.get(&group).and_then(|group| group.replica().leader());
        if let Some(leader) = leader {
            let now = self.stopwatch.at(context.now);
            for pending in self.requests.values_mut().filter(|pending| pending.group == group) {
                if let State::Forwarded { leader: asked, deposed_at, .. } = &mut pending.state
                    && *asked != leader
                {
                    deposed_at.get_or_insert(now);
                }
            }
        }
        self.ask_outcomes(context, group, leader);
        let asked = self.read_indexes.get(&group).and_then(|reads| reads.asked.as_ref());
        if asked.is_some_and(|asked| Some(asked.leader) != leader) {
            self.read_index_ended(context, group, None);
        }
        self.retry(context);
    }

    /// Asks every node that was sent a write, and does not lead any more, what became of the write. If it cannot be
    /// asked, it is lost, and the client need not wait for it.
    fn ask_outcomes<M: StateMachine>(&mut self, context: &mut Context<'_, M>, group: GroupId, leader: Option<NodeId>) {
        let unanswered = self.requests.values().filter(|pending| pending.group == group);
        let asked: Vec<(NodeId, u64)> = unanswered
            .filter_map(|pending| match pending.state {
                State::Forwarded { attempt, leader: asked, .. } if Some(asked) != leader => Some((asked, attempt)),
                _ => None,
            })
            .collect();
        for (to, attempt) in asked {
            self.send(context, to, group, attempt, PeerRequest::Outcome);
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

    /// Returns true if writes are refused because their age is unknown.
    pub(super) fn is_resuming(&mut self, now: Reading) -> bool {
        self.stopwatch.at(now) < self.refuses_until
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
        let mut rounds = BTreeSet::new();
        for key in overdue {
            let Some(pending) = self.requests.get(&key) else { continue };
            if pending.state == State::AwaitsRound {
                rounds.insert(pending.group);
            }
            let uncertain = pending.state.may_execute();
            let error = match pending.state {
                _ if uncertain => RequestError::Uncertain,
                state if lags(state) => {
                    self.lagging.insert(pending.group);
                    RequestError::Lagging
                }
                _ => RequestError::TimedOut,
            };
            self.statistics.requests_timed_out += 1;
            self.fail(context, key, error);
        }
        // A leader whose rounds are not confirmed may lead on, so its groups must not keep the reads that gave up.
        for group in rounds {
            if let Some(group) = context.groups.get_mut(&group) {
                group.retain_reads(|key| self.requests.contains_key(&key));
            }
        }
        let is_late =
            |reads: &ReadIndexes| reads.asked.as_ref().is_some_and(|asked| has_passed(READ_INDEX_TIMEOUT, asked.since));
        let late: Vec<_> =
            self.read_indexes.iter().filter(|(_, reads)| is_late(reads)).map(|(group, _)| *group).collect();
        for group in late {
            self.read_index_ended(context, group, None);
        }
        // A retry that lies further ahead was set before the clock stepped back.
        let due = context
            .now
            .zip(self.retry_at)
            .is_none_or(|(now, at)| !at.is_surely_after(now) || at.elapsed_since(now).at_most > RETRY_INTERVAL);
        if due && !self.waiting.is_empty() {
            // Without a leader every request would only wait again, which takes long if there are many.
            if context.groups.values().any(|group| group.replica().leader().is_some()) {
                self.retry(context);
            } else {
                self.retry_at = context.now.map(|now| now.plus(RETRY_INTERVAL));
            }
        }
    }

    /// Returns when to call [`handle_timeout`](Router::handle_timeout) for a retry.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Takes no more requests, and fails those that were certainly not executed.
    pub(crate) fn stop<M: StateMachine>(&mut self, context: &mut Context<'_, M>) {
        self.stopping = true;
        let idle = self.requests.iter().filter(|(_, pending)| !pending.state.may_execute()).map(|(key, _)| *key);
        for key in idle.collect::<Vec<_>>() {
            self.fail(context, key, RequestError::Stopping);
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
