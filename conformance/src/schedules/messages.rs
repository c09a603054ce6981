//! Messages that are late, and reads with what they must return.

use crate::schedules::times::{AN_ELECTION, CHECKED, RIPE, others};
use crate::story::{Outcome, Stop, Story, StoryResult};
use crate::subject::Kind;
use leasehold_core::NodeId;
use std::time::Duration;

pub(crate) fn delayed_response(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(
        "The answers of both followers are delayed. The leader is cut off; 0.9 s later they arrive. It is asked when",
    );
    story.says("it would have noticed without them that it is alone, and others have written something.");
    story.hold(b, a, Kind::Answer);
    story.hold(c, a, Kind::Answer);
    story.run(150);
    story.isolate(a);
    let cut_at = story.now();
    story.run(900);
    story.deliver();
    story.others_write(a, AN_ELECTION);
    story.run_to(cut_at + CHECKED);
    story.ask(a)
}

pub(crate) fn answers_to_older_rounds(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(
        "The answers of both followers are delayed by up to 0.85 s. The leader is cut off after half a second; they arrive.",
    );
    story.says(&format!("An operator asks n{c} to campaign as soon as the holds of both have ended."));
    story.hold(b, a, Kind::Answer);
    story.hold(c, a, Kind::Answer);
    story.run(500);
    story.isolate(a);
    story.run(350);
    story.deliver();
    story.run(660);
    // Without this command its timer does it, in many cases soon enough.
    let _ = story.subject.campaign(c);
    story.others_write(a, 200);
    story.ask(a)
}

pub(crate) fn old_term_response(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!("Answers of n{c} hang. The leader hands over to n{b}, and gets leadership back."));
    story.hold(c, a, Kind::Answer);
    story.run(150);
    story.hold_no_more();
    for (from, to) in [(a, b), (b, a)] {
        story.subject.transfer(from, to)?;
        story.until_leader(|id| id == to, 3000).ok_or(Stop::Unavailable("leadership did not move"))?;
        story.run(200);
    }
    if !story.writes(a) {
        return Err(Stop::Unavailable("leadership did not move back"));
    }
    story.run(200);
    story.says("It is cut off; the answers of its earlier term arrive; long after, it is asked.");
    story.isolate(a);
    story.run(900);
    story.deliver();
    story.others_write(a, AN_ELECTION);
    story.run(RIPE);
    story.ask(a)
}

pub(crate) fn no_commit_in_term(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(
        "The leader is cut off in the moment in which a write is acknowledged: no other node knows that it is committed.",
    );
    story.run(50);
    if !story.writes(a) {
        return Err(Stop::Unavailable("a write with everyone there"));
    }
    story.isolate(a);
    story.says("The answers to the next leader's first entry hang while it is asked for the value.");
    story.hold(b, c, Kind::Answer);
    story.hold(c, b, Kind::Answer);
    let new =
        story.until_leader(|id| id != a, AN_ELECTION).ok_or(Stop::Unavailable("two of three elected no leader"))?;
    story.run(5);
    story.ask(new)?;
    story.says("They arrive. It is asked again.");
    story.deliver();
    story.run(50);
    story.ask(new)
}

pub(crate) fn lagging_follower(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "n{b} lacks a write that n{c} stores, but n{c} does not know that it is committed. The leader is cut off. The next"
    ));
    story.says("leader is asked when the other has acknowledged it, but has stored nothing of it yet.");
    story.cut(a, b);
    story.run(5);
    if !story.writes(a) {
        return Err(Stop::Unavailable("a write with one of two others there"));
    }
    story.isolate(a);
    let new =
        story.until_leader(|id| id != a, AN_ELECTION).ok_or(Stop::Unavailable("two of three elected no leader"))?;
    story.run(1);
    for [from, to] in [[b, c], [c, b]] {
        story.hold(from, to, Kind::Lead);
    }
    story.run(3);
    story.asks(new, 20)?;
    story.deliver();
    story.run(100);
    story.must_answer(new, 300, "no read from the new leader")
}

pub(crate) fn slow_quorum_read(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says("A message takes 300 ms, a round 600. The leader is asked after three seconds of that.");
    story.subject.set_latency(Duration::from_millis(300));
    story.run(3000);
    let answered = story.must_answer(a, 2000, "no reads on slow links");
    story.subject.set_latency(Duration::from_millis(1));
    answered
}

pub(crate) fn idle_leader(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says("Nothing is written for three seconds. The leader must answer by its lease.");
    story.run(3000);
    story.must_answer(a, 300, "no read from an idle leader")?;
    if story.outcome() == Some(Outcome::ByLease) { Ok(()) } else { Err(Stop::Unavailable("no read by lease")) }
}

pub(crate) fn read_at_once(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says("A client writes ten times, and reads each time at once.");
    for _ in 0..10 {
        if !story.writes(a) {
            return Err(Stop::Unavailable("a write with everyone there"));
        }
        story.must_answer(a, 300, "no read with everyone there")?;
        story.run(17);
    }
    Ok(())
}

pub(crate) fn uncommitted_write(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says("The leader is cut off, and asked to write and to read. The next leader is asked before anything else is written:");
    story.says("a value that was read must not be lost.");
    story.isolate(a);
    story.writes(a);
    story.ask(a)?;
    let new =
        story.until_leader(|id| id != a, AN_ELECTION).ok_or(Stop::Unavailable("two of three elected no leader"))?;
    story.run(50);
    story.ask(new)
}

pub(crate) fn late_frame(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "The leader's messages to n{c} hang. n{b} is cut off from the leader, and votes for n{c} when its hold has ended."
    ));
    story.says(&format!(
        "The leader's process is paused meanwhile. Then the leader's messages reach n{c}, and its answers the leader, which"
    ));
    story.says("resumes. It is asked at once.");
    story.hold(a, c, Kind::Lead);
    story.run(1500);
    story.cut(a, b);
    for kind in [Kind::Lead, Kind::AskVote, Kind::Vote, Kind::CampaignNow] {
        story.subject.links().lost.insert((c, a, kind));
    }
    story.run(950);
    story.subject.pause(a);
    story.run(60);
    // Without this command its timer does it, soon enough in most cases.
    let _ = story.subject.campaign(c);
    story.others_write(a, 600);
    story.deliver();
    story.run(3);
    story.subject.resume(a);
    story.run(1);
    story.ask(a)
}

pub(crate) fn repeated_and_reordered(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let rest: Vec<NodeId> = story.subject.nodes().into_iter().filter(|id| *id != a).collect();
    story.says("Every message arrives twice, and out of order. Of five voters the leader reaches two.");
    story.subject.scramble(true)?;
    for old in [a, rest[0], rest[1]] {
        story.cut(old, rest[2]);
        story.cut(old, rest[3]);
    }
    for _ in 0..12 {
        story.writes(a);
        if let Some(other) = story.until_leader(|id| id != a, 200) {
            story.writes(other);
        }
        story.ask(a)?;
    }
    story.subject.scramble(false)?;
    Ok(())
}
