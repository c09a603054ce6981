//! The cost of many groups on three nodes in this process, and what a group in trouble costs the others.

mod machine;
mod nodes;

use crate::report::{Report, Row};
use crate::stopwatch::{Stopwatch, process_time};
use hdrhistogram::Histogram;
use nodes::{Nodes, Trouble};
use std::time::Duration;

pub(crate) use nodes::{KEYS, set};

/// The numbers of groups, of which the first is what the others are compared with.
const COUNTS: [u32; 4] = [1, 16, 256, 1_024];
const QUICK_COUNTS: [u32; 2] = [1, 16];
/// The groups while one of them is in trouble.
const TROUBLED: u32 = 16;

/// The sizes of a run.
#[derive(Clone, Copy)]
struct Size {
    idle: Duration,
    load: Duration,
    trouble: Duration,
}

/// The figures of a number of groups.
struct Measured {
    idle_percent: f64,
    idle_frames: f64,
    resident_kib: f64,
    gets: f64,
    sets: f64,
    sets_p99_millis: f64,
}

/// A name, a unit, and the figure.
type Figure = (&'static str, &'static str, fn(&Measured) -> f64);

const FIGURES: [Figure; 6] = [
    ("idle: processor", "% of one", |measured| measured.idle_percent),
    ("idle: frames", "a second", |measured| measured.idle_frames),
    ("resident, above that before", "KiB", |measured| measured.resident_kib),
    ("GET under the lease", "a second", |measured| measured.gets),
    ("SET", "a second", |measured| measured.sets),
    ("SET p99", "ms", |measured| measured.sets_p99_millis),
];

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    let second = Duration::from_secs(1);
    let size = match quick {
        true => Size { idle: 2 * second, load: second, trouble: second },
        false => Size { idle: 10 * second, load: 5 * second, trouble: 5 * second },
    };
    let counts: &[u32] = if quick { &QUICK_COUNTS } else { &COUNTS };
    let mut rows = Vec::new();
    let mut base: Option<Measured> = None;
    for count in counts {
        let measured = measure(*count, size)?;
        for (name, unit, figure) in FIGURES {
            let peer = base.as_ref().map(figure);
            rows.push(Row { peer, ..Row::alone(format!("{count:>5} groups, {name}"), figure(&measured), unit) });
        }
        base.get_or_insert(measured);
    }
    rows.extend(isolation(size)?);
    Ok(Report {
        title: format!("Three nodes in one process on loopback; idle for {} s", size.idle.as_secs()),
        ours: "groups",
        peer: "one group",
        rows,
        notes: vec![
            format!(
                "The figures are of all three nodes together, with the clients, which share this machine's cores. Leaders \
                 are spread over the nodes. GETs are of {} threads, SETs of {} clients that each wait for the last, both \
                 in any group.",
                nodes::READERS,
                nodes::WRITERS
            ),
            format!(
                "The last rows are of {} of {TROUBLED} groups while the other one is in trouble, next to the time before.",
                TROUBLED - 1
            ),
        ],
    })
}

fn measure(count: u32, size: Size) -> Result<Measured, String> {
    let before = resident_kib()?;
    let nodes = Nodes::start(count, false)?;
    let (cpu, frames, watch) = (process_time(), nodes.frames(), Stopwatch::start());
    std::thread::sleep(size.idle);
    let seconds = watch.elapsed().as_secs_f64();
    let idle_percent = (process_time() - cpu).as_secs_f64() / seconds * 100.0;
    let idle_frames = (nodes.frames() - frames) as f64 / seconds;
    let resident_kib = resident_kib()? - before;
    let all: Vec<u32> = (0..count).collect();
    let sets = nodes.set(&all, size.load)?;
    let gets = nodes.get(&all, size.load)?;
    let sets_p99_millis = millis(&sets, 0.99);
    let per_second = |calls: u64| calls as f64 / size.load.as_secs_f64();
    Ok(Measured {
        idle_percent,
        idle_frames,
        resident_kib,
        gets: per_second(gets),
        sets: per_second(sets.len()),
        sets_p99_millis,
    })
}

/// Measures groups while another one is in trouble.
fn isolation(size: Size) -> Result<Vec<Row>, String> {
    let nodes = Nodes::start(TROUBLED, true)?;
    let others: Vec<u32> = (1..TROUBLED).collect();
    let before = nodes.set(&others, size.trouble)?;
    let mut rows = Vec::new();
    for (name, trouble) in
        [("apply hangs", Trouble::ApplyHangs), ("no quorum", Trouble::NoQuorum), ("a flood", Trouble::Flood)]
    {
        let lost = nodes.leases_lost(&others);
        let during = nodes.during(0, trouble, || nodes.set(&others, size.trouble))?;
        for (what, quantile) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let row = Row::alone(format!("{name}: SET {what} of the others"), millis(&during, quantile), "ms");
            rows.push(Row { peer: Some(millis(&before, quantile)), ..row });
        }
        let lost = nodes.leases_lost(&others) - lost;
        rows.push(Row::alone(format!("{name}: leaders lost by the others"), lost as f64, ""));
    }
    Ok(rows)
}

fn millis(nanos: &Histogram<u64>, quantile: f64) -> f64 {
    nanos.value_at_quantile(quantile) as f64 / 1e6
}

fn resident_kib() -> Result<f64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|_| "this system has no /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("/proc has no VmRSS")?;
    line.trim().trim_end_matches("kB").trim().parse().map_err(|_| "VmRSS is no number".to_owned())
}
