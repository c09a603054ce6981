//! The rules of the protocol, each of which can be switched off where a test wants to see what it is for.

/// A rule. With it off, some scenario goes wrong: `docs/scenarios.md` says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`off` says what each is")]
pub enum Rule {
    RestartHold,
    LongestHoldIsRecorded,
    RestartHoldEndsOnlyByTime,
    ReleaseMustCoverTheNewestAck,
    ReleaseLiftsTheHold,
    TransferReleases,
    NoRoundWhileTransferring,
    ReleaseIsShownAgain,
    LeaseEndsByTheClock,
    AnchorIsTheOpening,
    LeaseAgesByTheFasterCounter,
    HoldAgesByTheSlowerCounter,
    AcksAreOfThisTerm,
    AcksAreRounds,
    AckCountsForItsRound,
    Barrier,
    PermitShowsTheCommit,
    OnlyVotersCount,
    QuorumFollowsTheVoters,
    OwnAckOnlyAsVoter,
    BothHalvesCount,
    NoReadingNoLease,
    EchoWithoutReadingHolds,
    SampleBeforeTheAnchorIsGood,
    DepositionRevokes,
    RevokedBeforeTheVoteLeaves,
    HigherTermDeposes,
    ReadingBelongsToItsInput,
    BackwardReadingVoids,
    GrantorIgnoresBackwardReadings,
    StampsAreShared,
    PeersCheckHolds,
    OneProcessPerFolder,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 33] = [
        Rule::RestartHold,
        Rule::LongestHoldIsRecorded,
        Rule::RestartHoldEndsOnlyByTime,
        Rule::ReleaseMustCoverTheNewestAck,
        Rule::ReleaseLiftsTheHold,
        Rule::TransferReleases,
        Rule::NoRoundWhileTransferring,
        Rule::ReleaseIsShownAgain,
        Rule::LeaseEndsByTheClock,
        Rule::AnchorIsTheOpening,
        Rule::LeaseAgesByTheFasterCounter,
        Rule::HoldAgesByTheSlowerCounter,
        Rule::AcksAreOfThisTerm,
        Rule::AcksAreRounds,
        Rule::AckCountsForItsRound,
        Rule::Barrier,
        Rule::PermitShowsTheCommit,
        Rule::OnlyVotersCount,
        Rule::QuorumFollowsTheVoters,
        Rule::OwnAckOnlyAsVoter,
        Rule::BothHalvesCount,
        Rule::NoReadingNoLease,
        Rule::EchoWithoutReadingHolds,
        Rule::SampleBeforeTheAnchorIsGood,
        Rule::DepositionRevokes,
        Rule::RevokedBeforeTheVoteLeaves,
        Rule::HigherTermDeposes,
        Rule::ReadingBelongsToItsInput,
        Rule::BackwardReadingVoids,
        Rule::GrantorIgnoresBackwardReadings,
        Rule::StampsAreShared,
        Rule::PeersCheckHolds,
        Rule::OneProcessPerFolder,
    ];

    /// What happens without it.
    pub fn off(self) -> &'static str {
        match self {
            Rule::RestartHold => "a restarted grantor is free at once",
            Rule::LongestHoldIsRecorded => "the restart hold is as long as the new configuration says",
            Rule::RestartHoldEndsOnlyByTime => "a release that covers the newest ack also ends the restart hold",
            Rule::ReleaseMustCoverTheNewestAck => "any release lifts the ack hold",
            Rule::ReleaseLiftsTheHold => "releases are not looked at",
            Rule::TransferReleases => "a transfer leaves the lease as it is",
            Rule::NoRoundWhileTransferring => "heartbeats open rounds while a transfer is pending",
            Rule::ReleaseIsShownAgain => "a second campaign does not show the release",
            Rule::LeaseEndsByTheClock => "a leader trusts its lease until the engine deposes it",
            Rule::AnchorIsTheOpening => "the lease is counted from when the ack was handled",
            Rule::LeaseAgesByTheFasterCounter => "the lease is aged by the awake counter alone",
            Rule::HoldAgesByTheSlowerCounter => "the hold is aged by the faster counter",
            Rule::AcksAreOfThisTerm => "acks and stamps of an earlier term of the same leader count",
            Rule::AcksAreRounds => "any response counts as an ack of the newest round",
            Rule::AckCountsForItsRound => "the lease is counted from the opening of the round acked last",
            Rule::Barrier => "a leader reads before it has committed in its term",
            Rule::PermitShowsTheCommit => "a permit shows the commit index of the last renewal",
            Rule::OnlyVotersCount => "the acks of learners and of removed voters count",
            Rule::QuorumFollowsTheVoters => "the quorum round survives a change of voters",
            Rule::OwnAckOnlyAsVoter => "a leader that is no voter counts itself",
            Rule::BothHalvesCount => "the incoming half of a joint configuration is enough",
            Rule::NoReadingNoLease => "without a reading the last one is used",
            Rule::EchoWithoutReadingHolds => "an echo without a reading sets no hold",
            Rule::SampleBeforeTheAnchorIsGood => "a sample older than the anchor is refused",
            Rule::DepositionRevokes => "a deposed leader leaves the cell as it was",
            Rule::RevokedBeforeTheVoteLeaves => "the vote leaves first, the cell is revoked later",
            Rule::HigherTermDeposes => "a response of a higher term counts like any other",
            Rule::ReadingBelongsToItsInput => "one reading serves input that arrived after it was taken",
            Rule::BackwardReadingVoids => "the holder goes on with its stamps after a backward reading",
            Rule::GrantorIgnoresBackwardReadings => "the grantor takes a backward reading for the time",
            Rule::StampsAreShared => "every round takes its own place in the ring of stamps",
            Rule::PeersCheckHolds => "nodes talk without comparing hold and lease",
            Rule::OneProcessPerFolder => "a second process may start on the same folder",
        }
    }
}

/// Which rules are in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    off: Option<Rule>,
}

impl Rules {
    /// All of them.
    pub const ALL: Rules = Rules { off: None };

    /// All but one.
    pub fn without(rule: Rule) -> Rules {
        Rules { off: Some(rule) }
    }

    /// Whether `rule` is in force.
    pub fn has(self, rule: Rule) -> bool {
        self.off != Some(rule)
    }
}
