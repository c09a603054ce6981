//! The folder itself: taking it, creating it, and whose it is.

use crate::error::{Fault, OpenError};
use crate::tables::{FOLDER, FORMAT, LOG, META, STATE};
use leasehold_core::NodeId;
use redb::{Database, ReadableDatabase};
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "LOCK";
const DATA_FILE: &str = "leasehold.redb";
const UNFINISHED_FILE: &str = "leasehold.redb.new";
/// What a new file system may contain.
const LOST_AND_FOUND: &str = "lost+found";

/// Small, because whoever recovers a group keeps its records and the end of its log in memory too.
const CACHE_BYTES: usize = 64 << 20;

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
    // Fields are dropped in order: the file is closed before the lock is let go.
    pub(crate) database: Database,
    data_file: Anchor,
    lock_file: Anchor,
    _lock: File,
    pub(crate) path: PathBuf,
}

impl Storage {
    /// Opens the folder `dir` for the node `identity`, creating what is missing.
    ///
    /// The lock comes first, and is on an open file, not a process: it holds off other processes and a second `Storage`
    /// in this one alike, and is gone with the process, however that ends. Until then nobody else can speak for this
    /// node from this folder: an old process that still acknowledged rounds would defeat the restart hold of the new one.
    ///
    /// The whole file is read once and its checksums are verified.
    ///
    /// # Errors
    /// Each [`OpenError`] names the folder and says what to do. A folder with other content is left as it is.
    pub fn open(dir: &Path, identity: Identity) -> Result<Storage, OpenError> {
        let unusable = |source| OpenError::Unusable { path: dir.to_path_buf(), source };
        // The node may change its working folder later.
        let path = std::path::absolute(dir).map_err(unusable)?;
        create_folder(&path).map_err(unusable)?;
        let data_path = path.join(DATA_FILE);
        if !data_path.try_exists().map_err(unusable)?
            && let Some(found) = foreign_content(&path).map_err(unusable)?
        {
            return Err(OpenError::NotOurs { path, found });
        }

        let lock_path = path.join(LOCK_FILE);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let lock_file = Anchor::new(lock_path, &lock.metadata().map_err(unusable)?);

        // Asked again under the lock: whoever held it may just have created the file.
        if !data_path.try_exists().map_err(unusable)? {
            create_data_file(&path, &identity).map_err(|fault| fault.on_opening(&path))?;
        }
        let database = match redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            // Without it a file that was changed from outside can panic. Everything is read on recovery anyway.
            .set_check_integrity_on_open(true)
            .open(&data_path)
        {
            Ok(database) => database,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(OpenError::InUse { path }),
            Err(error) => return Err(Fault::from(error).on_opening(&path)),
        };
        let data_file = Anchor::new(data_path.clone(), &fs::metadata(&data_path).map_err(unusable)?);
        check_identity(&database, &path, identity)?;
        Ok(Storage { database, data_file, lock_file, _lock: lock, path })
    }

    /// Whether the files written and locked are still those at their paths. A system goes on writing to a file that was
    /// removed, and it is gone when the process ends; a new process would lock a new file and know nothing of this one.
    pub(crate) fn check_in_place(&self) -> Result<(), Fault> {
        self.data_file.check()?;
        self.lock_file.check()
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
        if ![LOCK_FILE, DATA_FILE, UNFINISHED_FILE, LOST_AND_FOUND].iter().any(|ours| name == *ours) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// Writes the first file under another name and renames it once it says whose it is: no crash leaves one that does not.
fn create_data_file(path: &Path, identity: &Identity) -> Result<(), Fault> {
    let unfinished = path.join(UNFINISHED_FILE);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let database = redb::Builder::new().set_cache_size(CACHE_BYTES).create(&unfinished)?;
    let transaction = database.begin_write()?;
    {
        let mut folder = transaction.open_table(FOLDER)?;
        folder.insert("format", &FORMAT.to_le_bytes()[..])?;
        folder.insert("cluster", identity.cluster.as_bytes())?;
        folder.insert("node", &identity.node.to_le_bytes()[..])?;
        // So that a reader finds every table.
        transaction.open_table(LOG)?;
        transaction.open_table(STATE)?;
        transaction.open_table(META)?;
    }
    transaction.commit()?;
    database.close()?;
    fs::rename(&unfinished, path.join(DATA_FILE))?;
    sync_folder(path)?;
    Ok(())
}

fn check_identity(database: &Database, path: &Path, asked: Identity) -> Result<(), OpenError> {
    let stored = |name: &str| -> Result<Vec<u8>, OpenError> {
        let read = || -> Result<Vec<u8>, Fault> {
            let folder = database.begin_read()?.open_table(FOLDER)?;
            let value = folder.get(name)?;
            let value = value.ok_or_else(|| Fault::Damaged(format!("{name} (table folder) is missing")))?;
            Ok(value.value().to_vec())
        };
        read().map_err(|fault| fault.on_opening(path))
    };
    let damaged = |name: &str| OpenError::Damaged {
        path: path.to_path_buf(),
        detail: format!("{name} (table folder) cannot be decoded"),
    };
    // The format first: it says how to read the rest.
    let format = stored("format")?.try_into().map(u32::from_le_bytes).map_err(|_| damaged("format"))?;
    if format > FORMAT {
        return Err(OpenError::NewerFormat { path: path.to_path_buf(), stored: format, known: FORMAT });
    }
    if format < FORMAT {
        return Err(damaged("format"));
    }
    let cluster = String::from_utf8(stored("cluster")?).map_err(|_| damaged("cluster"))?;
    if cluster != asked.cluster {
        return Err(OpenError::OtherCluster { path: path.to_path_buf(), stored: cluster, asked: asked.cluster });
    }
    let node = stored("node")?.try_into().map(NodeId::from_le_bytes).map_err(|_| damaged("node"))?;
    if node != asked.node {
        return Err(OpenError::OtherNode { path: path.to_path_buf(), stored: node, asked: asked.node });
    }
    Ok(())
}

#[cfg(test)]
impl Storage {
    /// The same folder, its file on a disk of the test's making.
    pub(crate) fn on<B: redb::StorageBackend>(self, disk: impl FnOnce(&Path) -> B) -> Storage {
        let Storage { database, data_file, lock_file, _lock, path } = self;
        drop(database);
        let database = Database::builder().create_with_backend(disk(&data_file.path)).expect("a good file");
        Storage { database, data_file, lock_file, _lock, path }
    }
}
