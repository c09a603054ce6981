//! Reads at a follower, and at three nodes at once.

use super::sample::{Effort, Sample, Shape, compare, on_cluster, sample};
use crate::cluster::Cluster;
use crate::report::{Row, Runs, Target};
use crate::stopwatch::Stopwatch;
use std::collections::BTreeMap;

/// The place at which clients read, and the ground on which they get answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// The leader, by its lease.
    Leader,
    /// A follower, by its sublease.
    Local,
    /// A follower, at an index that the leader grants by its lease.
    ReadIndex,
    /// A follower, at an index that the leader grants after a quorum round.
    Quorum,
    /// The leader by its lease and both followers by their subleases, a third of the clients at each.
    Everywhere,
}

/// The ways that are compared on one cluster. The first is the peer of the others.
const AT_A_FOLLOWER: [Way; 3] = [Way::Leader, Way::Local, Way::ReadIndex];
const EVERYWHERE: [Way; 2] = [Way::Leader, Way::Everywhere];

const SHAPES: [Shape; 6] = [
    Shape { name: "GET c1", tasks: 1, pipeline: 1, writes: 0 },
    Shape { name: "GET c50", tasks: 50, pipeline: 1, writes: 0 },
    Shape { name: "GET c50 P16", tasks: 50, pipeline: 16, writes: 0 },
    Shape { name: "5 % SET c1", tasks: 1, pipeline: 1, writes: 5 },
    Shape { name: "5 % SET c50", tasks: 50, pipeline: 1, writes: 5 },
    Shape { name: "5 % SET c50 P16", tasks: 50, pipeline: 16, writes: 5 },
];
/// The shape of which the rows show frames between nodes and the share of the subleases.
const COUNTED: Shape = SHAPES[1];
/// Loads whose clients can be spread evenly over three nodes.
const SPREAD_SHAPES: [Shape; 2] = [
    Shape { name: "GET c51", tasks: 51, pipeline: 1, writes: 0 },
    Shape { name: "GET c51 P16", tasks: 51, pipeline: 16, writes: 0 },
];

/// The figures of a round.
pub(super) struct Found {
    samples: BTreeMap<(&'static str, Way), Sample>,
    /// Frames between nodes a second without clients.
    idle_frames: f64,
}

impl Found {
    fn of(&self, shape: Shape, way: Way) -> Sample {
        self.samples[&(shape.name, way)]
    }
}

pub(super) fn measure(effort: Effort, round: usize) -> Result<Found, String> {
    let mut found = on_cluster(&[], |cluster| {
        let mut found = Found { samples: BTreeMap::new(), idle_frames: 0.0 };
        let (before, watch) = (cluster.counts()?, Stopwatch::start());
        std::thread::sleep(effort.lasts);
        found.idle_frames = (cluster.counts()?.frames - before.frames) as f64 / watch.elapsed().as_secs_f64();
        for shape in SHAPES {
            take(cluster, effort, shape, AT_A_FOLLOWER, round, &mut found)?;
        }
        for shape in SPREAD_SHAPES {
            take(cluster, effort, shape, EVERYWHERE, round, &mut found)?;
        }
        Ok(found)
    })?;
    let by_quorum = on_cluster(&["--reads", "quorum"], |cluster| {
        let mut by_quorum = Found { samples: BTreeMap::new(), idle_frames: 0.0 };
        for shape in SHAPES {
            take(cluster, effort, shape, [Way::Quorum], round, &mut by_quorum)?;
        }
        Ok(by_quorum)
    })?;
    found.samples.extend(by_quorum.samples);
    Ok(found)
}

/// Measures a shape in each of these ways.
fn take<const WAYS: usize>(
    cluster: &Cluster,
    effort: Effort,
    shape: Shape,
    mut ways: [Way; WAYS],
    round: usize,
    found: &mut Found,
) -> Result<(), String> {
    let (leader, [follower, other]) = (cluster.leader()?.port, cluster.followers()?.map(|node| node.port));
    // Each way is the first in turn.
    ways.rotate_left(round % WAYS);
    for way in ways {
        let (readers, ports): (_, &[u16]) = match way {
            Way::Leader => (Some(0), &[leader]),
            Way::Local => (Some(1), &[follower]),
            Way::ReadIndex => (Some(0), &[follower]),
            // No node of such a cluster may read locally.
            Way::Quorum => (None, &[follower]),
            Way::Everywhere => (Some(2), &[leader, follower, other]),
        };
        if let Some(readers) = readers {
            cluster.set_readers(readers)?;
        }
        found.samples.insert((shape.name, way), sample(cluster, ports, shape.load(effort.lasts))?);
    }
    Ok(())
}

/// A figure of a sample, with its name and its unit, and the target if ours should be about as good.
type Figure = (&'static str, &'static str, Target, fn(Sample) -> f64);

const FIGURES: [Figure; 3] = [
    ("", "a second", Target::AtLeast(0.95), |sample| sample.per_second),
    (", nodes", "us each", Target::AtMost(1.05), |sample| sample.nodes_micros),
    (", client", "us each", Target::AtMost(1.05), |sample| sample.client_micros),
];

pub(super) fn rows(rounds: &[Found]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (suffix, unit, target, figure) in FIGURES {
        for shape in SHAPES {
            for (way, name) in
                [(Way::Local, "local"), (Way::ReadIndex, "read index"), (Way::Quorum, "read index, quorum")]
            {
                let target = (way == Way::Local && shape.writes == 0).then_some(target);
                rows.push(compare(rounds, format!("{}{suffix}: {name} / leader", shape.name), unit, target, |found| {
                    (figure(found.of(shape, way)), figure(found.of(shape, Way::Leader)))
                }));
            }
        }
    }
    for (way, name) in [(Way::Local, "local"), (Way::ReadIndex, "read index"), (Way::Leader, "leader")] {
        let name = format!("frames between nodes, {}: {name} / idle", COUNTED.name);
        rows.push(compare(rounds, name, "a second", None, |found| {
            (found.of(COUNTED, way).frames_a_second, found.idle_frames)
        }));
    }
    for shape in SHAPES {
        let ours = rounds.iter().map(|found| found.of(shape, Way::Local).local_share).collect();
        rows.push(Runs { ours, theirs: Vec::new() }.row(format!("{}: answered locally", shape.name), "share", None));
    }
    for (suffix, unit, _, figure) in FIGURES {
        for shape in SPREAD_SHAPES {
            let name = format!("{}{suffix}: three nodes / leader", shape.name);
            rows.push(compare(rounds, name, unit, None, |found| {
                (figure(found.of(shape, Way::Everywhere)), figure(found.of(shape, Way::Leader)))
            }));
        }
    }
    rows
}
