//! The kinds of failure, and the state on which all nodes must agree.

use leasehold_core::{Index, NodeId, Term};
use leasehold_raft::wire::{Entry, Payload, Step};

/// The rule that a run violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A lease of an earlier term was valid when another leader was elected, or later.
    LeaseOutlivedElection,
    /// A lease was valid after its leader had stepped down, or during a leadership transfer.
    LeaseOutlivedLeadership,
    /// A node helped elect another leader before its hold was over in true time.
    PromiseBroken,
    /// A message was sent before the state it depends on was durable.
    NotDurable,
    /// Two nodes led in one term.
    TwoLeadersInATerm,
    /// An answer was older than one already seen when the request was sent.
    StaleRead,
    /// The clients' history is not linearizable.
    NotLinearizable,
    /// Two nodes applied different entries at one index, or an acknowledged entry was lost.
    LogsDiverged,
    /// Nodes that applied the same log hold different data.
    StatesDiverged,
    /// The group that decides on the members removed one that another group may still need.
    MemberStillNeeded,
    /// A disk received writes in an order that an ordered writer never produces.
    DiskOutOfOrder,
    /// A command received a reply of the wrong kind.
    WrongReply,
    /// The cluster did not recover, or a request did not end, within its bound after all faults healed.
    Liveness,
    /// The product panicked.
    Panic,
    /// The run exceeded its maximum number of events.
    RanAway,
}

impl FailureKind {
    /// Returns the name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::LeaseOutlivedElection => "lease-outlived-election",
            FailureKind::LeaseOutlivedLeadership => "lease-outlived-leadership",
            FailureKind::PromiseBroken => "promise-broken",
            FailureKind::NotDurable => "not-durable",
            FailureKind::TwoLeadersInATerm => "two-leaders-in-a-term",
            FailureKind::StaleRead => "stale-read",
            FailureKind::NotLinearizable => "not-linearizable",
            FailureKind::LogsDiverged => "logs-diverged",
            FailureKind::StatesDiverged => "states-diverged",
            FailureKind::MemberStillNeeded => "member-still-needed",
            FailureKind::DiskOutOfOrder => "disk-out-of-order",
            FailureKind::WrongReply => "wrong-reply",
            FailureKind::Liveness => "liveness",
            FailureKind::Panic => "panic",
            FailureKind::RanAway => "ran-away",
        }
    }
}

/// The state on which all nodes must agree: one committed log, one leader per term.
#[derive(Default)]
pub(super) struct Agreed {
    /// The committed entries after the founding one, as the first node applied them.
    log: Vec<(Term, u64)>,
    /// The leader of each term, 0 if unknown.
    leaders: Vec<NodeId>,
}

impl Agreed {
    /// Returns the highest index that any node has applied.
    pub(super) fn last(&self) -> Index {
        self.log.len() as Index + 1
    }

    /// Compares an applied entry with what other nodes applied at its index.
    pub(super) fn entry(&mut self, entry: &Entry) -> Result<(), String> {
        let (index, term) = (entry.index, entry.term);
        let entry = (term, fingerprint(&entry.payload));
        let at = (index - 2) as usize;
        match self.log.get(at) {
            None if at == self.log.len() => {
                self.log.push(entry);
                Ok(())
            }
            None => Err(format!("entry {index} is applied, but no node applied its predecessor")),
            Some(known) if *known == entry => Ok(()),
            Some((known, _)) => {
                Err(format!("entry {index} of term {term} is applied, but another node applied one of term {known}"))
            }
        }
    }

    /// Returns the term of a committed entry that some node applied.
    pub(super) fn term_of(&self, index: Index) -> Option<Term> {
        let at = usize::try_from(index.checked_sub(2)?).ok()?;
        self.log.get(at).map(|(term, _)| *term)
    }

    /// Clears the leader of a term that a single voter won and lost in a crash before any other node could learn of it.
    /// Another node may win the same term.
    pub(super) fn clear_leader(&mut self, term: Term) {
        if let Some(led) = self.leaders.get_mut(term as usize) {
            *led = 0;
        }
    }

    /// Records the leader of a term, or returns the existing one if it is a different node.
    pub(super) fn leader(&mut self, term: Term, node: NodeId) -> Result<(), NodeId> {
        let at = term as usize;
        if self.leaders.len() <= at {
            self.leaders.resize(at + 1, 0);
        }
        match self.leaders[at] {
            0 => {
                self.leaders[at] = node;
                Ok(())
            }
            known if known == node => Ok(()),
            known => Err(known),
        }
    }
}

fn fingerprint(payload: &Payload) -> u64 {
    let add = |hash: u64, byte: u64| (hash ^ byte).wrapping_mul(0x0100_0000_01b3);
    match payload {
        Payload::Command(command) => command.iter().fold(3, |hash, byte| add(hash, u64::from(*byte))),
        Payload::Change(change) => change.steps.iter().fold(2, |hash, step| match step {
            Step::AddVoter(node) => add(add(hash, 1), *node),
            Step::AddLearner(node) => add(add(hash, 2), *node),
            Step::Remove(node) => add(add(hash, 3), *node),
        }),
    }
}
