//! Keeps the table of mutations consistent with the source and the documents. The program `mutations` shows their effects.

use leasehold_tests::mutations::{By, WITHOUT, all, tree};
use leasehold_tests::rules::Rule;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the workspace").to_owned()
}

fn text(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Replaces every run of white space by one space.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_edit_finds_exactly_one_place_in_the_source() {
    let files: BTreeSet<&str> = all().flat_map(|mutation| mutation.edits).map(|edit| edit.file).collect();
    let errors: Vec<String> =
        files.iter().filter_map(|file| tree::mutated(file, &text(file)).err()).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn every_mutation_has_a_unique_name_and_a_switch() {
    let mut names = BTreeSet::new();
    for mutation in all() {
        assert!(names.insert(mutation.name), "two mutations are called {}", mutation.name);
        assert!(mutation.edits.iter().any(|edit| edit.with.contains("$on")), "{} is never switched off", mutation.name);
    }
}

#[test]
fn every_rule_is_switched_off_by_a_mutation_or_excused() {
    for rule in Rule::ALL {
        let mutated = all().any(|mutation| mutation.rules.contains(rule));
        let excused = WITHOUT.iter().any(|(without, _)| without == rule);
        assert!(mutated != excused, "{rule:?} needs a mutation or a reason why it has none, and not both");
    }
}

#[test]
fn the_rules_are_those_of_the_document() {
    let document = flat(&text("docs/protocol.md"));
    for rule in Rule::ALL {
        assert!(document.contains(&flat(rule.words())), "docs/protocol.md no longer says {:?}", rule.words());
    }
    // Every numbered rule of the document must be in the list.
    for (section, count) in [("The holder", 8), ("The grantor", 6)] {
        let after = text("docs/protocol.md");
        let after = after.split(&format!("## {section}\n")).nth(1).expect("the section is there");
        let section_text = after.split("\n## ").next().expect("it has an end");
        let numbered: Vec<_> =
            section_text.lines().filter_map(|line| line.split_once(". ")?.0.parse::<u32>().ok()).collect();
        assert_eq!(numbered, (1..=count).collect::<Vec<_>>(), "{section} has another number of rules now");
        let who = section.trim_start_matches("The ");
        for number in numbered {
            let name = format!("{}{} {number}", who[..1].to_uppercase(), &who[1..]);
            assert!(Rule::ALL.iter().any(|rule| rule.place() == name), "{name} is not listed");
        }
    }
}

#[test]
fn every_mutation_mentioned_by_the_scenarios_exists() {
    let scenarios = text("docs/scenarios.md");
    let by_mutation: BTreeSet<&str> = scenarios
        .lines()
        .filter(|line| line.starts_with("| `") && line.contains("| mutation:"))
        .filter_map(|line| line.split('`').nth(1))
        .collect();
    assert!(!by_mutation.is_empty(), "the rows are still found");
    let here: BTreeSet<&str> = all().flat_map(|mutation| mutation.scenarios).copied().collect();
    let missing: Vec<_> = by_mutation.difference(&here).collect();
    assert!(missing.is_empty(), "no mutation stands for {missing:?}");
}

/// A row of docs/scenarios.md about local reads is a test of this name, but for that of a whole replica. It fails without
/// its rule: by the test itself, or by a mutation that names it.
#[test]
fn every_scenario_of_local_reads_is_a_test_that_fails_without_its_rule() {
    let scenarios = text("docs/scenarios.md");
    let section = scenarios.split("\n## Local reads\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = section.expect("the section is there").lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        Some((*cells.first()?, *cells.last()?))
    });
    let rows: Vec<_> = rows.filter(|(name, _)| *name != "scenario" && !name.starts_with(['-', '`'])).collect();
    assert!(rows.len() >= 30, "{} rows", rows.len());
    let files = ["core/tests/local/schedules.rs", "core/tests/local/machines.rs"];
    let files = files.into_iter().chain(["engine-raft/tests/local_reads.rs", "node/tests/local_reads.rs"]);
    let tests: String = files.map(text).collect();
    for (name, shown_by) in rows {
        let test = tests.split(&format!("fn {name}() {{\n")).nth(1).and_then(|rest| rest.split("\n}\n").next());
        let test = test.unwrap_or_else(|| panic!("no test is called {name}"));
        let is_switched = ["fails_without(", "Some(Rule::", "in [false, true]"].iter().any(|off| test.contains(off));
        let is_mutated = all().any(|mutation| {
            let by =
                matches!(mutation.noticed_by, By::Test { name: test, .. } if test.rsplit("::").next() == Some(name));
            by || mutation.scenarios.contains(&name)
        });
        let (off, mutated) = (shown_by.contains("rule off"), shown_by.contains("mutation"));
        assert!((off || mutated) && (!off || is_switched) && (!mutated || is_mutated), "{name}: {shown_by}");
    }
}

#[test]
fn edits_find_text_across_lines_and_whole_words_only() {
    let source = "if one\n        && two {\n    three;\n}\nif one && two2 {}";
    assert_eq!(tree::places(source, "if one && two {"), std::slice::from_ref(&(0..23)));
    assert_eq!(tree::places(source, "if one"), [0..6, 37..43]);
    assert!(tree::places(source, "nothing").is_empty());
}
