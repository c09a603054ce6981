//! The machines of local reads.

use super::mutation::{By, Edit, HOLDER, LENDER, Mutation, QUICKER, READER};
use crate::rules::Rule;

/// A test of the machines.
const fn test(name: &'static str) -> By {
    By::Test { package: "leasehold-core", target: "local", name, why: QUICKER }
}

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "granted-without-a-lease",
        rules: &[Rule::SubleaseIsCutFromALease],
        scenarios: &[],
        breaks: "a former leader that does not know it yet grants subleases",
        edits: &[Edit {
            file: LENDER,
            find: "let (now, left) = (now?, left?);",
            with: "let (now, left) = (now?, if $on { self.config.lease() } else { left? });",
        }],
        noticed_by: test("machines::a_grant_needs_a_valid_lease_of_its_term"),
    },
    Mutation {
        name: "granted-in-another-term",
        rules: &[Rule::SubleaseIsOfTheTerm],
        scenarios: &[],
        breaks: "a request of an earlier leadership obliges the next one, and its reader has another log",
        edits: &[Edit {
            file: LENDER,
            find: "let leads = self.role == Role::Leads(request.term) && holder.term() == Some(request.term);",
            with: "let leads = $on || self.role == Role::Leads(request.term) && holder.term() == Some(request.term);",
        }],
        noticed_by: test("machines::a_grant_needs_a_valid_lease_of_its_term"),
    },
    Mutation {
        name: "left-of-one-counter",
        rules: &[Rule::SubleaseIsOfTheCounterWithLess],
        scenarios: &[],
        breaks: "a sublease outlives the lease that it was cut from on the counter that has advanced more",
        edits: &[Edit {
            file: HOLDER,
            find: "let left = self.lease_until()?.elapsed_since(now?).at_least;",
            with: "let left = self.lease_until()?.elapsed_since(now?); let left = if $on { left.at_most } else { left.at_least };",
        }],
        noticed_by: test("machines::a_sublease_is_what_is_left_of_the_lease_on_the_counter_with_less"),
    },
    Mutation {
        name: "length-without-drift",
        rules: &[Rule::SubleaseIsShorterByTheDrift],
        scenarios: &[],
        breaks: "a reader with a slow clock reads longer than its leader with a fast one is obliged",
        edits: &[Edit {
            file: LENDER,
            find: "let length = scale_by_drift(left, self",
            with: "let length = if $on { left } else { scale_by_drift(left, self.config.timing().drift_ppm.max(request.drift_ppm)) }; let _ = scale_by_drift(left, self",
        }],
        noticed_by: test("machines::a_sublease_is_shorter_by_the_larger_drift_of_the_two"),
    },
    Mutation {
        name: "obligation-lowered",
        rules: &[Rule::ObligationIsNeverLowered],
        scenarios: &[],
        breaks: "a late request shortens what the leader owes for an earlier one",
        edits: &[Edit {
            file: LENDER,
            find: "|earlier| earlier.max_each(until)",
            with: "|earlier| if $on { until } else { earlier.max_each(until) }",
        }],
        noticed_by: test("machines::an_obligation_is_never_lowered"),
    },
    Mutation {
        name: "granted-without-a-floor",
        rules: &[Rule::GrantHasAFloor],
        scenarios: &["exposed_before_grant"],
        breaks: "a reader that lacks what was exposed before reads",
        edits: &[Edit { file: LENDER, find: "floor: self.exposed", with: "floor: if $on { 0 } else { self.exposed }" }],
        noticed_by: test("schedules::exposed_before_grant"),
    },
    Mutation {
        name: "exposed-at-commit",
        rules: &[Rule::ExposureWaitsForReaders],
        scenarios: &["exposed_after_grant", "learner_reader", "reader_dies"],
        breaks: "an entry is shown while a reader that lacks it reads",
        edits: &[Edit {
            file: LENDER,
            find: "limit = limit.min(tracked.unwrap_or(0));",
            with: "if !$on { limit = limit.min(tracked.unwrap_or(0)); }",
        }],
        noticed_by: test("schedules::exposed_after_grant"),
    },
    Mutation {
        name: "obligation-ends-on-one-counter",
        rules: &[Rule::ObligationEndsOnBothCounters],
        scenarios: &["reader_dies"],
        breaks: "a suspended leader forgets what it owes",
        edits: &[Edit {
            file: LENDER,
            find: "(Some(until), Some(now)) => until.is_maybe_after(now),",
            with: "(Some(until), Some(now)) => if $on { until.is_surely_after(now) } else { until.is_maybe_after(now) },",
        }],
        noticed_by: test("machines::an_obligation_ends_once_both_counters_have_passed_it"),
    },
    Mutation {
        name: "obligation-ends-without-a-reading",
        rules: &[Rule::ObligationStaysWithoutAReading],
        scenarios: &[],
        breaks: "a leader whose clock fails forgets what it owes",
        edits: &[Edit {
            file: LENDER,
            find: "(until, None) => until.is_some(),",
            with: "(until, None) => until.is_some() && !$on,",
        }],
        noticed_by: test("machines::an_obligation_ends_once_both_counters_have_passed_it"),
    },
    Mutation {
        name: "removed-reader-is-ignored",
        rules: &[Rule::RemovedReaderBlocks],
        scenarios: &["reader_is_removed"],
        breaks: "a reader that was removed still reads, and lacks what is exposed",
        edits: &[Edit {
            file: LENDER,
            find: "limit = limit.min(tracked.unwrap_or(0));",
            with: "if $on { limit = limit.min(tracked.unwrap_or(commit)); } else { $it }",
        }],
        noticed_by: test("machines::reader_is_removed"),
    },
    Mutation {
        name: "obligations-end-with-the-leadership",
        rules: &[Rule::ObligationOutlivesTheLeadership],
        scenarios: &["leader_steps_down_and_returns"],
        breaks: "a former leader votes for another while its reader reads",
        edits: &[Edit {
            file: LENDER,
            find: "self.recalling = false; self.change_waits = false;",
            with: "self.recalling = false; if $on { self.borrowers = [None; MAX_READERS]; } self.change_waits = false;",
        }],
        noticed_by: test("schedules::leader_steps_down_and_returns"),
    },
    Mutation {
        name: "former-leader-shows",
        rules: &[Rule::FormerLeaderKeepsTheExposedIndex],
        scenarios: &["shown_by_former_leader", "retiring_leader_shows"],
        breaks: "a former leader shows what its readers lack",
        edits: &[Edit {
            file: LENDER,
            find: "Role::Led(_) if self.is_obligated(now) => {}",
            with: "Role::Led(_) if !$on && self.is_obligated(now) => {}",
        }],
        noticed_by: test("schedules::shown_by_former_leader"),
    },
    Mutation {
        name: "any-return-ends-an-obligation",
        rules: &[Rule::ReturnCoversWhatWasGranted],
        scenarios: &["late_return"],
        breaks: "a late return ends what the leader owes for a later request",
        edits: &[Edit {
            file: LENDER,
            find: "if returned.through >= borrower.granted",
            with: "if ($on || returned.through >= borrower.granted)",
        }],
        noticed_by: test("machines::late_return"),
    },
    Mutation {
        name: "granted-while-recalling",
        rules: &[Rule::RecallGrantsNothing],
        scenarios: &[],
        breaks: "a transfer begins with subleases that were granted meanwhile, or never",
        edits: &[Edit {
            file: LENDER,
            find: "if !borrower.keeps_up || self.recalling || self.change_waits {",
            with: "if !borrower.keeps_up || !$on && (self.recalling || self.change_waits) {",
        }],
        noticed_by: test("machines::a_recall_grants_nothing_until_it_ends"),
    },
    Mutation {
        name: "slow-readers-stay",
        rules: &[Rule::SlowReaderIsRecalled],
        scenarios: &[],
        breaks: "a reader that answers and stores nothing blocks every write for as long as it asks",
        edits: &[Edit {
            file: LENDER,
            find: "} else if matched < self.target && late {",
            with: "} else if !$on && matched < self.target && late {",
        }],
        noticed_by: test("machines::a_slow_reader_is_recalled_and_gets_no_grant_until_it_has_caught_up"),
    },
    Mutation {
        name: "lent-before-it-keeps-up",
        rules: &[Rule::FirstGrantNeedsTheSame],
        scenarios: &["snapshot_to_reader"],
        breaks: "a learner that is still being filled delays every write",
        edits: &[Edit { file: LENDER, find: "keeps_up: false, target, since", with: "keeps_up: $on, target, since" }],
        noticed_by: test("machines::a_reader_that_lacks_much_gets_no_first_grant"),
    },
    Mutation {
        name: "a-change-of-voters-waits-for-no-sublease",
        rules: &[Rule::ChangeOfVotersWaits],
        scenarios: &["sublease_outlives_configuration", "joint_change_with_readers"],
        breaks: "the voters that a sublease rests on are no quorum any more",
        edits: &[Edit {
            file: LENDER,
            find: "let change = change.filter(|change| obligated",
            with: "let change = change.filter(|change| !$on && obligated",
        }],
        noticed_by: test("machines::sublease_outlives_configuration"),
    },
    Mutation {
        name: "blocked-without-end",
        rules: &[Rule::BlockedIsCountedInTicks],
        scenarios: &["leader_clock_fails"],
        breaks: "a leader whose clock failed refuses every write for ever once a reader has died",
        edits: &[Edit {
            file: LENDER,
            find: "self.blocked = self.blocked.saturating_add(1);",
            with: "self.blocked = self.blocked.saturating_add(u32::from(!$on));",
        }],
        noticed_by: test("machines::leader_clock_fails"),
    },
    Mutation {
        name: "renewed-with-the-first-floor",
        rules: &[Rule::FloorIsOfTheNewestGrant],
        scenarios: &["renewal_has_a_floor"],
        breaks: "a reader that was given up and returns reads without what was exposed meanwhile",
        edits: &[Edit {
            file: READER,
            find: "self.sublease = Some(Sublease { until, floor: grant.floor });",
            with: "let floor = self.sublease.filter(|_| $on).map_or(grant.floor, |sublease| sublease.floor); self.sublease = Some(Sublease { until, floor });",
        }],
        noticed_by: test("machines::renewal_has_a_floor"),
    },
    Mutation {
        name: "counted-from-the-grant",
        rules: &[Rule::SubleaseCountsFromTheRequest],
        scenarios: &["late_grant"],
        breaks: "a late grant gives a sublease that the leader does not know of",
        edits: &[Edit {
            file: READER,
            find: "let until = asked.plus(grant.length);",
            with: "let until = if $on { now.unwrap_or(asked) } else { asked }.plus(grant.length);",
        }],
        noticed_by: test("machines::late_grant"),
    },
    Mutation {
        name: "a-new-leader-revokes-nothing",
        rules: &[Rule::ChangeOfLeaderRevokes],
        scenarios: &[],
        breaks: "grants of before give a sublease of the next leadership",
        edits: &[Edit {
            file: READER,
            find: "if self.following.take().is_some() {",
            with: "if self.following.take().is_some() && !$on {",
        }],
        noticed_by: test("machines::another_term_or_leader_ends_a_sublease"),
    },
    Mutation {
        name: "requests-survive-a-step-back",
        rules: &[Rule::BackwardReadingForgetsRequests],
        scenarios: &["asked_survives_step_back"],
        breaks: "a clock that steps back gives a sublease more time",
        edits: &[Edit {
            file: READER,
            find: "self.statistics.backward_readings += 1; self.forget(cell);",
            with: "self.statistics.backward_readings += 1; if !$on { self.forget(cell); }",
        }],
        noticed_by: test("machines::asked_survives_step_back"),
    },
    Mutation {
        name: "granted-after-a-return",
        rules: &[Rule::ReturnForgetsRequests],
        scenarios: &["grant_after_return"],
        breaks: "a reader reads with what it has returned",
        edits: &[Edit {
            file: READER,
            find: "self.forget(cell); self.following?;",
            with: "if !$on { self.forget(cell); } self.following?;",
        }],
        noticed_by: test("machines::grant_after_return"),
    },
];
