//! Many seeds, on several threads.

use super::fault::Fault;
use super::marks::Marks;
use super::outcome::{Failure, Operations, Options, Outcome};
use super::panics::catch_panics_quietly;
use super::run::run;
use super::types::Clocks;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What to soak.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// The first seed.
    pub first: u64,
    /// The most seeds.
    pub seeds: u64,
    /// Threads.
    pub jobs: usize,
    /// What clocks may do.
    pub clocks: Clocks,
    /// Whether to stop at the first seed that fails.
    pub until_failure: bool,
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// How many seeds had been begun by then, this one among them.
    pub after: u64,
    /// How it failed.
    pub failure: Failure,
}

/// What a soak did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seeds that came to an end.
    pub seeds: u64,
    /// Virtual nanoseconds in all.
    pub simulated: u128,
    /// Events in all.
    pub events: u64,
    /// Elections won in all.
    pub elections: u64,
    /// Faults by kind.
    pub faults: [u64; Fault::KINDS],
    /// What was reached.
    pub marks: Marks,
    /// How operations ended.
    pub operations: Operations,
    /// Seeds that failed, the lowest first.
    pub failures: Vec<Found>,
}

impl Report {
    /// Simulated hours.
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

/// Runs seeds, one after the other, until there are enough or `goes_on` says no. `progress` is told after each.
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
