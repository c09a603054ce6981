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
//! | `data/identity` | the format, the cluster's name, the node's number and the folder's incarnation |
//! | `data/registry` | the number of starts, the cluster's id and founders, and the newest runs of peers |
//! | `data/newest` | the numbers of the newest journal and of the newest commit; see below |
//! | `data/unused` | empty; exists until fjall's folder is complete, so nothing was committed while it exists |
//! | `data/fjall/` | everything else; `*.jnl` are the journals |
//! | `data.new/` | an unfinished first start; the next start replaces it |
//!
//! # Damaged disks
//!
//! Checksums cover every byte, commits are numbered, and the content as a whole must be consistent. If an unreadable
//! commit is followed by a readable one, or if commits in the middle are missing, the folder is refused.
//!
//! If only the end is missing, what is left is the state after an earlier commit. The folder is opened, with a warning,
//! and [`Recovered::log_may_be_cut`](leasehold_node::ports::Recovered) is true until a batch clears it. Such a loss is
//! recognized in these ways:
//!
//! * A journal that is written to always has its full length, so a shorter one was cut. To this end every open starts a
//!   new journal.
//! * `data/newest` names the newest journal, durably, before a commit in that journal is acknowledged.
//! * `data/newest` also has the number of the newest acknowledged commit. It is not synced with each commit, so after a
//!   power loss it proves less: damage to the last commit then looks like a commit that was never finished nor
//!   acknowledged.
//!
//! An older copy of the whole folder is not recognized here: the node's peers recognize it by `data/registry`.
//!
//! # Failed syncs
//!
//! After a failed sync no commit succeeds until the folder is opened again. The system may then show content that it
//! will never write to the disk. So an open does not trust the journals: it writes everything in them to new tables,
//! syncs those, and removes the journals, before it returns.

mod commit;
mod database;
mod error;
mod folder;
mod group;
mod journal;
mod newest;
mod parse;
mod recover;
mod registry;
mod sorted;
mod tables;
mod unfinished;

pub use error::{OpenError, StorageError};
pub use folder::{Identity, Storage};
pub use registry::RegistryFile;
pub use unfinished::UnfinishedStorage;
