//! Reading the keys and values: briefly under a lock, or at length on a snapshot.

use super::map::{Map, Seed};
use super::operation::{ReadCommand, Reply};
use super::reclaim::Reclaimer;
use crate::glob::Pattern;
use bytes::Bytes;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The keys and values of one node, for readers on any thread.
#[derive(Clone, Debug)]
pub struct View {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    map: RwLock<Map<Bytes>>,
    /// The size of the map, for those that do not lock it.
    used_bytes: AtomicU64,
    reclaimer: Reclaimer,
}

/// The keys and values as of one moment. Taking one costs a reference count, and so does dropping one: the last
/// snapshot of a large map hands it to another thread.
#[derive(Debug)]
pub struct Snapshot {
    /// `None` only while it is dropped.
    map: Option<Map<Bytes>>,
    reclaimer: Reclaimer,
}

impl View {
    pub(super) fn new(seed: Seed) -> View {
        let map = RwLock::new(Map::new(seed));
        View { shared: Arc::new(Shared { map, used_bytes: AtomicU64::new(0), reclaimer: Reclaimer::default() }) }
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.shared.map.read().len()
    }

    /// Returns whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns about how many bytes of memory the keys and values take. The same records give the same number on every
    /// node.
    pub fn used_bytes(&self) -> u64 {
        self.shared.used_bytes.load(Ordering::Relaxed)
    }

    /// Returns the present state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { map: Some(self.shared.map.read().clone()), reclaimer: self.shared.reclaimer.clone() }
    }

    /// Returns a state without keys.
    pub(super) fn empty_snapshot(&self) -> Snapshot {
        let map = Map::new(self.shared.map.read().seed());
        Snapshot { map: Some(map), reclaimer: self.shared.reclaimer.clone() }
    }

    /// Executes reads on one state and appends a reply for each.
    pub fn read(&self, commands: &[ReadCommand], replies: &mut Vec<Reply>) {
        let snapshot = self.snapshot();
        replies.extend(commands.iter().map(|command| snapshot.map().read(command)));
    }

    /// Runs `read` on the present state. Writers wait meanwhile, so it must be brief.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&Map<Bytes>) -> T) -> T {
        read(&self.shared.map.read())
    }

    /// Runs `write` on the state. Readers see all of its changes or none.
    pub(super) fn change<T>(&self, write: impl FnOnce(&mut Map<Bytes>, &Reclaimer) -> T) -> T {
        let mut map = self.shared.map.write();
        let outcome = write(&mut map, &self.shared.reclaimer);
        self.shared.used_bytes.store(map.used_bytes(), Ordering::Relaxed);
        outcome
    }
}

impl Snapshot {
    pub(crate) fn map(&self) -> &Map<Bytes> {
        self.map.as_ref().expect("the map is taken only when the snapshot is dropped")
    }

    /// Inserts a key, or replaces its value.
    pub(super) fn insert(&mut self, key: Bytes, value: Bytes) {
        if let Some(map) = &mut self.map {
            map.insert(key, value);
        }
    }

    /// Exchanges the content of this snapshot for that of `map`.
    pub(super) fn swap(&mut self, map: &mut Map<Bytes>) {
        if let Some(own) = &mut self.map {
            std::mem::swap(own, map);
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(map) = self.map.take() {
            self.reclaimer.drop_map(map);
        }
    }
}

impl Map<Bytes> {
    /// Executes a read. `KEYS` and the reads of many keys take their time.
    pub(crate) fn read(&self, command: &ReadCommand) -> Reply {
        match command {
            ReadCommand::Get(key) => Reply::Value(self.get(key).cloned()),
            ReadCommand::Strlen(key) => Reply::Integer(self.get(key).map_or(0, |value| count(value.len()))),
            ReadCommand::Exists(keys) => Reply::Integer(self.count_existing(keys)),
            ReadCommand::Mget(keys) => Reply::Values(keys.iter().map(|key| self.get(key).cloned()).collect()),
            ReadCommand::Size => Reply::Integer(count(self.len())),
            ReadCommand::Keys(pattern) => {
                let pattern = Pattern::new(pattern);
                Reply::Values(self.matching(&pattern).cloned().map(Some).collect())
            }
        }
    }

    /// Returns how many of the keys exist. A key that is named twice counts twice.
    pub(crate) fn count_existing(&self, keys: &[Bytes]) -> i64 {
        count(keys.iter().filter(|key| self.get(key).is_some()).count())
    }

    /// Returns the keys that match a pattern.
    pub(crate) fn matching(&self, pattern: &Pattern) -> impl Iterator<Item = &Bytes> {
        self.iter().map(|(key, _)| key).filter(|key| pattern.matches(key))
    }
}

/// Converts a number of things to a reply's number.
pub(crate) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
