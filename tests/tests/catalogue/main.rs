//! The same failures for four implementations of lease reads: the product's, the `raft` crate's own, openraft's, and ours on openraft.
//!
//! `cargo test -p leasehold-tests --test catalogue -- --nocapture` prints the results and the story of every stale read.

mod lease_read;
mod random;

use lease_read::LeaseRead;
use leasehold_conformance::story::{Outcome, Stop, Story, Verdict};
use leasehold_conformance::subject::{Founding, Subject};
use leasehold_conformance::{Checked, Report, check_quorum_is_no_lease, check_subject, found};
use leasehold_tests::alternatives::lease_based::LeaseBased;
use leasehold_tests::alternatives::ours::Ours;

/// A system, with the name of its column in the docs and of its snapshots.
struct System {
    column: &'static str,
    name: &'static str,
    found: fn(Founding) -> Box<dyn Subject>,
}

const OURS: System = System { column: "ours", name: "ours", found: |founding| Box::new(Ours::founded(founding)) };
const LEASE_BASED: System = System {
    column: "`raft` `LeaseBased`",
    name: "lease_based",
    found: |founding| found(founding, &LeaseBased::new).expect("it has groups of all sizes"),
};
const LEASE_READ: System = System {
    column: "openraft `LeaseRead`",
    name: "lease_read",
    found: |founding| Box::new(LeaseRead::founded(founding)),
};

const OPENRAFT: System =
    System { column: "ours on openraft", name: "openraft", found: |founding| Box::new(LeaseRead::leased(founding)) };
const HASTY: System =
    System { column: "ours on openraft, hasty", name: "hasty", found: |founding| Box::new(LeaseRead::hasty(founding)) };
const UNGATED: System = System {
    column: "ours on openraft, ungated",
    name: "ungated",
    found: |founding| Box::new(LeaseRead::ungated(founding)),
};

/// Returns the cells of a system's column in the docs, by schedule.
fn documented(column: usize) -> Vec<(String, String)> {
    let docs = include_str!("../../../docs/evidence.md");
    let table = docs.split_once("\n| scenario | ours | ").map_or("", |(_, table)| table);
    let rows = table.lines().skip(2).map_while(|row| row.strip_prefix("| `"));
    let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    cells.map(|cells| (cells[0].trim_end_matches('`').to_owned(), cells[column].to_owned())).collect()
}

/// Runs a system under every schedule, and compares the results with its column in the docs and with the stored stories.
fn observe(system: &System, column: usize) -> Report {
    let report = check_subject(0, |founding| Ok((system.found)(founding)));
    println!("{}", system.column);
    let mut observed = Vec::new();
    for Checked { schedule, verdict, .. } in report.checked() {
        println!("  {:32}  {verdict}", schedule.name);
        observed.push((schedule.name.to_owned(), verdict.to_string()));
    }
    for Checked { schedule, verdict, .. } in report.checked() {
        if let Verdict::Stale(text) = verdict {
            println!("\n{} under {}\n{text}", system.column, schedule.name);
            insta::assert_snapshot!(format!("{}_{}", schedule.name, system.name), text);
        }
    }
    assert_eq!(documented(column), observed, "docs/evidence.md on the left, what was observed on the right");
    report
}

#[test]
fn ours_is_safe_under_every_schedule() {
    let report = observe(&OURS, 1);
    for Checked { schedule, verdict, .. } in report.checked() {
        assert!(matches!(verdict, Verdict::Safe(_)), "{}: {verdict}", schedule.name);
    }
}

#[test]
fn lease_based_is_as_the_docs_say() {
    let _ = observe(&LEASE_BASED, 2);
}

#[test]
fn lease_read_is_as_the_docs_say() {
    let _ = observe(&LEASE_READ, 3);
}

#[test]
fn ours_on_openraft_is_safe_under_every_schedule() {
    let report = observe(&OPENRAFT, 4);
    for Checked { schedule, verdict, .. } in report.checked() {
        assert!(!matches!(verdict, Verdict::Stale(_)), "{}: {verdict}", schedule.name);
    }
}

#[test]
fn ours_on_openraft_is_safe_under_faults_at_random() {
    let gated = random::judge(&HASTY, SEEDS);
    println!("of {SEEDS} sequences: {gated:?}");
    assert_eq!(gated.stale, Vec::<u64>::new(), "the seeds of stale reads");
    // Otherwise the test asked for nothing that matters.
    assert!(gated.by_lease > 10 * SEEDS && gated.elections > 2 * SEEDS, "{gated:?}");
    let ungated = random::judge(&UNGATED, SEEDS);
    println!("without the gates for votes: {ungated:?}");
    assert!(ungated.stale.len() > 1, "the same sequences must show what the gates prevent: {ungated:?}");
}

/// The number of sequences of faults.
const SEEDS: u64 = 30;

/// The results of 200 clusters with equal clocks whose leader is cut off.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    /// Answers by lease of the leader before the cut.
    by_lease_before: u32,
    /// Stale answers of the old leader, as soon as another leader has acknowledged a write.
    stale: u32,
}

fn count(system: &System) -> Counted {
    let mut counted = Counted::default();
    for seed in 0..200 {
        let mut subject = (system.found)(Founding { voters: &[1, 2, 3], learners: &[], seed });
        let mut story = Story::of(&mut *subject, seed * 5);
        let result = story.tell_only(|story, leader| {
            story.ask(leader)?;
            counted.by_lease_before += u32::from(story.outcome() == Some(Outcome::ByLease));
            check_quorum_is_no_lease(story, leader)
        });
        match result {
            Ok(()) => {}
            Err(Stop::Stale) => counted.stale += 1,
            Err(stop) => panic!("{}: seed {seed}: {stop:?}\n{}", system.column, story.text()),
        }
    }
    println!("{}: of 200, {counted:?}", system.column);
    counted
}

/// Returns the row of the docs' table of counts for a system.
fn documented_count(system: &System) -> Option<&'static str> {
    let (_, counts) = include_str!("../../../docs/evidence.md").split_once("| stale after it |")?;
    counts.lines().find_map(|line| line.strip_prefix(&format!("| {} | ", system.column))?.strip_suffix(" |"))
}

#[test]
fn of_200_leaders_cut_off_so_many_answer_with_stale_values() {
    let counted = [&OURS, &LEASE_BASED, &LEASE_READ, &OPENRAFT].map(|system| {
        let Counted { by_lease_before, stale } = count(system);
        (documented_count(system), format!("{by_lease_before} of 200 | {stale} of 200"))
    });
    for (documented, observed) in counted {
        assert_eq!(documented, Some(&*observed), "docs/evidence.md on the left, what was counted on the right");
    }
}
