//! The house rules: no file imports form a cycle, files and lines stay short, and some idioms are not used.

mod imports;

use imports::Graph;
use std::fs;
use std::path::{Path, PathBuf};

/// The lengths that files and lines stay within.
const MAX_FILE_LINES: usize = 700;
const MAX_MARKDOWN_COLUMNS: usize = 120;

/// Idioms that have a plain word, in two parts so that this file does not contain them.
const IDIOMS: [(&str, &str); 5] =
    [("who", "ever"), ("no", "body"), ("for want", " of"), ("in", " vain"), ("bes", "ide ")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the workspace").to_owned()
}

/// Returns the files of the workspace whose name ends with `ending`, relative to `folder`, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let entry = entry.expect("a readable folder");
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().expect("a readable folder").is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(entry.path());
                }
            } else if name.ends_with(ending) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name_of(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// Checks that nothing breaks a rule.
fn check(rule: &str, found: impl Iterator<Item = (String, usize)>) {
    let broken: Vec<String> =
        found.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} in {name}")).collect();
    assert!(broken.is_empty(), "{rule}: {}", broken.join(", "));
}

#[test]
fn no_file_imports_form_a_cycle() {
    let mut crates = 0;
    let mut cycles = Vec::new();
    for manifest in files(&root(), "Cargo.toml") {
        let sources = manifest.parent().expect("a file is in a folder").join("src");
        for crate_root in imports::crate_roots(&sources) {
            crates += 1;
            for cycle in Graph::of(&crate_root).cycles() {
                let cycle: Vec<String> = cycle.iter().map(|path| name_of(path)).collect();
                cycles.push(cycle.join("\n  "));
            }
        }
    }
    assert!(crates >= 12, "only {crates} crates were found");
    assert!(
        cycles.is_empty(),
        "these files import each other in a cycle:
  {}",
        cycles.join(
            "

  "
        )
    );
}

#[test]
fn no_source_file_is_long() {
    let mut longest = (0, String::new());
    for path in files(&root(), ".rs") {
        longest = longest.max((read(&path).lines().count(), name_of(&path)));
    }
    let (lines, name) = longest;
    println!("the longest file is {name} with {lines} lines");
    assert!(lines > 100, "no source files were found");
    assert!(lines <= MAX_FILE_LINES, "{name} has {lines} lines");
}

/// Returns the numbers of the lines of a markdown text that are too long, outside of code blocks, tables and links.
fn long_lines(text: &str) -> Vec<usize> {
    let mut in_code = false;
    let mut long = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        let exempt = fence || in_code || line.starts_with('|') || line.contains("](") || line.contains("http");
        if !exempt && line.chars().count() > MAX_MARKDOWN_COLUMNS {
            long.push(at + 1);
        }
    }
    long
}

#[test]
fn markdown_is_wrapped() {
    let counts = files(&root(), ".md").into_iter().map(|path| (name_of(&path), long_lines(&read(&path)).len()));
    check("long lines of markdown", counts);
}

#[test]
fn long_lines_count_outside_code_tables_and_links_only() {
    let long = "a ".repeat(61);
    let text = format!("short\n{long}\n```\n{long}\n```\n| {long}\n[x](y) {long}\n{long}\n");
    assert_eq!(long_lines(&text), [2, 8]);
}

/// Returns how many idioms a text contains.
fn idioms(text: &str) -> usize {
    let text = text.to_lowercase();
    let letter = |found: Option<char>| found.is_some_and(char::is_alphabetic);
    let count = |(one, other): &(&str, &str)| {
        let idiom = format!("{one}{other}");
        let whole = |(at, found): &(usize, &str)| {
            let before = letter(text[..*at].chars().next_back());
            let after = !found.ends_with(' ') && letter(text[at + found.len()..].chars().next());
            !before && !after
        };
        text.match_indices(&idiom).filter(whole).count()
    };
    IDIOMS.iter().map(count).sum()
}

#[test]
fn idioms_are_not_used() {
    let paths = files(&root(), ".rs").into_iter().chain(files(&root(), ".md"));
    check("idioms", paths.map(|path| (name_of(&path), idioms(&read(&path)))));
}

#[test]
fn idioms_are_found_as_whole_words() {
    let [first, second, _, _, last] = IDIOMS.map(|(one, other)| format!("{one}{other}"));
    assert_eq!(idioms(&format!("{first} knows, {second}.\nIt is {last}it, {}", first.to_uppercase())), 4);
    assert_eq!(idioms(&format!("{}s it, a{second}", last.trim_end())), 0);
}
