//! Dropping large maps on a thread of their own.

use super::map::{Map, Pieces};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;

/// Maps with at most this many keys are dropped by the caller.
const MAX_DROPPED_KEYS: usize = 4096;

/// A handle to the reclaiming thread of one keyspace. The thread starts with the first large map and ends with the last
/// handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Reclaimer {
    /// `None` inside if the system gave no thread; the caller drops the maps then.
    thread: Arc<OnceLock<Option<Sender<Pieces>>>>,
}

impl Reclaimer {
    /// Drops a map without taking time in proportion to its size.
    pub(super) fn drop_map(&self, map: Map) {
        if map.len() <= MAX_DROPPED_KEYS {
            return;
        }
        if let Some(pieces) = map.into_pieces()
            && let Some(thread) = self.thread.get_or_init(start)
        {
            // The thread ends after its handles; a failed send returns the pieces, which are dropped here.
            let _ = thread.send(pieces);
        }
    }
}

fn start() -> Option<Sender<Pieces>> {
    let (sender, receiver) = channel::<Pieces>();
    let reclaim = move || {
        for pieces in receiver {
            for piece in pieces {
                drop(piece);
                thread::yield_now();
            }
        }
    };
    thread::Builder::new().name("reclaim".to_owned()).spawn(reclaim).ok().map(|_| sender)
}
