//! What happened, counted: a soak in which something interesting never happened has not tried it.

macro_rules! marks {
    ($($(#[doc = $doc:literal])* $mark:ident = $name:literal,)*) => {
        /// Something worth reaching.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark { $($(#[doc = $doc])* $mark,)* }

        /// The names of all marks, in order.
        pub const MARKS: &[&str] = &[$($name,)*];
    };
}

marks! {
    /// A leader's lease ended by its clock.
    LeaseExpiredWhileLeading = "lease expired while leading",
    /// A vote or pre-vote was refused for what was echoed.
    HoldRefusedVote = "hold refused a vote",
    /// A vote or pre-vote was refused for what may have been echoed before a restart.
    RestartHoldRefusedVote = "restart hold refused a vote",
    /// A node that would have campaigned was held.
    HoldKeptBackCampaign = "hold kept back a campaign",
    /// A release lifted a hold, and a vote was granted.
    ReleaseOverrodeHold = "release overrode a hold",
    /// A request for a vote showed a release, and was refused all the same.
    ReleaseDidNotCover = "release did not cover a voter's newest echo",
    /// "Campaign now" reached a node that was held.
    CampaignNowMetHold = "delayed campaign-now met a held node",
    /// An operator's campaign was refused.
    OperatorCampaignRefused = "operator campaign refused by the hold",
    /// A quorum read was confirmed while the leader's clock gave nothing.
    QuorumReadWithoutClock = "quorum read during clock failure",
    /// A voter echoed without a reading.
    EchoWithoutReading = "echo without a reading",
    /// A lease was valid under a joint configuration.
    LeaseWhileJoint = "lease valid in a joint configuration",
    /// In a calm cluster, a transfer made its target leader before any hold was over.
    HandedOver = "handed over within the holds",
    /// The same, though the old leader was cut off and gave no vote.
    HandedOverAlone = "handed over within the holds, without the old leader's vote",
    /// A transfer made its target leader.
    TransferCompleted = "transfer completed",
    /// A transfer was given up, and the leader still led.
    TransferAbandoned = "transfer abandoned",
    /// After that it earned a lease again.
    LeaseAfterAbandonedTransfer = "lease earned again after an abandoned transfer",
    /// A leader's clock went back.
    BackwardReadingVoided = "backward reading voided a leader's stamps",
    /// And it earned a lease again.
    LeaseAfterBackwardReading = "lease earned again after a backward reading",
    /// A leader left the configuration and stepped down.
    LeaderRemovedItself = "leader removed itself",
    /// A change of configuration was committed.
    MembershipChanged = "configuration changed",
    /// A change was proposed and refused, as another was pending.
    MembershipChangeRefused = "configuration change refused",
    /// A snapshot took the place of a node's state.
    SnapshotInstalled = "snapshot installed",
    /// A log was compacted.
    LogCompacted = "log compacted",
    /// A late acknowledgement of an earlier term, or one at a node that leads no more.
    AckOfAnotherTerm = "acknowledgement of another term ignored",
    /// An acknowledgement from a learner or a removed node.
    AckOfAStranger = "acknowledgement of a stranger ignored",
    /// An acknowledgement that was overtaken.
    AckOutOfOrder = "acknowledgement out of order ignored",
    /// A frame of an earlier term arrived.
    FrameOfAnEarlierTerm = "frame of an earlier term arrived",
    /// A frame for an earlier process arrived at its successor.
    FrameForAnEarlierProcess = "frame for an earlier process arrived",
    /// Peers whose timings do not fit together refused each other.
    PeersRefusedEachOther = "peers with unfitting timings refused each other",
    /// A process started under a longer hold than its timing's.
    StartedUnderALongerHold = "started under an earlier, longer hold",
    /// And lowered the record of it once it was over.
    LongestHoldLowered = "record of the longest hold lowered",
    /// A crash lost writes that waited for a sync.
    UnsyncedWriteLost = "unsynced write lost in a crash",
    /// A crash in the middle of a sync left nothing of it.
    CommitTornAway = "commit torn away by a crash",
    /// A crash in the middle of a sync left all of it.
    CommitSurvivedUnreported = "commit survived a crash unreported",
    /// A disk failed and its node stopped.
    DiskStoppedNode = "disk error stopped a node",
    /// A leader was paused with a lease, and had none when it went on.
    PausedLeaderLostLease = "paused leader resumed after its lease had ended",
    /// A reader there asked at once and was refused.
    ResumedReaderRefused = "reader refused on a resumed leader",
    /// A reader was interrupted between arriving and taking its reading.
    PausedBeforeSample = "read paused between arrival and sample",
    /// A reader was interrupted between its reading and the check.
    PausedBeforeCheck = "read paused between sample and check",
    /// And then refused.
    PausedThenRefused = "read paused between sample and check, then refused",
    /// A reader was interrupted between the check and the state.
    PausedBeforeView = "read paused between check and answer",
    /// A node read the state that it had been permitted to, after it was deposed.
    AnsweredAfterDeposition = "permitted read answered after deposition",
    /// A reader waited for an index that was committed and not applied.
    WaitedForApply = "read waited for apply",
    /// Two nodes believed that they led.
    TwoLeaders = "two nodes led at once, in different terms",
    /// An old leader refused a read by its lease while another led.
    OldLeaderRefusedRead = "deposed leader without lease refused a read",
    /// A leader heard from no quorum and stepped down.
    CheckQuorumDeposed = "check-quorum deposed a leader",
    /// Quorum reads ended with a leadership.
    ReadsAborted = "quorum reads aborted",
    /// A write's place was taken by another's.
    WritePlaceTaken = "place of a write taken by another",
    /// Nobody could tell what became of a write.
    WriteUncertain = "write uncertain",
    /// A read index was granted by the lease.
    FollowerReadByLease = "follower read granted by lease",
    /// A read index was granted by a quorum round.
    FollowerReadByQuorum = "follower read granted by quorum round",
    /// A forwarded request arrived twice.
    RequestRepeated = "repeated request executed once",
    /// A lease was valid although its clock's counters disagreed.
    LeaseOnWildClock = "lease valid while counters disagree",
    /// A node was suspended and went on.
    MachineResumed = "machine resumed from suspend",
    /// A single voter led.
    LedAlone = "single voter held a lease",
    /// A frame found its sender unreachable.
    PeerUnreachable = "peer reported unreachable",
    /// A data folder was recovered after a crash.
    FolderRecovered = "data folder recovered",
}

/// How often each was reached.
#[derive(Clone, Debug)]
pub struct Marks(Vec<u64>);

impl Default for Marks {
    fn default() -> Marks {
        Marks(vec![0; MARKS.len()])
    }
}

impl Marks {
    /// Reached again.
    pub fn reach(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// Reached so often again.
    pub fn reach_often(&mut self, mark: Mark, times: u64) {
        self.0[mark as usize] += times;
    }

    /// How often it was reached.
    pub fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        MARKS.iter().copied().zip(self.0.iter().copied())
    }

    /// Those that were never reached.
    pub fn missing(&self) -> Vec<&'static str> {
        self.all().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Marks) {
        for (mine, its) in self.0.iter_mut().zip(&other.0) {
            *mine += its;
        }
    }
}
