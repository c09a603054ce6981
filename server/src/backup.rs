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
//!
//! The backup of a cluster of several groups begins with a header of its own. Then it has a backup as above for each group,
//! in the order of their numbers:
//!
//! ```text
//! groups  8 bytes LEASEBAK | u32 3 | u16 number of groups | u64 checksum
//! ```

use crate::slots::MAX_GROUPS;
use leasehold_core::Index;
use leasehold_node::chunk::{checksum, decode};
use leasehold_node::ports::Record;
use std::fmt;
use std::io::{self, Read};
use std::num::NonZeroU16;

const MAGIC: [u8; 8] = *b"LEASEBAK";
const VERSION: u32 = 2;
/// The format of a backup whose records all have the kind 0.
const WITHOUT_KINDS: u32 = 1;
/// The format of a backup of several groups.
const OF_GROUPS: u32 = 3;
/// The longest chunk: one record with the longest key and the longest value fits.
const MAX_CHUNK_BYTES: u32 = 64 << 20;

/// The header of a backup of one group, or of a group's part.
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
    #[error(
        "the backup has format {0}, and this release reads formats up to {OF_GROUPS}; use the release that wrote it"
    )]
    OtherVersion(u32),
    #[error("the backup ends too early, so it is not complete; take another one")]
    Cut,
    #[error("the backup is damaged in its {0}; use another one")]
    Damaged(&'static str),
    #[error("in the part of group {0}, {1}")]
    InGroup(u16, Box<BackupError>),
}

impl From<io::Error> for BackupError {
    fn from(error: io::Error) -> BackupError {
        if error.kind() == io::ErrorKind::UnexpectedEof { BackupError::Cut } else { BackupError::Io(error) }
    }
}

/// Encodes what comes before the parts of so many groups.
pub(crate) fn groups_header(groups: NonZeroU16) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], &OF_GROUPS.to_le_bytes(), &groups.get().to_le_bytes()].concat();
    bytes.extend_from_slice(&checksum(0, &bytes).to_le_bytes());
    bytes
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
    part: PartReader<R>,
    groups: NonZeroU16,
    /// The group whose part is read.
    group: u16,
    /// The newest index of the headers so far.
    index: Index,
    /// The number of records in the parts before.
    records: u64,
}

impl<R: Read> BackupReader<R> {
    /// Reads what comes before the records of the first group.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(crate) fn new(mut from: R) -> Result<BackupReader<R>, BackupError> {
        let mut bytes = read_magic(&mut from)?;
        let mut groups = NonZeroU16::MIN;
        let version = take(&mut from)?;
        let header = if u32::from_le_bytes(version) == OF_GROUPS {
            let number = take(&mut from)?;
            bytes.extend_from_slice(&version);
            bytes.extend_from_slice(&number);
            let whole = u64::from_le_bytes(take(&mut from)?) == checksum(0, &bytes);
            let number = NonZeroU16::new(u16::from_le_bytes(number)).filter(|number| number.get() <= MAX_GROUPS);
            groups = number.filter(|_| whole).ok_or(BackupError::Damaged("header"))?;
            Header::read_part(&mut from).map_err(|error| in_group(groups, 0, error))?
        } else {
            Header::read_rest(&mut from, bytes, version)?
        };
        let index = header.index;
        Ok(BackupReader {
            part: PartReader { from, header, chunks: 0, records: 0 },
            groups,
            group: 0,
            index,
            records: 0,
        })
    }

    /// Returns the number of groups that it has.
    pub(crate) fn groups(&self) -> NonZeroU16 {
        self.groups
    }

    /// Returns the newest index of all groups that were read: each has every write up to that of its own.
    pub(crate) fn index(&self) -> Index {
        self.index
    }

    /// Returns the records of the next chunk of any group, or `None` at the end.
    ///
    /// # Errors
    /// [`BackupError`]: do not use what was read before.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Vec<Record>>, BackupError> {
        loop {
            let chunk = self.part.next_chunk().map_err(|error| in_group(self.groups, self.group, error))?;
            if chunk.is_some() || self.group + 1 == self.groups.get() {
                return Ok(chunk);
            }
            self.group += 1;
            self.next_part().map_err(|error| in_group(self.groups, self.group, error))?;
        }
    }

    fn next_part(&mut self) -> Result<(), BackupError> {
        let header = Header::read_part(&mut self.part.from)?;
        if header.cluster != self.part.header.cluster {
            return Err(BackupError::Damaged("header"));
        }
        self.index = self.index.max(header.index);
        self.records += self.part.records;
        (self.part.header, self.part.chunks, self.part.records) = (header, 0, 0);
        Ok(())
    }
}

/// Describes a backup that was read to its end.
impl<R> fmt::Display for BackupReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records of cluster {:?}, ", self.records + self.part.records, self.part.header.cluster)?;
        if self.groups == NonZeroU16::MIN {
            return write!(f, "with every write through index {}", self.index);
        }
        write!(
            f,
            "with every write that was acknowledged before the backup began, in {} groups, each as of a moment of its own",
            self.groups
        )
    }
}

/// Returns the error of a part. A backup of one group is one part.
fn in_group(groups: NonZeroU16, group: u16, error: BackupError) -> BackupError {
    if groups == NonZeroU16::MIN { error } else { BackupError::InGroup(group, Box::new(error)) }
}

impl Header {
    /// Reads the header of a part.
    fn read_part(from: &mut impl Read) -> Result<Header, BackupError> {
        let header = read_magic(from).and_then(|bytes| {
            let version = take(from)?;
            Header::read_rest(from, bytes, version)
        });
        header.map_err(|error| match error {
            // It is the release of the whole file that may be too new, and that was checked.
            BackupError::NotABackup | BackupError::OtherVersion(_) => BackupError::Damaged("header"),
            error => error,
        })
    }

    /// Reads what comes after the version. `bytes` are those before it.
    fn read_rest(from: &mut impl Read, mut bytes: Vec<u8>, version: [u8; 4]) -> Result<Header, BackupError> {
        let has_kinds = match u32::from_le_bytes(version) {
            WITHOUT_KINDS => false,
            VERSION => true,
            other => return Err(BackupError::OtherVersion(other)),
        };
        bytes.extend_from_slice(&version);
        let (index, length) = (take(from)?, take(from)?);
        bytes.extend_from_slice(&index);
        bytes.extend_from_slice(&length);
        let mut name = vec![0; usize::from(u16::from_le_bytes(length))];
        from.read_exact(&mut name)?;
        bytes.extend_from_slice(&name);
        if u64::from_le_bytes(take(from)?) != checksum(0, &bytes) {
            return Err(BackupError::Damaged("header"));
        }
        let cluster = String::from_utf8(name).map_err(|_| BackupError::Damaged("header"))?;
        Ok(Header { index: u64::from_le_bytes(index), cluster, has_kinds })
    }
}

/// Reads the chunks and the end of one part.
#[derive(Debug)]
struct PartReader<R> {
    from: R,
    header: Header,
    chunks: u64,
    records: u64,
}

impl<R: Read> PartReader<R> {
    fn next_chunk(&mut self) -> Result<Option<Vec<Record>>, BackupError> {
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

fn read_magic(from: &mut impl Read) -> Result<Vec<u8>, BackupError> {
    let bytes = take::<8>(from)?.to_vec();
    if bytes == MAGIC { Ok(bytes) } else { Err(BackupError::NotABackup) }
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

    /// Returns a backup of three groups. Nothing was ever written to the second.
    fn backup_of_groups() -> Vec<u8> {
        let empty = header(&Header { index: 9, cluster: "orchard".to_owned(), has_kinds: false });
        let start = groups_header(NonZeroU16::new(3).expect("not zero"));
        [start, backup(true), empty, end(0, 0).to_vec(), backup(false)].concat()
    }

    fn read(bytes: &[u8]) -> Result<(String, Index, u16, Vec<Record>), BackupError> {
        let mut reader = BackupReader::new(bytes)?;
        let mut found = Vec::new();
        while let Some(records) = reader.next_chunk()? {
            found.extend(records);
        }
        assert!(reader.to_string().starts_with(&format!("{} records of cluster", found.len())), "{reader}");
        Ok((reader.part.header.cluster.clone(), reader.index(), reader.groups().get(), found))
    }

    #[test]
    fn a_backup_is_read_as_it_was_written() {
        for has_kinds in [false, true] {
            let found = read(&backup(has_kinds)).expect("a whole backup");
            assert_eq!(found, ("orchard".to_owned(), 7, 1, records(has_kinds)));
        }
        let found = read(&backup_of_groups()).expect("a whole backup");
        assert_eq!(found, ("orchard".to_owned(), 9, 3, [records(true), records(false)].concat()));
    }

    /// Golden files, as `docs/formats.md` describes them.
    #[test]
    fn backups_are_written_as_earlier_builds_wrote_them() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tests/formats/golden/");
        for (name, backup) in
            [("backup-1.hex", backup(false)), ("backup.hex", backup(true)), ("backup-groups.hex", backup_of_groups())]
        {
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let lines: Vec<_> = backup.chunks(32).map(hex).collect();
            let (path, text) = (format!("{folder}{name}"), lines.join("\n") + "\n");
            if std::env::var_os("LEASEHOLD_GOLDEN").is_some_and(|value| value == "write") {
                std::fs::write(&path, &text).expect("the golden file can be written");
            }
            assert_eq!(std::fs::read_to_string(&path).expect("a golden file"), text, "{name}: see docs/formats.md");
        }
    }

    #[test]
    fn a_backup_of_a_newer_format_names_the_release_to_use() {
        for mut newer in [backup(true), backup_of_groups()] {
            newer[8] = 4;
            let error = read(&newer).expect_err("a newer format").to_string();
            assert!(error.contains("format 4") && error.contains("use the release that wrote it"), "{error}");
        }
    }

    #[test]
    fn a_backup_that_is_cut_or_damaged_anywhere_is_refused() {
        for whole in [backup(true), backup_of_groups()] {
            for length in 0..whole.len() {
                let cut = read(&whole[..length]).expect_err("cut").to_string();
                assert!(cut.contains("ends too early"), "cut at {length}: {cut}");
                let mut damaged = whole.clone();
                damaged[length] ^= 8;
                assert!(read(&damaged).is_err(), "damaged at {length}");
            }
        }
    }

    #[test]
    fn the_group_whose_part_is_damaged_is_named() {
        let whole = backup_of_groups();
        let last = whole.len() - backup(false).len();
        let first = groups_header(NonZeroU16::MIN).len();
        let second = first + backup(true).len();
        for (group, at) in [(0, first), (0, second - 1), (1, second), (1, last - 1), (2, last), (2, whole.len() - 1)] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            let error = read(&damaged).expect_err("damaged").to_string();
            assert!(
                error.starts_with(&format!("in the part of group {group}, the backup is damaged")),
                "{at}: {error}"
            );
        }
    }

    #[test]
    fn parts_of_several_clusters_are_no_backup() {
        let other = header(&Header { index: 9, cluster: "meadow".to_owned(), has_kinds: false });
        let start = groups_header(NonZeroU16::new(2).expect("not zero"));
        let mixed = [start, backup(true), other, end(0, 0).to_vec()].concat();
        let error = read(&mixed).expect_err("of two clusters").to_string();
        assert_eq!(error, "in the part of group 1, the backup is damaged in its header; use another one");
    }
}
