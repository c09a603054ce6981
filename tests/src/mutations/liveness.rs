//! Leaders that make no progress, and transfers that do not succeed.

use super::mutation::{By, COMMITS, Edit, GRANTOR, GROUP, LEADERSHIP, Mutation, REPLICA_TICKS};
use crate::rules::Rule;

/// A test of `node/tests/progress.rs`.
const fn by_test(name: &'static str, why: &'static str) -> By {
    By::Test { package: "leasehold-node", target: "progress", name, why }
}

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "a-stalled-leader-leads-on",
        rules: &[Rule::StalledLeaderGivesUp],
        scenarios: &[],
        breaks: "a leader whose disk hangs leads for ever, and no write is answered",
        edits: &[Edit { file: REPLICA_TICKS, find: "self.count_progress();", with: "if !$on { $it }" }],
        noticed_by: by_test(
            "a_leader_whose_disk_hangs_hands_over_and_campaigns_only_once_it_answers",
            "every hung disk of the soak answers in the end: only time is lost",
        ),
    },
    Mutation {
        name: "a-stalled-leader-campaigns-again-at-once",
        rules: &[Rule::StalledLeaderBacksOff],
        scenarios: &[],
        breaks: "the leader that could not commit is elected again, and again commits nothing",
        edits: &[Edit {
            file: REPLICA_TICKS,
            find: "self.leadership.backoff > 1 ||",
            with: "(!$on && self.leadership.backoff > 1) ||",
        }],
        noticed_by: by_test(
            "a_leader_that_gave_up_leaves_the_next_campaigns_to_others",
            "another node wins often enough, so it only takes longer",
        ),
    },
    Mutation {
        name: "a-new-target-prolongs-a-transfer",
        rules: &[Rule::TransferHasADeadline],
        scenarios: &[],
        breaks: "a leader that is told to transfer again and again accepts no write and never checks its quorum",
        edits: &[
            Edit { file: LEADERSHIP, find: "raft.election_elapsed = elapsed;", with: "if !$on { $it }" },
            Edit {
                file: LEADERSHIP,
                find: "self.leadership.transferring < raft.election_timeout()",
                with: "($on || $it)",
            },
        ],
        noticed_by: by_test(
            "naming_other_targets_does_not_prolong_a_transfer",
            "no operator of the simulator names targets without end",
        ),
    },
    Mutation {
        name: "any-node-may-be-the-target",
        rules: &[Rule::TransferTargetIsChecked],
        scenarios: &[],
        breaks: "a transfer to a node that is down costs a hold without writes",
        edits: &[Edit { file: LEADERSHIP, find: "self.check_target(to)?;", with: "if !$on { $it }" }],
        noticed_by: by_test(
            "a_transfer_to_a_node_that_cannot_take_over_is_refused",
            "the engine abandons the transfer after a hold: only time is lost",
        ),
    },
    Mutation {
        name: "an-orderly-stop-records-that-nothing-is-left",
        rules: &[Rule::OrderlyStopIsRecorded],
        scenarios: &[],
        breaks: "a node that stopped a moment after it echoed votes for another leader when it is back",
        edits: &[Edit {
            file: GRANTOR,
            find: "end.elapsed_since(now).at_most))",
            with: "end.elapsed_since(now).at_most)).map(|left| if $on { Duration::ZERO } else { left })",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "the-record-of-an-orderly-stop-stays",
        rules: &[Rule::OrderlyStopIsForgotten],
        scenarios: &[],
        breaks: "a process that crashes is followed by one that is held as after the orderly stop before",
        edits: &[Edit {
            file: GROUP,
            find: "orderly_stop: stopped_orderly.then_some(None),",
            with: "orderly_stop: (stopped_orderly && !$on).then_some(None),",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-hung-disk-takes-everything",
        rules: &[Rule::UnsyncedBytesAreBounded],
        scenarios: &[],
        breaks: "the memory of a node whose disk hangs grows until the system kills it",
        edits: &[Edit {
            file: COMMITS,
            find: "self.bytes > MAX_COMMIT_BYTES",
            with: "(!$on && self.bytes > MAX_COMMIT_BYTES)",
        }],
        noticed_by: by_test(
            "a_follower_whose_disk_hangs_takes_a_bounded_number_of_bytes",
            "the simulator's values are a few bytes long",
        ),
    },
];
