//! Executes blocks of shell in a folder of their own.
//!
//! Only the programs of a list can be called. Most of them only note their arguments. Paths of the system in the text stand
//! for paths in the folder.

use crate::programs::{EXECUTED, NOT_EXECUTED};
use leasehold_tests::processes;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The folders of the system that blocks name.
const SYSTEM: [&str; 4] = ["/etc/", "/usr/", "/var/", "/tmp/"];
/// The commands of `leasehold` that need no cluster. They are executed.
const ALONE: &str = "man|completions|hash-password|trace|help";
/// The standard input of a block.
const INPUT: &[u8] = b"a password\n";

/// A folder in which the blocks of a document are executed one after the other.
#[derive(Debug)]
pub(crate) struct Sandbox {
    folder: TempDir,
    blocks: usize,
}

impl Sandbox {
    pub(crate) fn new() -> Sandbox {
        let sandbox = Sandbox { folder: tempfile::tempdir().expect("a folder"), blocks: 0 };
        for name in ["bin", "system", "work/packaging"] {
            fs::create_dir_all(sandbox.path(name)).expect("a folder");
        }
        for program in EXECUTED {
            // Without it, as on a machine without openssl, its arguments are noted.
            let place = which(program).map(|path| format!("exec {} \"$@\"", path.display()));
            sandbox.add_program(program, place.as_deref().unwrap_or("cat >/dev/null"));
        }
        for program in NOT_EXECUTED.map(|(name, _)| name).into_iter().chain(["cargo"]) {
            sandbox.add_program(program, "");
        }
        let binary = processes::binary().display();
        let executed = format!("case \"$1\" in {ALONE}) exec {binary} \"$@\";; esac");
        sandbox.add_program("leasehold", &executed);
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds a program that writes its arguments to a file with the number of its process, and then does more.
    fn add_program(&self, name: &str, more: &str) {
        let path = self.path("bin").join(name);
        let text = format!("#!/bin/sh\nprintf '%s\\0' {name} \"$@\" >\"$CALLS/$$\"\n{more}\n");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its permissions");
    }

    /// Executes a block and returns the calls that it made.
    pub(crate) fn execute(&mut self, block: &str) -> Result<Vec<Vec<String>>, String> {
        self.blocks += 1;
        let calls = self.path(&format!("calls-{}", self.blocks));
        fs::create_dir(&calls).expect("a folder");
        let mut shell = Command::new("/bin/sh")
            .args(["-eu", "-c", &self.without_system(block)])
            .current_dir(self.path("work"))
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("CALLS", &calls)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        // A block that reads nothing closes it.
        let _ = shell.stdin.take().expect("its input is a pipe").write_all(INPUT);
        let output = shell.wait_with_output().expect("the shell ends");
        if !output.status.success() {
            return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
        let files = fs::read_dir(&calls).expect("a folder").map(|entry| entry.expect("a folder").path());
        Ok(files.map(|file| words(&file)).collect())
    }

    /// Returns a block in which the paths of the system lead into the folder, and makes the folders that they need.
    fn without_system(&self, block: &str) -> String {
        let system = self.path("system");
        let mut text = String::new();
        let mut rest = block;
        while let Some(at) = SYSTEM.iter().filter_map(|folder| rest.find(folder)).min() {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            let end = rest.find(|letter: char| letter.is_whitespace() || "\"'`;".contains(letter));
            let path = system.join(&rest[1..end.unwrap_or(rest.len())]);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            text.push_str(&system.display().to_string());
            text.push('/');
            rest = &rest[1..];
        }
        text + rest
    }
}

fn words(file: &Path) -> Vec<String> {
    let bytes = fs::read(file).expect("what a program noted");
    let text = String::from_utf8(bytes).expect("text");
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Returns the path of a program of this machine.
fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}
