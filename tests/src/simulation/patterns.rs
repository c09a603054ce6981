//! Faults that belong together: short stories that faults drawn one by one would tell once in ten thousand seeds.
//!
//! Each was added because a missing rule survived too long without it (`crate::mutations`). The nodes, the times and how
//! often they are told are drawn, and whatever else a seed plans goes on meanwhile.

use super::fault::{Fault, Frames, Hitch, Planned, Shape, Way, Whom, Wildness};
use super::setup::Setup;
use super::types::Nanos;
use leasehold_testing::dice::Dice;

const PATTERNS: [fn(&mut Story<'_>); 11] = [
    earliest_successor,
    rival,
    resumed_in_silence,
    forgotten_transfer,
    to_and_fro,
    change_and_split,
    restart_and_transfer,
    slow_leader,
    called_back,
    exchange,
    slow_heir,
];

/// A story in the making.
struct Story<'a> {
    dice: &'a mut Dice,
    setup: &'a Setup,
    begins: Nanos,
    plan: &'a mut Vec<Planned>,
}

/// Adds what `seed` tells to its plan.
pub(super) fn draw(seed: u64, setup: &Setup, plan: &mut Vec<Planned>) {
    let hold = setup.hold();
    for (number, tell) in PATTERNS.iter().enumerate() {
        let mut dice = Dice::new(seed, 300 + number as u64);
        if !dice.chance(250_000) {
            continue;
        }
        let gap = dice.of_any_size(hold * 4, hold * 60);
        let mut begins = hold + dice.below(2 * gap);
        while begins < setup.faults_for {
            tell(&mut Story { dice: &mut dice, setup, begins, plan });
            begins += hold * 2 + dice.below(2 * gap);
        }
    }
    plan.retain(|planned| planned.at < setup.faults_for);
}

impl Story<'_> {
    fn after(&mut self, delay: Nanos, fault: Fault) {
        self.plan.push(Planned { number: 0, at: self.begins + delay, fault });
    }

    fn node(&mut self) -> u8 {
        self.dice.below(self.setup.nodes() as u64) as u8
    }

    fn frames(&mut self) -> Frames {
        if self.dice.chance(500_000) { Frames::AreKept } else { Frames::AreLost }
    }

    /// Has someone campaign again and again.
    fn campaigns(&mut self, whom: Whom, from: Nanos, until: Nanos, every: Nanos) {
        for number in 0..(until - from) / every {
            self.after(from + number * every, Fault::Campaign { whom });
        }
    }
}

/// A leader is cut off while its lease is fresh, and somebody campaigns as soon as the holds allow it.
fn earliest_successor(story: &mut Story<'_>) {
    let hold = story.setup.hold();
    let (node, frames) = (Whom::Node(story.node()), story.frames());
    story.after(0, Fault::Isolate { whom: Whom::Leader, way: Way::Both, frames, lasts: hold * 3 });
    story.campaigns(node, hold / 20, hold * 9 / 10, hold / 20);
    story.campaigns(node, hold * 9 / 10, hold * 12 / 10, hold / 200);
}

/// A node hears nothing of some others, perhaps of the leader, and so asks for votes all the time, while things happen to those
/// who must refuse them.
fn rival(story: &mut Story<'_>) {
    let (hold, heartbeat) = (story.setup.hold(), story.setup.heartbeat());
    let rival = story.node();
    let lasts = story.dice.between(hold * 4, hold * 12);
    for other in 0..story.setup.nodes() as u8 {
        if other != rival && story.dice.chance(500_000) {
            story.after(0, Fault::Cut { from: other, to: rival, frames: Frames::AreLost, lasts });
        }
    }
    story.campaigns(Whom::Node(rival), hold, lasts, heartbeat / 2);
    let mut at = hold;
    while at < lasts {
        let whom = Whom::Node(story.node());
        let down = story.dice.below(heartbeat);
        let timing = story.dice.chance(500_000).then(|| story.dice.below(story.setup.timings.len() as u64) as u8);
        let within = story.dice.between(hold / 20, hold / 2);
        let by = story.dice.of_any_size(hold / 2, hold * 4);
        match story.dice.below(6) {
            0 => story.after(at, Fault::Crash { whom, down, timing }),
            1 => {
                // A second restart while the first one's hold goes on.
                story.after(at, Fault::Crash { whom, down, timing });
                story.after(at + down + within, Fault::Crash { whom, down, timing: None });
            }
            2 => story.after(at, Fault::Wild { whom, what: Wildness::Leaps(by) }),
            3 => {
                let recovers = Some(story.dice.between(hold / 4, hold * 2));
                story.after(at, Fault::StepBack { whom, by: by.max(hold * 2), recovers });
            }
            4 => story.after(at, Fault::NoReadings { whom, lasts: within }),
            _ => story.after(at, Fault::Stall { whom, lasts: hold + within }),
        }
        at += story.dice.between(hold / 2, hold * 2);
    }
}

/// A leader's loop stands still. What reaches it before anyone else is elected waits for it; of the rest it hears nothing
/// until a little after it has gone on.
fn resumed_in_silence(story: &mut Story<'_>) {
    let (hold, heartbeat) = (story.setup.hold(), story.setup.heartbeat());
    let lasts = story.dice.between(hold * 11 / 10, hold * 3);
    let later = story.dice.between(1, heartbeat / 2);
    let whom = Whom::Leader;
    story.after(0, Fault::Stall { whom, lasts });
    story.after(later, Fault::Isolate { whom, way: Way::In, frames: Frames::AreKept, lasts: lasts + hold / 4 });
    story.after(later, Fault::Rush { lasts: lasts + hold });
}

/// A transfer comes to nothing, the leader earns a lease again, and then its target learns of it.
fn forgotten_transfer(story: &mut Story<'_>) {
    let hold = story.setup.hold();
    let late = story.dice.between(hold, hold * 3);
    let to = story.node();
    story.after(0, Fault::Transfer { to, hitch: Hitch::CampaignNowIsLateAndAlone(late) });
}

/// Leadership is handed from one to the other and back, while many read.
fn to_and_fro(story: &mut Story<'_>) {
    let (hold, heartbeat) = (story.setup.hold(), story.setup.heartbeat());
    story.after(0, Fault::Rush { lasts: hold * 4 });
    let mut at = 0;
    for _ in 0..story.dice.between(3, 8) {
        let to = story.node();
        story.after(at, Fault::Transfer { to, hitch: Hitch::None });
        at += story.dice.of_any_size(heartbeat / 8, hold);
    }
}

/// The configuration changes, and before everyone knows of it some cannot hear the others.
fn change_and_split(story: &mut Story<'_>) {
    let (hold, heartbeat) = (story.setup.hold(), story.setup.heartbeat());
    let to = Shape::Drawn(story.dice.any());
    story.after(0, Fault::Reconfigure { to });
    let later = story.dice.of_any_size(story.setup.links.latency, heartbeat);
    let (side, frames) = (story.dice.below(1 << story.setup.nodes()) as u8, story.frames());
    let lasts = story.dice.between(hold, hold * 5);
    story.after(later, Fault::Split { side, frames, lasts });
}

/// A voter restarts, hears from its leader again, and then leadership is handed over. In some it is the last step of a rolling
/// restart, to a shorter hold.
fn restart_and_transfer(story: &mut Story<'_>) {
    let (hold, heartbeat) = (story.setup.hold(), story.setup.heartbeat());
    let (whom, to) = (Whom::Node(story.node()), story.node());
    let down = story.dice.below(heartbeat);
    let (mut begins, mut timing) = (0, None);
    if story.dice.chance(500_000) {
        for node in 0..story.setup.nodes() as u8 {
            story.after(begins, Fault::Crash { whom: Whom::Node(node), down, timing: Some(1) });
            begins += hold * 3 / 2;
        }
        begins += hold;
        timing = Some(2);
    }
    story.after(begins, Fault::Crash { whom, down, timing });
    let later = down + story.dice.between(heartbeat / 2, hold);
    story.after(begins + later, Fault::Transfer { to, hitch: Hitch::None });
}

/// The leader's clock is as slow as may be and those of the others as fast; nobody writes, so that its last round is what they
/// last heard; then it is cut off, and somebody campaigns when the holds end.
fn slow_leader(story: &mut Story<'_>) {
    let (hold, heartbeat) = (story.setup.hold(), story.setup.heartbeat());
    let most = i64::from(story.setup.drift_ppm);
    let others = story.setup.nodes() as u8 - 1;
    story.after(0, Fault::Silence { lasts: hold * 4 });
    story.after(0, Fault::NewRate { whom: Whom::Leader, ppm: -most });
    for other in 0..others {
        story.after(0, Fault::NewRate { whom: Whom::Another(other), ppm: most });
    }
    let (rival, frames) = (Whom::Another(story.node()), story.frames());
    let cut = story.dice.between(heartbeat * 3, heartbeat * 5);
    story.after(cut, Fault::Isolate { whom: Whom::Leader, way: Way::Both, frames, lasts: hold * 2 });
    story.campaigns(rival, cut + hold * 85 / 100, cut + hold * 115 / 100, hold / 200);
}

/// Leadership is handed over, and taken back at once, by a leader whom nobody hears.
fn called_back(story: &mut Story<'_>) {
    let hold = story.setup.hold();
    let (to, lasts) = (story.node(), story.dice.between(hold / 2, hold * 2));
    story.after(0, Fault::Transfer { to, hitch: Hitch::CalledBack(lasts) });
}

/// Most voters are exchanged for others, and those who go never hear that it was decided: they elect somebody as before.
fn exchange(story: &mut Story<'_>) {
    let hold = story.setup.hold();
    let (rival, unheard) = (Whom::Another(story.node()), story.dice.between(hold * 2, hold * 5));
    story.after(0, Fault::Reconfigure { to: Shape::Exchanged(unheard) });
    story.campaigns(rival, hold * 9 / 10, hold * 2, hold / 20);
}

/// One node is to be the only voter, and its disk is slow: it has yet to write what it was sent when nothing else keeps it from
/// leading.
fn slow_heir(story: &mut Story<'_>) {
    let hold = story.setup.hold();
    let (heir, by) = (story.node(), story.dice.between(hold * 3 / 2, hold * 3));
    story.after(0, Fault::SlowDisk { whom: Whom::Another(heir), by, lasts: hold * 15 });
    story.after(0, Fault::Rush { lasts: hold * 15 });
    story.after(1, Fault::Reconfigure { to: Shape::Sole(heir) });
}
