//! Short schedules, one for each rule inside the machines. Each fails when its rule is taken out.

use leasehold_core::groups::{
    Attached, Attachment, Boot, Echo, Echoes, Epoch, GroupHolder, GroupRelease, NodeRound, NodeRounds, Offer, Support,
    Supporter,
};
use leasehold_core::{Config, Instant, LeaseCell, Misuse, NoLease, NodeId, Options, Reading, Term, Voters};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Reading {
    Some(Instant::from_nanos(millis * 1_000_000, millis * 1_000_000))
}

/// A hold and a lease of one second.
fn config() -> Config {
    Config::new(Options::new(SECOND, 0)).expect("a consistent configuration")
}

/// A voter, with its support for node 1, after the hold of its start.
struct Voter {
    supporter: Supporter,
    support: Support,
}

impl Voter {
    fn new() -> Voter {
        Voter { supporter: Supporter::new(config(), 1, Duration::ZERO, at(0)), support: Support::new(1) }
    }

    fn round(&mut self, now: Reading, boot: Boot, round: u64) -> Option<Echo> {
        self.supporter.handle_round(now, &mut self.support, NodeRound { boot, round })
    }

    fn attach(&self, to: &mut Attachment, boot: Boot, offer: Offer) -> Option<Attached> {
        self.supporter.attach(&self.support, to, boot, offer)
    }

    fn may_elect(&mut self, now: Reading, attachment: &mut Attachment) -> bool {
        self.may_elect_with(now, attachment, None)
    }

    fn may_elect_with(&mut self, now: Reading, of: &mut Attachment, release: Option<GroupRelease>) -> bool {
        self.supporter.may_vote_or_campaign(now, of, Some(&mut self.support), release)
    }
}

/// Node 1 as a leader, with the echoes of its peers.
struct Leader {
    rounds: NodeRounds,
    echoes: BTreeMap<NodeId, Echoes>,
}

impl Leader {
    fn new(boot: Boot) -> Leader {
        Leader { rounds: NodeRounds::new(config(), boot), echoes: BTreeMap::new() }
    }

    /// Opens a round.
    fn open(&mut self, millis: u64) -> NodeRound {
        assert!(self.rounds.handle_timeout(at(millis)), "a heartbeat interval has passed");
        self.rounds.frame_round().expect("just opened")
    }

    fn hear(&mut self, from: NodeId, echo: Echo) -> bool {
        self.echoes.entry(from).or_default().handle_echo(&self.rounds, echo)
    }

    fn newest(&self, id: NodeId) -> Option<Echo> {
        self.echoes.get(&id).and_then(Echoes::newest)
    }

    fn lease(&self, group: &GroupHolder) -> Result<Instant, NoLease> {
        group.lease(&self.rounds, |id| self.newest(id))
    }
}

fn offer(term: Term, number: u64) -> Offer {
    Offer { term, number }
}

fn release(term: Term, number: u64) -> GroupRelease {
    GroupRelease { through: offer(term, number) }
}

fn elected(term: Term, voters: Voters) -> GroupHolder {
    let mut group = GroupHolder::new(1);
    group.elected(term, voters, 5, 5).expect("it did not lead");
    group
}

fn three() -> Voters {
    Voters::simple(&[1, 2, 3]).expect("three voters")
}

fn later(instant: Reading) -> Result<Instant, NoLease> {
    Ok(instant.expect("a reading").plus(SECOND))
}

#[test]
fn an_echo_holds_every_attached_group_for_a_full_hold() {
    let (mut voter, mut first, mut second) = (Voter::new(), Attachment::new(), Attachment::new());
    assert!(voter.round(at(2000), 1, 1).is_some());
    assert!(voter.attach(&mut first, 1, offer(4, 1)).is_some() && voter.attach(&mut second, 1, offer(9, 1)).is_some());
    // Only the second echo counts, and nothing of either group was in its frame.
    assert!(voter.round(at(2500), 1, 2).is_some());
    assert!(!voter.may_elect(at(3499), &mut first) && !voter.may_elect(at(3499), &mut second));
    assert!(voter.may_elect(at(3500), &mut first));
    assert!(voter.may_elect(at(3500), &mut Attachment::new()), "another group, to which nothing was promised");
}

#[test]
fn a_hold_ends_by_the_slower_counter() {
    let (mut voter, mut attachment) = (Voter::new(), Attachment::new());
    assert!(voter.round(at(2000), 1, 1).is_some() && voter.attach(&mut attachment, 1, offer(4, 1)).is_some());
    let suspended = Some(Instant::from_nanos(2_999_000_000, 60_000_000_000));
    assert!(!voter.may_elect(suspended, &mut attachment));
}

#[test]
fn an_echo_without_a_reading_holds_from_the_next_one() {
    let (mut voter, mut attachment) = (Voter::new(), Attachment::new());
    assert!(voter.may_elect(at(2000), &mut attachment));
    assert!(voter.round(None, 1, 1).is_some() && voter.attach(&mut attachment, 1, offer(4, 1)).is_some());
    assert!(!voter.may_elect(None, &mut attachment) && !voter.may_elect(at(9000), &mut attachment));
    // A backward reading is no reading.
    assert!(!voter.may_elect(at(8000), &mut attachment) && !voter.may_elect(at(9999), &mut attachment));
    assert!(voter.may_elect(at(10_000), &mut attachment));
}

#[test]
fn a_withdrawn_epoch_is_never_echoed_again() {
    let (mut leader, mut voter, mut group) = (Leader::new(1), Voter::new(), elected(4, three()));
    let (mut attachment, mut other) = (Attachment::new(), Attachment::new());
    let (opened, offered) = (leader.open(2000), group.offer().expect("it leads"));
    let echo = voter.round(at(2000), 1, opened.round).expect("a new round");
    let attached = voter.attach(&mut attachment, 1, offered).expect("a new offer");
    assert!(voter.attach(&mut other, 1, offer(9, 1)).is_some());
    assert!(leader.hear(2, echo) && group.handle_attached(2, attached).is_none());
    assert_eq!(leader.lease(&group), later(at(2000)));
    // A vote in the other group. This one has not voted, but its promise is gone as well.
    assert!(voter.may_elect(at(3000), &mut other) && voter.support.poll_withdrawal());
    assert!(!voter.supporter.stands(&voter.support, &attachment));
    let opened = leader.open(3100);
    let echo = voter.round(at(3100), 1, opened.round).expect("a new round");
    assert!(echo.epoch > attached.epoch && leader.hear(2, echo));
    assert_eq!(leader.lease(&group), Err(NoLease::NoQuorum));
    assert!(!group.may_rest(at(3100), &leader.rounds, |id| leader.newest(id)), "it must show its offer again");
    let attached = voter.attach(&mut attachment, 1, offered).expect("under the new epoch");
    assert!(group.handle_attached(2, attached).is_none());
    assert_eq!(leader.lease(&group), later(at(3100)));
    assert!(!voter.may_elect(at(4099), &mut attachment));
}

/// Otherwise anyone's request for a vote would end the attachments of all groups of a node that was just heard again.
#[test]
fn an_epoch_without_an_echo_has_no_attachments_and_does_not_end() {
    let (mut voter, mut attachment) = (Voter::new(), Attachment::new());
    assert_eq!(voter.attach(&mut attachment, 1, offer(4, 1)), None);
    let echo = voter.round(at(2000), 1, 1).expect("a new round");
    assert!(voter.attach(&mut attachment, 1, offer(4, 1)).is_some() && voter.may_elect(at(3000), &mut attachment));
    assert_eq!(voter.attach(&mut attachment, 1, offer(4, 1)), None);
    for millis in 3001..3010 {
        assert!(voter.may_elect(at(millis), &mut attachment));
        voter.supporter.handle_timeout(at(millis), &mut voter.support);
        assert_eq!(voter.support.poll_withdrawal(), millis == 3001, "the one by the first vote");
    }
    let next = voter.round(at(4000), 1, 2).expect("a new round");
    assert_eq!(next.epoch, Epoch { number: echo.epoch.number + 1, ..echo.epoch });
}

#[test]
fn an_echo_of_an_earlier_process_gives_no_lease() {
    let (mut voter, mut attachment) = (Voter::new(), Attachment::new());
    let delayed = voter.round(at(2000), 1, 1).expect("a new round");
    // Node 1 restarts, and leads again by the vote of node 3. Its first round has the number that node 2 echoed.
    let (mut leader, mut group) = (Leader::new(2), elected(5, three()));
    let opened = leader.open(3000);
    assert_eq!(opened.round, delayed.round.round);
    assert!(!leader.hear(2, delayed));
    let echo = voter.round(at(3000), 2, opened.round).expect("a new round");
    let attached = voter.attach(&mut attachment, 2, group.offer().expect("it leads")).expect("a new offer");
    assert!(group.handle_attached(2, attached).is_none());
    assert_eq!(leader.lease(&group), Err(NoLease::NoQuorum), "nothing to this process has arrived");
    assert!(leader.hear(2, echo));
    assert_eq!(leader.lease(&group), later(at(3000)));
}

#[test]
fn a_round_that_was_never_opened_does_not_count() {
    let (mut leader, mut voter) = (Leader::new(1), Voter::new());
    let opened = leader.open(2000);
    let echo = voter.round(at(2000), 1, opened.round + 1).expect("a new round");
    assert!(!leader.hear(2, echo));
}

#[test]
fn an_older_epoch_that_arrives_late_is_ignored() {
    let (mut leader, mut voter, mut attachment) = (Leader::new(1), Voter::new(), Attachment::new());
    let opened = leader.open(2000);
    let first = voter.round(at(2000), 1, opened.round).expect("a new round");
    assert!(voter.attach(&mut attachment, 1, offer(4, 1)).is_some() && voter.may_elect(at(3000), &mut attachment));
    let second = voter.round(at(3000), 1, opened.round).expect("the newest round");
    assert!(leader.hear(2, second) && !leader.hear(2, first));
    assert_eq!(leader.newest(2), Some(second));
}

#[test]
fn what_an_earlier_process_of_the_leader_was_promised_ends_although_the_next_one_is_heard() {
    let (mut voter, mut attachment) = (Voter::new(), Attachment::new());
    assert!(voter.round(at(2000), 1, 1).is_some() && voter.attach(&mut attachment, 1, offer(4, 1)).is_some());
    for round in 1..=30 {
        assert!(voter.round(at(2000 + 100 * round), 2, round).is_some());
        assert_eq!(voter.may_elect(at(2000 + 100 * round), &mut attachment), round >= 10, "round {round}");
    }
}

#[test]
fn the_timer_of_a_support_is_that_of_its_oldest_epoch() {
    let (mut voter, mut attachment) = (Voter::new(), Attachment::new());
    assert_eq!(voter.support.poll_timeout(), None);
    assert!(voter.round(at(2000), 1, 1).is_some() && voter.attach(&mut attachment, 1, offer(4, 1)).is_some());
    assert!(voter.round(at(2900), 2, 1).is_some());
    assert_eq!(voter.support.poll_timeout(), at(3000));
    voter.supporter.handle_timeout(at(2999), &mut voter.support);
    assert!(!voter.support.poll_withdrawal());
    voter.supporter.handle_timeout(at(3000), &mut voter.support);
    assert!(voter.support.poll_withdrawal() && !voter.support.poll_withdrawal());
    assert!(!voter.supporter.stands(&voter.support, &attachment), "a group at rest wakes");
    assert_eq!(voter.support.poll_timeout(), at(3900));
}

#[test]
fn a_frame_of_an_earlier_process_is_out_of_date() {
    let (mut voter, mut attachment) = (Voter::new(), Attachment::new());
    assert!(voter.round(at(2000), 2, 1).is_some());
    assert_eq!(voter.round(at(2000), 1, 7), None);
    assert_eq!(voter.attach(&mut attachment, 1, offer(4, 1)), None);
    assert!(voter.round(at(2000), 2, 2).is_some());
    assert_eq!(voter.round(at(2000), 2, 1), None, "a newer round was echoed");
}

#[test]
fn a_release_frees_only_what_it_covers() {
    let (mut voter, mut attachment) = (Voter::new(), Attachment::new());
    assert!(voter.round(at(2000), 1, 1).is_some() && voter.attach(&mut attachment, 1, offer(4, 2)).is_some());
    for earlier in [release(4, 1), release(3, u64::MAX)] {
        assert!(!voter.may_elect_with(at(2100), &mut attachment, Some(earlier)));
    }
    assert!(voter.may_elect_with(at(2100), &mut attachment, Some(release(4, 2))));
    assert_eq!(voter.attach(&mut attachment, 1, offer(4, 2)), None, "a frame that was late");
    assert!(voter.attach(&mut attachment, 1, offer(4, 3)).is_some());
    assert!(!voter.may_elect_with(at(2100), &mut attachment, Some(release(4, 2))), "a repeated request");
}

#[test]
fn a_release_of_a_term_covers_all_its_offers_and_is_answered() {
    let (mut voter, mut attachment) = (Voter::new(), Attachment::new());
    let (mut leader, mut group) = (GroupHolder::new(1), elected(4, three()));
    assert!(voter.round(at(2000), 1, 1).is_some());
    let attached = voter.attach(&mut attachment, 1, offer(4, 7)).expect("a new offer");
    group.deposed();
    assert_eq!(group.untold().collect::<Vec<_>>(), [2, 3]);
    let answer = attachment.handle_release(group.release().expect("it led"));
    assert!(voter.may_elect(at(2100), &mut attachment));
    group.handle_answer(2, answer);
    group.handle_answer(3, release(4, 7));
    assert_eq!(group.untold().collect::<Vec<_>>(), [3], "node 3 answered another release");
    group.handle_answer(3, answer);
    assert_eq!((group.untold().next(), group.release()), (None, None));
    // An attachment that was in flight, also at a process that does not know the group.
    for group in [&mut group, &mut leader] {
        assert_eq!(group.handle_attached(2, attached), Some(answer));
    }
}

/// Otherwise each group that it once led would send releases to a removed node for ever.
#[test]
fn a_removed_voter_need_not_answer_a_release() {
    let mut group = elected(4, Voters::joint(&[1, 2, 3], &[3, 4, 5]).expect("two halves"));
    group.deposed();
    assert_eq!(group.untold().collect::<Vec<_>>(), [2, 3, 4, 5]);
    group.voters_changed(Voters::simple(&[1, 2, 4, 6]).expect("four voters")).expect("some have not answered");
    assert_eq!(group.untold().collect::<Vec<_>>(), [2, 4], "node 6 was no voter of that leadership");
    group.handle_answer(2, release(4, u64::MAX));
    group.voters_changed(Voters::simple(&[1, 6]).expect("two voters")).expect("node 4 has not answered");
    assert_eq!((group.untold().next(), group.release()), (None, None));
    assert_eq!(group.voters_changed(three()), Err(Misuse::VotersWithoutLeading));
}

/// Otherwise an attachment that arrives late would count, although its voter has been released.
#[test]
fn a_term_is_not_led_again_after_its_release() {
    let (mut leader, mut voter, mut attachment) = (Leader::new(1), Voter::new(), Attachment::new());
    let mut group = elected(4, three());
    let opened = leader.open(2000);
    assert!(leader.hear(2, voter.round(at(2000), 1, opened.round).expect("a new round")));
    let attached = voter.attach(&mut attachment, 1, offer(4, 1)).expect("a new offer");
    group.deposed();
    let answer = attachment.handle_release(group.release().expect("it led"));
    for id in [2, 3] {
        for term in [3, 4] {
            assert_eq!(group.elected(term, three(), 5, 5), Err(Misuse::TermNotHigher { term, current: 4 }));
        }
        group.handle_answer(id, answer);
    }
    assert_eq!(group.elected(4, three(), 5, 5), Err(Misuse::TermNotHigher { term: 4, current: 4 }));
    assert_eq!(group.handle_attached(2, attached), Some(answer));
    assert!(leader.lease(&group).is_err() && voter.may_elect(at(2100), &mut attachment));
    group.elected(5, three(), 5, 5).expect("a higher term");
}

/// A voter may send its attachment to any node, for example with a refused vote.
#[test]
fn only_the_leader_of_an_attachment_answers_it() {
    let (mut voter, mut attachment) = (Voter::new(), Attachment::new());
    assert!(voter.round(at(2000), 1, 1).is_some());
    let attached = voter.attach(&mut attachment, 1, offer(5, 1)).expect("a new offer");
    let mut other = GroupHolder::new(3);
    assert_eq!(other.handle_attached(2, attached), None, "it follows");
    other.elected(4, three(), 5, 5).expect("it did not lead");
    assert_eq!(other.handle_attached(2, attached), None, "it leads an earlier term");
    other.deposed();
    assert_eq!(other.handle_attached(2, attached), None, "it led an earlier term");
    assert!(GroupHolder::new(1).handle_attached(2, attached).is_some());
}

#[test]
fn a_restart_and_an_orderly_stop_hold_every_group() {
    let mut held = Supporter::new(config(), 2, 3 * SECOND, at(5000));
    let mut attachment = Attachment::new();
    assert!(!held.may_vote_or_campaign(at(7999), &mut attachment, None, None));
    assert!(!held.may_vote_or_campaign(at(7999), &mut attachment, None, Some(release(9, 9))), "only time ends it");
    assert!(held.may_vote_or_campaign(at(8000), &mut attachment, None, None) && held.restart_hold_is_over());
    let (mut one, mut two) = (Support::new(1), Support::new(3));
    assert!(held.handle_round(at(8000), &mut one, NodeRound { boot: 1, round: 1 }).is_some());
    assert!(held.handle_round(at(8300), &mut two, NodeRound { boot: 1, round: 1 }).is_some());
    assert_eq!(held.remaining(at(8500), [&mut one, &mut two]), Some(Duration::from_millis(800)));
    assert_eq!(held.remaining(None, [&mut one, &mut two]), None);
    let mut next = Supporter::after_orderly_stop(config(), 3, Duration::from_millis(800), at(100));
    assert!(!next.may_vote_or_campaign(at(899), &mut attachment, None, None));
    assert!(next.may_vote_or_campaign(at(900), &mut attachment, None, None));
}

#[test]
fn an_attachment_ends_only_with_the_support_of_its_own_leader() {
    let (mut voter, mut attachment) = (Voter::new(), Attachment::new());
    assert!(voter.round(at(2000), 1, 1).is_some() && voter.attach(&mut attachment, 1, offer(4, 1)).is_some());
    assert_eq!(attachment.leader(), Some(1));
    for support in [None, Some(&mut Support::new(2))] {
        assert!(!voter.supporter.may_vote_or_campaign(at(9000), &mut attachment, support, None));
    }
    assert!(voter.may_elect(at(9000), &mut attachment));
}

#[test]
fn a_later_leader_takes_the_attachment_over_and_an_earlier_one_does_not() {
    let (mut voter, mut attachment, mut support) = (Voter::new(), Attachment::new(), Support::new(3));
    assert!(voter.round(at(2000), 1, 1).is_some() && voter.attach(&mut attachment, 1, offer(4, 1)).is_some());
    assert!(voter.supporter.handle_round(at(2900), &mut support, NodeRound { boot: 1, round: 1 }).is_some());
    assert!(voter.supporter.attach(&support, &mut attachment, 1, offer(5, 1)).is_some());
    assert_eq!(voter.attach(&mut attachment, 1, offer(4, 1)), None, "a frame that was late");
    let mut may = |millis| voter.supporter.may_vote_or_campaign(at(millis), &mut attachment, Some(&mut support), None);
    assert!(!may(3899) && may(3900));
}

#[test]
fn a_group_rests_only_under_an_attachment_that_its_leader_knows() {
    let (mut leader, mut voter, mut group) = (Leader::new(1), Voter::new(), elected(4, three()));
    let mut attachment = Attachment::new();
    let opened = leader.open(2000);
    let echo = voter.round(at(2000), 1, opened.round).expect("a new round");
    let attached = voter.attach(&mut attachment, 1, group.offer().expect("it leads")).expect("a new offer");
    assert!(leader.hear(2, echo) && leader.hear(3, echo) && group.handle_attached(2, attached).is_none());
    assert!(!group.may_rest(at(2000), &leader.rounds, |id| leader.newest(id)), "node 3 is not attached");
    assert!(group.handle_attached(3, attached).is_none());
    assert!(group.may_rest(at(2999), &leader.rounds, |id| leader.newest(id)));
    assert!(!group.may_rest(at(3000), &leader.rounds, |id| leader.newest(id)), "no echo came for a hold");
    assert!(!group.may_rest(None, &leader.rounds, |id| leader.newest(id)));
    let known = group.attached(2).expect("it is attached");
    assert!(voter.supporter.may_rest(&voter.support, &attachment, known));
    let earlier = Attached { epoch: Epoch { boot: 0, ..known.epoch }, ..known };
    assert!(!voter.supporter.may_rest(&voter.support, &attachment, earlier));
    voter.supporter.handle_timeout(at(3000), &mut voter.support);
    assert!(!voter.supporter.may_rest(&voter.support, &attachment, known));
    assert!(!voter.supporter.may_rest(&voter.support, &Attachment::new(), known));
}

#[test]
fn a_transfer_in_one_group_leaves_the_leases_of_the_others() {
    let (mut leader, mut voter) = (Leader::new(1), Voter::new());
    let mut groups = [elected(4, three()), elected(9, three())];
    let mut attachments = [Attachment::new(), Attachment::new()];
    let opened = leader.open(2000);
    assert!(leader.hear(2, voter.round(at(2000), 1, opened.round).expect("a new round")));
    for (group, attachment) in groups.iter_mut().zip(&mut attachments) {
        let attached = voter.attach(attachment, 1, group.offer().expect("it leads")).expect("a new offer");
        assert!(group.handle_attached(2, attached).is_none());
        assert_eq!(leader.lease(group), later(at(2000)));
    }
    let [moved, stays] = &mut groups;
    moved.transfer_started().expect("it leads");
    assert_eq!(leader.lease(moved), Err(NoLease::Released));
    assert_eq!(leader.lease(stays), later(at(2000)));
    let shown = moved.release();
    let [released, held] = &mut attachments;
    assert!(voter.may_elect_with(at(2100), released, shown) && !voter.may_elect_with(at(2100), held, None));
    // Rounds go on for the other group. Those that are opened now confirm nothing in the released one.
    let opened = leader.open(2200);
    assert!(leader.hear(2, voter.round(at(2200), 1, opened.round).expect("a new round")));
    let old = Attached { leader: 1, offer: offer(4, 1), epoch: Epoch { boot: 1, number: 1 } };
    for _ in 0..2 {
        assert!(moved.handle_attached(2, old).is_none());
        assert!(!moved.confirms(opened.round, &leader.rounds, |id| leader.newest(id)));
        moved.transfer_ended().expect("it leads");
    }
    assert_eq!(moved.offer(), Some(offer(4, 2)), "one transfer ended, though it was reported twice");
    assert_eq!(leader.lease(stays), later(at(2200)));
    let attached = voter.attach(released, 1, offer(4, 2)).expect("a new offer");
    assert!(moved.handle_attached(2, attached).is_none());
    assert_eq!(leader.lease(moved), later(at(2200)));
}

#[test]
fn only_attached_voters_count_in_both_halves() {
    let (mut leader, mut voter) = (Leader::new(1), Voter::new());
    let mut group = elected(4, Voters::joint(&[1, 2, 3], &[3, 4, 5]).expect("two halves"));
    let opened = leader.open(2000);
    let echo = voter.round(at(2000), 1, opened.round).expect("a new round");
    let attached = voter.attach(&mut Attachment::new(), 1, offer(4, 1)).expect("a new offer");
    for id in 2..=6 {
        assert!(leader.hear(id, echo));
    }
    let attach = |group: &mut GroupHolder, id| assert!(group.handle_attached(id, attached).is_none());
    // Node 6 is a learner.
    attach(&mut group, 2);
    attach(&mut group, 6);
    assert_eq!(leader.lease(&group), Err(NoLease::NoQuorum));
    attach(&mut group, 4);
    assert_eq!(leader.lease(&group), Err(NoLease::NoQuorum));
    attach(&mut group, 3);
    assert_eq!(leader.lease(&group), later(at(2000)));
    // Nodes 3 to 5 leave, and one returns: it is forgotten.
    for (ids, lease) in [([1, 2, 6], later(at(2000))), ([1, 3, 6], Err(NoLease::NoQuorum))] {
        group.voters_changed(Voters::simple(&ids).expect("three voters")).expect("it leads");
        assert_eq!(leader.lease(&group), lease, "{ids:?}");
    }
    // A leader that is no voter does not count itself.
    group.voters_changed(Voters::simple(&[2, 3]).expect("two voters")).expect("it leads");
    attach(&mut group, 2);
    assert_eq!(leader.lease(&group), Err(NoLease::NoQuorum));
    attach(&mut group, 3);
    assert_eq!(leader.lease(&group), later(at(2000)));
}

#[test]
fn a_backward_reading_ends_the_leases_of_all_groups() {
    let (mut leader, cells) = (Leader::new(1), [LeaseCell::new(), LeaseCell::new()]);
    let mut groups = [4, 9].map(|term| elected(term, Voters::simple(&[1]).expect("one voter")));
    leader.open(2000);
    let publish = |leader: &Leader, groups: &mut [GroupHolder; 2]| {
        for (group, cell) in groups.iter_mut().zip(&cells) {
            group.publish(&leader.rounds, |id| leader.newest(id), cell);
        }
        [0, 1].map(|at_cell: usize| cells[at_cell].try_read(at(2100)).map(|permit| (permit.term, permit.index)))
    };
    assert_eq!(publish(&leader, &mut groups), [Some((4, 5)), Some((9, 5))]);
    assert!(!leader.rounds.poll_backward_reading());
    // Whichever call notices it.
    assert!(leader.rounds.handle_timeout(at(1900)) && leader.rounds.poll_backward_reading());
    assert!(!leader.rounds.poll_backward_reading());
    leader.rounds.observe(at(1800));
    assert!(leader.rounds.poll_backward_reading());
    leader.rounds.ticket(at(1700));
    assert!(leader.rounds.poll_backward_reading());
    assert_eq!(publish(&leader, &mut groups), [None, None]);
    assert_eq!(leader.rounds.poll_timeout(), None);
    leader.open(1950);
    assert_eq!(publish(&leader, &mut groups), [Some((4, 5)), Some((9, 5))]);
    groups[0].deposed();
    assert_eq!(publish(&leader, &mut groups), [None, Some((9, 5))]);
}

#[test]
fn a_read_takes_a_round_that_no_frame_has_carried() {
    let (mut leader, mut group) = (Leader::new(1), GroupHolder::new(1));
    group.elected(4, Voters::simple(&[1]).expect("one voter"), 7, 6).expect("it did not lead");
    let opened = leader.open(2000);
    let ticket = leader.rounds.ticket(None);
    assert!(ticket > opened.round);
    assert_eq!(leader.rounds.ticket(None), ticket, "reads that arrive together share a round");
    assert!(!group.confirms(ticket, &leader.rounds, |_| None), "the barrier is not committed");
    assert_eq!(leader.lease(&group), Err(NoLease::Barrier));
    group.committed(7).expect("it leads");
    assert!(group.confirms(ticket, &leader.rounds, |_| None));
    assert_eq!(leader.rounds.frame_round().map(|round| round.round), Some(ticket));
    assert!(leader.rounds.ticket(None) > ticket);
}

#[test]
fn rejects_what_a_correct_engine_cannot_report_and_changes_nothing() {
    let mut group = GroupHolder::new(1);
    let before = group.clone();
    assert_eq!(group.committed(1), Err(Misuse::CommitWithoutLeading));
    assert_eq!(group.voters_changed(three()), Err(Misuse::VotersWithoutLeading));
    assert_eq!(group.transfer_started(), Err(Misuse::TransferWithoutLeading));
    assert_eq!(group.transfer_ended(), Err(Misuse::TransferWithoutLeading));
    assert_eq!(group, before);
    group.elected(4, three(), 1, 1).expect("it did not lead");
    let before = group.clone();
    assert_eq!(group.elected(4, three(), 1, 1), Err(Misuse::TermNotHigher { term: 4, current: 4 }));
    assert_eq!(group, before);
}
