//! The command lines of cargo.

use crate::commands;
use crate::markdown::root;
use serde_json::Value;
use std::process::Command;

/// The flags of cargo and of its test programs that the documents name.
pub(crate) const FLAGS: [&str; 14] = [
    "--all-targets",
    "--bin",
    "--cfg",
    "--example",
    "--help",
    "--ignored",
    "--lib",
    "--locked",
    "--manifest-path",
    "--nocapture",
    "--release",
    "--test",
    "--workspace",
    "--no-deps",
];
/// The package that cargo takes if none is named.
const DEFAULT: &str = "leasehold";
/// The flags that name a target of a package, and the kinds of such targets.
const TARGETS: [(&str, &str); 4] =
    [("--bin", "bin"), ("--example", "example"), ("--test", "test"), ("--bench", "bench")];
/// The commands of cargo that take no package here.
const OTHERS: [&str; 7] = ["check", "deny", "fmt", "install", "publish", "semver-checks", "clippy"];

/// The packages and targets of the workspace.
#[derive(Debug)]
pub(crate) struct Workspace(Value);

impl Workspace {
    pub(crate) fn read() -> Workspace {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Workspace(serde_json::from_slice(&output.stdout).expect("its answer"))
    }

    /// Checks that a package exists, and returns it.
    fn package(&self, name: &str) -> Result<&Value, String> {
        let mut packages = self.0["packages"].as_array().expect("packages").iter();
        packages.find(|package| package["name"] == name).ok_or_else(|| format!("there is no package {name}"))
    }

    /// Checks the arguments of cargo.
    pub(crate) fn check(&self, arguments: &[String]) -> Result<(), String> {
        let (own, passed) = match arguments.iter().position(|word| word == "--") {
            Some(at) => (&arguments[..at], &arguments[at + 1..]),
            None => (arguments, &[][..]),
        };
        let (command, own) = own.split_first().ok_or("which command of cargo?")?;
        match &**command {
            "run" | "test" | "bench" | "build" => {}
            "fuzz" => return check_fuzz(own),
            other if OTHERS.contains(&other) => return Ok(()),
            other => return Err(format!("{other} is a command of cargo that the test does not know")),
        }
        let (mut package, mut program) = (DEFAULT, None);
        let mut words = own.iter().map(String::as_str);
        let mut targets = Vec::new();
        while let Some(word) = words.next() {
            if word == "-p" {
                package = words.next().ok_or("which package?")?;
            } else if let Some((_, kind)) = TARGETS.iter().find(|(flag, _)| *flag == word) {
                let name = words.next().ok_or("which target?")?;
                targets.push((*kind, name));
                program = Some(name);
            } else if word.starts_with('-') && !FLAGS.contains(&word) {
                return Err(format!("{word} is a flag of cargo that the test does not know"));
            }
        }
        // A word in capitals stands for any package.
        if package.chars().all(char::is_uppercase) {
            return Ok(());
        }
        let all = self.package(package)?["targets"].as_array().expect("targets");
        for (kind, name) in targets {
            let is_target = |target: &Value| target["kind"][0] == kind && target["name"] == name;
            if !all.iter().any(is_target) {
                return Err(format!("{package} has no {kind} {name}"));
            }
        }
        match (&**command, package, program) {
            ("run", DEFAULT, None) => commands::leasehold(passed),
            ("run", "leasehold-bench", None) => commands::benchmark(passed),
            ("run", "leasehold-tests", Some(program)) => commands::test_program(program, passed),
            ("run", _, Some(_)) if passed.is_empty() => Ok(()),
            ("test" | "bench" | "build", ..) => match passed.iter().find(|flag| !FLAGS.contains(&&***flag)) {
                Some(unknown) => Err(format!("test programs have no flag {unknown}")),
                None => Ok(()),
            },
            _ => Err("which program would that run?".to_owned()),
        }
    }
}

/// Checks `cargo fuzz run -s none TARGET …`.
fn check_fuzz(arguments: &[String]) -> Result<(), String> {
    let Some(("run", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
        return if arguments.is_empty() { Ok(()) } else { Err("only `run` is known".to_owned()) };
    };
    let target = rest.iter().skip_while(|word| *word == "-s" || *word == "none").map(String::as_str).next();
    let target = target.ok_or("which target?")?;
    let exists = root().join(format!("fuzz/fuzz_targets/{target}.rs")).is_file();
    if exists || target == "<target>" { Ok(()) } else { Err(format!("there is no target {target}")) }
}
