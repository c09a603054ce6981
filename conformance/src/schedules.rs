//! The failures, each written once for all systems. `a` leads when a schedule begins; `b` and `c` follow.

mod clocks;
mod elections;
mod members;
mod messages;
mod restarts;
mod times;
mod transfers;

use crate::rule::Rule;
use crate::story::Schedule;
use leasehold_core::NodeId;

pub use elections::check_quorum_is_no_lease;

const NONE: &[NodeId] = &[];
const THREE: &[NodeId] = &[1, 2, 3];
const FOUR: &[NodeId] = &[1, 2, 3, 4];
const FIVE: &[NodeId] = &[1, 2, 3, 4, 5];
const LEARNERS: &[NodeId] = &[4, 5];

macro_rules! schedules {
    ($($voters:ident, $learners:ident => $module:ident::$name:ident: $rule:ident;)*) => {
        /// All schedules.
        pub const SCHEDULES: &[Schedule] = &[
            $(Schedule {
                name: stringify!($name),
                rule: Rule::$rule,
                voters: $voters,
                learners: $learners,
                tell: $module::$name,
            },)*
        ];
    };
}

schedules! {
    THREE, NONE => messages::read_at_once: ReadIndex;
    THREE, NONE => messages::idle_leader: Renewal;
    THREE, NONE => elections::election_in_time: ElectionTimeout;
    THREE, NONE => clocks::clock_fails_at_the_leader: MissingReading;
    THREE, NONE => elections::voter_is_asked: VoteGate;
    THREE, NONE => elections::restart_forgets_promise: RestartHold;
    THREE, NONE => restarts::restarted_leader: TermLedOnce;
    THREE, NONE => restarts::answers_to_an_old_process: TermLedOnce;
    THREE, NONE => messages::no_commit_in_term: Barrier;
    THREE, NONE => messages::lagging_follower: Barrier;
    THREE, NONE => messages::uncommitted_write: Committed;
    THREE, NONE => transfers::delayed_campaign_now: TransferGate;
    THREE, NONE => transfers::transfer_in_flight: TransferFirst;
    THREE, NONE => elections::tick_burst_voter: VoteGate;
    THREE, NONE => elections::tick_burst_candidate: TickGate;
    THREE, NONE => elections::operator_campaign: CommandGate;
    THREE, NONE => elections::check_quorum_is_no_lease: FreshReading;
    THREE, NONE => messages::delayed_response: Echo;
    THREE, NONE => messages::answers_to_older_rounds: Echo;
    THREE, NONE => clocks::read_after_the_round: MissingReading;
    THREE, NONE => clocks::paused_leader_with_buffered_ack: FreshReading;
    THREE, NONE => clocks::paused_voter: FreshReading;
    THREE, NONE => clocks::suspended_leader: BothCounters;
    THREE, NONE => clocks::asked_while_suspended: BothCounters;
    THREE, NONE => elections::higher_term_response: StepDownFirst;
    THREE, NONE => elections::vote_of_the_leader: StepDownFirst;
    THREE, NONE => elections::unseen_vote: SuspendFirst;
    THREE, NONE => transfers::transfer_target_held: Release;
    THREE, NONE => messages::old_term_response: Echo;
    THREE, NONE => messages::late_frame: AcceptFirst;
    THREE, NONE => elections::pre_vote_answer: PreVoteGate;
    THREE, NONE => members::leader_removes_itself: Voters;
    THREE, NONE => members::one_other_voter: Voters;
    THREE, LEARNERS => members::learner_acks: Voters;
    THREE, LEARNERS => members::new_voters: Voters;
    THREE, NONE => clocks::clock_fails: Actions;
    THREE, NONE => messages::slow_quorum_read: Actions;
    THREE, NONE => clocks::clock_steps_back: BackwardReading;
    THREE, NONE => clocks::grantor_clock_glitch: BackwardReading;
    THREE, NONE => clocks::one_counter_frozen: BothCounters;
    THREE, NONE => elections::lowered_hold_restart: RestartHold;
    THREE, NONE => elections::uncovered_hold: Timing;
    THREE, NONE => transfers::lost_vote_requests: Release;
    THREE, NONE => transfers::two_transfers: TransferGate;
    THREE, NONE => transfers::hidden_transfer: TransferFirst;
    FOUR, NONE => elections::leader_without_quorum: CheckQuorum;
    FIVE, NONE => messages::repeated_and_reordered: Repetition;
    THREE, LEARNERS => members::unfinished_change: Voters;
}
