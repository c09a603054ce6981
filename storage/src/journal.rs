//! Verifies fjall's journals before fjall reads them.
//!
//! fjall truncates a journal at the first batch that it cannot read. That is right for the remains of a last commit
//! after a power loss, but would silently lose every commit after a damaged byte. fjall also refuses a last commit
//! whose end reached the disk and whose middle did not, which a power loss can cause. So each commit contains its
//! number, which distinguishes the two cases: an unreadable commit is truncated if it is the last one, as it was never
//! acknowledged. Otherwise the folder is damaged.
//!
//! The layout is that of fjall 3.1.13. The manifest therefore requires exactly this version.

use crate::error::Fault;
use crate::tables::COMMIT;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// The first item of each batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitRecord {
    /// One more than that of the previous commit.
    pub(crate) number: u64,
    /// The folder's random number. A client does not know it, so it cannot send a value that looks like a commit.
    pub(crate) salt: u64,
}

impl CommitRecord {
    pub(crate) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..].copy_from_slice(&self.salt.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<CommitRecord> {
        let mut bytes = Bytes(bytes);
        let record = CommitRecord { number: bytes.u64()?, salt: bytes.u64()? };
        bytes.0.is_empty().then_some(record)
    }
}

/// Checks every journal in fjall's folder and truncates a last commit that a crash left unfinished. Returns the number
/// of the last complete commit, or `None` if the journals contain none.
pub(crate) fn check(folder: &Path, salt: u64) -> Result<Option<u64>, Fault> {
    let mut last = None;
    let mut torn: Vec<(PathBuf, usize)> = Vec::new();
    let journals = journals(folder)?;
    if journals.is_empty() {
        return Err(Fault::Damaged(format!("no journal exists in {}", folder.display())));
    }
    for (_, path) in journals {
        let content = content(&path)?;
        let mut at = 0;
        while let Some((record, length)) = batch(&content[at..]) {
            let place = || format!("commit {} in {}", record.number, path.display());
            if record.salt != salt {
                return Err(Fault::Damaged(format!("{} is from another folder", place())));
            }
            if let Some((torn, at)) = torn.first() {
                return Err(unreadable(torn, *at));
            }
            if last.is_some_and(|last: u64| last.checked_add(1) != Some(record.number)) {
                return Err(Fault::Damaged(format!("{} directly follows commit {}", place(), last.unwrap_or(0))));
            }
            last = Some(record.number);
            at += length;
        }
        if at == content.len() {
            continue;
        }
        // A commit starts only after the previous one is durable. So a later one means that this one was complete.
        let later = (at + 1..content.len()).filter_map(|at| head(&mut Bytes(&content[at..])));
        if later.into_iter().any(|(record, _)| record.salt == salt) {
            return Err(unreadable(&path, at));
        }
        torn.push((path, at));
    }
    for (path, length) in torn {
        tracing::info!(journal = %path.display(), length, "truncating an unfinished commit");
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(length as u64)?;
        file.sync_all()?;
    }
    Ok(last)
}

fn unreadable(path: &Path, at: usize) -> Fault {
    Fault::Damaged(format!("the commit at byte {at} of {} cannot be read, and other commits follow it", path.display()))
}

/// Returns the journals by number. fjall keeps all but the last only until their content is in tables.
fn journals(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        journals.extend(number.map(|number| (number, path)));
    }
    journals.sort_unstable();
    Ok(journals)
}

/// Returns a journal's content without the trailing zeros of its preallocation. No batch ends with a zero.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let (mut content, mut length) = (Vec::new(), 0);
    let mut file = File::open(path)?;
    let mut chunk = vec![0; ZEROS.len()];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        if chunk[..read] != ZEROS[..read] {
            content.resize(length, 0);
            content.extend_from_slice(&chunk[..read]);
        }
        length += read;
    }
    content.truncate(content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    Ok(content)
}

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const MAGIC: [u8; 4] = *b"FJL\x03";

/// Reads the complete batch at the start of `bytes`. Returns its commit record and its length.
fn batch(bytes: &[u8]) -> Option<(CommitRecord, usize)> {
    let mut rest = Bytes(bytes);
    let (record, items) = head(&mut rest)?;
    for _ in 1..items {
        item(&mut rest)?;
    }
    let written = &bytes[HEADER_BYTES..bytes.len() - rest.0.len()];
    let whole = rest.u8()? == END && rest.u64()? == xxh3_64(written) && rest.take()? == MAGIC;
    whole.then_some((record, bytes.len() - rest.0.len()))
}

/// The bytes of tag, number of items and sequence number.
const HEADER_BYTES: usize = 1 + 4 + 8;

/// Reads a batch's header and its first item, which must be its commit record. Returns that record and the number of
/// items.
fn head(bytes: &mut Bytes<'_>) -> Option<(CommitRecord, u32)> {
    if bytes.u8()? != START {
        return None;
    }
    let items = bytes.u32()?;
    bytes.u64()?;
    match item(bytes)? {
        (COMMIT, value) => Some((CommitRecord::decode(value)?, items)),
        _ => None,
    }
}

/// Reads an item. Returns its key and value.
fn item<'b>(bytes: &mut Bytes<'b>) -> Option<(&'b [u8], &'b [u8])> {
    if bytes.u8()? != ITEM {
        return None;
    }
    let [_kind, compression] = bytes.take()?;
    bytes.u64()?;
    let key = usize::from(u16::from_le_bytes(bytes.take()?));
    let (value, stored) = (bytes.u32()?, bytes.u32()?);
    if compression != 0 || value != stored {
        return None;
    }
    Some((bytes.slice(key)?, bytes.slice(value as usize)?))
}

/// Reads numbers and slices from the front of a byte slice.
pub(crate) struct Bytes<'b>(pub(crate) &'b [u8]);

impl<'b> Bytes<'b> {
    fn slice(&mut self, length: usize) -> Option<&'b [u8]> {
        let (slice, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(slice)
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

/// Detects that the current journal was removed.
pub(crate) struct JournalWatch {
    folder: PathBuf,
    journal: File,
}

impl JournalWatch {
    pub(crate) fn new(folder: PathBuf) -> Result<JournalWatch, Fault> {
        let journal = newest(&folder)?;
        Ok(JournalWatch { folder, journal })
    }

    /// Fails if the current journal was removed. fjall removes one itself after it starts the next.
    pub(crate) fn check(&mut self) -> Result<(), Fault> {
        if is_removed(&self.journal)? {
            self.journal = newest(&self.folder)?;
        }
        Ok(())
    }
}

fn newest(folder: &Path) -> Result<File, Fault> {
    let newest = journals(folder).map(|mut journals| journals.pop());
    match newest.and_then(|newest| newest.map(|(_, path)| File::open(path)).transpose()) {
        Ok(Some(journal)) => Ok(journal),
        Ok(None) => Err(Fault::Gone(folder.join("*.jnl"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Fault::Gone(folder.to_path_buf())),
        Err(error) => Err(error.into()),
    }
}

/// Returns true if an open file was removed.
#[cfg(unix)]
pub(crate) fn is_removed(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(file.metadata()?.nlink() == 0)
}

/// Returns false: other systems do not remove an open file.
#[cfg(not(unix))]
pub(crate) fn is_removed(_file: &File) -> io::Result<bool> {
    Ok(false)
}
