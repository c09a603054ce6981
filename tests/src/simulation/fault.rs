//! Faults: what can go wrong, and what operators do.

use super::types::Nanos;
use std::fmt;

/// Whom a fault hits: decided when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Whoever leads in the newest term then.
    Leader,
    /// Some node that does not.
    Another(u8),
    /// This node.
    Node(u8),
}

/// In which directions a node is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing reaches it.
    In,
    /// Nothing leaves it.
    Out,
    /// Neither.
    Both,
}

/// What becomes of frames on a link that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// They are lost.
    AreLost,
    /// They arrive when the cut is mended.
    AreKept,
}

/// What else happens to a transfer of leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hitch {
    /// Nothing.
    None,
    /// The leader is cut off as soon as it has sent "campaign now".
    LeaderIsCutOff(Nanos),
    /// "Campaign now" arrives so much later.
    CampaignNowIsLate(Nanos),
    /// The same, and until then nothing else reaches the target.
    CampaignNowIsLateAndAlone(Nanos),
    /// The leader is cut off as soon as it has sent "campaign now", and then keeps leadership after all.
    CalledBack(Nanos),
}

/// What an operator makes of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Something that it could be; what follows from the draw and the configuration then.
    Drawn(u64),
    /// All voters but the leader are exchanged for those who are none. Those who go are told so, and hear nothing more for so
    /// long.
    Exchanged(Nanos),
    /// One node that does not lead is to be the only voter.
    Sole(u8),
}

/// What a wild counter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildness {
    /// It stops for so long.
    Stands(Nanos),
    /// It leaps ahead.
    Leaps(Nanos),
    /// It falls back.
    FallsBack(Nanos),
}

/// One thing that goes wrong, or that an operator does. Where there is a time at the end, it lasts so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each line says what its fields are")]
pub enum Fault {
    /// The process ends, and is started again after a while, perhaps with another timing.
    Crash { whom: Whom, down: Nanos, timing: Option<u8> },
    /// The whole process stands still. What arrives waits for it.
    Pause { whom: Whom, lasts: Nanos },
    /// Only the loop stands still: readers go on.
    Stall { whom: Whom, lasts: Nanos },
    /// The machine is suspended: one of its counters goes on.
    Suspend { whom: Whom, lasts: Nanos },
    /// A node is cut off from all others.
    Isolate { whom: Whom, way: Way, frames: Frames, lasts: Nanos },
    /// The nodes whose bit is set hear nothing from the others, and they from them.
    Split { side: u8, frames: Frames, lasts: Nanos },
    /// One direction between two nodes is cut.
    Cut { from: u8, to: u8, frames: Frames, lasts: Nanos },
    /// One direction between two nodes takes longer.
    Slow { from: u8, to: u8, by: Nanos, lasts: Nanos },
    /// A disk's syncs take so much longer.
    SlowDisk { whom: Whom, by: Nanos, lasts: Nanos },
    /// A disk's next commit fails, so the node stops; it is started again after a while.
    DiskError { whom: Whom, down: Nanos },
    /// A clock gives no readings.
    NoReadings { whom: Whom, lasts: Nanos },
    /// Both counters of a clock fall back, so far that whoever runs there sees it; perhaps only for a while.
    StepBack { whom: Whom, by: Nanos, recovers: Option<Nanos> },
    /// A clock's wild counter does something.
    Wild { whom: Whom, what: Wildness },
    /// A clock's rate error changes, within the drift.
    NewRate { whom: Whom, ppm: i64 },
    /// An operator has leadership handed over.
    Transfer { to: u8, hitch: Hitch },
    /// An operator has a node campaign.
    Campaign { whom: Whom },
    /// An operator changes the configuration.
    Reconfigure { to: Shape },
    /// A stalled timer fires many times at once.
    Burst { whom: Whom, times: u8 },
    /// Clients do much more.
    Rush { lasts: Nanos },
    /// Clients do nothing.
    Silence { lasts: Nanos },
    /// Both counters stop while the process goes on: nobody inside can see it. Only beyond what is assumed.
    HiddenStop { whom: Whom, lasts: Nanos },
    /// Both counters leap ahead. Only beyond what is assumed.
    LeapAhead { whom: Whom, by: Nanos },
}

impl Fault {
    /// How many kinds there are.
    pub const KINDS: usize = 22;

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
    ];

    /// Which kind it is.
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
        }
    }
}

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its number in the plan, which stays when others are taken out.
    pub number: usize,
    /// When it happens.
    pub at: Nanos,
    /// What happens.
    pub fault: Fault,
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whom::Leader => f.write_str("the leader"),
            Whom::Another(_) => f.write_str("a node that does not lead"),
            Whom::Node(at) => write!(f, "n{}", at + 1),
        }
    }
}
