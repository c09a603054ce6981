//! The rules that an engine must keep, and what to do about one that is broken.

use std::fmt;

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident: $statement:literal, $advice:literal;)*) => {
        /// A rule that an engine with leases must keep. Each is in the core's README or in the project's `docs/protocol.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $($(#[doc = $doc])+ $rule,)*
        }

        impl Rule {
            /// All rules.
            pub const ALL: &[Rule] = &[$(Rule::$rule),*];

            /// Returns the rule in one sentence.
            pub fn statement(self) -> &'static str {
                match self {
                    $(Rule::$rule => $statement,)*
                }
            }

            /// Returns what to do if it is broken.
            pub fn advice(self) -> &'static str {
                match self {
                    $(Rule::$rule => $advice,)*
                }
            }
        }
    };
}

rules! {
    /// A leader renews its lease.
    Renewal:
        "A leader that hears from the others answers by its lease, also when nothing is written.",
        "Send frame_round with each frame, report Acked for each echo, call handle_timeout at the heartbeat interval, and \
         try the cell first for a read.";
    /// Elections are neither too early nor too late.
    ElectionTimeout:
        "A follower campaigns when it has not heard from a leader for one to two holds.",
        "Draw election timeouts between Config::hold and twice that. With longer ones the schedules that need a rival are empty.";
    /// A read waits for the index of its permit.
    ReadIndex:
        "A read by lease returns every write that was acknowledged before it began.",
        "Answer once permit.index is applied, and report Committed before a write is acknowledged.";
    /// A read returns what is committed.
    Committed:
        "A read returns only what is committed.",
        "Answer from a state to which entries are applied when they are committed, and not when they are appended.";
    /// A request for a vote passes the grantor first.
    VoteGate:
        "While a node is held, its engine sees no request for a vote or a pre-vote.",
        "Call may_vote before the engine sees the request. On false drop it: even a refusal would raise the term.";
    /// A tick that campaigns passes the grantor first.
    TickGate:
        "While a node is held, no tick makes it campaign, however many fire at once.",
        "Call may_campaign before a tick that would start a campaign. On false withhold the tick.";
    /// A command to campaign passes the grantor first.
    CommandGate:
        "While a node is held, no command of an operator makes it campaign.",
        "Call may_campaign before the engine sees the command. On false refuse it.";
    /// An order to campaign passes the grantor first.
    TransferGate:
        "While a node is held, \"campaign now\" makes it campaign only with a release that covers what it acknowledged.",
        "Pass the release of the message to keep_release, and call may_campaign before the engine sees the message.";
    /// An answer to a pre-vote passes the grantor first.
    PreVoteGate:
        "While a node is held, no answer to a pre-vote makes it campaign.",
        "Call may_campaign when the pre-votes are counted, not only when they are requested; or drop them when a leader's \
         frame is accepted.";
    /// A restart forgets no hold.
    RestartHold:
        "A process that starts again is held for the longest hold under which the node ever acknowledged.",
        "Make the longest hold durable before the first echo, and pass it to Member::new or Grantor::new.";
    /// A term is led once.
    TermLedOnce:
        "A node that starts again sends no round a second time: an acknowledgement of the first one would count for it.",
        "Start as a follower, so that no node leads a term twice. Or pass the number of starts to Holder::with_rounds_after, \
         in the high bits.";
    /// A reading serves one input.
    FreshReading:
        "Each input has a reading of its own, which was sampled after the input arrived.",
        "Read the clock for each message, timer and read. Never keep a reading for a later input.";
    /// Both counters count.
    BothCounters:
        "A reading has two counters, one of which counts the time of a suspend.",
        "Pass both counters on: CLOCK_MONOTONIC_RAW and CLOCK_BOOTTIME on Linux; leasehold-clock reads them.";
    /// No reading is no instant.
    MissingReading:
        "Without a reading of the clock there is no lease.",
        "Pass None on. Do not replace it by an earlier reading.";
    /// A step back is passed on.
    BackwardReading:
        "A clock that steps back ends the lease.",
        "Pass each reading on as it is. Do not make it monotonic.";
    /// A step-down is reported first.
    StepDownFirst:
        "A leader's lease is revoked before a vote or a message of the step in which it is deposed leaves.",
        "Compare role and term after each step of the engine, and report Deposed before its messages leave.";
    /// An engine out of sight is suspended first.
    SuspendFirst:
        "While an engine in a task of its own may be voting for another node, its leader has no lease.",
        "Report Suspended before such an engine sees a request for a vote, and Resumed once its decision is known and a \
         step-down was reported.";
    /// A transfer is reported first.
    TransferFirst:
        "The lease is revoked before \"campaign now\" leaves.",
        "Report TransferStarted first, and send the release that Holder::release returns then, and no other.";
    /// A release travels.
    Release:
        "A transfer succeeds although its target and the other voters are held.",
        "Send Holder::release with \"campaign now\", and release_to_show with each request for a vote.";
    /// A round is acknowledged after its sender is accepted.
    AcceptFirst:
        "A round is acknowledged only while the node follows its sender, in the term of the round.",
        "Pass a round to handle_round after the engine has accepted the frame, not before and not if it was refused.";
    /// An acknowledgement is the echo.
    Echo:
        "An acknowledgement counts for the round that the voter echoed, and for no newer one.",
        "Report Acked with the round in the message. Do not take an answer for one to the newest round.";
    /// The barrier opens the term.
    Barrier:
        "A new leader has no lease before an entry of its own term is committed.",
        "Report Elected with the index of the entry that opens the term as its barrier.";
    /// The voters are those in force.
    Voters:
        "A quorum is one of the voters in force.",
        "Report VotersChanged when a configuration takes effect. Learners and removed nodes are no voters.";
    /// A leader without a quorum steps down.
    CheckQuorum:
        "A leader that hears from no quorum steps down, so that the nodes that it still reaches are free to elect another.",
        "Turn on the engine's check of its quorum, or step down when Holder::hears_quorum returns false at a tick.";
    /// The actions are taken.
    Actions:
        "Reads go on through quorum rounds while there is no lease.",
        "Call poll_action after each input until it returns None, and answer the reads that it confirms or aborts.";
    /// A quorum read waits for its round.
    QuorumRound:
        "A read without a lease is answered when a quorum has acknowledged a round that was opened after the read arrived.",
        "Answer at Confirmed through ticket.round or a later round, once ticket.index is applied.";
    /// The timing of peers is compared.
    Timing:
        "An acknowledgement counts only if the hold of its sender covers this node's lease.",
        "Exchange Config::timing when a link opens, and refuse a peer that Config::accept_peer refuses.";
    /// Nodes are counted, not messages.
    Repetition:
        "A repeated message changes nothing.",
        "Count the nodes that voted or stored an entry, and not their messages.";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.statement())
    }
}
