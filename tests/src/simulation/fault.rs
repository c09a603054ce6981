//! Faults and operator actions.

use super::types::Nanos;
use std::fmt;

/// The target of a fault, resolved when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The leader of the newest term at that time.
    Leader,
    /// A node that does not lead.
    Another(u8),
    /// A fixed node.
    Node(u8),
}

/// The directions in which a node is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Incoming frames.
    In,
    /// Outgoing frames.
    Out,
    /// Both directions.
    Both,
}

/// The treatment of frames on a link that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// Frames are lost.
    Lost,
    /// Frames are kept, and arrive when the cut ends.
    Kept,
}

/// An additional problem during a leadership transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hitch {
    /// None.
    None,
    /// The leader is cut off as soon as it has sent "campaign now".
    LeaderIsCutOff(Nanos),
    /// "Campaign now" is delayed by this much.
    CampaignNowIsLate(Nanos),
    /// The same, and nothing else reaches the target until then.
    CampaignNowIsLateAndAlone(Nanos),
    /// The leader is cut off as soon as it has sent "campaign now", and then takes leadership back.
    CalledBack(Nanos),
}

/// The configuration that an operator requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A change drawn from this number and the configuration at that time.
    Drawn(u64),
    /// All voters except the leader are replaced with nodes that are not voters. The replaced voters receive the
    /// change, and nothing else for this long.
    Exchanged(Nanos),
    /// A node that does not lead becomes the only voter.
    Sole(u8),
}

/// The behaviour of a wild counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildness {
    /// It stops for this long.
    Stands(Nanos),
    /// It jumps ahead by this much.
    Leaps(Nanos),
    /// It falls back by this much.
    FallsBack(Nanos),
}

/// A fault or an operator action. `lasts` and `down` are durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each line says what its fields are")]
pub enum Fault {
    /// The process ends, and restarts after `down`, possibly with a different timing.
    Crash { target: Target, down: Nanos, timing: Option<u8> },
    /// An operator stops the process in an orderly way. It restarts `down` after it has ended, possibly with a different
    /// timing.
    Stop { target: Target, down: Nanos, timing: Option<u8> },
    /// The whole process is paused. Its input queues up.
    Pause { target: Target, lasts: Nanos },
    /// Only the node's task stalls. Readers continue.
    Stall { target: Target, lasts: Nanos },
    /// The machine is suspended. One of its counters continues.
    Suspend { target: Target, lasts: Nanos },
    /// A node is cut off from all others.
    Isolate { target: Target, way: Way, frames: Frames, lasts: Nanos },
    /// The nodes whose bit is set are partitioned from the others.
    Split { side: u8, frames: Frames, lasts: Nanos },
    /// One direction between two nodes is cut.
    Cut { from: u8, to: u8, frames: Frames, lasts: Nanos },
    /// One direction between two nodes is slower.
    Slow { from: u8, to: u8, by: Nanos, lasts: Nanos },
    /// A disk's syncs are slower.
    SlowDisk { target: Target, by: Nanos, lasts: Nanos },
    /// A disk finishes no sync.
    HungDisk { target: Target, lasts: Nanos },
    /// All appends with entries that a node sends are lost, and nothing else.
    LostAppends { target: Target, lasts: Nanos },
    /// A disk's next commit fails, which stops the node. It restarts after `down`.
    DiskError { target: Target, down: Nanos },
    /// A clock gives no readings.
    NoReadings { target: Target, lasts: Nanos },
    /// Both counters of a clock fall back far enough for any process on the machine to notice, possibly only for a
    /// while.
    StepBack { target: Target, by: Nanos, recovers: Option<Nanos> },
    /// A clock's wild counter misbehaves.
    Wild { target: Target, what: Wildness },
    /// A clock's rate error changes, within the drift.
    NewRate { target: Target, ppm: i64 },
    /// An operator transfers leadership.
    Transfer { to: u8, hitch: Hitch },
    /// An operator makes a node campaign.
    Campaign { target: Target },
    /// An operator changes the configuration.
    Reconfigure { to: Shape },
    /// A stalled timer fires many times at once.
    Burst { target: Target, times: u8 },
    /// Clients send many more requests.
    Rush { lasts: Nanos },
    /// Clients send no requests.
    Silence { lasts: Nanos },
    /// Both counters stop while the process continues, which it cannot detect. Only with `Clocks::Beyond`.
    HiddenStop { target: Target, lasts: Nanos },
    /// Both counters jump ahead. Only with `Clocks::Beyond`.
    LeapAhead { target: Target, by: Nanos },
    /// The process ends, and its disk loses the last `commits` of its transactions. It restarts after `down`.
    CutLog { target: Target, down: Nanos, commits: u8 },
    /// The process ends and its folder is removed. It restarts after `down`, and its own folder is put back after
    /// `lasts`.
    LostFolder { target: Target, down: Nanos, lasts: Nanos },
    /// The same with an older copy of its folder, if all others have met a newer run.
    OlderCopy { target: Target, down: Nanos, lasts: Nanos },
}

impl Fault {
    /// The number of kinds.
    pub const KINDS: usize = 28;

    /// The names of the kinds.
    pub const NAMES: [&str; Fault::KINDS] = [
        "crash",
        "pause",
        "loop stall",
        "machine suspend",
        "isolation",
        "partition",
        "one-way cut",
        "slow link",
        "slow disk",
        "disk error",
        "clock without readings",
        "clock step back",
        "wild counter",
        "clock rate change",
        "leadership transfer",
        "operator campaign",
        "membership change",
        "timer burst",
        "client rush",
        "client silence",
        "hidden stop (beyond)",
        "clock leap ahead (beyond)",
        "cut log",
        "lost folder",
        "older copy of a folder",
        "hung disk",
        "lost appends",
        "orderly stop",
    ];

    /// Returns the index of its kind.
    pub fn kind(&self) -> usize {
        match self {
            Fault::Crash { .. } => 0,
            Fault::Pause { .. } => 1,
            Fault::Stall { .. } => 2,
            Fault::Suspend { .. } => 3,
            Fault::Isolate { .. } => 4,
            Fault::Split { .. } => 5,
            Fault::Cut { .. } => 6,
            Fault::Slow { .. } => 7,
            Fault::SlowDisk { .. } => 8,
            Fault::DiskError { .. } => 9,
            Fault::NoReadings { .. } => 10,
            Fault::StepBack { .. } => 11,
            Fault::Wild { .. } => 12,
            Fault::NewRate { .. } => 13,
            Fault::Transfer { .. } => 14,
            Fault::Campaign { .. } => 15,
            Fault::Reconfigure { .. } => 16,
            Fault::Burst { .. } => 17,
            Fault::Rush { .. } => 18,
            Fault::Silence { .. } => 19,
            Fault::HiddenStop { .. } => 20,
            Fault::LeapAhead { .. } => 21,
            Fault::CutLog { .. } => 22,
            Fault::LostFolder { .. } => 23,
            Fault::OlderCopy { .. } => 24,
            Fault::HungDisk { .. } => 25,
            Fault::LostAppends { .. } => 26,
            Fault::Stop { .. } => 27,
        }
    }
}

/// A fault with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The fault's number in the plan, which does not change when others are removed.
    pub number: usize,
    /// The time at which it happens.
    pub at: Nanos,
    /// The fault.
    pub fault: Fault,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Leader => f.write_str("the leader"),
            Target::Another(_) => f.write_str("a node that does not lead"),
            Target::Node(at) => write!(f, "n{}", at + 1),
        }
    }
}
