//! The kinds of failure, and what every node must agree on.

use leasehold_core::{Index, NodeId, Term};
use leasehold_raft::wire::{Entry, Payload, Step};

/// What kind of rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A lease of an earlier term was valid when, or after, another leader was elected.
    LeaseOutlivedElection,
    /// A lease was valid after its leader had ceased to lead, or while it handed leadership over.
    LeaseOutlivedLeadership,
    /// A node helped to elect another before its hold was over, by true time.
    PromiseBroken,
    /// A message left that rests on what was not durable.
    NotDurable,
    /// Two nodes led in one term.
    TwoLeadersInATerm,
    /// An answer older than what had been seen before it was asked for.
    StaleRead,
    /// The clients' history is not that of one copy of the data.
    NotLinearizable,
    /// Two nodes applied different entries at one index, or an acknowledged one was lost.
    LogsDiverged,
    /// Nodes that applied the same log hold different data.
    StatesDiverged,
    /// A disk was told to hold what an ordered writer never leaves.
    DiskOutOfOrder,
    /// A command was answered with what it cannot be answered with.
    WrongReply,
    /// After all faults healed, something did not come about in time.
    Liveness,
    /// The product panicked.
    Panic,
    /// The run never came to its end.
    RanAway,
}

impl FailureKind {
    /// Its name, in reports.
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
            FailureKind::DiskOutOfOrder => "disk-out-of-order",
            FailureKind::WrongReply => "wrong-reply",
            FailureKind::Liveness => "liveness",
            FailureKind::Panic => "panic",
            FailureKind::RanAway => "ran-away",
        }
    }
}

/// What every node must agree on: one committed log, one leader per term.
#[derive(Default)]
pub(super) struct Agreed {
    /// The committed entries after the founding one, as the first node to apply each had them.
    log: Vec<(Term, u64)>,
    /// The leader of each term.
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
            None => Err(format!("entry {index} is applied, but no node applied the one before it")),
            Some(known) if *known == entry => Ok(()),
            Some((known, _)) => {
                Err(format!("entry {index} of term {term} is applied, but elsewhere it is another, of term {known}"))
            }
        }
    }

    /// Returns the term of a committed entry that some node applied.
    pub(super) fn term_of(&self, index: Index) -> Option<Term> {
        let at = usize::try_from(index.checked_sub(2)?).ok()?;
        self.log.get(at).map(|(term, _)| *term)
    }

    /// A single voter won a term and lost it in a crash, before another node could learn of it: another may win it.
    pub(super) fn never_led(&mut self, term: Term) {
        if let Some(led) = self.leaders.get_mut(term as usize) {
            *led = 0;
        }
    }

    /// Notes the leader of a term. Fails if it had another.
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
