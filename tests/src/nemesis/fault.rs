//! The faults that a run can inject.

use std::fmt;

/// One kind of fault.
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
            Fault::PauseLeader => "leader stopped, resumed with queued reads",
            Fault::PauseFollower => "follower stopped",
            Fault::IsolateLeader => "leader isolated from its peers",
            Fault::MuteLeader => "messages from the leader lost",
            Fault::DeafenLeader => "messages to the leader lost",
            Fault::SplitPair => "leader and one follower disconnected",
            Fault::SlowLinks => "all links slow",
            Fault::SlowLinksAndKillLeader => "all links slow, leader killed",
            Fault::FlappingLinks => "links flapping",
            Fault::ClockRate => "killed, restarted at another clock rate",
        })
    }
}
