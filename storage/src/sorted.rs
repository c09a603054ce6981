//! Verifies fjall's tables before fjall reads them.
//!
//! fjall verifies a block when it reads it, but not the data that locates the blocks: one bad byte there can cause an
//! allocation larger than the memory, which aborts the process. fjall also creates files that it does not find, and
//! would treat the others as the remains of an unfinished first start. But a checksum of each whole file is stored in
//! another file.

use crate::error::Fault;
use crate::journal::CommitRecord;
use crate::parse::Bytes;
use crate::tables::COMMIT;
use lsm_tree::{AbstractTree, SequenceNumberCounter};
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The content of the file with the version of fjall's formats.
const VERSION: &[u8] = b"FJL\x03";
/// fjall's own keyspace, and this crate's.
const KEYSPACES: [&str; 2] = ["keyspaces/0", "keyspaces/1"];

/// Checks every file in fjall's folder except the journals.
pub(crate) fn check(folder: &Path) -> Result<(), Fault> {
    read(&folder.join("lock"))?;
    let path = folder.join("version");
    if read(&path)? != VERSION {
        return Err(altered(&path));
    }
    for keyspace in KEYSPACES {
        let keyspace = folder.join(keyspace);
        let path = keyspace.join("current");
        // The number of the file that lists the tables, and its checksum.
        let current = read(&path)?;
        let mut current = Bytes(&current);
        let (Some(number), Some(checksum)) = (current.u64(), current.take().map(u128::from_le_bytes)) else {
            return Err(altered(&path));
        };
        let names = path;
        let path = keyspace.join(format!("v{number}"));
        let list = read(&path).map_err(|fault| match fault {
            Fault::Damaged(detail) => Fault::Damaged(format!("{detail}, or {} names another file", names.display())),
            fault => fault,
        })?;
        if xxh3_128(&list) != checksum {
            return Err(Fault::Damaged(format!(
                "{} does not have the checksum in {}",
                path.display(),
                names.display()
            )));
        }
        for (table, checksum) in tables(&list).ok_or_else(|| altered(&path))? {
            let path = keyspace.join("tables").join(table.to_string());
            if checksum_of(&path).map_err(|error| named(&path, error))? != checksum {
                return Err(altered(&path));
            }
        }
    }
    Ok(())
}

/// Returns the number of the newest commit in the tables, without the journals; 0 if there is none. Call it after
/// [`check`].
pub(crate) fn newest_commit(folder: &Path, salt: u64) -> Result<u64, Fault> {
    let keyspace = folder.join(KEYSPACES[1]);
    let tree = lsm_tree::Config::new(keyspace, SequenceNumberCounter::default(), SequenceNumberCounter::default())
        .open()
        .map_err(fjall::Error::from)?;
    let stored = tree.get(COMMIT, fjall::SeqNo::MAX).map_err(fjall::Error::from)?;
    CommitRecord::number_in(stored.as_deref(), salt)
}

/// Returns the numbers and checksums of the tables in a list.
fn tables(list: &[u8]) -> Option<Vec<(u64, u128)>> {
    let sections = sfa::Reader::from_reader(&mut Cursor::new(list)).ok()?;
    let section = sections.toc().section(b"tables")?;
    let mut section = Bytes(list.get(usize::try_from(section.pos()).ok()?..)?);
    let mut tables = Vec::new();
    for _level in 0..section.u8()? {
        for _run in 0..section.u8()? {
            for _table in 0..section.u32()? {
                let number = section.u64()?;
                let _kind_of_checksum = section.u8()?;
                tables.push((number, section.take().map(u128::from_le_bytes)?));
                let _sequence_number = section.u64()?;
            }
        }
    }
    Some(tables)
}

fn checksum_of(path: &Path) -> io::Result<u128> {
    let mut file = File::open(path)?;
    let mut hasher = Xxh3::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.digest128()),
            read => hasher.update(&chunk[..read]),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    fs::read(path).map_err(|error| named(path, error))
}

fn named(path: &Path, error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound => Fault::Damaged(format!("{} is missing", path.display())),
        _ => error.into(),
    }
}

fn altered(path: &Path) -> Fault {
    Fault::Damaged(format!("{} is not what was written", path.display()))
}
