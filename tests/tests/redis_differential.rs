//! A node answers as redis-server does: the hand-written streams, and some of the random ones. The program `differential`
//! sends as many as are wanted.

use leasehold_tests::differential::{Pair, Report, run_corpus, run_random};

/// The random commands that are sent here, and their seed. The program draws others.
const COMMANDS: usize = 2_000;
const SEED: u64 = 1;

fn check(run: impl FnOnce(&mut Pair) -> std::io::Result<Report>) {
    let mut pair = match Pair::start() {
        Ok(pair) => pair,
        Err(absent) => {
            println!("skipped: {absent}");
            return;
        }
    };
    let report = run(&mut pair).expect("both servers answer");
    println!("{} commands, expected differences: {:#?}", report.commands, report.expected);
    assert!(report.findings.is_empty(), "unexpected differences:\n{}", report.findings.join("\n\n"));
}

#[test]
fn hand_written_streams_are_answered_as_by_redis() {
    check(run_corpus);
}

#[test]
fn random_streams_are_answered_as_by_redis() {
    check(|pair| run_random(pair, SEED, COMMANDS));
}
