//! A copy of the workspace in which every mutation is present, each behind its switch.

use super::{Edit, all};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The environment variable that switches a mutation on, by its number.
pub const SWITCH: &str = "LEASEHOLD_MUTATION";

/// The code that is appended to the core of the copy.
const SWITCHES: &str = "
extern crate self as leasehold_core;

/// The number of the mutation that is switched on. Only this copy of the workspace has it.
#[allow(missing_docs)]
pub mod mutation {
    extern crate std;

    static SWITCHED_ON: std::sync::OnceLock<usize> = std::sync::OnceLock::new();

    pub fn is(number: usize) -> bool {
        let read = || std::env::var(\"LEASEHOLD_MUTATION\").ok().and_then(|number| number.parse().ok()).unwrap_or(0);
        *SWITCHED_ON.get_or_init(read) == number
    }
}
";

/// The reason why the copy could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An edit does not find exactly one place.
    #[error("{mutation}: {find:?} occurs {times} times in {file}; adapt the edit to the source")]
    Place {
        /// The mutation.
        mutation: &'static str,
        /// The text it looks for.
        find: &'static str,
        /// The file.
        file: &'static str,
        /// The number of occurrences.
        times: usize,
    },
    /// Two edits want overlapping text.
    #[error("{file}: the edits at {one:?} and {other:?} overlap; make them the same text, or keep them apart")]
    Overlap {
        /// The file.
        file: String,
        /// One edit.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// The files to copy are not known.
    #[error("git cannot list the files of {0}: run this in a checkout")]
    NoList(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Returns the places of `find` in a source. A space in it matches any white space.
pub fn places(source: &str, find: &str) -> Vec<Range<usize>> {
    let words: Vec<&str> = find.split_whitespace().collect();
    let Some(first) = words.first() else { return Vec::new() };
    let mut places = Vec::new();
    for (start, _) in source.match_indices(first) {
        let mut rest = &source[start + first.len()..];
        let all_follow = words[1..].iter().all(|word| {
            let trimmed = rest.trim_start();
            let spaced = trimmed.len() < rest.len();
            match trimmed.strip_prefix(word) {
                Some(after) if spaced => {
                    rest = after;
                    true
                }
                _ => false,
            }
        });
        if all_follow {
            places.push(start..source.len() - rest.len());
        }
    }
    places
}

/// Returns a source with every mutation of that file applied.
///
/// # Errors
/// [`Error::Place`] and [`Error::Overlap`].
pub fn mutated(file: &str, source: &str) -> Result<String, Error> {
    // By place: the text that was looked for there, and its replacement so far.
    let mut edits: BTreeMap<usize, (Range<usize>, &'static str, String)> = BTreeMap::new();
    for (at, mutation) in all().enumerate() {
        for edit in mutation.edits.iter().filter(|edit| edit.file == file) {
            let Edit { file, find, with } = *edit;
            let found = places(source, find);
            let [place] = found.as_slice() else {
                return Err(Error::Place { mutation: mutation.name, find, file, times: found.len() });
            };
            let on = format!("::leasehold_core::mutation::is({})", at + 1);
            let stands = match edits.get(&place.start) {
                None => &source[place.clone()],
                // Edits of one place are nested. Text that they share is inserted once.
                Some((_, _, text)) if !with.contains("$on") && text.contains(with.trim_end_matches("$it")) => continue,
                Some((same, _, text)) if same == place && with.contains("$it") => text,
                Some((_, other, _)) => return Err(Error::Overlap { file: file.to_owned(), one: other, other: find }),
            };
            let text = with.replace("$on", &on).replace("$it", stands);
            edits.insert(place.start, (place.clone(), find, text));
        }
    }
    let mut text = String::with_capacity(source.len() * 2);
    let mut end = 0;
    let mut before = "";
    for (place, find, with) in edits.values() {
        if place.start < end {
            return Err(Error::Overlap { file: file.to_owned(), one: before, other: find });
        }
        text.push_str(&source[end..place.start]);
        text.push_str(with);
        (end, before) = (place.end, find);
    }
    text.push_str(&source[end..]);
    Ok(text)
}

/// Copies the files that git tracks or would track from `root` to `tree`, with every mutation applied. Files that did not change
/// since the last copy are not touched, so that they are not built again.
///
/// # Errors
/// [`Error`].
pub fn make(root: &Path, tree: &Path) -> Result<(), Error> {
    let list = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .ok_or_else(|| Error::NoList(root.to_owned()))?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    // Tracked files that were removed are not copied.
    let files: BTreeSet<&str> = list.split('\0').filter(|file| root.join(file).is_file()).collect();
    let mutates: BTreeSet<&str> = all().flat_map(|mutation| mutation.edits).map(|edit| edit.file).collect();
    for file in &files {
        let path = root.join(file);
        let of = |source| Error::File { path: path.clone(), source };
        let mut content = fs::read(&path).map_err(of)?;
        if mutates.contains(file) {
            content = mutated(file, &String::from_utf8_lossy(&content))?.into_bytes();
        }
        if *file == "core/src/lib.rs" {
            content.extend_from_slice(SWITCHES.as_bytes());
        }
        let to = tree.join(file);
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        let folder = to.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).and_then(|()| fs::write(&to, &content)).map_err(of)?;
    }
    remove_others(tree, tree, &files)
}

/// Removes files that only earlier copies had.
fn remove_others(tree: &Path, folder: &Path, files: &BTreeSet<&str>) -> Result<(), Error> {
    let of = |source| Error::File { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(of)? {
        let path = entry.map_err(of)?.path();
        let name = path.strip_prefix(tree).expect("it is in the tree").to_string_lossy();
        if path.is_dir() {
            if name != "target" {
                remove_others(tree, &path, files)?;
            }
        } else if !files.contains(name.as_ref()) {
            fs::remove_file(&path).map_err(of)?;
        }
    }
    Ok(())
}
