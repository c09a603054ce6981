//! Rules of the engine and the disk.

use super::mutation::{ADMISSION, By, Edit, FOLDER, GATE, LEASE, Mutation, REPLICA_OUTPUTS, REPLICA_TICKS};
use crate::rules::Rule;

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "a-term-leaves-before-it-is-durable",
        rules: &[Rule::TermIsDurableFirst],
        scenarios: &["single_voter_unsynced_term"],
        breaks: "a node that crashes leads again in a term that others have seen it lead",
        edits: &[Edit { file: GATE, find: "term <= self.durable_term }", with: "$on || term <= self.durable_term }" }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "answers-do-not-wait-for-the-disk",
        rules: &[Rule::AcksWaitForTheDisk],
        scenarios: &[],
        breaks: "a follower acknowledges entries, and votes, that a crash takes away",
        edits: &[Edit {
            file: GATE,
            find: "let on_log = on == DependsOn::Log",
            with: "let on_log = !$on && on == DependsOn::Log",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-leader-counts-itself-before-its-sync",
        rules: &[Rule::LeaderCountsItselfOnceSynced],
        scenarios: &[],
        breaks: "an entry is committed that a crash of the leader takes away",
        edits: &[Edit {
            file: REPLICA_OUTPUTS,
            find: "self.gate.note_ready(number);",
            with: "$it if $on { self.raw.on_persist_ready(number); }",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-campaign-does-not-wait-for-the-disk",
        rules: &[Rule::NoCampaignOnUnsyncedWrites],
        scenarios: &[],
        breaks: "the engine takes for durable what a campaign rests on",
        edits: &[Edit {
            file: REPLICA_TICKS,
            find: "let durable = self.gate.is_idle()",
            with: "let durable = $on || self.gate.is_idle()",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-write-carries-an-old-commit-index",
        rules: &[Rule::CommitIndexIsDurableInOrder],
        scenarios: &["forgotten_commit"],
        breaks: "a restarted node forgets a committed change, and may campaign under a configuration two steps old",
        edits: &[Edit {
            file: REPLICA_OUTPUTS,
            find: "let hard_state = convert::hard_state_out(&self.raw.raft.hard_state());",
            with: "let mut hard_state = convert::hard_state_out(&self.raw.raft.hard_state()); \
                   if $on { hard_state.commit = hard_state.commit.min(self.raw.raft.raft_log.applied.max(1)); }",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-commit-index-alone-is-not-written",
        rules: &[Rule::CommitIndexIsDurableInOrder],
        scenarios: &[],
        breaks: "what is applied is written, and that it is committed is not",
        edits: &[Edit {
            file: REPLICA_OUTPUTS,
            find: "if must_sync || hard_state_changed {",
            with: "if must_sync || (hard_state_changed && !$on) {",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-removed-leader-leads-on",
        rules: &[Rule::RemovedLeaderStepsDown],
        scenarios: &[],
        breaks: "a leader that was removed leads for ever, and drops every proposal",
        edits: &[Edit {
            file: LEASE,
            find: "if raft.state == StateRole::Leader && !voters.contains(raft.id) {",
            with: "if !$on && raft.state == StateRole::Leader && !voters.contains(raft.id) {",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-removed-leader-tells-no-voter",
        rules: &[Rule::RemovalIsToldFirst],
        scenarios: &[],
        breaks: "the only other voter goes on counting the vote of a leader that was removed and switched off",
        edits: &[Edit {
            file: REPLICA_OUTPUTS,
            find: "&& (!self.is_own_removal(entry) || self.may_apply_removal(entry.index))",
            with: "&& ($on || !self.is_own_removal(entry) || self.may_apply_removal(entry.index))",
        }],
        noticed_by: By::Test {
            package: "leasehold-tests",
            target: "replicas",
            name: "a_leader_that_removes_itself_tells_another_voter_first",
            why: "the simulator leaves its removed nodes running, and they go on voting",
        },
    },
    Mutation {
        name: "a-term-may-jump",
        rules: &[Rule::TermsDoNotJump],
        scenarios: &[],
        breaks: "one message with a number that was made up uses up the terms of the group",
        edits: &[Edit {
            file: ADMISSION,
            find: "if message.term > raft.term.saturating_add(MAX_TERM_JUMP) {",
            with: "if !$on && message.term > raft.term.saturating_add(MAX_TERM_JUMP) {",
        }],
        noticed_by: By::Test {
            package: "leasehold-tests",
            target: "replicas",
            name: "a_message_whose_term_jumps_is_refused",
            why: "the simulator's peers make no numbers up",
        },
    },
    Mutation {
        name: "an-answer-to-a-heartbeat-waits-for-the-disk",
        rules: &[Rule::HeartbeatAnswersDoNotWait],
        scenarios: &[],
        breaks: "one slow sync of the followers makes check-quorum depose a leader who is acknowledged all the time",
        edits: &[Edit {
            file: GATE,
            find: "&& message.msg_type != MessageType::MsgHeartbeatResponse;",
            with: "&& ($on || message.msg_type != MessageType::MsgHeartbeatResponse);",
        }],
        noticed_by: By::Test {
            package: "leasehold-tests",
            target: "replicas",
            name: "a_slow_disk_slows_writes_and_not_the_lease",
            why: "a leader deposed without need is replaced by another: nothing is wrong, it only takes time",
        },
    },
    Mutation {
        name: "two-processes-share-a-folder",
        rules: &[Rule::OneProcessPerFolder],
        scenarios: &[],
        breaks: "an old process still echoes, and the new one's restart hold says nothing of it",
        edits: &[Edit {
            file: FOLDER,
            find: "match lock.try_lock() {",
            with: "match if $on { Ok(()) } else { lock.try_lock() } {",
        }],
        noticed_by: By::Test {
            package: "leasehold-storage",
            target: "folder",
            name: "refuses_a_second_open_in_the_same_process_until_the_first_is_dropped",
            why: "the simulator starts a process only where none runs",
        },
    },
];
