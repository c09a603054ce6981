//! The tables of README.md that have figures say what the longer documents say.

use crate::markdown::{Document, documents};

/// Returns the rows of the first table of a document that has this in its head, as cells.
fn table<'a>(document: &'a Document, head: &str) -> Vec<Vec<&'a str>> {
    let lines = document.text.lines().skip_while(|line| !(line.starts_with('|') && line.contains(head)));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<_>> = rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(!rows.is_empty(), "{} has no table with {head}", document.name);
    rows
}

fn document(name: &str) -> Document {
    documents().into_iter().find(|document| document.name == name).expect("a document with this name")
}

#[test]
fn every_figure_of_the_cost_table_is_quoted_from_a_run() {
    let (readme, performance) = (document("README.md"), document("docs/performance.md"));
    let measured: Vec<&str> = performance.text.split(|letter: char| letter.is_whitespace() || letter == '|').collect();
    let mut checked = 0;
    for row in table(&readme, "GET a second, 50 clients") {
        let cells = row[1..].iter().filter(|cell| cell.starts_with(|first: char| first.is_ascii_digit()));
        for cell in cells {
            let figure = cell.trim_end_matches(" ns").replace(',', "");
            assert!(measured.contains(&&*figure), "docs/performance.md does not have {cell}");
            checked += 1;
        }
    }
    assert!(checked >= 8, "only {checked} figures were found");
}

/// Returns the verdict in a cell of the catalogue.
fn verdict(cell: &str) -> &str {
    if cell.contains("stale read") { "stale" } else { cell.split(':').next().unwrap_or_default() }
}

#[test]
fn every_verdict_of_the_safety_table_is_that_of_the_catalogue() {
    let (readme, evidence) = (document("README.md"), document("docs/evidence.md"));
    let catalogue = table(&evidence, "| ours on openraft | remarks");
    let mut checked = 0;
    for row in table(&readme, "| schedule | Leasehold |") {
        let expected: Vec<String> = match row[0].split('`').nth(1) {
            Some(name) => {
                let found = catalogue.iter().find(|other| other[0].trim_matches('`') == name);
                let found = found.unwrap_or_else(|| panic!("the catalogue has no {name}"));
                found[1..5].iter().map(|cell| verdict(cell).to_owned()).collect()
            }
            None => {
                assert!(row[0].contains(&format!("all {} schedules", catalogue.len())), "{}", row[0]);
                let count = |column: usize| catalogue.iter().filter(|other| verdict(other[column]) == "stale").count();
                (1..5).map(|column| count(column).to_string()).collect()
            }
        };
        assert_eq!(row[1..5], expected, "{}", row[0]);
        checked += 1;
    }
    assert!(checked > 8, "only {checked} schedules were found");
}
