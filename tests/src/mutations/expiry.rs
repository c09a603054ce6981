//! Keys that die.

use super::mutation::{By, CONTENT, EXPIRY, Edit, Mutation, VALUE, WRITER};
use crate::rules::Rule;

/// The wall clock of the machine, in nanoseconds, so that every deadline has passed by it.
macro_rules! own_clock {
    () => {
        "std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64)"
    };
}

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "a-key-dies-by-a-replicas-own-clock",
        rules: &[Rule::KeysDieInTheLog],
        scenarios: &[],
        breaks: "a read finds no value although no entry has made it die, and a later one finds it again on another node",
        edits: &[Edit {
            file: VALUE,
            find: "deadline.get() > log_time",
            with: concat!("deadline.get() > if $on { ", own_clock!(), " } else { log_time }"),
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-deadline-counts-from-a-replicas-own-clock",
        rules: &[Rule::DeadlinesAreAbsoluteInTheLog],
        scenarios: &[],
        breaks: "nodes that applied the same log hold different deadlines",
        edits: &[Edit {
            file: EXPIRY,
            find: "now.saturating_add_signed(milliseconds)",
            with: concat!("(if $on { ", own_clock!(), " } else { now }).saturating_add_signed(milliseconds)"),
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "the-time-goes-back-while-dead-keys-wait",
        rules: &[Rule::TheDeadStayDead],
        scenarios: &[],
        breaks: "a key that was dead is alive again under a leader whose clock is behind",
        edits: &[Edit {
            file: WRITER,
            find: "content.log_time.max(entry.time)",
            with: "if $on { entry.time } else { $it }",
        }],
        noticed_by: By::Test {
            package: "leasehold",
            target: "expiry",
            name: "the_dead_stay_dead_while_they_wait_to_be_removed",
            why: "the soak has fewer dead keys than one entry removes, so none is left to come back",
        },
    },
    Mutation {
        name: "a-dead-key-is-visible-until-it-is-removed",
        rules: &[Rule::DeadKeysAreHidden],
        scenarios: &[],
        breaks: "of many keys with one deadline some die later than others",
        edits: &[Edit {
            file: CONTENT,
            find: "self.map.get(key).filter(|value| value.is_live",
            with: "self.map.get(key).filter(|value| $on || value.is_live",
        }],
        noticed_by: By::Test {
            package: "leasehold",
            target: "expiry",
            name: "dead_keys_are_hidden_before_they_are_removed",
            why: "the soak has fewer dead keys than one entry removes",
        },
    },
    Mutation {
        name: "a-renewed-key-dies-at-its-former-deadline",
        rules: &[Rule::RenewedKeysLive],
        scenarios: &[],
        breaks: "a key whose deadline was moved is deleted at the one that it had",
        edits: &[Edit {
            file: WRITER,
            find: "filter(|former| Some(*former) != deadline);",
            with: "filter(|former| !$on && Some(*former) != deadline);",
        }],
        noticed_by: By::Test {
            package: "leasehold",
            target: "expiry",
            name: "a_renewed_key_survives_its_former_deadline",
            why: "the checker of the soak permits the death of any value of the key from then on",
        },
    },
];
