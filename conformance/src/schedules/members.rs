//! Learners, and voters that change.

use crate::schedules::times::{AN_ELECTION, CHECKED, RIPE, WITHIN_THE_LEASE, others};
use crate::story::{Stop, Story, StoryResult};
use leasehold_core::NodeId;

/// Changes the voters, and waits until that is committed.
fn change_voters(story: &mut Story<'_>, leader: NodeId, voters: &[NodeId]) -> StoryResult {
    if !story.subject.change_voters(leader, voters)? {
        return Err(Stop::Unavailable("the change was not taken"));
    }
    for _ in 0..500 {
        if story.subject.voters(leader) == voters {
            break;
        }
        story.run(1);
    }
    Ok(())
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
