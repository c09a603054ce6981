//! The failures, each written once for all systems. `a` leads when a schedule begins; `b` and `c` follow.

use leasehold_core::NodeId;
use leasehold_tests::alternatives::story::{Schedule, Stop, Story, StoryResult};
use leasehold_tests::alternatives::{ClockFault, Kind};
use std::time::Duration;

/// Long enough for all timers to run out, in milliseconds: the longest election timeout is two seconds.
const RIPE: u64 = 2500;
/// Shorter than any lease that was just renewed, in milliseconds.
const WITHIN_THE_LEASE: u64 = 850;
/// Long enough for an election by timeout, in milliseconds.
const AN_ELECTION: u64 = 5000;
/// Longer than an isolated leader leads on if its engine checks for a quorum once in an election timeout of a second. A later
/// read tests something else than [`check_quorum_is_no_lease`].
const CHECKED: u64 = 2100;
/// The distance by which a clock steps.
const JUMP: Duration = Duration::from_secs(5);

const THREE: &[NodeId] = &[1, 2, 3];

macro_rules! schedules {
    ($($voters:expr, $learners:expr => $name:ident;)*) => {
        /// All schedules.
        pub(crate) const SCHEDULES: &[Schedule] = &[
            $(Schedule { name: stringify!($name), voters: $voters, learners: $learners, tell: $name },)*
        ];
    };
}

schedules! {
    THREE, &[] => restart_forgets_promise;
    THREE, &[] => delayed_campaign_now;
    THREE, &[] => transfer_in_flight;
    THREE, &[] => tick_burst_voter;
    THREE, &[] => tick_burst_candidate;
    THREE, &[] => operator_campaign;
    THREE, &[] => check_quorum_is_no_lease;
    THREE, &[] => delayed_response;
    THREE, &[] => paused_leader_with_buffered_ack;
    THREE, &[] => suspended_leader;
    THREE, &[] => higher_term_response;
    THREE, &[] => old_term_response;
    THREE, &[] => no_commit_in_term;
    THREE, &[] => leader_removes_itself;
    THREE, &[4, 5] => learner_acks;
    THREE, &[] => clock_fails;
    THREE, &[] => slow_quorum_read;
    THREE, &[] => clock_steps_back;
    THREE, &[] => grantor_clock_glitch;
    THREE, &[] => one_counter_frozen;
    THREE, &[] => lowered_hold_restart;
    THREE, &[] => transfer_target_held;
    THREE, &[] => lost_vote_requests;
    THREE, &[] => two_transfers;
    THREE, &[] => hidden_transfer;
    &[1, 2, 3, 4], &[] => leader_without_quorum;
}

/// Returns the two followers in a group of three.
fn others(a: NodeId) -> [NodeId; 2] {
    match a {
        1 => [2, 3],
        2 => [1, 3],
        _ => [1, 2],
    }
}

fn restart_forgets_promise(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn delayed_campaign_now(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "The leader hands over to n{b}, but the message is delayed for longer than a transfer may take."
    ));
    story.hold(a, b, Kind::CampaignNow);
    // One of these systems announces the transfer to all nodes.
    story.hold(a, c, Kind::CampaignNow);
    story.subject.transfer(a, b);
    story.run(1500);
    story.ask(a)?;
    story.says("The message arrives after all, and the leader is cut off.");
    story.isolate(a);
    story.deliver();
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

fn transfer_in_flight(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, _] = others(a);
    story.says(&format!("The leader asks n{b} to campaign, and is cut off as the message arrives."));
    story.hold(a, b, Kind::CampaignNow);
    story.subject.transfer(a, b);
    story.run(5);
    story.isolate(a);
    story.deliver();
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

fn tick_burst_voter(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn tick_burst_candidate(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn operator_campaign(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "n{c} has not heard from the leader for long, and would vote. n{b} has just acknowledged the leader,"
    ));
    story.says(&format!("which is cut off now. An operator asks n{b} to campaign."));
    story.cut(a, c);
    story.run(RIPE);
    story.isolate(a);
    story.subject.campaign(b);
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

pub(crate) fn check_quorum_is_no_lease(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says("The leader is cut off. As soon as another leader has acknowledged a write, the old one is asked.");
    story.isolate(a);
    story.others_write(a, AN_ELECTION);
    story.ask(a)
}

fn delayed_response(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn paused_leader_with_buffered_ack(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn suspended_leader(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn higher_term_response(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn old_term_response(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!("Answers of n{c} hang. The leader hands over to n{b}, and gets leadership back."));
    story.hold(c, a, Kind::Answer);
    story.run(150);
    story.hold_no_more();
    for (from, to) in [(a, b), (b, a)] {
        story.subject.transfer(from, to);
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

fn no_commit_in_term(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn leader_removes_itself(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says("The leader removes itself from the voters, and is cut off when that is done. It is asked when any leader would");
    story.says("have noticed that it is alone, and others have written something.");
    if !story.subject.change_voters(a, &[b, c]) {
        return Err(Stop::Unavailable("the change was not taken"));
    }
    for _ in 0..500 {
        if story.subject.voters(a) == [b, c] {
            break;
        }
        story.run(1);
    }
    story.isolate(a);
    let cut_at = story.now();
    story.others_write(a, AN_ELECTION);
    story.run_to(cut_at + CHECKED);
    story.ask(a)
}

fn learner_acks(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn clock_fails(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn slow_quorum_read(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says("A message takes 300 ms, a round 600. The leader is asked after three seconds of that.");
    story.subject.set_latency(Duration::from_millis(300));
    story.run(3000);
    let answered = story.must_answer(a, 2000, "no reads on slow links");
    story.subject.set_latency(Duration::from_millis(1));
    answered
}

fn clock_steps_back(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn grantor_clock_glitch(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn one_counter_frozen(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    story.says("The leader is cut off. Its counter of time awake stands still; the one of all time goes");
    story.says("on. It is asked long after others have written something.");
    story.isolate(a);
    story.subject.disturb(a, ClockFault::AwakeCounterStops)?;
    story.others_write(a, AN_ELECTION);
    story.run(RIPE);
    story.ask(a)
}

fn lowered_hold_restart(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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

fn transfer_target_held(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, _] = others(a);
    story.says(&format!(
        "The leader hands over to n{b}, which acknowledged it a moment ago. It must lead within 300 ms."
    ));
    story.subject.transfer(a, b);
    story.until_leader(|id| id == b, 300).ok_or(Stop::Unavailable("the transfer did not succeed"))?;
    story.writes(b);
    story.ask(a)?;
    story.must_answer(b, 300, "the new leader does not answer")
}

fn lost_vote_requests(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, _] = others(a);
    story.says(&format!(
        "The leader hands over to n{b}, whose first requests for votes are lost. There must be a leader soon after."
    ));
    for other in story.subject.nodes() {
        story.subject.links().lost.insert((b, other, Kind::AskVote));
    }
    story.subject.transfer(a, b);
    story.run(30);
    story.ask(a)?;
    story.subject.links().lost.clear();
    story.run(RIPE);
    let new = story.until_leader(|_| true, AN_ELECTION).ok_or(Stop::Unavailable("no leader after lost votes"))?;
    story.must_answer(new, 300, "the leader does not answer")
}

fn two_transfers(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, c] = others(a);
    story.says(&format!(
        "The leader hands over to n{b}, then to n{c}. The first message is delayed for longer than a transfer may"
    ));
    story.says("take, and the second is lost.");
    story.hold(a, b, Kind::CampaignNow);
    story.subject.links().lost.insert((a, c, Kind::CampaignNow));
    story.subject.transfer(a, b);
    story.run(20);
    story.subject.transfer(a, c);
    story.run(1500);
    story.ask(a)?;
    story.says("The first message arrives after all, and the leader is cut off.");
    story.isolate(a);
    story.deliver();
    story.others_write(a, WITHIN_THE_LEASE);
    story.ask(a)
}

fn hidden_transfer(story: &mut Story<'_>, a: NodeId) -> StoryResult {
    let [b, _] = others(a);
    story.says(&format!(
        "n{b} lags behind by a write when the leader is asked to hand over to it: it is asked to campaign later,"
    ));
    story.says("when it has caught up. As that message arrives the leader is cut off.");
    story.cut(a, b);
    story.writes(a);
    story.subject.transfer(a, b);
    story.run(50);
    story.hold(a, b, Kind::CampaignNow);
    story.heal();
    story.run(300);
    story.isolate(a);
    story.deliver();
    story.others_write(a, WITHIN_THE_LEASE - 200);
    story.ask(a)
}

fn leader_without_quorum(story: &mut Story<'_>, a: NodeId) -> StoryResult {
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
