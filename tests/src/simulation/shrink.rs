//! Making a failing run smaller.

use super::outcome::{Failure, Options, Outcome};
use super::run::{plan, run};
use super::setup::Roughness;

/// The most runs that shrinking takes.
const MOST_RUNS: usize = 400;

/// A failing run from which nothing more could be taken.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// How to run it.
    pub options: Options,
    /// How it fails.
    pub failure: Failure,
    /// Runs that it took to find.
    pub runs: usize,
}

/// Takes faults and roughness away from a failing run, as long as it fails in the same way.
pub fn shrink(seed: u64, options: &Options, failure: &Failure) -> Shrunk {
    let everything = plan(seed, options);
    // What comes after the failure had no part in it.
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
        if before == (best.options.only.clone(), best.options.calm.len()) || best.runs >= MOST_RUNS {
            return best;
        }
    }
}

impl Shrunk {
    /// Tries a smaller run, and keeps it if it fails alike.
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
            if !self.options.calm.contains(&kind) && self.runs < MOST_RUNS {
                let mut options = self.options.clone();
                options.calm.push(kind);
                self.accept(seed, options);
            }
        }
    }

    /// Takes out runs of faults: half of them, a quarter, down to single ones.
    fn take_faults(&mut self, seed: u64) {
        let mut size = self.options.only.as_ref().map_or(0, Vec::len).div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while let Some(only) = &self.options.only
                && from < only.len()
                && self.runs < MOST_RUNS
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
