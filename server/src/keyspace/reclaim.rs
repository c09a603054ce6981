//! Dropping large maps on a thread of their own.

use super::map::{ENTRY_BYTES, Map, Weigh};
use parking_lot::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;

/// Maps whose entries take at most this much memory are dropped by the caller.
const MAX_DROPPED_BYTES: u64 = 4096 * ENTRY_BYTES as u64;

/// What is left of a map. Each step drops a piece.
type Steps = Box<dyn Iterator<Item = ()> + Send>;

/// The reclaiming thread of this process, while there is one. With many groups, a thread for each keyspace
/// would take more memory than everything else that an idle group has.
static THREAD: Mutex<Weak<Sender<Steps>>> = Mutex::new(Weak::new());

/// A handle to the reclaiming thread, which all keyspaces of this process share. The thread starts with the first large
/// map and ends with the last handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Reclaimer {
    /// `None` inside if the system gave no thread; the caller drops the maps then.
    thread: Arc<OnceLock<Option<Arc<Sender<Steps>>>>>,
}

impl Reclaimer {
    /// Drops a map without taking time in proportion to its size.
    pub(super) fn drop_map<V: Weigh + Send + Sync + 'static>(&self, map: Map<V>) {
        if map.used_bytes() <= MAX_DROPPED_BYTES {
            return;
        }
        if let Some(pieces) = map.into_pieces()
            && let Some(thread) = self.thread.get_or_init(thread)
        {
            // The thread ends after its handles; a failed send returns the pieces, which are dropped here.
            let _ = thread.send(Box::new(pieces.map(drop)));
        }
    }
}

impl Reclaimer {
    /// Drops a value that may be large on the reclaiming thread.
    pub(super) fn drop_later<T: Send + 'static>(&self, value: T) {
        if let Some(thread) = self.thread.get_or_init(thread) {
            // A failed send returns the value, which is dropped here.
            let _ = thread.send(Box::new(std::iter::once(value).map(drop)));
        }
    }
}

/// Returns the reclaiming thread. Starts it if it does not run.
fn thread() -> Option<Arc<Sender<Steps>>> {
    let mut running = THREAD.lock();
    if let Some(thread) = running.upgrade() {
        return Some(thread);
    }
    let (sender, receiver) = channel::<Steps>();
    let reclaim = move || {
        for steps in receiver {
            steps.for_each(|()| thread::yield_now());
        }
    };
    thread::Builder::new().name("reclaim".to_owned()).spawn(reclaim).ok()?;
    let thread = Arc::new(sender);
    *running = Arc::downgrade(&thread);
    Some(thread)
}

#[cfg(test)]
mod tests {
    use super::Reclaimer;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    /// Reports the name of the thread that drops it.
    struct Reports(Sender<Option<String>>);

    impl Drop for Reports {
        fn drop(&mut self) {
            let _ = self.0.send(std::thread::current().name().map(str::to_owned));
        }
    }

    #[test]
    fn all_keyspaces_share_one_thread() {
        let (sender, dropped) = channel();
        let (one, other) = (Reclaimer::default(), Reclaimer::default());
        for reclaimer in [&one, &other] {
            reclaimer.drop_later(Reports(sender.clone()));
            assert_eq!(dropped.recv_timeout(Duration::from_secs(60)), Ok(Some("reclaim".to_owned())));
        }
        let thread = |of: &Reclaimer| of.thread.get().cloned().flatten().expect("it runs");
        assert!(Arc::ptr_eq(&thread(&one), &thread(&other)));
    }
}
