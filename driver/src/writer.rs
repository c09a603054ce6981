//! The thread that owns the disk: whatever has queued up while it synced goes into the next transaction.

use crate::disk::{Batch, Disk};
use async_channel::{Receiver, Sender};
use leasehold_core::Index;
use std::io;

/// The most batches in one transaction; it bounds how long the first of them waits.
const BATCHES: usize = 256;

/// A batch, and what to report once it is durable.
pub(crate) struct Write {
    pub(crate) batch: Batch,
    /// The replica's number for it; 0 if nothing waits for it.
    pub(crate) number: u64,
}

/// What has become durable.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) number: u64,
    /// The newest applied position among it.
    pub(crate) applied: Option<Index>,
}

/// Writes until `writes` is closed and empty, or until the first error; then closes `written`.
pub(crate) async fn write_all<D: Disk>(mut disk: D, writes: Receiver<Write>, written: Sender<io::Result<Written>>) {
    while let Ok(first) = writes.recv().await {
        let mut number = first.number;
        let mut batches = vec![first.batch];
        while batches.len() < BATCHES
            && let Ok(write) = writes.try_recv()
        {
            number = number.max(write.number);
            batches.push(write.batch);
        }
        let applied = batches.iter().rev().find_map(|batch| batch.applied.as_ref()).map(|applied| applied.index);
        let outcome = disk.commit(&batches).map(|()| Written { number, applied });
        let failed = outcome.is_err();
        if written.send(outcome).await.is_err() || failed {
            break;
        }
    }
}
