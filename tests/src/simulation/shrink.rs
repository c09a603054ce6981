//! Shrinking of failing runs.

use super::outcome::{Failure, Options, Outcome};
use super::run::{plan, run};
use super::setup::Roughness;

/// The maximum number of runs used for shrinking.
const MAX_RUNS: usize = 400;

/// A failing run that could not be made smaller.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The options that reproduce it.
    pub options: Options,
    /// Its failure.
    pub failure: Failure,
    /// The number of runs that shrinking took.
    pub runs: usize,
}

/// Removes faults and roughness from a failing run as long as it fails in the same way.
pub fn shrink(seed: u64, options: &Options, failure: &Failure) -> Shrunk {
    let everything = plan(seed, options);
    // Faults after the failure cannot have caused it.
    let before = everything.iter().filter(|planned| planned.at <= failure.at).map(|planned| planned.number);
    let mut best = Shrunk {
        options: Options { only: Some(before.collect()), trace: false, ..options.clone() },
        failure: failure.clone(),
        runs: 0,
    };
    let first = best.clone();
    if !best.accept(seed, first.options.clone()) {
        best.options.only = options.only.clone();
        return best;
    }
    loop {
        let before = (best.options.only.clone(), best.options.calm.len());
        best.take_roughness(seed);
        best.take_faults(seed);
        if before == (best.options.only.clone(), best.options.calm.len()) || best.runs >= MAX_RUNS {
            return best;
        }
    }
}

impl Shrunk {
    /// Runs a smaller variant, and keeps it if it fails with the same kind.
    fn accept(&mut self, seed: u64, options: Options) -> bool {
        self.runs += 1;
        let Outcome { failure: Some(failure), .. } = run(seed, &options) else { return false };
        if failure.kind != self.failure.kind {
            return false;
        }
        (self.options, self.failure) = (options, failure);
        true
    }

    fn take_roughness(&mut self, seed: u64) {
        for kind in Roughness::ALL {
            if !self.options.calm.contains(&kind) && self.runs < MAX_RUNS {
                let mut options = self.options.clone();
                options.calm.push(kind);
                self.accept(seed, options);
            }
        }
    }

    /// Removes consecutive faults: half of them at a time, then a quarter, down to single ones.
    fn take_faults(&mut self, seed: u64) {
        let mut size = self.options.only.as_ref().map_or(0, Vec::len).div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while let Some(only) = &self.options.only
                && from < only.len()
                && self.runs < MAX_RUNS
            {
                let mut fewer = only.clone();
                fewer.drain(from..(from + size).min(only.len()));
                let options = Options { only: Some(fewer), ..self.options.clone() };
                if !self.accept(seed, options) {
                    from += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }
}
