//! A voter's promise in one group.

use super::numbers::{Attached, Epoch, GroupRelease, Offer};
use crate::ids::NodeId;

/// The newest attachment of this node in one group, and the releases that it was shown. A
/// [`Supporter`](super::Supporter) makes and judges it.
///
/// It belongs to the process and not to the replica: a group that is removed from the process and hosted again must be
/// given the attachment that it had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attachment {
    newest: Option<Attached>,
    /// The newest release shown. An offer that it covers is out of date, although its frame may arrive later.
    released: Option<Offer>,
}

impl Attachment {
    /// Creates the attachment of a group that this process has not hosted before.
    pub fn new() -> Attachment {
        Attachment::default()
    }

    /// Returns the leader to whom this node last attached; `None` if it never did, or was released since.
    pub fn leader(&self) -> Option<NodeId> {
        self.standing().map(|(leader, _)| leader)
    }

    /// Returns the newest attachment, also if its epoch is withdrawn; `None` if there is none, or it was released. Send it
    /// to [`Attached::leader`] with every answer, and when a vote or a campaign was refused: messages may be lost.
    pub fn newest(&self) -> Option<Attached> {
        self.newest
    }

    /// Handles a release, from the leader or with a request for a vote. Returns the answer for a leader whose leadership
    /// ended: everything up to this offer is released here for good.
    ///
    /// Wake the group if it rests: the leader announces nothing more once it has the answer, and no timer follows. A process
    /// that never hosted the group returns the release as its answer.
    pub fn handle_release(&mut self, release: GroupRelease) -> GroupRelease {
        if self.newest.is_some_and(|attached| attached.offer <= release.through) {
            self.newest = None;
        }
        let through = self.released.map_or(release.through, |released| released.max(release.through));
        self.released = Some(through);
        GroupRelease { through }
    }

    pub(super) fn attach(&mut self, attached: Attached) -> Option<Attached> {
        if self.released.is_some_and(|released| attached.offer <= released) {
            return None;
        }
        // The same offer again may come under a later epoch.
        if self.newest.is_some_and(|newest| attached.offer < newest.offer) {
            return None;
        }
        self.newest = Some(attached);
        Some(attached)
    }

    pub(super) fn standing(&self) -> Option<(NodeId, Epoch)> {
        self.newest.map(|attached| (attached.leader, attached.epoch))
    }
}
