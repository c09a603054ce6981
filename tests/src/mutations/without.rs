//! The rules that no mutation switches off.

use crate::rules::Rule;

/// Rules that no mutation switches off, and why.
pub const WITHOUT: &[(Rule, &str)] = &[
    (Rule::NoClockOnTheWire, "no message has a field for one; `engine-raft/src/wire/mod.rs` is all that is sent"),
    (
        Rule::AcksAreOfOpenedRounds,
        "no correct peer echoes a round that was never opened; counting an older one could only shorten the lease. \
         Hostile echoes are tried in `tests/tests/properties.rs`",
    ),
    (
        Rule::RemovedVoterIsForgotten,
        "a voter's round lives in its place in the configuration: there is nowhere to remember a node that has none. \
         `a_removed_voter_stays_forgotten_if_it_returns` in `core/src/holder/acks.rs`",
    ),
    (
        Rule::HoldIsNeverLowered,
        "a grantor takes no reading for the time that is earlier than one before, and has one hold for life: a later \
         hold never ends earlier. The rule is there twice on purpose",
    ),
    (
        Rule::CheckComesFirst,
        "an answer comes after the check because the check's result is what permits it; that readers paused in between \
         are safe is tried by the soak (mark \"read paused between check and answer\")",
    ),
    (
        Rule::SampleBeforeTheAnchorIsGood,
        "refusing such a sample is safe: the read takes a quorum round that it did not need. The scenario \
         `sample_before_anchor` shows it",
    ),
    (
        Rule::AttachmentOutlivesTheReplica,
        "the caller keeps the attachment, and the machines cannot know what it drops; `core/tests/groups/` switches the rule \
         off from outside",
    ),
    (
        Rule::InputWakesTheGroup,
        "the caller lets groups rest and wakes them; `core/tests/groups/` switches the rule off from outside",
    ),
];
