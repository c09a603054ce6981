//! What a seed plans to go wrong, and when.

use super::dice::Dice;
use super::patterns;
use super::setup::{self, Setup};
use super::{Clocks, Nanos};
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

/// Everything `seed` plans, in order of time.
pub(super) fn draw(seed: u64, setup: &Setup, clocks: Clocks) -> Vec<Planned> {
    let mut plan = Vec::new();
    let hold = setup.hold();
    let beyond = matches!(clocks, Clocks::Beyond);
    for kind in 0..Fault::KINDS {
        let mut dice = Dice::new(seed, 200 + kind as u64);
        if (kind >= 20 && !beyond) || !dice.chance(if kind == 16 { 400_000 } else { 500_000 }) {
            continue;
        }
        let gap = dice.of_any_size(hold * 3, hold * 60);
        let mut at = hold + dice.below(2 * gap);
        while at < setup.faults_for {
            plan.push(Planned { number: 0, at, fault: draw_fault(&mut dice, kind, setup, clocks) });
            at += 1 + dice.below(2 * gap);
        }
    }
    patterns::draw(seed, setup, &mut plan);
    plan.sort_by_key(|planned| planned.at);
    for (number, planned) in plan.iter_mut().enumerate() {
        planned.number = number;
    }
    plan
}

fn draw_fault(dice: &mut Dice, kind: usize, setup: &Setup, clocks: Clocks) -> Fault {
    let (hold, heartbeat) = (setup.hold(), setup.heartbeat());
    let nodes = setup.nodes() as u64;
    let node = |dice: &mut Dice| dice.below(nodes) as u8;
    let whom = match dice.below(5) {
        0 | 1 => Whom::Leader,
        2 => Whom::Another(node(dice)),
        _ => Whom::Node(node(dice)),
    };
    // What lasts about as long as a hold is what leases are about.
    let lasts = match dice.below(3) {
        0 => dice.of_any_size(heartbeat / 2, hold / 2),
        1 => dice.between(hold * 3 / 4, hold * 2),
        _ => dice.of_any_size(hold, hold * 8),
    };
    let frames = if dice.chance(500_000) { Frames::AreKept } else { Frames::AreLost };
    match kind {
        0 => {
            let down = if dice.chance(400_000) { dice.below(heartbeat) } else { lasts };
            let timing = dice.chance(300_000).then(|| dice.below(setup.timings.len() as u64) as u8);
            Fault::Crash { whom, down, timing }
        }
        1 => Fault::Pause { whom, lasts },
        2 => Fault::Stall { whom, lasts },
        3 => Fault::Suspend { whom, lasts },
        4 => Fault::Isolate { whom, way: dice.pick(&[Way::In, Way::Out, Way::Both, Way::Both]), frames, lasts },
        5 => Fault::Split { side: dice.below(1 << nodes) as u8, frames, lasts },
        6 => Fault::Cut { from: node(dice), to: node(dice), frames, lasts },
        7 => Fault::Slow { from: node(dice), to: node(dice), by: dice.of_any_size(heartbeat / 4, hold * 2), lasts },
        8 => Fault::SlowDisk { whom, by: dice.of_any_size(heartbeat / 4, hold * 2), lasts },
        9 => Fault::DiskError { whom, down: lasts },
        10 => Fault::NoReadings { whom, lasts },
        11 => {
            let by = dice.of_any_size(1, hold * 4);
            Fault::StepBack { whom, by, recovers: dice.chance(400_000).then_some(lasts) }
        }
        12 => {
            let by = dice.of_any_size(1, hold * 4);
            let what = dice.pick(&[Wildness::Stands(lasts), Wildness::Leaps(by), Wildness::FallsBack(by)]);
            Fault::Wild { whom, what }
        }
        13 => Fault::NewRate { whom, ppm: setup::rate(dice, setup.drift_ppm, clocks) },
        14 => {
            let late = dice.between(hold / 4, hold * 3);
            let hitch = match dice.below(6) {
                0 => Hitch::LeaderIsCutOff(lasts),
                1 => Hitch::CampaignNowIsLate(late),
                2 => Hitch::CampaignNowIsLateAndAlone(late),
                3 => Hitch::CalledBack(lasts),
                _ => Hitch::None,
            };
            Fault::Transfer { to: node(dice), hitch }
        }
        15 => Fault::Campaign { whom },
        16 => Fault::Reconfigure { to: Shape::Drawn(dice.any()) },
        17 => Fault::Burst { whom, times: dice.between(2, 60) as u8 },
        18 => Fault::Rush { lasts },
        19 => Fault::Silence { lasts: lasts.max(hold * 3) },
        20 => Fault::HiddenStop { whom, lasts },
        _ => Fault::LeapAhead { whom, by: dice.of_any_size(hold / 2, hold * 4) },
    }
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
