//! A node's data folder: the log, the hard state and the state machine's records of every group, in one `fjall` database.
//!
//! [`Storage::open`] takes the folder for this process alone and checks whose it is; [`Storage::recover`] reads what a
//! group had; from then on the driver writes through [`Disk`](leasehold_node::ports::Disk). A commit is one synced write to a
//! journal: a crash at any moment leaves all of it or none. A thread in the background sorts what has been written into
//! tables, and merges these; it has nothing to do with what a commit promises.
//!
//! What it does not do: it caches no entries and serves no reads while running (whoever recovered has them in memory),
//! it decides nothing about what to write, and it does not repair. A folder that does not hold what an ordered writer
//! would have left is refused, for a node that forgot a vote or a promise must not take part.
//!
//! # The folder
//!
//! | file | what |
//! | --- | --- |
//! | `LOCK` | locked while a process uses the folder; empty |
//! | `data/identity` | the format, and whose folder it is |
//! | `data/unused` | until fjall's folder is whole; nothing was committed while it is there |
//! | `data/fjall/` | everything else; `*.jnl` are the journals |
//! | `data.new/` | a first start that did not finish; replaced by the next |
//!
//! # What a damaged disk can do
//!
//! Every byte is under a checksum, commits are numbered, and what is read must make sense as a whole. One thing cannot be
//! told from a crash: if the journal's end goes bad, so that the last commit in it can no longer be read, that commit looks
//! like one that was never finished and acknowledged. If there is any commit after it, the folder is refused.

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
