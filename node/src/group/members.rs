//! Changes of the members: those that an operator asks for, and those by which a leader carries out what was asked.

use super::Group;
use crate::guide::{Guide, following};
use crate::identity::{Contact, MAX_MEMBERS, Numbers};
use crate::members::{
    Aim, ChangeError, MemberChange, Members, Progress, adding, carrying_out, departing, describing, member, promoting,
    succeeding,
};
use crate::ports::StateMachine;
use bytes::Bytes;
use leasehold_core::{Index, MAX_VOTERS, NodeId, Reading};
use leasehold_raft::wire::{Change, Membership, Step, Transition};
use leasehold_raft::{Position, Role, TransferError};
use std::collections::BTreeMap;
use std::time::Duration;

/// The holds between two attempts to hand leadership over to a node that carries out what this one cannot.
const GIVE_WAY_PAUSE_HOLDS: u32 = 20;
/// A learner that lacks fewer entries has caught up.
const MAX_LEARNER_LAG: Index = 1_024;

impl<M: StateMachine> Group<M> {
    /// Returns the members, as this node knows them durably. A change may follow that is applied and not durable yet:
    /// after a crash this node would need those whom it removes.
    pub fn members(&self) -> Members {
        let progress = self.replica.followers().map(|(node, stored)| {
            let heard = self.replica.was_heard(node);
            (node, Progress { stored, heard })
        });
        let membership = self.settled.clone();
        Members { membership, progress: progress.collect() }
    }

    /// Returns the configuration that is applied on disk.
    pub(crate) fn settled(&self) -> &Membership {
        &self.settled
    }

    /// Returns true if that has not changed for a hold. Heartbeats have told the other members of it meanwhile.
    pub(crate) fn is_settled(&self) -> bool {
        self.transfers.now.saturating_sub(self.settled_at) > self.replica.config().hold()
    }

    /// Returns the newest version of log entries that every member can apply.
    pub fn entry_version(&self) -> u32 {
        self.entry_version
    }

    /// Returns true if every member, this node included, can apply the command.
    pub(crate) fn may_propose(&self, command: &Bytes) -> bool {
        M::version(command) <= self.entry_version.min(M::NEWEST_VERSION)
    }

    /// Takes over what is known of the members, for the configuration.
    pub(crate) fn set_contacts(&mut self, contacts: BTreeMap<NodeId, Contact>) {
        self.contacts = contacts;
    }

    /// Proposes a change of a group that has members of its own, or that follows those of another one.
    pub(crate) fn change_members(&mut self, now: Reading, change: MemberChange) -> Result<Position, ChangeError> {
        if self.replica.role() != Role::Leader {
            return Err(ChangeError::NotLeader);
        }
        let membership = &self.applied.membership;
        let known = |node| self.check_member(node);
        let change = match change {
            MemberChange::Add { node, contact, aim } => {
                let (highest, ours) = (membership.highest(), self.entry_version());
                if node <= highest {
                    return Err(ChangeError::NumberUsed { node, highest });
                }
                // One that leaves is removed before it applies anything.
                if contact.entries < ours && aim != Aim::Leaving {
                    return Err(ChangeError::OlderRelease { node, theirs: contact.entries, ours });
                }
                if membership.members().count() >= MAX_MEMBERS {
                    return Err(ChangeError::TooMany);
                }
                match aim {
                    Aim::Replaces(old) => known(old)?,
                    Aim::Voter if membership.voters.len() >= MAX_VOTERS => return Err(ChangeError::TooManyVoters),
                    Aim::Voter | Aim::Learner | Aim::Leaving => {}
                }
                adding(node, contact, aim)
            }
            MemberChange::Promote { node } => {
                known(node)?;
                if membership.voters.contains(&node) {
                    return Err(ChangeError::IsVoter(node));
                }
                if member(membership, node).aim == Aim::Leaving {
                    return Err(ChangeError::IsLeaving(node));
                }
                promoting(membership, node).ok_or(ChangeError::NewerRelease(node))?
            }
            MemberChange::Remove { node } => {
                known(node)?;
                self.check_removal(now, node)?;
                Change::new(Transition::Auto, vec![Step::Remove(node)])
            }
        };
        self.propose_alone(now, &change)
    }

    /// Proposes a change of the group that decides for several. A removal is only recorded: the others come first.
    pub(crate) fn decide_members(&mut self, now: Reading, change: MemberChange) -> Result<Position, ChangeError> {
        let MemberChange::Remove { node } = change else { return self.change_members(now, change) };
        if self.replica.role() != Role::Leader {
            return Err(ChangeError::NotLeader);
        }
        self.check_member(node)?;
        let membership = &self.applied.membership;
        let leaves = |voter: NodeId| voter == node || member(membership, voter).aim == Aim::Leaving;
        if membership.voters.contains(&node) {
            self.check_quorum(node, membership.voters.iter().copied().filter(|voter| !leaves(*voter)).collect())?;
        }
        let change = departing(membership, node).ok_or(ChangeError::NewerRelease(node))?;
        self.propose_alone(now, &change)
    }

    fn propose_alone(&mut self, now: Reading, change: &Change) -> Result<Position, ChangeError> {
        // The engine would put an empty entry in the place of a change that it cannot take now.
        if !self.can_change() {
            return Err(ChangeError::Busy);
        }
        Ok(self.replica.propose_change(now, change)?)
    }

    fn check_member(&self, node: NodeId) -> Result<(), ChangeError> {
        let membership = &self.applied.membership;
        match membership.names(node) {
            true => Ok(()),
            false => Err(ChangeError::NotMember(node, Numbers::new(membership.members()))),
        }
    }

    /// Returns true if a change can be proposed, and the present members are known.
    fn can_change(&self) -> bool {
        self.replica.can_change() && self.unapplied_changes == 0
    }

    /// Checks that a quorum is left without `node`. If it leads, it hands leadership over first.
    fn check_removal(&mut self, now: Reading, node: NodeId) -> Result<(), ChangeError> {
        let voters = &self.applied.membership.voters;
        if !voters.contains(&node) {
            return Ok(());
        }
        self.check_quorum(node, voters.iter().copied().filter(|voter| *voter != node).collect())?;
        if node == self.replica.id() {
            self.give_way(now)?;
            return Err(ChangeError::HandingOver(node));
        }
        Ok(())
    }

    /// Checks that a quorum of the voters that would be left without `node` was heard.
    fn check_quorum(&self, node: NodeId, left: Vec<NodeId>) -> Result<(), ChangeError> {
        if left.is_empty() {
            return Err(ChangeError::LastVoter(node));
        }
        let id = self.replica.id();
        let up = left.iter().filter(|voter| **voter == id || self.replica.was_heard(**voter)).count();
        let needed = left.len() / 2 + 1;
        if up < needed {
            return Err(ChangeError::NoQuorum { node, left: Numbers::new(left), up, needed });
        }
        Ok(())
    }

    pub(super) fn give_way(&mut self, now: Reading) -> Result<(), ChangeError> {
        match self.replica.give_way(now) {
            Ok(_) | Err(TransferError::NotLeader) => Ok(()),
            Err(error) => Err(ChangeError::NoSuccessor(error)),
        }
    }

    /// On a leader: records what is known of the members in the configuration, takes over the members of the group that
    /// decides, and carries out the aims of learners that have caught up.
    pub(super) fn tend_members(&mut self, now: Reading, guide: Option<&Guide>) {
        if self.replica.role() != Role::Leader {
            self.left_out_since = None;
        }
        if !self.can_change() {
            return;
        }
        if let Some(change) = describing(&self.applied.membership, &self.contacts) {
            let _ = self.replica.propose_change(now, &change);
            return;
        }
        let decides = guide.filter(|guide| guide.group == self.id());
        let is_changing = match (decides, guide) {
            (Some(guide), _) => self.remove_released(now, guide),
            (None, Some(guide)) => self.follow(now, guide),
            (None, None) => false,
        };
        if !is_changing {
            self.carry_out_aims(now, guide, decides.is_some());
        }
        if let Some(guide) = decides {
            self.hand_over_decisions(now, guide);
        }
    }

    /// Lets a learner vote that is to, and has caught up. `decides` is true in the group that decides for several.
    fn carry_out_aims(&mut self, now: Reading, guide: Option<&Guide>, decides: bool) {
        let membership = &self.applied.membership;
        let last = self.replica.commit();
        let stored: BTreeMap<_, _> = self.replica.followers().collect();
        let ready = membership.learners.iter().copied().filter_map(|learner| {
            // A node that has just joined has nothing, and needs a snapshot even if few entries were ever written.
            let needs_snapshot = |stored: Index| stored == 0 || stored < self.replica.compacted();
            let has_caught_up =
                stored.get(&learner).is_some_and(|stored| !needs_snapshot(*stored) && stored + MAX_LEARNER_LAG >= last);
            let change = carrying_out(membership, learner)?;
            (has_caught_up && self.replica.was_heard(learner)).then_some((learner, change))
        });
        let ready: Vec<_> = ready.collect();
        let id = self.replica.id();
        for (learner, mut change) in ready {
            let old = change.steps.iter().find_map(|step| if let Step::Remove(old) = step { Some(*old) } else { None });
            if let Some(old) = old {
                let voters = &self.applied.membership.voters;
                let stays = |voter: &NodeId| guide.is_none_or(|guide| !guide.departing.contains(voter));
                let is_early = decides && guide.is_some_and(|guide| !guide.released.contains(&old));
                if decides && !voters.iter().any(stays) {
                    // No voter may ever learn that every other group has removed the others. The new one does.
                    let Some(succeeding) = succeeding(&self.applied.membership, learner, old) else { continue };
                    change = succeeding;
                } else if old == id && *voters != [id] {
                    // The successor carries it out. The only voter has none: it leads until the new one can take over.
                    if self.try_to_give_way(now, guide) {
                        return;
                    }
                    continue;
                } else if is_early {
                    continue;
                }
            }
            if self.replica.propose_change(now, &change).is_ok() {
                tracing::info!(learner, "a new member has caught up, and becomes a voter");
                return;
            }
        }
    }

    /// Hands leadership over for the sake of a change that a successor makes. If that one does not take over, leading on
    /// is better than to try without a pause. Returns true if it has begun now.
    fn try_to_give_way(&mut self, now: Reading, guide: Option<&Guide>) -> bool {
        if self.transfers.now < self.give_way_from {
            return false;
        }
        let begun = match guide {
            Some(guide) => self.give_way_to_one_that_stays(now, guide),
            None => self.give_way(now).is_ok(),
        };
        if begun {
            self.give_way_from = self.transfers.now + self.give_way_pause();
        }
        begun
    }

    fn give_way_pause(&self) -> Duration {
        GIVE_WAY_PAUSE_HOLDS * self.replica.config().hold()
    }

    /// Hands leadership to a voter that does not depart, or to any if all do. Two that depart could hand it to and fro.
    fn give_way_to_one_that_stays(&mut self, now: Reading, guide: &Guide) -> bool {
        let id = self.replica.id();
        let is_voter = |node: NodeId| node != id && self.applied.membership.voters.contains(&node);
        let stays = |node: NodeId| is_voter(node) && !guide.departing.contains(&node);
        if !self.applied.membership.voters.iter().any(|voter| stays(*voter)) {
            return self.give_way(now).is_ok();
        }
        // One that did not take over, or handed leadership back, comes last.
        let last = self.gave_way_to;
        let begun = self.replica.give_way_among(now, |node| stays(node) && Some(node) != last);
        let Ok(to) = begun.or_else(|_| self.replica.give_way_among(now, stays)) else { return false };
        self.gave_way_to = Some(to);
        true
    }

    /// In the group that decides: removes a member that leaves, once every other group has released it. Links refuse it
    /// from then on, and another group may need its vote until then. Returns true if something was begun.
    fn remove_released(&mut self, now: Reading, guide: &Guide) -> bool {
        let (id, membership) = (self.replica.id(), &self.applied.membership);
        let leaves = |node: &NodeId| *node != id && member(membership, *node).aim == Aim::Leaving;
        let leaving: Vec<NodeId> = membership.members().filter(leaves).collect();
        for node in leaving.into_iter().filter(|node| guide.released.contains(node)) {
            let change = MemberChange::Remove { node };
            if self.change_members(now, change).is_ok() {
                tracing::info!(node, "every other group has removed a member that leaves, and so does this one");
                return true;
            }
        }
        false
    }

    /// In the group that decides: hands leadership over if this node may never learn what it waits for, because other
    /// groups have removed it and send it nothing more.
    fn hand_over_decisions(&mut self, now: Reading, guide: &Guide) {
        let since = guide.may_be_left_out.then(|| self.left_out_since.unwrap_or(self.transfers.now));
        self.left_out_since = since;
        let leaves = member(&guide.membership, self.replica.id()).aim == Aim::Leaving;
        let is_left_out = since.is_some_and(|since| self.transfers.now.saturating_sub(since) > self.give_way_pause());
        if (leaves || is_left_out) && self.can_change() && self.try_to_give_way(now, Some(guide)) {
            self.left_out_since = None;
        }
    }

    /// In another group: makes a change after which its members are more like those that were decided. Returns true if
    /// something was begun.
    fn follow(&mut self, now: Reading, guide: &Guide) -> bool {
        let own = MemberChange::Remove { node: self.replica.id() };
        for change in following(&guide.membership, &self.applied.membership) {
            let begun = match change == own {
                // The successor removes this node.
                true => self.applied.membership.voters != [self.replica.id()] && self.try_to_give_way(now, Some(guide)),
                // What is not possible now is tried again.
                false => self.change_members(now, change.clone()).is_ok(),
            };
            if begun {
                tracing::info!(group = self.id(), ?change, "this group follows the members of group {}", guide.group);
                return true;
            }
        }
        false
    }
}
