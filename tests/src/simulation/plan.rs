//! The plan of a seed: its faults and their times.

use super::disk::MAX_EARLIER;
use super::fault::{Fault, Frames, Hitch, Planned, Shape, Target, Way, Wildness};
use super::patterns;
use super::setup::{self, Setup};
use super::types::Clocks;
use leasehold_testing::dice::Dice;

/// Draws the plan of `seed`, ordered by time.
pub(super) fn draw(seed: u64, setup: &Setup, clocks: Clocks) -> Vec<Planned> {
    let mut plan = Vec::new();
    let hold = setup.hold();
    let beyond = matches!(clocks, Clocks::Beyond);
    for kind in 0..Fault::KINDS {
        let mut dice = Dice::new(seed, 200 + kind as u64);
        if kind == 22 && !setup.cut_logs {
            continue;
        }
        let chance = match kind {
            16 => 400_000,
            23.. => 150_000,
            _ => 500_000,
        };
        if ((20..22).contains(&kind) && !beyond) || !dice.chance(chance) {
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
    if setup.cut_logs {
        // With fewer voters, one that may not vote could leave the others without a quorum for good.
        plan.retain(|planned| !matches!(planned.fault, Fault::Reconfigure { .. }));
    }
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
    let target = match dice.below(5) {
        0 | 1 => Target::Leader,
        2 => Target::Another(node(dice)),
        _ => Target::Node(node(dice)),
    };
    // Durations around one hold are the most relevant ones for leases.
    let lasts = match dice.below(3) {
        0 => dice.of_any_size(heartbeat / 2, hold / 2),
        1 => dice.between(hold * 3 / 4, hold * 2),
        _ => dice.of_any_size(hold, hold * 8),
    };
    let frames = if dice.chance(500_000) { Frames::Kept } else { Frames::Lost };
    match kind {
        0 => {
            let down = if dice.chance(400_000) { dice.below(heartbeat) } else { lasts };
            let timing = dice.chance(300_000).then(|| dice.below(setup.timings.len() as u64) as u8);
            Fault::Crash { target, down, timing }
        }
        1 => Fault::Pause { target, lasts },
        2 => Fault::Stall { target, lasts },
        3 => Fault::Suspend { target, lasts },
        4 => Fault::Isolate { target, way: dice.pick(&[Way::In, Way::Out, Way::Both, Way::Both]), frames, lasts },
        5 => Fault::Split { side: dice.below(1 << nodes) as u8, frames, lasts },
        6 => Fault::Cut { from: node(dice), to: node(dice), frames, lasts },
        7 => Fault::Slow { from: node(dice), to: node(dice), by: dice.of_any_size(heartbeat / 4, hold * 2), lasts },
        8 => Fault::SlowDisk { target, by: dice.of_any_size(heartbeat / 4, hold * 2), lasts },
        9 => Fault::DiskError { target, down: lasts },
        10 => Fault::NoReadings { target, lasts },
        11 => {
            let by = dice.of_any_size(1, hold * 4);
            Fault::StepBack { target, by, recovers: dice.chance(400_000).then_some(lasts) }
        }
        12 => {
            let by = dice.of_any_size(1, hold * 4);
            let what = dice.pick(&[Wildness::Stands(lasts), Wildness::Leaps(by), Wildness::FallsBack(by)]);
            Fault::Wild { target, what }
        }
        13 => Fault::NewRate { target, ppm: setup::rate(dice, setup.drift_ppm, clocks) },
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
        15 => Fault::Campaign { target },
        16 => Fault::Reconfigure { to: Shape::Drawn(dice.any()) },
        17 => Fault::Burst { target, times: dice.between(2, 60) as u8 },
        18 => Fault::Rush { lasts },
        19 => Fault::Silence { lasts: lasts.max(hold * 3) },
        20 => Fault::HiddenStop { target, lasts },
        22 => {
            let commits = if dice.chance(500_000) { 1 } else { dice.between(1, MAX_EARLIER as u64) };
            let down = if dice.chance(400_000) { dice.below(heartbeat) } else { lasts };
            Fault::CutLog { target, down, commits: commits as u8 }
        }
        21 => Fault::LeapAhead { target, by: dice.of_any_size(hold / 2, hold * 4) },
        23 => Fault::LostFolder { target, down: dice.below(hold), lasts },
        24 => Fault::OlderCopy { target, down: dice.below(hold), lasts },
        25 => Fault::HungDisk { target, lasts: dice.of_any_size(hold, hold * 12) },
        26 => Fault::LostAppends { target, lasts: dice.of_any_size(hold, hold * 12) },
        _ => {
            let down = if dice.chance(600_000) { dice.below(heartbeat) } else { lasts };
            let timing = dice.chance(300_000).then(|| dice.below(setup.timings.len() as u64) as u8);
            Fault::Stop { target, down, timing }
        }
    }
}
