//! The groups that a node hosts: those that it starts with, and those that are added while it runs.

use super::{Hosted, Node};
use crate::commits::Part;
use crate::events::RequestError;
use crate::group::{Group, GroupStart};
use crate::guide::Guide;
use crate::members::departures;
use crate::ports::{Batch, GroupId, StateMachine};
use crate::router::Router;
use leasehold_core::{Instant, NodeId, Reading};
use leasehold_raft::Role;
use std::collections::BTreeSet;
use std::time::Duration;

/// A group that a node cannot host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddGroupError {
    /// The node has a group with this number.
    #[error("group {0} is on this node already: give each group a number of its own")]
    SameGroup(GroupId),
    /// The recovered state, or the options, make no replica.
    #[error(transparent)]
    Replica(#[from] leasehold_raft::Error),
    /// The group was removed from this node, or has stopped on it since the node started.
    #[error(
        "group {0} was removed from this node or has stopped on it: give a new group a number that was never used, and \
         restart the node for one that has stopped"
    )]
    Ended(GroupId),
    /// The node stops, or has stopped.
    #[error("the node is shutting down, so it takes no further group")]
    Stopping,
}

impl<M: StateMachine> Node<M> {
    /// Takes the reading of an input. Most inputs show it to one group or to none, and a reading that went back concerns
    /// all of them.
    pub(super) fn set_now(&mut self, now: Reading) {
        let stepped = now.zip(self.latest).is_some_and(|(now, latest)| now.is_before_on_either_counter(latest));
        self.went_back |= stepped;
        self.latest = now.or(self.latest);
        self.started = self.started.or(now);
        self.now = now;
    }

    /// Learns that the machine's counters were disrupted before `now`: no lease rests on readings from before that.
    pub fn handle_disruption(&mut self, now: Instant) {
        self.groups.values_mut().for_each(|hosted| hosted.group.handle_disruption(now));
    }

    /// Returns true if a tick has passed since the last one, or if the clock fails or went back.
    pub(super) fn tick_is_due(&self, now: Reading) -> bool {
        let Some((now, ticked_at)) = now.zip(self.ticked_at) else { return true };
        self.went_back || now.elapsed_since(ticked_at).at_most >= self.tick
    }

    /// Adds a group whose [`first_batch`](GroupStart::first_batch) is durable. Reading the recovered state into
    /// `machine` may take time.
    ///
    /// # Errors
    /// [`AddGroupError`]: nothing has changed.
    pub fn add_group(&mut self, now: Reading, start: GroupStart<M::State>, machine: M) -> Result<(), AddGroupError> {
        self.set_now(now);
        let longest_hold = start.longest_hold();
        let group = self.make_group(now, start, machine)?;
        self.longest_hold = self.longest_hold.max(longest_hold);
        self.host(group);
        Ok(())
    }

    /// Returns how much longer a group that starts now is held: the process before this one ended before this one took its
    /// first reading. `None` without a reading.
    fn remaining_hold(&self, now: Reading, longest_hold: Duration) -> Option<Duration> {
        let end = self.started?.plus(self.longest_hold.max(longest_hold));
        Some(end.elapsed_since(now?).at_most)
    }

    /// Creates a group on a node that runs. It is held for what remains of the hold with which the process started, and no
    /// longer: what an earlier process promised binds no longer than that. It takes part, and [`group`](Node::group) returns it, once its
    /// [`first_batch`](GroupStart::first_batch) is durable: the batch comes with the next outputs.
    ///
    /// # Errors
    /// [`AddGroupError`]: nothing has changed.
    pub fn create_group(
        &mut self,
        now: Reading,
        mut start: GroupStart<M::State>,
        machine: M,
    ) -> Result<(), AddGroupError> {
        self.set_now(now);
        if let Some(remaining) = self.remaining_hold(now, start.longest_hold()) {
            start.limit_hold(remaining);
        }
        let first = start.first_batch();
        let group = self.make_group(now, start, machine)?;
        match first {
            None => self.host(group),
            Some(batch) => {
                let id = batch.group;
                self.parts.push(Part { group: id, number: 0, applied: None, staged: None, cut: false, removes: false });
                self.batches.push(batch);
                self.founding.insert(id, group);
            }
        }
        Ok(())
    }

    /// Removes a group for good: it gives up its lease, its requests end, and what peers send to it is dropped from now on.
    /// Its data is deleted, and this node never hosts it again: it has forgotten what it promised and acknowledged there.
    /// The removal [is under way](Node::is_removing) until the disk has it. A group that has halted or failed can be removed
    /// too. Returns false if the node does not have the group.
    pub fn remove_group(&mut self, now: Reading, id: GroupId) -> bool {
        self.set_now(now);
        // The last batch of a group that has halted comes before this one.
        let has_halted = self.ended.get(&id) == Some(&RequestError::Halted);
        let removed = self.end_group(id, RequestError::NoGroup) || has_halted;
        if removed {
            let batch = Batch { group: id, remove: true, ..Batch::default() };
            self.parts.push(Part { group: id, number: 0, applied: None, staged: None, cut: false, removes: true });
            self.batches.push(batch);
            self.removing.insert(id);
            self.ended.insert(id, RequestError::NoGroup);
        }
        removed
    }

    /// Returns true if the group was removed, and may come back if the process crashes now.
    pub fn is_removing(&self, id: GroupId) -> bool {
        self.removing.contains(&id)
    }

    /// Takes over which groups an earlier process removed.
    pub fn note_removed(&mut self, groups: impl IntoIterator<Item = GroupId>) {
        self.ended.extend(groups.into_iter().map(|id| (id, RequestError::NoGroup)));
    }

    /// Ends a group whose state machine is lost. Its data stays on the disk, and a later process recovers it.
    pub fn fail_group(&mut self, now: Reading, id: GroupId) -> bool {
        self.set_now(now);
        self.end_group(id, RequestError::Halted)
    }

    /// Ends a group. `error` is the answer to its requests that were not executed.
    pub(super) fn end_group(&mut self, id: GroupId, error: RequestError) -> bool {
        let now = self.now;
        let Some((router, mut context)) = self.router(id) else { return false };
        router.close(&mut context, error);
        context.group.close(now);
        self.drain_group(id);
        if let Some(mut hosted) = self.groups.remove(&id) {
            self.common.note_unapplied(&mut hosted.unapplied, 0);
        }
        self.ended.insert(id, error);
        self.active.retain(|active| *active != id);
        self.backlog.retain(|behind| *behind != id);
        self.common.groups = self.groups.len();
        true
    }

    /// Returns what the deciding group of this node has decided, if there is one.
    pub(super) fn guide(&self) -> Option<Guide> {
        let group = self.deciding_group?;
        let deciding = &self.groups.get(&group)?.group;
        let membership = deciding.settled().clone();
        let departing = departures(&membership);
        let (mut released, mut may_be_left_out) = (BTreeSet::new(), false);
        if deciding.replica().role() == Role::Leader && !departing.is_empty() {
            // Nothing is known of the members of a group that has stopped here, or that begins.
            let has_stopped = self.ended.values().any(|error| *error == RequestError::Halted);
            released = if has_stopped || !self.founding.is_empty() { BTreeSet::new() } else { departing.clone() };
            may_be_left_out = has_stopped;
            for other in self.groups.iter().filter(|(id, _)| **id != group).map(|(_, hosted)| &hosted.group) {
                let has_released = |node: &NodeId| other.is_settled() && other.settled().has_removed(*node);
                let is_outside = !other.settled().names(other.replica().id()) || other.replica().leader().is_none();
                may_be_left_out |= is_outside && !departing.iter().all(has_released);
                released.retain(has_released);
            }
        }
        Some(Guide { group, membership, departing, released, may_be_left_out })
    }

    fn make_group(&self, now: Reading, start: GroupStart<M::State>, machine: M) -> Result<Group<M>, AddGroupError> {
        let id = start.options.group;
        if self.groups.contains_key(&id) || self.founding.contains_key(&id) {
            return Err(AddGroupError::SameGroup(id));
        }
        if self.common.stopping {
            return Err(AddGroupError::Stopping);
        }
        // Reports of the disk and of other work may still be on their way, and would be taken for those of the new one.
        if self.ended.contains_key(&id) {
            return Err(AddGroupError::Ended(id));
        }
        Ok(Group::new(start, machine, self.boot, now)?)
    }

    pub(super) fn host(&mut self, mut group: Group<M>) {
        group.set_contacts(self.contacts.clone());
        match self.ticked_at {
            Some(at) => group.align_ticks(at),
            None => self.ticked_at = group.replica().ticked_at(),
        }
        let (id, tick) = (group.id(), group.replica().tick());
        self.tick = if self.groups.is_empty() { tick } else { self.tick.min(tick) };
        let mut hosted = Hosted {
            group,
            router: Router::default(),
            seen: (None, 0, 0),
            is_active: true,
            is_changed: false,
            is_behind: false,
            since_tick: None,
            unapplied: 0,
        };
        hosted.seen = hosted.view();
        self.groups.insert(id, hosted);
        self.active.push(id);
        self.common.groups = self.groups.len();
    }
}
