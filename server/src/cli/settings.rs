//! The settings of `leasehold serve` from three places. Flags come first, then variables of the environment, and then the
//! file that `--config` names.
//!
//! A setting from the environment or the file becomes a flag of the command line, unless it is there already. So all
//! three have the same names, values and checks.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};
use std::collections::BTreeSet;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::{fs, io};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The command that has settings.
const SERVE: &str = "serve";
/// The flag that names the file.
const CONFIG: &str = "config";
/// The beginning of the names of variables.
const PREFIX: &str = "LEASEHOLD_";
/// Statements of the operator about one start of a node. They must not stay in effect for the next.
const ONCE: [&str; 2] = ["accept-data-loss", "stopped-since"];
/// The similarity from which on a name is suggested for an unknown one.
const MIN_SIMILARITY: f64 = 0.7;

/// The reason why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("cannot read {}: {source}; give --config a file that this process can read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} line {line}: {problem}", path.display())]
    File { path: PathBuf, line: usize, problem: String },
    #[error("the variable {name} of the environment: {problem}")]
    Variable { name: String, problem: String },
}

/// Returns a command line with the settings from the environment and the file added to it.
pub(super) fn complete(
    command: &Command,
    line: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>, SettingsError> {
    let Some(serve) = command.find_subcommand(SERVE).filter(|_| line.get(1).is_some_and(|word| word == SERVE)) else {
        return Ok(line);
    };
    let flags: Vec<&Arg> = serve.get_arguments().filter(|flag| name(flag).is_some()).collect();
    let mut given: BTreeSet<&str> =
        flags.iter().copied().filter_map(name).filter(|name| is_given(&line, name)).collect();
    let mut added = Vec::new();
    for flag in &flags {
        let Some(name) = name(flag).filter(|name| !given.contains(name)) else { continue };
        let variable_name = variable_of(name);
        let Some(value) = variable(&variable_name) else { continue };
        let failed = |problem| SettingsError::Variable { name: variable_name.clone(), problem };
        added.extend(words(serve, flag, &value).map_err(failed)?);
        given.insert(name);
    }
    if let Some(path) = value_of(&line, CONFIG).or_else(|| variable(&variable_of(CONFIG))).map(PathBuf::from) {
        let text = fs::read_to_string(&path).map_err(|source| SettingsError::Read { path: path.clone(), source })?;
        for (key, value) in read_file(&path, &text)? {
            let failed = |problem| at(&path, &text, key.span().start, problem);
            let flag = find(&flags, key.get_ref().as_ref()).map_err(failed)?;
            let value = text_of(value.get_ref()).map_err(|problem| failed(format!("{}: {problem}", key.get_ref())))?;
            let words = words(serve, flag, OsStr::new(&value));
            let words = words.map_err(|problem| failed(format!("{}: {problem}", key.get_ref())))?;
            if name(flag).is_some_and(|name| !given.contains(name)) {
                added.extend(words);
            }
        }
    }
    let mut complete = line;
    complete.splice(2..2, added);
    Ok(complete)
}

/// Returns the name of a flag that is a setting, or that names the file.
fn name(flag: &Arg) -> Option<&str> {
    flag.get_long().filter(|name| !["help", "version"].contains(name))
}

fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// Returns whether a command line has a flag.
fn is_given(line: &[OsString], name: &str) -> bool {
    line.iter().any(|word| as_flag(word, name).is_some())
}

/// Returns the value of a flag on a command line.
fn value_of(line: &[OsString], name: &str) -> Option<OsString> {
    let at = line.iter().position(|word| as_flag(word, name).is_some())?;
    as_flag(&line[at], name)?.or_else(|| line.get(at + 1).cloned())
}

/// Returns the value after `=` of a word that is this flag, if it has one.
fn as_flag(word: &OsStr, name: &str) -> Option<Option<OsString>> {
    let rest = word.to_str()?.strip_prefix("--")?.strip_prefix(name)?;
    if rest.is_empty() { Some(None) } else { rest.strip_prefix('=').map(|value| Some(value.into())) }
}

fn at(path: &Path, text: &str, position: usize, problem: String) -> SettingsError {
    let before = text.as_bytes().iter().take(position);
    let line = 1 + before.filter(|byte| **byte == b'\n').count();
    SettingsError::File { path: path.to_owned(), line, problem }
}

fn read_file<'a>(path: &Path, text: &'a str) -> Result<DeTable<'a>, SettingsError> {
    let table = DeTable::parse(text).map_err(|error| {
        let position = error.span().map_or(0, |span| span.start);
        at(path, text, position, format!("not valid TOML: {}", error.message().replace('\n', ", ")))
    });
    table.map(Spanned::into_inner)
}

/// Returns the flag that a key of the file names.
fn find<'a>(flags: &[&'a Arg], key: &str) -> Result<&'a Arg, String> {
    let settings = || flags.iter().copied().filter(|flag| name(flag) != Some(CONFIG));
    if let Some(flag) = settings().find(|flag| name(flag) == Some(key)) {
        return Ok(flag);
    }
    let similarity = |other: &str| strsim::jaro_winkler(key, other);
    let nearest = settings().filter_map(name).max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
    Err(match nearest.filter(|nearest| similarity(nearest) >= MIN_SIMILARITY) {
        Some(nearest) => format!("unknown key {key:?}; the nearest one is {nearest:?}"),
        None => format!("unknown key {key:?}; the keys are the names of the flags of `leasehold serve --help`"),
    })
}

/// Returns a value of the file as a flag has it.
fn text_of(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.as_ref().to_owned()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Array(values) => {
            let values: Result<Vec<_>, _> = values.iter().map(|value| text_of(value.get_ref())).collect();
            values.map(|values| values.join(","))
        }
        _ => Err("not a string, a decimal integer, true, false, or an array of these".to_owned()),
    }
}

/// Returns the words of the command line for a setting.
fn words(serve: &Command, flag: &Arg, value: &OsStr) -> Result<Option<OsString>, String> {
    let name = flag.get_long().unwrap_or_default();
    if ONCE.contains(&name) {
        return Err(format!("a statement about one start of a node; give it as the flag --{name}, once"));
    }
    let mut word = OsString::from(format!("--{name}"));
    if matches!(flag.get_action(), ArgAction::SetTrue) {
        return match value.to_ascii_lowercase().to_str() {
            Some("true" | "1" | "yes" | "on") => Ok(Some(word)),
            Some("false" | "0" | "no" | "off" | "") => Ok(None),
            _ => Err(format!("{} is not true or false", value.display())),
        };
    }
    word.push("=");
    word.push(value);
    match serve.clone().try_get_matches_from([OsString::from(SERVE), word.clone()]) {
        Err(error) if [ErrorKind::ValueValidation, ErrorKind::InvalidValue].contains(&error.kind()) => {
            let values = flag.get_possible_values();
            let values: Vec<_> = values.iter().map(|value| value.get_name()).collect();
            let reason = match error.source() {
                Some(reason) => reason.to_string(),
                None if values.is_empty() => "not a value for this setting; give one".to_owned(),
                None => format!("not one of {}", values.join(", ")),
            };
            Err(format!("{:?}: {reason}", value.display().to_string()))
        }
        // Other errors are those of the whole line.
        _ => Ok(Some(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let number = |text: &str| text.parse::<u64>().map_err(|_| "not a whole number; write for example 1000");
        let serve = Command::new(SERVE).args([
            Arg::new("config").long("config"),
            Arg::new("id").long("id").required(true).value_parser(number),
            Arg::new("hold_ms").long("hold-ms").value_parser(number),
            Arg::new("peers").long("peers").requires("id"),
            Arg::new("reads").long("reads").value_parser(["lease", "quorum"]),
            Arg::new("insecure").long("insecure").action(ArgAction::SetTrue),
            Arg::new("accept_data_loss").long("accept-data-loss").action(ArgAction::SetTrue),
        ]);
        Command::new("leasehold").subcommand(serve).subcommand(Command::new("demo"))
    }

    fn completed(line: &[&str], variables: &[(&str, &str)], file: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("leasehold.toml");
        fs::write(&path, file).expect("a file");
        let mut line: Vec<OsString> = line.iter().map(|word| OsString::from(*word)).collect();
        if !file.is_empty() {
            line.extend(["--config".into(), path.clone().into()]);
        }
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(*value))
        };
        let shown = |word: OsString| word.to_string_lossy().replace(&*path.to_string_lossy(), "FILE");
        match complete(&command(), line, variable) {
            Ok(line) => Ok(line.into_iter().map(shown).collect()),
            Err(error) => Err(shown(error.to_string().into())),
        }
    }

    #[test]
    fn flags_override_variables_and_variables_override_the_file() {
        let file = "id = 3\nhold-ms = 3000\nreads = \"quorum\"\npeers = [\"1=a:1\", \"2=b:1\"]\ninsecure = true\n";
        let line =
            completed(&["leasehold", "serve", "--hold-ms=1"], &[("LEASEHOLD_ID", "2")], file).expect("good settings");
        let expected =
            ["--id=2", "--insecure", "--peers=1=a:1,2=b:1", "--reads=quorum", "--hold-ms=1", "--config", "FILE"];
        let mut added = line[2..].to_vec();
        added[..4].sort();
        assert_eq!(added, expected);
        let matches = command().try_get_matches_from(line).expect("a command line");
        let serve = matches.subcommand_matches(SERVE).expect("the command");
        assert_eq!(serve.get_one::<u64>("hold_ms"), Some(&1));
    }

    #[test]
    fn a_file_alone_is_enough_and_the_environment_may_name_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("leasehold.toml");
        fs::write(&path, "id = 7\ninsecure = false").expect("a file");
        let variable = |name: &str| (name == "LEASEHOLD_CONFIG").then(|| path.clone().into());
        let line = complete(&command(), vec!["leasehold".into(), "serve".into()], variable).expect("good settings");
        let config = format!("--config={}", path.display());
        assert_eq!(line, ["leasehold", "serve", &config, "--id=7"]);
    }

    #[test]
    fn other_commands_take_no_settings() {
        let line = completed(&["leasehold", "demo"], &[("LEASEHOLD_ID", "2")], "").expect("no settings");
        assert_eq!(line, ["leasehold", "demo"]);
    }

    #[test]
    fn an_error_names_the_file_the_line_and_the_key() {
        for (file, said) in [
            ("id = 1\nhold_ms = 1000\n", "FILE line 2: unknown key \"hold_ms\"; the nearest one is \"hold-ms\""),
            ("colour = 1\n", "FILE line 1: unknown key \"colour\"; the keys are the names of the flags"),
            ("config = \"other\"\n", "FILE line 1: unknown key \"config\""),
            ("id = 1\n\n[peers]\n1 = \"a:1\"\n", "FILE line 3: peers: not a string, a decimal integer"),
            ("hold-ms = 1.5\n", "FILE line 1: hold-ms: not a string, a decimal integer"),
            ("hold-ms = 0x10\n", "FILE line 1: hold-ms: not a string, a decimal integer"),
            ("hold-ms = \"1s\"\n", "FILE line 1: hold-ms: \"1s\": not a whole number; write for example 1000"),
            ("reads = \"maybe\"\n", "FILE line 1: reads: \"maybe\": not one of lease, quorum"),
            ("insecure = \"maybe\"\n", "FILE line 1: insecure: maybe is not true or false"),
            ("accept-data-loss = true\n", "FILE line 1: accept-data-loss: a statement about one start of a node"),
            ("id = 1\nid = 2\n", "FILE line 2: not valid TOML: duplicate key"),
            ("id = 1\nhold-ms\n", "FILE line 2: not valid TOML: "),
        ] {
            let error = completed(&["leasehold", "serve"], &[], file).expect_err("a bad file");
            assert!(error.starts_with(said) && !error.contains('\n'), "{file}: {error}");
        }
        let error = completed(&["leasehold", "serve", "--config", "/nowhere/at/all"], &[], "").expect_err("no file");
        assert!(error.starts_with("cannot read /nowhere/at/all: "), "{error}");
    }

    #[test]
    fn an_error_in_a_variable_names_it() {
        for (name, value, said) in [
            ("LEASEHOLD_HOLD_MS", "x", "the variable LEASEHOLD_HOLD_MS of the environment: \"x\": not a whole number"),
            ("LEASEHOLD_ACCEPT_DATA_LOSS", "1", "give it as the flag --accept-data-loss, once"),
        ] {
            let error = completed(&["leasehold", "serve"], &[(name, value)], "").expect_err("a bad variable");
            assert!(error.contains(said), "{error}");
        }
    }
}
