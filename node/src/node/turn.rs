//! A turn's outputs: what the groups want done, until nothing is left, and then one frame for each peer and one commit.

use super::{Hosted, Node, earlier};
use crate::apply::ApplyBudget;
use crate::commits::Part;
use crate::events::{Output, RequestError};
use crate::group::{Group, GroupOutput};
use crate::ports::{GroupId, StateMachine};
use crate::router::{Context, Router};
use crate::wire::{Body, Message};

impl<M: StateMachine> Node<M> {
    /// Returns the next output; `None` when there is none left.
    pub fn poll_output(&mut self) -> Option<Output<M>> {
        loop {
            if let Some(output) = self.outputs.pop() {
                return Some(output);
            }
            if !self.drain_groups() && !self.notice_changes() && !self.ask_read_indexes() {
                break;
            }
        }
        let mut have_applied = Vec::new();
        for id in self.active.drain(..) {
            let Some(hosted) = self.groups.get_mut(&id) else { continue };
            hosted.is_active = false;
            if let Some(applied) = hosted.group.end_turn()
                && !std::mem::replace(&mut hosted.is_behind, true)
            {
                // Those that found nothing left of the turn go first in the next one.
                if applied > 0 { &mut have_applied } else { &mut self.backlog }.push(id);
            }
            if !std::mem::replace(&mut hosted.is_changed, true) {
                self.changed.push(id);
            }
            self.earliest = hosted.poll_timeout().map(|at| earlier(self.earliest, at)).or(self.earliest);
        }
        self.backlog.append(&mut have_applied);
        if self.backlog.is_empty() {
            self.apply_budget = ApplyBudget::new(self.max_apply_bytes, 0);
        }
        self.outputs.pop_frame().or_else(|| self.commit())
    }

    /// Takes every group's outputs. Returns false if there was none.
    fn drain_groups(&mut self) -> bool {
        self.for_each_active(Node::drain_group)
    }

    pub(super) fn drain_group(&mut self, id: GroupId) -> bool {
        let mut drained = false;
        while let Some(output) = self.poll_group(id) {
            drained = true;
            self.take_group_output(id, output);
        }
        drained
    }

    fn poll_group(&mut self, id: GroupId) -> Option<GroupOutput<M>> {
        let Hosted { group, unapplied, .. } = self.groups.get_mut(&id)?;
        let output = group.poll_output(&mut self.apply_budget);
        self.common.note_unapplied(unapplied, group.committed_bytes());
        output
    }

    fn take_group_output(&mut self, id: GroupId, output: GroupOutput<M>) {
        match output {
            GroupOutput::Send { to, envelope } => {
                let message = Message { group: id, body: Body::Raft(envelope) };
                self.outputs.send(to, message);
            }
            GroupOutput::SendTransfer { to, id: transfer_id, transfer } => {
                let message = Message { group: id, body: Body::Transfer { id: transfer_id, transfer } };
                self.outputs.send(to, message);
            }
            GroupOutput::Write { number, batch, staged } => {
                let applied = batch.applied.as_ref().map(|applied| applied.index);
                let cut = batch.log_may_be_cut == Some(true);
                self.parts.push(Part { group: id, number, applied, staged, cut, removes: batch.remove });
                self.batches.push(batch);
            }
            GroupOutput::Work(work) => self.outputs.push(Output::Work(work)),
            GroupOutput::Halted { index, unknown } => {
                self.outputs.push(Output::Halted { group: id, index, unknown });
                self.end_group(id, RequestError::Halted);
            }
            GroupOutput::Decided { request, index, outcome } => {
                if let Some((router, mut context)) = self.router(id) {
                    router.decided(&mut context, request, index, outcome);
                }
            }
            GroupOutput::Confirmed { request, index } => {
                if let Some((router, mut context)) = self.router(id) {
                    router.confirmed(&mut context, request, index);
                }
            }
            GroupOutput::Aborted { request } => {
                if let Some((router, mut context)) = self.router(id) {
                    router.aborted(&mut context, request);
                }
            }
        }
    }

    /// Lets the routers act on new leaders and on what was applied. Returns false if there was nothing new.
    fn notice_changes(&mut self) -> bool {
        self.for_each_active(|node, id| {
            let Some(hosted) = node.groups.get_mut(&id) else { return false };
            let (leader, term, applied) = hosted.view();
            let seen = std::mem::replace(&mut hosted.seen, (leader, term, applied));
            let Some((router, mut context)) = node.router(id) else { return false };
            if seen.2 != applied {
                router.applied(&mut context, applied);
            }
            if (seen.0, seen.1) != (leader, term) {
                router.leader_changed(&mut context);
            }
            seen != (leader, term, applied)
        })
    }

    /// Asks for read indexes. Returns false if none was needed.
    fn ask_read_indexes(&mut self) -> bool {
        self.for_each_active(|node, id| {
            node.router(id).is_some_and(|(router, mut context)| router.ask_read_index(&mut context))
        })
    }

    fn commit(&mut self) -> Option<Output<M>> {
        if self.batches.is_empty() {
            return None;
        }
        let (parts, batches) = (std::mem::take(&mut self.parts), std::mem::take(&mut self.batches));
        let number = self.commits.push(self.now, parts, &batches);
        Some(Output::Commit { number, batches })
    }

    /// Returns a group, which has something to do from now on.
    pub(super) fn group_mut(&mut self, id: GroupId) -> Option<&mut Group<M>> {
        self.router(id).map(|(_, context)| context.group)
    }

    /// Returns the router of a group, which has something to do from now on.
    pub(super) fn router(&mut self, id: GroupId) -> Option<(&mut Router, Context<'_, M>)> {
        let Hosted { group, router, is_active, .. } = self.groups.get_mut(&id)?;
        if !std::mem::replace(is_active, true) {
            self.active.push(id);
        }
        let is_overloaded = self.commits.is_full() || self.common.is_behind(group.unapplied_bytes());
        let (now, common, outputs) = (self.now, &mut self.common, &mut self.outputs);
        Some((router, Context { now, id, group, common, outputs, is_overloaded }))
    }

    /// Calls `handle` for every group, each of which has something to do from now on.
    pub(super) fn for_each_router(&mut self, mut handle: impl FnMut(&mut Router, &mut Context<'_, M>)) {
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in ids {
            let (router, mut context) = self.router(id).expect("the group was just listed");
            handle(router, &mut context);
        }
    }

    /// Calls `act` for every active group. Returns true if any call did.
    fn for_each_active(&mut self, mut act: impl FnMut(&mut Self, GroupId) -> bool) -> bool {
        let mut acted = false;
        let mut next = 0;
        while let Some(&id) = self.active.get(next) {
            next += 1;
            acted |= act(self, id);
        }
        acted
    }
}
