//! A node's data folder: the log, the hard state and the state machine's records of every group, in one `fjall`
//! database.
//!
//! [`Storage::open`] locks the folder and checks which node it belongs to. [`Storage::recover`] reads what a group
//! stored. After that the node writes through [`Disk`](leasehold_node::ports::Disk). A commit is one synced write to a
//! journal: a crash at any moment leaves all of it or none. A background thread sorts what was written into tables and
//! merges them; no guarantee of a commit depends on it.
//!
//! It caches no entries and serves no reads while the node runs: the node keeps what it recovered in memory. It makes
//! no decision about what to write, and it repairs nothing. It refuses a folder whose content no ordered writer could
//! have written: a node that forgot a vote or a promise must not take part.
//!
//! # The folder
//!
//! | file | content |
//! | --- | --- |
//! | `LOCK` | empty; locked while a process uses the folder |
//! | `data/identity` | the format, the cluster's name and the node's number |
//! | `data/unused` | empty; exists until fjall's folder is complete, so nothing was committed while it exists |
//! | `data/fjall/` | everything else; `*.jnl` are the journals |
//! | `data.new/` | an unfinished first start; the next start replaces it |
//!
//! # Damaged disks
//!
//! Checksums cover every byte, commits are numbered, and the content as a whole must be consistent. One kind of damage
//! cannot be distinguished from a crash: if the last commit in the journal becomes unreadable, it looks like a commit
//! that was never finished nor acknowledged. If any commit follows the unreadable one, the folder is refused.

mod commit;
mod error;
mod folder;
mod group;
mod journal;
mod recover;
mod sorted;
mod tables;

pub use error::{OpenError, StorageError};
pub use folder::{Identity, Storage};
