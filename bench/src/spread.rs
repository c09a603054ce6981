//! Groups whose leaders are spread over three nodes, next to one group: servers on this machine, and nodes on simulated
//! machines of their own.

mod machines;
mod processes;

use crate::report::{Report, Row, Runs};
use machines::Load;
use processes::{GET, SHAPES};
use std::time::Duration;

/// The numbers of groups. The first is the peer of the others.
const GROUPS: [u32; 3] = [1, 3, 16];
/// The loads on simulated machines: SETs per hundred commands, and their names.
const OWN_LOADS: [(u32, &str); 3] = [(0, "GET"), (10, "10 % SET"), (100, "SET")];

const NOTES: [&str; 3] = [
    "Each node leads a third of the groups, or about that. SET and GET: redis-benchmark, which has one thread and sends \
     each command to the leader of its group. all nodes: the processor time of the three for each command. busiest \
     node: that of the node that spends most of it. in use: the part of this machine's processors that was in use.",
    "Three nodes and the client share this machine's processors. Where these are in use, spreading leaders gains \
     little here: three nodes, each woken for a third of the commands, do more work in all than one node.",
    "own machines: three nodes on simulated machines, with one processor each, and more clients than these can serve. A \
     turn of a node is real and takes as long on its machine as it took here, in processor time, with the encoding and \
     decoding of its frames. A command takes from the leader's processor what GET c48 took from the one leader in the \
     same run, and a SET in addition its part of the turns of all nodes. A message takes 0.1 ms, a sync of a disk \
     0.5 ms. The processor time of the disk's thread and of the links is left out.",
];

/// The figures of a round, by the number of groups.
type Round<T> = [T; GROUPS.len()];

#[derive(Default)]
struct Found {
    on_this_machine: Vec<Round<[processes::Sample; SHAPES.len()]>>,
    on_their_own: Vec<Round<[machines::Sample; OWN_LOADS.len()]>>,
}

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    crate::redis_benchmark::require()?;
    let (rounds, seconds) = if quick { (1, 1) } else { (5, 3) };
    let mut found = Found::default();
    for round in 0..rounds {
        let mut here = Round::<[processes::Sample; SHAPES.len()]>::default();
        let mut own = Round::<[machines::Sample; OWN_LOADS.len()]>::default();
        for turn in 0..GROUPS.len() {
            // Each number is the first in turn.
            let at = (round + turn) % GROUPS.len();
            here[at] = processes::measure(GROUPS[at], seconds)?;
        }
        // The time that a command takes from the only leader in addition to its turns: a GET has no part in these.
        let takes = Duration::from_secs_f64(here[0][GET].busiest_micros / 1e6);
        for (groups, samples) in GROUPS.into_iter().zip(&mut own) {
            for ((writes, _), sample) in OWN_LOADS.into_iter().zip(samples) {
                *sample = machines::sample(groups, Load { writes, takes, lasts: Duration::from_secs(1) })?;
            }
        }
        found.on_this_machine.push(here);
        found.on_their_own.push(own);
    }
    Ok(Report {
        title: format!("Leaders of groups spread over three nodes, medians of {rounds} runs in alternating order"),
        ours: "groups",
        peer: "one group",
        rows: rows(&found),
        notes: NOTES.map(str::to_owned).to_vec(),
    })
}

type Figure<T> = (&'static str, &'static str, fn(&T) -> f64);

const HERE: [Figure<processes::Sample>; 4] = [
    ("", "a second", |sample| sample.per_second),
    (", all nodes", "us each", |sample| sample.all_micros),
    (", busiest node", "us each", |sample| sample.busiest_micros),
    (", in use", "% of all", |sample| sample.in_use * 100.0),
];
const OWN: [Figure<machines::Sample>; 2] = [
    ("", "a second", |sample| sample.per_second),
    (", busiest processor", "% of one", |sample| sample.busiest * 100.0),
];

fn rows(found: &Found) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, (name, _)) in SHAPES.iter().enumerate() {
        for figure in HERE {
            rows.extend(compare(&found.on_this_machine, name, at, figure));
        }
    }
    for (at, (_, name)) in OWN_LOADS.into_iter().enumerate() {
        for figure in OWN {
            rows.extend(compare(&found.on_their_own, &format!("own machines, {name}"), at, figure));
        }
    }
    rows
}

/// Returns a row for each number of groups but the first.
fn compare<T, const SHAPES: usize>(
    rounds: &[Round<[T; SHAPES]>],
    name: &str,
    shape: usize,
    (suffix, unit, figure): Figure<T>,
) -> Vec<Row> {
    let of = |at: usize| rounds.iter().map(|round| figure(&round[at][shape])).collect::<Vec<f64>>();
    let row = |at: usize| {
        let name = format!("{name}{suffix}: {} groups / one", GROUPS[at]);
        Runs { ours: of(at), theirs: of(0) }.row(name, unit, None)
    };
    (1..GROUPS.len()).map(row).collect()
}
