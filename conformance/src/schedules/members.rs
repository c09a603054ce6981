//! Learners, and voters that change.

use crate::schedules::times::{AN_ELECTION, CHECKED, RIPE, WITHIN_THE_LEASE, others};
use crate::story::{Stop, Story, StoryResult};
use leasehold_core::NodeId;

/// Begins to change the voters.
fn begin_change(story: &mut Story<'_>, leader: NodeId, voters: &[NodeId]) -> StoryResult {
    let accepted = story.subject.change_voters(leader, voters)?;
    if accepted { Ok(()) } else { Err(Stop::Unavailable("the change of voters was not accepted")) }
}

/// Changes the voters, and waits until that is committed.
fn change_voters(story: &mut Story<'_>, leader: NodeId, voters: &[NodeId]) -> StoryResult {
    begin_change(story, leader, voters)?;
    for _ in 0..500 {
        let mut current = story.subject.voters(leader);
        current.sort_unstable();
        if current == voters {
            return Ok(());
        }
        story.run(1);
    }
    Err(Stop::Unavailable("the change of voters was not completed"))
}

pub(crate) fn leader_removes_itself(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says("The leader removes itself from the voters, and is cut off when that is done. It is asked when any leader would");
    story.says("have noticed that it is alone, and others have written something.");
    change_voters(story, a, &[b, c])?;
    story.isolate(a);
    let cut_at = story.now();
    story.others_write(a, AN_ELECTION);
    story.run_to(cut_at + CHECKED);
    story.ask(a)
}

pub(crate) fn learner_acks(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says("The leader reaches two learners and no voter. It is asked long after others have written something.");
    for voter in others(a) {
        for other in story.subject.nodes().into_iter().filter(|id| [a, 4, 5].contains(id)) {
            story.cut(voter, other);
        }
    }
    story.others_write(a, AN_ELECTION);
    story.run(RIPE);
    story.ask(a)
}

pub(crate) fn one_other_voter(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, _] = others(a);
    story.says(&format!("The leader makes n{b} the only voter, and is cut off when that is done."));
    change_voters(story, a, &[b])?;
    story.isolate(a);
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)?;
    story.others_write(a, AN_ELECTION);
    story.ask(a)
}

pub(crate) fn unfinished_change(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "The leader begins to make two learners voters, and reaches only those from now on. n{b} and n{c} know of no"
    ));
    story.says("change, so they are a quorum. The leader is asked when one of them has written.");
    begin_change(story, a, &[1, 2, 3, 4, 5])?;
    for old in [b, c] {
        for new in [a, 4, 5] {
            story.cut(old, new);
        }
    }
    story.others_write(a, AN_ELECTION);
    story.ask(a)
}

pub(crate) fn new_voters(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "Two learners become voters. The leader then reaches n{b} alone, and it takes three of five now."
    ));
    change_voters(story, a, &[1, 2, 3, 4, 5])?;
    for old in [a, b] {
        for new in [c, 4, 5] {
            story.cut(old, new);
        }
    }
    story.others_write(a, AN_ELECTION);
    story.ask(a)?;
    story.run(RIPE);
    story.ask(a)
}
