//! What can go wrong, each with what to do about it.

use leasehold_core::NodeId;
use std::io;
use std::path::{Path, PathBuf};

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be created, read or written.
    #[error(
        "cannot use the data folder {path}: {source}; name a folder on a writable disk that this user may write to",
        path = path.display()
    )]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the folder, or another `Storage` of this one.
    #[error(
        "the data folder {path} is in use by another process; stop that one first, or give each node its own folder",
        path = path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder has other content.
    #[error(
        "the folder {path} is not empty and holds no node's data (it contains {found:?}); name an empty or new folder",
        path = path.display()
    )]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Something in it that is not ours.
        found: String,
    },
    /// The folder belongs to a node of another cluster.
    #[error(
        "the data folder {path} belongs to cluster {stored:?}, not {asked:?}; name this node's own folder or correct the \
         cluster name",
        path = path.display()
    )]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        stored: String,
        /// Who asked for it.
        asked: String,
    },
    /// The folder belongs to another node of the cluster.
    #[error(
        "the data folder {path} belongs to node {stored}, not node {asked}; name this node's own folder or correct the \
         node number",
        path = path.display()
    )]
    OtherNode {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        stored: NodeId,
        /// Who asked for it.
        asked: NodeId,
    },
    /// A newer release wrote the folder.
    #[error(
        "the data folder {path} has format {stored}, and this release reads up to {known}; start the newer release that \
         wrote it",
        path = path.display()
    )]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// Its format.
        stored: u32,
        /// The newest format that this release reads.
        known: u32,
    },
    /// The folder's content makes no sense.
    #[error(
        "the data folder {path} is damaged: {detail}; remove this node from the cluster and let it join again with a new \
         number and an empty folder",
        path = path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and where.
        detail: String,
    },
}

/// Why an open data folder could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The system refused.
    #[error(
        "cannot use the data folder {path}: {source}; free space on its disk or replace it, then start this node again",
        path = path.display()
    )]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder or a file in it went away under the process. What is written now would be lost with it.
    #[error(
        "{path} was removed or replaced while this node was using it; put it back as it was and start this node again",
        path = path.display()
    )]
    Gone {
        /// The file that is no longer there.
        path: PathBuf,
    },
    /// What is stored is not what an ordered writer leaves.
    #[error(
        "the data folder {path} is damaged: {detail}; remove this node from the cluster and let it join again with a new \
         number and an empty folder",
        path = path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and where.
        detail: String,
    },
    /// A batch that would damage the folder. Nothing of it was written.
    #[error("a batch was refused: {detail}; this is a fault of the program, please report it")]
    Refused {
        /// What is wrong with it.
        detail: String,
    },
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> io::Error {
        let kind = match &error {
            StorageError::Io { source, .. } => source.kind(),
            StorageError::Gone { .. } => io::ErrorKind::NotFound,
            StorageError::Damaged { .. } => io::ErrorKind::InvalidData,
            StorageError::Refused { .. } => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}

/// A failure before the folder's name is put to it.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    Gone(PathBuf),
    Damaged(String),
    Refused(String),
}

impl Fault {
    pub(crate) fn in_folder(self, path: &Path) -> StorageError {
        let path = path.to_path_buf();
        match self {
            Fault::Io(source) => StorageError::Io { path, source },
            Fault::Gone(path) => StorageError::Gone { path },
            Fault::Damaged(detail) => StorageError::Damaged { path, detail },
            Fault::Refused(detail) => StorageError::Refused { detail },
        }
    }

    pub(crate) fn on_opening(self, path: &Path) -> OpenError {
        let path = path.to_path_buf();
        match self {
            Fault::Io(source) => OpenError::Unusable { path, source },
            Fault::Gone(_) => OpenError::Unusable { path, source: io::ErrorKind::NotFound.into() },
            Fault::Damaged(detail) | Fault::Refused(detail) => OpenError::Damaged { path, detail },
        }
    }
}

/// Every error of redb, and of the system, by way of redb's common one.
impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Fault {
        match error.into() {
            // So it reports a file that is not its own.
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Fault::Damaged(error.to_string()),
            redb::Error::Io(error) => Fault::Io(error),
            error @ (redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::LockPoisoned(_)) => {
                Fault::Io(io::Error::other(error))
            }
            error @ redb::Error::ValueTooLarge(_) => Fault::Refused(error.to_string()),
            error => Fault::Damaged(error.to_string()),
        }
    }
}
