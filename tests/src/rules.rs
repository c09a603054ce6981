//! The rules of the protocol: one list, which `docs/protocol.md`, the scenarios, the searches and the mutations share.
//!
//! A rule is switched off in one of two ways, under the same name:
//!
//! * In the [model](crate::model), a second implementation of holder and grantor, and in the abstract Rafts around it
//!   ([`crate::world`], [`crate::abstract_raft`]). This takes no build, so every test run does it. Rules that have [`Rule::off`]
//!   can be switched off there.
//! * In the source of the product, by a [mutation](crate::mutations). This takes a build of the workspace, and tries the code
//!   that ships. It cannot replace the model: an abstract Raft has no source in the product that could be edited, and the search
//!   of all states needs machines of which dozens exist in one process, each with another rule off.

/// Declares the rules. Each has a place in `docs/protocol.md`, words that state it there, and, if the model can do without
/// it, what then happens.
macro_rules! rules {
    ($($name:ident: $place:literal, $words:literal $(, off: $off:literal)?;)*) => {
        /// A rule of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "`words` says what each is")]
        pub enum Rule {
            $($name,)*
        }

        impl Rule {
            /// Every rule, in the order of the document.
            pub const ALL: &[Rule] = &[$(Rule::$name,)*];

            /// Returns the section of `docs/protocol.md` that states the rule, with the number of its paragraph if it has one.
            pub fn place(self) -> &'static str {
                match self {
                    $(Rule::$name => $place,)*
                }
            }

            /// Returns the words with which `docs/protocol.md` states the rule.
            pub fn words(self) -> &'static str {
                match self {
                    $(Rule::$name => $words,)*
                }
            }

            /// Returns what happens without the rule, if the model has a switch for it.
            pub fn off(self) -> Option<&'static str> {
                match self {
                    $($(Rule::$name => Some($off),)?)*
                    _ => None,
                }
            }
        }
    };
}

rules! {
    RoundsAreNeverReused: "Words", "strictly increasing for the life of the process, never reused";
    HoldCoversLease: "Words", "`D <= H (1 - rho) / (1 + rho)`, computed in integers and rounded down",
        off: "the lease is as long as the hold, whatever the drift";
    PeersCheckHolds: "Words", "refuse each other if the hold of one does not cover the lease of the other",
        off: "nodes talk without comparing hold and lease";

    NoReadingNoLease: "Time", "A clock that fails gives *no reading*, which is never treated as an instant.",
        off: "without a reading the last one is used";
    ReadingBelongsToItsInput: "Time", "A reading belongs to its input.",
        off: "one reading serves input that arrived after it was taken";
    LeaseAgesByTheFasterCounter: "Time", "The holder ages its lease by the *larger* difference",
        off: "the lease is aged by the awake counter alone";
    HoldAgesByTheSlowerCounter: "Time", "the grantor ages its hold by the *smaller*",
        off: "the hold is aged by the faster counter";
    BackwardReadingVoids: "Time", "The holder clears every stamp and revokes the published lease",
        off: "the holder goes on with its stamps after a backward reading";
    GrantorIgnoresBackwardReadings: "Time", "The grantor treats it as no reading.",
        off: "the grantor takes a backward reading for the time";
    NoClockOnTheWire: "Time", "No clock value crosses the network.";

    HeartbeatsOpenRounds: "Holder 1", "on each heartbeat interval; and for quorum reads";
    AnchorIsTheOpening: "Holder 1", "The round is stamped first.",
        off: "the lease is counted from when the ack was handled";
    StampsAreShared: "Holder 1", "Rounds opened within `D/32` of a stamp share it (the earlier time is the safe one)",
        off: "every round takes its own place in the ring of stamps";
    AcksAreOfThisTerm: "Holder 2", "An ack counts only if it is of the current term",
        off: "acks and stamps of an earlier term of the same leader count";
    AcksAreRounds: "Words", "a node's acknowledgement of `(term, round)`",
        off: "any response counts as an ack of the newest round";
    OnlyVotersCount: "Holder 2", "from a current voter",
        off: "the acks of learners and of removed voters count";
    AcksAreOfOpenedRounds: "Holder 2", "of a round opened in this term and newer than that voter's last ack";
    OwnAckOnlyAsVoter: "Holder 2", "The holder acknowledges its own rounds only while it is a voter.",
        off: "a leader that is no voter counts itself";
    QuorumAcknowledges: "Words", "the greatest round for which a quorum of the current voters acknowledged it";
    QuorumFollowsTheVoters: "Holder 3",
        "`Q` is recomputed on every ack and on every change of voters; a change of voters may lower it.",
        off: "the quorum round survives a change of voters";
    BothHalvesCount: "Holder 3", "A joint configuration needs a quorum of both halves.",
        off: "the incoming half of a joint configuration is enough";
    RemovedVoterIsForgotten: "Holder 3", "A node that was removed is forgotten even if it returns.";
    Barrier: "Holder 4", "The lease is valid at `now` if the barrier is committed",
        off: "a leader reads before it has committed in its term";
    ReleasedRoundsGiveNoLease: "Holder 4", "`Q` is later than the release mark";
    LeaseEndsByTheClock: "Holder 4", "less than `D` has elapsed since the anchor, by the larger difference",
        off: "a leader trusts its lease until the engine deposes it";
    AckCountsForItsRound: "Holder 4", "Nothing else extends it; in particular, no caller supplies a time.",
        off: "the lease is counted from the opening of the round acked last";
    DepositionRevokes: "Holder 5", "the published lease is revoked",
        off: "a deposed leader leaves the cell as it was";
    RevokedBeforeTheVoteLeaves: "Holder 5", "before any message or vote of the same step exists outside",
        off: "the vote leaves first, the cell is revoked later";
    HigherTermDeposes: "Holder 5", "On every step-down",
        off: "a response of a higher term counts like any other";
    CheckQuorumIsOn: "Holder 6", "Check-quorum is on";
    StalledLeaderGivesUp: "Holder 7", "A leader without progress gives leadership up.";
    StalledLeaderBacksOff: "Holder 7", "It does not campaign of its own accord for two holds";
    SuspendedLeaderHasNoLease: "Holder 8", "Until then there is no lease, and no round is opened.",
        off: "a leader goes on while its engine may be voting for another";

    QuorumReadCoversTheBarrier: "Quorum reads", "notes the commit index, or the barrier if that is later";
    QuorumReadTakesALaterRound: "Quorum reads", "takes a round that cannot have left before the read arrived";
    QuorumReadsEndWithTheLeadership: "Quorum reads",
        "It is confirmed when `Q` reaches the round and the barrier is committed.";

    PermitShowsTheCommit: "Lease reads", "uses the commit index known at the check",
        off: "a permit shows the commit index of the last renewal";
    AnsweredOnceApplied: "Lease reads", "is answered once that index is applied";
    CheckComesFirst: "Lease reads", "The check comes first and the state is read after it";
    FollowerReadIndexIsRequestedLater: "Requests",
        "**A follower read uses an index that was requested after the read arrived.**";
    UncertainWriteIsNotRetried: "Requests", "**Perhaps executed: never try again.**";
    RepeatedRequestIsExecutedOnce: "Requests", "the leader executes the first copy and ignores the others";
    UnknownCommandStopsTheGroup: "Requests", "**A group stops before a command that its node does not know.**";
    OutcomeIsAsked: "Requests", "**That node is asked what became of the write.**";
    LateWritesAreRefused: "Requests", "it refuses all writes for one second";
    DeadlinesPassWithoutAClock: "Requests", "the ticks of the timer count instead";
    SampleBeforeTheAnchorIsGood: "Lease reads", "the answer linearizes at the instant of the sample",
        off: "a sample older than the anchor is refused";

    OnlyTheLeaderIsEchoed: "Grantor 1", "from the leader of its current term, after the engine accepted that leader";
    EchoRaisesTheHold: "Grantor 1", "the grantor raises its hold to `now + H` on each counter";
    HoldIsNeverLowered: "Grantor 1", "never lower than it was, and only then echoes";
    EchoWithoutReadingHolds: "Grantor 1", "its hold lasts a full `H` from the next reading",
        off: "an echo without a reading sets no hold";
    HeldNodeDoesNotVote: "Grantor 2", "While held, the node refuses votes and pre-votes by not passing the request to the engine",
        off: "a held node votes";
    HeldNodeDoesNotCampaign: "Grantor 2", "not by its own ticks",
        off: "a held node campaigns";
    OperatorIsRefusedWhileHeld: "Grantor 2", "not by an operator's command";
    LeaderIsRefusedWhileHeld: "Grantor 2", "not at a leader's request";
    WithheldTickIsRetried: "Grantor 2", "A tick that would campaign is withheld and tried again";
    RestartHold: "Grantor 3", "A process that has just started cannot know what it promised before.",
        off: "a restarted grantor is free at once";
    LongestHoldIsRecorded: "Grantor 3",
        "It is held, from its first reading, for the longest hold it ever echoed under, or for the configured hold if that is longer. It records that hold on disk before the first such echo",
        off: "the restart hold is as long as the new configuration says";
    RestartHoldIsTheNodes: "Grantor 3", "a group that is created later is held for the rest of it";
    RestartHoldEndsOnlyByTime: "Grantor 3", "Only time ends this hold.",
        off: "a release that covers the newest ack also ends the restart hold";
    NoReadingKeepsTheHold: "Grantor 4", "Without a reading, the node stays held.";
    ReleaseLiftsTheHold: "Grantor 5", "A vote request may carry a release.",
        off: "releases are not looked at";
    ReleaseMustCoverTheNewestAck: "Grantor 5",
        "The release lifts the hold of what was echoed if it covers the newest echo",
        off: "any release lifts the ack hold";

    OrderlyStopIsRecorded: "Grantor 6", "by the counter with more of it left";
    OrderlyStopIsForgotten: "Grantor 6", "It removes the record durably before it sends anything";

    TransferReleases: "Handing leadership over",
        "The holder releases through its newest round and revokes the published lease",
        off: "a transfer leaves the lease as it is";
    EveryTransferReleasesFirst: "Handing leadership over", "only then does the engine's \"campaign now\" message leave";
    CampaignNowCarriesTheRelease: "Handing leadership over", "with the release in its envelope";
    VoteRequestsShowTheRelease: "Handing leadership over", "The target attaches the release to its vote requests";
    ReleaseIsShownAgain: "Handing leadership over", "in this campaign and any later one",
        off: "a second campaign does not show the release";
    NoRoundWhileTransferring: "Handing leadership over", "While a transfer is pending no round is opened",
        off: "heartbeats open rounds while a transfer is pending";
    AbandonedTransferStaysReleased: "Handing leadership over", "the lease can be earned again on later rounds only",
        off: "an abandoned transfer gives the old lease back";
    TransferHasADeadline: "Handing leadership over",
        "A transfer ends one election timeout after the first of the targets that were named one after another";
    TransferTargetIsChecked: "Handing leadership over",
        "A target that is no voter, was not heard for a hold, or lacks thousands of entries is refused.";
    LateCampaignNowIsRefused: "Handing leadership over", "meets voters that acknowledged those rounds and stay held";

    EchoNamesTheProcess: "Many groups 1", "**An echo names the process that opened the round**";
    SupportIsHeld: "Many groups 2", "V raises the hold of the epoch to `now + H` on each counter";
    SupportWithoutReadingIsHeld: "Many groups 2", "Without a reading the hold lasts a full `H` from the next one.";
    EpochsAreNewAfterARestart: "Many groups 3", "**A restart of V begins new epochs**";
    RestartHoldsAllGroups: "Many groups 3", "holds it in all groups";
    ProcessesHaveTheirOwnEpochs: "Many groups 4", "**A new process of L gets a new epoch.**";
    AttachmentNeedsAnEcho: "Many groups 5", "**It attaches only under an epoch in which it has echoed.**";
    AttachedVoterElectsNoOther: "Many groups 6",
        "**V helps to elect no other leader of the group while its attachment stands**";
    GroupReleaseMustCover: "Many groups 6", "or by a release that covers it";
    WithdrawnEpochIsNotEchoed: "Many groups 7", "After that V never echoes under the epoch.";
    EndedSupportIsWithdrawn: "Many groups 7", "**A support that has ended is also withdrawn by a timer**";
    EpochOfTheEchoIsThatOfTheAttachment: "Many groups 8",
        "**L counts V's newest echo in a group if V is attached to the present offer under the epoch of the echo.**";
    BackwardReadingEndsAllLeases: "Many groups 8", "A backward reading ends the leases of all groups.";
    VoterChangeKeepsItsOwnAttachments: "Many groups 8",
        "**A change of voters keeps the attachments of those that stay, and no other.**";
    TransferDropsAttachments: "Many groups 9", "**L drops all attachments**";
    NumberRisesAfterATransfer: "Many groups 9", "**After an abandoned transfer the number rises**";
    NoTermIsLedTwice: "Many groups 10", "**No node leads a term of a group twice**";
    EndedLeadershipIsAnnounced: "Many groups 10", "**An ended leadership is announced**";
    UnwantedAttachmentIsReleased: "Many groups 10",
        "**An attachment to an ended leadership is answered with a release**";
    AttachmentNamesItsLeader: "Many groups 10",
        "**An attachment names its leader, and no other node answers it.**";
    ReleasedOfferIsOutOfDate: "Many groups 10", "**A released offer is out of date**";
    AttachmentOutlivesTheReplica: "Many groups 11", "**An attachment belongs to the process, not to the replica.**";
    InputWakesTheGroup: "Many groups 12", "**The group wakes on any input of its own**";
    WithdrawalWakesEveryGroup: "Many groups 12", "**A withdrawal wakes every group that rests under the epoch**";
    RestNamesTheAttachment: "Many groups 12",
        "**A frame that lets a voter's group rest names the attachment that the leader knows**";

    SubleaseIsCutFromALease: "Local reads 1", "the leader's lease is valid at a reading that was sampled after it arrived";
    SubleaseIsOfTheTerm: "Local reads 1", "A request is granted if it is of the leader's own term";
    SubleaseIsOfTheCounterWithLess: "Local reads 1", "**on the counter that has less**";
    SubleaseIsShorterByTheDrift: "Local reads 1", "**the larger drift of the two nodes**";
    ObligationIsNeverLowered: "Local reads 1", "**an obligation is never lowered**";
    GrantHasAFloor: "Local reads 1", "**Its floor is `X` at that moment.**";
    ExposureWaitsForReaders: "Local reads 2", "every reader with an obligation in force has acknowledged in this term";
    ObligationEndsOnBothCounters: "Local reads 2",
        "**An obligation is in force until its instant has passed on both counters**";
    ObligationStaysWithoutAReading: "Local reads 2", "without a reading it stays in force";
    RemovedReaderBlocks: "Local reads 2", "**A reader to which the engine no longer replicates acknowledges nothing more.**";
    ObligationOutlivesTheLeadership: "Local reads 2", "**An obligation outlives the leadership.**";
    FormerLeaderKeepsTheExposedIndex: "Local reads 2",
        "A former leader, and one that shuts down, exposes nothing more until no obligation is in force";
    ReturnCoversWhatWasGranted: "Local reads 3",
        "**A return ends the obligation if no later request of that reader was granted.**";
    RecallGrantsNothing: "Local reads 5", "it grants nothing, asks the readers to return";
    SlowReaderIsRecalled: "Local reads 6",
        "**A reader that does not acknowledge within four heartbeats what was committed is recalled**";
    FirstGrantNeedsTheSame: "Local reads 6", "The first grant needs the same";
    ChangeOfVotersWaits: "Local reads 8", "**`X` does not pass a change of voters while an obligation is in force.**";
    BlockedIsCountedInTicks: "Local reads 9", "blocked for about two leases, counted in ticks";
    FloorIsOfTheNewestGrant: "Local reads 10", "**floor of the newest grant**";
    SubleaseCountsFromTheRequest: "Local reads 10", "**A sublease ends a length after its request was asked**";
    ChangeOfLeaderRevokes: "Local reads 10", "A change of term or leader, and a return, revoke the cell first.";
    BackwardReadingForgetsRequests: "Local reads 10",
        "**A backward reading revokes the cell and forgets every request**";
    ReturnForgetsRequests: "Local reads 10", "**a return forgets every request**";
    ReadWaitsForItsKeys: "Local reads 11",
        "It need not wait if no entry that is received and not applied touches what it reads.";

    StateIsInstalledWhole: "Snapshots", "It installs a state only once every chunk is durable";
    TransfersAreNotMixed: "Snapshots", "Chunks of any other are ignored";
    ProgressKeepsATransfer: "Snapshots", "A transfer that makes progress goes on however long it takes";
    LogIsKeptForFollowers: "Snapshots", "the leader compacts only what no follower that makes progress needs";

    TheDeadStayDead: "Expiry", "**While dead keys wait to be removed, the time does not go back**";
    DeadlinesAreAbsoluteInTheLog: "Expiry", "A relative time counts from the log time at which its entry is applied";
    KeysDieInTheLog: "Expiry", "never by a replica's own clock";
    DeadKeysAreHidden: "Expiry", "**A dead key is hidden at once.**";
    RenewedKeysLive: "Expiry", "**A renewed key lives.**";

    TermIsDurableFirst: "Engine and disk", "Nothing of a term leaves a node before that term is durable there";
    AcksWaitForTheDisk: "Engine and disk", "A leader's appends do not wait for its own disk beyond that";
    LeaderCountsItselfOnceSynced: "Engine and disk", "the leader counts itself only once it has synced";
    NoCampaignOnUnsyncedWrites: "Engine and disk", "everything it knows to be committed";
    OneProcessPerFolder: "Engine and disk", "One process per data folder, enforced by a lock",
        off: "a second process may start on the same folder";
    CommitIndexIsDurableInOrder: "Engine and disk",
        "an entry is never durable without the commit index that was known when the entry was appended";
    RemovedLeaderStepsDown: "Engine and disk", "A leader that is no voter steps down";
    RemovalIsToldFirst: "Engine and disk",
        "**A leader applies its own removal only once another voter knows that it is committed**";
    TermsDoNotJump: "Engine and disk", "A term that jumps is refused";
    CutLogDoesNotElect: "Cut log 1", "A node whose log may have been cut neither votes nor campaigns";
    CutLogStaysMarked: "Cut log 1", "The mark is durable";
    CutIsRecordedFirst: "Cut log 2", "once the mark is durable";
    CutLogAcknowledgesNothing: "Cut log 2", "it acknowledges neither rounds nor entries";
    LostAcknowledgementsDoNotCount: "Cut log 3", "The leader forgets what the node acknowledged before";
    AdmissionByEveryOtherVoter: "Cut log 3", "every other voter has acknowledged that round";
    AdmissionIsOfThisRequest: "Cut log 3", "An admission that answers another request means nothing.";
    CatchingUpCommitsByAppends: "Cut log 4", "**from appends alone**";
    AcknowledgementsOfBeforeAreIgnored: "Cut log 4", "the leader ignores acknowledgements of entries without it";
    WholeOnceCaughtUp: "Cut log 5", "**committed, and durable there**";
    ShortLogIsNoticed: "Cut log", "one that commits more than the log holds means that the end is gone";
    UnsyncedBytesAreBounded: "Engine and disk", "Beyond 128 MiB that wait for the disk";
    HeartbeatAnswersDoNotWait: "Engine and disk", "An answer to a heartbeat does not wait";

    FoundedByAllFounders: "Identity 1", "**A cluster is founded once, by all its founders.**";
    OtherIncarnationIsRefused: "Identity 2", "**A node with another incarnation than the roster's is refused**";
    OlderCopyIsRefused: "Identity 3", "**An older copy of a folder is refused.**";
    CountOfStartsIsNotEnough: "Identity 3", "The count alone would not be enough";
    RefusedCopyIsRecorded: "Identity 3", "refuses every folder that has the recorded number";
    PeersAreRecordedFirst: "Identity 4", "**A peer is recorded durably before the connection is used.**";
    FoundersNeverChange: "Identity 5", "**The founders of a folder never change.**";
    NumbersAreNeverReused: "Members 1", "**A number is used once.**";
    RemovedNodeIsRefused: "Members 2", "**A node that was removed is refused**";
    MembersAreListedWithTheirFolders: "Members 3", "**A member is added with the incarnation of its folder**";
    NewerRosterCounts: "Members 4", "**The newer roster counts.**";
    LearnersCatchUpFirst: "Members 5", "**A new member votes once it has caught up.**";
    QuorumIsLeft: "Members 6", "**A voter is removed only if a quorum of the others was heard lately.**";
    NewEntriesWaitForAllMembers: "Members 7", "**A leader proposes a newer version of entries once every member can apply it.**";
    ChangesAreDurableFirst: "Members 8", "**A change counts for links once it is durable.**";
    RemovedNodeStopsAtAPeersWord: "Members 9", "**A removed node stops at a peer's word, not at its own log's.**";
    GroupsFollowTheDecidingOne: "Members 10", "**A group follows what its leader knows durably of the deciding group.**";
    OldDecisionsDoNoHarm: "Members 11", "**What a group does by an older decision need never be taken back.**";
    DecidingGroupRemovesLast: "Members 12", "**The deciding group removes last.**";
    UnusedNumbersAreNotReleased: "Members 13", "**A number that a group never used is not released there.**";
    DecidingLeaderThatGoesHandsOver: "Members 14", "**A leader of the deciding group that is to go hands over at once**";
}

impl Rule {
    /// Returns the rules that the model has a switch for.
    pub fn switches() -> impl Iterator<Item = Rule> {
        Rule::ALL.iter().copied().filter(|rule| rule.off().is_some())
    }
}

/// The rules in force in a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    off: Option<Rule>,
}

impl Rules {
    /// All rules.
    pub const ALL: Rules = Rules { off: None };

    /// Returns all rules but one.
    ///
    /// # Panics
    /// If the model has no switch for that rule.
    pub fn without(rule: Rule) -> Rules {
        assert!(rule.off().is_some(), "the model has no switch for {rule:?}");
        Rules { off: Some(rule) }
    }

    /// Returns whether `rule` is in force.
    pub fn has(self, rule: Rule) -> bool {
        self.off != Some(rule)
    }
}
