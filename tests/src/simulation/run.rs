//! Runs of single seeds.

use super::failure::FailureKind;
use super::fault::Planned;
use super::outcome::{Failure, Options, Outcome};
use super::panics;
use super::plan::draw;
use super::setup::Setup;
use super::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Returns the plan of a seed.
pub fn plan(seed: u64, options: &Options) -> Vec<Planned> {
    let setup = Setup::draw(seed, options.clocks, &options.calm);
    let mut plan = draw(seed, &setup, options.clocks);
    if let Some(only) = &options.only {
        plan.retain(|planned| only.contains(&planned.number));
    }
    plan
}

/// Runs a seed. A panic in the product is reported as a failure.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let setup = Setup::draw(seed, options.clocks, &options.calm);
    let mut world = World::new(seed, setup, plan(seed, options), options);
    let quiet = panics::Quiet::new();
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    drop(quiet);
    if ended.is_err() {
        let what = panics::last_panic();
        world.failure = Some(Failure { kind: FailureKind::Panic, what, at: world.now });
    }
    Outcome {
        seed,
        simulated: world.now,
        events: world.events,
        elections: world.elections,
        faults: world.faults,
        marks: std::mem::take(&mut world.marks),
        operations: world.operations,
        failure: world.failure.take(),
        trace: world.take_trace(),
    }
}
