//! Sequences of related faults that independently drawn faults would produce once in ten thousand seeds.
//!
//! Each one was added because a mutation survived too long without it (`crate::mutations`). The nodes, the times and
//! the number of repetitions are drawn. Other planned faults continue during a sequence.

use super::fault::{Fault, Frames, Hitch, Planned, Shape, Target, Way, Wildness};
use super::setup::Setup;
use super::types::Nanos;
use leasehold_testing::dice::Dice;

const PATTERNS: [fn(&mut Sequence<'_>); 12] = [
    earliest_successor,
    rival,
    isolated_after_stall,
    late_transfer,
    repeated_transfers,
    change_and_split,
    restart_and_transfer,
    slow_leader,
    reclaimed_leadership,
    replaced_voters,
    slow_sole_voter,
    stuck_leader,
];

/// A sequence being planned.
struct Sequence<'a> {
    dice: &'a mut Dice,
    setup: &'a Setup,
    begins: Nanos,
    plan: &'a mut Vec<Planned>,
}

/// Adds the sequences drawn from `seed` to its plan.
pub(super) fn draw(seed: u64, setup: &Setup, plan: &mut Vec<Planned>) {
    let hold = setup.hold();
    for (number, add) in PATTERNS.iter().enumerate() {
        let mut dice = Dice::new(seed, 300 + number as u64);
        if !dice.chance(250_000) {
            continue;
        }
        let gap = dice.of_any_size(hold * 4, hold * 60);
        let mut begins = hold + dice.below(2 * gap);
        while begins < setup.faults_for {
            add(&mut Sequence { dice: &mut dice, setup, begins, plan });
            begins += hold * 2 + dice.below(2 * gap);
        }
    }
    plan.retain(|planned| planned.at < setup.faults_for);
}

impl Sequence<'_> {
    fn after(&mut self, delay: Nanos, fault: Fault) {
        self.plan.push(Planned { number: 0, at: self.begins + delay, fault });
    }

    fn node(&mut self) -> u8 {
        self.dice.below(self.setup.nodes() as u64) as u8
    }

    fn frames(&mut self) -> Frames {
        if self.dice.chance(500_000) { Frames::Kept } else { Frames::Lost }
    }

    /// Makes a node campaign repeatedly.
    fn campaigns(&mut self, target: Target, from: Nanos, until: Nanos, every: Nanos) {
        for number in 0..(until - from) / every {
            self.after(from + number * every, Fault::Campaign { target });
        }
    }
}

/// A leader is cut off while its lease is fresh, and another node campaigns as soon as the holds end.
fn earliest_successor(sequence: &mut Sequence<'_>) {
    let hold = sequence.setup.hold();
    let (node, frames) = (Target::Node(sequence.node()), sequence.frames());
    sequence.after(0, Fault::Isolate { target: Target::Leader, way: Way::Both, frames, lasts: hold * 3 });
    sequence.campaigns(node, hold / 20, hold * 9 / 10, hold / 20);
    sequence.campaigns(node, hold * 9 / 10, hold * 12 / 10, hold / 200);
}

/// A node stops hearing from some others, perhaps from the leader, and therefore keeps requesting votes. Meanwhile
/// faults hit the nodes that must refuse them.
fn rival(sequence: &mut Sequence<'_>) {
    let (hold, heartbeat) = (sequence.setup.hold(), sequence.setup.heartbeat());
    let rival = sequence.node();
    let lasts = sequence.dice.between(hold * 4, hold * 12);
    for other in 0..sequence.setup.nodes() as u8 {
        if other != rival && sequence.dice.chance(500_000) {
            sequence.after(0, Fault::Cut { from: other, to: rival, frames: Frames::Lost, lasts });
        }
    }
    sequence.campaigns(Target::Node(rival), hold, lasts, heartbeat / 2);
    let mut at = hold;
    while at < lasts {
        let target = Target::Node(sequence.node());
        let down = sequence.dice.below(heartbeat);
        let timing =
            sequence.dice.chance(500_000).then(|| sequence.dice.below(sequence.setup.timings.len() as u64) as u8);
        let within = sequence.dice.between(hold / 20, hold / 2);
        let by = sequence.dice.of_any_size(hold / 2, hold * 4);
        match sequence.dice.below(6) {
            0 => sequence.after(at, Fault::Crash { target, down, timing }),
            1 => {
                // A second restart during the hold of the first one.
                sequence.after(at, Fault::Crash { target, down, timing });
                sequence.after(at + down + within, Fault::Crash { target, down, timing: None });
            }
            2 => sequence.after(at, Fault::Wild { target, what: Wildness::Leaps(by) }),
            3 => {
                let recovers = Some(sequence.dice.between(hold / 4, hold * 2));
                sequence.after(at, Fault::StepBack { target, by: by.max(hold * 2), recovers });
            }
            4 => sequence.after(at, Fault::NoReadings { target, lasts: within }),
            _ => sequence.after(at, Fault::Stall { target, lasts: hold + within }),
        }
        at += sequence.dice.between(hold / 2, hold * 2);
    }
}

/// A leader's task stalls. It receives frames sent before the next election, but nothing sent afterwards until some
/// time after it resumes.
fn isolated_after_stall(sequence: &mut Sequence<'_>) {
    let (hold, heartbeat) = (sequence.setup.hold(), sequence.setup.heartbeat());
    let lasts = sequence.dice.between(hold * 11 / 10, hold * 3);
    let later = sequence.dice.between(1, heartbeat / 2);
    let target = Target::Leader;
    sequence.after(0, Fault::Stall { target, lasts });
    sequence.after(later, Fault::Isolate { target, way: Way::In, frames: Frames::Kept, lasts: lasts + hold / 4 });
    sequence.after(later, Fault::Rush { lasts: lasts + hold });
}

/// A transfer is abandoned, the leader earns a lease again, and only then does the target receive "campaign now".
fn late_transfer(sequence: &mut Sequence<'_>) {
    let hold = sequence.setup.hold();
    let late = sequence.dice.between(hold, hold * 3);
    let to = sequence.node();
    sequence.after(0, Fault::Transfer { to, hitch: Hitch::CampaignNowIsLateAndAlone(late) });
}

/// Leadership is transferred back and forth under a heavy read load.
fn repeated_transfers(sequence: &mut Sequence<'_>) {
    let (hold, heartbeat) = (sequence.setup.hold(), sequence.setup.heartbeat());
    sequence.after(0, Fault::Rush { lasts: hold * 4 });
    let mut at = 0;
    for _ in 0..sequence.dice.between(3, 8) {
        let to = sequence.node();
        sequence.after(at, Fault::Transfer { to, hitch: Hitch::None });
        at += sequence.dice.of_any_size(heartbeat / 8, hold);
    }
}

/// The configuration changes, and the cluster is partitioned before all nodes know of it.
fn change_and_split(sequence: &mut Sequence<'_>) {
    let (hold, heartbeat) = (sequence.setup.hold(), sequence.setup.heartbeat());
    let to = Shape::Drawn(sequence.dice.any());
    sequence.after(0, Fault::Reconfigure { to });
    let later = sequence.dice.of_any_size(sequence.setup.links.latency, heartbeat);
    let (side, frames) = (sequence.dice.below(1 << sequence.setup.nodes()) as u8, sequence.frames());
    let lasts = sequence.dice.between(hold, hold * 5);
    sequence.after(later, Fault::Split { side, frames, lasts });
}

/// A voter restarts, hears from its leader again, and then leadership is transferred. Sometimes this is the last step
/// of a rolling restart to a shorter hold.
fn restart_and_transfer(sequence: &mut Sequence<'_>) {
    let (hold, heartbeat) = (sequence.setup.hold(), sequence.setup.heartbeat());
    let (target, to) = (Target::Node(sequence.node()), sequence.node());
    let down = sequence.dice.below(heartbeat);
    let (mut begins, mut timing) = (0, None);
    if sequence.dice.chance(500_000) {
        for node in 0..sequence.setup.nodes() as u8 {
            sequence.after(begins, Fault::Crash { target: Target::Node(node), down, timing: Some(1) });
            begins += hold * 3 / 2;
        }
        begins += hold;
        timing = Some(2);
    }
    sequence.after(begins, Fault::Crash { target, down, timing });
    let later = down + sequence.dice.between(heartbeat / 2, hold);
    sequence.after(begins + later, Fault::Transfer { to, hitch: Hitch::None });
}

/// The leader's clock is as slow as the drift allows, and all others are as fast. Clients are silent, so that the
/// leader's last round is the newest one the others have seen. Then the leader is cut off, and another node campaigns
/// when the holds end.
fn slow_leader(sequence: &mut Sequence<'_>) {
    let (hold, heartbeat) = (sequence.setup.hold(), sequence.setup.heartbeat());
    let most = i64::from(sequence.setup.drift_ppm);
    let others = sequence.setup.nodes() as u8 - 1;
    sequence.after(0, Fault::Silence { lasts: hold * 4 });
    sequence.after(0, Fault::NewRate { target: Target::Leader, ppm: -most });
    for other in 0..others {
        sequence.after(0, Fault::NewRate { target: Target::Another(other), ppm: most });
    }
    let (rival, frames) = (Target::Another(sequence.node()), sequence.frames());
    let cut = sequence.dice.between(heartbeat * 3, heartbeat * 5);
    sequence.after(cut, Fault::Isolate { target: Target::Leader, way: Way::Both, frames, lasts: hold * 2 });
    sequence.campaigns(rival, cut + hold * 85 / 100, cut + hold * 115 / 100, hold / 200);
}

/// Leadership is transferred, and taken back at once, while the old leader is cut off.
fn reclaimed_leadership(sequence: &mut Sequence<'_>) {
    let hold = sequence.setup.hold();
    let (to, lasts) = (sequence.node(), sequence.dice.between(hold / 2, hold * 2));
    sequence.after(0, Fault::Transfer { to, hitch: Hitch::CalledBack(lasts) });
}

/// Most voters are replaced. The removed voters never learn that the change was committed, and hold elections under the
/// old configuration.
fn replaced_voters(sequence: &mut Sequence<'_>) {
    let hold = sequence.setup.hold();
    let (rival, unheard) = (Target::Another(sequence.node()), sequence.dice.between(hold * 2, hold * 5));
    sequence.after(0, Fault::Reconfigure { to: Shape::Exchanged(unheard) });
    sequence.campaigns(rival, hold * 9 / 10, hold * 2, hold / 20);
}

/// A node with a slow disk becomes the only voter. It has not yet written the entries it received when nothing else
/// prevents it from leading.
fn slow_sole_voter(sequence: &mut Sequence<'_>) {
    let hold = sequence.setup.hold();
    let (heir, by) = (sequence.node(), sequence.dice.between(hold * 3 / 2, hold * 3));
    sequence.after(0, Fault::SlowDisk { target: Target::Another(heir), by, lasts: hold * 15 });
    sequence.after(0, Fault::Rush { lasts: hold * 15 });
    sequence.after(1, Fault::Reconfigure { to: Shape::Sole(heir) });
}

/// The leader's disk hangs, or its appends do not arrive, for longer than a leader may lead without progress. Sometimes
/// the same happens to another node.
fn stuck_leader(sequence: &mut Sequence<'_>) {
    let hold = sequence.setup.hold();
    let (node, lasts) = (sequence.node(), sequence.dice.between(hold * 4, hold * 12));
    let hangs = sequence.dice.chance(600_000);
    let stuck = |target| if hangs { Fault::HungDisk { target, lasts } } else { Fault::LostAppends { target, lasts } };
    sequence.after(0, stuck(Target::Leader));
    if sequence.dice.chance(300_000) {
        sequence.after(hold, stuck(Target::Another(node)));
    }
    sequence.after(0, Fault::Rush { lasts: hold * 2 });
}
