//! A record of how far the journals reach.
//!
//! A journal that lost its end does not show it: it looks like one into which less was written. So another file names
//! the newest journal and the newest commit. The name of a journal is durable there before a commit in it is
//! acknowledged. The number of a commit is written after the commit is durable, and is not synced: it survives the
//! process. After a power loss it may be older, but it is never newer than what was acknowledged.

use crate::parse::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// The newest journal and commit of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Newest {
    /// The newest journal's number; `None` while an open replaces the journals. Their lengths show nothing meanwhile,
    /// and `commit` is exact.
    pub(crate) journal: Option<u64>,
    /// The number of the newest commit.
    pub(crate) commit: u64,
    /// The number of the first commit after the last loss that an open noticed; 0 if none was. Acknowledged commits
    /// before it may be missing.
    pub(crate) first_after_loss: u64,
}

const BYTES: usize = 40;

impl Newest {
    /// The folder's salt distinguishes it from the record of another folder.
    fn encode(self, salt: u64) -> [u8; BYTES] {
        let journal = self.journal.map_or(0, |journal| journal.saturating_add(1));
        let mut bytes = [0; BYTES];
        let (content, checksum) = bytes.split_at_mut(BYTES - 8);
        for (field, value) in content.chunks_exact_mut(8).zip([salt, journal, self.commit, self.first_after_loss]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        checksum.copy_from_slice(&xxh3_64(content).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], salt: u64) -> Option<Newest> {
        let (content, checksum) = bytes.split_last_chunk()?;
        if u64::from_le_bytes(*checksum) != xxh3_64(content) {
            return None;
        }
        let mut content = Bytes(content);
        let same_folder = content.u64()? == salt;
        let journal = content.u64()?.checked_sub(1);
        let newest = Newest { journal, commit: content.u64()?, first_after_loss: content.u64()? };
        (same_folder && content.0.is_empty()).then_some(newest)
    }
}

/// The file with that record.
pub(crate) struct NewestFile {
    file: File,
    salt: u64,
    newest: Newest,
    failed: bool,
}

impl NewestFile {
    /// Opens the file, and creates it if it is missing. Also returns its content; `None` if that cannot be used.
    pub(crate) fn open(path: &Path, salt: u64) -> io::Result<(NewestFile, Option<Newest>)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        (&mut file).take(BYTES as u64 + 1).read_to_end(&mut bytes)?;
        let newest = Newest::decode(&bytes, salt);
        Ok((NewestFile { file, salt, newest: newest.unwrap_or_default(), failed: false }, newest))
    }

    pub(crate) fn newest(&self) -> Newest {
        self.newest
    }

    /// Replaces the content durably.
    ///
    /// # Errors
    /// After the first error of this method or [`note`](NewestFile::note), every further call fails: a sync that
    /// succeeds after a failed one proves nothing.
    pub(crate) fn store(&mut self, newest: Newest) -> io::Result<()> {
        self.change(newest, true)
    }

    /// Replaces the number of the newest commit, without a sync.
    ///
    /// # Errors
    /// See [`store`](NewestFile::store).
    pub(crate) fn note(&mut self, commit: u64) -> io::Result<()> {
        self.change(Newest { commit, ..self.newest }, false)
    }

    fn change(&mut self, newest: Newest, sync: bool) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write failed"));
        }
        let written = self.write(newest, sync);
        self.failed = written.is_err();
        self.newest = newest;
        written
    }

    fn write(&mut self, newest: Newest, sync: bool) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&newest.encode(self.salt))?;
        if sync {
            // A damaged file may be longer.
            self.file.set_len(BYTES as u64)?;
            self.file.sync_all()?;
        }
        Ok(())
    }
}
