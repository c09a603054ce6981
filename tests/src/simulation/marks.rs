//! Counters of interesting events. A soak in which an event never happened has not tested it.

macro_rules! marks {
    ($($(#[doc = $doc:literal])* $mark:ident = $name:literal,)*) => {
        /// An interesting event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark { $($(#[doc = $doc])* $mark,)* }

        /// The names of all marks, in order.
        pub const MARKS: &[&str] = &[$($name,)*];
    };
}

marks! {
    /// A leader's lease expired by its clock.
    LeaseExpiredWhileLeading = "lease expired while leading",
    /// A vote or pre-vote was refused because of an echoed round.
    HoldRefusedVote = "hold refused a vote",
    /// A vote or pre-vote was refused because of a round possibly echoed before a restart.
    RestartHoldRefusedVote = "restart hold refused a vote",
    /// A campaign was withheld because of a hold.
    HoldKeptBackCampaign = "hold kept back a campaign",
    /// A release lifted a hold, and a vote was granted.
    ReleaseOverrodeHold = "release overrode a hold",
    /// A vote request carried a release, and was refused anyway.
    ReleaseDidNotCover = "release did not cover a voter's newest echo",
    /// "Campaign now" reached a node under a hold.
    CampaignNowMetHold = "delayed campaign-now met a held node",
    /// An operator's campaign was refused.
    OperatorCampaignRefused = "operator campaign refused by the hold",
    /// A quorum read was confirmed while the leader's clock gave no readings.
    QuorumReadWithoutClock = "quorum read during clock failure",
    /// A voter echoed a round without a reading.
    EchoWithoutReading = "echo without a reading",
    /// A lease was valid under a joint configuration.
    LeaseWhileJoint = "lease valid in a joint configuration",
    /// In a calm cluster, a transfer completed before any hold was over.
    HandedOver = "handed over within the holds",
    /// The same, while the old leader was cut off and did not vote.
    HandedOverAlone = "handed over within the holds, without the old leader's vote",
    /// A wall clock stepped.
    WallClockStepped = "wall clock stepped",
    /// A leader proposed an entry because a key's deadline had come.
    KeyDied = "key died at its deadline",
    /// A transfer completed.
    TransferCompleted = "transfer completed",
    /// A transfer was abandoned, and the leader still led.
    TransferAbandoned = "transfer abandoned",
    /// The leader then earned a lease again.
    LeaseAfterAbandonedTransfer = "lease earned again after an abandoned transfer",
    /// A transfer was refused: its target was no voter, was silent, or was too far behind.
    TransferRefused = "transfer refused",
    /// A leader that made no progress gave leadership up.
    LeadershipGivenUp = "leader without progress gave leadership up",
    /// The disk of a node that does not lead finished nothing for two seconds.
    FollowerDiskHung = "disk of a follower hung",
    /// A leader's clock went backward.
    BackwardReadingVoided = "backward reading voided a leader's stamps",
    /// The leader then earned a lease again.
    LeaseAfterBackwardReading = "lease earned again after a backward reading",
    /// A leader removed itself from the configuration and stepped down.
    LeaderRemovedItself = "leader removed itself",
    /// A leader did not apply its own removal before another voter knew of it.
    RemovalWithheld = "leader withheld its own removal",
    /// A configuration change was committed.
    MembershipChanged = "configuration changed",
    /// The leader of the group that decides for all took a change of the members.
    MembersDecided = "change of the members of all groups decided",
    /// In a group, a member was removed that the deciding group still had.
    MemberReleased = "member removed by a group before the deciding one",
    /// A configuration change was refused because another one was pending.
    MembershipChangeRefused = "configuration change refused",
    /// A snapshot replaced a node's state.
    SnapshotInstalled = "snapshot installed",
    /// A transfer of a state went on after chunks were lost.
    TransferResumed = "transfer of a state resumed after lost chunks",
    /// A chunk or an answer of a transfer was stale or repeated.
    TransferStepIgnored = "stale or repeated step of a transfer ignored",
    /// A log was kept for a transfer although it was longer than logs may be.
    LogKeptForTransfer = "log kept for a transfer under load",
    /// A node crashed while a part of a state was staged.
    CrashWhileStaged = "crash in the middle of a transfer",
    /// A log was compacted.
    LogCompacted = "log compacted",
    /// An acknowledgement arrived for an earlier term, or at a node that no longer leads.
    AckOfAnotherTerm = "acknowledgement of another term ignored",
    /// An acknowledgement arrived from a learner or a removed node.
    AckOfAStranger = "acknowledgement of a stranger ignored",
    /// An acknowledgement was overtaken by a later one.
    AckOutOfOrder = "acknowledgement out of order ignored",
    /// A frame of an earlier term arrived.
    FrameOfAnEarlierTerm = "frame of an earlier term arrived",
    /// A frame for an earlier process arrived at its successor.
    FrameForAnEarlierProcess = "frame for an earlier process arrived",
    /// Peers with incompatible timings refused each other.
    PeersRefusedEachOther = "peers with unfitting timings refused each other",
    /// A process started under a hold longer than its own timing's.
    StartedUnderALongerHold = "started under an earlier, longer hold",
    /// A process started after an orderly stop, and was held for less than its own hold.
    StartedUnderAShorterHold = "started after an orderly stop under a shorter hold",
    /// A leader handed leadership over because it was told to stop.
    HandedOverToStop = "leader handed over to stop",
    /// The process lowered the record of the longest hold once that hold was over.
    LongestHoldLowered = "record of the longest hold lowered",
    /// A crash lost writes that were waiting for a sync.
    UnsyncedWriteLost = "unsynced write lost in a crash",
    /// A crash during a sync discarded all of it.
    CommitTornAway = "commit torn away by a crash",
    /// A crash during a sync kept all of it.
    CommitSurvivedUnreported = "commit survived a crash unreported",
    /// A disk error stopped its node.
    DiskStoppedNode = "disk error stopped a node",
    /// A leader was paused with a valid lease, which had expired when it resumed.
    PausedLeaderLostLease = "paused leader resumed after its lease had ended",
    /// A reader on that leader was refused right after it resumed.
    ResumedReaderRefused = "reader refused on a resumed leader",
    /// A reader was interrupted between accepting the request and taking its reading.
    PausedBeforeSample = "read paused between arrival and sample",
    /// A reader was interrupted between its reading and the check.
    PausedBeforeCheck = "read paused between sample and check",
    /// The check then refused the read.
    PausedThenRefused = "read paused between sample and check, then refused",
    /// A reader was interrupted between the check and reading the state.
    PausedBeforeView = "read paused between check and answer",
    /// A node answered a permitted read after it was deposed.
    AnsweredAfterDeposition = "permitted read answered after deposition",
    /// A reader waited for an index that was committed but not applied.
    WaitedForApply = "read waited for apply",
    /// A group applied as much as it may in a turn, and more was left.
    ApplyingWaited = "entries waited for the next turn",
    /// Two nodes were leaders, in different terms.
    TwoLeaders = "two nodes led at once, in different terms",
    /// A deposed leader refused a lease read while another node led.
    OldLeaderRefusedRead = "deposed leader without lease refused a read",
    /// A leader heard from no quorum and stepped down.
    CheckQuorumDeposed = "check-quorum deposed a leader",
    /// Quorum reads were aborted because their leader stepped down.
    ReadsAborted = "quorum reads aborted",
    /// A write's log position was taken by another entry.
    WritePlaceTaken = "place of a write taken by another",
    /// The outcome of a write is unknown.
    WriteUncertain = "write uncertain",
    /// A read index was granted by the lease.
    FollowerReadByLease = "follower read granted by lease",
    /// A read index was granted by a quorum round.
    FollowerReadByQuorum = "follower read granted by quorum round",
    /// A node answered a read from its own state by a sublease.
    LocalRead = "local read",
    /// The same, although entries that it had received were not applied.
    LocalReadOfUntouchedKey = "local read while entries for other keys wait",
    /// A read by a sublease had to wait for an entry that may change its key.
    LocalReadWaited = "local read waited for its key",
    /// An entry was committed, and not exposed because a reader did not have it.
    ExposureDelayed = "exposed index waited for a reader",
    /// A reader returned its subleases.
    SubleaseReturned = "sublease returned",
    /// A forwarded request arrived twice.
    RequestRepeated = "repeated request executed once",
    /// A lease was valid although its clock's counters had diverged.
    LeaseOnWildClock = "lease valid while counters disagree",
    /// A suspended machine resumed.
    MachineResumed = "machine resumed from suspend",
    /// A single voter held a lease.
    LedAlone = "single voter held a lease",
    /// A frame could not be sent because the peer was unreachable.
    PeerUnreachable = "peer reported unreachable",
    /// A disk lost the end of what it had acknowledged.
    LogCut = "log cut by its disk",
    /// A node with a cut log refused a vote or withheld a campaign.
    CutLogDidNotElect = "cut log refused to elect",
    /// A node with a cut log caught up, and votes again.
    CutLogIsWhole = "cut log caught up",
    /// A data folder was recovered after a crash.
    FolderRecovered = "data folder recovered",
    /// A group was created while its node ran.
    GroupCreated = "group created while its node ran",
    /// A node had a lease of a group that was created while the nodes ran.
    CreatedGroupLed = "lease of a group created at run time",
    /// A node that restarted had the group on its disk.
    CreatedGroupRecovered = "group created at run time recovered",
    /// A group was removed while its node ran.
    GroupRemoved = "group removed while its node ran",
    /// A message arrived for a group that its node does not have, not yet or no more.
    MessageForNoGroup = "message for a group that the node does not have",
    /// A node joined the cluster during the run, and not before it.
    ClusterFounded = "cluster founded by handshakes",
    /// A node whose folder was removed was refused.
    WipedFolderRefused = "wiped folder refused",
    /// A node with an older copy of its folder was refused.
    OlderCopyRefused = "older copy of a folder refused",
}

/// The number of times that each mark was reached.
#[derive(Clone, Debug)]
pub struct Marks(Vec<u64>);

impl Default for Marks {
    fn default() -> Marks {
        Marks(vec![0; MARKS.len()])
    }
}

impl Marks {
    /// Counts a mark once.
    pub fn reach(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// Counts a mark `times` times.
    pub fn reach_often(&mut self, mark: Mark, times: u64) {
        self.0[mark as usize] += times;
    }

    /// Returns how often a mark was reached.
    pub fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// Returns all marks by name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        MARKS.iter().copied().zip(self.0.iter().copied())
    }

    /// Returns the marks that were never reached.
    pub fn missing(&self) -> Vec<&'static str> {
        self.all().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Marks) {
        for (mine, its) in self.0.iter_mut().zip(&other.0) {
            *mine += its;
        }
    }
}
