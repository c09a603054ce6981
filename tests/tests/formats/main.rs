//! Golden files: bytes that earlier builds of this version wrote, which this one must still read and write.
//!
//! A difference is a new format. It needs a new version number, new golden files, and a look at docs/formats.md. This
//! writes them:
//!
//! ```text
//! LEASEHOLD_GOLDEN=write cargo test -p leasehold-tests --test formats
//! ```

mod folder;
mod messages;
mod values;
mod versions;

use std::fs;
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/formats/golden").join(name)
}

fn is_writing() -> bool {
    std::env::var_os("LEASEHOLD_GOLDEN").is_some_and(|value| value == "write")
}

/// Returns the content of a golden file, after writing `text` to it if that is asked for.
fn golden_text(name: &str, text: impl FnOnce() -> String) -> String {
    if is_writing() {
        fs::write(path(name), text()).expect("the golden file can be written");
    }
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}; see the head of this file"))
}

/// Checks that `encoded` is what a golden file has, and returns the file's bytes.
fn golden(name: &str, encoded: &[u8]) -> Vec<u8> {
    let bytes = from_hex(&golden_text(name, || hex(encoded) + "\n"));
    assert!(
        bytes == encoded,
        "{name} has\n{}\nand this is written now:\n{}\nA change of a format needs a new version: see docs/formats.md.",
        hex(&bytes),
        hex(encoded)
    );
    bytes
}

/// Returns the bytes as text, 32 to a line.
fn hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(32).map(line).collect::<Vec<_>>().join("\n")
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|digit| char::from(digit).to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
