//! The command line.

mod backup;
mod client_flags;
mod connection;
mod ctl;
mod exit;
mod generate;
mod hash_password;
mod restore;
mod security;
mod serve;
mod settings;
mod trace;

use crate::demo::{self, DemoArguments};
use crate::logging::{self, LogFormat};
use clap::{CommandFactory as _, Parser, Subcommand};
use exit::{BAD_FLAGS, fail};
use std::process::ExitCode;

/// A replicated key-value server that speaks the Redis protocol and answers reads from a leader's lease.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one node of a cluster.
    Serve(Box<serve::ServeArguments>),
    /// Runs a whole cluster in this process, to try it or to load it.
    Demo(DemoArguments),
    /// Describes a running cluster and changes its members.
    Ctl(ctl::CtlArguments),
    /// Takes a backup from a running node.
    Backup(backup::BackupArguments),
    /// Writes the data folder of a node of a new cluster from a backup.
    Restore(restore::RestoreArguments),
    /// Prints the hash of a password, for the file that `serve --users` names.
    HashPassword(hash_password::HashPasswordArguments),
    /// Prints a man page.
    Man(generate::ManArguments),
    /// Prints a script that completes the command line in a shell.
    Completions(generate::CompletionsArguments),
    /// Replays the recording of a lease with new machines, and prints the effect of each input.
    Trace(trace::TraceArguments),
}

/// Executes the command line of this process and returns its exit code.
pub fn main() -> ExitCode {
    match settings::complete(&Cli::command(), std::env::args_os().collect(), |name| std::env::var_os(name)) {
        Ok(line) => run(Cli::parse_from(line)),
        Err(error) => fail(BAD_FLAGS, error),
    }
}

/// Executes the command line and returns the exit code of the process.
fn run(cli: Cli) -> ExitCode {
    // The raft engine logs at length.
    let default = match &cli.command {
        Command::Serve(_) => "info,raft=warn",
        // The demo prints a table, and kills a node on purpose.
        Command::Demo(_) | Command::Trace(_) => "off",
        Command::HashPassword(_) | Command::Man(_) | Command::Completions(_) => "off",
        Command::Backup(_) | Command::Restore(_) | Command::Ctl(_) => "warn",
    };
    let format = if let Command::Serve(arguments) = &cli.command { arguments.log_format } else { LogFormat::Text };
    logging::start(default, format);
    match cli.command {
        Command::Serve(arguments) => serve::run(*arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Ctl(arguments) => ctl::run(arguments),
        Command::Backup(arguments) => backup::run(arguments),
        Command::Restore(arguments) => restore::run(arguments),
        Command::Man(arguments) => generate::man(Cli::command(), arguments),
        Command::Completions(arguments) => generate::completions(Cli::command(), arguments),
        Command::HashPassword(arguments) => hash_password::run(arguments),
        Command::Trace(arguments) => trace::run(arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The name of an option of the image or of the example must not be wrong.
    #[test]
    fn the_packages_use_settings_that_exist() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
        let line = |rest: &[&str]| {
            let words = ["leasehold", "serve"].iter().chain(rest);
            words.map(|word| std::ffi::OsString::from(*word)).collect::<Vec<_>>()
        };
        let example = folder.join("leasehold.toml");
        let example = format!("--config={}", example.display());
        let complete = settings::complete(&Cli::command(), line(&[&example]), |_| None).expect("the example is good");
        assert!(complete.contains(&"--client-listen=0.0.0.0:6379".into()), "{complete:?}");
        Cli::try_parse_from(complete).expect("the example is enough");
        let compose = std::fs::read_to_string(folder.join("compose.yaml")).expect("a file");
        let variables: Vec<(String, String)> = compose
            .lines()
            .filter_map(|line| line.trim().strip_prefix("LEASEHOLD_")?.split_once(": "))
            .map(|(name, value)| (format!("LEASEHOLD_{name}"), value.to_owned()))
            .collect();
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| other == name);
            let own = [("LEASEHOLD_ID", "1"), ("LEASEHOLD_DATA_DIR", "/data")];
            let own = own.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).into());
            found.map(|(_, value)| value.into()).or(own)
        };
        let complete = settings::complete(&Cli::command(), line(&[]), variable).expect("good variables");
        Cli::try_parse_from(complete).expect("the variables are enough");
    }
}
