//! Leadership that is handed over.

use crate::schedules::times::{AN_ELECTION, RIPE, WITHIN_THE_LEASE, others};
use crate::story::{Stop, Story, StoryResult};
use crate::subject::Kind;
use leasehold_core::NodeId;

pub(crate) fn delayed_campaign_now(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "The leader hands over to n{b}, but the message is delayed for longer than a transfer may take."
    ));
    story.hold(a, b, Kind::CampaignNow);
    // One of these systems announces the transfer to all nodes.
    story.hold(a, c, Kind::CampaignNow);
    story.subject.transfer(a, b)?;
    story.run(1500);
    story.ask(a)?;
    story.says("The message arrives after all, and the leader is cut off.");
    story.isolate(a);
    story.deliver();
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

pub(crate) fn transfer_in_flight(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, _] = others(a);
    story.says(&format!("The leader asks n{b} to campaign, and is cut off as the message arrives."));
    story.hold(a, b, Kind::CampaignNow);
    story.subject.transfer(a, b)?;
    story.run(5);
    story.isolate(a);
    story.deliver();
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

pub(crate) fn two_transfers(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "The leader hands over to n{b}, then to n{c}. The first message is delayed for longer than a transfer may"
    ));
    story.says("take, and the second is lost.");
    story.hold(a, b, Kind::CampaignNow);
    story.subject.links().lost.insert((a, c, Kind::CampaignNow));
    story.subject.transfer(a, b)?;
    story.run(20);
    story.subject.transfer(a, c)?;
    story.run(1500);
    story.ask(a)?;
    story.says("The first message arrives after all, and the leader is cut off.");
    story.isolate(a);
    story.deliver();
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

pub(crate) fn hidden_transfer(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, _] = others(a);
    story.says(&format!(
        "n{b} lags behind by a write when the leader is asked to hand over to it: it is asked to campaign later,"
    ));
    story.says("when it has caught up. As that message arrives the leader is cut off.");
    story.cut(a, b);
    story.writes(a);
    story.subject.transfer(a, b)?;
    story.run(50);
    story.hold(a, b, Kind::CampaignNow);
    story.heal();
    story.run(300);
    story.isolate(a);
    story.deliver();
    story.others_write(a, WITHIN_THE_LEASE - 200);
    story.ask(a)
}

pub(crate) fn transfer_target_held(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, _] = others(a);
    story.says(&format!(
        "The leader hands over to n{b}, which acknowledged it a moment ago. It must lead within 300 ms."
    ));
    story.subject.transfer(a, b)?;
    story.until_leader(|id| id == b, 300).ok_or(Stop::Unavailable("the transfer did not succeed"))?;
    story.writes(b);
    story.ask(a)?;
    story.must_answer(b, 300, "the new leader does not answer")
}

pub(crate) fn lost_vote_requests(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, _] = others(a);
    story.says(&format!(
        "The leader hands over to n{b}, whose first requests for votes are lost. There must be a leader soon after."
    ));
    for other in story.subject.nodes() {
        story.subject.links().lost.insert((b, other, Kind::AskVote));
    }
    story.subject.transfer(a, b)?;
    story.run(30);
    story.ask(a)?;
    story.subject.links().lost.clear();
    story.run(RIPE);
    let new = story.until_leader(|_| true, AN_ELECTION).ok_or(Stop::Unavailable("no leader after lost votes"))?;
    story.must_answer(new, 300, "the leader does not answer")
}
