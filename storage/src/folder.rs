//! The folder: locking, creating and opening it, and the identity of its node.

use crate::database::{self, sync_everything, sync_folder};
use crate::error::{Fault, OpenError, reading};
use crate::group::{self, Group};
use crate::journal::{JournalWatch, is_removed};
use crate::newest::{Newest, NewestFile};
use crate::registry::{self, RegistryFile};
use crate::tables::{FORMAT, SEVERAL_GROUPS_FORMAT};
use fjall::{Database, Keyspace};
use leasehold_core::NodeId;
use leasehold_node::identity::{Numbers, Registry};
use leasehold_node::ports::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

const LOCK_FILE: &str = "LOCK";
pub(crate) const DATA_FOLDER: &str = "data";
const UNFINISHED_FOLDER: &str = "data.new";
/// A new file system may contain this folder.
const LOST_AND_FOUND: &str = "lost+found";
/// In the data folder: the node's identity, the record of the newest journal and commit, and fjall's folder.
const IDENTITY_FILE: &str = "identity";
const NEWEST_FILE: &str = "newest";
const DATABASE_FOLDER: &str = "fjall";
/// In the data folder until fjall's folder is complete. While it exists, nothing was committed.
const UNUSED_FILE: &str = "unused";

/// The interval between checks that the folder was not moved away.
const MOVED_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The node that a folder belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The node's number in the cluster.
    pub node: NodeId,
    /// The nodes that found the cluster; none if this node joins one. They matter until the cluster is founded.
    pub founders: BTreeSet<NodeId>,
}

/// An open data folder, locked for this process until it is dropped.
pub struct Storage {
    // Fields are dropped in order: the files are closed before the lock is released.
    pub(crate) keyspace: Keyspace,
    pub(crate) database: Database,
    pub(crate) salt: u64,
    /// The groups that were written to, and the removed ones of which something is left, perhaps.
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// The groups that were removed, to which nothing must be written.
    pub(crate) removed: BTreeSet<GroupId>,
    pub(crate) removal_ended: GroupId,
    pub(crate) newest_file: NewestFile,
    journal: JournalWatch,
    group_count: NonZeroU16,
    registry: Registry,
    registry_file: RegistryFile,
    identity_file: WatchedFile,
    lock_file: WatchedFile,
    lock: Lock,
    checked_at: Instant,
    pub(crate) path: PathBuf,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("path", &self.path)
            .field("newest", &self.newest_file.newest())
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// Opens the folder `dir` for the node `identity`, creates what is missing, and counts this start.
    ///
    /// First it takes a lock. The lock belongs to an open file: it excludes other processes and a second `Storage` in
    /// this one, and the system releases it when the process ends, however it ends. Meanwhile no other process can act
    /// as this node from this folder. Otherwise an old process that still acknowledges rounds would defeat the restart
    /// hold of the new one.
    ///
    /// It reads every file once and verifies its checksums.
    ///
    /// # Errors
    /// Each [`OpenError`] names the folder and says how to continue. A folder with other content is not changed.
    pub fn open(dir: &Path, identity: Identity) -> Result<Storage, OpenError> {
        Storage::open_with_groups(dir, identity, None)
    }

    /// Opens the folder as [`open`](Self::open) does, for a node of a cluster with so many groups. Without a number, it is
    /// the recorded one, and 1 for a new folder.
    ///
    /// # Errors
    /// As for [`open`](Self::open). The number of groups is fixed when a cluster is founded.
    pub fn open_with_groups(dir: &Path, identity: Identity, groups: Option<NonZeroU16>) -> Result<Storage, OpenError> {
        let unusable = |source| OpenError::Unusable { path: dir.to_path_buf(), source };
        // The node may change its working folder later.
        let path = std::path::absolute(dir).map_err(unusable)?;
        create_folder(&path).map_err(unusable)?;
        let data = path.join(DATA_FOLDER);
        if !data.try_exists().map_err(unusable)?
            && let Some(found) = foreign_content(&path, &[]).map_err(unusable)?
        {
            return Err(OpenError::NotOurs { path, found });
        }

        let (lock, lock_path) = Lock::take(&path)?;
        let lock_file = WatchedFile::new(lock_path, &lock.0.metadata().map_err(unusable)?);

        let in_folder = |fault: Fault| fault.on_opening(&path);
        // Checked again under the lock: the previous owner of the lock may have created it meanwhile.
        if !data.try_exists().map_err(unusable)? {
            create_data(&path, &identity, groups.unwrap_or(NonZeroU16::MIN)).map_err(in_folder)?;
        }
        let identity_path = data.join(IDENTITY_FILE);
        let owner = Owner::read(&identity_path).map_err(in_folder)?;
        owner.check(&path, &identity, groups)?;
        let mut registry = registry::read(&data, owner.node, owner.incarnation).map_err(in_folder)?;
        check_founders(&path, &registry, &identity.founders)?;
        let identity_file = WatchedFile::new(identity_path.clone(), &fs::metadata(&identity_path).map_err(unusable)?);

        let database_path = data.join(DATABASE_FOLDER);
        let salt = owner.incarnation;
        let unused = data.join(UNUSED_FILE);
        let (mut newest_file, newest) = NewestFile::open(&data.join(NEWEST_FILE), salt).map_err(unusable)?;
        if newest.is_none() {
            sync_folder(&data).map_err(unusable)?;
        }
        let (database, keyspace) = if unused.try_exists().map_err(unusable)? {
            database::create(&database_path, &unused, &mut newest_file).map_err(in_folder)?
        } else {
            database::open_again(&database_path, salt, &mut newest_file, newest).map_err(in_folder)?
        };
        let number = newest_file.newest().journal.unwrap_or_default();
        let journal = JournalWatch::new(database_path, number).map_err(in_folder)?;
        let removed = reading(|| group::removed_groups(&keyspace)).map_err(in_folder)?;
        let groups = removed.iter().map(|id| (*id, Group::removed(*id))).collect();
        // Last, so that a start that fails is not counted, and before anything can be sent.
        registry.begin_run(drawn(&path));
        registry::write(&data, &registry).map_err(unusable)?;
        let registry_file = RegistryFile::new(data);
        let checked_at = now();
        Ok(Storage {
            keyspace,
            database,
            salt,
            groups,
            removed,
            removal_ended: GroupId::MAX,
            newest_file,
            journal,
            group_count: owner.groups,
            registry,
            registry_file,
            identity_file,
            lock_file,
            lock,
            checked_at,
            path,
        })
    }

    /// Returns the identity of the folder, as it was when this start was counted.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the number of groups of the cluster, which are numbered from 0.
    pub fn group_count(&self) -> NonZeroU16 {
        self.group_count
    }

    /// Returns the file that keeps the identity from then on.
    pub fn registry_file(&self) -> RegistryFile {
        self.registry_file.clone()
    }

    /// Checks that the open files are still those at their paths. A system continues to write to a file that was
    /// removed, and deletes it when the process ends. A second process could then lock a new file while this one still
    /// runs.
    ///
    /// A removal loses writes, so it is detected before a commit is acknowledged. A moved folder still has its content,
    /// and checking its path costs more, so that check runs at intervals.
    pub(crate) fn check_in_place(&mut self) -> Result<(), Fault> {
        if is_removed(&self.lock.0)? {
            return Err(Fault::Gone(self.lock_file.path.clone()));
        }
        let journal = self.journal.check()?;
        if self.newest_file.newest().journal != Some(journal) {
            sync_folder(self.journal.folder())?;
            self.newest_file.store(Newest { journal: Some(journal), ..self.newest_file.newest() })?;
        }
        let now = now();
        if now.duration_since(self.checked_at) >= MOVED_CHECK_INTERVAL {
            self.identity_file.check()?;
            self.lock_file.check()?;
            self.checked_at = now;
        }
        Ok(())
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // Before the lock is released.
        self.registry_file.close();
    }
}

#[expect(clippy::disallowed_methods, reason = "it only paces a check of two files")]
fn now() -> Instant {
    Instant::now()
}

/// The locked file. It is unlocked explicitly: a child process that was just started may still have the file open, so
/// closing it here would not release the lock.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Locks a folder that exists, and returns the path of the locked file too.
    pub(crate) fn take(folder: &Path) -> Result<(Lock, PathBuf), OpenError> {
        let unusable = |source| OpenError::Unusable { path: folder.to_path_buf(), source };
        let path = folder.join(LOCK_FILE);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok((Lock(lock), path)),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: folder.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "cannot unlock the data folder; it is unlocked when this process ends");
        }
    }
}

/// A file that must stay at its path.
struct WatchedFile {
    path: PathBuf,
    identity: FileIdentity,
}

impl WatchedFile {
    fn new(path: PathBuf, metadata: &Metadata) -> WatchedFile {
        WatchedFile { path, identity: file_identity(metadata) }
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

/// Device and inode number.
#[cfg(unix)]
type FileIdentity = (u64, u64);

#[cfg(unix)]
fn file_identity(metadata: &Metadata) -> FileIdentity {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// Other systems do not remove an open file.
#[cfg(not(unix))]
type FileIdentity = ();

#[cfg(not(unix))]
fn file_identity(_metadata: &Metadata) -> FileIdentity {}

/// Creates a folder that other users of the machine cannot read, and its missing parents, each durably.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    create_missing(path, &private())
}

/// Returns what creates folders that other users of the machine cannot read.
fn private() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no modes"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn create_missing(path: &Path, builder: &DirBuilder) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().ok_or(io::ErrorKind::NotFound)?;
    // Others may keep something in the parents.
    create_missing(above, &DirBuilder::new())?;
    match builder.create(path) {
        // Another process created it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        done => done?,
    }
    sync_folder(above)
}

/// Returns the name of a file in the folder that this crate did not create, and that is not in `known`.
pub(crate) fn foreign_content(path: &Path, known: &[&str]) -> io::Result<Option<String>> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let ours = [LOCK_FILE, DATA_FOLDER, UNFINISHED_FOLDER, LOST_AND_FOUND];
        if !ours.iter().chain(known).any(|ours| name == *ours) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// Creates the data folder under another name, and renames it once its identity file and all names are durable. So no
/// crash leaves an incomplete data folder.
fn create_data(path: &Path, identity: &Identity, groups: NonZeroU16) -> Result<(), Fault> {
    let unfinished = path.join(UNFINISHED_FOLDER);
    match fs::symlink_metadata(&unfinished) {
        Ok(left) if left.is_dir() => fs::remove_dir_all(&unfinished)?,
        Ok(_) => fs::remove_file(&unfinished)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    private().create(&unfinished)?;
    // Random, constant for the life of the folder, and not 0.
    let incarnation = drawn(path).max(1);
    let owner = Owner { cluster: identity.cluster.clone(), node: identity.node, incarnation, groups };
    fs::write(unfinished.join(IDENTITY_FILE), owner.encode())?;
    registry::write(&unfinished, &Registry::new(identity.node, incarnation, identity.founders.iter().copied()))?;
    File::create(unfinished.join(UNUSED_FILE))?;
    sync_everything(&unfinished)?;
    fs::rename(&unfinished, path.join(DATA_FOLDER))?;
    sync_folder(path)?;
    Ok(())
}

/// The content of the identity file. Every format has its version first and the checksum last.
struct Owner {
    cluster: String,
    node: NodeId,
    incarnation: u64,
    groups: NonZeroU16,
}

impl Owner {
    fn encode(&self) -> Vec<u8> {
        let has_several = self.groups > NonZeroU16::MIN;
        let format = if has_several { SEVERAL_GROUPS_FORMAT } else { FORMAT };
        let mut bytes = format.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.node.to_le_bytes());
        bytes.extend_from_slice(&self.incarnation.to_le_bytes());
        if has_several {
            bytes.extend_from_slice(&self.groups.get().to_le_bytes());
        }
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
        // The format determines how to read the rest.
        let has_several = match u32::from_le_bytes(*format) {
            FORMAT => false,
            SEVERAL_GROUPS_FORMAT => true,
            newer if newer > FORMAT => {
                return Err(Fault::NewerFormat { stored: newer, known: SEVERAL_GROUPS_FORMAT });
            }
            older => return Err(Fault::OlderFormat { stored: older, known: FORMAT }),
        };
        let (node, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let (incarnation, mut rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let mut groups = NonZeroU16::MIN;
        if has_several {
            let (number, cluster) = rest.split_first_chunk().ok_or_else(damaged)?;
            groups = NonZeroU16::new(u16::from_le_bytes(*number)).ok_or_else(damaged)?;
            rest = cluster;
        }
        let cluster = String::from_utf8(rest.to_vec()).map_err(|_| damaged())?;
        let (node, incarnation) = (NodeId::from_le_bytes(*node), u64::from_le_bytes(*incarnation));
        Ok(Owner { cluster, node, incarnation, groups })
    }

    fn check(&self, path: &Path, given: &Identity, groups: Option<NonZeroU16>) -> Result<(), OpenError> {
        let path = path.to_path_buf();
        if self.cluster != given.cluster {
            return Err(OpenError::OtherCluster { path, stored: self.cluster.clone(), given: given.cluster.clone() });
        }
        if self.node != given.node {
            return Err(OpenError::OtherNode { path, stored: self.node, given: given.node });
        }
        if let Some(given) = groups.filter(|given| *given != self.groups) {
            return Err(OpenError::OtherGroups { path, stored: self.groups, given });
        }
        Ok(())
    }
}

/// Returns a random number: the standard library keys each process's hashers from the system's randomness.
fn drawn(path: &Path) -> u64 {
    RandomState::new().hash_one(path)
}

fn check_founders(path: &Path, registry: &Registry, given: &BTreeSet<NodeId>) -> Result<(), OpenError> {
    // After the founding, the members are those of the replicated configuration.
    if registry.is_founded() || registry.founders.keys().eq(given) {
        return Ok(());
    }
    let (stored, given) = (Numbers::new(registry.founders.keys().copied()), Numbers::new(given.iter().copied()));
    Err(OpenError::OtherFounders { path: path.to_path_buf(), stored, given })
}
