//! What can go wrong, each with what to do about it.

use leasehold_core::NodeId;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    NewerFormat { stored: u32, known: u32 },
    Refused(String),
}

impl Fault {
    pub(crate) fn in_folder(self, path: &Path) -> StorageError {
        let path = path.to_path_buf();
        match self {
            Fault::Io(source) => StorageError::Io { path, source },
            Fault::Gone(path) => StorageError::Gone { path },
            Fault::Damaged(detail) => StorageError::Damaged { path, detail },
            Fault::NewerFormat { stored, .. } => {
                StorageError::Damaged { path, detail: format!("its format became {stored} while it was in use") }
            }
            Fault::Refused(detail) => StorageError::Refused { detail },
        }
    }

    pub(crate) fn on_opening(self, path: &Path) -> OpenError {
        let path = path.to_path_buf();
        match self {
            Fault::Io(source) => OpenError::Unusable { path, source },
            Fault::Gone(_) => OpenError::Unusable { path, source: io::ErrorKind::NotFound.into() },
            Fault::NewerFormat { stored, known } => OpenError::NewerFormat { path, stored, known },
            Fault::Damaged(detail) | Fault::Refused(detail) => OpenError::Damaged { path, detail },
        }
    }
}

/// Runs what reads fjall's files. It panics where it misses what should be in them; what accident may do to them has been
/// ruled out before, but not what somebody did with a checksum at hand.
pub(crate) fn reading<T>(read: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // Whoever gets the fault drops what was being read: nothing half changed is used.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref().map(String::as_str));
        Err(Fault::Damaged(message.unwrap_or("it cannot be read").replace('\n', " ")))
    })
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.kind() {
            // A file that ends too soon, or that says what no file of ours says.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Fault::Damaged(error.to_string()),
            _ => Fault::Io(error),
        }
    }
}

impl From<fjall::Error> for Fault {
    fn from(error: fjall::Error) -> Fault {
        match error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => match error.kind() {
                // It names its files in other files.
                io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists => Fault::Damaged(error.to_string()),
                _ => error.into(),
            },
            fjall::Error::Poisoned => Fault::Io(io::Error::other("an earlier write to it failed")),
            fjall::Error::Locked => Fault::Io(io::ErrorKind::ResourceBusy.into()),
            error => Fault::Damaged(format!("{error:?}")),
        }
    }
}
