//! The errors. Each text says how to continue.

use leasehold_core::NodeId;
use leasehold_node::identity::Numbers;
use std::io;
use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The reason why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder cannot be created, read or written.
    #[error(
        "cannot use the data folder {path}: {source}; give a folder on a writable disk that this user may write to",
        path = path.display()
    )]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process uses the folder, or another `Storage` in this process.
    #[error(
        "the data folder {path} is in use by another process; stop that process first, or give each node its own \
         folder",
        path = path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder contains other files.
    #[error(
        "the folder {path} is not empty and holds no node's data (it contains {found:?}); give an empty or new folder",
        path = path.display()
    )]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// The name of one of them.
        found: String,
    },
    /// The folder was to be filled, and has a node's data.
    #[error("the folder {path} has the data of a node; give an empty or new folder", path = path.display())]
    HasData {
        /// The folder.
        path: PathBuf,
    },
    /// The folder belongs to a node of another cluster.
    #[error(
        "the data folder {path} belongs to cluster {stored:?}, not {given:?}; give this node's own folder or correct \
         the cluster name",
        path = path.display()
    )]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// The cluster's name in the folder.
        stored: String,
        /// The name given.
        given: String,
    },
    /// The folder belongs to another node of the cluster.
    #[error(
        "the data folder {path} belongs to node {stored}, not node {given}; give this node's own folder or correct the \
         node number",
        path = path.display()
    )]
    OtherNode {
        /// The folder.
        path: PathBuf,
        /// The node's number in the folder.
        stored: NodeId,
        /// The number given.
        given: NodeId,
    },
    /// The folder was created for a cluster with another number of groups.
    #[error(
        "the data folder {path} is of a cluster whose number of groups is {stored}, not {given}; omit the number or \
         give {stored}: it is fixed when a cluster is founded, and a folder of an earlier release has 1; if the node \
         never belonged to a cluster, delete the folder",
        path = path.display()
    )]
    OtherGroups {
        /// The folder.
        path: PathBuf,
        /// The number in the folder.
        stored: NonZeroU16,
        /// The number given.
        given: NonZeroU16,
    },
    /// The folder was created for a cluster with other founders.
    #[error(
        "the data folder {path} is of a cluster founded by the nodes {stored}, not by {given}; give the numbers {stored} \
         (addresses may change), or start a new cluster on empty folders",
        path = path.display()
    )]
    OtherFounders {
        /// The folder.
        path: PathBuf,
        /// The founders in the folder.
        stored: Numbers,
        /// The founders given.
        given: Numbers,
    },
    /// A newer release wrote the folder.
    #[error(
        "the data folder {path} has format {stored}, and this release reads up to {known}; start the newer release \
         that wrote it",
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
    /// A build from before the first release wrote the folder.
    #[error(
        "the data folder {path} has format {stored} of an unreleased build, and this release reads only {known}; start \
         every node of the cluster with an empty folder",
        path = path.display()
    )]
    OlderFormat {
        /// The folder.
        path: PathBuf,
        /// Its format.
        stored: u32,
        /// The format that this release reads.
        known: u32,
    },
    /// The folder's content is inconsistent or unreadable.
    #[error(
        "the data folder {path} is damaged: {detail}; do not start this node on it: if a majority of the cluster has \
         its data, keep those nodes running, otherwise restore a backup into a new cluster",
        path = path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The damage and its location.
        detail: String,
    },
}

/// The reason why an open data folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The system reported an error.
    #[error(
        "cannot use the data folder {path}: {source}; free space on its disk or replace it, then start this node again",
        path = path.display()
    )]
    Io {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The folder or a file in it was removed or replaced while in use. Further writes would be lost with it.
    #[error(
        "{path} was removed or replaced while this node was using it; put it back as it was and start this node again",
        path = path.display()
    )]
    Gone {
        /// The missing file.
        path: PathBuf,
    },
    /// No ordered writer could have written what is stored.
    #[error(
        "the data folder {path} is damaged: {detail}; do not start this node on it: if a majority of the cluster has \
         its data, keep those nodes running, otherwise restore a backup into a new cluster",
        path = path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The damage and its location.
        detail: String,
    },
    /// A batch would have damaged the folder. None of it was written.
    #[error(
        "a batch was refused: {detail}; this is a bug in Leasehold, or in the program that embeds it; please report it"
    )]
    Refused {
        /// The fault in it.
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

/// A failure without the folder's path.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    Gone(PathBuf),
    Damaged(String),
    NewerFormat { stored: u32, known: u32 },
    OlderFormat { stored: u32, known: u32 },
    Refused(String),
}

impl Fault {
    pub(crate) fn in_folder(self, path: &Path) -> StorageError {
        let path = path.to_path_buf();
        match self {
            Fault::Io(source) => StorageError::Io { path, source },
            Fault::Gone(path) => StorageError::Gone { path },
            Fault::Damaged(detail) => StorageError::Damaged { path, detail },
            Fault::NewerFormat { stored, .. } | Fault::OlderFormat { stored, .. } => {
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
            Fault::OlderFormat { stored, known } => OpenError::OlderFormat { path, stored, known },
            Fault::Damaged(detail) | Fault::Refused(detail) => OpenError::Damaged { path, detail },
        }
    }
}

/// Runs code that reads fjall's files, and turns a panic into a fault. fjall panics if expected content is missing.
/// Earlier checks exclude accidental damage, but not files that were changed together with their checksums.
pub(crate) fn reading<T>(read: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // Unwind safe: on a fault the caller drops whatever was being read.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref().map(String::as_str));
        Err(Fault::Damaged(message.unwrap_or("it cannot be read").replace('\n', " ")))
    })
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.kind() {
            // A file that ends too early or has content that this crate never writes.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Fault::Damaged(error.to_string()),
            _ => Fault::Io(error),
        }
    }
}

impl From<fjall::Error> for Fault {
    fn from(error: fjall::Error) -> Fault {
        match error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => match error.kind() {
                // fjall lists its files in other files, so a missing or unexpected one is damage.
                io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists => Fault::Damaged(error.to_string()),
                _ => error.into(),
            },
            fjall::Error::Poisoned => Fault::Io(io::Error::other("an earlier write failed")),
            fjall::Error::Locked => Fault::Io(io::ErrorKind::ResourceBusy.into()),
            error => Fault::Damaged(format!("{error:?}")),
        }
    }
}
