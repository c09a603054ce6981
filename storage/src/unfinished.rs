//! A folder whose content appears only once it is complete.

use crate::database::sync_folder;
use crate::error::OpenError;
use crate::folder::{DATA_FOLDER, Identity, Lock, Storage, create_folder, foreign_content};
use std::fs;
use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

/// In the folder until its content is complete. A node that finds only this does not start.
const RESTORE_FOLDER: &str = "restore.unfinished";

/// A folder that is being filled. No node starts on it before [`finish`](Self::finish), even if this process ends: a
/// node that starts on a part of its data would have lost the rest.
#[derive(Debug)]
pub struct UnfinishedStorage {
    storage: Storage,
    path: PathBuf,
    // Released last.
    _lock: Lock,
}

impl UnfinishedStorage {
    /// Creates the folder `dir` if it is missing, and begins to fill it for a node of a cluster with so many groups. It may
    /// have what an earlier attempt left.
    ///
    /// Everything is written inside `dir`, which may be a mount point, or in a folder that this user may not change.
    ///
    /// # Errors
    /// Each [`OpenError`] names the folder and says how to continue. A folder with other content is not changed.
    pub fn begin(dir: &Path, identity: Identity, groups: NonZeroU16) -> Result<UnfinishedStorage, OpenError> {
        let unusable = |source| OpenError::Unusable { path: dir.to_path_buf(), source };
        let path = std::path::absolute(dir).map_err(unusable)?;
        create_folder(&path).map_err(unusable)?;
        let check = || match path.join(DATA_FOLDER).try_exists().map_err(unusable)? {
            true => Err(OpenError::HasData { path: path.clone() }),
            false => match foreign_content(&path, &[RESTORE_FOLDER]).map_err(unusable)? {
                Some(found) => Err(OpenError::NotOurs { path: path.clone(), found }),
                None => Ok(()),
            },
        };
        check()?;
        let (lock, _) = Lock::take(&path)?;
        // Another process may have filled it meanwhile.
        check()?;
        let unfinished = path.join(RESTORE_FOLDER);
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(error)),
            _ => {}
        }
        let storage = Storage::open_with_groups(&unfinished, identity, Some(groups))?;
        Ok(UnfinishedStorage { storage, path, _lock: lock })
    }

    /// Returns the storage, to be filled.
    pub fn storage(&mut self) -> &mut Storage {
        &mut self.storage
    }

    /// Makes the content appear, durably.
    ///
    /// # Errors
    /// As the system reports them.
    pub fn finish(self) -> io::Result<()> {
        let UnfinishedStorage { storage, path, _lock } = self;
        drop(storage);
        let unfinished = path.join(RESTORE_FOLDER);
        fs::rename(unfinished.join(DATA_FOLDER), path.join(DATA_FOLDER))?;
        sync_folder(&path)?;
        // What is left has no content, and does not matter to a node that starts.
        let _ = fs::remove_dir_all(&unfinished);
        Ok(())
    }
}
