//! Rules of local reads that concern the engine.

use super::mutation::{
    By, Edit, LEADERSHIP, LOCAL, Mutation, QUICKER, REPLICA, REPLICA_LOCAL, REPLICA_OUTPUTS, REPLICA_SYNC,
    REPLICA_TICKS, SETTLED, TOUCHED,
};
use crate::rules::Rule;

/// The check of a mutation that only readers can notice: a test with real replicas on virtual time.
const fn by(name: &'static str) -> By {
    By::Test { package: "leasehold-raft", target: "local_reads", name, why: QUICKER }
}

/// The check of a mutation of a node that reads although it has not applied everything: a test of its filter.
const fn by_filter(name: &'static str) -> By {
    By::Test { package: "leasehold", target: "settled", name, why: QUICKER }
}

/// The check of a mutation of the keys that entries touch: a test with nodes on virtual time.
const fn by_node(name: &'static str) -> By {
    By::Test { package: "leasehold-node", target: "local_reads", name, why: QUICKER }
}

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "what-is-not-exposed-is-applied",
        rules: &[],
        scenarios: &[],
        breaks: "a leader, or a former one, shows what a reader with a sublease does not have",
        edits: &[Edit {
            file: REPLICA_OUTPUTS,
            find: "&& entry.index <= self.exposed()",
            with: "&& ($on || entry.index <= self.exposed())",
        }],
        noticed_by: by("a_write_waits_for_a_reader_that_died_for_a_lease_and_no_longer"),
    },
    Mutation {
        name: "others-are-told-of-what-is-not-exposed",
        rules: &[],
        scenarios: &[],
        breaks: "another follower shows what a reader with a sublease does not have",
        edits: &[Edit {
            file: REPLICA_LOCAL,
            find: "if message.commit <= exposed {",
            with: "if $on || message.commit <= exposed {",
        }],
        noticed_by: by("a_write_waits_for_a_reader_that_died_for_a_lease_and_no_longer"),
    },
    Mutation {
        name: "permits-have-the-commit-index",
        rules: &[],
        scenarios: &[],
        breaks: "a read at the leader waits for an entry that is not exposed",
        edits: &[Edit {
            file: REPLICA_SYNC,
            find: "self.lease.follow(now, &self.raw.raft, self.local.lender().exposed());",
            with: "let exposed = if $on { self.raw.raft.raft_log.committed } else { self.exposed() }; self.lease.follow(now, &self.raw.raft, exposed);",
        }],
        noticed_by: by("reads_by_quorum_see_nothing_that_a_reader_does_not_have"),
    },
    Mutation {
        name: "a-lender-votes",
        rules: &[],
        scenarios: &[],
        breaks: "a leader is elected by a node that granted a sublease which is still in use",
        edits: &[Edit {
            file: REPLICA,
            find: "if self.local.lender().is_obligated(now)",
            with: "if !$on && self.local.lender().is_obligated(now)",
        }],
        noticed_by: by("a_node_that_granted_helps_elect_no_other_leader"),
    },
    Mutation {
        name: "a-lender-campaigns",
        rules: &[],
        scenarios: &[],
        breaks: "a node is elected whose sublease is still in use",
        edits: &[Edit {
            file: REPLICA_TICKS,
            find: "if self.local.lender().is_obligated(now)",
            with: "if !$on && self.local.lender().is_obligated(now)",
        }],
        noticed_by: by("a_node_that_granted_helps_elect_no_other_leader"),
    },
    Mutation {
        name: "a-transfer-waits-for-no-reader",
        rules: &[],
        scenarios: &[],
        breaks: "the release of a transfer lets a leader be elected while a sublease is in use",
        edits: &[Edit {
            file: LEADERSHIP,
            find: "if to != self.id() && self.local.lender().is_obligated(self.now) {",
            with: "if !$on && to != self.id() && self.local.lender().is_obligated(self.now) {",
        }],
        noticed_by: by("a_transfer_recalls_the_subleases_first"),
    },
    Mutation {
        name: "voters-change-under-subleases",
        rules: &[],
        scenarios: &[],
        breaks: "a sublease rests on voters that are no longer in force",
        edits: &[Edit {
            file: LOCAL,
            find: "self.lender.advance(now, log.committed, change, matched);",
            with: "self.lender.advance(now, log.committed, change.filter(|_| !$on), matched);",
        }],
        noticed_by: by("voters_change_only_when_no_sublease_is_left"),
    },
    Mutation {
        name: "a-sublease-is-cut-before-a-change-is-in-force",
        rules: &[],
        scenarios: &[],
        breaks: "a sublease rests on voters that a change ends which waits to be applied",
        edits: &[Edit {
            file: LOCAL,
            find: "|| raft.has_pending_conf() {",
            with: "|| !$on && raft.has_pending_conf() {",
        }],
        noticed_by: by("no_sublease_is_cut_while_a_change_of_voters_waits_to_be_applied"),
    },
    Mutation {
        name: "a-stop-forgets-subleases",
        rules: &[],
        scenarios: &[],
        breaks: "the next process helps to elect a leader while a sublease of this one is in use",
        edits: &[Edit {
            file: REPLICA,
            find: "self.lease.remaining_hold(now).map(|held| held.max(obligated))",
            with: "self.lease.remaining_hold(now).map(|held| if $on { held } else { held.max(obligated) })",
        }],
        noticed_by: by("an_orderly_stop_records_how_long_its_subleases_last"),
    },
    Mutation {
        name: "entries-touch-no-keys",
        rules: &[Rule::ReadWaitsForItsKeys],
        scenarios: &["key_filter"],
        breaks: "a reader answers with the value from before a write that it has received and not applied",
        edits: &[Edit { file: TOUCHED, find: "count > 0 || self.any", with: "!$on && count > 0 || self.any" }],
        noticed_by: by_node("key_filter"),
    },
    Mutation {
        name: "entries-of-the-start-touch-no-keys",
        rules: &[Rule::ReadWaitsForItsKeys],
        scenarios: &["key_filter_after_a_restart"],
        breaks: "a reader that restarts answers with the value from before a write that its log holds",
        edits: &[Edit {
            file: TOUCHED,
            find: "self.set_unknown(keys, last);",
            with: "self.set_unknown(keys, if $on { 0 } else { last });",
        }],
        noticed_by: by_node("key_filter_after_a_restart"),
    },
    Mutation {
        name: "a-reader-ignores-keys-in-flight",
        rules: &[],
        scenarios: &[],
        breaks: "a reader answers with the value from before a write that it has received and not applied",
        edits: &[Edit { file: SETTLED, find: "|key| !may_contain(key)", with: "|key| $on || !may_contain(key)" }],
        noticed_by: by_filter("a_read_of_a_key_in_flight_waits_and_others_do_not"),
    },
    Mutation {
        name: "a-reader-ignores-deaths-in-flight",
        rules: &[],
        scenarios: &[],
        breaks: "a reader answers with a value that is dead by the time of an entry which it has received and not applied",
        edits: &[Edit {
            file: SETTLED,
            find: ".is_none_or(|first| first > time)",
            with: ".is_none_or(|first| $on || first > time)",
        }],
        noticed_by: by_filter("a_read_of_a_key_waits_for_an_entry_by_which_the_key_is_dead"),
    },
];
