//! Reads the documents of the repository.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A block of code.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) info: String,
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// A document.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// The path from the root of the repository.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) blocks: Vec<Block>,
    /// The code in sentences and tables.
    pub(crate) codes: Vec<String>,
    /// The targets of links and pictures.
    pub(crate) links: Vec<String>,
    /// The text of the headings.
    pub(crate) headings: Vec<String>,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the workspace").to_owned()
}

/// Returns all documents of the repository.
pub(crate) fn documents() -> Vec<Document> {
    let root = root();
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let entry = entry.expect("a readable folder");
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().expect("a readable folder").is_dir() {
                if !["target", "book"].contains(&&*name) && !name.starts_with('.') {
                    folders.push(entry.path());
                }
            } else if name.ends_with(".md") {
                let text = fs::read_to_string(entry.path()).expect("a readable file");
                let path = entry.path();
                let name = path.strip_prefix(&root).expect("in the repository").to_string_lossy().into_owned();
                found.push(Document::parse(&name, &text));
            }
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(found.len() > 25, "only {} documents were found", found.len());
    found
}

impl Document {
    /// Reads a text.
    pub(crate) fn parse(name: &str, text: &str) -> Document {
        let mut document = Document { name: name.to_owned(), text: text.to_owned(), ..Document::default() };
        let (mut block, mut heading) = (None::<Block>, None::<String>);
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = if let CodeBlockKind::Fenced(info) = kind { info.to_string() } else { String::new() };
                    let line = 1 + text[..range.start].matches('\n').count();
                    block = Some(Block { info, text: String::new(), line });
                }
                Event::End(TagEnd::CodeBlock) => document.blocks.extend(block.take()),
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => document.headings.extend(heading.take()),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.to_string());
                }
                Event::Text(part) => match (&mut block, &mut heading) {
                    (Some(block), _) => block.text.push_str(&part),
                    (_, Some(heading)) => heading.push_str(&part),
                    _ => {}
                },
                Event::Code(code) => {
                    document.codes.push(code.to_string());
                    heading.iter_mut().for_each(|heading| heading.push_str(&code));
                }
                _ => {}
            }
        }
        document
    }

    /// Returns the long flags in the text.
    pub(crate) fn flags(&self) -> BTreeSet<String> {
        let letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        let starts = self.text.match_indices("--").filter(|(at, _)| {
            let before = self.text[..*at].chars().next_back();
            !before.is_some_and(|before| before.is_alphanumeric() || before == '-' || before == '<')
        });
        let flags = starts.map(|(at, _)| {
            let rest = &self.text[at..];
            rest[..rest.find(|other| !letter(other)).unwrap_or(rest.len())].to_owned()
        });
        // A flag that ends with a hyphen stands for several: `--client-tls-…`.
        flags.filter(|flag| flag.len() > 2 && !flag.ends_with('-') && !flag.starts_with("---")).collect()
    }

    /// Returns the files and folders of the repository that the text names, each from the root and from the document.
    pub(crate) fn paths(&self) -> Vec<(&str, [PathBuf; 2])> {
        let root = root();
        let own = root.join(&self.name);
        let own = own.parent().expect("a file is in a folder");
        let is_path = |code: &&String| {
            let first = code.split('/').next().unwrap_or_default();
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
            code.contains('/') && code.chars().all(plain) && !first.is_empty() && root.join(first).is_dir()
        };
        // What is built, and a file of openraft.
        let is_other = |code: &&String| code.starts_with("target/") || *code == "storage/helper.rs";
        let codes = self.codes.iter().filter(is_path).filter(|code| !is_other(code));
        codes.map(|code| (&*self.name, [root.join(code), own.join(code)])).collect()
    }
}
