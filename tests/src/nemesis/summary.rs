//! The result of a run.

use super::fault::Fault;
use super::options::Options;
use super::workload::Outcomes;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The maximum number of violations printed. All are counted.
const MAX_SHOWN: usize = 3;

/// The faults of a run, the results of its clients, and the violations found.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The options of the run.
    pub options: Options,
    /// The time for which the clients ran.
    pub lasted: Duration,
    /// The number of times that each fault was injected.
    pub faults: BTreeMap<Fault, u64>,
    /// Faults that could not be injected, with the reason.
    pub skipped: Vec<(Fault, String)>,
    /// The results of reads.
    pub reads: Outcomes,
    /// The results of writes.
    pub writes: Outcomes,
    /// Reads that were queued in the socket of a stopped leader and answered after it resumed.
    pub reads_on_resume: u64,
    /// Lease reads counted by leaders, for their own clients and for followers.
    pub reads_lease: u64,
    /// Reads that nodes answered by their subleases.
    pub reads_local: u64,
    /// Quorum reads counted by leaders.
    pub reads_quorum: u64,
    /// Reads that followers answered with an index from the leader.
    pub reads_forwarded: u64,
    /// The last term of the cluster, which is an upper bound on the number of elections.
    pub terms: u64,
    /// The longest time without an answered read on any node.
    pub longest_without_read: Duration,
    /// The longest time without an acknowledged write on any node.
    pub longest_without_write: Duration,
    /// The longest time from the end of a fault until there was a leader with a valid lease and every node served reads
    /// and writes.
    pub longest_recovery: Duration,
    /// Keys whose histories were checked.
    pub keys: u64,
    /// Keys whose histories were too expensive to check.
    pub given_up: u64,
    /// The violations: one per key that is not linearizable, and one if the cluster did not recover.
    pub violations: Vec<String>,
    /// A log of all actions.
    pub journal: Vec<String>,
}

impl Summary {
    pub(crate) fn new(options: &Options) -> Summary {
        Summary {
            options: options.clone(),
            lasted: Duration::ZERO,
            faults: BTreeMap::new(),
            skipped: Vec::new(),
            reads: Outcomes::default(),
            writes: Outcomes::default(),
            reads_on_resume: 0,
            reads_lease: 0,
            reads_local: 0,
            reads_quorum: 0,
            reads_forwarded: 0,
            terms: 0,
            longest_without_read: Duration::ZERO,
            longest_without_write: Duration::ZERO,
            longest_recovery: Duration::ZERO,
            keys: 0,
            given_up: 0,
            violations: Vec::new(),
            journal: Vec::new(),
        }
    }

    /// Returns true if there is no violation and every history was checked completely.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.given_up == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { seed, runtime, groups, .. } = &self.options;
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        let lasted = seconds(self.lasted);
        writeln!(f, "three processes on {runtime}, number of groups {groups}, seed {seed}, {lasted}")?;
        if !self.violations.is_empty() {
            self.journal.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        writeln!(f, "\n  {:<48} times", "fault")?;
        for (fault, count) in &self.faults {
            writeln!(f, "  {:<48} {count:>5}", fault.to_string())?;
        }
        for (fault, reason) in &self.skipped {
            writeln!(f, "  {fault}: skipped, {reason}")?;
        }
        writeln!(f, "\n  {:<48} {:>9} {:>9} {:>9}", "operations", "ok", "failed", "unknown")?;
        for (name, Outcomes { ok, failed, unknown }) in [("reads", self.reads), ("writes", self.writes)] {
            writeln!(f, "  {name:<48} {ok:>9} {failed:>9} {unknown:>9}")?;
        }
        writeln!(f)?;
        for (name, value) in [
            ("lease reads, including those for followers", self.reads_lease.to_string()),
            ("reads by subleases", self.reads_local.to_string()),
            ("quorum reads", self.reads_quorum.to_string()),
            ("reads on followers", self.reads_forwarded.to_string()),
            ("reads queued on a stopped leader and answered", self.reads_on_resume.to_string()),
            ("last term", self.terms.to_string()),
            ("longest time without a read on any node", seconds(self.longest_without_read)),
            ("longest time without a write on any node", seconds(self.longest_without_write)),
            ("longest recovery", seconds(self.longest_recovery)),
            ("keys checked", self.keys.to_string()),
            ("keys too expensive to check", self.given_up.to_string()),
            ("violations", self.violations.len().to_string()),
        ] {
            writeln!(f, "  {name:<48} {value:>9}")?;
        }
        writeln!(f)?;
        match (&self.violations[..], self.given_up) {
            ([], 0) => writeln!(f, "  every history is linearizable, and the cluster recovered from every fault"),
            ([], _) => writeln!(f, "  no violation found, but not every history could be checked"),
            (violations, _) => {
                violations.iter().take(MAX_SHOWN).try_for_each(|violation| writeln!(f, "  VIOLATION: {violation}"))
            }
        }
    }
}
