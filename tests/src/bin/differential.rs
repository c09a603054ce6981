//! Compares a node with redis-server, command for command.
//!
//! ```text
//! cargo run --release -p leasehold-tests --bin differential -- --commands 100000
//! cargo run --release -p leasehold-tests --bin differential -- --seed 17 --commands 1     # one stream again
//! ```

use clap::Parser;
use leasehold_tests::differential::{Pair, Report, run_corpus, run_random};
use std::process::ExitCode;

/// Sends the same commands to redis-server 7.0.15 and to a node, and compares the replies.
#[derive(Parser)]
#[command(name = "differential")]
struct Arguments {
    /// The seed of the first random stream. The others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The least number of random commands.
    #[arg(long, default_value_t = 100_000)]
    commands: usize,
    /// Send the hand-written streams too.
    #[arg(long)]
    corpus: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut pair = match Pair::start() {
        Ok(pair) => pair,
        Err(absent) => {
            eprintln!("{absent}");
            return ExitCode::from(2);
        }
    };
    let mut found = false;
    if arguments.corpus {
        found |= print("hand-written streams", run_corpus(&mut pair));
    }
    let name = format!("random streams from seed {}", arguments.seed);
    found |= print(&name, run_random(&mut pair, arguments.seed, arguments.commands));
    if found { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Prints a report. Returns true if something unexpected was found.
fn print(name: &str, report: std::io::Result<Report>) -> bool {
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            println!("{name}: a server went away: {error}");
            return true;
        }
    };
    println!("{name}: {} commands, {} unexpected differences", report.commands, report.findings.len());
    for (reason, times) in &report.expected {
        println!("  expected {times:6} times: {reason}");
    }
    report.findings.iter().for_each(|finding| println!("\n{finding}"));
    !report.findings.is_empty()
}
