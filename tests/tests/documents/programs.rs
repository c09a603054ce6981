//! The programs that the documents call.

use crate::cargo::Workspace;
use crate::commands::{self, TEST_PROGRAMS};
use crate::markdown::root;

/// The programs that need what a test has not: a reason for each. Their arguments are noted, and those that name files of the
/// repository are checked.
pub(crate) const NOT_EXECUTED: [(&str, &str); 6] = [
    ("redis-cli", "it needs a cluster that runs: tests/tests/redis_cluster and server/tests use it"),
    ("docker", "it needs an engine for containers"),
    ("install", "it needs groups and folders of the system"),
    ("chgrp", "it needs a group of the system"),
    ("systemctl", "it needs systemd"),
    ("systemd-sysusers", "it needs systemd"),
];
/// The programs that are executed, so that their result is the check.
pub(crate) const EXECUTED: [&str; 5] = ["openssl", "chmod", "tee", "mkdir", "cat"];

/// The facts that calls are checked against.
#[derive(Debug)]
pub(crate) struct Programs {
    workspace: Workspace,
    flags: Vec<String>,
}

impl Programs {
    pub(crate) fn new() -> Programs {
        let mut flags = commands::flags();
        for (_, path) in TEST_PROGRAMS {
            let help = commands::help_of_test_program(path);
            let words = help.split(|letter: char| letter.is_whitespace() || ",[]<>.".contains(letter));
            flags.extend(words.filter(|word| word.starts_with("--")).map(str::to_owned));
        }
        Programs { workspace: Workspace::read(), flags }
    }

    /// Returns the flags of our own programs.
    pub(crate) fn flags(&self) -> impl Iterator<Item = &str> {
        self.flags.iter().map(String::as_str)
    }

    /// Checks a call that a block has made.
    pub(crate) fn check(&self, call: &[String]) -> Result<(), String> {
        let (program, arguments) = call.split_first().ok_or("an empty call")?;
        match &**program {
            "leasehold" => commands::leasehold(arguments),
            "cargo" => self.workspace.check(arguments),
            other if EXECUTED.contains(&other) => Ok(()),
            other if NOT_EXECUTED.iter().any(|(name, _)| *name == other) => check_files(arguments),
            other => Err(format!("the test does not know the program {other}")),
        }
    }

    /// Checks code in a sentence, if it is a call of one of our programs or of cargo.
    pub(crate) fn check_sentence(&self, code: &str) -> Option<Result<(), String>> {
        let words = shlex::split(code)?;
        let (program, arguments) = words.split_first()?;
        if arguments.is_empty() {
            return None;
        }
        match &**program {
            // A line of a log or a handshake begins with the same word as the program.
            "leasehold" if arguments[0].starts_with(|letter: char| letter.is_ascii_digit()) => None,
            "leasehold" => Some(commands::part_of_leasehold(arguments)),
            "leasehold-bench" => Some(commands::benchmark(arguments)),
            "cargo" if arguments.contains(&"x".to_owned()) => None,
            "cargo" => Some(self.workspace.check(arguments)),
            name => {
                let is_ours = TEST_PROGRAMS.iter().any(|(other, _)| *other == name);
                is_ours.then(|| commands::test_program(name, arguments))
            }
        }
    }
}

/// Checks that the files of the repository among these arguments exist.
fn check_files(arguments: &[String]) -> Result<(), String> {
    let is_ours = |word: &&String| {
        word.split_once('/').is_some_and(|(first, _)| !first.is_empty() && root().join(first).is_dir())
    };
    // These are made by the commands before.
    let made = ["target/", "packaging/users", "packaging/peer-secret"];
    let files = arguments.iter().filter(is_ours).filter(|word| !made.iter().any(|made| word.starts_with(made)));
    match files.into_iter().find(|word| !root().join(word).exists()) {
        Some(missing) => Err(format!("there is no file {missing}")),
        None => Ok(()),
    }
}
