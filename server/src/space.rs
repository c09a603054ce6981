//! The free space of the data folder. A node whose disk fills up has to stop, so it refuses writes before that.

use leasehold_node::{Handle, ports::StateMachine};
use leasehold_runtime::{Runtime, ThreadPolicy};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The reserve unless the options say otherwise: this, or a tenth of a smaller file system.
const DEFAULT_RESERVE_BYTES: u64 = 256 << 20;
/// The interval of the measurements. What a node writes meanwhile must fit into the reserve.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The free space of a folder, as last measured.
#[derive(Debug)]
pub(crate) struct Space {
    folder: PathBuf,
    /// Writes are refused while less is free.
    reserve: u64,
    free: AtomicU64,
    short: AtomicBool,
}

impl Space {
    /// Measures the free space of a folder that exists.
    pub(crate) fn new(folder: &Path, reserve: Option<u64>) -> Arc<Space> {
        let total = measure(folder).map_or(u64::MAX, |measured| measured.total);
        let reserve = reserve.unwrap_or(DEFAULT_RESERVE_BYTES.min(total / 10));
        let (free, short) = (AtomicU64::new(u64::MAX), AtomicBool::new(false));
        let space = Space { folder: folder.to_owned(), reserve, free, short };
        space.update();
        Arc::new(space)
    }

    /// Returns whether writes must be refused.
    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Returns the free bytes, if they can be measured, and those that writes must leave free.
    pub(crate) fn bytes(&self) -> (Option<u64>, u64) {
        let free = self.free.load(Ordering::Relaxed);
        ((free < u64::MAX).then_some(free), self.reserve)
    }

    /// Measures again.
    fn update(&self) {
        if let Some(Measured { free, .. }) = measure(&self.folder) {
            self.set_free(free);
        }
    }

    fn set_free(&self, free: u64) {
        self.free.store(free, Ordering::Relaxed);
        let (was_short, reserve) = (self.is_short(), self.reserve);
        // A little more must be free again, so that the state does not change with every file.
        let needed = if was_short { reserve.saturating_add(reserve / 8) } else { reserve };
        let short = free < needed;
        self.short.store(short, Ordering::Relaxed);
        let folder = self.folder.display();
        match (was_short, short) {
            (false, true) => tracing::error!(
                free,
                reserve,
                "the disk of {folder} is almost full: writes are refused, reads go on; free some space or enlarge the \
                 file system (see --min-free-space)"
            ),
            (true, false) => tracing::info!(free, "the disk of {folder} has space again: writes are accepted"),
            _ => {}
        }
    }
}

/// Measures the space at intervals, on a thread that a hanging file system may block, and tells the node. The thread ends
/// with the node.
///
/// # Errors
/// As the system reports them: no thread could be created.
pub(crate) fn watch<R, M>(runtime: &R, space: &Arc<Space>, handle: Handle<M>) -> std::io::Result<()>
where
    R: Runtime,
    M: StateMachine,
{
    let space = Arc::downgrade(space);
    runtime.spawn_thread("space", ThreadPolicy::Batch, async move {
        let mut refused = false;
        while !handle.status().stopped
            && let Some(space) = space.upgrade()
        {
            space.update();
            if std::mem::replace(&mut refused, space.is_short()) != space.is_short() {
                handle.refuse_writes(space.is_short()).await;
            }
            drop(space);
            // The thread is its own, and a timer of the runtime would panic here once the runtime is gone.
            std::thread::sleep(POLL_INTERVAL);
        }
    })
}

struct Measured {
    free: u64,
    total: u64,
}

#[cfg(unix)]
fn measure(folder: &Path) -> Option<Measured> {
    let measured = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(measured.f_frsize);
    Some(Measured { free: bytes(measured.f_bavail), total: bytes(measured.f_blocks) })
}

#[cfg(not(unix))]
fn measure(_: &Path) -> Option<Measured> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_refused_below_the_reserve_and_accepted_a_little_above_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let space = Space::new(folder.path(), Some(800));
        assert!(!space.is_short());
        for (free, short) in [(800, false), (799, true), (899, true), (900, false), (850, false), (0, true)] {
            space.set_free(free);
            assert_eq!((space.is_short(), space.bytes()), (short, (Some(free), 800)), "{free} free");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_default_reserve_is_a_part_of_the_file_system() {
        let folder = tempfile::tempdir().expect("a folder");
        let (free, reserve) = Space::new(folder.path(), None).bytes();
        assert!(free.is_some() && (1..=DEFAULT_RESERVE_BYTES).contains(&reserve), "{free:?} {reserve}");
        assert!(Space::new(folder.path(), Some(u64::MAX)).is_short());
    }
}
