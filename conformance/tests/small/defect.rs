//! Mistakes that engines with leases easily make.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// A read by lease does not wait until its index is applied.
    ReadsBeforeItApplies,
    /// No message has a kind.
    NamesNoKinds,
    /// Orders to campaign have no kind.
    NamesNoOrders,
    /// The outputs never end.
    RepeatsAnOutput,
    /// Two frames follow each answer.
    AnswersTwice,
    /// Election timeouts are three times as long.
    CampaignsLate,
    /// Entries are applied when they are appended.
    AppliesEarly,
    /// A commit is reported at the next tick, after writes were acknowledged.
    ReportsCommitsLate,
    /// Requests for votes do not pass the grantor.
    VotesWhileHeld,
    /// A tick campaigns without asking the grantor.
    CampaignsByTick,
    /// A command campaigns without asking the grantor.
    CampaignsByCommand,
    /// "Campaign now" does not pass the grantor.
    CampaignsByOrder,
    /// Pre-votes are counted without asking the grantor.
    CampaignsByPreVotes,
    /// The longest hold is not recorded.
    ForgetsItsHold,
    /// A leader that starts again leads on in its term.
    LeadsItsTermAgain,
    /// As above, and the kit does not see what messages carry.
    LeadsItsTermAgainUnseen,
    /// As above, but with rounds that no process before it has sent. This is no mistake.
    LeadsItsTermAgainWithNewRounds,
    /// Votes in a task of its own without a suspension.
    VotesUnsuspended,
    /// A suspension never ends.
    NeverResumes,
    /// Messages and reads are handled with the reading of the last tick.
    KeepsAReading,
    /// Both counters are the one that stops during a suspend.
    ReadsOneCounter,
    /// A missing reading is replaced by the one before.
    ReplacesAMissingReading,
    /// Readings never go back.
    MakesReadingsMonotonic,
    /// A step-down is reported when the next leader was not heard for ten ticks.
    ReportsStepDownsLate,
    /// A transfer is not reported. Its release is made up.
    MakesUpReleases,
    /// No release is sent.
    SendsNoRelease,
    /// Rounds of an earlier term are acknowledged.
    AcknowledgesOldLeaders,
    /// Every answer acknowledges the newest round.
    TakesAnswersForAcknowledgements,
    /// The barrier is what is committed already.
    HasNoBarrier,
    /// A change of voters is not reported.
    ReportsNoVoters,
    /// A change of voters is reported as if it were complete when it begins.
    ReportsVotersEarly,
    /// A change of voters is accepted and forgotten.
    ForgetsChanges,
    /// Learners are reported as voters.
    ReportsLearners,
    /// A leader without a quorum leads on.
    LeadsWithoutAQuorum,
    /// Every read takes a quorum round.
    ReadsByQuorum,
    /// Confirmations of quorum reads are dropped.
    DropsActions,
    /// A confirmation of any round answers all quorum reads.
    TakesAnyConfirmation,
    /// Quorum reads are answered at once.
    AwaitsNoConfirmation,
    /// The timing of peers is not compared.
    AcceptsAnyTiming,
    /// Messages are counted, not nodes.
    CountsMessages,
}
