//! Failures found by attacking the protocol, with the pure machines.

use leasehold_core::Event;
use leasehold_core::trace::Input;
use leasehold_tests::rules::Rule;
use leasehold_tests::world::{StoryResult, World, timing, timing_of};
use std::collections::VecDeque;

pub(crate) fn stale_now_frame(w: &mut World) -> StoryResult {
    w.says(
        "n3's thread wakes at 0 ms, is kept from running for 1.9 s, and then handles a frame that has just arrived.",
    );
    w.says("The frame's reading is taken after the frame arrived. An older one would set a hold that ends too soon.");
    w.begin_with(3, timing_of(2000, 1900));
    w.leads(&[2])?;
    w.sleeps(3, 1900);
    w.heartbeat(1, &[3]);
    w.pass(150);
    w.permit(1)?;
    let elected = w.campaign(2, &[3], None);
    w.must(!elected, "n3's hold covers n1's lease")?;
    w.permit(1).map(drop)
}

pub(crate) fn stale_now_read(w: &mut World) -> StoryResult {
    w.says("A reader thread of n1 samples its clock at 100 ms, sleeps for 1.9 s, and then takes up a read that has just arrived.");
    w.says("The read's reading is taken after the read arrived; the older one would find a lease that is over.");
    w.begin_with(3, timing_of(2000, 1900));
    w.leads(&[2, 3])?;
    w.pass(100);
    w.permit(1)?;
    w.sleeps(1, 1900);
    let elected = w.campaign(2, &[3], None);
    w.must(elected, "n2 is elected")?;
    w.no_permit(1)
}

pub(crate) fn clock_steps_back(w: &mut World) -> StoryResult {
    w.says(
        "Both counters of n1 go back by five seconds under a valid lease, which would then last five seconds too long.",
    );
    w.says(
        "The holder sees it at its next input: it voids every stamp and revokes the cell. Later rounds count again.",
    );
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(800);
    w.permit(1)?;
    w.clock(1).step(-5000);
    let ticket = w.quorum_read(1)?;
    w.no_permit(1)?;
    w.exchange(1, &[2]);
    w.must(w.confirmed(1) >= ticket.round, "the quorum read is confirmed")?;
    w.says("The round was opened after the step, so it gives a lease on the clock as it is now.");
    w.permit(1).map(drop)
}

pub(crate) fn grantor_clock_glitch(w: &mut World) -> StoryResult {
    w.says("n3's clock dips by five seconds for one reading, just as a frame arrives, and recovers.");
    w.says("A backward reading is no reading to a grantor: the hold of this echo starts with the next good one.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(850);
    w.clock(3).step(-5000);
    w.heartbeat(1, &[3]);
    w.clock(3).step(5000);
    w.pass(200);
    let elected = w.campaign(2, &[3], None);
    w.must(!elected, "n3 is held")?;
    w.permit(1).map(drop)
}

pub(crate) fn one_counter_frozen(w: &mut World) -> StoryResult {
    w.says(
        "One counter stops, the other runs: at n1 the first, at n3 the second. No node knows which of them is right.",
    );
    w.says("The lease ages by the faster, the hold by the slower. Such a grantor stays held until it is restarted.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.clock(1).awake_frozen = true;
    w.clock(3).total_frozen = true;
    w.pass(899);
    w.permit(1)?;
    w.pass(1);
    w.no_permit(1)?;
    w.pass(100);
    w.refuses(3, None)?;
    w.pass(60_000);
    w.refuses(3, None)
}

pub(crate) fn unseen_vote(w: &mut World) -> StoryResult {
    w.says(
        "The engine of n1 runs on a thread of its own, and is about to be shown a request for a vote: n1 is suspended.",
    );
    w.begin(3);
    w.leads(&[2])?;
    w.pass(100);
    w.permit(1)?;
    w.input(1, Input::Event(Event::Suspended));
    w.no_lease(1)?;
    w.says("The engine refuses. The lease is back, with the anchor it had.");
    w.input(1, Input::Event(Event::Resumed));
    w.permit(1)?;
    w.says("It is shown another one, and votes. n3 leads, and n1's machine does not know yet.");
    w.input(1, Input::Event(Event::Suspended));
    w.elect_out_of_sight(3, &[1])?;
    w.no_permit(1)?;
    w.says("A read that arrives now needs a round that is not opened: n2 would still acknowledge it.");
    let ticket = w.quorum_read(1)?;
    w.exchange(1, &[2]);
    w.must(w.confirmed(1) < ticket.round, "the read is not confirmed")?;
    w.depose(1);
    w.input(1, Input::Event(Event::Resumed));
    w.no_permit(1)
}

pub(crate) fn lowered_hold_restart(w: &mut World) -> StoryResult {
    w.says(
        "n2 and n3 restart together with a hold a tenth as long, while n1's lease rests on what they promised before.",
    );
    w.says("The longest hold ever echoed under is on disk, and the restart hold is as long as that.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(10);
    w.restart_with(2, timing_of(100, 90));
    w.restart_with(3, timing_of(100, 90));
    w.pass(100);
    let elected = w.campaign(2, &[3], None);
    w.must(!elected, "both are held as long as they may have promised")?;
    w.permit(1)?;
    w.pass(900);
    w.no_permit(1)?;
    let elected = w.campaign(2, &[3], None);
    w.must(elected, "n2 is elected after that")
}

pub(crate) fn override_after_restart(w: &mut World) -> StoryResult {
    w.says("n3 acknowledges round 2, restarts, and then acknowledges round 1, which was delayed. A release through 1 arrives.");
    w.says("It covers all that n3 remembers, but n1's lease depends on what n3 forgot. Only time ends a restart hold.");
    w.begin(3);
    let elected = w.campaign(1, &[2, 3], None);
    w.must(elected, "n1 is elected")?;
    let delayed = w.frame(1);
    w.exchange(1, &[2]);
    w.commit(1);
    w.pass(100);
    let release = w.transfer(1);
    w.says("The transfer is abandoned, and n3 acknowledges the next round.");
    w.pass(100);
    w.abandon(1);
    w.exchange(1, &[3]);
    w.pass(100);
    w.restart(3);
    w.deliver(delayed, 3);
    let elected = w.campaign(2, &[3], Some(release));
    w.must(!elected, "n3 is held by its restart")?;
    w.lease_read(1).map(drop)
}

pub(crate) fn transfer_target_held(w: &mut World) -> StoryResult {
    w.says("n2 acknowledged a moment ago, and is held. n1 hands leadership to it: the release lifts the hold at once.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(5);
    w.refuses(2, None)?;
    let release = w.transfer(1);
    let elected = w.campaign(2, &[3], Some(release));
    w.must(elected, "the transfer succeeds without waiting for the hold")?;
    w.no_permit(1)
}

pub(crate) fn lost_vote_requests(w: &mut World) -> StoryResult {
    w.says(
        "n2 gets \"campaign now\", and its vote requests are lost. Meanwhile n3 echoes the released round once more.",
    );
    w.says("n2 tries again and shows the release again: it still covers all that n3 acknowledged.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(5);
    let release = w.transfer(1);
    let elected = w.campaign(2, &[], Some(release));
    w.must(!elected, "n2 alone is no quorum")?;
    w.pass(100);
    w.heartbeat(1, &[3]);
    w.pass(100);
    let shown = w.has(Rule::ReleaseIsShownAgain).then_some(release);
    let elected = w.campaign(2, &[3], shown);
    w.must(elected, "n3 votes although it is held")?;
    w.no_lease(1)
}

pub(crate) fn many_rounds_slow_voter(w: &mut World) -> StoryResult {
    w.says("Quorum reads open five rounds a millisecond; n2 is down, and n3's acks take 50 ms.");
    w.says(
        "Rounds opened close together share a stamp: when an ack arrives, the stamp of its round is still in the ring.",
    );
    w.begin(3);
    w.leads(&[3])?;
    w.says("... 1500 ms of that are left out ...");
    let mut on_their_way = VecDeque::new();
    w.hushed(|w| {
        for step in 0..7500 {
            w.pass_micros(200);
            w.input(1, Input::QuorumRead);
            let frame = w.frame(1);
            on_their_way.push_back((step + 250, w.deliver(frame, 3)));
            while let Some((_, response)) = on_their_way.pop_front_if(|(at, _)| *at <= step) {
                w.respond(response);
                // The lease is warm all the time.
                w.permit(1)?;
            }
        }
        Ok(())
    })?;
    w.says("The next ack is of a round opened 50 ms ago.");
    let (_, response) = on_their_way.pop_front().expect("acks are on their way");
    w.respond(response);
    w.lease_read(1).map(drop)
}

pub(crate) fn pending_transfer_rounds(w: &mut World) -> StoryResult {
    w.says("Heartbeats go on while a transfer to n2 is pending. They repeat the released round and open none.");
    w.says("Otherwise everyone would acknowledge a later round, and the release would be out of date when it arrives.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(50);
    let release = w.transfer(1);
    for _ in 0..2 {
        w.pass(100);
        w.heartbeat(1, &[2, 3]);
    }
    w.says("n2 has caught up, and gets \"campaign now\".");
    let elected = w.campaign(2, &[3], Some(release));
    w.must(elected, "the release still covers everything")?;
    w.no_permit(1)
}

pub(crate) fn rolling_hold_change(w: &mut World) -> StoryResult {
    w.says("The group is to change from hold 1000 ms, lease 900 ms to hold 2000 ms, lease 1800 ms, node by node.");
    w.says("First, wrongly, n1 gets the longer lease while the others still have the shorter hold: they refuse each other.");
    w.begin(3);
    w.restart_with(1, timing_of(2000, 1800));
    w.pass(2000);
    if w.meet(1, 2) && w.meet(1, 3) {
        w.leads(&[2, 3])?;
        w.pass(1000);
        let elected = w.campaign(2, &[3], None);
        w.must(elected, "n2 is elected")?;
        w.no_permit(1)?;
    }
    w.says("Holds up first, leases after.");
    let all = [1, 2, 3];
    for (hold, lease) in [(2000, 900), (2000, 1800)] {
        for id in all {
            w.restart_with(id, timing_of(hold, lease));
            let meet = all.into_iter().filter(|other| *other != id).all(|other| w.meet(id, other));
            w.must(meet, "the nodes accept each other at every step")?;
        }
        w.pass(2000);
    }
    w.leads(&[2, 3])?;
    w.pass(1799);
    w.permit(1)?;
    w.says("Leases down first, holds after. n3's hold after its restart is still the longer one.");
    for id in all {
        w.restart_with(id, timing_of(2000, 900));
        let meet = all.into_iter().filter(|other| *other != id).all(|other| w.meet(id, other));
        w.must(meet, "the nodes accept each other at every step")?;
    }
    w.restart_with(3, timing());
    w.must(w.meet(3, 1), "a hold of 1000 ms covers a lease of 900 ms")?;
    w.pass(1999);
    w.refuses(3, None)?;
    w.pass(1);
    let free = w.may_vote_or_campaign(3, None);
    w.must(free, "n3 is free when the longest hold it had is over")
}

pub(crate) fn two_processes_one_folder(w: &mut World) -> StoryResult {
    w.says("n3's old process still runs and echoes when a second one is started on the same folder.");
    w.says("The folder is locked, so the second does not start. Its restart hold would not cover the echoes of the old one.");
    w.begin(3);
    w.leads(&[2, 3])?;
    w.pass(10);
    // The second process appears as node 4.
    let answering = if w.has(Rule::OneProcessPerFolder) { 3 } else { 4 };
    if answering == 4 {
        w.add(4, timing());
        w.restart(4);
    }
    w.pass(890);
    w.heartbeat(1, &[3]);
    w.pass(150);
    w.says("n2 asks n3 for its vote.");
    w.permit(1)?;
    w.refuses(answering, None)
}
