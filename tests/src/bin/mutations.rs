//! Disables the rules of the protocol, one at a time, and reports the check that detects each missing rule.
//!
//! ```text
//! cargo run --release -p leasehold-tests --bin mutations
//! cargo run --release -p leasehold-tests --bin mutations -- --only held-voters-vote --seconds 300
//! ```

use clap::Parser;
use leasehold_tests::mutations::{By, Mutation, all, tree};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

/// Disables each rule of the protocol in turn, and checks that the soak or a test then fails.
#[derive(Parser)]
#[command(name = "mutations")]
struct Arguments {
    /// Seconds that the soak may take to detect each missing rule. The control must pass for the same time.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of simulating threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Only mutations whose name contains this. May be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    json: bool,
    /// List all mutations and exit.
    #[arg(long)]
    list: bool,
    /// Do not run the control.
    #[arg(long)]
    no_control: bool,
}

/// The result of a run of the soak.
struct Soaked {
    seeds: u64,
    hours: f64,
    /// The kind and description of the first failure.
    failure: Option<(String, String)>,
    missing: BTreeSet<String>,
}

/// The result of a mutation.
struct Row {
    mutation: &'static Mutation,
    found: bool,
    /// The seeds and simulated hours until the soak detected it, if it did.
    after: Option<(u64, f64)>,
    seen: String,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for mutation in all() {
            println!("{:<46} {}", mutation.name, mutation.breaks);
        }
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutations: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the workspace");
    let place = root.join("target/mutations");
    let (copy, build) = (place.join("tree"), place.join("build"));
    let say = |what: &str| {
        if !arguments.json {
            eprintln!("{what}");
        }
    };
    let chosen: Vec<(usize, &'static Mutation)> = all()
        .enumerate()
        .map(|(at, mutation)| (at + 1, mutation))
        .filter(|(_, mutation)| {
            arguments.only.is_empty() || arguments.only.iter().any(|part| mutation.name.contains(part))
        })
        .collect();
    if chosen.is_empty() {
        return Err("no mutation has such a name; --list prints all names".into());
    }

    say("copying the workspace");
    std::fs::create_dir_all(&copy)?;
    tree::make(root, &copy)?;
    say("building the copy");
    cargo(&copy, &build, &["build", "--release", "--package", "leasehold-tests", "--bin", "soak"])?;
    let targets: BTreeSet<(&str, &str)> = chosen
        .iter()
        .filter_map(|(_, mutation)| match mutation.noticed_by {
            By::Test { package, target, .. } => Some((package, target)),
            By::Soak => None,
        })
        .collect();
    for (package, target) in &targets {
        cargo(&copy, &build, &["test", "--release", "--no-run", "--package", package, "--test", target])?;
    }

    let program = build.join("release/soak");
    let control = if arguments.no_control {
        None
    } else {
        say(&format!("running the control for {} s: the same program with no rule disabled", arguments.seconds));
        let control = soak(&program, 0, arguments, true)?;
        if let Some((kind, what)) = &control.failure {
            return Err(format!("the control failed, so mutations cannot be tested: {kind}: {what}").into());
        }
        for (_, mutation) in &chosen {
            if let By::Test { package, target, name, .. } = mutation.noticed_by
                && !passes(&copy, &build, 0, package, target, name)?
            {
                return Err(format!("{name} fails with no rule disabled").into());
            }
        }
        Some(control)
    };

    let mut rows = Vec::new();
    if !arguments.json {
        print!("{}", head());
    }
    for (number, mutation) in chosen {
        let row = match mutation.noticed_by {
            By::Soak => {
                let soaked = soak(&program, number, arguments, true)?;
                judge(mutation, &soaked, control.as_ref())
            }
            By::Test { package, target, name, .. } => {
                let found = !passes(&copy, &build, number, package, target, name)?;
                let test = name.rsplit("::").next().unwrap_or(name);
                let seen = if found { format!("test {test} fails") } else { format!("test {test} passes") };
                Row { mutation, found, after: None, seen }
            }
        };
        if !arguments.json {
            print!("{}", line(&row));
        }
        rows.push(row);
    }
    let survived = rows.iter().filter(|row| !row.found).count();
    if arguments.json {
        println!("{}", json(&rows, control.as_ref()));
    } else {
        print!("{}", foot(&rows, control.as_ref()));
    }
    Ok(survived == 0)
}

/// Runs cargo in the copy, with warnings ignored.
fn cargo(copy: &Path, build: &Path, arguments: &[&str]) -> Outcome<()> {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .args(["--quiet", "--target-dir"])
        .arg(build)
        .current_dir(copy)
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("RUSTFLAGS", "--cap-lints=allow")
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {} failed in {}", arguments.join(" "), copy.display()).into())
    }
}

/// Runs a test of the copy. Returns true if it passes.
fn passes(copy: &Path, build: &Path, number: usize, package: &str, target: &str, name: &str) -> Outcome<bool> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["test", "--release", "--quiet", "--package", package, "--test", target, "--target-dir"])
        .arg(build)
        .args(["--", "--exact", name])
        .current_dir(copy)
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("RUSTFLAGS", "--cap-lints=allow")
        .env("INSTA_UPDATE", "no")
        .env(tree::SWITCH, number.to_string());
    let (output, in_time) = within(command, Duration::from_secs(120))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !in_time {
        return Ok(false);
    }
    if !text.contains("1 passed") && !text.contains("1 failed") {
        return Err(
            format!("{package} has no test {name} in {target}\n{}", String::from_utf8_lossy(&output.stderr)).into()
        );
    }
    Ok(output.status.success())
}

fn soak(program: &PathBuf, number: usize, arguments: &Arguments, until_failure: bool) -> Outcome<Soaked> {
    let mut command = Command::new(program);
    command.arg("--json").env(tree::SWITCH, number.to_string());
    for (name, value) in
        [("--seconds", arguments.seconds), ("--seed", arguments.seed), ("--jobs", arguments.jobs as u64)]
    {
        command.arg(name).arg(value.to_string());
    }
    if until_failure {
        command.arg("--until-failure");
    }
    let (output, in_time) = within(command, Duration::from_secs(arguments.seconds * 2 + 60))?;
    if !in_time {
        let failure = Some(("hang".to_owned(), "a run did not end".to_owned()));
        return Ok(Soaked { seeds: 0, hours: 0.0, failure, missing: BTreeSet::new() });
    }
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the soak printed no report: {error}\n{}", String::from_utf8_lossy(&output.stderr)))?;
    let first = report["failures"].as_array().and_then(|failures| {
        failures.iter().min_by_key(|failure| failure["after_seeds"].as_u64().or_else(|| failure["seed"].as_u64()))
    });
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Soaked {
        seeds: first.and_then(|first| first["after_seeds"].as_u64()).or_else(|| report["seeds"].as_u64()).unwrap_or(0),
        hours: report["simulated_hours"].as_f64().unwrap_or(0.0),
        failure: first.map(|first| (text(&first["kind"]), text(&first["what"]))),
        missing: report["marks_missing"].as_array().into_iter().flatten().map(text).collect(),
    })
}

/// Runs a command with a time limit. Returns its output, and true if it ended in time.
#[expect(clippy::disallowed_methods, reason = "a mutation may keep a program from ever ending")]
fn within(mut command: Command, most: Duration) -> Outcome<(Output, bool)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("the command has no pipe".into());
    };
    // Both pipes are read while the command runs, because it would block on a full pipe.
    let reads = |mut pipe: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let (stdout, stderr) = (reads(Box::new(stdout)), reads(Box::new(stderr)));
    let ends = Instant::now() + most;
    let (status, in_time) = loop {
        if let Some(status) = child.try_wait()? {
            break (status, true);
        }
        if Instant::now() >= ends {
            child.kill()?;
            break (child.wait()?, false);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let joined =
        |thread: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| thread.join().expect("reading does not panic");
    Ok((Output { status, stdout: joined(stdout)?, stderr: joined(stderr)? }, in_time))
}

fn judge(mutation: &'static Mutation, soaked: &Soaked, control: Option<&Soaked>) -> Row {
    let after = Some((soaked.seeds, soaked.hours));
    if let Some((kind, what)) = &soaked.failure {
        return Row { mutation, found: true, after, seen: format!("{kind}: {what}") };
    }
    // A mark that the control also missed proves nothing.
    let missing = soaked.missing.iter().find(|mark| control.is_some_and(|control| !control.missing.contains(*mark)));
    match missing {
        Some(mark) => Row { mutation, found: true, after, seen: format!("never reached: {mark}") },
        None => Row { mutation, found: false, after, seen: String::new() },
    }
}

fn head() -> String {
    format!(
        "\n  {:<46} {:>7} {:>9}   {}\n  {}\n",
        "disabled rule",
        "seeds",
        "sim hours",
        "detected by",
        "-".repeat(120)
    )
}

fn line(row: &Row) -> String {
    let (seeds, hours) = row
        .after
        .map_or(("test".to_owned(), String::new()), |(seeds, hours)| (seeds.to_string(), format!("{hours:.2}")));
    let seen = if row.found { row.seen.lines().next().unwrap_or_default() } else { "SURVIVED" };
    let seen: String =
        if seen.chars().count() > 96 { seen.chars().take(95).chain(['…']).collect() } else { seen.to_owned() };
    format!("  {:<46} {seeds:>7} {hours:>9}   {seen}\n", row.mutation.name)
}

fn foot(rows: &[Row], control: Option<&Soaked>) -> String {
    let mut text = String::from("\n");
    match control {
        None => text.push_str("  no control was run\n"),
        Some(Soaked { seeds, hours, .. }) => {
            text.push_str(&format!("  control: no failures in {seeds} seeds, {hours:.1} simulated hours\n"));
        }
    }
    let survived: Vec<&str> = rows.iter().filter(|row| !row.found).map(|row| row.mutation.name).collect();
    let found = rows.len() - survived.len();
    text.push_str(&format!("  {found} of {} detected\n", rows.len()));
    if !survived.is_empty() {
        text.push_str(&format!("  survived: {}\n", survived.join(", ")));
    }
    text
}

fn json(rows: &[Row], control: Option<&Soaked>) -> serde_json::Value {
    let rows: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "name": row.mutation.name,
                "rules": row.mutation.rules.iter().map(|rule| format!("{rule:?}")).collect::<Vec<_>>(),
                "breaks": row.mutation.breaks,
                "found": row.found,
                "by": if row.after.is_some() { "soak" } else { "test" },
                "seeds": row.after.map(|(seeds, _)| seeds),
                "simulated_hours": row.after.map(|(_, hours)| hours),
                "seen": row.seen,
            })
        })
        .collect();
    let control = control.map(|control| {
        serde_json::json!({
            "seeds": control.seeds,
            "simulated_hours": control.hours,
        })
    });
    serde_json::json!({ "control": control, "mutations": rows })
}
