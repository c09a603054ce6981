//! Reduces a history that is not linearizable to the operations that show it.

use super::operation::{Answer, Call, Fate, Moment, Observed, Operation};
use super::search::{Outcome, Search};
use std::fmt::Write as _;

/// The most operations shown.
const LINES: usize = 40;
/// The most searches spent on leaving operations out.
const SEARCHES: usize = 2_000;

/// Reduces a history of one key to few operations that alone are not linearizable, and prints them as a table.
pub(super) fn describe(operations: &[Operation], bytes: usize, search: &mut Search) -> String {
    let refuses =
        |operations: &[Operation], search: &mut Search| search.run(operations, bytes) == Outcome::NotLinearizable;
    let (cut, revealed) = shortest_beginning(operations, |beginning| refuses(beginning, search));
    let mut searches = SEARCHES;
    let shrunk = without_what_does_not_matter(cut, |fewer| {
        searches = searches.saturating_sub(1);
        searches > 0 && refuses(fewer, search)
    });
    table(&shrunk, operations, revealed)
}

/// Returns the history up to the first answer that no order explains, and the moment of that answer. An operation not answered
/// by then has an unknown fate. A history is linearizable only if its beginning is, so halving finds it.
fn shortest_beginning(
    operations: &[Operation],
    mut refuses: impl FnMut(&[Operation]) -> bool,
) -> (Vec<Operation>, Moment) {
    let mut answers: Vec<Moment> = operations.iter().filter_map(answered).collect();
    answers.sort_unstable();
    let until = |moment: Moment| -> Vec<Operation> {
        let begun = operations.iter().filter(|operation| operation.invoked <= moment);
        begun
            .map(|operation| match operation.fate {
                Fate::Answered(_, at) if at > moment => Operation { fate: Fate::Unknown, ..*operation },
                _ => *operation,
            })
            .collect()
    };
    let bad = answers.partition_point(|answer| !refuses(&until(*answer)));
    // A search that gives up on a beginning counts as accepting it: then the whole history is shown.
    let revealed = answers.get(bad).or(answers.last()).copied().unwrap_or_default();
    (until(revealed), revealed)
}

/// Leaves out operations whose absence cannot make a linearizable history anything else: reads, and writes that no answer
/// depends on. What is still refused then is refused for what is left.
fn without_what_does_not_matter(
    mut operations: Vec<Operation>,
    mut refuses: impl FnMut(&[Operation]) -> bool,
) -> Vec<Operation> {
    let mut observed = Observed::default();
    let mut chunk = operations.len().next_power_of_two();
    while chunk > 0 {
        let mut start = 0;
        let mut shrunk = false;
        while start < operations.len() {
            observed.gather(&operations);
            let end = (start + chunk).min(operations.len());
            let may_go = |operation: &Operation| operation.fate == Fate::Failed || !observed.may_show(operation.call);
            let fewer: Vec<Operation> = operations
                .iter()
                .enumerate()
                .filter(|(at, operation)| !((start..end).contains(at) && may_go(operation)))
                .map(|(_, operation)| *operation)
                .collect();
            if fewer.len() < operations.len() && refuses(&fewer) {
                operations = fewer;
                shrunk = true;
            } else {
                start = end;
            }
        }
        // An operation may matter only because of others that were left out.
        if !shrunk || chunk > 1 {
            chunk /= 2;
        }
    }
    operations
}

fn answered(operation: &Operation) -> Option<Moment> {
    match operation.fate {
        Fate::Answered(_, at) => Some(at),
        _ => None,
    }
}

fn table(shown: &[Operation], all: &[Operation], revealed: Moment) -> String {
    let read = |value: u64| {
        shown.iter().any(|operation| {
            matches!(operation.fate, Fate::Answered(Answer::Value(Some(found)), _) if operation.call == Call::Get && found == value)
        })
    };
    // A failed write is no part of the history; but when its value was read, the reader of this wants to know.
    let failed = all.iter().filter(|operation| operation.fate == Fate::Failed && operation.invoked <= revealed);
    let mut lines: Vec<Operation> = shown.to_vec();
    lines.extend(failed.filter(|operation| matches!(operation.call, Call::Set(value) if read(value))));
    lines.sort_unstable_by_key(|operation| operation.invoked);
    let mut text = String::from("       called      answered  client  operation");
    let hidden = lines.len().saturating_sub(LINES);
    if hidden > 0 {
        let _ = write!(text, "\n  ({hidden} earlier operations)");
    }
    for operation in &lines[hidden..] {
        let end = match operation.fate {
            Fate::Answered(_, (at, _)) => millis(at),
            Fate::Unknown if answered_later(operation, all) => "later".to_owned(),
            Fate::Unknown => "unknown".to_owned(),
            Fate::Failed => "failed".to_owned(),
        };
        let client = format!("c{}", operation.client);
        let _ = write!(text, "\n{:>13} {end:>13}  {client:>6}  {}", millis(operation.invoked.0), what(operation));
        if answered(operation) == Some(revealed) {
            text.push_str("   < from here on nothing fits");
        }
    }
    text
}

/// Returns whether the whole history has an answer that its beginning does not have.
fn answered_later(operation: &Operation, all: &[Operation]) -> bool {
    all.iter().any(|whole| whole.invoked == operation.invoked && answered(whole).is_some())
}

fn what(operation: &Operation) -> String {
    let found = match operation.fate {
        Fate::Answered(Answer::Value(Some(value)), _) => format!(" -> {value}"),
        Fate::Answered(Answer::Value(None), _) => " -> nothing".to_owned(),
        _ => String::new(),
    };
    match operation.call {
        Call::Set(value) => format!("set {value}"),
        Call::Increment => format!("increment{found}"),
        Call::Delete => "delete".to_owned(),
        Call::Get => format!("get{found}"),
    }
}

fn millis(nanos: u64) -> String {
    format!("{}.{:03}ms", nanos / 1_000_000, nanos / 1_000 % 1_000)
}
