//! Processes and folders that must not outlive this program, however it ends.

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What is to be killed and removed if a signal ends this program.
#[derive(Default)]
struct Left {
    processes: Vec<Pid>,
    folders: Vec<PathBuf>,
}

static LEFT: Mutex<Left> = Mutex::new(Left { processes: Vec::new(), folders: Vec::new() });

fn left() -> MutexGuard<'static, Left> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on a signal that ends this program ends its processes and removes its folders too.
pub(crate) fn end_with_this_program() -> Result<(), String> {
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| format!("cannot watch for signals: {error}"))?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Kept to the end, so that nothing is started meanwhile.
            let left = left();
            for process in &left.processes {
                let _gone_already = kill_process(*process, Signal::KILL);
            }
            for folder in &left.folders {
                let _gone_already = fs::remove_dir_all(folder);
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
    /// Starts it; what it says goes to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Running, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let text = |error: std::io::Error| format!("cannot start {program}: {error}");
        let errors = File::create(log).map_err(text)?;
        let output = errors.try_clone().map_err(text)?;
        let mut left = left();
        let process = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().map_err(text)?;
        let id = Pid::from_child(&process);
        left.processes.push(id);
        Ok(Running { process, id })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Killed or already gone: both are the end of it. Its number may be another's once it has been waited for.
        let mut left = left();
        let _ = self.process.kill();
        let _ = self.process.wait();
        left.processes.retain(|id| *id != self.id);
    }
}

/// A folder for servers' data, on the disk this program was built on; dropping it removes it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one, where syncing means something: not in memory.
    pub(crate) fn new() -> Result<Folder, String> {
        let parent = target()?.join("bench-data");
        let text = |error: std::io::Error| format!("{}: {error}", parent.display());
        fs::create_dir_all(&parent).map_err(text)?;
        let kind = rustix::fs::statfs(&parent).map_err(|error| text(error.into()))?.f_type;
        // The numbers of tmpfs and ramfs, from the kernel's magic.h.
        if [0x0102_1994, 0x8584_58f6].contains(&(kind as u64)) {
            return Err(format!("{} is in memory, where no write is ever synced; build on a disk", parent.display()));
        }
        let mut left = left();
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&parent).map_err(text)?.keep();
        left.folders.push(folder.clone());
        Ok(Folder(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
        left().folders.retain(|folder| *folder != self.0);
    }
}

/// Cargo's target folder, in which this program lies.
fn target() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = here.ancestors().find(|path| path.join("CACHEDIR.TAG").is_file() || path.join("release").is_dir());
    Ok(target.ok_or("no target folder above this program")?.to_owned())
}

/// Where to find a server to measure, instead of building this one: to compare two, or while something else builds.
const GIVEN: &str = "LEASEHOLD_BINARY";

/// The server as it is released; built once.
pub(crate) fn server_binary() -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os(GIVEN) {
        return Ok(given.into());
    }
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let target = target()?;
            let built = Command::new(cargo)
                .args(["build", "--release", "--quiet", "-p", "leasehold", "--target-dir"])
                .arg(&target)
                .status();
            if !built.is_ok_and(|status| status.success()) {
                return Err("cannot build the server; see above".to_owned());
            }
            Ok(target.join("release").join("leasehold"))
        })
        .clone()
}

/// Ports that were free a moment ago.
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

/// Whether a program can be run.
pub(crate) fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
