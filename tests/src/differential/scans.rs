//! Full iterations with `SCAN` and `HSCAN`: their cursors are each server's own, and what they return in all is not.

use super::pair::Pair;
use super::reply::Reply;
use super::report::Report;
use fastrand::Rng;
use std::collections::BTreeSet;
use std::io;

/// An iteration is compared after so many streams.
pub(super) const INTERVAL: u64 = 64;
/// The most keys, or fields, that are iterated over.
const MAX_KEYS: usize = 300;
/// The most steps of an iteration.
const MAX_STEPS: usize = 10_000;

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Fills both servers with the same keys and fields, and compares what iterations over them return.
pub(super) fn examine(pair: &mut Pair, rng: &mut Rng, seed: u64, report: &mut Report) -> io::Result<()> {
    pair.ask(&words("FLUSHALL"))?;
    let (keys, fields) = (rng.usize(..MAX_KEYS), rng.usize(..MAX_KEYS));
    for key in 0..keys {
        pair.ask(&words(&format!("SET key:{key} value")))?;
    }
    let set = (0..fields).map(|field| format!(" field:{field} {field}")).collect::<String>();
    if fields > 0 {
        pair.ask(&words(&format!("HSET hash{set}")))?;
    }
    for iteration in ["SCAN", "HSCAN hash"] {
        let options = ["", " COUNT 1", " COUNT 7", " MATCH *1*", " MATCH *1* COUNT 1000", " MATCH nothing"];
        let option = options[rng.usize(..options.len())];
        let reference = iterate(iteration, option, |words| pair.ask_reference(words))?;
        let tested = iterate(iteration, option, |words| pair.ask_tested(words))?;
        report.commands += 1;
        if reference != tested {
            let only = |one: &BTreeSet<Vec<Reply>>, other: &BTreeSet<Vec<Reply>>| {
                one.difference(other).take(3).map(|found| found[0].to_string()).collect::<Vec<_>>().join(" ")
            };
            report.findings.push(format!(
                "seed {seed}: a full iteration of {iteration} 0{option} over {keys} keys and {fields} fields\n  only \
                 redis-server returns {}\n  only leasehold returns {}",
                only(&reference, &tested),
                only(&tested, &reference)
            ));
        }
    }
    Ok(())
}

/// Iterates from cursor to cursor, and returns all that was found.
fn iterate(
    iteration: &str,
    option: &str,
    mut ask: impl FnMut(&[Vec<u8>]) -> io::Result<Reply>,
) -> io::Result<BTreeSet<Vec<Reply>>> {
    let size = if iteration.starts_with('H') { 2 } else { 1 };
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    for _ in 0..MAX_STEPS {
        let reply = ask(&words(&format!("{iteration} {cursor}{option}")))?;
        let Reply::Many(_, Some(parts)) = &reply else { return Err(io::Error::other(format!("{iteration}: {reply}"))) };
        let [Reply::Bytes(_, Some(next)), Reply::Many(_, Some(elements))] = parts.as_slice() else {
            return Err(io::Error::other(format!("{iteration}: {reply}")));
        };
        found.extend(elements.chunks(size).map(<[Reply]>::to_vec));
        cursor = String::from_utf8_lossy(next).into_owned();
        if cursor == "0" {
            return Ok(found);
        }
    }
    Err(io::Error::other(format!("{iteration} does not end after {MAX_STEPS} steps")))
}
