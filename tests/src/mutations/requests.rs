//! Requests: where they are executed, and when they are tried again.

use super::mutation::{APPLY, By, Edit, Mutation, ROUTER, ROUTER_COMMON, ROUTER_TIMEOUTS, STOPWATCH};
use crate::rules::Rule;

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "a-read-shares-an-index-already-asked-for",
        rules: &[Rule::FollowerReadIndexIsRequestedLater],
        scenarios: &[],
        breaks: "a follower answers a read by an index that the leader gave before the read arrived",
        edits: &[Edit {
            file: ROUTER,
            find: "reads.gathering.push(key);",
            with: "if $on && let Some(asked) = &mut reads.asked { asked.requests.push(key); return; } $it",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "an-uncertain-write-is-tried-again",
        rules: &[Rule::UncertainWriteIsNotRetried],
        scenarios: &[],
        breaks: "a write whose leader was deposed before it answered is executed twice",
        edits: &[Edit {
            file: ROUTER_TIMEOUTS,
            find: "self.statistics.requests_timed_out += 1;",
            with: "if $on && uncertain { self.wait(context, key); continue; } $it",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-repeated-request-is-executed-again",
        rules: &[Rule::RepeatedRequestIsExecutedOnce],
        scenarios: &[],
        breaks: "a forwarded write that a link delivers twice is executed twice",
        edits: &[Edit {
            file: ROUTER,
            find: "if !context.common.seen.first_time(id) {",
            with: "if !context.common.seen.first_time(id) && !$on {",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "an-unknown-command-is-skipped",
        rules: &[Rule::UnknownCommandStopsTheGroup],
        scenarios: &[],
        breaks: "a node skips a command that the others execute, and its state differs for ever",
        edits: &[Edit {
            file: APPLY,
            find: "self.unknown = Some((position.index, unknown));",
            with: "if $on { continue; } $it",
        }],
        noticed_by: By::Test {
            package: "leasehold-node",
            target: "requests",
            name: "a_node_stops_before_a_command_that_only_a_newer_release_knows",
            why: "every command that the simulator proposes is known",
        },
    },
    Mutation {
        name: "the-outcome-of-a-write-is-not-asked-for",
        rules: &[Rule::OutcomeIsAsked],
        scenarios: &[],
        breaks: "a client waits one more second for the answer of a leader that was killed",
        edits: &[Edit { file: ROUTER_TIMEOUTS, find: "self.ask_outcomes(context, leader);", with: "if !$on { $it }" }],
        noticed_by: By::Test {
            package: "leasehold-node",
            target: "requests",
            name: "a_forwarded_write_whose_leader_is_lost_ends_when_the_next_one_is_known",
            why: "the client only waits longer",
        },
    },
    Mutation {
        name: "a-paused-process-executes-what-it-finds",
        rules: &[Rule::LateWritesAreRefused],
        scenarios: &[],
        breaks: "a leader that was paused for minutes executes the write of a client that gave up long ago",
        edits: &[Edit {
            file: ROUTER_COMMON,
            find: "self.stopwatch.at(now) < self.refuses_until",
            with: "(!$on && self.stopwatch.at(now) < self.refuses_until)",
        }],
        noticed_by: By::Test {
            package: "leasehold-node",
            target: "requests",
            name: "a_process_that_was_paused_for_long_refuses_writes_of_unknown_age",
            why: "the write is executed once, and no client learned the opposite",
        },
    },
    Mutation {
        name: "a-request-has-no-deadline-without-a-clock",
        rules: &[Rule::DeadlinesPassWithoutAClock],
        scenarios: &[],
        breaks: "a request waits for ever while the clock fails",
        edits: &[Edit { file: STOPWATCH, find: "self.elapsed += tick;", with: "if !$on { $it }" }],
        noticed_by: By::Test {
            package: "leasehold-node",
            target: "requests",
            name: "deadlines_hold_although_the_clock_gives_no_reading",
            why: "the simulator's clocks give readings again before a request's deadline would be missed",
        },
    },
];
