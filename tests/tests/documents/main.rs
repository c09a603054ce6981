//! The documents: their commands are executed or parsed, their links lead somewhere, and what they name exists.

mod anchors;
mod cargo;
mod claims;
mod commands;
mod markdown;
mod programs;
#[cfg(unix)]
mod shell;

use markdown::{Document, documents};
use programs::Programs;
use std::collections::BTreeSet;

/// The languages of blocks. Those in `sh` are executed.
const LANGUAGES: [&str; 5] = ["sh", "text", "rust", "toml", "yaml"];
/// Flags of other programs than ours and cargo's that the documents name.
const FLAGS_OF_OTHERS: [&str; 5] = ["--cacert", "--now", "--rm", "--seccomp-bpf", "--tls"];

/// Fails with all that is wrong.
fn check(wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_block_names_its_language() {
    check(documents().iter().flat_map(|document| {
        let unknown = document.blocks.iter().filter(|block| {
            let language = block.info.split(',').next().unwrap_or_default();
            !LANGUAGES.contains(&language)
        });
        unknown.map(|block| format!("{}:{}: a block in {:?}", document.name, block.line, block.info))
    }));
}

/// Executes every block in a folder of its document, where a program that would need more only notes how it was called.
#[cfg(unix)]
#[test]
fn every_command_in_a_block_can_be_executed_or_is_understood() {
    let programs = Programs::new();
    let mut executed = 0;
    let mut wrong = Vec::new();
    for document in documents() {
        let mut sandbox = shell::Sandbox::new();
        for block in document.blocks.iter().filter(|block| block.info == "sh") {
            let place = format!("{}:{}", document.name, block.line);
            match sandbox.execute(&block.text) {
                Err(error) => wrong.push(format!("{place}: {error}")),
                Ok(calls) => {
                    assert!(!calls.is_empty() || block.text.starts_with("export "), "{place}: no command was called");
                    executed += calls.len();
                    let failed = calls.iter().filter_map(|call| {
                        let error = programs.check(call).err()?;
                        Some(format!("{place}: {}: {error}", call.join(" ")))
                    });
                    wrong.extend(failed);
                }
            }
        }
    }
    check(wrong);
    assert!(executed > 40, "only {executed} commands were found");
}

#[test]
fn every_command_in_a_sentence_is_understood() {
    let programs = Programs::new();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for document in documents() {
        for code in &document.codes {
            if let Some(Err(error)) = programs.check_sentence(code).inspect(|_| checked += 1) {
                wrong.push(format!("{}: `{code}`: {error}", document.name));
            }
        }
    }
    check(wrong);
    assert!(checked > 60, "only {checked} commands were found");
}

#[test]
fn every_flag_that_is_named_exists() {
    let programs = Programs::new();
    let known: BTreeSet<&str> = programs.flags().chain(cargo::FLAGS).chain(FLAGS_OF_OTHERS).collect();
    check(documents().iter().flat_map(|document| {
        let unknown = document.flags().into_iter().filter(|flag| !known.contains(flag.as_str()));
        unknown.map(|flag| format!("{}: {flag}", document.name)).collect::<Vec<_>>()
    }));
}

#[test]
fn every_file_that_is_named_exists() {
    let documents = documents();
    let mut checked = 0;
    let missing = documents.iter().flat_map(Document::paths).filter(|(_, path)| {
        checked += 1;
        !path.iter().any(|path| path.exists())
    });
    check(missing.map(|(name, path)| format!("{name}: {}", path[0].display())).collect::<Vec<_>>());
    assert!(checked > 100, "only {checked} files were found");
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let documents = documents();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for document in &documents {
        for link in document.links.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            checked += 1;
            if let Err(error) = anchors::follow(&documents, document, link) {
                wrong.push(format!("{}: {link}: {error}", document.name));
            }
        }
    }
    check(wrong);
    assert!(checked > 100, "only {checked} links were found");
}

#[test]
fn the_summary_of_the_book_lists_every_page() {
    let documents = documents();
    let is_page = |document: &&Document| document.name.starts_with("docs/") && document.name != "docs/SUMMARY.md";
    let summary =
        documents.iter().find(|document| document.name == "docs/SUMMARY.md").expect("the summary of the book");
    let listed = |page: &&Document| summary.links.iter().any(|link| format!("docs/{link}") == page.name);
    check(documents.iter().filter(is_page).filter(|page| !listed(page)).map(|page| page.name.clone()));
}

#[test]
fn wrong_commands_and_links_are_found() {
    let programs = Programs::new();
    let fails =
        |words: &[&str]| programs.check(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).is_err();
    assert!(fails(&["leasehold", "serve", "--id", "1"]), "flags are missing");
    assert!(fails(&["leasehold", "ctl", "status", "--follow"]));
    assert!(fails(&["cargo", "run", "-p", "leasehold-nothing"]));
    assert!(fails(&["cargo", "run", "-p", "leasehold-tests", "--bin", "soak", "--", "--minutes", "1"]));
    assert!(fails(&["cargo", "test", "-p", "leasehold-tests", "--test", "nothing"]));
    assert!(fails(&["cargo", "run", "--release", "-p", "leasehold-bench", "--", "nothing"]));
    assert!(fails(&["install", "-m", "0644", "packaging/nothing", "/etc/leasehold/nothing"]));
    assert!(fails(&["unheard-of"]));
    for wrong in ["leasehold serve --colour", "leasehold top", "cargo test -p leasehold-nothing"] {
        assert!(programs.check_sentence(wrong).is_some_and(|checked| checked.is_err()), "{wrong}");
    }
    let document =
        Document::parse("docs/x.md", "# A `b` c!\n\n## A b c\n\n[x](#a-b-c) [y](#a-b-c-1) [z](#a-b-c-2) [w](no.md)");
    let follow = |link| anchors::follow(std::slice::from_ref(&document), &document, link);
    assert_eq!(follow("#a-b-c"), Ok(()));
    assert_eq!(follow("#a-b-c-1"), Ok(()));
    assert!(follow("#a-b-c-2").is_err() && follow("no.md").is_err());
    assert_eq!(document.links.len(), 4);
}
