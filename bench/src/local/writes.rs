//! Writes while some nodes read locally, and when one of them is killed.

use super::sample::{Effort, Shape, compare, on_cluster};
use crate::closed_loop::{self, Outcome, resp::Resp};
use crate::report::Row;
use std::time::Duration;

const SHAPES: [Shape; 2] = [
    Shape { name: "SET c1", tasks: 1, pipeline: 1, writes: 100 },
    Shape { name: "SET c50", tasks: 50, pipeline: 1, writes: 100 },
];
/// The numbers of readers. The first is the peer of the others.
const READERS: [usize; 3] = [0, 1, 2];
/// The load during which a follower is killed.
const KILLED: Shape = SHAPES[1];
/// The time from the start of the load until then.
const KILL_AFTER: Duration = Duration::from_secs(1);

/// The figures of a round.
pub(super) struct Found {
    /// By shape and number of readers.
    samples: [[Sample; READERS.len()]; SHAPES.len()],
    /// The longest write in milliseconds, while a follower is killed that reads locally, and one that does not.
    pauses: [f64; 2],
}

#[derive(Clone, Copy, Default)]
struct Sample {
    per_second: f64,
    p50_millis: f64,
    p99_millis: f64,
}

pub(super) fn measure(effort: Effort, round: usize) -> Result<Found, String> {
    let samples = on_cluster(&[], |cluster| {
        let leader = cluster.leader()?.port;
        let mut samples = [[Sample::default(); READERS.len()]; SHAPES.len()];
        for (shape, samples) in SHAPES.iter().zip(&mut samples) {
            for turn in 0..READERS.len() {
                let at = (round + turn) % READERS.len();
                cluster.set_readers(READERS[at])?;
                let outcome = closed_loop::run::<Resp>(leader, shape.load(effort.lasts))?;
                cluster.check_readers(READERS[at])?;
                samples[at] = Sample {
                    per_second: outcome.per_second,
                    p50_millis: millis(&outcome, 0.5),
                    p99_millis: millis(&outcome, 0.99),
                };
            }
        }
        Ok(samples)
    })?;
    Ok(Found { samples, pauses: [longest_write(effort, 1)?, longest_write(effort, 0)?] })
}

/// Returns the longest write while a follower is killed, which reads locally if there is a reader.
fn longest_write(effort: Effort, readers: usize) -> Result<f64, String> {
    on_cluster(&[], |cluster| {
        cluster.set_readers(readers)?;
        let (leader, [follower, _]) = (cluster.leader()?.port, cluster.followers()?);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(KILL_AFTER);
                follower.kill();
            });
            Ok(millis(&closed_loop::run::<Resp>(leader, KILLED.load(effort.kill_lasts))?, 1.0))
        })
    })
}

fn millis(outcome: &Outcome, quantile: f64) -> f64 {
    outcome.sets.value_at_quantile(quantile) as f64 / 1e3
}

type Figure = (&'static str, &'static str, fn(Sample) -> f64);

const FIGURES: [Figure; 3] = [
    ("", "a second", |sample| sample.per_second),
    (", p50", "ms", |sample| sample.p50_millis),
    (", p99", "ms", |sample| sample.p99_millis),
];

pub(super) fn rows(rounds: &[Found]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (suffix, unit, figure) in FIGURES {
        for (shape, at) in SHAPES.iter().zip(0..) {
            for (with, name) in [(1, "1 reader"), (2, "2 readers")] {
                let name = format!("{}{suffix}: {name} / none", shape.name);
                rows.push(compare(rounds, name, unit, None, |found: &Found| {
                    (figure(found.samples[at][with]), figure(found.samples[at][0]))
                }));
            }
        }
    }
    let name = format!("{}, longest: a reader / another follower is killed", KILLED.name);
    rows.push(compare(rounds, name, "ms", None, |found| (found.pauses[0], found.pauses[1])));
    rows
}
