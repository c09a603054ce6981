//! Reading the keys and values: briefly under a lock, or at length on a snapshot.

use super::content::Content;
use super::entry::Watched;
use super::map::Seed;
use super::operation::ReadCommand;
use super::reclaim::Reclaimer;
use super::reply::Reply;
pub(crate) use super::reply::count;
use super::state::Snapshot;
use super::wall::WallClock;
use bytes::Bytes;
use event_listener::{Event, EventListener};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The keys and values of one node, for readers on any thread.
#[derive(Clone, Debug)]
pub struct View {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    content: RwLock<Content>,
    /// The size of the content, for those that do not lock it.
    used_bytes: AtomicU64,
    /// The size of the deleted hashes whose fields are not removed yet.
    garbage_bytes: AtomicU64,
    /// The earliest deadline of a key; 0 if none has one.
    first_deadline: AtomicU64,
    deadlines: AtomicU64,
    /// True while an entry without commands would remove something.
    removal_waits: AtomicBool,
    ticks_changed: Event,
    wall: WallClock,
    reclaimer: Reclaimer,
}

impl View {
    pub(super) fn new(seed: Seed, wall: WallClock) -> View {
        let shared = Shared {
            content: RwLock::new(Content::new(seed)),
            used_bytes: AtomicU64::new(0),
            garbage_bytes: AtomicU64::new(0),
            first_deadline: AtomicU64::new(0),
            deadlines: AtomicU64::new(0),
            removal_waits: AtomicBool::new(false),
            ticks_changed: Event::new(),
            wall,
            reclaimer: Reclaimer::default(),
        };
        View { shared: Arc::new(shared) }
    }

    /// Returns the number of keys, with those that are dead and not removed yet.
    pub fn len(&self) -> usize {
        self.shared.content.read().len()
    }

    /// Returns whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns about how many bytes of memory the keys and values take, with the deleted hashes whose fields are not
    /// removed yet. The same records give the same number on every node, but for these hashes.
    pub fn used_bytes(&self) -> u64 {
        let garbage_bytes = self.shared.garbage_bytes.load(Ordering::Relaxed);
        self.shared.used_bytes.load(Ordering::Relaxed) + garbage_bytes
    }

    /// Returns the earliest deadline of a key, in milliseconds since the epoch. The key may be dead, and not removed yet.
    pub fn first_deadline(&self) -> Option<u64> {
        Some(self.shared.first_deadline.load(Ordering::Relaxed)).filter(|deadline| *deadline > 0)
    }

    /// Returns the number of keys that have a deadline.
    pub fn keys_with_deadline(&self) -> u64 {
        self.shared.deadlines.load(Ordering::Relaxed)
    }

    /// Returns the time until the leader has to propose an entry without commands, by a wall clock that shows `wall`
    /// milliseconds since the epoch. It is none while something waits to be removed, wherever the clock stands.
    pub fn next_tick(&self, wall: u64) -> Option<Duration> {
        if self.shared.removal_waits.load(Ordering::Relaxed) {
            return Some(Duration::ZERO);
        }
        self.first_deadline().map(|deadline| Duration::from_millis(deadline.saturating_sub(wall)))
    }

    /// Returns a future that is ready once the result of [`next_tick`](Self::next_tick) has changed after this call.
    pub(crate) fn listen_for_ticks(&self) -> EventListener {
        self.shared.ticks_changed.listen()
    }

    /// Returns the wall clock of this node, from which replies about deadlines count.
    pub fn wall_clock(&self) -> &WallClock {
        &self.shared.wall
    }

    /// Returns the present state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self.shared.content.read().clone(), self.shared.reclaimer.clone())
    }

    /// Executes reads on one state and appends a reply for each.
    pub fn read(&self, commands: &[ReadCommand], replies: &mut Vec<Reply>) {
        let snapshot = self.snapshot();
        replies.extend(commands.iter().map(|command| snapshot.content().read(command, || self.shared.wall.now())));
    }

    /// Returns keys with the index of the entry that changed each last, for the condition of an entry. Returns `None`
    /// before the first entry of version 2: then the indexes of later changes would not be recorded. An empty entry of
    /// that version changes this.
    pub fn watch(&self, keys: Vec<Bytes>) -> Option<Vec<Watched>> {
        let content = self.shared.content.read();
        content.has_versions.then(|| {
            let watched = |key: Bytes| {
                let version = content.version(&key);
                (key, version)
            };
            keys.into_iter().map(watched).collect()
        })
    }

    /// Runs `read` on the present state. Writers wait meanwhile, so it must be brief.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&Content) -> T) -> T {
        read(&self.shared.content.read())
    }

    /// Runs `write` on the state. Readers see all of its changes or none.
    pub(super) fn change<T>(&self, write: impl FnOnce(&mut Content, &Reclaimer) -> T) -> T {
        let mut content = self.shared.content.write();
        let outcome = write(&mut content, &self.shared.reclaimer);
        self.shared.used_bytes.store(content.map.used_bytes(), Ordering::Relaxed);
        outcome
    }

    /// Publishes the number of deadlines and the earliest one, whether dead keys wait to be removed, and the size of the
    /// deleted hashes that do.
    pub(super) fn publish(&self, number: usize, first: Option<u64>, dead_wait: bool, garbage_bytes: u64) {
        self.shared.garbage_bytes.store(garbage_bytes, Ordering::Relaxed);
        let removal_waits = dead_wait || garbage_bytes > 0;
        self.shared.deadlines.store(number as u64, Ordering::Relaxed);
        let first = first.unwrap_or(0);
        let is_other = self.shared.first_deadline.swap(first, Ordering::Relaxed) != first;
        let was_waiting = self.shared.removal_waits.swap(removal_waits, Ordering::Relaxed);
        if is_other || removal_waits != was_waiting {
            self.shared.ticks_changed.notify(usize::MAX);
        }
    }
}
