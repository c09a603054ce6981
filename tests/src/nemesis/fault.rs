//! The faults that a run can strike a cluster with.

use std::fmt;

/// One way to harm a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described by its Display")]
pub enum Fault {
    KillLeader,
    KillFollower,
    KillAll,
    PauseLeader,
    PauseFollower,
    IsolateLeader,
    MuteLeader,
    DeafenLeader,
    SplitPair,
    SlowLinks,
    SlowLinksAndKillLeader,
    FlappingLinks,
    ClockRate,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 13] = [
        Fault::KillLeader,
        Fault::KillFollower,
        Fault::KillAll,
        Fault::PauseLeader,
        Fault::PauseFollower,
        Fault::IsolateLeader,
        Fault::MuteLeader,
        Fault::DeafenLeader,
        Fault::SplitPair,
        Fault::SlowLinks,
        Fault::SlowLinksAndKillLeader,
        Fault::FlappingLinks,
        Fault::ClockRate,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::KillLeader => "leader killed",
            Fault::KillFollower => "follower killed",
            Fault::KillAll => "all killed",
            Fault::PauseLeader => "leader stopped, resumed amid queued reads",
            Fault::PauseFollower => "follower stopped",
            Fault::IsolateLeader => "leader isolated, clients reach it",
            Fault::MuteLeader => "messages from the leader lost",
            Fault::DeafenLeader => "messages to the leader lost",
            Fault::SplitPair => "leader and one follower split",
            Fault::SlowLinks => "all links slow",
            Fault::SlowLinksAndKillLeader => "all links slow, leader killed",
            Fault::FlappingLinks => "links come and go",
            Fault::ClockRate => "killed, restarted at another clock rate",
        })
    }
}
