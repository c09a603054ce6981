//! The identity of data folders.

use super::mutation::{By, Edit, FOLDER, IDENTITY, Mutation, REGISTRAR};
use crate::rules::Rule;

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "a-cluster-is-founded-without-all-founders",
        rules: &[Rule::FoundedByAllFounders],
        scenarios: &[],
        breaks: "a founder whose folder was removed founds a second cluster while others are members of the first",
        edits: &[Edit {
            file: IDENTITY,
            find: "|| !self.missing().is_empty() {",
            with: "|| (!self.missing().is_empty() && !$on) {",
        }],
        noticed_by: By::Test {
            package: "leasehold-node",
            target: "identity",
            name: "two_wiped_founders_do_not_found_a_second_cluster_without_the_third",
            why: "the simulator removes one folder at a time, and most of its clusters are founded before the run",
        },
    },
    Mutation {
        name: "an-empty-folder-is-admitted",
        rules: &[Rule::OtherIncarnationIsRefused],
        scenarios: &[],
        breaks: "a voter that lost its folder elects a leader without a write that it had acknowledged",
        edits: &[
            Edit {
                file: IDENTITY,
                find: "if theirs.founders.get(&self.node) != Some(&self.incarnation) {",
                with: "if theirs.founders.get(&self.node) != Some(&self.incarnation) && !$on {",
            },
            Edit {
                file: IDENTITY,
                find: "if incarnation.is_some_and(|incarnation| incarnation != theirs.incarnation) {",
                with: "if incarnation.is_some_and(|incarnation| incarnation != theirs.incarnation && !$on) {",
            },
            Edit {
                file: IDENTITY,
                find: "Some(known) if is_copy || !theirs.has_run(known) =>",
                with: "Some(known) if is_copy || (!theirs.has_run(known) && !$on) =>",
            },
        ],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "an-older-copy-is-admitted",
        rules: &[Rule::OlderCopyIsRefused],
        scenarios: &[],
        breaks: "a voter on an older copy of its folder elects a leader without a write that it had acknowledged",
        edits: &[Edit {
            file: IDENTITY,
            find: "let Some(since) = self.starts.checked_sub(run.starts) else { return false };",
            with: "if $on { return true; } $it",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "an-older-copy-is-admitted-once-it-was-started-often",
        rules: &[Rule::CountOfStartsIsNotEnough],
        scenarios: &[],
        breaks: "an older copy takes part once it was started more often than its node had been",
        edits: &[Edit {
            file: IDENTITY,
            find: "self.boots.iter().rev().nth(usize::try_from(since).unwrap_or(usize::MAX))",
            with: "if $on && since > 0 { return true; } $it",
        }],
        noticed_by: By::Test {
            package: "leasehold-node",
            target: "identity",
            name: "an_older_copy_that_was_started_more_often_is_refused",
            why: "a folder is rarely replaced in the simulator for as long as that takes",
        },
    },
    Mutation {
        name: "a-refused-copy-is-not-recorded",
        rules: &[Rule::RefusedCopyIsRecorded],
        scenarios: &[],
        breaks: "a refused copy that is restarted again and again takes part once it has forgotten what tells it apart",
        edits: &[Edit {
            file: IDENTITY,
            find: "is_some_and(|boot| theirs.boots.contains(boot));",
            with: "is_some_and(|boot| theirs.boots.contains(boot) && !$on);",
        }],
        noticed_by: By::Test {
            package: "leasehold-node",
            target: "identity",
            name: "an_older_copy_does_not_get_in_by_being_restarted",
            why: "a folder is rarely replaced in the simulator for as long as that takes",
        },
    },
    Mutation {
        name: "a-folder-may-get-other-founders",
        rules: &[Rule::FoundersNeverChange],
        scenarios: &[],
        breaks: "one node of a cluster starts as the only member of another one, under the same name",
        edits: &[Edit {
            file: FOLDER,
            find: "if registry.is_founded() || registry.founders.keys().eq(given) {",
            with: "if $on || registry.is_founded() || registry.founders.keys().eq(given) {",
        }],
        noticed_by: By::Test {
            package: "leasehold-storage",
            target: "folder",
            name: "refuses_other_founders_and_names_both_lists",
            why: "the simulator's processes have no flags",
        },
    },
    Mutation {
        name: "a-peer-is-admitted-before-it-is-recorded",
        rules: &[Rule::PeersAreRecordedFirst],
        scenarios: &[],
        breaks: "a crash forgets a run of a peer, and an older copy of the peer's folder is admitted",
        edits: &[Edit {
            file: REGISTRAR,
            find: "self.file.keep(&next).map_err(MeetError::NotRecorded)?;",
            with: "let kept = self.file.keep(&next).map_err(MeetError::NotRecorded); if !$on { kept?; }",
        }],
        noticed_by: By::Test {
            package: "leasehold-tests",
            target: "identity",
            name: "a_peer_that_cannot_be_recorded_is_not_admitted",
            why: "the simulator records a peer in the same step",
        },
    },
];
