//! `leasehold ctl status --watch`, where its output is no terminal.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

#[test]
fn prints_plain_text_again_and_again_until_the_reader_leaves() {
    let mut watch = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        // No program listens there.
        .args(["ctl", "--node", "127.0.0.1:1", "status", "--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut output = BufReader::new(watch.stdout.take().expect("its output is a pipe"));
    let mut seen = 0;
    while seen < 3 {
        let mut line = String::new();
        assert_ne!(output.read_line(&mut line).expect("text"), 0, "it ended after {seen}");
        assert!(!line.contains('\x1b'), "{line:?}");
        seen += usize::from(line.starts_with("UNREACHABLE: "));
    }
    drop(output);
    let code = watch.wait().expect("it ends").code();
    assert_eq!(code, Some(2), "the code of the status that it showed last");
}
