//! Clocks that fail, step or stand still, and processes that do not run.

use crate::rule::Rule;
use crate::schedules::times::{AN_ELECTION, CHECKED, JUMP, RIPE, WITHIN_THE_LEASE, others};
use crate::story::{Outcome, Stop, Story, StoryResult};
use crate::subject::{ClockFault, Kind};
use leasehold_core::NodeId;

pub(crate) fn paused_leader_with_buffered_ack(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(
        "The leader's process is paused for as long as others take to write something, with answers in its queue.",
    );
    story.hold(b, a, Kind::Answer);
    story.hold(c, a, Kind::Answer);
    story.run(120);
    story.subject.pause(a);
    story.deliver();
    story.run(2);
    story.isolate(a);
    story.others_write(a, AN_ELECTION);
    story.run(5000);
    story.says("It resumes, with the queue first.");
    story.subject.resume(a);
    story.run(1);
    story.ask(a)
}

pub(crate) fn suspended_leader(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says(
        "The leader's machine falls asleep, and with it the clocks that stop then. Others write something meanwhile.",
    );
    story.subject.suspend(a);
    story.isolate(a);
    story.others_write(a, AN_ELECTION);
    story.run(10_000);
    story.says("It wakes.");
    story.subject.wake(a);
    story.run(1);
    story.ask(a)
}

pub(crate) fn asked_while_suspended(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says(
        "The leader's machine falls asleep. Others write something, and then a client asks the leader, which wakes.",
    );
    story.subject.suspend(a);
    story.isolate(a);
    story.others_write(a, AN_ELECTION);
    story.asks_before(a, 50, |story| story.subject.wake(a))
}

pub(crate) fn clock_fails(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says("No clock gives readings any more. The leader is asked two seconds later.");
    for id in story.subject.nodes() {
        story.subject.disturb(id, ClockFault::Fails)?;
    }
    story.run(2000);
    story.must_answer(a, 300, "no reads without clocks")?;
    story.says("The clocks work again.");
    for id in story.subject.nodes() {
        story.subject.disturb(id, ClockFault::Works)?;
    }
    Ok(())
}

pub(crate) fn clock_steps_back(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says(
        "The leader is cut off, and its clock steps back five seconds. It is asked when an old lease seems to have",
    );
    story.says("seconds left, long after others have written something.");
    story.isolate(a);
    story.subject.disturb(a, ClockFault::Back(JUMP))?;
    story.others_write(a, AN_ELECTION);
    story.run_to(CHECKED);
    story.ask(a)
}

pub(crate) fn grantor_clock_glitch(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "n{b} has not heard from the leader for long. The clock of n{c} shows five seconds less while it"
    ));
    story.says("acknowledges the leader, and recovers. The leader is cut off.");
    story.cut(a, b);
    story.run(RIPE);
    story.subject.disturb(c, ClockFault::Back(JUMP))?;
    story.run(120);
    story.isolate(a);
    story.subject.disturb(c, ClockFault::Forward(JUMP))?;
    story.others_write(a, WITHIN_THE_LEASE - 120);
    story.ask(a)
}

pub(crate) fn one_counter_frozen(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says("The leader is cut off. Its counter of time awake stands still; the one of all time goes");
    story.says("on. It is asked long after others have written something.");
    story.isolate(a);
    story.subject.disturb(a, ClockFault::AwakeCounterStops)?;
    story.others_write(a, AN_ELECTION);
    story.run(RIPE);
    story.ask(a)
}

pub(crate) fn paused_voter(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "n{b} has not heard from the leader for long, and would be elected. The process of n{c} is paused for 0.85 s,"
    ));
    story.says("acknowledges what waited for it, and the leader is cut off.");
    story.cut(a, b);
    story.run(RIPE);
    story.subject.pause(c);
    story.run(850);
    story.subject.resume(c);
    story.run(3);
    story.isolate(a);
    story.run(200);
    // Without this command its timer does it, soon enough in most cases.
    let _ = story.subject.campaign(b);
    story.others_write(a, WITHIN_THE_LEASE - 300);
    story.ask(a)
}

pub(crate) fn clock_fails_at_the_leader(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story
        .says("The leader is cut off, and its clock gives no readings any more. It is asked when others have written.");
    story.isolate(a);
    story.subject.disturb(a, ClockFault::Fails)?;
    story.others_write(a, AN_ELECTION);
    let asked = story.asks(a, 50);
    by_quorum_round(story, asked)?;
    story.subject.disturb(a, ClockFault::Works)?;
    Ok(())
}

pub(crate) fn read_after_the_round(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(
        "The answers of both followers are delayed. The leader is cut off, and its clock gives no readings any more.",
    );
    story
        .says("Others write something. The leader is asked, and then the answers arrive, which were sent long before.");
    story.hold(b, a, Kind::Answer);
    story.hold(c, a, Kind::Answer);
    story.run(150);
    story.isolate(a);
    story.subject.disturb(a, ClockFault::Fails)?;
    story.others_write(a, AN_ELECTION);
    let asked = story.asks_before(a, 50, Story::deliver);
    by_quorum_round(story, asked)?;
    story.subject.disturb(a, ClockFault::Works)?;
    Ok(())
}

/// A read that needed no lease was stale because of its quorum round.
fn by_quorum_round(story: &mut Story<'_>, asked: StoryResult) -> StoryResult {
    match (asked, story.outcome()) {
        (Err(Stop::Stale), Some(Outcome::ByQuorum)) => Err(Stop::Broken(Rule::QuorumRound)),
        (asked, _) => asked,
    }
}
