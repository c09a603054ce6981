//! Follows links, as forges do.

use crate::markdown::{Document, root};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Returns the anchors of the headings of a document.
fn anchors(document: &Document) -> Vec<String> {
    let mut used = BTreeMap::<String, usize>::new();
    let anchor = |heading: &String| {
        let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
        let anchor: String = heading.to_lowercase().chars().filter(kept).collect();
        let anchor = anchor.replace(' ', "-");
        let times = used.entry(anchor.clone()).or_default();
        *times += 1;
        if *times == 1 { anchor } else { format!("{anchor}-{}", *times - 1) }
    };
    document.headings.iter().map(anchor).collect()
}

/// Checks that a link leads to a file, and to a heading if it names one.
pub(crate) fn follow(documents: &[Document], from: &Document, link: &str) -> Result<(), String> {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let name = if path.is_empty() { Ok(from.name.clone()) } else { resolve(&from.name, path) }?;
    if !path.is_empty() && !root().join(&name).exists() {
        return Err("there is no such file".to_owned());
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let target = documents.iter().find(|document| document.name == name).ok_or("an anchor in no document")?;
    match anchors(target).iter().any(|other| other == anchor) {
        true => Ok(()),
        false => Err("there is no such heading".to_owned()),
    }
}

/// Returns the path from the root of the repository to what a document's link leads to.
fn resolve(from: &str, path: &str) -> Result<String, String> {
    let folder = Path::new(from).parent().unwrap_or(Path::new(""));
    let mut resolved = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::ParentDir if !resolved.pop() => return Err("it leaves the repository".to_owned()),
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir | Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err("it is absolute".to_owned()),
        }
    }
    Ok(resolved.to_string_lossy().into_owned())
}
