//! Sends the same bytes to redis-server and to a node, and compares them reply for reply.
//!
//! A stream is a list of requests with their framing. Streams are hand-written ([`corpus`]) or drawn from a table of
//! commands (`grammar`). A stream is compared up to its first difference, because after that the two may rightly hold
//! different keys. Differences that are expected are listed with their reason (`expected`). An unexpected one is
//! shrunk to the shortest stream that still shows it.

mod compare;
pub mod corpus;
mod expected;
mod grammar;
mod pair;
mod reply;
mod report;
mod scans;
mod shrink;
mod stream;

pub use pair::{Absent, Pair};
pub use report::Report;

use compare::{Difference, compare};
use expected::reason;
use grammar::Grammar;
use std::fmt::Write as _;
use stream::Stream;

/// The most unexpected differences that are shrunk and reported.
const MAX_FINDINGS: usize = 20;

/// Sends the hand-written streams.
///
/// # Errors
/// The reason why a server could not be reached.
pub fn run_corpus(pair: &mut Pair) -> std::io::Result<Report> {
    let mut report = Report::default();
    for stream in corpus::streams() {
        examine(pair, stream, None, &mut report)?;
    }
    Ok(report)
}

/// Sends random streams of at least `commands` commands in all, the first of them drawn from `seed`. Full iterations with
/// `SCAN` and `HSCAN` are compared between them.
///
/// # Errors
/// The reason why a server could not be reached.
pub fn run_random(pair: &mut Pair, seed: u64, commands: usize) -> std::io::Result<Report> {
    let grammar = Grammar::new();
    let mut report = Report::default();
    for seed in seed.. {
        let mut rng = fastrand::Rng::with_seed(seed);
        let stream = grammar.stream(&mut rng);
        examine(pair, stream, Some(seed), &mut report)?;
        if seed.is_multiple_of(scans::INTERVAL) {
            scans::examine(pair, &mut rng, seed, &mut report)?;
        }
        if report.commands >= commands || report.findings.len() >= MAX_FINDINGS {
            break;
        }
    }
    Ok(report)
}

/// Compares one stream.
fn examine(pair: &mut Pair, stream: Stream, seed: Option<u64>, report: &mut Report) -> std::io::Result<()> {
    report.count(&stream);
    let Some(found) = sure_difference(pair, &stream)? else { return Ok(()) };
    if let Some(reason) = reason(&stream, &found) {
        *report.expected.entry(reason).or_default() += 1;
        return Ok(());
    }
    if report.findings.len() >= MAX_FINDINGS || !report.kinds.insert(found.kind()) {
        return Ok(());
    }
    let (shortest, found) = shrink::shrink(pair, stream, found)?;
    let mut text = String::new();
    if let Some(seed) = seed {
        let _ = writeln!(text, "seed {seed}");
    }
    let _ = write!(text, "{shortest}\n{found}");
    report.findings.push(text);
    Ok(())
}

/// Returns the first difference, if it shows again.
fn sure_difference(pair: &mut Pair, stream: &Stream) -> std::io::Result<Option<Difference>> {
    let mut found = None;
    for _ in 0..2 {
        let (reference, tested) = pair.send(stream)?;
        found = compare(stream, &reference, &tested);
        if found.is_none() {
            break;
        }
    }
    Ok(found)
}
