//! The durable record of a node's longest hold and number of starts.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The content of a [`Record`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The longest hold under which this node may ever have acknowledged a round.
    pub longest_hold: Duration,
    /// The number of starts of this node.
    pub starts: u32,
}

/// The durable place of a [`Recorded`]. It belongs to the same disk as the votes and the log of the node: a node that loses one
/// of them has lost the other, and returns as a new node with a new number.
pub trait Record {
    /// Returns what was stored last; the default if nothing ever was.
    ///
    /// # Errors
    /// If it cannot be read. A record that is damaged is an error too: it must not be taken for a new node's.
    fn load(&mut self) -> io::Result<Recorded>;

    /// Stores `recorded`. It is durable when this returns.
    ///
    /// # Errors
    /// If it cannot be made durable.
    fn store(&mut self, recorded: Recorded) -> io::Result<()>;
}

/// A record in a file of its own.
#[derive(Clone, Debug)]
pub struct FileRecord {
    path: PathBuf,
}

const MAGIC: [u8; 8] = *b"leasehd1";

impl FileRecord {
    /// Returns the record at `path`, in a folder that exists.
    pub fn at(path: impl AsRef<Path>) -> FileRecord {
        FileRecord { path: path.as_ref().to_owned() }
    }
}

impl Record for FileRecord {
    fn load(&mut self) -> io::Result<Recorded> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Recorded::default()),
            Err(error) => return Err(error),
        };
        let damaged = || {
            let path = self.path.display();
            io::Error::other(format!(
                "{path} is no record of holds; restore it, or found this node anew with a new number"
            ))
        };
        let record = bytes.split_first_chunk::<8>().filter(|(magic, _)| **magic == MAGIC);
        let (nanos, starts) = record.and_then(|(_, rest)| rest.split_first_chunk::<8>()).ok_or_else(damaged)?;
        let starts = <[u8; 4]>::try_from(starts).map_err(|_| damaged())?;
        let longest_hold = Duration::from_nanos(u64::from_le_bytes(*nanos));
        Ok(Recorded { longest_hold, starts: u32::from_le_bytes(starts) })
    }

    fn store(&mut self, recorded: Recorded) -> io::Result<()> {
        let nanos = u64::try_from(recorded.longest_hold.as_nanos()).map_err(io::Error::other)?;
        // Appended, so that records in one folder have files of their own.
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let mut file = File::create(&new)?;
        file.write_all(&MAGIC)?;
        file.write_all(&nanos.to_le_bytes())?;
        file.write_all(&recorded.starts.to_le_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        // The new name must be durable too. Only Unix can sync a folder, and only there is it needed.
        #[cfg(unix)]
        File::open(self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
            .sync_all()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_and_a_damaged_one_is_not_taken_for_a_new_nodes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("holds");
        let mut record = FileRecord::at(&path);
        assert_eq!(record.load().expect("a new node"), Recorded::default());
        for starts in 1..3 {
            let recorded = Recorded { longest_hold: Duration::from_millis(1500), starts };
            record.store(recorded).expect("a disk");
            assert_eq!(FileRecord::at(&path).load().expect("it was stored"), recorded);
        }
        for damaged in [&b""[..], b"leasehd0123456789012", b"leasehd1"] {
            fs::write(&path, damaged).expect("a disk");
            assert!(record.load().is_err(), "{damaged:?}");
        }
    }
}
