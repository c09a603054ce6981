//! The inputs and outputs of a holder.

use crate::cell::Permit;
use crate::ids::{Index, NodeId, Round, Term, TermRound};
use crate::voters::Voters;
use core::fmt;

/// A change in the engine, or an acknowledgement from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// This node became leader.
    Elected {
        /// The new term.
        term: Term,
        /// The voters in force.
        voters: Voters,
        /// The index of the entry that opens the term. Once it is committed, so are all entries of earlier terms.
        barrier: Index,
        /// The highest index that this node knows to be committed.
        commit: Index,
    },
    /// This node no longer leads: it stepped down, saw a higher term, or is shutting down.
    Deposed,
    /// A peer acknowledged a round by echoing it.
    Acked {
        /// The peer, as the link authenticated it.
        from: NodeId,
        /// The round that it echoed.
        round: TermRound,
    },
    /// Everything up to this index is committed. Report this before acknowledging a write.
    Committed(Index),
    /// These voters are now in force.
    VotersChanged(Voters),
    /// A transfer of leadership is pending in the engine. Report this before any message of the transfer leaves.
    TransferStarted,
    /// The transfer is no longer pending, and this node still leads.
    TransferEnded,
    /// The engine is about to handle an input, such as a request for a vote, after which it may help elect another leader,
    /// and its decision cannot be observed before it takes effect. There is no lease and no new round until
    /// [`Resumed`](Event::Resumed). Suspensions are counted. They also count while this node does not lead, because the
    /// engine may win an election before it handles the input.
    Suspended,
    /// The engine has decided. If it no longer leads, [`Deposed`](Event::Deposed) was reported before this.
    Resumed,
}

/// A step that the driver must take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send this round to every peer now, together with any other pending messages.
    SendRound(TermRound),
    /// Every quorum read with a ticket for this round or an earlier one is confirmed: answer it once its index is
    /// applied.
    Confirmed {
        /// The quorum round.
        through: Round,
    },
    /// Every unconfirmed quorum read with a ticket for this round or an earlier one has failed: it will never be
    /// confirmed.
    Aborted {
        /// The newest round for which a ticket was issued.
        through: Round,
    },
}

/// The way in which a read may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a read that is not followed up is never answered"]
pub enum Read {
    /// At once, under the lease.
    Lease(Permit),
    /// After a quorum round.
    Quorum(Ticket),
}

/// A pending quorum read. The caller parks it; the holder keeps no state per read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The read is confirmed by [`Action::Confirmed`] through this round or a later one.
    pub round: Round,
    /// Once the read is confirmed, answer it when this index is applied.
    pub index: Index,
}

/// An error of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadError {
    /// This node does not lead. The read had no effect; retry at the leader.
    NotLeader,
}

/// The reason why a node holds no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoLease {
    /// It does not lead.
    NotLeader,
    /// A suspension has not ended.
    Suspended,
    /// The entry that opens its term is not known to be committed yet.
    Barrier,
    /// It released its rounds for a transfer of leadership, and no quorum has acknowledged a newer one.
    Released,
    /// No quorum has acknowledged a round of this term.
    NoQuorum,
    /// The time of the newest round that a quorum acknowledged is not known: the clock gave no reading, it has gone back
    /// since, or the round is older than a lease.
    NoAnchor,
}

/// A mistake of the caller of [`handle_event`](crate::Holder::handle_event): an event that a correct engine cannot
/// report at that point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Misuse {
    /// [`Event::Elected`] in a term that is not higher than the one in which this node leads. For a
    /// [`GroupHolder`](crate::groups::GroupHolder), than the last one in which it led.
    TermNotHigher {
        /// The term of the event.
        term: Term,
        /// The term in which this node leads or led.
        current: Term,
    },
    /// [`Event::Committed`] while this node does not lead.
    CommitWithoutLeading,
    /// [`Event::VotersChanged`] while this node does not lead.
    VotersWithoutLeading,
    /// [`Event::TransferStarted`] or [`Event::TransferEnded`] while this node does not lead.
    TransferWithoutLeading,
    /// [`Event::Resumed`] without an [`Event::Suspended`] before it.
    ResumedWithoutSuspension,
}

/// Counters of rounds and of ignored or unusual input, since the process started or since they were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Statistics {
    /// Rounds opened.
    pub rounds_opened: u64,
    /// Releases, each for a transfer of leadership.
    pub releases: u64,
    /// Echoes that arrived while this node did not lead, or that were of another term.
    pub acks_of_other_terms: u64,
    /// Echoes from nodes that are not voters.
    pub acks_of_non_voters: u64,
    /// Echoes of a round that is not newer than the sender's last, or that was not opened in this term.
    pub acks_out_of_order: u64,
    /// Readings that were earlier than the one before.
    pub backward_readings: u64,
    /// Inputs without a reading.
    pub missing_readings: u64,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::NotLeader => f.write_str("this node does not lead; retry at the leader"),
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = match self {
            Misuse::TermNotHigher { term, current } => {
                return write!(f, "elected in term {term} after leading in term {current}; expected a higher term");
            }
            Misuse::CommitWithoutLeading => "a commit",
            Misuse::VotersWithoutLeading => "a change of voters",
            Misuse::TransferWithoutLeading => "a transfer",
            Misuse::ResumedWithoutSuspension => {
                return f.write_str(
                    "Resumed was reported without Suspended; report Suspended before the engine sees the input",
                );
            }
        };
        write!(f, "{event} was reported while this node does not lead; report its election first")
    }
}

impl core::error::Error for ReadError {}
impl core::error::Error for Misuse {}
