//! Failures known from deployed systems, with the pure machines.

use leasehold_core::Voters;
use leasehold_core::trace::Input;
use leasehold_tests::world::{StoryResult, World};

pub(crate) fn restart_forgets_promise(w: &mut World) -> StoryResult {
    w.says("n2 is cut off from n1. n3 acknowledges n1's round, restarts, and is asked by n2 for its vote.");
    w.says("A restarted node cannot know what it promised: it refuses all votes for a full hold.");
    w.begin(3);
    w.leads(&[3])?;
    w.pass(10);
    w.restart(3);
    w.pass(10);
    let elected = w.campaign(2, &[3], None);
    w.must(!elected, "n3 keeps the promise it forgot")?;
    w.pass(879);
    w.permit(1)?;
    let elected = w.campaign(2, &[3], None);
    w.must(!elected, "n3 keeps it as long as n1's lease lasts")?;
    w.says("The lease ends, then the hold; then n2 is elected.");
    w.pass(1);
    w.no_lease(1)?;
    w.pass(110);
    let elected = w.campaign(2, &[3], None);
    w.must(elected, "n2 is elected once the restart hold is over")
}

pub(crate) fn delayed_campaign_now(w: &mut World) -> StoryResult {
    w.says(
        "n1 hands leadership to n2, but the message is delayed. n1 abandons the transfer and earns its lease again.",
    );
    w.says("When the message arrives, its release is stale: all voters have acknowledged a later round.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(100);
    let release = w.transfer(1);
    w.no_permit(1)?;
    w.pass(500);
    w.abandon(1);
    w.exchange(1, &[2, 3]);
    w.permit(1)?;
    w.says("Now it arrives.");
    w.pass(50);
    let elected = w.campaign(2, &[3], Some(release));
    w.must(!elected, "n2 does not campaign on a release that it has outlived")?;
    w.refuses(3, Some(release))?;
    w.lease_read(1).map(drop)
}

pub(crate) fn transfer_in_flight(w: &mut World) -> StoryResult {
    w.says("n1 sends \"campaign now\" to n2 and is cut off. n2 wins at once, because the message releases all voters.");
    w.says("n1 does not know of it, and must not read by the lease it released.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(100);
    w.permit(1)?;
    let release = w.transfer(1);
    w.pass(5);
    let elected = w.campaign(2, &[3], Some(release));
    w.must(elected, "the release frees n2 and n3")?;
    w.exchange(2, &[3]);
    w.commit(2);
    w.says("n2 has acknowledged a write that n1 has not seen.");
    w.write(2);
    w.no_lease(1)?;
    w.lease_read(2).map(drop)
}

pub(crate) fn check_quorum_is_no_lease(w: &mut World) -> StoryResult {
    w.says("Acks arrive just after the engine's periodic check for a quorum; then n1 is cut off.");
    w.says("The engine lets n1 lead for nearly two more intervals. Its lease ends by the clock, which is sooner.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(100);
    w.heartbeat(1, &[2, 3]);
    w.pass(899);
    w.permit(1)?;
    w.pass(1);
    w.no_lease(1)?;
    w.pass(100);
    let elected = w.campaign(2, &[3], None);
    w.must(elected, "n2 and n3 are free when their hold is over")?;
    w.says("n1 still leads term 1, as far as its engine knows.");
    w.no_lease(1)
}

pub(crate) fn delayed_response(w: &mut World) -> StoryResult {
    w.says("n3's response waits 1.5 s in a queue before n1 handles it. Meanwhile n3's hold is over and n2 leads.");
    w.says("The lease counts from the opening of the round, not from the arrival of the response.");
    w.begin(3);
    w.leads(&[2])?;
    w.pass(100);
    w.input(1, Input::Timeout);
    let frame = w.frame(1);
    let response = w.deliver(frame, 3);
    w.pass(1500);
    let elected = w.campaign(2, &[3], None);
    w.must(elected, "n2 and n3 are free")?;
    w.says("Now n1 handles the response.");
    w.respond(response);
    w.no_lease(1)
}

pub(crate) fn paused_leader_with_buffered_ack(w: &mut World) -> StoryResult {
    w.says("n1 pauses for ten seconds with a response in its socket buffer, and resumes.");
    w.says("A reader thread may be the first to run; then the response is handled. Neither gives a lease.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(100);
    w.input(1, Input::Timeout);
    let frame = w.frame(1);
    let buffered = w.deliver(frame, 2);
    w.pass(10_000);
    let elected = w.campaign(3, &[2], None);
    w.must(elected, "n3 is elected meanwhile")?;
    w.exchange(3, &[2]);
    w.commit(3);
    w.no_permit(1)?;
    w.respond(buffered);
    w.no_lease(1)?;
    w.lease_read(3).map(drop)
}

pub(crate) fn suspended_leader(w: &mut World) -> StoryResult {
    w.says(
        "n1's machine is suspended for a minute right after an ack. One counter stands still meanwhile, one goes on.",
    );
    w.says("The lease ages by whichever shows more.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(50);
    w.permit(1)?;
    w.clock(1).awake_frozen = true;
    w.pass(60_000);
    w.clock(1).awake_frozen = false;
    let elected = w.campaign(2, &[3], None);
    w.must(elected, "n2 is elected meanwhile")?;
    w.no_lease(1)
}

pub(crate) fn higher_term_response(w: &mut World) -> StoryResult {
    w.says("n1 was cut off, and n2 leads term 2. The link is repaired, and n2 answers n1's heartbeat.");
    w.says("The answer does not count as an acknowledgement; it deposes n1.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(1000);
    let elected = w.campaign(2, &[3], None);
    w.must(elected, "n2 is elected")?;
    w.exchange(2, &[3]);
    w.commit(2);
    w.input(1, Input::Timeout);
    let frame = w.frame(1);
    let answer = w.deliver(frame, 2);
    w.must(answer.echo.is_none(), "n2 echoes no round of an old term")?;
    w.respond(answer);
    w.no_lease(1)
}

pub(crate) fn old_term_response(w: &mut World) -> StoryResult {
    w.says("n1 leads term 1, hands over to n2, and is handed leadership back in term 3: all within one lease.");
    w.says("n3's response to a round of term 1 arrives only now. It counts for nothing: n3 has been released since.");
    w.begin(3);
    let elected = w.campaign(1, &[2, 3], None);
    w.must(elected, "n1 is elected")?;
    let frame = w.frame(1);
    let late = w.deliver(frame, 3);
    w.exchange(1, &[2]);
    w.commit(1);
    w.pass(10);
    let release = w.transfer(1);
    let elected = w.campaign(2, &[3], Some(release));
    w.must(elected, "n2 is elected")?;
    w.exchange(2, &[1]);
    w.commit(2);
    w.pass(10);
    let release = w.transfer(2);
    let elected = w.campaign(1, &[2], Some(release));
    w.must(elected, "n1 is elected again")?;
    w.says("n2 stored n1's first entry, but its echo was lost: n1 has committed in term 3, and has no lease yet.");
    w.commit(1);
    w.no_permit(1)?;
    w.respond(late);
    w.no_lease(1)
}

pub(crate) fn no_commit_in_term(w: &mut World) -> StoryResult {
    w.says(
        "n2 is elected in term 2. n3 accepts it as leader and echoes its round, but cannot take its first entry yet.",
    );
    w.says(
        "Until an entry of its own term is committed, n2 may not know all that was committed before: its reads wait.",
    );
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(1000);
    let elected = w.campaign(2, &[3], None);
    w.must(elected, "n2 is elected")?;
    w.exchange(2, &[3]);
    w.no_permit(2)?;
    let ticket = w.quorum_read(2)?;
    w.must(ticket.index == 2, "the read waits for the entry that opens the term")?;
    w.exchange(2, &[3]);
    w.must(w.confirmed(2) < ticket.round, "no quorum read is confirmed before that entry is committed")?;
    w.says("n3 has caught up.");
    w.commit(2);
    w.must(w.confirmed(2) >= ticket.round, "the read is confirmed")?;
    w.lease_read(2).map(drop)
}

pub(crate) fn reject_counts_as_ack(w: &mut World) -> StoryResult {
    w.says(
        "n3 rejects an append (its log differs) and echoes round 2. The response is slow; n1 opens round 3 meanwhile.",
    );
    w.says("A response proves what its echo says, an ack of round 2; that n3 answered now proves nothing.");
    w.begin(3);
    w.leads(&[2])?;
    w.pass(100);
    w.input(1, Input::Timeout);
    let frame = w.frame(1);
    let rejection = w.deliver(frame, 3);
    w.pass(850);
    w.input(1, Input::Timeout);
    w.respond(rejection);
    w.lease_read(1)?;
    w.pass(50);
    w.no_lease(1)?;
    w.pass(100);
    let elected = w.campaign(2, &[3], None);
    w.must(elected, "n2 and n3 are free")?;
    w.no_lease(1)
}

pub(crate) fn applied_behind_commit(w: &mut World) -> StoryResult {
    w.says(
        "Index 3 is committed, and a follower that applied it has shown it to a client. n1 has applied only index 2.",
    );
    w.says("The client reads at n1: the permit names the commit index, and n1 answers once it has applied that.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.write(1);
    let shown = w.write(1);
    let (_, index) = w.permit(1)?;
    w.must(index == shown, "a reader thread waits for index 3")?;
    let (_, index) = w.lease_read(1)?;
    w.must(index == shown, "the holder's own answer does too")
}

pub(crate) fn removed_peer_ghost(w: &mut World) -> StoryResult {
    w.says("n3 is removed. Its ack of round 2 was on its way and arrives late; n2 is silent.");
    w.says(
        "Two voters are left and both are needed: the removed voter does not count, and the lease ends with round 1's.",
    );
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(100);
    w.input(1, Input::Timeout);
    let frame = w.frame(1);
    let late = w.deliver(frame, 3);
    w.change(1, Voters::simple(&[1, 2]).expect("voters"));
    w.pass(850);
    w.respond(late);
    w.no_lease(1)
}

pub(crate) fn grow_after_shrink(w: &mut World) -> StoryResult {
    w.says("n2 and n3 are removed: n1 alone is a quorum. Then both are added again, and do not receive n1's rounds.");
    w.says(
        "The quorum round is derived anew under the voters in force: what n1 acknowledged alone is no quorum of three.",
    );
    w.begin(3);
    w.leads(&[2, 3])?;
    let three = w.voters;
    w.change(1, Voters::simple(&[1]).expect("voters"));
    w.pass(100);
    w.heartbeat(1, &[]);
    w.permit(1)?;
    w.pass(50);
    w.change(1, three);
    w.no_lease(1)?;
    w.says("A round acknowledged under the new configuration earns the lease again.");
    w.exchange(1, &[2]);
    w.lease_read(1).map(drop)
}

pub(crate) fn leader_removes_itself(w: &mut World) -> StoryResult {
    w.says("n1 committed its own removal and leads on until its engine steps it down. n2 and n3 are the voters now.");
    w.says("n1's own ack does not count: with n2's alone there is no quorum of two.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.change(1, Voters::simple(&[2, 3]).expect("voters"));
    w.pass(100);
    w.heartbeat(1, &[2]);
    w.pass(850);
    w.no_lease(1)?;
    w.says("With both it leads on.");
    w.exchange(1, &[2, 3]);
    w.lease_read(1).map(drop)
}

pub(crate) fn joint_one_half(w: &mut World) -> StoryResult {
    w.says("The configuration is joint: 1,4,5 come in, 1,2,3 go out. Only the incoming half acknowledges round 2.");
    w.says("A majority of each half is needed, for the lease as for everything.");
    w.begin(5);
    w.voters = Voters::simple(&[1, 2, 3]).expect("voters");
    w.leads(&[2, 3])?;
    w.change(1, Voters::joint(&[1, 4, 5], &[1, 2, 3]).expect("voters"));
    w.exchange(1, &[4]);
    w.pass(100);
    w.heartbeat(1, &[4, 5]);
    w.pass(850);
    w.no_permit(1)?;
    w.says("One more ack, of the other half.");
    w.exchange(1, &[2]);
    w.permit(1).map(drop)
}

pub(crate) fn learner_acks(w: &mut World) -> StoryResult {
    w.says("n4 and n5 are learners. They acknowledge round 2, and the voters n2 and n3 do not.");
    w.says("Learners never count: they keep their hold, but have no vote to withhold.");
    w.begin(5);
    w.voters = Voters::simple(&[1, 2, 3]).expect("voters");
    w.leads(&[2])?;
    w.pass(100);
    w.heartbeat(1, &[4, 5]);
    w.pass(850);
    w.no_lease(1)
}

pub(crate) fn clock_fails(w: &mut World) -> StoryResult {
    w.says("n1's clock gives no readings for a while: no lease then, but quorum reads go on.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(50);
    w.clock(1).failed = true;
    w.no_permit(1)?;
    let ticket = w.quorum_read(1)?;
    w.exchange(1, &[2]);
    w.must(w.confirmed(1) >= ticket.round, "a quorum read needs no clock")?;
    w.says("It recovers, and so does the lease.");
    w.pass(50);
    w.clock(1).failed = false;
    w.heartbeat(1, &[2]);
    w.permit(1)?;
    w.says("Now n3's clock fails. It still echoes, and remembers that it owes a full hold.");
    w.clock(3).failed = true;
    w.pass(800);
    w.heartbeat(1, &[3]);
    w.refuses(3, None)?;
    w.says("Its clock is back. The hold of its echo starts now, and outlasts n1's lease.");
    w.pass(600);
    w.clock(3).failed = false;
    w.refuses(3, None)?;
    w.lease_read(1)?;
    w.pass(999);
    w.no_permit(1)?;
    w.refuses(3, None)?;
    w.pass(1);
    let free = w.may_vote_or_campaign(3, None);
    w.must(free, "n3 is free after a full hold")
}

pub(crate) fn slow_quorum_read(w: &mut World) -> StoryResult {
    w.says("A quorum read's round reaches n3, whose response takes 1.2 s, longer than a lease. n2 answers heartbeats at once.");
    w.says("The lease rests on the newest quorum round. A late ack of an old one neither extends nor spoils it.");
    w.begin(3);
    w.leads(&[2])?;
    w.pass(100);
    w.input(1, Input::QuorumRead);
    let frame = w.frame(1);
    let slow = w.deliver(frame, 3);
    for _ in 0..3 {
        w.pass(400);
        w.heartbeat(1, &[2]);
        w.permit(1)?;
    }
    w.says("n3's response arrives.");
    w.respond(slow);
    w.permit(1)?;
    w.lease_read(1).map(drop)
}

pub(crate) fn sample_before_anchor(w: &mut World) -> StoryResult {
    w.says("A reader thread samples its clock at 99 ms, and is slow to look at the cell.");
    w.says("A round is opened at 100 ms and acknowledged. The sample is older than the anchor, and good: the quorum answered later.");
    w.begin(3);
    w.leads(&[2])?;
    w.pass(99);
    let sample = w.reading(1);
    w.pass(1);
    w.heartbeat(1, &[2]);
    let seen = w.input_at(1, sample, Input::Look).answer;
    let granted = matches!(seen, Some(leasehold_core::trace::Answer::Permit(Some(_))));
    w.must(granted, "the early sample is no needless miss")
}

pub(crate) fn revoke_before_vote(w: &mut World) -> StoryResult {
    w.says("n3 never received n1's rounds, and campaigns. n1 itself is asked for its vote, and may give it.");
    w.says("Its lease is revoked before the vote leaves: a reader thread that looks at the same time finds none.");
    w.begin(3);
    w.leads(&[2])?;
    w.pass(50);
    w.permit(1)?;
    let elected = w.campaign(3, &[1], None);
    w.must(elected, "n3 is elected by n1's vote")?;
    w.no_permit(1)
}

pub(crate) fn stale_renewal(w: &mut World) -> StoryResult {
    w.says("n1 leads term 1; n2's ack of round 2 is on its way. n3 is elected in term 2 by n1's vote, and n1 again in term 3.");
    w.says("Nothing of term 1 counts in term 3: neither the published lease nor its renewal when the ack arrives.");
    w.begin(3);
    w.leads(&[2])?;
    w.pass(100);
    w.input(1, Input::Timeout);
    let frame = w.frame(1);
    let renewal = w.deliver(frame, 2);
    w.pass(10);
    let elected = w.campaign(3, &[1], None);
    w.must(elected, "n3 is elected")?;
    w.no_permit(1)?;
    w.pass(10);
    let elected = w.campaign(1, &[3], None);
    w.must(elected, "n1 is elected again")?;
    w.commit(1);
    w.no_permit(1)?;
    w.respond(renewal);
    w.no_permit(1)?;
    w.says("Its own round of term 3 earns a lease of term 3.");
    w.exchange(1, &[3]);
    let (term, _) = w.permit(1)?;
    w.must(term == 3, "the permit is of term 3")
}
