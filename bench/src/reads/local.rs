//! The cell next to the clock.

use crate::allocation;
use crate::effort::{Effort, in_turns, leased};
use crate::report::{Row, Runs, Target};
use crate::stopwatch::nanos_each;
use leasehold_clock::{Clock, SystemClock};
use leasehold_core::LeaseCell;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::sync::Barrier;

/// Reads of a pipeline that share one sample.
const PIPELINE: u32 = 16;

/// Returns the time of both clock readings alone.
fn bare_readings(calls: u32) -> f64 {
    let mut sum = 0_i64;
    let each = nanos_each(calls, || {
        let (awake, total) = (clock_gettime(ClockId::MonotonicRaw), clock_gettime(ClockId::Boottime));
        sum = sum.wrapping_add(awake.tv_nsec ^ awake.tv_sec ^ total.tv_nsec ^ total.tv_sec);
    });
    black_box(sum);
    each
}

/// Returns the time of a read with its own sample.
fn fresh_reads(cell: &LeaseCell, clock: &SystemClock, calls: u32) -> f64 {
    let (mut sum, mut refused) = (0_u64, 0_u32);
    let before = allocation::count();
    let each = nanos_each(calls, || match cell.try_read(clock.now()) {
        Some(permit) => sum = sum.wrapping_add(permit.index ^ permit.term),
        None => refused += 1,
    });
    assert_eq!((refused, allocation::count()), (0, before), "every read has its permit and allocates nothing");
    black_box(sum);
    each
}

/// Returns the time of a sample with some reads on it.
fn sample_with_reads(cell: &LeaseCell, clock: &SystemClock, reads: u32, calls: u32) -> f64 {
    let (mut sum, mut refused) = (0_u64, 0_u32);
    let before = allocation::count();
    let each = nanos_each(calls, || {
        let now = black_box(clock.now());
        for _ in 0..reads {
            match cell.try_read(now) {
                Some(permit) => sum = sum.wrapping_add(permit.index ^ permit.term),
                None => refused += 1,
            }
        }
    });
    assert_eq!((refused, allocation::count()), (0, before), "every read has its permit and allocates nothing");
    black_box(sum);
    each
}

pub(super) fn one_thread(clock: &SystemClock, effort: Effort) -> Vec<Row> {
    let cell = leased(clock.now());
    let mut fresh = Runs::default();
    let calls = effort.calls(50.0);
    in_turns(
        effort.runs,
        || fresh.ours.push(fresh_reads(&cell, clock, calls)),
        || fresh.theirs.push(bare_readings(calls)),
    );
    let (mut alone, mut with_reads) = (Vec::new(), Vec::new());
    let calls = effort.calls(100.0);
    in_turns(
        effort.runs,
        || with_reads.push(sample_with_reads(&cell, clock, PIPELINE, calls)),
        || alone.push(sample_with_reads(&cell, clock, 0, calls)),
    );
    let each = with_reads.iter().zip(&alone).map(|(with, alone)| (with - alone) / f64::from(PIPELINE)).collect();
    vec![
        fresh.row("try_read, fresh sample / two bare clock_gettime", "ns", Some(Target::AtMost(1.10))),
        Runs { ours: each, theirs: Vec::new() }.row_within(
            format!("each of {PIPELINE} reads on a sample, beyond it / limit"),
            "ns",
            3.0,
        ),
    ]
}

/// Two readers, each on a core of its own, next to one; and the same for the clock alone. `None` on a single core.
pub(super) fn two_threads(clock: &SystemClock, effort: Effort) -> Result<Option<Vec<Row>>, String> {
    let allowed = sched_getaffinity(None).map_err(|error| format!("cannot find the usable cores: {error}"))?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).take(2).collect();
    let [first, second] = cores[..] else { return Ok(None) };
    let cell = leased(clock.now());
    let calls = effort.calls(50.0);
    let reads = || fresh_reads(&cell, clock, calls);
    let readings = || bare_readings(calls);
    let (mut of_cell, mut of_clock) = (Runs::default(), Runs::default());
    in_turns(
        effort.runs,
        || of_cell.ours.push(together(&[first, second], reads)),
        || of_cell.theirs.push(together(&[first], reads)),
    );
    in_turns(
        effort.runs,
        || of_clock.ours.push(together(&[first, second], readings)),
        || of_clock.theirs.push(together(&[first], readings)),
    );
    Ok(Some(vec![
        of_cell.row("try_read on two cores / on one", "M/s", Some(Target::AtLeast(1.95))),
        of_clock.row("for comparison: bare clocks on two cores / one", "M/s", None),
    ]))
}

/// Returns millions of calls per second, with a thread on each of these cores.
fn together(cores: &[usize], nanos: impl Fn() -> f64 + Sync) -> f64 {
    let start = Barrier::new(cores.len());
    std::thread::scope(|scope| {
        let threads: Vec<_> = cores
            .iter()
            .map(|core| {
                let (start, nanos) = (&start, &nanos);
                scope.spawn(move || {
                    let mut only = CpuSet::new();
                    only.set(*core);
                    sched_setaffinity(None, &only).expect("an allowed core");
                    start.wait();
                    1e3 / nanos()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a reader does not fail")).sum()
    })
}

/// Returns millions of reads per second of one task, each with a fresh sample.
pub(super) fn reads_a_second(cell: &LeaseCell, clock: &SystemClock, calls: u32) -> f64 {
    1e3 / fresh_reads(cell, clock, calls)
}
