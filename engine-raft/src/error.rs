//! The errors of a replica.

use leasehold_core::{Index, VotersError};

/// The error of building a replica.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stored configuration of the group has too many voters or is invalid.
    #[error("the group's voters are not acceptable: {0}")]
    Voters(#[from] VotersError),
    /// The engine refused the stored state or the options.
    #[error("the raft engine refused to start: {0}")]
    Engine(#[source] EngineError),
}

/// An error of the raft engine. Only its text is public.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EngineError(pub(crate) raft::Error);

/// The error of a proposal that was not accepted. The proposal has no effect, now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// This node is not the leader.
    #[error("this node is not the leader; propose to the leader")]
    NotLeader,
    /// This node is transferring leadership.
    #[error("this node is transferring leadership; try again soon, possibly on another node")]
    HandingOver,
    /// Too many bytes wait to be committed, or another change of configuration is pending.
    #[error("too many proposals are pending; try again later")]
    Busy,
    /// The change would make an invalid configuration.
    #[error("the change of configuration is not acceptable: {0}")]
    Voters(VotersError),
    /// The change has too many notes, or too long ones.
    #[error("the notes of the change are too many or too long; at most 64 of 1024 bytes each are possible")]
    Notes,
}

/// The error of a campaign that did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CampaignError {
    /// This node is not a voter in the newest configuration it knows.
    #[error("this node is not a voter; campaign on a voter, or make this node a voter first")]
    NotVoter,
    /// The hold of an acknowledged round or of a restart is not over, or cannot be judged because the clock failed.
    #[error("this node acknowledged a leader or restarted less than a hold ago; try again after a hold")]
    Held,
    /// This node's log may have been cut, and it has not caught up since.
    #[error("this node may have lost entries that it acknowledged; try again once it has caught up with a leader")]
    Rejoining,
    /// This node has writes that are not durable yet.
    #[error("this node has writes that are not durable yet; try again once they are")]
    Unsynced,
}

/// The error of a snapshot that was not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// This node does not follow a leader.
    #[error("this node follows no leader now; install the snapshot when it does")]
    NoLeader,
    /// No correct peer sends such a position or configuration.
    #[error("the snapshot's position or configuration is invalid; discard it")]
    Invalid,
}

/// The error of a transfer of leadership that did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// This node is not the leader.
    #[error("this node is not the leader; ask the leader")]
    NotLeader,
    /// The target is not a voter of the group.
    #[error("the target is not a voter; name a voter")]
    NotVoter,
    /// The target was not heard for a hold.
    #[error("the target was not heard for a hold; start it, or name another voter")]
    Unreachable,
    /// The target lacks too many entries.
    #[error("the target lacks {entries} log entries; wait until it has caught up, or name another voter")]
    Behind {
        /// The number of entries.
        entries: Index,
    },
    /// No other voter holds every committed entry and was heard lately.
    #[error("no other voter can take over now; try again once another one is up and has caught up")]
    NoSuccessor,
}
