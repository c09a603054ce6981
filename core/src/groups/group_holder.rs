//! The leader's side of the lease in one of many groups.

use super::node_rounds::NodeRounds;
use super::numbers::{Attached, Echo, Epoch, GroupRelease, Offer};
use crate::cell::{LeaseCell, Permit, Published};
use crate::holder::{Misuse, NoLease, majority_round, position};
use crate::ids::{Index, NodeId, Round, Term};
use crate::time::{Instant, Reading};
use crate::voters::{MAX_VOTERS, Voters};

/// Decides, in one group, which of the node's rounds a quorum acknowledged.
///
/// It has no rounds of its own: it counts a peer's echo of a [node round](NodeRounds) if the peer is attached to this
/// term under the epoch of the echo. So a group costs nothing while nothing of its own happens.
///
/// * Report what the engine does with [`elected`](GroupHolder::elected), [`deposed`](GroupHolder::deposed),
///   [`committed`](GroupHolder::committed), [`voters_changed`](GroupHolder::voters_changed),
///   [`transfer_started`](GroupHolder::transfer_started) and [`transfer_ended`](GroupHolder::transfer_ended), and pass
///   attachments to [`handle_attached`](GroupHolder::handle_attached). Then call [`publish`](GroupHolder::publish), before any
///   message of the same step leaves.
/// * Every frame of the group to a peer shows [`offer`](GroupHolder::offer).
/// * After a deposition send the [`release`](GroupHolder::release) to those in [`untold`](GroupHolder::untold) until there are
///   none. They would stay held for as long as this node opens rounds. To a peer that is not connected, send it once it is.
///
/// It outlives the replica: a node on which the group is removed keeps it until `untold` is empty. For a group that the
/// process does not host, a new holder answers attachments; without an answer, their senders stay held.
///
/// The engine never leads a term twice, also after a restart: an ended leadership is released for good. Engines that do, as
/// openraft, are not supported, and neither are those that vote out of sight, as
/// [`Event::Suspended`](crate::Event::Suspended) allows for a [`Holder`](crate::Holder).
///
/// `echoes` looks up the newest echo of a peer, see [`Echoes::newest`](super::Echoes::newest).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupHolder {
    id: NodeId,
    /// The last term in which this node led; 0 if it never did.
    term: Term,
    role: Role,
    published: Option<Published>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "nothing is allocated here, so nothing can be boxed")]
enum Role {
    Follows,
    Leads(Leading),
    /// It led, and some voters have not answered its release.
    Parts(Parting),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Leading {
    voters: Voters,
    /// Per half, the epoch under which the voter at this position is attached, under the current number.
    attached: [[Option<Epoch>; MAX_VOTERS]; 2],
    /// The number of attachments; those with a lower one are released.
    number: u64,
    transferring: bool,
    barrier: Index,
    commit: Index,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parting {
    voters: Voters,
    /// Per half, true where the voter has answered.
    answered: [[bool; MAX_VOTERS]; 2],
}

impl GroupHolder {
    /// Creates the holder of node `id` in a group that it does not lead.
    pub fn new(id: NodeId) -> GroupHolder {
        GroupHolder { id, term: 0, role: Role::Follows, published: None }
    }

    /// Returns the term in which this node leads the group; `None` if it does not lead.
    pub fn term(&self) -> Option<Term> {
        self.leading().map(|_| self.term)
    }

    /// Returns what every frame of the group shows; `None` if this node does not lead it.
    ///
    /// While a transfer is pending it is the released offer: a newer one would put the release out of date before it
    /// arrives.
    pub fn offer(&self) -> Option<Offer> {
        self.leading().map(|leading| Offer { term: self.term, number: leading.number })
    }

    /// Returns the release to send with "campaign now" while a transfer is pending, and to the [`untold`](GroupHolder::untold)
    /// after a deposition.
    pub fn release(&self) -> Option<GroupRelease> {
        match &self.role {
            Role::Leads(leading) if leading.transferring => self.offer().map(|through| GroupRelease { through }),
            Role::Parts(_) => Some(GroupRelease::of_term(self.term)),
            Role::Leads(_) | Role::Follows => None,
        }
    }

    /// Returns the voters that have not answered the release of a leadership that ended.
    pub fn untold(&self) -> impl Iterator<Item = NodeId> + '_ {
        let parting = match &self.role {
            Role::Parts(parting) => Some(parting),
            Role::Leads(_) | Role::Follows => None,
        };
        parting.into_iter().flat_map(Parting::untold).filter(|id| *id != self.id)
    }

    /// Notes that this node was elected. Until the entry at `barrier` is committed, there is no lease.
    ///
    /// # Errors
    /// [`Misuse::TermNotHigher`] if it has led in this or a later term: what it released then must not count again.
    pub fn elected(&mut self, term: Term, voters: Voters, barrier: Index, commit: Index) -> Result<(), Misuse> {
        if term <= self.term {
            return Err(Misuse::TermNotHigher { term, current: self.term });
        }
        self.term = term;
        let attached = [[None; MAX_VOTERS]; 2];
        self.role = Role::Leads(Leading { voters, attached, number: 1, transferring: false, barrier, commit });
        Ok(())
    }

    /// Notes that this node no longer leads the group. Every read that waits for a round has failed.
    pub fn deposed(&mut self) {
        if let Role::Leads(Leading { voters, .. }) = self.role {
            self.role = Role::Parts(Parting { voters, answered: [[false; MAX_VOTERS]; 2] });
            self.drop_if_all_are_told();
        }
    }

    /// Notes that everything up to an index is committed. Report it before acknowledging a write.
    ///
    /// # Errors
    /// [`Misuse::CommitWithoutLeading`].
    pub fn committed(&mut self, index: Index) -> Result<(), Misuse> {
        let leading = self.leading_mut().ok_or(Misuse::CommitWithoutLeading)?;
        leading.commit = leading.commit.max(index);
        Ok(())
    }

    /// Notes that other voters are in force. The attachments of nodes that are no longer voters are forgotten.
    ///
    /// After a deposition it drops from [`untold`](GroupHolder::untold) the nodes that are no longer voters: a node that is
    /// gone for good never answers. Report only committed changes then. One that is undone could leave a voter held.
    ///
    /// # Errors
    /// [`Misuse::VotersWithoutLeading`] if this node does not lead, and `untold` is empty.
    pub fn voters_changed(&mut self, voters: Voters) -> Result<(), Misuse> {
        if let Role::Parts(parting) = &mut self.role {
            parting.note_answers(|id| !voters.contains(id));
            self.drop_if_all_are_told();
            return Ok(());
        }
        let leading = self.leading_mut().ok_or(Misuse::VotersWithoutLeading)?;
        let mut attached = [[None; MAX_VOTERS]; 2];
        for (half, ids) in [voters.incoming(), voters.outgoing()].into_iter().enumerate() {
            for (at, id) in ids.iter().enumerate() {
                attached[half][at] = leading.epoch_of(*id);
            }
        }
        (leading.voters, leading.attached) = (voters, attached);
        Ok(())
    }

    /// Notes that a transfer of leadership is pending. Every attachment is released: report it, and publish, before any
    /// message of the transfer leaves.
    ///
    /// # Errors
    /// [`Misuse::TransferWithoutLeading`].
    pub fn transfer_started(&mut self) -> Result<(), Misuse> {
        let leading = self.leading_mut().ok_or(Misuse::TransferWithoutLeading)?;
        leading.transferring = true;
        leading.attached = [[None; MAX_VOTERS]; 2];
        Ok(())
    }

    /// Notes that a transfer is no longer pending, and this node still leads. A lease can be earned with attachments under
    /// the next number only.
    ///
    /// # Errors
    /// [`Misuse::TransferWithoutLeading`].
    pub fn transfer_ended(&mut self) -> Result<(), Misuse> {
        let leading = self.leading_mut().ok_or(Misuse::TransferWithoutLeading)?;
        leading.number += u64::from(leading.transferring);
        leading.transferring = false;
        Ok(())
    }

    /// Handles an attachment of a peer. Returns the release to answer with, if this node does not lead in that term: it
    /// never will again, and the peer would stay held.
    ///
    /// It ignores an attachment to another leader: only that one knows whether it still relies on it.
    #[must_use = "a peer that is attached to an ended leadership stays held until it gets the release"]
    pub fn handle_attached(&mut self, from: NodeId, attached: Attached) -> Option<GroupRelease> {
        if attached.leader != self.id {
            return None;
        }
        match &mut self.role {
            Role::Leads(leading) if self.term == attached.offer.term => leading.attach(from, attached),
            _ => return Some(GroupRelease::of_term(attached.offer.term)),
        }
        None
    }

    /// Handles the answer of a peer to a release.
    pub fn handle_answer(&mut self, from: NodeId, answer: GroupRelease) {
        if let Role::Parts(parting) = &mut self.role {
            if answer.through >= GroupRelease::of_term(self.term).through {
                parting.note_answers(|id| id == from);
            }
        }
        self.drop_if_all_are_told();
    }

    /// Returns the newest node round that a quorum of the group's attached voters acknowledged; 0 if there is none or this
    /// node does not lead.
    pub fn quorum_round(&self, rounds: &NodeRounds, echoes: impl Fn(NodeId) -> Option<Echo>) -> Round {
        let Some(leading) = self.leading() else { return 0 };
        let reached = |half: usize, ids: &[NodeId]| {
            let mut reached = [0; MAX_VOTERS];
            for (at, id) in ids.iter().enumerate() {
                reached[at] = if *id == self.id {
                    // Its vote for another leader deposes it first.
                    rounds.newest()
                } else {
                    let echo = leading.attached[half][at].zip(echoes(*id));
                    let counts = |(epoch, echo): &(Epoch, Echo)| *epoch == echo.epoch;
                    echo.filter(counts).map_or(0, |(_, echo)| echo.round.round)
                };
            }
            majority_round(&reached[..ids.len()])
        };
        let incoming = reached(0, leading.voters.incoming());
        match leading.voters.outgoing() {
            [] => incoming,
            outgoing => incoming.min(reached(1, outgoing)),
        }
    }

    /// Returns whether a quorum read with this [ticket](NodeRounds::ticket) is confirmed. Answer it once the index that it
    /// noted, which is at least the barrier, is applied.
    pub fn confirms(&self, ticket: Round, rounds: &NodeRounds, echoes: impl Fn(NodeId) -> Option<Echo>) -> bool {
        self.leading().is_some_and(|leading| leading.commit >= leading.barrier)
            && self.quorum_round(rounds, echoes) >= ticket
    }

    /// Returns the end of the lease if no further echo extends it, or the reason why there is none. The end may have
    /// passed.
    ///
    /// # Errors
    /// [`NoLease`].
    pub fn lease(&self, rounds: &NodeRounds, echoes: impl Fn(NodeId) -> Option<Echo>) -> Result<Instant, NoLease> {
        let leading = self.leading().ok_or(NoLease::NotLeader)?;
        if leading.transferring {
            return Err(NoLease::Released);
        }
        if leading.commit < leading.barrier {
            return Err(NoLease::Barrier);
        }
        match self.quorum_round(rounds, echoes) {
            0 => Err(NoLease::NoQuorum),
            round => rounds.opened(round).map(|anchor| anchor.plus(rounds.lease())).ok_or(NoLease::NoAnchor),
        }
    }

    /// Writes the lease as it is now to the cell that readers check.
    ///
    /// Call it after every event of the group, and after every backward reading of the node. Echoes alone need no call:
    /// publish again when a reader finds the lease expired.
    pub fn publish(&mut self, rounds: &NodeRounds, echoes: impl Fn(NodeId) -> Option<Echo>, cell: &LeaseCell) {
        let until = self.lease(rounds, echoes).ok();
        let published = until
            .zip(self.leading())
            .map(|(until, leading)| Published { until, permit: Permit { term: self.term, index: leading.commit } });
        if published != self.published {
            match published {
                Some(lease) => cell.publish(lease),
                None => cell.revoke(),
            }
            self.published = published;
        }
    }

    /// Returns whether the group needs no frames and no ticks: every voter is attached under the epoch of its newest
    /// echo, and a quorum echoed a round that was opened within the last hold. While it rests, ask again when an echo
    /// begins another epoch, and when a peer's echoes stay away for a hold. A group that does not rest shows its
    /// [`offer`](GroupHolder::offer) again.
    ///
    /// It is `false` without a reading.
    pub fn may_rest(&self, now: Reading, rounds: &NodeRounds, echoes: impl Fn(NodeId) -> Option<Echo>) -> bool {
        let (Some(leading), Some(now)) = (self.leading(), now) else { return false };
        let is_attached = |id: &NodeId| {
            let epoch = leading.epoch_of(*id);
            *id == self.id || epoch.is_some() && epoch == echoes(*id).map(|echo| echo.epoch)
        };
        let mut voters = leading.voters.incoming().iter().chain(leading.voters.outgoing());
        let settled = !leading.transferring && leading.commit >= leading.barrier && voters.all(is_attached);
        let heard = rounds.opened(self.quorum_round(rounds, &echoes));
        settled && heard.is_some_and(|at| now.elapsed_since(at).at_most < rounds.hold())
    }

    /// Returns the attachment of a peer that this node counts; `None` if there is none. A frame that lets the peer's
    /// group rest names it.
    pub fn attached(&self, peer: NodeId) -> Option<Attached> {
        let epoch = self.leading().and_then(|leading| leading.epoch_of(peer));
        epoch.zip(self.offer()).map(|(epoch, offer)| Attached { leader: self.id, offer, epoch })
    }

    fn leading(&self) -> Option<&Leading> {
        match &self.role {
            Role::Leads(leading) => Some(leading),
            Role::Follows | Role::Parts(_) => None,
        }
    }

    fn leading_mut(&mut self) -> Option<&mut Leading> {
        match &mut self.role {
            Role::Leads(leading) => Some(leading),
            Role::Follows | Role::Parts(_) => None,
        }
    }

    fn drop_if_all_are_told(&mut self) {
        if matches!(self.role, Role::Parts(_)) && self.untold().next().is_none() {
            self.role = Role::Follows;
        }
    }
}

impl Leading {
    fn attach(&mut self, from: NodeId, attached: Attached) {
        if self.transferring || attached.offer.number != self.number {
            return;
        }
        for (half, ids) in [self.voters.incoming(), self.voters.outgoing()].into_iter().enumerate() {
            if let Some(at) = position(ids, from) {
                // Messages may arrive in another order.
                self.attached[half][at] = self.attached[half][at].max(Some(attached.epoch));
            }
        }
    }

    fn epoch_of(&self, id: NodeId) -> Option<Epoch> {
        let incoming = position(self.voters.incoming(), id).map(|at| self.attached[0][at]);
        incoming.or_else(|| position(self.voters.outgoing(), id).map(|at| self.attached[1][at])).flatten()
    }
}

impl Parting {
    /// Removes from the voters without an answer those that are `done`.
    fn note_answers(&mut self, done: impl Fn(NodeId) -> bool) {
        for (half, ids) in [self.voters.incoming(), self.voters.outgoing()].into_iter().enumerate() {
            for (at, id) in ids.iter().enumerate() {
                self.answered[half][at] |= done(*id);
            }
        }
    }

    fn untold(&self) -> impl Iterator<Item = NodeId> + '_ {
        let halves = [(0, self.voters.incoming()), (1, self.voters.outgoing())];
        halves.into_iter().flat_map(move |(half, ids)| {
            let is_first = move |id: &NodeId| half == 0 || position(self.voters.incoming(), *id).is_none();
            ids.iter().enumerate().filter(move |(at, id)| !self.answered[half][*at] && is_first(id)).map(|(_, id)| *id)
        })
    }
}
