//! A node's data folder: the log, the hard state and the state machine's records of every group, in one `redb` file.
//!
//! [`Storage::open`] takes the folder for this process alone and checks whose it is; [`Storage::recover`] reads what a
//! group had; from then on the driver writes through [`Disk`](leasehold_driver::Disk). A commit is one synced
//! transaction: a crash at any moment leaves all of it or none.
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
//! | `leasehold.redb` | everything else; exists only once whose it is has been written |
//! | `leasehold.redb.new` | a first start that did not finish; replaced by the next |

mod commit;
mod error;
#[cfg(test)]
mod failing_disks;
mod folder;
mod recover;
mod tables;

pub use error::{OpenError, StorageError};
pub use folder::{Identity, Storage};
