//! The rules of `docs/protocol.md`, one by one, so that none is without a mutation unnoticed.

use crate::rules::Rule;

/// A rule of the protocol: what mutations call it, and words with which `docs/protocol.md` states it.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Stated {
    pub name: &'static str,
    pub words: &'static str,
}

const fn stated(name: &'static str, words: &'static str) -> Stated {
    Stated { name, words }
}

/// Every rule, in the order of the document.
pub const PROTOCOL: &[Stated] = &[
    stated("Rounds are never reused", "rises for the life of the process, never reused"),
    stated("lease covered by hold", "`D <= H (1 - rho) / (1 + rho)`, in integers, rounded down"),
    stated("handshake", "refuse each other if one's hold does not cover the other's lease"),
    stated("Time: no reading", "a clock that fails brings none, which is never taken for an instant"),
    stated("Time: a reading of its own", "A reading belongs to its input."),
    stated("Time: two counters", "The holder ages its lease by the *larger* difference"),
    stated("Time: backward readings, holder", "The holder forgets every stamp and takes the published lease back"),
    stated("Time: backward readings, grantor", "The grantor treats it as no reading."),
    stated("Time: no clock on the wire", "No clock value crosses the network."),
    stated("Holder 1: when rounds open", "on each heartbeat interval; and for quorum reads"),
    stated("Holder 1: stamped first", "The round is stamped first."),
    stated(
        "Holder 1: shared stamps",
        "Rounds opened within `D/32` of a stamp share it (the earlier time is the safe one)",
    ),
    stated("Holder 2: this term", "An ack counts only if it is of the current term"),
    stated("Holder 2: rounds are what is acknowledged", "a node's repetition of `(term, round)`"),
    stated("Holder 2: voters", "from a present voter"),
    stated("Holder 2: of a round opened, and newer", "of a round opened in this term and newer than that voter's last"),
    stated("Holder 2: its own", "The holder acknowledges its own rounds only while it is a voter."),
    stated("Holder 3: a quorum", "the greatest round that a quorum of the present voters acknowledged"),
    stated(
        "Holder 3: on every change",
        "`Q` is recomputed on every ack and on every change of voters, when it may go back.",
    ),
    stated("Holder 3: both halves", "A joint configuration needs a quorum of both halves."),
    stated("Holder 3: removed is forgotten", "A node that was removed is forgotten even if it returns."),
    stated("Holder 4: the barrier", "The lease is valid at `now` if the barrier is committed"),
    stated("Holder 4: the release mark", "`Q` is later than the release mark"),
    stated("Holder 4: by the clock", "at most less than `D` has elapsed since"),
    stated("Holder 4: nothing else extends it", "There is no other way to extend it"),
    stated("Holder 5", "the published lease is revoked before any message or vote of the same step exists outside"),
    stated("Holder 6", "Check-quorum is on"),
    stated("Quorum reads: the barrier", "notes the commit index, or the barrier if that is later"),
    stated("Quorum reads: a later round", "takes a round that cannot have left before it arrived"),
    stated(
        "Quorum reads: end with the leadership",
        "It is confirmed when `Q` reaches the round and the barrier is committed.",
    ),
    stated("Lease reads: the commit index now", "uses the commit index known at the check"),
    stated("Lease reads: once applied", "is answered once that is applied"),
    stated("Lease reads: the check comes first", "The check comes first and the state is read after"),
    stated("Grantor 1: of its leader", "from the leader of its current term, after the engine accepted that leader"),
    stated("Grantor 1: the hold", "it raises its hold to `now + H` on each counter"),
    stated("Grantor 1: never lower", "never lower than it was, and only then echoes"),
    stated("Grantor 1: without a reading", "its hold lasts a full `H` from the next reading"),
    stated("Grantor 2: votes", "While held, votes and pre-votes are refused by not showing the request to the engine"),
    stated("Grantor 2: its own ticks", "not by its own ticks"),
    stated("Grantor 2: an operator", "not by an operator's command"),
    stated("Grantor 2: a leader's request", "not at a leader's request"),
    stated("Grantor 2: failover is not delayed", "A tick that would campaign is kept back and tried again"),
    stated("Grantor 3: the restart hold", "A process that has just started cannot know what it promised."),
    stated(
        "Grantor 3: the longest hold",
        "held for the longest hold it ever echoed under, which it records on disk before the first such echo",
    ),
    stated("Grantor 3: only by time", "Only time ends this hold."),
    stated("Grantor 4", "With no reading, it stays held."),
    stated("Grantor 5: a release lifts it", "A request for a vote may show a release."),
    stated(
        "Grantor 5: only what is covered",
        "It lifts the hold of what was echoed if the newest echo is covered by it.",
    ),
    stated(
        "Transfer: the lease is taken back",
        "The holder releases through its newest round and takes the published lease back",
    ),
    stated("Transfer: the release goes along", "with the release in its envelope"),
    stated("Transfer: whoever started it", "only then does the engine's \"campaign now\" leave"),
    stated(
        "Transfer: the release is shown",
        "The target shows the release with its requests for votes, in this campaign and any later one",
    ),
    stated("Transfer: no round meanwhile", "While a transfer is pending no round is opened"),
    stated("Transfer: later rounds only", "the lease is earned again on later rounds"),
    stated("Transfer: a late campaign now", "meets voters who have acknowledged those and stay held"),
    stated(
        "Engine: nothing of a term before it is durable",
        "Nothing of a term leaves a node before that term is durable there",
    ),
    stated("Engine: persist, then send", "A leader's appends do not wait for its own disk beyond that"),
    stated("Engine: a leader counts itself once synced", "it counts itself only once it has synced"),
    stated("Engine: no campaign on unsynced writes", "everything it knows to be committed"),
    stated("Engine: one process per folder", "One process per data folder, by a lock"),
    stated(
        "Engine: the commit index on disk",
        "an entry is never durable without the commit index that was known when the entry was appended",
    ),
    stated("Engine: a leader that is no voter steps down", "A leader that is no voter steps down"),
    stated("Engine: an answer to a heartbeat does not wait", "An answer to a heartbeat does not wait for the disk"),
];

/// Rules that no mutation switches off, and why.
pub const WITHOUT: &[(&str, &str)] = &[
    ("Time: no clock on the wire", "no message has a field for one; `engine-raft/src/wire.rs` is all that is sent"),
    (
        "Holder 2: of a round opened, and newer",
        "no correct peer echoes a round that was never opened; counting an older one could only shorten the lease. \
         Hostile echoes are tried in `tests/tests/properties.rs`",
    ),
    (
        "Holder 3: removed is forgotten",
        "a voter's round lives in its place in the configuration: there is nowhere to remember a node that has none. \
         `a_removed_voter_is_forgotten_even_if_it_returns` in `core/src/holder/acks.rs`",
    ),
    (
        "Grantor 1: never lower",
        "a grantor takes no reading for the time that is earlier than one before, and has one hold for life: a later \
         hold never ends earlier. The rule is there twice on purpose",
    ),
    (
        "Lease reads: the check comes first",
        "an answer comes after the check because the check's result is what permits it; that readers paused in between \
         are safe is tried by the soak (mark \"read paused between check and answer\")",
    ),
];

/// Switches of the model that no mutation stands for, and why.
pub const SWITCHES_WITHOUT: &[(Rule, &str)] = &[(
    Rule::SampleBeforeTheAnchorIsGood,
    "refusing such a sample is safe: the read takes a quorum round that it did not need. `sample_before_anchor` tells it",
)];
