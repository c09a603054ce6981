//! Dropping large maps on a thread of their own.

use super::map::{ENTRY_BYTES, Map, Weigh};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;

/// Maps whose entries take at most this much memory are dropped by the caller.
const MAX_DROPPED_BYTES: u64 = 4096 * ENTRY_BYTES as u64;

/// What is left of a map. Each step drops a piece.
type Steps = Box<dyn Iterator<Item = ()> + Send>;

/// A handle to the reclaiming thread of one keyspace. The thread starts with the first large map and ends with the last
/// handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Reclaimer {
    /// `None` inside if the system gave no thread; the caller drops the maps then.
    thread: Arc<OnceLock<Option<Sender<Steps>>>>,
}

impl Reclaimer {
    /// Drops a map without taking time in proportion to its size.
    pub(super) fn drop_map<V: Weigh + Send + Sync + 'static>(&self, map: Map<V>) {
        if map.used_bytes() <= MAX_DROPPED_BYTES {
            return;
        }
        if let Some(pieces) = map.into_pieces()
            && let Some(thread) = self.thread.get_or_init(start)
        {
            // The thread ends after its handles; a failed send returns the pieces, which are dropped here.
            let _ = thread.send(Box::new(pieces.map(drop)));
        }
    }
}

impl Reclaimer {
    /// Drops a value that may be large on the reclaiming thread.
    pub(super) fn drop_later<T: Send + 'static>(&self, value: T) {
        if let Some(thread) = self.thread.get_or_init(start) {
            // A failed send returns the value, which is dropped here.
            let _ = thread.send(Box::new(std::iter::once(value).map(drop)));
        }
    }
}

fn start() -> Option<Sender<Steps>> {
    let (sender, receiver) = channel::<Steps>();
    let reclaim = move || {
        for steps in receiver {
            steps.for_each(|()| thread::yield_now());
        }
    };
    thread::Builder::new().name("reclaim".to_owned()).spawn(reclaim).ok().map(|_| sender)
}
