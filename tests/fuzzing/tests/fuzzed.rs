//! Runs every target on its corpus and on mutations of it.
//!
//! The corpora are those of `cargo fuzz`, in `fuzz/corpus`. Mutations follow from a seed: `LEASEHOLD_FUZZ_SEED` chooses
//! another, `LEASEHOLD_FUZZ_RUNS` how many there are of each quick target.

use leasehold_fuzzing::{Counting, TARGETS, Target};
use leasehold_node::{frames, wire};
use leasehold_testing::dice::Dice;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[global_allocator]
static COUNTING: Counting = Counting;

/// The number of mutations that a target of weight 1 is tried with.
const RUNS: u64 = 6_000;
/// The most bytes of an input.
const MAX_INPUT_BYTES: usize = 4096;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")),
        Err(_) => otherwise,
    }
}

/// Reads the corpus of a target, in the order of its files' names.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join("corpus").join(target.name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("no corpus in {}: {error}", folder.display()));
    let mut corpus: Vec<_> = files
        .map(|file| {
            let path = file.expect("a file").path();
            (path.display().to_string(), fs::read(&path).expect("a readable file"))
        })
        .collect();
    corpus.sort();
    assert!(!corpus.is_empty(), "{} is empty", folder.display());
    corpus
}

/// Reports and stores the input if the target panics.
struct Trying<'a> {
    target: &'a Target,
    what: &'a str,
    input: &'a [u8],
}

impl Trying<'_> {
    fn run(self) {
        (self.target.run)(self.input);
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = std::env::temp_dir().join(format!("{}-failed", self.target.name));
            let kept =
                fs::write(&path, self.input).map_or_else(|error| error.to_string(), |()| path.display().to_string());
            eprintln!("{}, {}: \"{}\"\nkept in {kept}", self.target.name, self.what, self.input.escape_ascii());
        }
    }
}

fn holds(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    let corpus = corpus(target);
    for (path, input) in &corpus {
        Trying { target, what: path, input }.run();
    }
    let seed = number("LEASEHOLD_FUZZ_SEED", 1);
    println!("mutations from LEASEHOLD_FUZZ_SEED={seed}");
    let mut mutator = Mutator { dice: Dice::new(seed, 0), corpus: &corpus };
    for run in 0..number("LEASEHOLD_FUZZ_RUNS", RUNS) / u64::from(target.weight) {
        let input = mutator.next();
        Trying { target, what: &format!("mutation {run} of seed {seed}"), input: &input }.run();
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            holds(stringify!($name));
        })*

        #[test]
        fn every_target_is_tried_here_and_by_cargo_fuzz() {
            let tried = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|target| target.name), tried);
            let manifest = fs::read_to_string(folder().join("Cargo.toml")).expect("the manifest of the fuzz targets");
            for name in tried {
                let source = folder().join("fuzz_targets").join(format!("{name}.rs"));
                let source = fs::read_to_string(&source).expect("a target for cargo fuzz");
                assert!(source.contains(&format!("leasehold_fuzzing::{name}(")) && manifest.contains(&format!("name = \"{name}\"")));
            }
        }
    };
}

targets! {
    client_requests
    client_commands
    log_entries
    traces
    peer_frames
    peer_messages
    handshakes
    snapshots
    envelopes
    stored_folders
}

/// Inputs of an earlier version are refused at their first byte, and so are all mutations of them.
#[test]
fn the_corpus_of_messages_between_nodes_has_every_kind() {
    let target = TARGETS.iter().find(|target| target.name == "peer_messages").expect("a target of this name");
    let messages: Vec<_> =
        corpus(target).into_iter().filter(|(_, input)| frames::decode(input).is_ok()).map(|(_, input)| input).collect();
    let single = messages.iter().filter(|message| message[0] == wire::VERSION);
    let kinds: BTreeSet<u8> = single.map(|message| message[1]).collect();
    assert_eq!(kinds, (0..=16).collect(), "docs/formats.md describes the kinds");
    assert!(messages.iter().any(|message| message[0] == frames::JOINED));
}

/// Makes new inputs from those of the corpus.
struct Mutator<'a> {
    dice: Dice,
    corpus: &'a [(String, Vec<u8>)],
}

impl<'a> Mutator<'a> {
    fn next(&mut self) -> Vec<u8> {
        let mut input = self.pick().to_vec();
        for _ in 0..=self.below(5) {
            self.mutate(&mut input);
        }
        input.truncate(MAX_INPUT_BYTES);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        const LENGTHS: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 1 << 31, u64::MAX >> 1, u64::MAX];
        let place = self.below(input.len() + 1);
        let end = (place + self.below(16) + 1).min(input.len());
        match self.below(9) {
            _ if place == input.len() => input.push(self.byte()),
            0 => input[place] ^= 1 << self.below(8),
            1 => input[place] = self.byte(),
            2 => input[place] = input[place].wrapping_add(if self.below(2) == 0 { 1 } else { 255 }),
            3 => input.insert(place, self.byte()),
            4 => drop(input.drain(place..end)),
            5 => {
                let again = input[place..end].to_vec();
                let to = self.below(input.len());
                drop(input.splice(to..to, again));
            }
            6 => {
                let width = [1, 2, 4, 8][self.below(4)].min(input.len() - place);
                let number = LENGTHS[self.below(LENGTHS.len())].to_le_bytes();
                input[place..place + width].copy_from_slice(&number[..width]);
            }
            7 => {
                let other = self.pick();
                let from = self.below(other.len() + 1);
                input.splice(place..end, other[from..].iter().take(64).copied());
            }
            _ => input.truncate(place),
        }
    }

    fn pick(&mut self) -> &'a [u8] {
        &self.corpus[self.below(self.corpus.len())].1
    }

    fn byte(&mut self) -> u8 {
        self.dice.below(256) as u8
    }

    fn below(&mut self, end: usize) -> usize {
        self.dice.index(end)
    }
}
