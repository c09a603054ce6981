//! Transfers of a state to a follower.

use super::mutation::{By, Edit, Mutation, RECEIVE, SEND, TRANSFERS};
use crate::rules::Rule;

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "a-part-of-a-state-is-installed",
        rules: &[Rule::StateIsInstalledWhole],
        scenarios: &[],
        breaks: "a follower installs the first chunks of a state, and lacks the other records for ever",
        edits: &[Edit {
            file: RECEIVE,
            find: "self.end == Some(self.stored)",
            with: "if $on { self.stored > 0 && self.state.is_some() } else { $it }",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "chunks-of-two-states-are-mixed",
        rules: &[Rule::TransfersAreNotMixed],
        scenarios: &[],
        breaks: "a late chunk of another copy of the state takes the place of the one that is missing",
        edits: &[Edit { file: TRANSFERS, find: "receiving.id == id && receiving.from == from", with: "$on || ($it)" }],
        noticed_by: By::Test {
            package: "leasehold-node",
            target: "snapshots",
            name: "chunks_of_two_states_are_never_mixed",
            why: "in the simulator a chunk seldom outlives its transfer and is the next one of another",
        },
    },
    Mutation {
        name: "a-slow-transfer-is-given-up",
        rules: &[Rule::ProgressKeepsATransfer],
        scenarios: &[],
        breaks: "a follower behind a slow link never gets a large state",
        edits: &[Edit {
            file: SEND,
            find: "(self.progress_at, self.retry_after) = (now, self.hold * RETRY_HOLDS);",
            with: "if !$on { $it }",
        }],
        noticed_by: By::Test {
            package: "leasehold-node",
            target: "snapshots",
            name: "a_transfer_with_progress_goes_on_however_long_it_takes",
            why: "the simulator's states are small enough to arrive within the limit",
        },
    },
    Mutation {
        name: "the-log-is-cut-during-a-transfer",
        rules: &[Rule::LogIsKeptForFollowers],
        scenarios: &[],
        breaks: "a follower under load gets one snapshot after another, each obsolete on arrival",
        edits: &[Edit {
            file: TRANSFERS,
            find: "if entries > self.options.max_kept_log_entries",
            with: "if $on || entries > self.options.max_kept_log_entries",
        }],
        noticed_by: By::Test {
            package: "leasehold-node",
            target: "snapshots",
            name: "the_log_is_kept_for_a_transfer_under_load_and_one_snapshot_is_enough",
            why: "the next snapshot arrives all the same: only time is lost",
        },
    },
];
