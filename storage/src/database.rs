//! fjall's database: creating it, opening it again, and replacing its journals then.

use crate::error::{Fault, reading};
use crate::journal::{self, CommitRecord, JOURNAL_BYTES, journal_path, journals};
use crate::newest::{Newest, NewestFile};
use crate::sorted;
use crate::tables::{COMMIT, KEYSPACE};
use fjall::compaction::Leveled;
use fjall::config::FilterPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Small, because a running node reads almost nothing: it keeps a group's records and the end of its log in memory.
const CACHE_BYTES: u64 = 1 << 20;
/// The approximate size at which writes kept in memory are sorted into a table. A larger one means fewer tables, and
/// fewer entries that are written to a table and then compacted.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Small tables keep compactions short. While one runs, new writes accumulate in memory.
const TABLE_BYTES: u64 = 16 << 20;
/// The limit for all journals together: the smallest that fjall accepts.
const MAX_JOURNAL_BYTES: u64 = 2 * JOURNAL_BYTES;
const MAX_OPEN_FILES: usize = 64;
/// The limit for sorting the content of the old journals into tables.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(300);
const RENEWAL_POLL_INTERVAL: Duration = Duration::from_millis(1);
/// A key of no table.
const NO_KEY: &[u8] = &[0xff];

/// Creates fjall's folder, and removes the file `unused` once all of the folder is durable.
pub(crate) fn create(path: &Path, unused: &Path, file: &mut NewestFile) -> Result<(Database, Keyspace), Fault> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let created = open(path)?;
    sync_everything(path)?;
    file.store(Newest { journal: Some(0), ..Newest::default() })?;
    fs::remove_file(unused)?;
    sync_folder(unused.parent().unwrap_or(path))?;
    Ok(created)
}

/// Opens fjall's folder after verifying all of it, and starts a new journal.
///
/// fjall would append to the last journal. That journal would grow with each commit, which costs the file system twice
/// the work and leaves no length to recognize a cut by. Also, the last process may have ended because a sync failed:
/// the system may then read parts of the journal from memory that will never be on the disk. So everything in the
/// journals is written to new tables first.
pub(crate) fn open_again(
    path: &Path,
    salt: u64,
    file: &mut NewestFile,
    newest: Option<Newest>,
) -> Result<(Database, Keyspace), Fault> {
    sorted::check(path)?;
    let stored = reading(|| sorted::newest_commit(path, salt))?;
    let found = journal::check(path, salt, stored, newest)?;
    let mut next = Newest { journal: None, commit: found.commit, ..newest.unwrap_or_default() };
    if let Some(loss) = &found.loss {
        tracing::warn!(
            loss,
            "acknowledged writes are missing from the data folder, or may be: this node has to catch up with the others \
             before it takes part in elections; check its disk"
        );
        next.first_after_loss = found.commit + 1;
    }
    file.store(next)?;

    found.truncate_unfinished()?;
    // fjall sorts the content of the last journal only when asked to, and may first compact tables for a long time. It
    // begins with the content of the others. And without any journal, it would number new writes like old ones.
    let last = journals(path)?.pop().map(|(number, _)| number).or(newest.and_then(|newest| newest.journal));
    File::create_new(journal_path(path, last.map_or(0, |last| last.saturating_add(1))))?;
    let (database, keyspace) = reading(|| open(path))?;
    let commit = reading(|| CommitRecord::number_in(keyspace.get(COMMIT)?.as_deref(), salt))?;
    if commit != found.commit {
        let expected = found.commit;
        return Err(Fault::Damaged(format!("the newest commit is commit {commit}, but commit {expected} was found")));
    }
    let number = renew_journal(path, &database, &keyspace)?;
    file.store(Newest { journal: Some(number), ..next })?;
    Ok((database, keyspace))
}

fn open(path: &Path) -> Result<(Database, Keyspace), Fault> {
    let database = Database::builder(path)
        .cache_size(CACHE_BYTES)
        .max_cached_files(Some(MAX_OPEN_FILES))
        .max_journaling_size(MAX_JOURNAL_BYTES)
        .worker_threads(1)
        .open()?;
    let keyspace = database.keyspace(KEYSPACE, || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(MEMTABLE_BYTES)
            // Filters speed up reads of single keys. This crate reads ranges.
            .filter_policy(FilterPolicy::disabled())
            .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)))
    })?;
    Ok((database, keyspace))
}

/// Sorts the content of all journals into tables, and starts a new journal. Returns its number.
///
/// fjall starts a journal when it sorts a table while the last one has its full length. So the last one is extended,
/// and a write without effect is appended to it. After a crash, that write looks like an unfinished commit.
fn renew_journal(path: &Path, database: &Database, keyspace: &Keyspace) -> Result<u64, Fault> {
    let Some((old, last)) = journals(path)?.pop() else { return Err(Fault::Gone(journal_path(path, 0))) };
    let file = OpenOptions::new().write(true).open(last)?;
    file.set_len(file.metadata()?.len().max(JOURNAL_BYTES))?;
    let mut batch = OwnedWriteBatch::with_capacity(database.clone(), 1).durability(Some(PersistMode::Buffer));
    batch.remove(keyspace, NO_KEY);
    batch.commit()?;
    keyspace.rotate_memtable()?;

    let deadline = now() + RENEWAL_TIMEOUT;
    loop {
        // fjall removes a journal when its content is in durable tables.
        match journals(path)?[..] {
            [(number, _)] if number > old => {
                sync_folder(path)?;
                return Ok(number);
            }
            _ if now() > deadline => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            // Fails if sorting failed.
            _ => database.persist(PersistMode::Buffer)?,
        }
        std::thread::sleep(RENEWAL_POLL_INTERVAL);
    }
}

#[expect(clippy::disallowed_methods, reason = "it limits a wait for the disk")]
fn now() -> Instant {
    Instant::now()
}

pub(crate) fn sync_everything(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_everything(&entry.path())?;
        } else {
            OpenOptions::new().write(true).open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}

/// Makes the file names in a folder durable.
#[cfg(unix)]
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Does nothing: other systems cannot open a folder, and a name becomes durable with its file.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}
