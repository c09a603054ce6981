//! Runs simulated clusters for a given time and reports the results, replays one of them, or injects faults into a
//! cluster of real processes.
//!
//! ```text
//! cargo run --release -p leasehold-tests --bin soak -- --seconds 60
//! cargo run --release -p leasehold-tests --bin soak -- --seed 17 --replay
//! cargo run --release -p leasehold-tests --bin soak -- --processes --seconds 60
//! ```

use clap::{Parser, ValueEnum};
use leasehold_tests::nemesis;
use leasehold_tests::simulation::{
    Clocks, Failure, Fault, Found, Options, Outcome, Report, Roughness, Soak, plan, run, shrink, soak, tail,
};
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Shorter soaks need not reach every mark.
const MARKS_AFTER: Duration = Duration::from_secs(60);
/// The maximum number of failing seeds that are shrunk and shown.
const MAX_SHOWN: usize = 3;

/// Simulates whole clusters under faults, and checks their safety and liveness.
#[derive(Parser)]
#[command(name = "soak")]
struct Arguments {
    /// Seconds to run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first seed. The others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The maximum number of seeds.
    #[arg(long, default_value_t = u64::MAX)]
    seeds: u64,
    /// The number of simulating threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    json: bool,
    /// Stop at the first seed that fails.
    #[arg(long)]
    until_failure: bool,
    /// Do not shrink failing seeds.
    #[arg(long)]
    no_shrink: bool,
    /// Keep clocks within the drift, as the protocol assumes, or let them exceed it.
    #[arg(long, value_enum, default_value_t = ClocksArgument::Within)]
    clocks: ClocksArgument,
    /// Run one seed and print its trace.
    #[arg(long)]
    replay: bool,
    /// Inject faults, drawn from the seed, into three real `leasehold serve` processes instead.
    #[arg(long, conflicts_with_all = ["replay", "json", "seeds", "jobs", "until_failure"])]
    processes: bool,
    /// With --processes: the runtime of the processes.
    #[arg(long, value_enum, default_value_t = RuntimeArgument::Tokio)]
    runtime: RuntimeArgument,
    /// With --replay: inject only these faults of the plan, given by number and separated by commas; `none` for none.
    #[arg(long)]
    faults: Option<String>,
    /// With --replay: kinds of roughness to remove, by name, separated by commas.
    #[arg(long)]
    calm: Option<String>,
    /// With --replay: the maximum number of trace lines to print.
    #[arg(long, default_value_t = usize::MAX)]
    lines: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum ClocksArgument {
    Within,
    Beyond,
}

#[derive(Clone, Copy, ValueEnum)]
enum RuntimeArgument {
    Tokio,
    Smol,
}

impl Arguments {
    fn clocks(&self) -> Clocks {
        match self.clocks {
            ClocksArgument::Within => Clocks::Within,
            ClocksArgument::Beyond => Clocks::Beyond,
        }
    }

    fn options(&self) -> Result<Options, String> {
        let only = match self.faults.as_deref() {
            None => None,
            Some("none" | "") => Some(Vec::new()),
            Some(list) => {
                let number = |text: &str| {
                    text.trim().parse::<usize>().map_err(|_| format!("{text:?} is not the number of a fault"))
                };
                Some(list.split(',').map(number).collect::<Result<_, _>>()?)
            }
        };
        let calm = self.calm.iter().flat_map(|list| list.split(',')).map(|name| {
            let known = Roughness::ALL.into_iter().find(|kind| kind.name() == name.trim());
            known.ok_or_else(|| format!("{name:?} is not a kind of roughness"))
        });
        Ok(Options { clocks: self.clocks(), only, calm: calm.collect::<Result<_, _>>()?, trace: true })
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.processes {
        return run_processes(&arguments);
    }
    if arguments.replay {
        return match arguments.options() {
            Ok(options) => replay(&arguments, &options),
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(2)
            }
        };
    }
    soak_seeds(&arguments)
}

/// Injects faults into a cluster of real processes.
fn run_processes(arguments: &Arguments) -> ExitCode {
    let runtime = match arguments.runtime {
        RuntimeArgument::Tokio => nemesis::Runtime::Tokio,
        RuntimeArgument::Smol => nemesis::Runtime::Smol,
    };
    let (seconds, seed) = (arguments.seconds, arguments.seed);
    let (faults, local_reads) = (nemesis::Fault::ALL.to_vec(), seed.is_multiple_of(2));
    let groups = if seed.is_multiple_of(3) { 4 } else { 1 };
    let summary = nemesis::run(&nemesis::Options { seconds, seed, runtime, faults, local_reads, groups });
    println!("{summary}");
    if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Replays one run and prints its trace.
fn replay(arguments: &Arguments, options: &Options) -> ExitCode {
    let outcome = run(arguments.seed, options);
    print(tail(&outcome.trace, arguments.lines));
    match &outcome.failure {
        None => {
            println!("\nseed {}: no failures", outcome.seed);
            ExitCode::SUCCESS
        }
        Some(Failure { kind, what, at }) => {
            println!("\nseed {}: {} after {} ms: {what}", outcome.seed, kind.name(), at / 1_000_000);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the duration of a soak is measured in real time")]
fn now() -> Instant {
    Instant::now()
}

fn soak_seeds(arguments: &Arguments) -> ExitCode {
    let began = now();
    let ends = began + Duration::from_secs(arguments.seconds);
    let soaked = Soak {
        first: arguments.seed,
        seeds: arguments.seeds,
        jobs: arguments.jobs.max(1),
        clocks: arguments.clocks(),
        until_failure: arguments.until_failure,
    };
    let shows = !arguments.json && std::io::stderr().is_terminal();
    let report = soak(
        soaked,
        || now() < ends,
        |report| {
            if shows && report.seeds.is_multiple_of(50) {
                let failed = report.failures.len();
                eprint!("\r{:>8} seeds  {:>10.1} simulated hours  {failed} failed ", report.seeds, report.hours());
                let _ = std::io::stderr().flush();
            }
        },
    );
    let took = began.elapsed();
    if shows {
        eprintln!();
    }
    let missing = if took + Duration::from_millis(500) >= MARKS_AFTER && soaked.clocks == Clocks::Within {
        report.marks.missing()
    } else {
        Vec::new()
    };
    if arguments.json {
        print(&json(&report, took, &missing));
    } else {
        print(&table(&report, took, arguments));
        for found in report.failures.iter().take(MAX_SHOWN) {
            print(&describe(found, arguments));
        }
        print(&verdict(&report, &missing));
    }
    if report.failures.is_empty() && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints to standard output, and ignores errors because the reader may have closed it.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn json(report: &Report, took: Duration, missing: &[&str]) -> String {
    let failures = report.failures.iter().map(|found| {
        serde_json::json!({
            "seed": found.seed,
            "after_seeds": found.after,
            "kind": found.failure.kind.name(),
            "what": found.failure.what,
        })
    });
    let operations = &report.operations;
    let object = serde_json::json!({
        "seeds": report.seeds,
        "simulated_hours": report.hours(),
        "seconds": took.as_secs_f64(),
        "events": report.events,
        "elections": report.elections,
        "operations": {
            "lease_reads": operations.lease_reads,
            "quorum_reads": operations.quorum_reads,
            "follower_reads": operations.follower_reads,
            "writes": operations.writes,
            "failed": operations.failed,
            "unknown": operations.unknown,
            "undecided_keys": operations.undecided_keys,
        },
        "failures": failures.collect::<Vec<_>>(),
        "marks": report.marks.all().collect::<std::collections::BTreeMap<_, _>>(),
        "marks_missing": missing,
        "faults": faults(report).collect::<std::collections::BTreeMap<_, _>>(),
    });
    format!("{object}\n")
}

fn faults(report: &Report) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    Fault::NAMES.iter().copied().zip(report.faults)
}

fn table(report: &Report, took: Duration, arguments: &Arguments) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        writeln!(text, "  {name:<52} {value:>16}").expect("a string takes whatever is written to it");
    };
    line("seeds", format!("{} from {}", report.seeds, arguments.seed));
    line("simulated cluster-hours", format!("{:.1}", report.hours()));
    line("simulated hours per minute", format!("{:.0}", report.hours() * 60.0 / took.as_secs_f64().max(0.001)));
    line("events", report.events.to_string());
    line("elections won", report.elections.to_string());
    let operations = &report.operations;
    line("lease reads", operations.lease_reads.to_string());
    line("quorum reads", operations.quorum_reads.to_string());
    line("follower reads", operations.follower_reads.to_string());
    line("writes acknowledged", operations.writes.to_string());
    line("operations not executed", operations.failed.to_string());
    line("writes with an unknown outcome", operations.unknown.to_string());
    line("keys too expensive to check", operations.undecided_keys.to_string());
    text.push_str("\n  faults\n");
    for (name, count) in faults(report).filter(|(name, count)| *count > 0 || !name.contains("beyond")) {
        writeln!(text, "  {name:<52} {count:>16}").expect("a string takes whatever is written to it");
    }
    text.push_str("\n  reached\n");
    for (name, count) in report.marks.all() {
        let note = if count == 0 { "   never" } else { "" };
        writeln!(text, "  {name:<52} {count:>16}{note}").expect("a string takes whatever is written to it");
    }
    text.push('\n');
    text
}

/// Describes a failing seed, shrunk, with the end of its trace and the command that replays it.
fn describe(found: &Found, arguments: &Arguments) -> String {
    let options = Options { clocks: arguments.clocks(), ..Options::default() };
    let (options, failure, note) = if arguments.no_shrink {
        (options, found.failure.clone(), String::new())
    } else {
        let shrunk = shrink(found.seed, &options, &found.failure);
        (shrunk.options, shrunk.failure, format!(" (shrunk in {} runs)", shrunk.runs))
    };
    let Outcome { trace, .. } = run(found.seed, &Options { trace: true, ..options.clone() });
    let mut text = format!("seed {}: {}{note}\n  {}\n", found.seed, failure.kind.name(), failure.what);
    let planned = plan(found.seed, &options);
    if planned.len() <= 20 {
        for planned in &planned {
            let _ = writeln!(text, "  {:>10} ms  {:?}", planned.at / 1_000_000, planned.fault);
        }
    }
    text.push_str("  end of the trace:\n\n");
    text.push_str(tail(&trace, 60));
    text.push_str("\n  replay:\n  ");
    text.push_str(&command(found.seed, &options));
    text.push_str("\n\n");
    text
}

/// Returns the command that replays a run.
fn command(seed: u64, options: &Options) -> String {
    let mut command = format!("cargo run --release -p leasehold-tests --bin soak -- --seed {seed} --replay");
    if options.clocks == Clocks::Beyond {
        command.push_str(" --clocks beyond");
    }
    if let Some(only) = &options.only {
        let numbers: Vec<String> = only.iter().map(usize::to_string).collect();
        let numbers = if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") };
        let _ = write!(command, " --faults {numbers}");
    }
    if !options.calm.is_empty() {
        let names: Vec<&str> = options.calm.iter().map(|kind| kind.name()).collect();
        let _ = write!(command, " --calm {}", names.join(","));
    }
    command
}

fn verdict(report: &Report, missing: &[&str]) -> String {
    match (report.failures.as_slice(), missing) {
        ([], []) => "PASSED: no failures.\n".to_owned(),
        ([], missing) => format!(
            "FAILED: no violation, but these marks were never reached, so they were not tested: {}. Run longer.\n",
            missing.join("; ")
        ),
        (failures, _) => {
            let seeds: Vec<String> = failures.iter().take(20).map(|found| found.seed.to_string()).collect();
            format!(
                "FAILED: {} of {} seeds: {}. The first failed after {} seeds. Replay one with --seed N --replay.\n",
                failures.len(),
                report.seeds,
                seeds.join(", "),
                failures.iter().map(|found| found.after).min().unwrap_or(0)
            )
        }
    }
}
