//! Votes, campaigns and restarts.

use crate::schedules::times::{AN_ELECTION, LONGEST_ELECTION, RIPE, WITHIN_THE_LEASE, others};
use crate::story::{Outcome, Stop, Story, StoryResult};
use crate::subject::Kind;
use leasehold_core::NodeId;

pub(crate) fn election_in_time(story: &mut Story<'_>, mut leader: NodeId) -> StoryResult {
    story.says(
        "The leader is cut off. Another node must lead when the longest election timeout has passed, in one of three",
    );
    story.says("attempts: votes may be split.");
    for _ in 0..3 {
        story.isolate(leader);
        let new = story.until_leader(|id| id != leader, LONGEST_ELECTION);
        if let Some(new) = new {
            story.run(20);
            return story.must_answer(new, 300, "no read from the new leader");
        }
        story.heal();
        leader = story.until_leader(|_| true, AN_ELECTION).ok_or(Stop::Unavailable("no leader after the repair"))?;
        story.run(500);
    }
    Err(Stop::Unavailable("no other leader within two holds"))
}

pub(crate) fn restart_forgets_promise(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "n{b} has not heard from the leader for long. n{c} has just acknowledged it, and restarts; at that"
    ));
    story.says("moment the leader is cut off. A voter that forgot what it acknowledged elects another at once.");
    story.cut(a, b);
    story.run(RIPE);
    story.isolate(a);
    story.subject.restart(c, 1);
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

pub(crate) fn tick_burst_voter(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "n{b} has not heard from the leader for long, and would be elected. n{c} has just acknowledged the"
    ));
    story.says(
        "leader, which is cut off now. A stalled timer fires at once as often as it should have within a second.",
    );
    story.cut(a, b);
    story.run(RIPE);
    story.isolate(a);
    story.subject.burst(c, 20)?;
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

pub(crate) fn tick_burst_candidate(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "n{c} has not heard from the leader for long, and would vote. n{b} has just acknowledged the leader,"
    ));
    story.says("which is cut off now. A stalled timer fires at once as often as it should have within two seconds.");
    story.cut(a, c);
    story.run(RIPE);
    story.isolate(a);
    story.subject.burst(b, 40)?;
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

pub(crate) fn operator_campaign(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "n{c} has not heard from the leader for long, and would vote. n{b} has just acknowledged the leader,"
    ));
    story.says(&format!("which is cut off now. An operator asks n{b} to campaign."));
    story.cut(a, c);
    story.run(RIPE);
    story.isolate(a);
    story.subject.campaign(b)?;
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

pub(crate) fn lowered_hold_restart(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says("Both followers have just acknowledged the leader. They restart with timeouts a tenth as long, and it is cut off.");
    story.isolate(a);
    story.subject.restart(b, 10);
    story.subject.restart(c, 10);
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)?;
    // The recovery after the schedule needs the usual timeouts.
    story.subject.restart(b, 1);
    story.subject.restart(c, 1);
    Ok(())
}

/// The schedule of that name, for counting.
///
/// # Errors
/// Those of the schedule.
pub fn check_quorum_is_no_lease(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says("The leader is cut off. As soon as another leader has acknowledged a write, the old one is asked.");
    story.isolate(a);
    story.others_write(a, AN_ELECTION);
    story.ask(a)
}

pub(crate) fn higher_term_response(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says(
        "The leader is cut off, and others write something. Then its heartbeats get through, and the answers to them,",
    );
    story.says("but nothing else. It is asked when the first answer of the newer term has arrived.");
    story.isolate(a);
    story.others_write(a, AN_ELECTION);
    for other in others(a) {
        for kind in [Kind::Lead, Kind::AskVote, Kind::Vote, Kind::CampaignNow] {
            story.subject.links().lost.insert((other, a, kind));
        }
    }
    story.heal();
    story.run(250);
    story.ask(a)
}

pub(crate) fn leader_without_quorum(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let mut rest = story.subject.nodes();
    rest.retain(|id| *id != a);
    story.says(&format!(
        "Of four voters the leader still reaches n{}, which the other two need for an election.",
        rest[0]
    ));
    story.cut(a, rest[1]);
    story.cut(a, rest[2]);
    if !story.others_write(a, 12_000) {
        return Err(Stop::Unavailable("no other leader within 12 s"));
    }
    story.ask(a)
}

pub(crate) fn voter_is_asked(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "n{b} has not heard from the leader for long, and asks n{c} for its vote. n{c} has just acknowledged the"
    ));
    story.says("leader, which is cut off now.");
    story.cut(a, b);
    story.run(RIPE);
    story.isolate(a);
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

pub(crate) fn vote_of_the_leader(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, _] = others(a);
    story.says(&format!(
        "The leader's messages to n{b} are lost, and later those of n{b} as a leader to it. An operator"
    ));
    story.says(&format!(
        "asks n{b} to campaign, and the leader may vote for it. It is asked when the others have written."
    ));
    story.subject.links().lost.insert((a, b, Kind::Lead));
    story.run(RIPE);
    story.subject.links().lost.insert((b, a, Kind::Lead));
    story.subject.campaign(b)?;
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

pub(crate) fn unseen_vote(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, _] = others(a);
    story.says(&format!(
        "The leader's messages to n{b} are lost, and later those of n{b} as a leader to it. An operator asks n{b} to"
    ));
    story.says(
        "campaign, and the leader may vote for it, in a task of its engine whose reports are late. It is asked before",
    );
    story.says("they arrive.");
    story.subject.links().lost.insert((a, b, Kind::Lead));
    story.run(RIPE);
    story.subject.links().lost.insert((b, a, Kind::Lead));
    story.subject.delay_reports(a, true)?;
    story.subject.campaign(b)?;
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)?;
    story.subject.delay_reports(a, false)?;
    story.subject.links().lost.clear();
    story.run(500);
    let Some(new) = story.until_leader(|_| true, AN_ELECTION).filter(|new| *new != a) else { return Ok(()) };
    story.says(
        "They arrive. The new leader is cut off, and only the old one can be elected. It must answer by its lease.",
    );
    story.isolate(new);
    for other in others(a) {
        story.subject.links().lost.insert((other, a, Kind::AskVote));
    }
    // Its requests for votes can get lost too.
    let Some(_) = story.until_leader(|id| id == a, AN_ELECTION) else { return Ok(()) };
    story.run(300);
    story.must_answer(a, 300, "no read from the leader that had voted")?;
    if story.outcome() == Some(Outcome::ByLease) { Ok(()) } else { Err(Stop::Unavailable("no lease after a vote")) }
}

pub(crate) fn pre_vote_answer(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "n{b} does not hear from the leader, and requests a pre-vote of n{c}. The request hangs while n{b} hears from"
    ));
    story.says(&format!(
        "the leader again. n{c} gets the request when it has not heard from the leader for long. Its answer is all that"
    ));
    story.says(&format!("n{b} needs to campaign, but n{b} has just acknowledged the leader, which is cut off now."));
    story.cut(a, b);
    story.hold(b, c, Kind::AskVote);
    story.run(RIPE);
    story.heal();
    story.run(300);
    story.cut(a, c);
    story.run(1100);
    story.deliver();
    story.run(5);
    story.isolate(a);
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

pub(crate) fn uncovered_hold(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says("Both followers restart with timeouts a tenth as long, which do not cover the leader's lease.");
    story.subject.restart(b, 10);
    story.subject.restart(c, 10);
    story.run(RIPE);
    story.isolate(a);
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)?;
    // The recovery after the schedule needs the usual timeouts.
    story.subject.restart(b, 1);
    story.subject.restart(c, 1);
    Ok(())
}
