//! The folder itself: taking it, creating it, and whose it is.

use crate::error::{Fault, OpenError, reading};
use crate::group::Group;
use crate::journal::{self, CommitRecord, Watched};
use crate::sorted;
use crate::tables::{COMMIT, FORMAT, KEYSPACE};
use fjall::compaction::Leveled;
use fjall::config::FilterPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use leasehold_core::NodeId;
use leasehold_node::ports::GroupId;
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

const LOCK_FILE: &str = "LOCK";
const DATA_FOLDER: &str = "data";
const UNFINISHED_FOLDER: &str = "data.new";
/// What a new file system may contain.
const LOST_AND_FOUND: &str = "lost+found";
/// In the data folder: whose it is, and fjall's own folder.
const IDENTITY_FILE: &str = "identity";
const DATABASE_FOLDER: &str = "fjall";
/// In the data folder, until fjall's own is whole: nothing was ever committed in it.
const UNUSED_FILE: &str = "unused";

/// Hardly anything is read while running: whoever recovered a group keeps its records and the end of its log in memory.
const CACHE_BYTES: u64 = 1 << 20;
/// What is written is kept in memory up to about this, and then sorted into a table. More means fewer tables, and fewer
/// entries that reach one only to be compacted away.
const UNSORTED_BYTES: u64 = 8 << 20;
/// Small tables make short compactions: while one runs, what is written waits in memory.
const TABLE_BYTES: u64 = 16 << 20;
/// The journals together. Fjall allows no less; each is 64 MiB long.
const JOURNAL_BYTES: u64 = 128 << 20;
const OPEN_FILES: usize = 64;
/// How long a folder may have been moved away before a commit notices.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whose data a folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The node's number in it.
    pub node: NodeId,
}

/// An open data folder, this process's alone until it is dropped.
pub struct Storage {
    // Fields are dropped in order: the files are closed before the lock is let go.
    pub(crate) keyspace: Keyspace,
    pub(crate) database: Database,
    /// The number of the newest commit.
    pub(crate) commits: u64,
    pub(crate) salt: u64,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    journal: Watched,
    identity_file: Anchor,
    lock_file: Anchor,
    lock: Lock,
    looked: Instant,
    pub(crate) path: PathBuf,
}

impl Storage {
    /// Opens the folder `dir` for the node `identity`, creating what is missing.
    ///
    /// The lock comes first, and is on an open file, not a process: it holds off other processes and a second `Storage`
    /// in this one alike, and is gone with the process, however that ends. Until then nobody else can speak for this
    /// node from this folder: an old process that still acknowledged rounds would defeat the restart hold of the new one.
    ///
    /// Every file is read once and its checksums are verified.
    ///
    /// # Errors
    /// Each [`OpenError`] names the folder and says what to do. A folder with other content is left as it is.
    pub fn open(dir: &Path, identity: Identity) -> Result<Storage, OpenError> {
        let unusable = |source| OpenError::Unusable { path: dir.to_path_buf(), source };
        // The node may change its working folder later.
        let path = std::path::absolute(dir).map_err(unusable)?;
        create_folder(&path).map_err(unusable)?;
        let data = path.join(DATA_FOLDER);
        if !data.try_exists().map_err(unusable)?
            && let Some(found) = foreign_content(&path).map_err(unusable)?
        {
            return Err(OpenError::NotOurs { path, found });
        }

        let lock_path = path.join(LOCK_FILE);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path).map_err(unusable)?;
        let lock = match lock.try_lock() {
            Ok(()) => Lock(lock),
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        };
        let lock_file = Anchor::new(lock_path, &lock.0.metadata().map_err(unusable)?);

        let in_folder = |fault: Fault| fault.on_opening(&path);
        // Asked again under the lock: whoever held it may just have created the folder.
        if !data.try_exists().map_err(unusable)? {
            create_data(&path, &identity).map_err(in_folder)?;
        }
        let identity_path = data.join(IDENTITY_FILE);
        let owner = Owner::read(&identity_path).map_err(in_folder)?;
        owner.check(&path, identity)?;
        let identity_file = Anchor::new(identity_path.clone(), &fs::metadata(&identity_path).map_err(unusable)?);

        let database_path = data.join(DATABASE_FOLDER);
        let salt = owner.salt;
        let unused = data.join(UNUSED_FILE);
        let (database, keyspace, commits) = if unused.try_exists().map_err(unusable)? {
            let (database, keyspace) = create_database(&database_path, &unused).map_err(in_folder)?;
            (database, keyspace, 0)
        } else {
            sorted::check(&database_path).map_err(in_folder)?;
            let last = journal::check(&database_path, salt).map_err(in_folder)?;
            let (database, keyspace) = reading(|| open_database(&database_path)).map_err(in_folder)?;
            let commits = reading(|| newest_commit(&keyspace, salt)).map_err(in_folder)?;
            if last.is_some_and(|last| last != commits) {
                let detail = format!("the last commit in the journal is not commit {commits}, the last that was read");
                return Err(OpenError::Damaged { path, detail });
            }
            (database, keyspace, commits)
        };
        let journal = Watched::new(database_path).map_err(in_folder)?;
        let groups = BTreeMap::new();
        let looked = now();
        Ok(Storage { keyspace, database, commits, salt, groups, journal, identity_file, lock_file, lock, looked, path })
    }

    /// Whether the files written and locked are still those at their paths. A system goes on writing to a file that was
    /// removed, and it is gone when the process ends; a new process would lock a new file and know nothing of this one.
    ///
    /// Removal, which loses what is written, is noticed before the commit is acknowledged. A folder that was moved away
    /// still has everything, and looking for it at its path costs more: that is done now and then.
    pub(crate) fn check_in_place(&mut self) -> Result<(), Fault> {
        if journal::is_removed(&self.lock.0)? {
            return Err(Fault::Gone(self.lock_file.path.clone()));
        }
        self.journal.check()?;
        let now = now();
        if now.duration_since(self.looked) >= LOOK_EVERY {
            self.identity_file.check()?;
            self.lock_file.check()?;
            self.looked = now;
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "it only says how often to look at two files")]
fn now() -> Instant {
    Instant::now()
}

fn open_database(path: &Path) -> Result<(Database, Keyspace), Fault> {
    let database = Database::builder(path)
        .cache_size(CACHE_BYTES)
        .max_cached_files(Some(OPEN_FILES))
        .max_journaling_size(JOURNAL_BYTES)
        .worker_threads(1)
        .open()?;
    let keyspace = database.keyspace(KEYSPACE, || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(UNSORTED_BYTES)
            // They would find single keys faster. Ranges are read here.
            .filter_policy(FilterPolicy::disabled())
            .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)))
    })?;
    Ok((database, keyspace))
}

/// The number of the newest commit; 0 if there is none.
fn newest_commit(keyspace: &Keyspace, salt: u64) -> Result<u64, Fault> {
    let Some(stored) = keyspace.get(COMMIT)? else { return Ok(0) };
    match CommitRecord::decode(&stored) {
        Some(record) if record.salt == salt => Ok(record.number),
        _ => Err(Fault::Damaged("the number of the newest commit cannot be decoded".to_owned())),
    }
}

/// The locked file. Letting it go is said and not left to closing it: a process that was just started from this one may
/// still have it open too.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "cannot unlock the data folder; it is free once this process has ended");
        }
    }
}

/// A file that must stay where it is.
struct Anchor {
    path: PathBuf,
    identity: FileIdentity,
}

impl Anchor {
    fn new(path: PathBuf, metadata: &Metadata) -> Anchor {
        Anchor { path, identity: file_identity(metadata) }
    }

    fn check(&self) -> Result<(), Fault> {
        match fs::metadata(&self.path) {
            Ok(metadata) if file_identity(&metadata) == self.identity => Ok(()),
            Ok(_) => Err(Fault::Gone(self.path.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Fault::Gone(self.path.clone())),
            Err(error) => Err(Fault::Io(error)),
        }
    }
}

/// Device and inode.
#[cfg(unix)]
type FileIdentity = (u64, u64);

#[cfg(unix)]
fn file_identity(metadata: &Metadata) -> FileIdentity {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// Elsewhere an open file cannot be removed, or not so easily.
#[cfg(not(unix))]
type FileIdentity = ();

#[cfg(not(unix))]
fn file_identity(_metadata: &Metadata) -> FileIdentity {}

/// Creates a folder and those above it, each durably in the one that holds it.
fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().ok_or(io::ErrorKind::NotFound)?;
    create_folder(above)?;
    match fs::create_dir(path) {
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        done => done?,
    }
    sync_folder(above)
}

/// Makes the names in a folder durable.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere a folder cannot be opened, and names are durable with their files.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// The name of something in the folder that we did not put there.
fn foreign_content(path: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if ![LOCK_FILE, DATA_FOLDER, UNFINISHED_FOLDER, LOST_AND_FOUND].iter().any(|ours| name == *ours) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// Makes the data folder under another name and renames it once it says whose it is and all of it is durable: no crash
/// leaves one that is half made.
fn create_data(path: &Path, identity: &Identity) -> Result<(), Fault> {
    let unfinished = path.join(UNFINISHED_FOLDER);
    match fs::symlink_metadata(&unfinished) {
        Ok(left) if left.is_dir() => fs::remove_dir_all(&unfinished)?,
        Ok(_) => fs::remove_file(&unfinished)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    fs::create_dir(&unfinished)?;
    // Random, and the same for as long as the folder exists.
    let salt = RandomState::new().hash_one(&identity.cluster);
    let owner = Owner { cluster: identity.cluster.clone(), node: identity.node, salt };
    fs::write(unfinished.join(IDENTITY_FILE), owner.encode())?;
    File::create(unfinished.join(UNUSED_FILE))?;
    sync_everything(&unfinished)?;
    fs::rename(&unfinished, path.join(DATA_FOLDER))?;
    sync_folder(path)?;
    Ok(())
}

/// Makes fjall's folder, and lets the file `unused` go once all of it is durable. It stays open: a journal is allotted in
/// advance by whoever creates it, and one that is opened again grows with every commit, which costs the file system twice.
fn create_database(path: &Path, unused: &Path) -> Result<(Database, Keyspace), Fault> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let created = open_database(path)?;
    sync_everything(path)?;
    fs::remove_file(unused)?;
    sync_folder(unused.parent().unwrap_or(path))?;
    Ok(created)
}

fn sync_everything(folder: &Path) -> io::Result<()> {
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

/// What the identity file says. Format first and checksum last, whatever else a format has.
struct Owner {
    cluster: String,
    node: NodeId,
    salt: u64,
}

impl Owner {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = FORMAT.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.node.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(self.cluster.as_bytes());
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    fn read(path: &Path) -> Result<Owner, Fault> {
        let damaged = || Fault::Damaged(format!("the file {IDENTITY_FILE} is not what was written"));
        let bytes = fs::read(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Fault::Damaged(format!("the file {IDENTITY_FILE} is missing")),
            _ => error.into(),
        })?;
        let (rest, checksum) = bytes.split_last_chunk().ok_or_else(damaged)?;
        if u64::from_le_bytes(*checksum) != xxh3_64(rest) {
            return Err(damaged());
        }
        let (format, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        // It says how to read the rest.
        match u32::from_le_bytes(*format) {
            FORMAT => {}
            newer if newer > FORMAT => return Err(Fault::NewerFormat { stored: newer, known: FORMAT }),
            older => return Err(Fault::Damaged(format!("it has format {older}, which no release wrote"))),
        }
        let (node, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let (salt, cluster) = rest.split_first_chunk().ok_or_else(damaged)?;
        let cluster = String::from_utf8(cluster.to_vec()).map_err(|_| damaged())?;
        Ok(Owner { cluster, node: NodeId::from_le_bytes(*node), salt: u64::from_le_bytes(*salt) })
    }

    fn check(&self, path: &Path, asked: Identity) -> Result<(), OpenError> {
        let path = path.to_path_buf();
        if self.cluster != asked.cluster {
            return Err(OpenError::OtherCluster { path, stored: self.cluster.clone(), asked: asked.cluster });
        }
        if self.node != asked.node {
            return Err(OpenError::OtherNode { path, stored: self.node, asked: asked.node });
        }
        Ok(())
    }
}
