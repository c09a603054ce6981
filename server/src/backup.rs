//! The format of a backup: a header, the records in chunks, and an end, each with a checksum. A file that was cut lacks its
//! end.
//!
//! ```text
//! header  8 bytes LEASEBAK | u32 format | u64 index | u16 length of the cluster's name | the name | u64 checksum
//! chunk   u32 length of the records, not 0 | u64 checksum | records                     as in a transfer between nodes
//! end     u32 0 | u64 number of chunks | u64 number of records | u64 checksum
//! ```
//!
//! All numbers are little-endian. The format is 1 if every record has the kind 0, so that the first releases can restore it.

use leasehold_core::Index;
use leasehold_node::chunk::{checksum, decode};
use leasehold_node::ports::Record;
use std::io::{self, Read};

const MAGIC: [u8; 8] = *b"LEASEBAK";
const VERSION: u32 = 2;
/// The format of a backup whose records all have the kind 0.
const WITHOUT_KINDS: u32 = 1;
/// The longest chunk: one record with the longest key and the longest value fits.
const MAX_CHUNK_BYTES: u32 = 64 << 20;

/// The header of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The index of the log up to which the backup has every write, at least.
    pub(crate) index: Index,
    /// The name of the cluster that it is from.
    pub(crate) cluster: String,
    /// True if records may have other kinds than 0.
    pub(crate) has_kinds: bool,
}

/// The reason why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("the backup cannot be read: {0}")]
    Io(io::Error),
    #[error("this is not a backup; give a file that `leasehold backup` wrote")]
    NotABackup,
    #[error("the backup has format {0}, and this release reads formats up to {VERSION}; use the release that wrote it")]
    OtherVersion(u32),
    #[error("the backup ends too early, so it is not complete; take another one")]
    Cut,
    #[error("the backup is damaged in its {0}; use another one")]
    Damaged(&'static str),
}

impl From<io::Error> for BackupError {
    fn from(error: io::Error) -> BackupError {
        if error.kind() == io::ErrorKind::UnexpectedEof { BackupError::Cut } else { BackupError::Io(error) }
    }
}

/// Encodes a header.
pub(crate) fn header(header: &Header) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let version = if header.has_kinds { VERSION } else { WITHOUT_KINDS };
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&header.index.to_le_bytes());
    let name = &header.cluster.as_bytes()[..header.cluster.len().min(usize::from(u16::MAX))];
    bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&checksum(0, &bytes).to_le_bytes());
    bytes
}

/// Encodes what comes before the records of a chunk.
pub(crate) fn chunk_head(number: u64, records: &[u8]) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&(records.len() as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&checksum(number, records).to_le_bytes());
    bytes
}

/// Encodes the end.
pub(crate) fn end(chunks: u64, records: u64) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[4..12].copy_from_slice(&chunks.to_le_bytes());
    bytes[12..20].copy_from_slice(&records.to_le_bytes());
    let sum = checksum(chunks, &records.to_le_bytes());
    bytes[20..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Reads a backup and checks it on the way.
#[derive(Debug)]
pub(crate) struct BackupReader<R> {
    from: R,
    header: Header,
    chunks: u64,
    records: u64,
}

impl<R: Read> BackupReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(crate) fn new(mut from: R) -> Result<BackupReader<R>, BackupError> {
        let mut bytes = take::<8>(&mut from)?.to_vec();
        if bytes != MAGIC {
            return Err(BackupError::NotABackup);
        }
        let version = take(&mut from)?;
        let has_kinds = match u32::from_le_bytes(version) {
            WITHOUT_KINDS => false,
            VERSION => true,
            other => return Err(BackupError::OtherVersion(other)),
        };
        bytes.extend_from_slice(&version);
        let (index, length) = (take(&mut from)?, take(&mut from)?);
        bytes.extend_from_slice(&index);
        bytes.extend_from_slice(&length);
        let mut name = vec![0; usize::from(u16::from_le_bytes(length))];
        from.read_exact(&mut name)?;
        bytes.extend_from_slice(&name);
        if u64::from_le_bytes(take(&mut from)?) != checksum(0, &bytes) {
            return Err(BackupError::Damaged("header"));
        }
        let cluster = String::from_utf8(name).map_err(|_| BackupError::Damaged("header"))?;
        let header = Header { index: u64::from_le_bytes(index), cluster, has_kinds };
        Ok(BackupReader { from, header, chunks: 0, records: 0 })
    }

    /// Returns the header.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the number of records that were read.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Returns the records of the next chunk, or `None` at the end.
    ///
    /// # Errors
    /// [`BackupError`]: do not use what was read before.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Vec<Record>>, BackupError> {
        let length = u32::from_le_bytes(take(&mut self.from)?);
        if length == 0 {
            let (chunks, records, sum) = (take(&mut self.from)?, take(&mut self.from)?, take(&mut self.from)?);
            let (chunks, records) = (u64::from_le_bytes(chunks), u64::from_le_bytes(records));
            let whole = u64::from_le_bytes(sum) == checksum(chunks, &records.to_le_bytes());
            let complete = whole && (chunks, records) == (self.chunks, self.records);
            return if complete { Ok(None) } else { Err(BackupError::Damaged("end")) };
        }
        if length > MAX_CHUNK_BYTES {
            return Err(BackupError::Damaged("records"));
        }
        let sum = u64::from_le_bytes(take(&mut self.from)?);
        // Not allocated before it is there: the length may be damaged.
        let mut bytes = Vec::new();
        (&mut self.from).take(u64::from(length)).read_to_end(&mut bytes)?;
        if bytes.len() < length as usize {
            return Err(BackupError::Cut);
        }
        let records = if checksum(self.chunks, &bytes) == sum { decode(&bytes) } else { None };
        let records = records.ok_or(BackupError::Damaged("records"))?;
        self.chunks += 1;
        self.records += records.len() as u64;
        Ok(Some(records))
    }
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_node::chunk;
    use leasehold_node::ports::Cursor;

    fn records(has_kinds: bool) -> Vec<Record> {
        let kind = if has_kinds { '\u{2}' } else { '\0' };
        (0..5).map(|n| Record { key: format!("{kind}key {n}").into(), value: vec![n; 10].into() }).collect()
    }

    fn backup(has_kinds: bool) -> Vec<u8> {
        let mut bytes = header(&Header { index: 7, cluster: "orchard".to_owned(), has_kinds });
        let (mut cursor, mut number) = (Cursor::default(), 0);
        loop {
            let chunk = chunk::read(&records(has_kinds), cursor, 60);
            bytes.extend_from_slice(&chunk_head(number, &chunk.records));
            bytes.extend_from_slice(&chunk.records);
            (cursor, number) = (chunk.cursor, number + 1);
            if chunk.is_last {
                break;
            }
        }
        assert!(number > 1);
        bytes.extend_from_slice(&end(number, 5));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<(Header, Vec<Record>), BackupError> {
        let mut reader = BackupReader::new(bytes)?;
        let mut found = Vec::new();
        while let Some(records) = reader.next_chunk()? {
            found.extend(records);
        }
        Ok((reader.header().clone(), found))
    }

    #[test]
    fn a_backup_is_read_as_it_was_written() {
        for has_kinds in [false, true] {
            let (header, found) = read(&backup(has_kinds)).expect("a whole backup");
            assert_eq!((header.index, header.cluster.as_str(), header.has_kinds), (7, "orchard", has_kinds));
            assert_eq!(found, records(has_kinds));
        }
    }

    /// Golden files, as `docs/formats.md` describes them.
    #[test]
    fn backups_are_written_as_earlier_builds_wrote_them() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tests/formats/golden/");
        for (name, has_kinds) in [("backup-1.hex", false), ("backup.hex", true)] {
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let lines: Vec<_> = backup(has_kinds).chunks(32).map(hex).collect();
            let (path, text) = (format!("{folder}{name}"), lines.join("\n") + "\n");
            if std::env::var_os("LEASEHOLD_GOLDEN").is_some_and(|value| value == "write") {
                std::fs::write(&path, &text).expect("the golden file can be written");
            }
            assert_eq!(std::fs::read_to_string(&path).expect("a golden file"), text, "{name}: see docs/formats.md");
        }
    }

    #[test]
    fn a_backup_of_a_newer_format_names_the_release_to_use() {
        let mut newer = backup(true);
        newer[8] = 3;
        let error = read(&newer).expect_err("a newer format").to_string();
        assert!(error.contains("format 3") && error.contains("use the release that wrote it"), "{error}");
    }

    #[test]
    fn a_backup_that_is_cut_or_damaged_anywhere_is_refused() {
        let whole = backup(true);
        for length in 0..whole.len() {
            assert!(matches!(read(&whole[..length]), Err(BackupError::Cut)), "cut at {length}");
            let mut damaged = whole.clone();
            damaged[length] ^= 8;
            assert!(read(&damaged).is_err(), "damaged at {length}");
        }
    }
}
