//! What a run came to.

use super::fault::Fault;
use super::options::Options;
use super::workload::Outcomes;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Violations that are shown; all are counted.
const SHOWN: usize = 3;

/// What was done to a cluster, what its clients saw, and whether that is as promised.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What was asked for.
    pub options: Options,
    /// How long the clients were at work.
    pub lasted: Duration,
    /// How often each fault struck.
    pub faults: BTreeMap<Fault, u64>,
    /// Faults that were asked for and could not be had, with the reason.
    pub skipped: Vec<(Fault, String)>,
    /// What became of reads.
    pub reads: Outcomes,
    /// What became of writes.
    pub writes: Outcomes,
    /// Reads that waited in the socket of a leader while it was stopped and were answered after it went on, by anyone.
    pub reads_on_resume: u64,
    /// Times leaders relied on their lease, as they say: for reads of their own, and for those that followers asked about.
    pub reads_lease: u64,
    /// Reads that took a quorum round, as the leaders say.
    pub reads_quorum: u64,
    /// Reads that followers answered with the leader's word, as they say.
    pub reads_forwarded: u64,
    /// The last term of the cluster: how often a leader was sought.
    pub terms: u64,
    /// The longest time in which no client anywhere had a read answered.
    pub longest_without_read: Duration,
    /// The same of writes.
    pub longest_without_write: Duration,
    /// The longest time from the end of a fault until there was a leader with a valid lease and every node took reads and writes.
    pub longest_recovery: Duration,
    /// Keys whose histories were judged.
    pub keys: u64,
    /// Keys whose histories the checker gave up on.
    pub given_up: u64,
    /// What broke a promise: one for each key that no order of operations explains, and one if the cluster did not recover.
    pub violations: Vec<String>,
    /// What was done when.
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

    /// Whether every promise was kept and every history judged to the end.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.given_up == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { seed, runtime, .. } = &self.options;
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        writeln!(f, "three processes on {runtime}, seed {seed}, {}", seconds(self.lasted))?;
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
            ("reads by lease, also for followers", self.reads_lease.to_string()),
            ("reads by quorum round", self.reads_quorum.to_string()),
            ("reads on followers", self.reads_forwarded.to_string()),
            ("reads queued in a stopped leader, answered", self.reads_on_resume.to_string()),
            ("last term", self.terms.to_string()),
            ("longest time without a read anywhere", seconds(self.longest_without_read)),
            ("longest time without a write anywhere", seconds(self.longest_without_write)),
            ("longest recovery of every node", seconds(self.longest_recovery)),
            ("keys judged", self.keys.to_string()),
            ("keys given up by the checker", self.given_up.to_string()),
            ("keys with stale reads or lost writes, and hangs", self.violations.len().to_string()),
        ] {
            writeln!(f, "  {name:<48} {value:>9}")?;
        }
        writeln!(f)?;
        match (&self.violations[..], self.given_up) {
            ([], 0) => writeln!(f, "  every history is linearizable, and the cluster recovered from every fault"),
            ([], _) => writeln!(f, "  no violation found, but not every history could be judged"),
            (violations, _) => {
                violations.iter().take(SHOWN).try_for_each(|violation| writeln!(f, "  VIOLATION: {violation}"))
            }
        }
    }
}
