//! The keys and values as of one entry of the log, for readers and for the writer.

use super::map::{Map, Seed};
use super::reply::{Reply, count};
use super::value::{Data, StoredHash, Value};
use crate::glob::Pattern;
use bytes::Bytes;
use leasehold_core::Index;

/// The keys and values as of one entry. A clone costs a reference count.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(super) map: Map<Value>,
    /// The time of the entry that is executed, or of an earlier one if that was later and dead keys wait to be removed.
    /// After the entry it is kept while dead keys wait, and is 0 otherwise. A key whose deadline is not after it is dead:
    /// it may still be in the map, and is not visible.
    pub(super) log_time: u64,
    /// True once an entry of version 2 was applied. Before that, the records are those of earlier releases.
    pub(super) has_versions: bool,
}

impl Content {
    /// Returns a state without keys.
    pub(super) fn new(seed: Seed) -> Content {
        Content { map: Map::new(seed), log_time: 0, has_versions: false }
    }

    /// Returns the number of keys, with those that are dead and not removed yet.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Returns the value of a key that is not dead.
    pub(crate) fn value(&self, key: &[u8]) -> Option<&Value> {
        self.map.get(key).filter(|value| value.is_live(self.log_time))
    }

    /// Returns the value of a string.
    ///
    /// # Errors
    /// The reply, if the key has another type.
    pub(crate) fn string(&self, key: &[u8]) -> Result<Option<&Bytes>, Reply> {
        match self.value(key).map(|value| &value.data) {
            None => Ok(None),
            Some(Data::String(value)) => Ok(Some(value)),
            Some(Data::Hash(_)) => Err(Reply::wrong_type()),
        }
    }

    /// Returns the fields of a hash.
    ///
    /// # Errors
    /// The reply, if the key has another type.
    pub(crate) fn hash(&self, key: &[u8]) -> Result<Option<&StoredHash>, Reply> {
        match self.value(key).map(|value| &value.data) {
            None => Ok(None),
            Some(Data::Hash(hash)) => Ok(Some(hash)),
            Some(Data::String(_)) => Err(Reply::wrong_type()),
        }
    }

    /// Returns the string of a key, or `None` if it has another type: for commands on many keys that do not complain.
    pub(crate) fn string_if_any(&self, key: &[u8]) -> Option<&Bytes> {
        self.string(key).ok().flatten()
    }

    /// Returns the index of the entry that changed a key last, as a condition of an entry compares it: 0 if the key does
    /// not exist.
    pub(crate) fn version(&self, key: &[u8]) -> Index {
        self.value(key).map_or(0, Value::version)
    }

    /// Returns about how many bytes of memory a key and its value take.
    pub(crate) fn bytes_of(&self, key: &[u8]) -> Option<u64> {
        self.value(key).and_then(|_| self.map.bytes_of(key))
    }

    /// Returns how many of the keys exist. A key that is named twice counts twice.
    pub(crate) fn count_existing(&self, keys: &[Bytes]) -> i64 {
        count(keys.iter().filter(|key| self.value(key).is_some()).count())
    }

    /// Returns the keys that match a pattern.
    pub(crate) fn matching(&self, pattern: &Pattern) -> impl Iterator<Item = &Bytes> {
        self.keys().filter(|key| pattern.matches(key))
    }

    /// Returns the keys that are not dead.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.map.iter().filter(|(_, value)| value.is_live(self.log_time)).map(|(key, _)| key)
    }
}
