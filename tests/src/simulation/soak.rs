//! Runs of many seeds on several threads.

use super::fault::Fault;
use super::marks::Marks;
use super::outcome::{Failure, Operations, Options, Outcome};
use super::panics::catch_panics_quietly;
use super::run::run;
use super::types::Clocks;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The options of a soak.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// The first seed.
    pub first: u64,
    /// The maximum number of seeds.
    pub seeds: u64,
    /// The number of threads.
    pub jobs: usize,
    /// The behaviour of clocks.
    pub clocks: Clocks,
    /// Stops at the first seed that fails.
    pub until_failure: bool,
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// The number of seeds started by then, including this one.
    pub after: u64,
    /// Its failure.
    pub failure: Failure,
}

/// The results of a soak.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seeds that were completed.
    pub seeds: u64,
    /// Total virtual nanoseconds.
    pub simulated: u128,
    /// Total events.
    pub events: u64,
    /// Total elections won.
    pub elections: u64,
    /// Faults by kind.
    pub faults: [u64; Fault::KINDS],
    /// The marks that were reached.
    pub marks: Marks,
    /// Operations by their result.
    pub operations: Operations,
    /// Seeds that failed, in ascending order.
    pub failures: Vec<Found>,
}

impl Report {
    /// Returns the simulated hours.
    pub fn hours(&self) -> f64 {
        self.simulated as f64 / 3.6e12
    }

    fn add(&mut self, outcome: Outcome, after: u64) {
        self.seeds += 1;
        self.simulated += u128::from(outcome.simulated);
        self.events += outcome.events;
        self.elections += outcome.elections;
        for (sum, more) in self.faults.iter_mut().zip(outcome.faults) {
            *sum += more;
        }
        self.marks.add(&outcome.marks);
        let (sum, more) = (&mut self.operations, outcome.operations);
        sum.lease_reads += more.lease_reads;
        sum.quorum_reads += more.quorum_reads;
        sum.follower_reads += more.follower_reads;
        sum.writes += more.writes;
        sum.failed += more.failed;
        sum.unknown += more.unknown;
        sum.undecided_keys += more.undecided_keys;
        if let Some(failure) = outcome.failure {
            self.failures.push(Found { seed: outcome.seed, after, failure });
        }
    }
}

/// Runs seeds until the maximum is reached or `goes_on` returns false. Calls `progress` after each.
pub fn soak(soak: Soak, goes_on: impl Fn() -> bool + Sync, progress: impl Fn(&Report) + Sync) -> Report {
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let report = Mutex::new(Report::default());
    let work = || {
        while goes_on() && !(soak.until_failure && failed.load(Ordering::Relaxed)) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= soak.seeds {
                return;
            }
            let outcome = run(soak.first + number, &Options { clocks: soak.clocks, ..Options::default() });
            if outcome.failure.is_some() {
                failed.store(true, Ordering::Relaxed);
            }
            let mut report = report.lock();
            report.add(outcome, number + 1);
            progress(&report);
        }
    };
    catch_panics_quietly();
    std::thread::scope(|threads| {
        for _ in 1..soak.jobs {
            threads.spawn(work);
        }
        work();
    });
    let mut report = report.into_inner();
    report.failures.sort_by_key(|found| found.seed);
    report
}
