//! The versions that docs/formats.md states are those in the golden files.

use super::{from_hex, is_writing, path};
use std::collections::BTreeMap;
use std::fs;

fn bytes(name: &str) -> Vec<u8> {
    from_hex(&fs::read_to_string(path(name)).expect("a golden file"))
}

#[test]
fn the_document_states_the_versions_that_are_written() {
    if is_writing() {
        return;
    }
    let text = include_str!("../../../docs/formats.md");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cells.next()?.to_owned(), cells.next()?.parse().ok()?))
    };
    let stated: BTreeMap<String, u32> = text.lines().filter_map(row).collect();

    let folder = fs::read_to_string(path("data-folder.hex")).expect("a golden file");
    let identity = folder.split_once("data/identity").expect("its identity").1.split_once('\n').expect("its content").1;
    let found = [
        ("backups", u32::from(bytes("backup.hex")[8])),
        ("handshake and frames", u32::from(bytes("handshake-hello.hex")[4])),
        ("payloads of several messages", u32::from(bytes("message-several.hex")[0])),
        ("messages between nodes", u32::from(bytes("message-append.hex")[0])),
        ("log entries of the server", u32::from(bytes("log-entry.hex")[0])),
        ("data folder", u32::from(from_hex(&identity[..8])[0])),
    ];
    assert_eq!(stated, found.map(|(name, version)| (name.to_owned(), version)).into());
}
