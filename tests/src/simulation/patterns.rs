//! Sequences of related faults that independently drawn faults would produce once in ten thousand seeds.
//!
//! Each one was added because a mutation survived too long without it (`crate::mutations`). The nodes, the times and
//! the number of repetitions are drawn. Other planned faults continue during a sequence.

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

/// A sequence being planned.
struct Story<'a> {
    dice: &'a mut Dice,
    setup: &'a Setup,
    begins: Nanos,
    plan: &'a mut Vec<Planned>,
}

/// Adds the sequences drawn from `seed` to its plan.
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

    /// Makes a node campaign repeatedly.
    fn campaigns(&mut self, whom: Whom, from: Nanos, until: Nanos, every: Nanos) {
        for number in 0..(until - from) / every {
            self.after(from + number * every, Fault::Campaign { whom });
        }
    }
}

/// A leader is cut off while its lease is fresh, and another node campaigns as soon as the holds end.
fn earliest_successor(story: &mut Story<'_>) {
    let hold = story.setup.hold();
    let (node, frames) = (Whom::Node(story.node()), story.frames());
    story.after(0, Fault::Isolate { whom: Whom::Leader, way: Way::Both, frames, lasts: hold * 3 });
    story.campaigns(node, hold / 20, hold * 9 / 10, hold / 20);
    story.campaigns(node, hold * 9 / 10, hold * 12 / 10, hold / 200);
}

/// A node stops hearing from some others, perhaps from the leader, and therefore keeps requesting votes. Meanwhile
/// faults hit the nodes that must refuse them.
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
                // A second restart during the hold of the first one.
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

/// A leader's task stalls. It receives frames sent before the next election, but nothing sent afterwards until some
/// time after it resumes.
fn resumed_in_silence(story: &mut Story<'_>) {
    let (hold, heartbeat) = (story.setup.hold(), story.setup.heartbeat());
    let lasts = story.dice.between(hold * 11 / 10, hold * 3);
    let later = story.dice.between(1, heartbeat / 2);
    let whom = Whom::Leader;
    story.after(0, Fault::Stall { whom, lasts });
    story.after(later, Fault::Isolate { whom, way: Way::In, frames: Frames::AreKept, lasts: lasts + hold / 4 });
    story.after(later, Fault::Rush { lasts: lasts + hold });
}

/// A transfer is abandoned, the leader earns a lease again, and only then does the target receive "campaign now".
fn forgotten_transfer(story: &mut Story<'_>) {
    let hold = story.setup.hold();
    let late = story.dice.between(hold, hold * 3);
    let to = story.node();
    story.after(0, Fault::Transfer { to, hitch: Hitch::CampaignNowIsLateAndAlone(late) });
}

/// Leadership is transferred back and forth under a heavy read load.
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

/// The configuration changes, and the cluster is partitioned before all nodes know of it.
fn change_and_split(story: &mut Story<'_>) {
    let (hold, heartbeat) = (story.setup.hold(), story.setup.heartbeat());
    let to = Shape::Drawn(story.dice.any());
    story.after(0, Fault::Reconfigure { to });
    let later = story.dice.of_any_size(story.setup.links.latency, heartbeat);
    let (side, frames) = (story.dice.below(1 << story.setup.nodes()) as u8, story.frames());
    let lasts = story.dice.between(hold, hold * 5);
    story.after(later, Fault::Split { side, frames, lasts });
}

/// A voter restarts, hears from its leader again, and then leadership is transferred. Sometimes this is the last step
/// of a rolling restart to a shorter hold.
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

/// The leader's clock is as slow as the drift allows, and all others are as fast. Clients are silent, so that the
/// leader's last round is the newest one the others have seen. Then the leader is cut off, and another node campaigns
/// when the holds end.
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

/// Leadership is transferred, and taken back at once, while the old leader is cut off.
fn called_back(story: &mut Story<'_>) {
    let hold = story.setup.hold();
    let (to, lasts) = (story.node(), story.dice.between(hold / 2, hold * 2));
    story.after(0, Fault::Transfer { to, hitch: Hitch::CalledBack(lasts) });
}

/// Most voters are replaced. The removed voters never learn that the change was committed, and hold elections under the
/// old configuration.
fn exchange(story: &mut Story<'_>) {
    let hold = story.setup.hold();
    let (rival, unheard) = (Whom::Another(story.node()), story.dice.between(hold * 2, hold * 5));
    story.after(0, Fault::Reconfigure { to: Shape::Exchanged(unheard) });
    story.campaigns(rival, hold * 9 / 10, hold * 2, hold / 20);
}

/// A node with a slow disk becomes the only voter. It has not yet written the entries it received when nothing else
/// prevents it from leading.
fn slow_heir(story: &mut Story<'_>) {
    let hold = story.setup.hold();
    let (heir, by) = (story.node(), story.dice.between(hold * 3 / 2, hold * 3));
    story.after(0, Fault::SlowDisk { whom: Whom::Another(heir), by, lasts: hold * 15 });
    story.after(0, Fault::Rush { lasts: hold * 15 });
    story.after(1, Fault::Reconfigure { to: Shape::Sole(heir) });
}
