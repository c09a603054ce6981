//! Changes of the members: those that an operator asks for, and those by which a leader carries out what was asked.

use super::Group;
use crate::identity::{Contact, MAX_MEMBERS, Numbers};
use crate::members::{Aim, ChangeError, MemberChange, Members, Progress, adding, carrying_out, describing, promoting};
use crate::ports::StateMachine;
use bytes::Bytes;
use leasehold_core::{Index, MAX_VOTERS, NodeId, Reading};
use leasehold_raft::wire::{Change, Step, Transition};
use leasehold_raft::{Position, Role, TransferError};
use std::collections::BTreeMap;

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

    /// Proposes a change that an operator asks for.
    pub(crate) fn change_members(&mut self, now: Reading, change: MemberChange) -> Result<Position, ChangeError> {
        if self.replica.role() != Role::Leader {
            return Err(ChangeError::NotLeader);
        }
        let membership = &self.applied.membership;
        let known = |node| match membership.names(node) {
            true => Ok(()),
            false => Err(ChangeError::NotMember(node, Numbers::new(membership.members()))),
        };
        let change = match change {
            MemberChange::Add { node, contact, aim } => {
                let (highest, ours) = (membership.highest(), self.entry_version());
                if node <= highest {
                    return Err(ChangeError::NumberUsed { node, highest });
                }
                if contact.entries < ours {
                    return Err(ChangeError::OlderRelease { node, theirs: contact.entries, ours });
                }
                if membership.members().count() >= MAX_MEMBERS {
                    return Err(ChangeError::TooMany);
                }
                match aim {
                    Aim::Replaces(old) => known(old)?,
                    Aim::Voter if membership.voters.len() >= MAX_VOTERS => return Err(ChangeError::TooManyVoters),
                    Aim::Voter | Aim::Learner => {}
                }
                adding(node, contact, aim)
            }
            MemberChange::Promote { node } => {
                known(node)?;
                if membership.voters.contains(&node) {
                    return Err(ChangeError::IsVoter(node));
                }
                promoting(membership, node).ok_or(ChangeError::NewerRelease(node))?
            }
            MemberChange::Remove { node } => {
                known(node)?;
                self.check_removal(now, node)?;
                Change::new(Transition::Auto, vec![Step::Remove(node)])
            }
        };
        // The engine would put an empty entry in the place of a change that it cannot take now.
        if !self.can_change() {
            return Err(ChangeError::Busy);
        }
        Ok(self.replica.propose_change(now, &change)?)
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
        let left: Vec<_> = voters.iter().copied().filter(|voter| *voter != node).collect();
        if left.is_empty() {
            return Err(ChangeError::LastVoter(node));
        }
        let id = self.replica.id();
        let up = left.iter().filter(|voter| **voter == id || self.replica.was_heard(**voter)).count();
        let needed = left.len() / 2 + 1;
        if up < needed {
            return Err(ChangeError::NoQuorum { node, left: Numbers::new(left), up, needed });
        }
        if node == id {
            self.give_way(now)?;
            return Err(ChangeError::HandingOver(node));
        }
        Ok(())
    }

    pub(super) fn give_way(&mut self, now: Reading) -> Result<(), ChangeError> {
        match self.replica.give_way(now) {
            Ok(_) | Err(TransferError::NotLeader) => Ok(()),
            Err(error) => Err(ChangeError::NoSuccessor(error)),
        }
    }

    /// On a leader: records what is known of the members in the configuration, and carries out the aims of learners that
    /// have caught up.
    pub(super) fn tend_members(&mut self, now: Reading) {
        self.give_way_pause = self.give_way_pause.saturating_sub(1);
        if !self.can_change() {
            return;
        }
        let membership = &self.applied.membership;
        if let Some(change) = describing(membership, &self.contacts) {
            let _ = self.replica.propose_change(now, &change);
            return;
        }
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
        for (learner, change) in ready {
            // The only voter has no successor. It leads until the new voter can take over, and then steps down.
            if change.steps.contains(&Step::Remove(id)) && self.applied.membership.voters != [id] {
                // The successor carries it out. If it does not take over, leading on is better than to try without a pause.
                if self.give_way_pause == 0 {
                    let hold = self.replica.config().hold().as_nanos() / self.replica.tick().as_nanos().max(1);
                    self.give_way_pause = GIVE_WAY_PAUSE_HOLDS * u32::try_from(hold).unwrap_or(u32::MAX / 64);
                    let _ = self.give_way(now);
                    return;
                }
            } else if self.replica.propose_change(now, &change).is_ok() {
                tracing::info!(learner, "a new member has caught up, and becomes a voter");
                return;
            }
        }
    }
}
