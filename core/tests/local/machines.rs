//! Short schedules of a lender or a reader, one for each rule inside them. Each fails when its rule is taken out.

use leasehold_core::local::{Grant, Lender, MAX_READERS, Reader, Request, Return};
use leasehold_core::{Config, Event, Holder, Index, Instant, LeaseCell, NodeId, Options, Reading, Voters};
use std::time::Duration;

const MILLI: u64 = 1_000_000;
/// The number before the first request of a reader that has started once.
const FIRST: u64 = 1 << 40;

fn at(millis: u64) -> Reading {
    Some(Instant::from_nanos(millis * MILLI, millis * MILLI))
}

/// The instant at which the two counters have these milliseconds.
fn split(awake: u64, total: u64) -> Reading {
    Some(Instant::from_nanos(awake * MILLI, total * MILLI))
}

/// A hold of one second, and heartbeats of 50 ms.
fn config(drift_ppm: u32) -> Config {
    let options = Options::new(Duration::from_secs(1), drift_ppm).with_heartbeat(Duration::from_millis(50));
    Config::new(options).expect("a consistent configuration")
}

fn request(number: u64) -> Request {
    Request { term: 4, number, drift_ppm: 0 }
}

/// Node 1, which leads in term 4. Index 5 opens its term, and node 2 has it and asks.
struct Leader {
    holder: Holder,
    lender: Lender,
    cell: LeaseCell,
}

impl Leader {
    /// Its lease begins at 1000 ms.
    fn new(drift_ppm: u32) -> Leader {
        let config = config(drift_ppm);
        let mut leader = Leader { holder: Holder::new(1, config), lender: Lender::new(config), cell: LeaseCell::new() };
        leader.lender.elected(4);
        let commit = leader.lender.advance(at(1000), 5, None, |_| Some(5));
        let voters = Voters::simple(&[1, 2, 3]).expect("three voters");
        leader.event(at(1000), Event::Elected { term: 4, voters, barrier: 5, commit });
        leader.renew(at(1000));
        leader
    }

    fn event(&mut self, now: Reading, event: Event) {
        self.holder.handle_event(now, event, &self.cell).expect("no misuse");
    }

    /// Node 3 acknowledges a round that is opened now.
    fn renew(&mut self, now: Reading) {
        self.holder.handle_timeout(now, &self.cell);
        let round = self.holder.frame_round().expect("it leads");
        self.event(now, Event::Acked { from: 3, round });
    }

    fn ask(&mut self, now: Reading, from: NodeId, request: Request) -> Option<Grant> {
        self.lender.handle_request(now, &mut self.holder, &self.cell, from, Some(self.lender.exposed()), request)
    }

    /// Everything up to `commit` is committed, and all readers have `matched` of it.
    fn advance(&mut self, now: Reading, commit: Index, matched: Index) -> Index {
        self.lender.advance(now, commit, None, |_| Some(matched))
    }
}

/// A leader that has granted node 2 a sublease at 1000 ms.
fn lent() -> Leader {
    let mut leader = Leader::new(0);
    let grant = leader.ask(at(1000), 2, request(1)).expect("a valid lease");
    assert_eq!(grant, Grant { term: 4, number: 1, length: Duration::from_secs(1), floor: 5 });
    leader
}

#[test]
fn a_grant_needs_a_valid_lease_of_its_term() {
    let mut leader = Leader::new(0);
    assert_eq!(leader.ask(None, 2, request(1)), None, "no reading");
    assert_eq!(leader.ask(at(1000), 2, Request { term: 3, ..request(1) }), None, "another term");
    assert_eq!(leader.ask(at(1000), 1, request(1)), None, "itself");
    assert_eq!(leader.ask(at(2000), 2, request(1)), None, "the lease has ended");
    assert!(!leader.lender.is_obligated(at(1000)), "what was not granted obliges to nothing");
    // A backward reading ends the lease: its anchor is unknown.
    assert_eq!(leader.ask(at(1500), 2, request(1)), None);
    leader.renew(at(1600));
    assert!(leader.ask(at(1600), 2, request(1)).is_some());
}

#[test]
fn a_grant_needs_an_engine_that_replicates_to_the_reader() {
    let Leader { mut holder, mut lender, cell } = Leader::new(0);
    assert_eq!(lender.handle_request(at(1000), &mut holder, &cell, 2, None, request(1)), None);
}

#[test]
fn a_sublease_is_what_is_left_of_the_lease_on_the_counter_with_less() {
    let mut leader = Leader::new(0);
    let grant = leader.ask(split(1100, 1600), 2, request(1)).expect("a valid lease");
    assert_eq!(grant.length, Duration::from_millis(400));
    // The obligation is as long on each counter.
    assert!(leader.lender.is_obligated(split(1500, 1999)) && !leader.lender.is_obligated(split(1500, 2000)));
}

#[test]
fn a_sublease_is_shorter_by_the_larger_drift_of_the_two() {
    let asks = |of_leader, of_reader| {
        let mut leader = Leader::new(of_leader);
        let left = leader.holder.lease_left(at(1000), &leader.cell).expect("a lease");
        let asked = Request { drift_ppm: of_reader, ..request(1) };
        (left.as_nanos(), leader.ask(at(1000), 2, asked).map(|grant| grant.length.as_nanos()))
    };
    for (of_leader, of_reader) in [(1000, 0), (0, 1000)] {
        let (left, length) = asks(of_leader, of_reader);
        assert_eq!(length, Some(left * 999_000 / 1_001_000));
    }
    assert_eq!(asks(0, 100_000).1, None, "no clock is so bad");
    assert_eq!(asks(0, u32::MAX).1, None);
}

#[test]
fn an_obligation_is_never_lowered() {
    let mut leader = Leader::new(0);
    leader.renew(at(1500));
    assert!(leader.ask(at(1500), 2, request(2)).is_some());
    // A late request is granted what is left, on a counter that has advanced: less than before on the other one.
    assert!(leader.ask(split(1500, 2400), 2, request(1)).is_some());
    assert!(leader.lender.is_obligated(split(2499, 3000)));
    // The return of the earlier request ends nothing.
    leader.lender.handle_return(2, Return { through: 1 });
    assert!(leader.lender.is_obligated(at(2400)));
}

#[test]
fn an_obligation_ends_once_both_counters_have_passed_it() {
    let leader = lent();
    assert!(leader.lender.is_obligated(at(1999)) && !leader.lender.is_obligated(at(2000)));
    assert!(leader.lender.is_obligated(split(1999, 9000)) && leader.lender.is_obligated(split(9000, 1999)));
    assert!(leader.lender.is_obligated(None), "without a reading it stays in force");
    assert_eq!(leader.lender.remaining(split(1200, 1900)), Some(Duration::from_millis(800)));
    assert_eq!((leader.lender.remaining(None), leader.lender.remaining(at(9000))), (None, Some(Duration::ZERO)));
}

#[test]
fn reader_dies() {
    let mut leader = lent();
    assert_eq!(leader.lender.poll_timeout(), None, "nothing waits for the obligation");
    assert_eq!(leader.advance(at(1100), 6, 5), 5);
    assert_eq!(leader.lender.poll_timeout(), at(2000));
    assert_eq!(leader.advance(split(1999, 2500), 6, 5), 5, "one counter has not passed it");
    assert_eq!(leader.advance(at(2500), 6, 5), 6);
    let statistics = *leader.lender.statistics();
    assert_eq!((statistics.delays, statistics.expired, statistics.returned), (1, 1, 0));
}

#[test]
fn every_reader_must_have_what_is_exposed() {
    let mut leader = lent();
    assert!(leader.ask(at(1000), 7, request(1)).is_some(), "a learner");
    let matched = |id| Some(if id == 7 { 6 } else { 8 });
    assert_eq!(leader.lender.advance(at(1100), 9, None, matched), 6);
    assert_eq!(leader.lender.advance(at(1100), 9, None, |_| Some(3)), 6, "it never goes back");
    assert_eq!(leader.advance(at(1100), 9, 20), 9, "not more than what is committed");
}

#[test]
fn reader_is_removed() {
    let mut leader = lent();
    assert_eq!(leader.lender.advance(at(1100), 9, None, |_| None), 5, "it acknowledges nothing more");
    assert_eq!(leader.lender.advance(at(2000), 9, None, |_| None), 9);
    assert_eq!(leader.lender.slow_readers().count(), 0, "it is forgotten");
}

#[test]
fn retiring_leader_shows() {
    let mut leader = lent();
    assert_eq!(leader.advance(at(1100), 9, 5), 5);
    leader.lender.deposed();
    assert_eq!(leader.advance(at(1200), 9, 9), 5, "who has it is not known any more");
    assert_eq!(leader.advance(None, 9, 5), 5);
    assert_eq!(leader.ask(at(1200), 2, request(2)), None);
    // Its own term's obligations stand. A leader of a later term was elected after they ended.
    leader.lender.follows(4);
    assert_eq!(leader.advance(at(1300), 9, 5), 5);
    assert!(leader.lender.is_obligated(at(1300)));
    leader.lender.follows(5);
    assert_eq!(leader.advance(at(1300), 9, 5), 9);
    assert!(leader.lender.is_obligated(at(1300)), "only time and returns end an obligation");
}

#[test]
fn late_return() {
    let mut leader = lent();
    assert!(leader.ask(at(1100), 2, request(4)).is_some());
    leader.lender.handle_return(3, Return { through: 9 });
    leader.lender.handle_return(2, Return { through: 3 });
    assert!(leader.lender.is_obligated(at(1200)));
    leader.lender.handle_return(2, Return { through: 4 });
    assert!(!leader.lender.is_obligated(at(1200)));
    assert_eq!(leader.lender.take_statistics().returned, 1);
}

#[test]
fn a_recall_grants_nothing_until_it_ends() {
    let mut leader = lent();
    assert!(!leader.lender.recalls(2));
    leader.lender.start_recall();
    assert!(leader.lender.recalls(2) && !leader.lender.recalls(3));
    assert_eq!(leader.lender.poll_timeout(), at(2000), "the transfer waits");
    assert_eq!(leader.ask(at(1100), 2, request(2)), None);
    leader.lender.handle_return(2, Return { through: 1 });
    assert!(!leader.lender.recalls(2) && !leader.lender.is_obligated(at(1100)));
    assert_eq!(leader.ask(at(1100), 2, request(3)), None);
    leader.lender.end_recall();
    assert!(leader.ask(at(1100), 2, request(4)).is_some());
}

/// A node that is elected while it is obligated has no lease before the entry that opens its term is exposed. A lease that
/// rests on the commit index would give a sublease with a floor below that entry.
#[test]
fn barrier_by_commit() {
    for by_commit in [false, true] {
        let mut leader = lent();
        leader.event(at(1100), Event::Deposed);
        leader.lender.elected(6);
        let voters = Voters::simple(&[1, 2, 3]).expect("three voters");
        let commit = leader.advance(at(1100), 5, 5);
        leader.event(at(1100), Event::Elected { term: 6, voters, barrier: 7, commit });
        leader.renew(at(1200));
        let exposed = leader.advance(at(1200), 7, 5);
        assert_eq!(exposed, 5, "node 2 lacks the barrier");
        leader.event(at(1200), Event::Committed(if by_commit { 7 } else { exposed }));
        let floor = |leader: &mut Leader, now, number| {
            let request = Request { term: 6, ..request(number) };
            let granted = leader.lender.handle_request(now, &mut leader.holder, &leader.cell, 3, Some(7), request);
            granted.map(|grant| grant.floor)
        };
        assert_eq!(floor(&mut leader, at(1200), 1), by_commit.then_some(5));
        let exposed = leader.advance(at(1300), 7, 7);
        leader.event(at(1300), Event::Committed(exposed));
        assert_eq!(floor(&mut leader, at(1300), 2), Some(7));
    }
}

/// A change of voters must not be exposed before the subleases of the voters before it have ended.
#[test]
fn sublease_outlives_configuration() {
    let mut leader = lent();
    let advance = |leader: &mut Leader, millis| leader.lender.advance(at(millis), 8, Some(7), |_| Some(8));
    assert_eq!(advance(&mut leader, 1100), 6);
    assert!(leader.lender.recalls(2));
    assert_eq!(leader.ask(at(1100), 2, request(2)), None);
    leader.lender.handle_return(2, Return { through: 1 });
    assert_eq!(advance(&mut leader, 1200), 8);
    assert!(leader.ask(at(1200), 2, request(3)).is_some());
}

#[test]
fn joint_change_with_readers() {
    let mut leader = lent();
    assert_eq!(leader.lender.advance(at(1100), 8, Some(9), |_| Some(9)), 8, "it is not committed");
    assert!(!leader.lender.recalls(2));
    // The reader is dead: the change waits for a lease, and then grants begin again.
    assert_eq!(leader.lender.advance(at(1999), 9, Some(9), |_| Some(9)), 8);
    assert_eq!(leader.lender.advance(at(2000), 9, Some(9), |_| Some(9)), 9);
    leader.renew(at(2000));
    assert!(leader.ask(at(2000), 3, request(1)).is_some());
}

#[test]
fn a_slow_reader_is_recalled_and_gets_no_grant_until_it_has_caught_up() {
    let mut leader = lent();
    assert_eq!(leader.advance(at(1100), 6, 5), 5);
    assert_eq!(leader.advance(at(1299), 6, 5), 5);
    assert!(!leader.lender.recalls(2));
    assert_eq!(leader.advance(at(1301), 6, 5), 5);
    assert!(leader.lender.recalls(2) && leader.lender.slow_readers().eq([2]));
    assert_eq!(leader.lender.statistics().slow, 1);
    leader.lender.handle_return(2, Return { through: 1 });
    assert_eq!(leader.advance(at(1310), 7, 5), 7);
    let mut ask = |now, matched| {
        leader.lender.handle_request(now, &mut leader.holder, &leader.cell, 2, Some(matched), request(2)).is_some()
    };
    assert!(!ask(at(1320), 5));
    assert!(ask(at(1330), 6), "it has what was committed a little earlier");
}

/// Under load a reader has never all that is committed.
#[test]
fn a_reader_that_is_always_a_little_behind_is_not_slow() {
    let mut leader = lent();
    for step in 1..100 {
        let (now, commit) = (at(1000 + 10 * step), 5 + step);
        leader.renew(now);
        assert_eq!(leader.advance(now, commit, commit - 1), commit - 1);
        let (holder, cell) = (&mut leader.holder, &leader.cell);
        let grant = leader.lender.handle_request(now, holder, cell, 2, Some(commit - 1), request(1 + step));
        assert!(grant.is_some(), "at step {step}");
    }
    assert_eq!(leader.lender.statistics().slow, 0);
}

#[test]
fn a_reader_that_lacks_much_gets_no_first_grant() {
    let mut leader = Leader::new(0);
    leader.advance(at(1000), 500, 0);
    let mut ask = |now, matched| {
        leader.lender.handle_request(now, &mut leader.holder, &leader.cell, 7, Some(matched), request(1)).is_some()
    };
    assert!(!ask(at(1000), 10) && !ask(at(1100), 300) && !ask(at(1300), 499));
    assert!(ask(at(1400), 500));
}

#[test]
fn leader_clock_fails() {
    let mut leader = lent();
    assert_eq!(leader.ask(None, 2, request(2)), None);
    assert_eq!(leader.lender.handle_tick(), 0, "nothing is blocked");
    assert_eq!(leader.advance(None, 6, 5), 5);
    for ticks in 1..50 {
        assert_eq!(leader.lender.handle_tick(), ticks);
        assert_eq!(leader.advance(None, 7, 5), 5);
    }
    // A reader that lives needs no clock.
    assert_eq!(leader.advance(None, 7, 6), 6);
    assert_eq!(leader.lender.handle_tick(), 1);
    assert!(leader.lender.is_obligated(None));
    leader.lender.deposed();
    assert_eq!(leader.lender.handle_tick(), 0, "it has stepped down");
}

#[test]
fn no_more_readers_than_there_is_room_for_hold_a_sublease() {
    let mut leader = Leader::new(0);
    let readers = 2..2 + MAX_READERS as u64;
    // Those without a sublease make room.
    for id in 100..200 {
        assert_eq!(leader.ask(None, id, request(1)), None);
    }
    for id in readers.clone() {
        assert!(leader.ask(at(1000), id, request(1)).is_some(), "reader {id}");
    }
    assert_eq!(leader.ask(at(1000), 99, request(1)), None);
    assert!(leader.lender.obligations().eq(readers));
    leader.lender.handle_return(5, Return { through: 1 });
    assert!(leader.ask(at(1000), 99, request(1)).is_some());
}

/// Node 2 follows node 1 in term 4 and has received index 7.
struct Follower {
    reader: Reader,
    cell: LeaseCell,
}

impl Follower {
    fn new() -> Follower {
        let (mut reader, cell) = (Reader::new(config(0), 1), LeaseCell::new());
        reader.follows(4, 1, &cell);
        reader.received(Some(7), &cell);
        Follower { reader, cell }
    }

    /// It asks, and the answer is a sublease of half a second, with floor 7.
    fn asked(millis: u64) -> Follower {
        let mut follower = Follower::new();
        assert_eq!(follower.reader.request(at(millis), &follower.cell).map(|asked| asked.number), Some(FIRST + 1));
        follower
    }

    fn grant(&mut self, now: Reading, number: u64, floor: Index) {
        let length = Duration::from_millis(500);
        self.reader.handle_grant(now, 1, Grant { term: 4, number: FIRST + number, length, floor }, &self.cell);
    }

    fn index(&self, now: Reading) -> Option<Index> {
        self.cell.try_read(now).map(|permit| permit.index)
    }
}

#[test]
fn a_sublease_ends_by_the_reading_of_its_request() {
    let mut follower = Follower::asked(1000);
    follower.grant(at(1300), 1, 7);
    assert_eq!((follower.index(at(1499)), follower.index(at(1500))), (Some(7), None));
    assert_eq!(follower.index(None), None);
}

#[test]
fn late_grant() {
    let mut follower = Follower::asked(1000);
    follower.grant(at(2500), 1, 7);
    assert_eq!(follower.index(at(2500)), None);
}

#[test]
fn reader_suspends() {
    let mut follower = Follower::asked(1000);
    follower.grant(at(1001), 1, 7);
    assert_eq!(follower.index(split(1010, 61_000)), None);
    assert_eq!(follower.index(split(61_000, 1010)), None);
}

#[test]
fn too_little_received_gives_no_permit() {
    let mut follower = Follower::asked(1000);
    follower.grant(at(1001), 1, 8);
    assert_eq!((follower.index(at(1002)), follower.reader.sublease_until()), (None, None));
    follower.reader.received(Some(8), &follower.cell);
    assert_eq!(follower.index(at(1002)), Some(8));
    follower.reader.received(None, &follower.cell);
    assert_eq!(follower.index(at(1002)), None, "the last entry is not of the term");
}

#[test]
fn renewal_has_a_floor() {
    let mut follower = Follower::asked(1000);
    follower.grant(at(1001), 1, 7);
    assert!(follower.reader.request(at(1100), &follower.cell).is_some());
    follower.grant(at(1101), 2, 9);
    assert_eq!(follower.index(at(1102)), None);
    follower.reader.received(Some(9), &follower.cell);
    assert_eq!((follower.index(at(1599)), follower.index(at(1600))), (Some(9), None));
}

#[test]
fn an_older_grant_replaces_no_newer_one() {
    let mut follower = Follower::asked(1000);
    assert!(follower.reader.request(at(1100), &follower.cell).is_some());
    follower.grant(at(1101), 2, 7);
    follower.grant(at(1102), 1, 7);
    assert_eq!(follower.index(at(1599)), Some(7));
}

#[test]
fn asked_survives_step_back() {
    let mut follower = Follower::asked(1000);
    follower.reader.observe(at(900), &follower.cell);
    follower.grant(at(901), 1, 7);
    assert_eq!(follower.index(at(902)), None);
    // The same with a grant that had arrived.
    let mut follower = Follower::asked(1000);
    follower.grant(at(1001), 1, 7);
    follower.reader.observe(split(1000, 1100), &follower.cell);
    assert_eq!(follower.index(at(950)), None);
    assert_eq!(follower.reader.statistics().backward_readings, 1);
}

#[test]
fn grant_after_return() {
    let mut follower = Follower::asked(1000);
    assert_eq!(follower.reader.return_all(&follower.cell), Some(Return { through: FIRST + 1 }));
    follower.grant(at(1001), 1, 7);
    assert_eq!(follower.index(at(1002)), None);
    assert_eq!(follower.reader.statistics().grants_ignored, 1);
    let asked = follower.reader.request(at(1003), &follower.cell).map(|asked| asked.number);
    assert_eq!(asked, Some(FIRST + 2), "no number is used twice");
}

#[test]
fn a_return_revokes_and_needs_no_sublease() {
    let mut follower = Follower::asked(1000);
    follower.grant(at(1001), 1, 7);
    let returned = follower.reader.return_all(&follower.cell);
    assert_eq!((returned, follower.index(at(1002))), (Some(Return { through: FIRST + 1 }), None));
    // A process that has just started returns what an earlier one had.
    let (mut reader, cell) = (Reader::new(config(0), 2), LeaseCell::new());
    assert_eq!(reader.return_all(&cell), None, "it follows no leader");
    reader.follows(4, 1, &cell);
    assert_eq!(reader.return_all(&cell), Some(Return { through: 2 * FIRST }));
}

#[test]
fn another_term_or_leader_ends_a_sublease() {
    for change in [(5, Some(1)), (4, Some(3)), (4, None)] {
        let mut follower = Follower::asked(1000);
        follower.grant(at(1001), 1, 7);
        match change {
            (term, Some(leader)) => follower.reader.follows(term, leader, &follower.cell),
            _ => follower.reader.lost_leader(&follower.cell),
        }
        assert_eq!(follower.index(at(1002)), None);
        // The same leader again: the grant was for a request of before.
        follower.reader.follows(4, 1, &follower.cell);
        follower.reader.received(Some(9), &follower.cell);
        follower.grant(at(1003), 1, 7);
        assert_eq!(follower.index(at(1004)), None);
    }
}

#[test]
fn a_grant_of_another_node_or_term_is_ignored() {
    let mut follower = Follower::asked(1000);
    let grant = Grant { term: 4, number: FIRST + 1, length: Duration::from_secs(1), floor: 7 };
    follower.reader.handle_grant(at(1001), 3, grant, &follower.cell);
    follower.reader.handle_grant(at(1001), 1, Grant { term: 3, ..grant }, &follower.cell);
    follower.reader.handle_grant(at(1001), 1, Grant { number: FIRST + 17, ..grant }, &follower.cell);
    follower.reader.handle_grant(at(1001), 1, Grant { number: u64::MAX, ..grant }, &follower.cell);
    assert_eq!((follower.index(at(1002)), follower.reader.statistics().grants_ignored), (None, 4));
    // A length that no clock can show does not overflow.
    follower.reader.handle_grant(at(1001), 1, Grant { length: Duration::MAX, ..grant }, &follower.cell);
    assert_eq!(follower.index(at(1002)), Some(7));
}

#[test]
fn requests_are_apart_and_need_a_reading() {
    let mut follower = Follower::asked(1000);
    let Follower { reader, cell } = &mut follower;
    assert_eq!((reader.request(None, cell), reader.request(at(1030), cell)), (None, None));
    assert_eq!(reader.request(at(1040), cell).map(|asked| asked.number), Some(FIRST + 2));
    for starts in [1 << 24, u64::MAX] {
        let (mut reader, cell) = (Reader::new(config(0), starts), LeaseCell::new());
        reader.follows(4, 1, &cell);
        assert_eq!(reader.request(at(1000), &cell), None, "its numbers are used up");
    }
}
