//! The disruption marker of VMClock, by which a hypervisor tells its guest that the counters cannot be trusted.

use crate::clock::Clock;
use crate::source::Source;
use leasehold_core::Reading;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The page of the first device. Its layout is in Linux's `include/uapi/linux/vmclock-abi.h`.
const DEVICE: &str = "/dev/vmclock0";
/// "VCLK".
const MAGIC: u32 = 0x4b4c_4356;
const VERSION: u16 = 1;
/// The part of the page that is read. Every version of the device has it.
const HEAD_BYTES: usize = 32;

/// The disruption marker of a virtual machine. The hypervisor changes it when the machine goes on elsewhere, or from a
/// snapshot: the counters may then have jumped, and what was measured with them before is void.
#[derive(Debug)]
pub struct DisruptionMarker {
    path: PathBuf,
    last: AtomicU64,
}

impl DisruptionMarker {
    /// Finds the marker of this machine: that of `/dev/vmclock0` on Linux. Returns `None` if the machine has none.
    ///
    /// # Errors
    /// If there is a device, and it cannot be read or its layout is not known.
    pub fn find() -> io::Result<Option<DisruptionMarker>> {
        if !cfg!(any(target_os = "linux", target_os = "android")) {
            return Ok(None);
        }
        match DisruptionMarker::open(Path::new(DEVICE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Opens the marker in a page with the layout of VMClock.
    ///
    /// # Errors
    /// If the page cannot be read or its layout is not known.
    pub fn open(path: &Path) -> io::Result<DisruptionMarker> {
        let last = AtomicU64::new(read(path)?);
        Ok(DisruptionMarker { path: path.to_owned(), last })
    }

    /// Returns true if the marker has changed since it was last read. A page that cannot be read counts as changed,
    /// because nothing is known about the counters then.
    pub fn has_changed(&self) -> bool {
        match read(&self.path) {
            Ok(marker) => self.last.swap(marker, Ordering::Relaxed) != marker,
            Err(_) => true,
        }
    }
}

/// Reads the marker. A file that is opened anew serves a device and a plain file alike.
fn read(path: &Path) -> io::Result<u64> {
    let mut head = [0; HEAD_BYTES];
    File::open(path)?.read_exact(&mut head)?;
    parse(&head).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
}

fn parse(head: &[u8; HEAD_BYTES]) -> Result<u64, &'static str> {
    let (magic, version) = (u32::from_le_bytes(bytes(head, 0)), u16::from_le_bytes(bytes(head, 8)));
    if (magic, version) != (MAGIC, VERSION) {
        return Err("not a VMClock of version 1");
    }
    // The kernel returns what it copied between two updates; a plain file may be read during one.
    let updates = u32::from_le_bytes(bytes(head, 12));
    if updates % 2 == 1 {
        return Err("the hypervisor is updating VMClock");
    }
    Ok(u64::from_le_bytes(bytes(head, 16)))
}

fn bytes<const N: usize>(head: &[u8; HEAD_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&head[at..at + N]);
    field
}

/// A clock whose [`is_disrupted`](Clock::is_disrupted) looks at a disruption marker. Its readings are those of `C`.
#[derive(Debug)]
pub struct WatchedClock<C> {
    clock: C,
    marker: DisruptionMarker,
}

impl<C> WatchedClock<C> {
    /// Returns a clock with the readings of `clock`, which `marker` voids.
    pub fn new(clock: C, marker: DisruptionMarker) -> WatchedClock<C> {
        WatchedClock { clock, marker }
    }
}

impl<C: Clock> Clock for WatchedClock<C> {
    #[inline]
    fn now(&self) -> Reading {
        self.clock.now()
    }

    fn source(&self) -> Source {
        self.clock.source()
    }

    fn is_disrupted(&self) -> bool {
        self.marker.has_changed()
    }
}
