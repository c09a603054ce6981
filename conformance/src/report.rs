//! The verdicts about an engine, in prose.

use crate::engine::{Engine, Start};
use crate::rule::Rule;
use crate::schedules::SCHEDULES;
use crate::story::{Schedule, Verdict};
use crate::subject::{Founding, NotExpressible, Subject};
use crate::world::World;
use std::collections::BTreeMap;
use std::fmt;

/// The verdicts about an engine. `Display` is the report.
#[derive(Clone, Debug)]
#[must_use = "it says whether the engine passed; call assert_passed"]
pub struct Report {
    checked: Vec<Checked>,
}

/// The verdict about an engine under one schedule.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Checked {
    /// The schedule.
    pub schedule: &'static Schedule,
    /// The verdict.
    pub verdict: Verdict,
}

/// Runs every schedule against clusters of an engine. `new` starts a process: of a new node, or from the disk that the process
/// before has left.
///
/// The same engine gets the same report, whatever the machine.
pub fn check<E: Engine>(new: impl Fn(Start<E::Disk>) -> E) -> Report {
    check_seeded(0, new)
}

/// Runs every schedule with another seed, which draws other timeouts and delays. [`check`] has the seed 0.
pub fn check_seeded<E: Engine>(seed: u64, new: impl Fn(Start<E::Disk>) -> E) -> Report {
    check_subject(seed, |founding| found(founding, &new))
}

/// Returns a newly founded cluster of an engine on the kit's network and time, for schedules of your own. `new` starts a
/// process.
///
/// # Errors
/// If the engine has no such groups.
pub fn found<'c, E: Engine + 'c>(
    founding: Founding,
    new: &'c dyn Fn(Start<E::Disk>) -> E,
) -> Result<Box<dyn Subject + 'c>, NotExpressible> {
    E::supports(founding.voters.len(), founding.learners.len())?;
    Ok(Box::new(World::founded(founding, new)))
}

/// Runs every schedule against clusters that have their own network and time.
pub fn check_subject<'c>(
    seed: u64,
    found: impl Fn(Founding) -> Result<Box<dyn Subject + 'c>, NotExpressible>,
) -> Report {
    let judge = |schedule: &'static Schedule| Checked { schedule, verdict: schedule.judge(seed, &found) };
    Report { checked: SCHEDULES.iter().map(judge).collect() }
}

impl Checked {
    /// Returns the rule that is broken, if one is.
    pub fn broken(&self) -> Option<Rule> {
        match self.verdict {
            Verdict::Safe(_) | Verdict::NotExpressible(_) => None,
            Verdict::Broken(rule, _) => Some(rule),
            Verdict::Stale(_) | Verdict::Unavailable(..) => Some(self.schedule.rule),
        }
    }
}

impl Report {
    /// Returns the verdicts, in the order of [`SCHEDULES`].
    pub fn checked(&self) -> &[Checked] {
        &self.checked
    }

    /// Returns the rule to repair first, if one is broken. What breaks one rule often makes later schedules fail too.
    pub fn broken(&self) -> Option<Rule> {
        self.checked.iter().find_map(Checked::broken)
    }

    /// Panics with the report unless every schedule was run and passed.
    ///
    /// # Panics
    /// If a rule is broken, or a schedule was not run.
    pub fn assert_passed(&self) {
        self.assert_passed_except(&[]);
    }

    /// Panics with the report unless every schedule was run and passed, except those with these names, which may be such that
    /// the engine cannot run them.
    ///
    /// # Panics
    /// If a rule is broken, or another schedule was not run.
    pub fn assert_passed_except(&self, names: &[&str]) {
        assert!(self.broken().is_none(), "{self}");
        let skipped = |checked: &&Checked| !checked.verdict.is_safe() && !names.contains(&checked.schedule.name);
        let skipped: Vec<&str> = self.checked.iter().filter(skipped).map(|checked| checked.schedule.name).collect();
        assert!(
            skipped.is_empty(),
            "{self}\nIf the engine cannot run them, pass their names to assert_passed_except: {}",
            skipped.join(", ")
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed: Vec<&Checked> = self.checked.iter().filter(|checked| checked.broken().is_some()).collect();
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for Checked { schedule, verdict } in &self.checked {
            if let Verdict::NotExpressible(why) = verdict {
                reasons.entry(why).or_default().push(schedule.name);
            }
        }
        let passed = self.checked.iter().filter(|checked| checked.verdict.is_safe()).count();
        writeln!(f, "{passed} of {} schedules passed, {} failed.", self.checked.len(), failed.len())?;
        for (why, names) in &reasons {
            writeln!(f, "Not run, because {why}: {}.", names.join(", "))?;
        }
        let Some((first, others)) = failed.split_first() else { return Ok(()) };
        let (rule, text, saw) = match &first.verdict {
            Verdict::Broken(rule, text) => (*rule, text, "A node broke it".to_owned()),
            Verdict::Stale(text) => (first.schedule.rule, text, "A read was stale".to_owned()),
            Verdict::Unavailable(what, text) => (first.schedule.rule, text, format!("Progress is missing: {what}")),
            Verdict::Safe(_) | Verdict::NotExpressible(_) => return Ok(()),
        };
        writeln!(f, "\nThe rule that is broken: {}", rule.statement())?;
        writeln!(f, "What to do: {}", rule.advice())?;
        writeln!(f, "\n{saw}, in the schedule {}:\n\n{text}", first.schedule.name)?;
        if !others.is_empty() {
            let names: Vec<&str> = others.iter().map(|checked| checked.schedule.name).collect();
            writeln!(f, "These failed too, perhaps for the same reason: {}.", names.join(", "))?;
        }
        Ok(())
    }
}
