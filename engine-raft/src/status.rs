//! The role, the counts and the input types of a replica.

/// The role of this node in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// This node follows a leader, or waits for one.
    Follower,
    /// This node asks its peers whether it could win an election. Its term has not changed.
    PreCandidate,
    /// This node campaigns in its term.
    Candidate,
    /// This node leads in its term.
    Leader,
}

/// The outcome of sending a snapshot, for
/// [`Replica::handle_snapshot_ended`](crate::Replica::handle_snapshot_ended).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotOutcome {
    /// The follower has it, or does not need it any more.
    Delivered,
    /// It was given up. The engine tries the follower's log again, and may send another snapshot.
    Failed,
}

/// Counts of refused and withheld inputs since the replica was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Requests for a vote or a pre-vote that the engine did not see because of the hold.
    pub votes_withheld: u64,
    /// "Campaign now" messages that the engine did not see because of the hold or of a write in flight.
    pub transfers_withheld: u64,
    /// Campaigns that did not start because of the hold or of a write in flight: by a tick or by
    /// [`Replica::campaign`](crate::Replica::campaign).
    pub campaigns_withheld: u64,
    /// Messages that the engine did not see because this node's log may have been cut and no leader had admitted it.
    pub messages_before_admission: u64,
    /// Times that this node, as a leader, did not apply its own removal yet because no other voter knew that it is
    /// committed.
    pub removals_withheld: u64,
    /// Leaderships that this node gave up because it made no progress.
    pub leaderships_given_up: u64,
    /// Leaderships that this node gave up because it waited two holds for readers: its clock may have failed, so that it
    /// cannot tell when their subleases end.
    pub leaderships_blocked: u64,
    /// Messages that no correct peer sends, or that arrived too early for the engine.
    pub messages_refused: u64,
}
