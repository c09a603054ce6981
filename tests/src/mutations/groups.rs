//! The machines for many groups on a node. No engine uses them yet, so the soak cannot detect any of these.

use super::mutation::{ATTACHMENT, By, Edit, GROUP_HOLDER, Mutation, NODE_ROUNDS, SUPPORTER};
use crate::rules::Rule;

/// A test of the machines.
const fn test(name: &'static str) -> By {
    By::Test { package: "leasehold-core", target: "groups", name, why: "no engine uses these machines yet" }
}

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "an-echo-to-an-earlier-process-counts",
        rules: &[Rule::EchoNamesTheProcess],
        scenarios: &[],
        breaks: "a late echo to the process before gives the next one a lease",
        edits: &[Edit {
            file: NODE_ROUNDS,
            find: "echo.round.boot == rounds.boot &&",
            with: "($on || echo.round.boot == rounds.boot) &&",
        }],
        noticed_by: test("scenarios::an_echo_of_an_earlier_process_gives_no_lease"),
    },
    Mutation {
        name: "a-support-holds-nothing",
        rules: &[Rule::SupportIsHeld],
        scenarios: &[],
        breaks: "an echo of a node's round holds no group",
        edits: &[Edit { file: SUPPORTER, find: "!self.is_due && !self.end", with: "!self.is_due && $on || !self.end" }],
        noticed_by: test("scenarios::an_echo_holds_every_attached_group_for_a_full_hold"),
    },
    Mutation {
        name: "a-support-without-a-reading-holds-nothing",
        rules: &[Rule::SupportWithoutReadingIsHeld],
        scenarios: &[],
        breaks: "a voter whose clock fails while it echoes is free when the clock recovers",
        edits: &[Edit { file: SUPPORTER, find: "None => self.is_due = true,", with: "None => self.is_due = !$on," }],
        noticed_by: test("scenarios::an_echo_without_a_reading_holds_from_the_next_one"),
    },
    Mutation {
        name: "a-restart-goes-on-with-its-epochs",
        rules: &[Rule::EpochsAreNewAfterARestart],
        scenarios: &[],
        breaks: "a voter that has forgotten its attachments echoes under the epoch in which it made them",
        edits: &[Edit {
            file: SUPPORTER,
            find: "Epoch { boot: self.boot, number: support.number }",
            with: "Epoch { boot: if $on { 1 } else { self.boot }, number: support.number }",
        }],
        noticed_by: test("no_lease_outlives_an_election"),
    },
    Mutation {
        name: "a-restart-holds-no-group",
        rules: &[Rule::RestartHoldsAllGroups],
        scenarios: &[],
        breaks: "a process forgets with its memory to whom its predecessor was attached",
        edits: &[Edit {
            file: SUPPORTER,
            find: "if !self.restart.may_vote_or_campaign(now, None) {",
            with: "if !self.restart.may_vote_or_campaign(now, None) && !$on {",
        }],
        noticed_by: test("scenarios::a_restart_and_an_orderly_stop_hold_every_group"),
    },
    Mutation {
        name: "an-epoch-outlives-the-process-that-it-supports",
        rules: &[Rule::ProcessesHaveTheirOwnEpochs],
        scenarios: &[],
        breaks: "the echoes to a new process keep voters attached to what the one before it led",
        edits: &[Edit {
            file: SUPPORTER,
            find: "if self.has_echoed() { self.older",
            with: "if !$on && self.has_echoed() { self.older",
        }],
        noticed_by: test(
            "scenarios::what_an_earlier_process_of_the_leader_was_promised_ends_although_the_next_one_is_heard",
        ),
    },
    Mutation {
        name: "attached-without-an-echo",
        rules: &[Rule::AttachmentNeedsAnEcho],
        scenarios: &[],
        breaks: "any request for a vote ends the attachments of all groups of a node that was just heard again",
        edits: &[Edit { file: SUPPORTER, find: "|| !support.has_echoed()", with: "|| !$on && !support.has_echoed()" }],
        noticed_by: test("scenarios::an_epoch_without_an_echo_has_no_attachments_and_does_not_end"),
    },
    Mutation {
        name: "an-attached-voter-elects-another",
        rules: &[Rule::AttachedVoterElectsNoOther],
        scenarios: &[],
        breaks: "a voter helps to elect another leader while the lease of its own rests on it",
        edits: &[Edit {
            file: SUPPORTER,
            find: "let Some((leader, epoch)) = at.standing()",
            with: "let Some((leader, epoch)) = at.standing().filter(|_| !$on)",
        }],
        noticed_by: test("scenarios::an_echo_holds_every_attached_group_for_a_full_hold"),
    },
    Mutation {
        name: "an-epoch-is-echoed-after-its-withdrawal",
        rules: &[Rule::WithdrawnEpochIsNotEchoed],
        scenarios: &[],
        breaks: "a voter has voted, and its later echoes count for the leader that it was attached to before",
        edits: &[Edit {
            file: SUPPORTER,
            find: "self.withdrawn = self.number; self.number += 1;",
            with: "self.withdrawn = self.number; self.number += u64::from(!$on);",
        }],
        noticed_by: test("scenarios::a_withdrawn_epoch_is_never_echoed_again"),
    },
    Mutation {
        name: "a-support-ends-only-by-a-vote",
        rules: &[Rule::EndedSupportIsWithdrawn],
        scenarios: &[],
        breaks: "the groups that rest under a node that died are never elected another leader",
        edits: &[Edit {
            file: SUPPORTER,
            find: "if let Some(now) = self.restart.observe(now) { support.withdraw(now, self.hold);",
            with: "if $on { return; } $it",
        }],
        noticed_by: test("every_state_heals"),
    },
    Mutation {
        name: "a-withdrawal-is-not-reported",
        rules: &[Rule::WithdrawalWakesEveryGroup],
        scenarios: &[],
        breaks: "groups at rest sleep on after a vote in another group has withdrawn the epoch",
        edits: &[Edit {
            file: SUPPORTER,
            find: "core::mem::replace(&mut self.reported, self.withdrawn) < self.withdrawn",
            with: "$it && !$on",
        }],
        noticed_by: test("every_state_heals"),
    },
    Mutation {
        name: "any-epoch-of-an-attachment-counts",
        rules: &[Rule::EpochOfTheEchoIsThatOfTheAttachment],
        scenarios: &[],
        breaks: "a leader counts the echoes of a voter that has helped to elect another since it attached",
        edits: &[Edit { file: GROUP_HOLDER, find: "*epoch == echo.epoch", with: "$on || *epoch == echo.epoch" }],
        noticed_by: test("no_lease_outlives_an_election"),
    },
    Mutation {
        name: "a-backward-reading-ends-no-lease-of-a-group",
        rules: &[Rule::BackwardReadingEndsAllLeases],
        scenarios: &[],
        breaks: "leases rest on stamps that a clock showed before it stepped back",
        edits: &[Edit { file: NODE_ROUNDS, find: "self.stamps.clear();", with: "if !$on { self.stamps.clear(); }" }],
        noticed_by: test("scenarios::a_backward_reading_ends_the_leases_of_all_groups"),
    },
    Mutation {
        name: "attachments-pass-to-other-voters",
        rules: &[Rule::VoterChangeKeepsItsOwnAttachments],
        scenarios: &[],
        breaks: "a lease rests on a new voter that has promised nothing",
        edits: &[Edit {
            file: GROUP_HOLDER,
            find: "attached[half][at] = leading.epoch_of(*id);",
            with: "attached[half][at] = if $on { leading.attached[half][at] } else { leading.epoch_of(*id) };",
        }],
        noticed_by: test("scenarios::only_attached_voters_count_in_both_halves"),
    },
    Mutation {
        name: "any-release-ends-an-attachment",
        rules: &[Rule::GroupReleaseMustCover],
        scenarios: &[],
        breaks: "a release of an abandoned transfer ends attachments that the leader's new lease rests on",
        edits: &[Edit {
            file: ATTACHMENT,
            find: "attached.offer <= release.through",
            with: "$on || attached.offer <= release.through",
        }],
        noticed_by: test("scenarios::a_release_frees_only_what_it_covers"),
    },
    Mutation {
        name: "a-transfer-keeps-the-attachments",
        rules: &[Rule::TransferDropsAttachments],
        scenarios: &[],
        breaks: "a leader reads on while its release frees the voters that its lease rests on",
        edits: &[Edit {
            file: GROUP_HOLDER,
            find: "leading.transferring = true;",
            with: "if $on { return Ok(()); } $it",
        }],
        noticed_by: test("scenarios::a_transfer_in_one_group_leaves_the_leases_of_the_others"),
    },
    Mutation {
        name: "a-released-offer-is-made-again",
        rules: &[Rule::NumberRisesAfterATransfer],
        scenarios: &[],
        breaks: "attachments that a release frees count again after an abandoned transfer",
        edits: &[Edit {
            file: GROUP_HOLDER,
            find: "leading.number += u64::from(leading.transferring);",
            with: "leading.number += u64::from(leading.transferring && !$on);",
        }],
        noticed_by: test("scenarios::a_transfer_in_one_group_leaves_the_leases_of_the_others"),
    },
    Mutation {
        name: "a-term-is-led-twice",
        rules: &[Rule::NoTermIsLedTwice],
        scenarios: &[],
        breaks: "attachments to a leadership that was released count for the next one in the same term",
        edits: &[Edit { file: GROUP_HOLDER, find: "if term <= self.term {", with: "if !$on && term <= self.term {" }],
        noticed_by: test("scenarios::a_term_is_not_led_again_after_its_release"),
    },
    Mutation {
        name: "an-ended-leadership-is-not-announced",
        rules: &[Rule::EndedLeadershipIsAnnounced],
        scenarios: &[],
        breaks: "voters of a group at rest stay attached to a leader that gave up, while its node runs",
        edits: &[Edit {
            file: GROUP_HOLDER,
            find: "if let Role::Leads(Leading { voters, .. }) = self.role {",
            with: "$it if $on { self.role = Role::Follows; return; }",
        }],
        noticed_by: test("every_state_heals"),
    },
    Mutation {
        name: "an-unwanted-attachment-is-not-answered",
        rules: &[Rule::UnwantedAttachmentIsReleased],
        scenarios: &[],
        breaks: "a voter that a late frame attached stays held while the leader's node runs",
        edits: &[Edit {
            file: GROUP_HOLDER,
            find: "_ => return Some(GroupRelease::of_term(attached.offer.term)),",
            with: "_ => return Some(GroupRelease::of_term(attached.offer.term)).filter(|_| !$on),",
        }],
        noticed_by: test("every_state_heals"),
    },
    Mutation {
        name: "any-node-answers-an-attachment",
        rules: &[Rule::AttachmentNamesItsLeader],
        scenarios: &[],
        breaks: "a node that never led the term releases voters on which the leader's lease rests",
        edits: &[Edit {
            file: GROUP_HOLDER,
            find: "if attached.leader != self.id {",
            with: "if !$on && attached.leader != self.id {",
        }],
        noticed_by: test("scenarios::only_the_leader_of_an_attachment_answers_it"),
    },
    Mutation {
        name: "a-released-offer-is-accepted",
        rules: &[Rule::ReleasedOfferIsOutOfDate],
        scenarios: &[],
        breaks: "a late frame attaches a voter again to what it was just released from",
        edits: &[Edit {
            file: ATTACHMENT,
            find: "if self.released.is_some_and(",
            with: "if !$on && self.released.is_some_and(",
        }],
        noticed_by: test("scenarios::a_release_frees_only_what_it_covers"),
    },
    Mutation {
        name: "a-late-frame-lets-a-group-rest",
        rules: &[Rule::RestNamesTheAttachment],
        scenarios: &[],
        breaks: "a voter rests under an attachment that its leader never learned of",
        edits: &[Edit {
            file: SUPPORTER,
            find: "&& at.newest() == Some(known)",
            with: "&& ($on || at.newest() == Some(known))",
        }],
        noticed_by: test("scenarios::a_group_rests_only_under_an_attachment_that_its_leader_knows"),
    },
];
