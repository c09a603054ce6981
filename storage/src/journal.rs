//! Verifies fjall's journals before fjall reads them.
//!
//! fjall truncates a journal at the first batch that it cannot read. That is right for the remains of a last commit
//! after a power loss, but would silently lose every commit after a damaged byte. fjall also refuses a last commit
//! whose end reached the disk and whose middle did not, which a power loss can cause. So each commit contains its
//! number, which distinguishes the two cases: an unreadable commit is truncated if it is the last one. Otherwise the
//! folder is damaged.
//!
//! A journal that lost its end is recognized by its length, as every journal that a running node writes to has its
//! full length from the start, and by the [record](Newest) of the newest journal and commit. What is left is then the
//! state after an earlier commit. It is reported as a loss, and not refused.
//!
//! The layout is that of fjall 3.1.13. The manifest therefore requires exactly this version.

use crate::error::Fault;
use crate::newest::Newest;
use crate::parse::Bytes;
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

    /// Returns the number in a stored record of this folder; 0 if none is stored.
    pub(crate) fn number_in(stored: Option<&[u8]>, salt: u64) -> Result<u64, Fault> {
        let Some(stored) = stored else { return Ok(0) };
        match CommitRecord::decode(stored) {
            Some(record) if record.salt == salt => Ok(record.number),
            _ => Err(Fault::Damaged("the number of the newest commit cannot be decoded".to_owned())),
        }
    }

    fn decode(bytes: &[u8]) -> Option<CommitRecord> {
        let mut bytes = Bytes(bytes);
        let record = CommitRecord { number: bytes.u64()?, salt: bytes.u64()? };
        bytes.0.is_empty().then_some(record)
    }
}

/// What the journals contain.
pub(crate) struct Found {
    /// The number of the newest commit in the journals and the tables.
    pub(crate) commit: u64,
    /// The reason why later commits that were acknowledged may be lost, if there is one.
    pub(crate) loss: Option<String>,
    /// The journals with a last commit that a crash left unfinished, and their lengths without it.
    unfinished: Vec<(PathBuf, usize)>,
}

/// Checks every journal in fjall's folder, and changes nothing. `stored` is the number of the newest commit in the
/// tables, and `newest` says how far the journals reached.
pub(crate) fn check(folder: &Path, salt: u64, stored: u64, newest: Option<Newest>) -> Result<Found, Fault> {
    let journals = journals(folder)?;
    let active = journals.last().map(|(number, _)| *number);
    let recorded = newest.and_then(|newest| newest.journal);
    let mut last = None;
    let mut unfinished: Vec<(PathBuf, usize)> = Vec::new();
    // A journal without its end and without a commit after it.
    let mut cut = None;
    for (number, path) in &journals {
        let (content, length) = content(path)?;
        let mut at = 0;
        while let Some((record, length)) = batch(&content[at..]) {
            let place = || format!("commit {} in {}", record.number, path.display());
            if record.salt != salt {
                return Err(Fault::Damaged(format!("{} is from another folder", place())));
            }
            if let Some((torn, at)) = unfinished.first() {
                return Err(unreadable(torn, *at));
            }
            // fjall keeps a journal until the tables contain it, so the oldest commits may be in both.
            let reached = last.unwrap_or(0).max(stored);
            if record.number > reached.saturating_add(1) {
                let (first, missing) = (reached + 1, record.number - 1);
                return Err(Fault::Damaged(format!("the commits {first} to {missing} before {} are missing", place())));
            }
            if let Some(last) = last.filter(|last| record.number <= *last) {
                return Err(Fault::Damaged(format!("{} follows commit {last}", place())));
            }
            last = Some(record.number);
            cut = None;
            at += length;
        }
        if at < content.len() {
            // A commit starts only after the previous one is durable. So a later one means that this one was complete.
            if later(&content, at + 1).any(|record| record.salt == salt) {
                return Err(unreadable(path, at));
            }
            // fjall syncs a journal before it starts the next.
            if recorded.is_some() && Some(*number) != active {
                cut = Some(format!("{} cannot be read from byte {at} on", path.display()));
            }
            unfinished.push((path.clone(), at));
        }
        if recorded.is_some_and(|newest| *number <= newest) && length < JOURNAL_BYTES {
            cut = Some(format!("{} was cut to {length} bytes", path.display()));
        }
    }
    if let Some(number) = recorded
        && !journals.iter().any(|(existing, _)| *existing == number)
    {
        cut = Some(format!("{} is missing", journal_path(folder, number).display()));
    }
    let commit = last.unwrap_or(0).max(stored);
    let loss = match newest {
        Some(Newest { commit: acknowledged, .. }) if acknowledged > commit => {
            let cause = cut.unwrap_or_else(|| format!("the journals in {} end too early", folder.display()));
            Some(format!("{cause}: of the commits up to {acknowledged}, those after {commit} are lost"))
        }
        Some(_) => cut.map(|cause| format!("{cause}: commits after {commit} may be lost")),
        None => {
            Some(format!("the record of the newest commit is missing or damaged: commits after {commit} may be lost"))
        }
    };
    Ok(Found { commit, loss, unfinished })
}

impl Found {
    /// Truncates the unfinished commits, so that fjall can read the journals.
    pub(crate) fn truncate_unfinished(&self) -> io::Result<()> {
        for (path, length) in &self.unfinished {
            tracing::info!(journal = %path.display(), length, "truncating an unfinished commit");
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(*length as u64)?;
            file.sync_all()?;
        }
        Ok(())
    }
}

/// Returns the records of everything from `from` on that looks like the start of a commit.
fn later(content: &[u8], from: usize) -> impl Iterator<Item = CommitRecord> {
    // Most of a new journal is zeros.
    let chunks = content.chunks(ZEROS.len()).enumerate().filter(|(_, chunk)| *chunk != &ZEROS[..chunk.len()]);
    let places = chunks.flat_map(|(number, chunk)| (number * ZEROS.len()..).take(chunk.len()));
    places.filter(move |at| *at >= from).filter_map(|at| Some(head(&mut Bytes(&content[at..]))?.0))
}

fn unreadable(path: &Path, at: usize) -> Fault {
    Fault::Damaged(format!("the commit at byte {at} of {} cannot be read, and other commits follow it", path.display()))
}

/// The length of every journal that a running node writes to: fjall extends it to this length when it creates it.
pub(crate) const JOURNAL_BYTES: u64 = 64 << 20;

pub(crate) fn journal_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number}.jnl"))
}

/// Returns the journals by number. fjall keeps all but the last only until their content is in tables.
pub(crate) fn journals(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        journals.extend(number.map(|number| (number, path)));
    }
    journals.sort_unstable();
    Ok(journals)
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Returns a journal's content without the trailing zeros of its preallocation, and the file's length. No batch ends
/// with a zero.
fn content(path: &Path) -> io::Result<(Vec<u8>, u64)> {
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
    Ok((content, length as u64))
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

/// Follows fjall from one journal to the next, and detects that the current one was removed.
pub(crate) struct JournalWatch {
    folder: PathBuf,
    number: u64,
    journal: File,
}

impl JournalWatch {
    /// Starts at the journal `number`.
    pub(crate) fn new(folder: PathBuf, number: u64) -> Result<JournalWatch, Fault> {
        let path = journal_path(&folder, number);
        let journal = open_if_exists(&path)?.ok_or(Fault::Gone(path))?;
        Ok(JournalWatch { folder, number, journal })
    }

    /// Returns the folder of the journals.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the number of the journal that contains the newest commit, or of the next one if fjall has just started
    /// that. fjall starts at most one between two commits, and then removes the previous one when it likes.
    pub(crate) fn check(&mut self) -> Result<u64, Fault> {
        if let Some(next) = open_if_exists(&journal_path(&self.folder, self.number + 1))? {
            self.number += 1;
            self.journal = next;
        }
        if is_removed(&self.journal)? {
            return Err(Fault::Gone(journal_path(&self.folder, self.number)));
        }
        Ok(self.number)
    }
}

fn open_if_exists(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
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
