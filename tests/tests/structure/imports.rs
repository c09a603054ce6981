//! Finds the files that each file of a crate imports.
//!
//! A file imports another if its code has a path, in a `use` or anywhere else, to an item that the other file defines. A path
//! to a re-export leads to the file of the item, so `use super::X` imports the sibling that defines `X`, or the parent if that
//! defines it. Two things do not count: `mod child;`, and a re-export (`pub use`) of a name that the file does not use itself.
//! All modules inside one file are that file.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The names that lead from the root of a crate to a module, and then to an item.
type Segments = Vec<String>;

/// One file of a crate.
#[derive(Debug, Default)]
struct File {
    /// The `use` items: the module they are in, whether they are public, the path, and the name they bind (`*` for all).
    uses: Vec<Use>,
    /// All other paths, with the module they are in.
    paths: Vec<(Segments, Segments)>,
    /// Single names in the code.
    names: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Use {
    module: Segments,
    public: bool,
    path: Segments,
    name: String,
}

/// The files of a crate and their imports.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    files: BTreeMap<PathBuf, File>,
    /// The file of each module, inline modules too.
    modules: BTreeMap<Segments, PathBuf>,
}

/// Returns the root files of the crates in a `src` folder.
pub(crate) fn crate_roots(sources: &Path) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> =
        ["lib.rs", "main.rs"].map(|name| sources.join(name)).into_iter().filter(|path| path.is_file()).collect();
    if let Ok(programs) = fs::read_dir(sources.join("bin")) {
        roots.extend(programs.map(|entry| entry.expect("a readable folder").path()).filter(|path| path.is_file()));
    }
    roots
}

impl Graph {
    /// Reads a crate.
    pub(crate) fn of(root: &Path) -> Graph {
        let mut graph = Graph::default();
        let folder = root.parent().expect("a file is in a folder");
        graph.read(root, folder, Vec::new());
        graph
    }

    fn read(&mut self, path: &Path, folder: &Path, module: Segments) {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.files.insert(path.to_owned(), File::default());
        self.modules.insert(module.clone(), path.to_owned());
        self.scan(path, folder, &module, &tokens.into_iter().collect::<Vec<_>>());
    }

    fn file(&mut self, path: &Path) -> &mut File {
        self.files.get_mut(path).expect("a file that is being read")
    }

    fn scan(&mut self, path: &Path, folder: &Path, module: &Segments, tokens: &[TokenTree]) {
        let mut at = 0;
        let mut other_path = None;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(hash)
                    if hash.as_char() == '#'
                        && matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket) =>
                {
                    other_path = path_attribute(&tokens[at + 1]).or(other_path);
                    at += 2;
                }
                TokenTree::Ident(word) if *word == "mod" && ident(tokens, at + 1).is_some() => {
                    let name = ident(tokens, at + 1).expect("checked above");
                    let inner: Segments = module.iter().cloned().chain([name.clone()]).collect();
                    if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
                        self.modules.insert(inner.clone(), path.to_owned());
                        self.scan(path, &folder.join(&name), &inner, &body.stream().into_iter().collect::<Vec<_>>());
                    } else {
                        let (file, folder) = match other_path.take() {
                            Some(other) => {
                                let beneath = path.parent().expect("a file is in a folder");
                                (beneath.join(&other), beneath.to_owned())
                            }
                            None if folder.join(format!("{name}.rs")).is_file() => {
                                (folder.join(format!("{name}.rs")), folder.join(&name))
                            }
                            None => (folder.join(&name).join("mod.rs"), folder.join(&name)),
                        };
                        self.read(&file, &folder, inner);
                    }
                    at += 3;
                }
                // Not `use<'a>`, which captures lifetimes.
                TokenTree::Ident(word) if *word == "use" && !is_punct(tokens, at + 1, '<') => {
                    let end = (at..tokens.len()).find(|end| is_punct(tokens, *end, ';')).unwrap_or(tokens.len());
                    let public = is_public(tokens, at);
                    let mut uses = Vec::new();
                    use_tree(&tokens[at + 1..end], Vec::new(), &mut uses);
                    let uses =
                        uses.into_iter().map(|(used, name)| Use { module: module.clone(), public, path: used, name });
                    self.file(path).uses.extend(uses);
                    at = end + 1;
                }
                TokenTree::Ident(_) => {
                    let mut segments = vec![ident(tokens, at).expect("an identifier")];
                    while is_punct(tokens, at + 1, ':') && is_punct(tokens, at + 2, ':') {
                        let Some(next) = ident(tokens, at + 3) else { break };
                        segments.push(next);
                        at += 3;
                    }
                    if segments.len() == 1 {
                        self.file(path).names.insert(segments.remove(0));
                    } else {
                        self.file(path).names.insert(segments[0].clone());
                        self.file(path).paths.push((module.clone(), segments));
                    }
                    at += 1;
                }
                TokenTree::Group(group) => {
                    self.scan(path, folder, module, &group.stream().into_iter().collect::<Vec<_>>());
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    /// Returns the files that each file imports.
    fn imports(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let mut imports: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for (path, file) in &self.files {
            let to = imports.entry(path).or_default();
            let used = file.uses.iter().filter(|used| !used.public || file.names.contains(&used.name));
            let used = used.map(|used| (&used.module, &used.path));
            for (module, segments) in used.chain(file.paths.iter().map(|(module, path)| (module, path))) {
                to.extend(self.file_of(module, segments, 0).filter(|other| *other != path));
            }
        }
        imports
    }

    /// Returns the file of what `path` names in `module`, if it is of this crate.
    fn file_of(&self, module: &Segments, path: &Segments, followed: u32) -> Option<&Path> {
        let mut here = module.clone();
        let mut rest = path.as_slice();
        match rest.first()?.as_str() {
            "crate" => (here, rest) = (Vec::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|first| first == "super") {
                    here.pop()?;
                    rest = &rest[1..];
                }
            }
            first => {
                here.push(first.to_owned());
                self.modules.get(&here)?;
                rest = &rest[1..];
            }
        }
        while let Some((first, others)) = rest.split_first() {
            here.push(first.clone());
            if !self.modules.contains_key(&here) {
                here.pop();
                break;
            }
            rest = others;
        }
        let file = self.modules.get(&here)?;
        let item = rest.first();
        let follow = |used: &Use| {
            let path = used.path.iter().chain(&rest[1..]).cloned().collect();
            self.file_of(&here, &path, followed + 1)
        };
        // Re-exports do not go round in circles, but two names that are alike may seem to.
        if followed > 8 {
            return Some(file);
        }
        let imported =
            item.and_then(|item| self.files[file].uses.iter().find(|used| used.module == here && used.name == *item));
        imported.and_then(follow).or(Some(file))
    }

    /// Returns the sets of files that import each other, directly or through others.
    pub(crate) fn cycles(&self) -> Vec<Vec<&Path>> {
        let imports = self.imports();
        let reached: BTreeMap<&Path, BTreeSet<&Path>> =
            imports.keys().map(|from| (*from, reach(&imports, from))).collect();
        let mut cycles: BTreeSet<Vec<&Path>> = BTreeSet::new();
        for (from, to) in &reached {
            if to.contains(from) {
                cycles.insert(to.iter().copied().filter(|other| reached[other].contains(from)).collect());
            }
        }
        cycles.into_iter().collect()
    }
}

fn reach<'graph>(imports: &BTreeMap<&'graph Path, BTreeSet<&'graph Path>>, from: &Path) -> BTreeSet<&'graph Path> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Path> = imports[from].iter().copied().collect();
    while let Some(path) = next.pop() {
        if reached.insert(path) {
            next.extend(&imports[path]);
        }
    }
    reached
}

fn ident(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_punct(tokens: &[TokenTree], at: usize, punct: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(found)) if found.as_char() == punct)
}

/// Returns whether `pub` or `pub(...)` stands before a token.
fn is_public(tokens: &[TokenTree], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
    let is_pub = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Ident(word)) if *word == "pub");
    is_pub(before(1)) || matches!(before(1), Some(TokenTree::Group(_))) && is_pub(before(2))
}

/// Returns the file that `#[path = "..."]` names.
fn path_attribute(attribute: &TokenTree) -> Option<String> {
    let TokenTree::Group(group) = attribute else { return None };
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    (ident(&tokens, 0)? == "path").then(|| tokens.last().map(|token| token.to_string().trim_matches('"').to_owned()))?
}

/// Takes a `use` tree apart: each path in it, and the name it binds.
fn use_tree(tokens: &[TokenTree], before: Segments, uses: &mut Vec<(Segments, String)>) {
    let mut path = before.clone();
    let mut name = None;
    let mut at = 0;
    let mut is_group = false;
    while at < tokens.len() && !is_punct(tokens, at, ',') {
        match &tokens[at] {
            TokenTree::Ident(word) if *word == "as" => {
                name = ident(tokens, at + 1);
                at += 1;
            }
            // `use a::{self}` binds `a`.
            TokenTree::Ident(word) if *word == "self" && !path.is_empty() => {}
            TokenTree::Ident(word) => path.push(word.to_string()),
            TokenTree::Group(group) => {
                is_group = true;
                use_tree(&group.stream().into_iter().collect::<Vec<_>>(), path.clone(), uses);
            }
            TokenTree::Punct(star) if star.as_char() == '*' => name = Some("*".to_owned()),
            _ => {}
        }
        at += 1;
    }
    if !is_group && path.len() > before.len() || name.is_some() || !is_group && at > 0 && !path.is_empty() {
        let name = name.or_else(|| path.last().cloned()).expect("a path has a last name");
        uses.push((path, name));
    }
    if at < tokens.len() {
        use_tree(&tokens[at + 1..], before, uses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a crate, and returns its cycles by file name.
    fn cycles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let graph = Graph::of(&folder.path().join("lib.rs"));
        let name = |path: &&Path| path.strip_prefix(folder.path()).expect("a file of the crate").display().to_string();
        graph.cycles().iter().map(|cycle| cycle.iter().map(name).collect()).collect()
    }

    #[test]
    fn finds_two_files_that_import_each_other() {
        let one = ("one.rs", "use crate::two::B; pub struct A;");
        let found =
            cycles(&[("lib.rs", "mod one; mod two;"), one, ("two.rs", "pub struct B; fn f(_: crate::one::A) {}")]);
        assert_eq!(found, [["one.rs", "two.rs"]]);
    }

    #[test]
    fn finds_a_longer_cycle_through_groups_and_renames() {
        let found = cycles(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::{b::{self, B as Other}, std::fmt};"),
            ("b.rs", "pub struct B; mod tests { use super::super::c::*; }"),
            ("c.rs", "pub fn c() { assert!(crate::a::yes()); }"),
        ]);
        assert_eq!(found, [["a.rs", "b.rs", "c.rs"]]);
    }

    #[test]
    fn a_parent_that_declares_and_re_exports_imports_nothing() {
        let parent = ("p.rs", "mod one; mod two; pub use one::A; pub(crate) use two::B; pub struct C;");
        let files =
            [("lib.rs", "mod p;"), parent, ("p/one.rs", "use super::C; pub struct A;"), ("p/two.rs", "use super::A;")];
        assert!(cycles(&files).is_empty());
    }

    #[test]
    fn a_parent_that_uses_what_it_re_exports_imports_it() {
        let parent = ("p/mod.rs", "mod one; pub use one::A; pub struct C(A);");
        let found = cycles(&[("lib.rs", "mod p;"), parent, ("p/one.rs", "use super::C; pub struct A;")]);
        assert_eq!(found, [["p/mod.rs", "p/one.rs"]]);
        let parent = ("p/mod.rs", "mod one; pub struct C; fn f() { one::f() }");
        let found = cycles(&[("lib.rs", "mod p;"), parent, ("p/one.rs", "use super::C; pub fn f() {}")]);
        assert_eq!(found, [["p/mod.rs", "p/one.rs"]]);
    }

    #[test]
    fn super_leads_to_the_sibling_that_defines_the_name() {
        let parent = ("p.rs", "mod one; mod two; use one::A;");
        let found = cycles(&[
            ("lib.rs", "mod p;"),
            parent,
            ("p/one.rs", "use super::two::B; pub struct A;"),
            ("p/two.rs", "use super::A; pub struct B;"),
        ]);
        assert_eq!(found, [["p/one.rs", "p/two.rs"]]);
    }

    #[test]
    fn comments_texts_and_other_crates_are_no_imports() {
        let one =
            ("one.rs", "//! [`crate::two`]\npub const A: &str = \"crate::two::B\"; fn f(x: &'static other::two::B) {}");
        let found = cycles(&[("lib.rs", "mod one; mod two;"), one, ("two.rs", "use crate::one::A;")]);
        assert!(found.is_empty(), "{found:?}");
    }
}
