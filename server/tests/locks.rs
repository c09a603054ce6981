//! The session of `docs/locks.md`, on a cluster of one node.

#[path = "support/served.rs"]
mod served;

use leasehold::{ClientOptions, Limits};
use leasehold_runtime_tokio::TokioRuntime;
use served::{command, connect, serve};
use std::io::{BufReader, Write as _};

/// Reads a reply and returns it as `redis-cli` prints it.
fn reply(from: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("a reply");
    let line = line.trim_end();
    let (kind, rest) = line.split_at(1);
    match (kind, rest) {
        ("+", status) => status.to_owned(),
        (":", number) => format!("(integer) {number}"),
        ("$" | "*", "-1") => "(nil)".to_owned(),
        ("$", length) => {
            let mut value = vec![0; length.parse::<usize>().expect("a length") + 2];
            from.read_exact(&mut value).expect("a value");
            format!("\"{}\"", String::from_utf8_lossy(&value[..value.len() - 2]))
        }
        ("*", length) => {
            let numbers = 1..=length.parse::<usize>().expect("a length");
            numbers.map(|number| format!("{number}) {}", reply(from))).collect::<Vec<_>>().join("\n")
        }
        _ => line.to_owned(),
    }
}

/// Splits a line into words, of which one in quotation marks may have spaces.
fn words(line: &str) -> Vec<&[u8]> {
    let mut words = Vec::new();
    for (number, part) in line.split('"').enumerate() {
        if number % 2 == 1 {
            words.push(part.as_bytes())
        } else {
            words.extend(part.split_whitespace().map(str::as_bytes))
        }
    }
    words
}

#[test]
fn the_session_of_the_document_is_what_the_server_answers() {
    let served = serve::<TokioRuntime>(Limits::default(), ClientOptions::default());
    let mut stream = connect(served.address());
    let mut replies = BufReader::new(stream.try_clone().expect("a second handle"));
    let document = include_str!("../../docs/locks.md");
    let blocks = document.split("```").skip(1).step_by(2);
    let mut executed = 0;
    for exchange in blocks.flat_map(|block| block.split("redis> ").skip(1)) {
        let (line, expected) = exchange.split_once('\n').expect("a reply");
        stream.write_all(&command(&words(line))).expect("it is sent");
        assert_eq!(reply(&mut replies), expected.trim_end(), "{line}");
        executed += 1;
    }
    assert_eq!(executed, 21);
}
