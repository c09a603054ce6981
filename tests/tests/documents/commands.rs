//! The command lines of `leasehold`, and of the programs for tests and benchmarks.

use crate::markdown::root;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _, Parser as _};
use leasehold::cli::Cli;
use std::process;

/// The programs of `leasehold-tests`.
pub(crate) const TEST_PROGRAMS: [(&str, &str); 4] = [
    ("soak", env!("CARGO_BIN_EXE_soak")),
    ("mutations", env!("CARGO_BIN_EXE_mutations")),
    ("differential", env!("CARGO_BIN_EXE_differential")),
    ("runbook", env!("CARGO_BIN_EXE_runbook")),
];

/// Checks a whole command line of `leasehold`.
pub(crate) fn leasehold(arguments: &[String]) -> Result<(), String> {
    parse(arguments, |error| matches!(error, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion))
}

/// Checks a part of a command line of `leasehold`, in which words in capitals stand for values.
pub(crate) fn part_of_leasehold(arguments: &[String]) -> Result<(), String> {
    let is_open = |word: &String| word.chars().any(char::is_uppercase) || word == "x";
    let open = arguments.iter().any(is_open);
    parse(arguments, |error| match error {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => open,
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict => false,
        _ => true,
    })
}

fn parse(arguments: &[String], is_allowed: impl Fn(ErrorKind) -> bool) -> Result<(), String> {
    let line = ["leasehold"].into_iter().chain(arguments.iter().map(String::as_str));
    match Cli::try_parse_from(line) {
        Err(error) if !is_allowed(error.kind()) => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Checks the flags of a program for tests. `--help` at the end keeps it from doing anything else.
pub(crate) fn test_program(name: &str, arguments: &[String]) -> Result<(), String> {
    let (_, path) = TEST_PROGRAMS.iter().find(|(other, _)| *other == name).ok_or("there is no such program")?;
    let output = process::Command::new(path).args(arguments).arg("--help").output().expect("the program runs");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Returns the text of a program's help.
pub(crate) fn help_of_test_program(path: &str) -> String {
    let output = process::Command::new(path).arg("--help").output().expect("the program runs");
    String::from_utf8(output.stdout).expect("text")
}

/// Checks the name of a benchmark. They are the variants of an enumeration, whose crate is not built for this test.
pub(crate) fn benchmark(arguments: &[String]) -> Result<(), String> {
    let source = std::fs::read_to_string(root().join("bench/src/main.rs")).expect("its source");
    let (_, variants) = source.split_once("enum Command {").expect("the benchmarks");
    let (variants, _) = variants.split_once("\n}").expect("the end of the benchmarks");
    let name = arguments.first().ok_or("which benchmark?")?;
    let is_variant = |line: &str| {
        let line = line.trim_start();
        line.to_lowercase().strip_prefix(&**name).is_some_and(|rest| rest.starts_with(['(', ' ']))
            && line.starts_with(char::is_uppercase)
    };
    match variants.lines().any(is_variant) {
        true if arguments[1..].iter().all(|flag| ["--json", "--quick"].contains(&&**flag)) => Ok(()),
        true => Err("it has no such flag".to_owned()),
        false if name == "--help" => Ok(()),
        false => Err("there is no such benchmark".to_owned()),
    }
}

/// Returns the long flags of `leasehold` and of all its commands.
pub(crate) fn flags() -> Vec<String> {
    fn collect(command: &Command, flags: &mut Vec<String>) {
        flags.extend(command.get_arguments().filter_map(|flag| Some(format!("--{}", flag.get_long()?))));
        command.get_subcommands().for_each(|command| collect(command, flags));
    }
    let mut flags = Vec::new();
    let mut command = Cli::command();
    command.build();
    collect(&command, &mut flags);
    flags
}
