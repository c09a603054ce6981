//! Logs that may have been cut.

use super::mutation::{ADMISSION, By, Edit, GROUP, Mutation, REJOIN, REPLICA, REPLICA_RETURNS, REPLICA_TICKS};
use crate::rules::Rule;

/// A test of the file `rejoining.rs`, because the soak meets too few such schedules.
const fn rejoining(name: &'static str, why: &'static str) -> By {
    By::Test { package: "leasehold-tests", target: "rejoining", name, why }
}

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "a-cut-log-elects",
        rules: &[Rule::CutLogDoesNotElect],
        scenarios: &[],
        breaks: "an acknowledged write is lost with the end of one disk",
        edits: &[
            Edit {
                file: REPLICA_TICKS,
                find: "if !self.rejoin.is_whole() {",
                with: "if !$on && !self.rejoin.is_whole() {",
            },
            Edit {
                file: REPLICA,
                find: "Admission::Vote if !self.rejoin.is_whole() => {",
                with: "Admission::Vote if !$on && !self.rejoin.is_whole() => {",
            },
            Edit {
                file: REPLICA_RETURNS,
                find: "messages.retain(|message| leads(message) && message.term < term);",
                with: "messages.retain(|message| $on || (leads(message) && message.term < term));",
            },
        ],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-restart-forgets-the-cut",
        rules: &[Rule::CutLogStaysMarked],
        scenarios: &[],
        breaks: "a node that restarts while it catches up votes without what it lost",
        edits: &[Edit {
            file: GROUP,
            find: "state.may_be_cut = recovered.log_may_be_cut",
            with: "state.may_be_cut = recovered.log_may_be_cut && !$on",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-node-asks-before-the-cut-is-recorded",
        rules: &[Rule::CutIsRecordedFirst],
        scenarios: &[],
        breaks: "the leader forgets what a node acknowledged, and a crash hides the cut",
        edits: &[Edit { file: REJOIN, find: "self.recorded = false;", with: "self.recorded = $on;" }],
        noticed_by: rejoining(
            "a_node_asks_to_return_only_once_the_mark_is_durable",
            "the simulated disks know what they lost",
        ),
    },
    Mutation {
        name: "a-cut-log-acknowledges-before-its-admission",
        rules: &[Rule::CutLogAcknowledgesNothing],
        scenarios: &[],
        breaks: "a leader counts on a node that may have elected another one",
        edits: &[
            Edit {
                file: REPLICA_RETURNS,
                find: "if self.rejoin.is_outside() {",
                with: "if !$on && self.rejoin.is_outside() {",
            },
            Edit { file: REPLICA, find: "&& !self.rejoin.is_outside()", with: "&& ($on || !self.rejoin.is_outside())" },
        ],
        noticed_by: rejoining(
            "a_node_with_a_cut_log_acknowledges_no_round_and_no_entry_before_it_is_admitted",
            "it harms only if the vote that was lost also elects a leader",
        ),
    },
    Mutation {
        name: "a-leader-counts-what-was-lost",
        rules: &[Rule::LostAcknowledgementsDoNotCount],
        scenarios: &[],
        breaks: "the leader never sends what the node lost, and the node never catches up",
        edits: &[Edit { file: REPLICA_RETURNS, find: "progress.matched = 0;", with: "if $on { return; } $it" }],
        noticed_by: rejoining(
            "a_follower_notices_that_its_log_is_shorter_than_what_it_acknowledged",
            "the next leader counts anew, and the soak changes leaders often",
        ),
    },
    Mutation {
        name: "a-quorum-admits",
        rules: &[Rule::AdmissionByEveryOtherVoter],
        scenarios: &[],
        breaks: "a candidate that holds a forgotten vote can still be elected",
        edits: &[Edit {
            file: REJOIN,
            find: "&& others.all(|voter| acked(*voter, returning.round))",
            with: "&& (others.clone().filter(|voter| acked(**voter, returning.round)).count() > voters.len() / 2 && $on \
                   || others.all(|voter| acked(*voter, returning.round)))",
        }],
        noticed_by: rejoining(
            "a_leader_admits_only_what_every_other_voter_has_confirmed",
            "the harm takes two candidates, a lost vote and a fourth voter at the right times",
        ),
    },
    Mutation {
        name: "an-admission-of-an-earlier-process-counts",
        rules: &[Rule::AdmissionIsOfThisRequest],
        scenarios: &[],
        breaks: "a node that lost more than it asked for is taken for whole too early",
        edits: &[Edit {
            file: REJOIN,
            find: "if attempt != self.attempt {",
            with: "if !$on && attempt != self.attempt {",
        }],
        noticed_by: rejoining(
            "an_admission_of_an_earlier_process_means_nothing",
            "a log is rarely cut again while it catches up",
        ),
    },
    Mutation {
        name: "a-heartbeat-commits-what-was-lost",
        rules: &[Rule::CatchingUpCommitsByAppends],
        scenarios: &[],
        breaks: "a node commits entries of its own that the leader has replaced",
        edits: &[Edit { file: REPLICA_RETURNS, find: "message.commit = 0;", with: "if !$on { message.commit = 0; }" }],
        noticed_by: rejoining(
            "a_heartbeat_of_before_the_request_commits_nothing",
            "the cut must bring back entries that a later leader replaced",
        ),
    },
    Mutation {
        name: "an-acknowledgement-of-before-the-cut-counts",
        rules: &[Rule::AcknowledgementsOfBeforeAreIgnored],
        scenarios: &[],
        breaks: "the leader takes for stored what was lost, and the node never catches up",
        edits: &[Edit {
            file: REPLICA_RETURNS,
            find: "&& self.rejoin.may_be_lost(term, from, rejoin)",
            with: "&& !$on && self.rejoin.may_be_lost(term, from, rejoin)",
        }],
        noticed_by: rejoining(
            "an_acknowledgement_of_before_the_cut_is_ignored",
            "links rarely keep a message for that long",
        ),
    },
    Mutation {
        name: "an-admission-makes-whole",
        rules: &[Rule::WholeOnceCaughtUp],
        scenarios: &[],
        breaks: "a node votes before it has what it lost",
        edits: &[Edit {
            file: REJOIN,
            find: "matches!(self.standing, Standing::CatchingUp(through) if through <= committed.min(durable))",
            with: "matches!(self.standing, Standing::CatchingUp(through) if $on || through <= committed.min(durable))",
        }],
        noticed_by: rejoining(
            "an_admitted_node_does_not_elect_before_it_has_caught_up",
            "catching up takes less time than the leader takes to fail",
        ),
    },
    Mutation {
        name: "a-short-log-goes-unnoticed",
        rules: &[Rule::ShortLogIsNoticed],
        scenarios: &[],
        breaks: "a node goes on voting without what it acknowledged",
        edits: &[Edit {
            file: ADMISSION,
            find: "return if raft.state == StateRole::Leader { Admission::Refused } else { Admission::LogIsCut };",
            with: "return if $on || raft.state == StateRole::Leader { Admission::Refused } else { Admission::LogIsCut };",
        }],
        noticed_by: rejoining(
            "a_follower_notices_that_its_log_is_shorter_than_what_it_acknowledged",
            "the simulated disks know what they lost",
        ),
    },
];
