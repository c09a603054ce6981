//! Changes of the members.

use super::mutation::{By, Edit, GROUP_MEMBERS, GUIDE, IDENTITY, Mutation, NODE_GROUPS};
use crate::rules::Rule;

/// A test of `node/`, because the simulator changes the configuration of a single group in the engine.
const fn node(target: &'static str, name: &'static str) -> By {
    By::Test {
        package: "leasehold-node",
        target,
        name,
        why: "the simulator changes configurations directly, and its nodes are all founders",
    }
}

/// A test of several groups whose members one of them decides.
const fn followed(name: &'static str) -> By {
    By::Test {
        package: "leasehold-node",
        target: "followed_members",
        name,
        why: "it needs a schedule of a few steps, which few seeds of the simulator have",
    }
}

/// The condition on which a group has released a member.
const RELEASED: &str = "other.is_settled() && other.settled().has_removed(*node)";

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "a-number-is-used-again",
        rules: &[Rule::NumbersAreNeverReused],
        scenarios: &[],
        breaks: "a removed node that comes back counts as the new one of its number",
        edits: &[Edit { file: GROUP_MEMBERS, find: "if node <= highest {", with: "if !$on && node <= highest {" }],
        noticed_by: node("members", "a_number_that_was_used_before_is_refused"),
    },
    Mutation {
        name: "a-removed-node-is-admitted",
        rules: &[Rule::RemovedNodeIsRefused],
        scenarios: &[],
        breaks: "a node that was removed never learns it, and disturbs the others for ever",
        edits: &[Edit {
            file: IDENTITY,
            find: "if !member && theirs.node <= highest {",
            with: "if !$on && !member && theirs.node <= highest {",
        }],
        noticed_by: node("identity", "a_removed_node_is_refused_and_learns_it"),
    },
    Mutation {
        name: "a-member-may-come-with-any-folder",
        rules: &[Rule::MembersAreListedWithTheirFolders],
        scenarios: &[],
        breaks: "a member that lost its folder votes again, at nodes that had not met it before",
        edits: &[Edit {
            file: IDENTITY,
            find: "let incarnation = listed.or_else(founded)",
            with: "let incarnation = listed.filter(|_| !$on).or_else(founded)",
        }],
        noticed_by: node("identity", "a_member_whose_folder_was_lost_is_refused_even_by_nodes_that_never_met_it"),
    },
    Mutation {
        name: "an-older-roster-counts",
        rules: &[Rule::NewerRosterCounts],
        scenarios: &[],
        breaks: "a node that was away brings removed members back, and shuts new ones out",
        edits: &[Edit {
            file: IDENTITY,
            find: "if roster.changed <= self.roster.changed {",
            with: "if !$on && roster.changed <= self.roster.changed {",
        }],
        noticed_by: node("identity", "an_older_roster_changes_nothing"),
    },
    Mutation {
        name: "a-new-member-votes-at-once",
        rules: &[Rule::LearnersCatchUpFirst],
        scenarios: &[],
        breaks: "a cluster whose new voter is still empty stops when one more node fails",
        edits: &[Edit {
            file: GROUP_MEMBERS,
            find: "(has_caught_up && self.replica.was_heard(learner)).then_some((learner, change))",
            with: "($on || (has_caught_up && self.replica.was_heard(learner))).then_some((learner, change))",
        }],
        noticed_by: node("members", "a_new_member_votes_once_it_has_caught_up"),
    },
    Mutation {
        name: "a-voter-is-removed-although-no-quorum-is-left",
        rules: &[Rule::QuorumIsLeft],
        scenarios: &[],
        breaks: "one command stops a cluster that has lost a node",
        edits: &[Edit { file: GROUP_MEMBERS, find: "if up < needed {", with: "if !$on && up < needed {" }],
        noticed_by: node("members", "a_voter_is_removed_only_if_a_quorum_of_the_others_was_heard"),
    },
    Mutation {
        name: "a-change-counts-before-it-is-durable",
        rules: &[Rule::ChangesAreDurableFirst],
        scenarios: &[],
        breaks: "the last voter refuses the one that it removed, crashes, and needs its vote",
        edits: &[Edit {
            file: GROUP_MEMBERS,
            find: "let membership = self.settled.clone();",
            with: "let membership = if $on { self.applied.membership.clone() } else { self.settled.clone() };",
        }],
        noticed_by: node("members", "a_change_is_shown_once_it_is_durable"),
    },
    Mutation {
        name: "a-removed-node-stops-at-once",
        rules: &[Rule::RemovedNodeStopsAtAPeersWord],
        scenarios: &[],
        breaks: "a node that was removed tells others to refuse it, and they may still need its vote",
        edits: &[Edit {
            file: IDENTITY,
            find: "if !roster.members.contains_key(&self.node) {",
            with: "if !$on && !roster.members.contains_key(&self.node) {",
        }],
        noticed_by: node("identity", "a_removed_node_is_refused_and_learns_it"),
    },
    Mutation {
        name: "newer-entries-are-proposed-at-once",
        rules: &[Rule::NewEntriesWaitForAllMembers],
        scenarios: &[],
        breaks: "during an upgrade, every node of the older release has to stop",
        edits: &[Edit {
            file: GROUP_MEMBERS,
            find: "M::version(command) <= self.entry_version.min(M::NEWEST_VERSION)",
            with: "$on || $it",
        }],
        noticed_by: node("members", "a_newer_version_of_entries_waits_until_every_member_can_apply_it"),
    },
    Mutation {
        name: "groups-do-not-follow-the-deciding-one",
        rules: &[Rule::GroupsFollowTheDecidingOne],
        scenarios: &[],
        breaks: "a new node holds the keys of one group, and a node is never removed",
        edits: &[Edit {
            file: GROUP_MEMBERS,
            find: "(None, Some(guide)) => self.follow(now, guide),",
            with: "(None, Some(guide)) => !$on && self.follow(now, guide),",
        }],
        noticed_by: followed("a_new_member_joins_every_group"),
    },
    Mutation {
        name: "an-old-decision-removes-a-newer-member",
        rules: &[Rule::OldDecisionsDoNoHarm],
        scenarios: &[],
        breaks: "a leader that knows less removes a new member from its group for good, because its number is used",
        edits: &[Edit {
            file: GUIDE,
            find: "leaves(*node) || decided.has_removed(*node)",
            with: "$it || ($on && !decided.names(*node))",
        }],
        noticed_by: followed("a_group_whose_leader_knows_less_keeps_a_newer_member"),
    },
    Mutation {
        name: "the-deciding-group-removes-first",
        rules: &[Rule::DecidingGroupRemovesLast],
        scenarios: &[],
        breaks: "links refuse a node whose vote another group needs, and that group stops for good",
        edits: &[Edit {
            file: GROUP_MEMBERS,
            find: "leaving.into_iter().filter(|node| guide.released.contains(node))",
            with: "leaving.into_iter().filter(|node| $on || guide.released.contains(node))",
        }],
        noticed_by: followed("a_group_without_a_quorum_delays_a_removal_and_nothing_else"),
    },
    Mutation {
        name: "the-deciding-group-replaces-first",
        rules: &[Rule::DecidingGroupRemovesLast],
        scenarios: &[],
        breaks: "links refuse the node that was replaced, whose vote another group needs",
        edits: &[Edit {
            file: GROUP_MEMBERS,
            find: "!guide.released.contains(&old)",
            with: "!$on && !guide.released.contains(&old)",
        }],
        noticed_by: followed("a_group_without_a_quorum_delays_a_replacement_and_nothing_else"),
    },
    Mutation {
        name: "a-release-counts-at-once",
        rules: &[Rule::DecidingGroupRemovesLast],
        scenarios: &[],
        breaks: "a group whose heartbeat is late votes by a configuration in which links refuse a voter",
        edits: &[Edit {
            file: NODE_GROUPS,
            find: RELEASED,
            with: "$it || ($on && other.settled().has_removed(*node))",
        }],
        noticed_by: followed("a_member_is_removed_a_hold_after_the_other_groups_have_released_it"),
    },
    Mutation {
        name: "an-unused-number-is-released",
        rules: &[Rule::UnusedNumbersAreNotReleased],
        scenarios: &[],
        breaks: "a leader that knows less adds a node that was removed, and links refuse it",
        edits: &[Edit {
            file: NODE_GROUPS,
            find: RELEASED,
            with: "$it || ($on && other.is_settled() && !other.settled().names(*node))",
        }],
        noticed_by: followed("a_group_whose_leader_knows_less_never_adds_a_member_that_was_removed"),
    },
    Mutation {
        name: "a-leader-waits-for-its-own-removal",
        rules: &[Rule::DecidingLeaderThatGoesHandsOver],
        scenarios: &[],
        breaks: "the leader of the deciding group that leaves waits for what it never learns",
        edits: &[Edit {
            file: GROUP_MEMBERS,
            find: "(leaves || is_left_out) && self.can_change()",
            with: "!$on && (leaves || is_left_out) && self.can_change()",
        }],
        noticed_by: followed("a_node_that_leads_groups_hands_them_over_and_the_deciding_group_removes_it_last"),
    },
];
