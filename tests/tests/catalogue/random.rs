//! Sequences of faults that a seed determines.

use crate::System;
use leasehold_conformance::story::{Outcome, Stop, Story, StoryResult};
use leasehold_conformance::subject::{Founding, Kind};
use leasehold_core::NodeId;
use leasehold_testing::dice::Dice;
use std::time::Duration;

/// The faults of a sequence.
const FAULTS: u32 = 25;

/// What was seen in all sequences.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The seeds with a stale read.
    pub(crate) stale: Vec<u64>,
    /// Reads answered by lease.
    pub(crate) by_lease: u64,
    /// Changes of the leader.
    pub(crate) elections: u64,
}

pub(crate) fn judge(system: &System, seeds: u64) -> Seen {
    let mut seen = Seen::default();
    for seed in 0..seeds {
        let mut subject = (system.found)(Founding { voters: &[1, 2, 3], learners: &[], seed });
        let mut story = Story::of(&mut *subject, seed);
        let mut dice = Dice::new(seed, 0);
        // Recovery is not judged: openraft never abandons a transfer, so that a lost message may leave a leader that writes nothing.
        match story.tell_only(|story, leader| faults(story, leader, &mut dice, &mut seen)) {
            Ok(()) => {}
            Err(Stop::Stale) => seen.stale.push(seed),
            Err(stop) => panic!("{}: seed {seed}: {stop:?}\n{}", system.column, story.text()),
        }
    }
    seen
}

fn faults(story: &mut Story<'_>, mut leader: NodeId, dice: &mut Dice, seen: &mut Seen) -> StoryResult {
    let mut paused = Vec::new();
    for _ in 0..FAULTS {
        let nodes = story.subject.nodes();
        let one = dice.pick(&nodes);
        let other = dice.pick(&nodes);
        match dice.below(12) {
            0 | 1 => story.isolate(leader),
            2 => story.cut(one, other),
            3 | 4 => story.heal(),
            5 if one != leader => story.subject.transfer(leader, one)?,
            6 => story.subject.campaign(one)?,
            7 => {
                // A paused process would not end.
                story.subject.resume(one);
                story.subject.restart(one, 1);
            }
            8 => story.subject.set_latency(Duration::from_millis(1 + dice.below(40))),
            9 => {
                story.subject.pause(one);
                paused.push(one);
            }
            10 => {
                let kinds = [Kind::Lead, Kind::Answer, Kind::AskVote, Kind::Vote, Kind::CampaignNow];
                story.hold(one, other, dice.pick(&kinds));
            }
            _ => story.deliver(),
        }
        story.run(dice.below(400));
        // Another leader may have been elected: its write is what the old one must not miss.
        story.others_write(leader, dice.below(900));
        for id in nodes {
            if story.subject.leads(id) {
                story.asks(id, 30)?;
                seen.by_lease += u64::from(story.outcome() == Some(Outcome::ByLease));
            }
        }
        if dice.below(2) == 0 {
            paused.drain(..).for_each(|id| story.subject.resume(id));
        }
        if let Some(newest) = story.until_leader(|_| true, 1)
            && newest != leader
        {
            leader = newest;
            seen.elections += 1;
        }
        story.writes(leader);
    }
    story.deliver();
    Ok(())
}
