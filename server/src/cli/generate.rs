//! `leasehold man` and `leasehold completions`: files for packages, made from the command line's own description.

use super::exit::{BAD_FLAGS, FAILED, fail};
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// The arguments of `man`.
#[derive(Args, Debug)]
pub(crate) struct ManArguments {
    /// The command to describe; by default all commands, briefly.
    command: Option<String>,
}

/// The arguments of `completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints a man page.
pub(super) fn man(mut command: Command, arguments: ManArguments) -> ExitCode {
    command.build();
    let described = match &arguments.command {
        None => Some(&command),
        Some(name) => command.find_subcommand(name),
    };
    let Some(described) = described else {
        return fail(BAD_FLAGS, "there is no such command; `leasehold help` lists them");
    };
    let name = described.get_display_name().unwrap_or(described.get_name()).to_owned();
    let mut page = Vec::new();
    match Man::new(described.clone()).title(name).render(&mut page) {
        Ok(()) => print(&page),
        Err(error) => fail(FAILED, format_args!("cannot write the page: {error}")),
    }
}

/// Prints the completions of a shell.
pub(super) fn completions(mut command: Command, arguments: CompletionsArguments) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "leasehold", &mut script);
    print(&script)
}

fn print(bytes: &[u8]) -> ExitCode {
    match io::stdout().write_all(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, format_args!("cannot write to the standard output: {error}")),
    }
}
