//! Clocks that run fast or slow, through `libfaketime`.
//!
//! The server reads its clocks from the vDSO, which a preloaded library cannot intercept. Therefore these nodes run a
//! binary built with the feature `libc-clock`. A trial first checks that the library affects the server's clock.

use super::session::Session;
use crate::processes::{PATIENCE, Process, Processes, build, eventually};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

/// The folders in which distributions install the library.
const PLACES: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib/faketime",
    "/usr/lib64/faketime",
    "/usr/local/lib/faketime",
    "/usr/lib",
];
/// The variant for multi-threaded programs.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// The library, and a binary that it affects.
#[derive(Clone, Debug)]
pub struct Faketime {
    library: PathBuf,
    binary: PathBuf,
}

impl Faketime {
    /// Finds the library, builds the binary, and checks that the library affects it. The result is cached.
    ///
    /// # Errors
    /// The reason why clock rates cannot be tested on this machine.
    pub fn prepare() -> Result<Faketime, String> {
        static PREPARED: OnceLock<Result<Faketime, String>> = OnceLock::new();
        PREPARED.get_or_init(prepare).clone()
    }

    /// Sets the rate of a node's clocks from its next start on.
    pub fn apply(&self, cluster: &mut Processes, id: u64, rate: f64) {
        let recipe = cluster.recipes.get_mut(&id).expect("a node of this cluster");
        recipe.binary.clone_from(&self.binary);
        recipe.environment = [
            ("LD_PRELOAD".to_owned(), self.library.display().to_string()),
            ("FAKETIME".to_owned(), format!("+0 x{rate:.6}")),
            // File times are not faked.
            ("NO_FAKE_STAT".to_owned(), "1".to_owned()),
        ]
        .into();
    }

    fn acts(&self) -> bool {
        const RATE: f64 = 50.0;
        let mut cluster = Processes::prepare(1, &[]);
        self.apply(&mut cluster, 1, RATE);
        cluster.start_node(1);
        let port = cluster.recipes[&1].client_port;
        // Thirty seconds on the faked clock take less than one second. Without the library the wait ends after ten
        // seconds.
        let aged = eventually(Duration::from_secs(10), || {
            let info = Session::connect(port, PATIENCE).ok()?.info(&["server"])?;
            info.get("uptime_in_seconds")?.parse::<u64>().ok().filter(|uptime| *uptime >= 30)
        });
        end(cluster.take(1));
        aged.is_some()
    }
}

/// Kills a process, as `kill -9` does, and removes the files that the library leaves behind. They would affect a later
/// process with the same id.
pub(crate) fn end(process: Process) {
    let id = process.id();
    process.kill();
    for leftover in ["faketime_shm", "sem.faketime_sem"] {
        // Without the library there are none.
        let _ = std::fs::remove_file(format!("/dev/shm/{leftover}_{id}"));
    }
}

fn prepare() -> Result<Faketime, String> {
    let library = PLACES.iter().map(|place| PathBuf::from(place).join(LIBRARY)).find(|library| library.exists());
    let library = library.ok_or_else(|| format!("{LIBRARY} is not installed (Debian: apt install faketime)"))?;
    let built = build(&["--features", "leasehold/libc-clock"]);
    let binary = built.with_file_name(format!("leasehold-libc-clock-{}", std::process::id()));
    std::fs::copy(&built, &binary).map_err(|error| format!("the binary cannot be copied: {error}"))?;
    // A rename does not affect processes that run the old file, and all runs share one name.
    let lasting = built.with_file_name("leasehold-libc-clock");
    std::fs::rename(&binary, &lasting).map_err(|error| format!("the binary cannot be put in its place: {error}"))?;
    // Restores the usual binary, which other tests expect in that place.
    build(&[]);
    let faketime = Faketime { library, binary: lasting };
    if faketime.acts() { Ok(faketime) } else { Err(format!("{LIBRARY} does not act on the server's clock")) }
}
