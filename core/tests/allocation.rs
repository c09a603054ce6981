//! No call of the core allocates: everything in it has a fixed size.
#![cfg(not(loom))]

use leasehold_core::groups::{Attachment, Echoes, GroupHolder, NodeRounds, Support, Supporter};
use leasehold_core::{
    Action, Config, Event, Grantor, Holder, Instant, LeaseCell, Options, Reading, Release, TermRound, Voters,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

thread_local! {
    /// The allocations of this thread, without those of the harness's threads.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// Counts allocations and passes them on to the system's allocator.
struct Counting;

#[expect(unsafe_code, reason = "an allocator cannot be written without it; this one only counts")]
// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Fails only in a thread that is being torn down, whose allocations need no counting.
        let _gone = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn taken() -> usize {
    TAKEN.get()
}

fn at(millis: u64) -> Reading {
    Some(Instant::from_nanos(millis * 1_000_000, millis * 1_000_000))
}

#[test]
fn counts_an_allocation() {
    let before = taken();
    black_box(vec![1]);
    assert_eq!(taken(), before + 1);
}

#[test]
fn no_call_allocates() {
    let before = taken();
    let options = Options::new(Duration::from_secs(2), 500).with_heartbeat(Duration::from_millis(100));
    let config = Config::new(options).expect("a consistent configuration");
    config.accept_peer(config.timing()).expect("the same configuration");
    let five = Voters::simple(&[1, 2, 3, 4, 5]).expect("five voters");
    let joint = Voters::joint(&[1, 2, 3], &[3, 4, 5]).expect("five voters in two halves");
    Voters::simple(&[7; 16]).expect_err("too many");

    let cell = LeaseCell::new();
    let mut holder = Holder::new(1, config);
    let mut grantors = [2_u64, 3, 4, 5].map(|id| (id, Grantor::new(config, Duration::ZERO, at(0))));
    for term in 1..20_u64 {
        let start = term * 100_000;
        holder
            .handle_event(at(start), Event::Elected { term, voters: five, barrier: term, commit: term - 1 }, &cell)
            .expect("the node leads");
        holder.handle_event(at(start), Event::Committed(term), &cell).expect("the node leads");
        for step in 0..1000 {
            let now = start + step * 20;
            match step % 10 {
                0 => holder
                    .handle_event(at(now), Event::VotersChanged(if step % 20 == 0 { joint } else { five }), &cell)
                    .expect("the node leads"),
                3 => drop(black_box(holder.read(at(now), &cell))),
                6 => drop(black_box(holder.quorum_read(None, &cell))),
                _ => holder.handle_timeout(at(now), &cell),
            }
            while let Some(action) = holder.poll_action() {
                let Action::SendRound(round) = action else { continue };
                for (id, grantor) in &mut grantors {
                    let Some(round) = grantor.handle_round(at(now + 1), round) else { continue };
                    holder.handle_event(at(now + 2), Event::Acked { from: *id, round }, &cell).expect("the node leads");
                }
            }
            black_box((cell.try_read(at(now + 3)), cell.remaining(at(now + 3)), holder.poll_timeout()));
            black_box((holder.lease_until(), holder.quorum_round(), holder.statistics()));
        }
        // A backward reading, an echo from a node that is not a voter, an abandoned transfer, the end of the term.
        let stray = TermRound { term: 0, round: 0 };
        holder.handle_event(at(start), Event::Acked { from: 9, round: stray }, &cell).expect("the node leads");
        holder.handle_event(at(start), Event::TransferStarted, &cell).expect("the node leads");
        black_box((holder.release(), holder.frame_round()));
        holder.handle_event(at(start), Event::TransferEnded, &cell).expect("the node leads");
        holder.handle_event(at(start), Event::Deposed, &cell).expect("the node leads");
        for (_, grantor) in &mut grantors {
            black_box(grantor.may_vote_or_campaign(at(start + 90_000), Some(Release { through: stray })));
            black_box((grantor.held_until(), grantor.newest(), grantor.restart_hold_is_over()));
        }
    }
    assert!(holder.statistics().rounds_opened > 1000, "the loop opened rounds");
    assert_eq!(taken() - before, 0, "a call of the core allocated");
}

#[test]
fn no_call_of_many_groups_allocates() {
    let before = taken();
    let config = Config::new(Options::new(Duration::from_secs(1), 500)).expect("a consistent configuration");
    let joint = Voters::joint(&[1, 2, 3], &[2, 3, 4]).expect("four voters in two halves");
    let (mut rounds, mut echoes, cell) = (NodeRounds::new(config, 1), [Echoes::default(); 3], LeaseCell::new());
    let mut group = GroupHolder::new(1);
    let mut followers = [2_u64, 3, 4].map(|_| (Supporter::new(config, 1, Duration::ZERO, at(0)), Support::new(1)));
    let mut attachments = [2_u64, 3, 4].map(|_| Attachment::new());
    for term in 1..50_u64 {
        let now = at(term * 10_000);
        group.elected(term, joint, term, term).expect("a higher term");
        rounds.observe(now);
        black_box((
            rounds.handle_timeout(now),
            rounds.ticket(now),
            rounds.poll_timeout(),
            rounds.poll_backward_reading(),
            rounds.newest(),
        ));
        let round = rounds.frame_round().expect("just opened");
        for (at, (supporter, support)) in followers.iter_mut().enumerate() {
            let echo = supporter.handle_round(now, support, round).expect("a new round");
            let attached =
                supporter.attach(support, &mut attachments[at], round.boot, group.offer().expect("it leads"));
            assert!(echoes[at].handle_echo(&rounds, echo));
            assert_eq!(group.handle_attached(at as u64 + 2, attached.expect("a new offer")), None);
        }
        let newest = |id: u64| echoes[id as usize - 2].newest();
        group.publish(&rounds, newest, &cell);
        assert!(cell.try_read(now).is_some() && group.may_rest(now, &rounds, newest));
        assert!(group.confirms(group.quorum_round(&rounds, newest), &rounds, newest));
        for (at, (supporter, support)) in followers.iter().enumerate() {
            let known = group.attached(at as u64 + 2).expect("it is attached");
            assert!(
                supporter.stands(support, &attachments[at]) && supporter.may_rest(support, &attachments[at], known)
            );
            black_box((support.poll_timeout(), support.held_until(), attachments[at].leader()));
        }
        group.committed(term).expect("it leads");
        group.transfer_started().expect("it leads");
        let release = group.release();
        group.transfer_ended().expect("it leads");
        group.voters_changed(joint).expect("it leads");
        group.deposed();
        group.publish(&rounds, newest, &cell);
        let ended = group.release().expect("no voter has answered");
        for (at, attachment) in attachments.iter_mut().enumerate() {
            assert!(group.untold().any(|id| id == at as u64 + 2));
            group.handle_answer(at as u64 + 2, attachment.handle_release(ended));
        }
        assert_eq!(group.untold().next(), None);
        for ((supporter, support), attachment) in followers.iter_mut().zip(&mut attachments) {
            black_box(supporter.may_vote_or_campaign(now, attachment, Some(support), release));
            supporter.handle_timeout(at(term * 10_000 + 5000), support);
            black_box((support.poll_withdrawal(), supporter.remaining(now, [support])));
        }
    }
    assert_eq!(taken() - before, 0, "a call of the core allocated");
}
