//! Clocks that run fast or slow, by `libfaketime`.
//!
//! The server reads its clocks straight from the vDSO, where no preloaded library can come between; so these nodes run a binary
//! built with the feature `libc-clock`. Whether the library then really acts on the server's own clock is tried before it is
//! relied on.

use super::session::Session;
use crate::processes::{PATIENCE, Process, Processes, build, eventually};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

/// Where Debian and others put it.
const PLACES: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib/faketime",
    "/usr/lib64/faketime",
    "/usr/local/lib/faketime",
    "/usr/lib",
];
/// The variant for programs with threads.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// The library, and a binary that it acts on.
#[derive(Clone, Debug)]
pub struct Faketime {
    library: PathBuf,
    binary: PathBuf,
}

impl Faketime {
    /// Finds the library, builds the binary, and tries whether one acts on the other. It does so once.
    ///
    /// # Errors
    /// Why clock rates cannot be tested here.
    pub fn prepare() -> Result<Faketime, String> {
        static PREPARED: OnceLock<Result<Faketime, String>> = OnceLock::new();
        PREPARED.get_or_init(prepare).clone()
    }

    /// Makes a node's clocks run at this rate from its next start on.
    pub fn apply(&self, cluster: &mut Processes, id: u64, rate: f64) {
        let recipe = cluster.recipes.get_mut(&id).expect("a node of this cluster");
        recipe.binary.clone_from(&self.binary);
        recipe.environment = [
            ("LD_PRELOAD".to_owned(), self.library.display().to_string()),
            ("FAKETIME".to_owned(), format!("+0 x{rate:.6}")),
            // Files keep their times.
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
        // Thirty seconds of its time take less than one of ours. Without the library this ends after ten of each.
        let aged = eventually(Duration::from_secs(10), || {
            let info = Session::connect(port, PATIENCE).ok()?.info(&["server"])?;
            info.get("uptime_in_seconds")?.parse::<u64>().ok().filter(|uptime| *uptime >= 30)
        });
        end(cluster.take(1));
        aged.is_some()
    }
}

/// Ends a process as `kill -9` does, and removes what the library left behind, which would be in the way of a later process with
/// the same number.
pub(crate) fn end(process: Process) {
    let id = process.id();
    process.kill();
    for leftover in ["faketime_shm", "sem.faketime_sem"] {
        // Without the library there is none.
        let _ = std::fs::remove_file(format!("/dev/shm/{leftover}_{id}"));
    }
}

fn prepare() -> Result<Faketime, String> {
    let library = PLACES.iter().map(|place| PathBuf::from(place).join(LIBRARY)).find(|library| library.exists());
    let library = library.ok_or_else(|| format!("{LIBRARY} is not installed (Debian: apt install faketime)"))?;
    let built = build(&["--features", "libc-clock"]);
    let binary = built.with_file_name(format!("leasehold-libc-clock-{}", std::process::id()));
    std::fs::copy(&built, &binary).map_err(|error| format!("the binary cannot be copied: {error}"))?;
    // Whoever runs it keeps it; the next run finds one name and not one for every run.
    let lasting = built.with_file_name("leasehold-libc-clock");
    std::fs::rename(&binary, &lasting).map_err(|error| format!("the binary cannot be put in its place: {error}"))?;
    // The usual one again, in the place where everybody expects it.
    build(&[]);
    let faketime = Faketime { library, binary: lasting };
    if faketime.acts() { Ok(faketime) } else { Err(format!("{LIBRARY} does not act on the server's clock")) }
}
