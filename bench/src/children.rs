//! Processes and folders that this program ends and removes, even if a signal ends it.

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

/// Processes to kill and folders to remove if a signal ends this program.
#[derive(Default)]
struct Owned {
    processes: Vec<Pid>,
    folders: Vec<PathBuf>,
}

static OWNED: Mutex<Owned> = Mutex::new(Owned { processes: Vec::new(), folders: Vec::new() });

fn owned() -> MutexGuard<'static, Owned> {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a signal that ends this program end its processes and remove its folders too.
pub(crate) fn end_with_this_program() -> Result<(), String> {
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| format!("cannot watch for signals: {error}"))?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // The lock is held to the end, so that nothing is started meanwhile.
            let owned = owned();
            for process in &owned.processes {
                let _ = kill_process(*process, Signal::KILL);
            }
            for folder in &owned.folders {
                let _ = fs::remove_dir_all(folder);
            }
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// A running process; dropping it kills it.
pub(crate) struct Running {
    process: Child,
    id: Pid,
}

impl Running {
    /// Starts a process with its output in `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Running, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let text = |error: std::io::Error| format!("cannot start {program}: {error}");
        let errors = File::create(log).map_err(text)?;
        let output = errors.try_clone().map_err(text)?;
        let mut owned = owned();
        let process = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().map_err(text)?;
        let id = Pid::from_child(&process);
        owned.processes.push(id);
        Ok(Running { process, id })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it. Its number stays its own, because it is waited for only when this is dropped.
    pub(crate) fn kill(&self) {
        let _ = kill_process(self.id, Signal::KILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already. Its number may belong to another process once it has been waited for.
        let mut owned = owned();
        let _ = self.process.kill();
        let _ = self.process.wait();
        owned.processes.retain(|id| *id != self.id);
    }
}

/// A folder for servers' data, on the disk that this program was built on. Dropping it removes it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Creates a folder on a disk. In memory no write would ever be synced.
    pub(crate) fn new() -> Result<Folder, String> {
        let parent = target()?.join("bench-data");
        let text = |error: std::io::Error| format!("{}: {error}", parent.display());
        fs::create_dir_all(&parent).map_err(text)?;
        let kind = rustix::fs::statfs(&parent).map_err(|error| text(error.into()))?.f_type;
        // tmpfs and ramfs, from the kernel's magic.h.
        if [0x0102_1994, 0x8584_58f6].contains(&(kind as u64)) {
            return Err(format!("{} is in memory, where no write is ever synced; build on a disk", parent.display()));
        }
        let mut owned = owned();
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&parent).map_err(text)?.keep();
        owned.folders.push(folder.clone());
        Ok(Folder(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        owned().folders.retain(|folder| *folder != self.0);
    }
}

/// Returns cargo's target folder, which contains this program.
fn target() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = here.ancestors().find(|path| path.join("CACHEDIR.TAG").is_file() || path.join("release").is_dir());
    Ok(target.ok_or("no target folder above this program")?.to_owned())
}

/// Names a server binary to measure instead of the one in the target folder, for comparing two.
const BINARY_VARIABLE: &str = "LEASEHOLD_BINARY";

/// Returns the release build of the server. Builds it only if it is missing or older than its sources.
pub(crate) fn server_binary() -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os(BINARY_VARIABLE) {
        return Ok(given.into());
    }
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            let target = target()?;
            let binary = target.join("release").join("leasehold");
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the sources have no folder")?;
            let built = modified(&binary);
            if built.is_none() || newest_source(root) > built {
                build(&target)?;
            }
            Ok(binary)
        })
        .clone()
}

fn build(target: &Path) -> Result<(), String> {
    eprintln!(
        "The server is missing or older than its sources: running cargo build --release -p leasehold, which may take \
         minutes."
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "-p", "leasehold", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    if status.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err("cannot build the server; see above".to_owned())
    }
}

/// Folders of the workspace whose sources are not part of the server.
const OTHER_SOURCES: [&str; 5] = ["bench", "docs", "fuzz", "target", "tests"];

/// Returns when a source of the server was last modified, or `None` if there are no sources.
fn newest_source(root: &Path) -> Option<SystemTime> {
    let mut newest = modified(&root.join("Cargo.lock")).max(modified(&root.join("Cargo.toml")));
    let mut folders: Vec<PathBuf> = entries(root)
        .filter(|folder| folder.join("Cargo.toml").is_file())
        .filter(|folder| !OTHER_SOURCES.iter().any(|other| folder.ends_with(other)))
        .collect();
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "toml") {
                newest = newest.max(modified(&path));
            }
        }
    }
    newest
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// Returns ports that were free a moment ago.
pub(crate) fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT], String> {
    let text = |error: std::io::Error| format!("no free port: {error}");
    let reserved: Vec<TcpListener> =
        (0..COUNT).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().map_err(text)?;
    let mut ports = [0; COUNT];
    for (port, listener) in ports.iter_mut().zip(&reserved) {
        *port = listener.local_addr().map_err(text)?.port();
    }
    Ok(ports)
}

/// Returns whether a program can be run.
pub(crate) fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
