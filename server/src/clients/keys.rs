//! `KEYS` and the searches for keys of a slot: executed on one background thread for the whole node, so that they delay
//! neither the node nor other clients.

use crate::command::SlotSearch;
use crate::glob::Pattern;
use crate::keyspace::View;
use crate::resp::{ReplyBuffer, Version};
use crate::slots::slot_of;
use async_channel::{Receiver, Sender};
use bytes::{Bytes, BytesMut};
use futures::channel::oneshot;
use leasehold_runtime::{Runtime, ThreadPolicy};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The most of these commands of a node that wait, run, or have a reply that its client has not taken yet.
const MAX_PENDING: usize = 32;
/// The bytes of replies that clients have not taken yet, beyond which no further command is executed.
const MAX_PENDING_BYTES: usize = 256 << 20;

/// The keys to find.
#[derive(Debug)]
pub(super) enum Wanted {
    /// Those that match a pattern.
    Matching(Bytes),
    /// Those in a slot, or their number.
    InSlot(SlotSearch),
}

/// The thread, which starts with the first of these commands.
#[derive(Debug, Default)]
pub(super) struct KeysThread {
    /// `None` inside if the system gave no thread.
    jobs: OnceLock<Option<Sender<Job>>>,
    pending: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Job {
    views: Vec<View>,
    wanted: Wanted,
    version: Version,
    reply: oneshot::Sender<Found>,
    pending: Pending,
    bytes: Arc<AtomicUsize>,
}

/// What was found. It counts as pending until it is dropped.
#[derive(Debug)]
pub(super) struct Found {
    /// The number of keys.
    pub(super) count: usize,
    /// The keys, encoded as so many elements of an array; `None` if only their number is wanted.
    pub(super) encoded: Option<BytesMut>,
    _pending: Pending,
    bytes: Arc<AtomicUsize>,
}

impl Drop for Found {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.encoded.as_ref().map_or(0, BytesMut::len), Ordering::Relaxed);
    }
}

/// A place among the pending commands.
#[derive(Debug)]
struct Pending(Arc<AtomicUsize>);

impl Pending {
    fn reserve(pending: &Arc<AtomicUsize>) -> Option<Pending> {
        let guard = Pending(pending.clone());
        (pending.fetch_add(1, Ordering::Relaxed) < MAX_PENDING).then_some(guard)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl KeysThread {
    /// Finds keys in these states, each at some moment between this call and its end.
    ///
    /// # Errors
    /// The reply to the client if too many of these commands are pending.
    pub(super) async fn find<R: Runtime>(
        &self,
        runtime: &R,
        views: Vec<View>,
        wanted: Wanted,
        version: Version,
    ) -> Result<Found, String> {
        let pending = Pending::reserve(&self.pending).ok_or_else(busy)?;
        let jobs = self.jobs.get_or_init(|| start(runtime)).as_ref().ok_or_else(busy)?;
        let (reply, found) = oneshot::channel();
        let bytes = self.bytes.clone();
        jobs.try_send(Job { views, wanted, version, reply, pending, bytes }).map_err(|_| busy())?;
        found.await.map_err(|_| busy())
    }
}

fn busy() -> String {
    "BUSY too many commands such as KEYS are pending on this node; nothing was done; try again later".to_owned()
}

fn start<R: Runtime>(runtime: &R) -> Option<Sender<Job>> {
    let (sender, jobs) = async_channel::bounded(MAX_PENDING);
    match runtime.spawn_thread("keys", ThreadPolicy::Batch, work(jobs)) {
        Ok(()) => Some(sender),
        Err(error) => {
            tracing::error!("KEYS is not available: cannot start its thread: {error}; raise the limit of threads");
            None
        }
    }
}

async fn work(jobs: Receiver<Job>) {
    while let Ok(job) = jobs.recv().await {
        // A session that is gone needs no reply, and one that gets none replies that the node is busy.
        if !job.reply.is_canceled() && job.bytes.load(Ordering::Relaxed) < MAX_PENDING_BYTES {
            job.run();
        }
    }
}

impl Job {
    fn run(self) {
        let Job { views, wanted, version, reply, pending, bytes } = self;
        let (mut encoded, mut count) = (ReplyBuffer::default(), 0);
        encoded.set_version(version);
        let mut add = |key: &Bytes| {
            encoded.bulk(key);
            count += 1;
        };
        let is_counted = matches!(wanted, Wanted::InSlot(SlotSearch { most: None, .. }));
        let mut slot_count = 0;
        for view in views {
            let state = view.snapshot();
            match &wanted {
                Wanted::Matching(pattern) => state.content().matching(&Pattern::new(pattern)).for_each(&mut add),
                Wanted::InSlot(SlotSearch { slot, most }) => {
                    let found = state.content().keys().filter(|key| slot_of(key) == *slot);
                    match most {
                        Some(most) => found.take(*most).for_each(&mut add),
                        None => slot_count = found.count(),
                    }
                }
            }
        }
        if is_counted {
            count = slot_count;
        }
        let encoded = (!is_counted).then(|| encoded.into_bytes());
        bytes.fetch_add(encoded.as_ref().map_or(0, BytesMut::len), Ordering::Relaxed);
        let _ = reply.send(Found { count, encoded, _pending: pending, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Keyspace, WallClock};
    use futures::FutureExt as _;

    #[test]
    fn no_reply_is_built_while_clients_have_not_taken_too_many_bytes() {
        for (untaken, runs) in [(MAX_PENDING_BYTES, false), (MAX_PENDING_BYTES - 1, true)] {
            let ((sender, jobs), (reply, found)) = (async_channel::unbounded(), oneshot::channel());
            let pending = Pending::reserve(&Arc::default()).expect("room");
            let bytes = Arc::new(AtomicUsize::new(untaken));
            let views = vec![Keyspace::new("test", WallClock::new(|| 0)).view()];
            let wanted = Wanted::Matching(Bytes::from_static(b"*"));
            sender.try_send(Job { views, wanted, version: Version::Two, reply, pending, bytes }).expect("room");
            drop(sender);
            assert_eq!(work(jobs).now_or_never(), Some(()));
            assert_eq!(found.now_or_never().map(|found| found.is_ok()), Some(runs));
        }
    }

    #[test]
    fn a_place_is_free_again_when_its_reply_is_dropped() {
        let pending = Arc::default();
        let mut places: Vec<_> = (0..MAX_PENDING).map(|_| Pending::reserve(&pending).expect("room")).collect();
        assert!(Pending::reserve(&pending).is_none());
        places.pop();
        places.push(Pending::reserve(&pending).expect("room again"));
        assert!(Pending::reserve(&pending).is_none());
        drop(places);
        assert_eq!(pending.load(Ordering::Relaxed), 0);
    }
}
