//! Time, the holder, and reads.

use super::mutation::{
    ACKS, By, CELL, CONFIG, Edit, GROUP, HOLDER, LEASE, Mutation, NODE, OPTIONS, REPLICA, ROUTER, STAMPS, STATUS, TIME,
};
use crate::rules::Rule;

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "lease-as-long-as-the-hold",
        rules: &[Rule::HoldCoversLease],
        scenarios: &[],
        breaks: "drift is not taken off: a slow leader outlives the hold of a fast voter",
        edits: &[Edit {
            file: CONFIG,
            find: "u128::from(hold) * (million - rho) / (million + rho)",
            with: "(if $on { u128::from(hold) } else { $it })",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "peers-are-not-compared",
        rules: &[Rule::PeersCheckHolds],
        scenarios: &[],
        breaks: "a leader with a long lease takes acknowledgements of voters with a short hold",
        edits: &[Edit { file: CONFIG, find: "if self.lease <= longest {", with: "if $on || self.lease <= longest {" }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "last-reading-serves-again",
        rules: &[Rule::NoReadingNoLease],
        scenarios: &[],
        breaks: "while the clock gives nothing, a read is judged by the last reading",
        edits: &[Edit {
            file: HOLDER,
            find: "now.zip(self.lease_until())",
            with: "(if $on { now.or(self.last) } else { now }).zip(self.lease_until())",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "stale-reading-for-a-frame",
        rules: &[Rule::ReadingBelongsToItsInput],
        scenarios: &[],
        breaks: "a round is judged by the reading of the input before, however long ago that was: the hold ends early",
        edits: &[
            Edit {
                file: REPLICA,
                find: "pub fn handle_envelope(&mut self, now: Reading, from: NodeId, envelope: Envelope) {",
                with: "$it let earlier = self.now;",
            },
            Edit {
                file: REPLICA,
                find: "self.lease.handle_frame(now, &self.raw.raft, from, TermRound { term, round })",
                with: "self.lease.handle_frame(if $on { earlier } else { now }, &self.raw.raft, from, TermRound { term, round })",
            },
        ],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "stale-reading-for-a-read",
        rules: &[Rule::ReadingBelongsToItsInput],
        scenarios: &[],
        breaks: "a read is judged by the reading of the input before: a lease that has ended answers it",
        edits: &[Edit {
            file: REPLICA,
            find: "pub fn read(&mut self, now: Reading) -> Result<Read, ReadError> {",
            with: "$it let now = if $on { self.now } else { now };",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "lease-aged-by-one-counter",
        rules: &[Rule::LeaseAgesByTheFasterCounter],
        scenarios: &["reader_suspends"],
        breaks: "a lease does not age while the machine is suspended",
        edits: &[
            Edit {
                file: CELL,
                find: "published.until.is_surely_after(now)",
                with: "(if $on { now.awake_nanos() < published.until.awake_nanos() } else { $it })",
            },
            Edit {
                file: HOLDER,
                find: "is_some_and(|(now, until)| until.is_surely_after(now))",
                with: "is_some_and(|(now, until)| if $on { now.awake_nanos() < until.awake_nanos() } else { until.is_surely_after(now) })",
            },
        ],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "hold-aged-by-the-faster-counter",
        rules: &[Rule::HoldAgesByTheSlowerCounter],
        scenarios: &[],
        breaks: "a hold ends when either counter says so",
        edits: &[Edit {
            file: TIME,
            find: "now.awake < self.awake || now.total < self.total }",
            with: "(if $on { now.awake < self.awake && now.total < self.total } else { now.awake < self.awake || now.total < self.total }) }",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "stamps-survive-a-step-back",
        rules: &[Rule::BackwardReadingVoids],
        scenarios: &[],
        breaks: "a leader whose clock went back thinks its lease longer by as much",
        edits: &[Edit {
            file: HOLDER,
            find: "self.last.is_some_and(|last| reading.is_before_on_either_counter(last))",
            with: "(!$on && $it)",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-timer-that-is-early-shows-no-reading",
        rules: &[Rule::BackwardReadingVoids],
        scenarios: &[],
        breaks: "a leader that gets no input does not learn that its clock went back",
        edits: &[Edit {
            file: GROUP,
            find: "self.replica.handle_timeout(now);",
            with: "let early = self.poll_timeout().zip(now).is_some_and(|(at, now)| at.is_surely_after(now)); if !($on && early) { $it }",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "no-round-on-the-heartbeat",
        rules: &[Rule::HeartbeatsOpenRounds],
        scenarios: &[],
        breaks: "nothing renews the lease",
        edits: &[Edit {
            file: HOLDER,
            find: "if !early {",
            with: "if !early && $on { if let Some(leading) = &mut self.leading { leading.opened = now; } } else if !early {",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-read-shares-a-round-already-sent",
        rules: &[Rule::HeartbeatsOpenRounds, Rule::QuorumReadTakesALaterRound],
        scenarios: &[],
        breaks: "acknowledgements from before a read arrived confirm it",
        edits: &[Edit { file: HOLDER, find: "if self.sent {", with: "if self.sent && !$on {" }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "lease-counted-from-the-acknowledgement",
        rules: &[Rule::AnchorIsTheOpening],
        scenarios: &[],
        breaks: "an acknowledgement that waited in a queue gives a lease that has already ended",
        edits: &[Edit {
            file: HOLDER,
            find: "if self.count_ack(from, round) || !steady {",
            with: "let moved = self.count_ack(from, round); \
                   if $on && moved { if let Some(round) = self.quorum_round() { self.stamps.clear(); self.stamps.stamp(round, now); } } \
                   if moved || !steady {",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "lease-counted-from-the-newest-round",
        rules: &[Rule::AckCountsForItsRound],
        scenarios: &[],
        breaks: "rounds without acknowledgements keep the lease valid",
        edits: &[Edit {
            file: HOLDER,
            find: "self.stamps.opened(round).ok_or(",
            with: "self.stamps.opened(if $on { self.newest } else { round }).ok_or(",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "rounds-share-the-later-stamp",
        rules: &[Rule::StampsAreShared],
        scenarios: &[],
        breaks: "a round is thought to have been opened when a later one was",
        edits: &[Edit {
            file: STAMPS,
            find: ".at_most < self.share) {",
            with: "$it if $on { let newest = (self.next + MAX_STAMPS - 1) % MAX_STAMPS; self.ring[newest].at = now; }",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "every-round-has-its-own-stamp",
        rules: &[Rule::StampsAreShared],
        scenarios: &[],
        breaks: "thousands of rounds a second push the anchor out of the ring, and there is no lease",
        edits: &[Edit {
            file: STAMPS,
            find: "if self.newest().is_some_and(|newest|",
            with: "if !$on && self.newest().is_some_and(|newest|",
        }],
        noticed_by: By::Test {
            package: "leasehold-tests",
            target: "scenarios",
            name: "scenarios::many_rounds_slow_voter",
            why: "no simulated client asks for thousands of quorum rounds a second",
        },
    },
    Mutation {
        name: "acknowledgements-of-earlier-terms-count",
        rules: &[Rule::AcksAreOfThisTerm],
        scenarios: &[],
        breaks: "a leader elected again counts what was acknowledged to it in an earlier term",
        edits: &[
            Edit {
                file: HOLDER,
                find: "filter(|leading| leading.term == ack.term) else {",
                with: "filter(|leading| $on || leading.term == ack.term) else {",
            },
            Edit {
                file: HOLDER,
                find: "if ack.round > self.newest { Round::MAX } else { leading.base }",
                with: "if ack.round > self.newest { Round::MAX } else if $on { 0 } else { leading.base }",
            },
            Edit {
                file: HOLDER,
                find: "self.sent = true; self.stamps.clear();",
                with: "self.sent = true; if !$on { self.stamps.clear(); }",
            },
            Edit { file: HOLDER, find: "released: self.newest,", with: "released: if $on { 0 } else { self.newest }," },
        ],
        noticed_by: By::Test {
            package: "leasehold-tests",
            target: "scenarios",
            name: "scenarios::old_term_response",
            why: "a node that commits the barrier of a term echoes a round of it with the same answer, and no older echo adds to those",
        },
    },
    Mutation {
        name: "any-answer-is-an-acknowledgement",
        rules: &[Rule::AcksAreRounds],
        scenarios: &[],
        breaks: "a late answer to an append or a heartbeat counts for the newest round",
        edits: &[
            Edit {
                file: REPLICA,
                find: "let Envelope { round, ack, release, rejoin, mut messages, local } = envelope;",
                with: "$it let answers = messages.iter().any(|message| message.term == self.raw.raft.term && matches!(\
                       message.kind, crate::wire::MessageKind::AppendResponse | crate::wire::MessageKind::HeartbeatResponse));",
            },
            Edit {
                file: REPLICA,
                find: "if let Some((term, round)) = ack {",
                with: "let ack = if $on && answers { self.lease.frame_round().map(|newest| (newest.term, newest.round)) } \
                       else { ack }; $it",
            },
        ],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "anyone-may-acknowledge",
        rules: &[Rule::OnlyVotersCount],
        scenarios: &[],
        breaks: "the acknowledgement of a learner, or of a node that was removed, counts as a voter's",
        edits: &[
            Edit { file: ACKS, find: "pub(crate) fn none(voters: Voters) -> Acks {", with: STAND_IN },
            Edit {
                file: HOLDER,
                find: "match leading.acks.note(from, ack.round, base) {",
                with: "match leading.acks.note(if $on { leading.acks.stand_in(from) } else { from }, ack.round, base) {",
            },
        ],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-leader-that-is-no-voter-counts-itself",
        rules: &[Rule::OwnAckOnlyAsVoter],
        scenarios: &[],
        breaks: "a leader that was removed leads on, and its own acknowledgement makes a majority",
        edits: &[
            Edit { file: ACKS, find: "pub(crate) fn none(voters: Voters) -> Acks {", with: STAND_IN },
            Edit {
                file: HOLDER,
                find: "leading.acks.note(self.id, self.newest, leading.base)",
                with: "leading.acks.note(if $on { leading.acks.stand_in(self.id) } else { self.id }, self.newest, leading.base)",
            },
            Edit {
                file: LEASE,
                find: "raft.become_follower(raft.term, raft::INVALID_ID);",
                with: "if !$on { raft.become_follower(raft.term, raft::INVALID_ID); }",
            },
        ],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "one-acknowledgement-is-a-quorum",
        rules: &[Rule::QuorumAcknowledges],
        scenarios: &[],
        breaks: "the newest round that anyone acknowledged is the quorum round",
        edits: &[
            Edit { file: ACKS, find: "count > half.len() / 2", with: "(if $on { count > 0 } else { $it })" },
            Edit {
                file: ACKS,
                find: "let reached = |round: &Round|",
                with: "if $on { return rounds.iter().copied().max().unwrap_or(0); } $it",
            },
        ],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "the-incoming-half-is-enough",
        rules: &[Rule::BothHalvesCount],
        scenarios: &[],
        breaks: "in a joint configuration a majority of the new voters is a quorum",
        edits: &[
            Edit {
                file: ACKS,
                find: "&& (self.voters.outgoing().is_empty() || has_majority(self.beyond[1], self.voters.outgoing()))",
                with: "&& ($on || self.voters.outgoing().is_empty() || has_majority(self.beyond[1], self.voters.outgoing()))",
            },
            Edit {
                file: ACKS,
                find: "if !outgoing.is_empty() { quorum",
                with: "if !$on && !outgoing.is_empty() { quorum",
            },
        ],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "the-quorum-round-survives-new-voters",
        rules: &[Rule::QuorumFollowsTheVoters],
        scenarios: &[],
        breaks: "a lease rests on acknowledgements that were a quorum of other voters",
        edits: &[
            Edit { file: ACKS, find: "pub(crate) fn none(voters: Voters) -> Acks {", with: FORCED },
            Edit {
                file: HOLDER,
                find: "leading.acks = leading.acks.with_voters(voters);",
                with: "let before = leading.acks.quorum_round(); $it if $on { leading.acks.force(before); }",
            },
        ],
        noticed_by: By::Test {
            package: "leasehold-tests",
            target: "scenarios",
            name: "scenarios::grow_after_shrink",
            why: "a node that commits the next change echoes a later round with the same answer, so in a whole cluster the holds outlast what the leader believes",
        },
    },
    Mutation {
        name: "lease-before-the-barrier",
        rules: &[Rule::Barrier],
        scenarios: &[],
        breaks: "a new leader reads by its lease before it knows what is committed",
        edits: &[Edit {
            file: HOLDER,
            find: "if leading.commit < leading.barrier {",
            with: "if !$on && leading.commit < leading.barrier {",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "a-released-round-still-leases",
        rules: &[Rule::TransferReleases, Rule::ReleasedRoundsGiveNoLease],
        scenarios: &[],
        breaks: "a leader that handed over goes on answering until its lease ends",
        edits: &[Edit {
            file: HOLDER,
            find: "if round <= leading.released {",
            with: "if !$on && round <= leading.released {",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "the-lease-never-ends",
        rules: &[Rule::LeaseEndsByTheClock],
        scenarios: &[],
        breaks: "a leader trusts its lease until the engine deposes it",
        edits: &[Edit {
            file: HOLDER,
            find: "Ok(anchor.plus(self.config.lease()))",
            with: "Ok(anchor.plus(self.config.lease() * if $on { 1000 } else { 1 }))",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "deposition-leaves-the-lease",
        rules: &[Rule::DepositionRevokes],
        scenarios: &[],
        breaks: "a leader that voted for another can still be read from",
        edits: &[Edit {
            file: HOLDER,
            find: "self.handle_change(now, event)?;",
            with: "$it if $on && event == Event::Deposed { return Ok(()); }",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "revoked-a-tick-late",
        rules: &[Rule::RevokedBeforeTheVoteLeaves, Rule::HigherTermDeposes],
        scenarios: &[],
        breaks: "what deposes a leader is noticed at its next tick: its vote, or its answer to a higher term, has left before",
        edits: &[Edit {
            file: REPLICA,
            find: "self.statistics.messages_refused += 1; } self.sync_lease_with_raft(now); }",
            with: "self.statistics.messages_refused += 1; } if !$on || self.raw.raft.state == StateRole::Leader { self.sync_lease_with_raft(now); } }",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "check-quorum-off",
        rules: &[Rule::CheckQuorumIsOn],
        scenarios: &["leader_without_quorum"],
        breaks: "a leader that hears from no quorum holds a minority for ever",
        edits: &[Edit { file: OPTIONS, find: "check_quorum: true,", with: "check_quorum: !$on," }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "quorum-read-before-the-barrier",
        rules: &[Rule::QuorumReadCoversTheBarrier],
        scenarios: &[],
        breaks: "a quorum confirms that a new leader leads, who does not know yet what is committed",
        edits: &[
            Edit {
                file: HOLDER,
                find: "if leading.commit >= leading.barrier && leading.acks.quorum_round() > self.reported {",
                with: "if ($on || leading.commit >= leading.barrier) && leading.acks.quorum_round() > self.reported {",
            },
            Edit {
                file: HOLDER,
                find: "let index = leading.commit.max(leading.barrier);",
                with: "let index = if $on { leading.commit } else { leading.commit.max(leading.barrier) };",
            },
        ],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "deposition-aborts-no-reads",
        rules: &[Rule::QuorumReadsEndWithTheLeadership],
        scenarios: &[],
        breaks: "a read that an old leader took is confirmed when it leads again, or never ends",
        edits: &[Edit {
            file: HOLDER,
            find: "self.aborted = self.newest;",
            with: "if !$on { self.aborted = self.newest; }",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "permit-shows-an-old-commit",
        rules: &[Rule::PermitShowsTheCommit],
        scenarios: &[],
        breaks: "a permit shows the commit index of the last renewal: a follower may have shown a newer one",
        edits: &[Edit {
            file: HOLDER,
            find: "if published == self.published {",
            with: "if $on && published.map(|lease| lease.until) == self.published.map(|lease| lease.until) { return; } $it",
        }],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "answer-before-it-is-applied",
        rules: &[Rule::AnsweredOnceApplied],
        scenarios: &[],
        breaks: "a read is answered from a state that does not include its index yet",
        edits: &[
            Edit {
                file: STATUS,
                find: "self.applied() >= permit.index",
                with: "$on || self.applied() >= permit.index",
            },
            Edit {
                file: ROUTER,
                find: "if context.group.applied().index >= grant.index {",
                with: "if $on || context.group.applied().index >= grant.index {",
            },
        ],
        noticed_by: By::Soak,
    },
    Mutation {
        name: "stale-reading-in-the-loop",
        rules: &[Rule::ReadingBelongsToItsInput],
        scenarios: &[],
        breaks: "the loop reads the clock before it waits for input, and not after",
        edits: &[Edit {
            file: NODE,
            find: "pub fn handle(&mut self, now: Reading, input: Input<M>) {",
            with: "$it let now = if $on { self.now } else { now };",
        }],
        noticed_by: By::Soak,
    },
];

/// A voter that stands in for a node that is none.
const STAND_IN: &str = "pub(crate) fn stand_in(&self, id: NodeId) -> NodeId { \
    if self.voters.contains(id) { return id; } \
    self.voters.incoming().iter().copied().min_by_key(|voter| self.newest_of(*voter)).unwrap_or(id) } \n $it";

/// A quorum round without acknowledgements.
const FORCED: &str = "pub(crate) fn force(&mut self, quorum: Round) { self.quorum = self.quorum.max(quorum); \
    self.beyond = [(0, self.voters.incoming().len()), (1, self.voters.outgoing().len())] \
    .map(|(half, len)| self.rounds[half][..len].iter().filter(|round| **round > self.quorum).count()); } \n $it";
