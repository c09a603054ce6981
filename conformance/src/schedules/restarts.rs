//! A leader that is killed and started again.

use crate::schedules::times::{AN_ELECTION, others};
use crate::story::{Stop, Story, StoryResult};
use crate::subject::Kind;
use leasehold_core::NodeId;

pub(crate) fn restarted_leader(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says(
        "The leader is killed in the moment in which a write is acknowledged, and started again. It is asked at once.",
    );
    if !story.writes(a) {
        return Err(Stop::Unavailable("a write with everyone there"));
    }
    story.subject.restart(a, 1);
    story.run(3);
    story.asks(a, 20)?;
    story
        .says("It is killed and started again once more, and cut off. It is asked when others have written something.");
    story.subject.restart(a, 1);
    story.isolate(a);
    story.others_write(a, AN_ELECTION);
    story.ask(a)
}

pub(crate) fn answers_to_an_old_process(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says("The answers of both followers hang. The leader is killed and started again: some engines then lead on in their");
    story.says("term. It is cut off 5 ms later. The answers to its old process arrive when its new one has sent as many rounds.");
    story.says(&format!("An operator asks n{c} to campaign as soon as the holds of both have ended."));
    story.hold(b, a, Kind::Answer);
    story.hold(c, a, Kind::Answer);
    story.run(150);
    story.subject.restart(a, 1);
    story.hold_no_more();
    // Time for the first entry of the new process.
    story.run(5);
    story.isolate(a);
    story.run(945);
    story.deliver();
    story.run(60);
    // Without this command its timer does it, in many cases soon enough.
    let _ = story.subject.campaign(c);
    story.others_write(a, 300);
    story.ask(a)
}
