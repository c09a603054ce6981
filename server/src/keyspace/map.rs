//! A hash map with an O(1) snapshot: a clone shares every part with the original, and a write copies the parts that it
//! changes.
//!
//! Linear hashing spreads the entries over buckets of at most [`MAX_LOAD`] entries on average. The table grows by one
//! bucket at a time, so no insertion rehashes the whole map. Buckets are collected in groups, and groups in a
//! directory. Each of the three levels is behind an [`Arc`]: after a snapshot, writes copy the directory once, and once
//! each group and bucket that they change. The cost of such a copy does not depend on the number of keys, except for
//! one pointer per 8,192 keys in the directory.

use bytes::Bytes;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use std::array;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::mem;
use std::sync::Arc;
use std::vec;

/// Mean entries per bucket at which the next insertion adds a bucket. Fewer make a lookup miss the processor's caches
/// more often, more make the first write to a bucket after a snapshot slower.
const MAX_LOAD: usize = 128;
/// Buckets in a group.
const GROUP_BUCKETS: usize = 64;
/// An estimate of the memory that an entry takes beyond its key and value.
const ENTRY_BYTES: usize = 128;
/// The lowest bit of a hash that selects a bucket. The table inside a bucket uses the bits below it and the highest
/// ones.
const BUCKET_SHIFT: u32 = 32;

type Table = HashTable<(Bytes, Bytes)>;
type Bucket = Arc<Table>;

#[derive(Clone)]
pub(super) struct Group([Bucket; GROUP_BUCKETS]);

/// The content of a map in pieces of limited size.
pub(super) type Pieces = vec::IntoIter<Arc<Group>>;

/// Keys and their values.
#[derive(Clone)]
pub(crate) struct Map {
    hasher: RandomState,
    len: usize,
    /// The memory of all entries.
    used_bytes: u64,
    /// Buckets in use; the last group may have more, all empty.
    buckets: usize,
    groups: Arc<Vec<Arc<Group>>>,
}

impl Default for Map {
    fn default() -> Self {
        Self { hasher: RandomState::new(), len: 0, used_bytes: 0, buckets: 1, groups: Arc::new(vec![Group::empty()]) }
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Map").field("len", &self.len).field("buckets", &self.buckets).finish_non_exhaustive()
    }
}

impl Group {
    fn empty() -> Arc<Group> {
        let bucket = Bucket::default();
        Arc::new(Group(array::from_fn(|_| bucket.clone())))
    }
}

impl Map {
    /// Returns the number of keys.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns about how many bytes of memory the entries take.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Returns whether there are no keys.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Bytes> {
        let hash = self.hasher.hash_one(key);
        let at = bucket_of(hash, self.buckets);
        let bucket = &self.groups[at / GROUP_BUCKETS].0[at % GROUP_BUCKETS];
        bucket.find(hash, |(other, _)| other == key).map(|(_, value)| value)
    }

    /// Sets the value of a key.
    pub(crate) fn insert(&mut self, key: Bytes, value: Bytes) {
        let hash = self.hasher.hash_one(&key[..]);
        let at = bucket_of(hash, self.buckets);
        let hasher = self.hasher.clone();
        match bucket_mut(&mut self.groups, at).entry(hash, |(other, _)| *other == key, rehash(&hasher)) {
            Slot::Occupied(mut slot) => {
                let before = mem::replace(&mut slot.get_mut().1, value);
                self.used_bytes += slot.get().1.len() as u64;
                self.used_bytes -= before.len() as u64;
            }
            Slot::Vacant(slot) => {
                self.used_bytes += entry_bytes(&key, &value);
                slot.insert((key, value));
                self.len += 1;
                if self.len > MAX_LOAD * self.buckets {
                    self.add_bucket();
                }
            }
        }
    }

    /// Removes a key and returns its value.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Bytes> {
        // A miss must not copy the bucket.
        self.get(key)?;
        let hash = self.hasher.hash_one(key);
        let bucket = bucket_mut(&mut self.groups, bucket_of(hash, self.buckets));
        let ((key, value), _) = bucket.find_entry(hash, |(other, _)| other == key).ok()?.remove();
        self.len -= 1;
        self.used_bytes -= entry_bytes(&key, &value);
        Some(value)
    }

    /// Returns every key and its value, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        let buckets = self.groups.iter().flat_map(|group| &group.0);
        buckets.flat_map(|bucket| bucket.iter()).map(|(key, value)| (key, value))
    }

    /// Returns the keys and values from a cursor on, each with the cursor after it. The order is the same as long as the
    /// map does not change. The first cursor is 0.
    pub(super) fn iter_from(&self, cursor: u64) -> impl Iterator<Item = (&Bytes, &Bytes, u64)> {
        // The number of the bucket, and the number of entries of that bucket before the cursor.
        let (first, skipped) = (cursor >> 32, cursor & u64::from(u32::MAX));
        let skip = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let buckets = self.groups.iter().flat_map(|group| &group.0).zip(0_u64..).skip(skip(first));
        buckets.flat_map(move |(bucket, number)| {
            let before = if number == first { skipped } else { 0 };
            let entries = bucket.iter().skip(skip(before)).zip(before + 1..);
            entries.map(move |((key, value), after)| (key, value, number << 32 | after))
        })
    }

    /// Returns the content, for a caller that drops it step by step. Returns `None` if
    /// another version shares the directory; nothing large is dropped then.
    pub(super) fn into_pieces(self) -> Option<Pieces> {
        Arc::into_inner(self.groups).map(Vec::into_iter)
    }

    /// Adds a bucket and moves to it those entries of one other bucket that now belong there.
    fn add_bucket(&mut self) {
        let added = self.buckets;
        let split = added - (1 << added.ilog2());
        self.buckets += 1;
        if added.is_multiple_of(GROUP_BUCKETS) {
            Arc::make_mut(&mut self.groups).push(Group::empty());
        }
        let before = mem::take(bucket_mut(&mut self.groups, split));
        let (mut moved, mut kept) = (Table::new(), Table::with_capacity(before.len()));
        for entry in before {
            let hash = self.hasher.hash_one(&entry.0[..]);
            let to = if bucket_of(hash, self.buckets) == added { &mut moved } else { &mut kept };
            to.insert_unique(hash, entry, rehash(&self.hasher));
        }
        *bucket_mut(&mut self.groups, split) = kept;
        *bucket_mut(&mut self.groups, added) = moved;
    }
}

fn entry_bytes(key: &Bytes, value: &Bytes) -> u64 {
    (ENTRY_BYTES + key.len() + value.len()) as u64
}

fn bucket_mut(groups: &mut Arc<Vec<Arc<Group>>>, at: usize) -> &mut Table {
    let group = Arc::make_mut(&mut Arc::make_mut(groups)[at / GROUP_BUCKETS]);
    Arc::make_mut(&mut group.0[at % GROUP_BUCKETS])
}

fn rehash(hasher: &RandomState) -> impl Fn(&(Bytes, Bytes)) -> u64 {
    |(key, _)| hasher.hash_one(&key[..])
}

/// Returns the bucket of a hash while `buckets` are in use.
fn bucket_of(hash: u64, buckets: usize) -> usize {
    let bits = (hash >> BUCKET_SHIFT) as usize;
    let mask = buckets.next_power_of_two() - 1;
    let at = bits & mask;
    // The upper half of the range is in use only in part; the other buckets are not split yet.
    if at < buckets { at } else { at & (mask >> 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;
    use std::collections::BTreeMap;

    fn key(number: usize) -> Bytes {
        Bytes::from(number.to_string())
    }

    fn content(map: &Map) -> BTreeMap<Bytes, Bytes> {
        let content: BTreeMap<_, _> = map.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        assert_eq!(content.len(), map.len());
        assert_eq!(content.iter().map(|(key, value)| entry_bytes(key, value)).sum::<u64>(), map.used_bytes());
        assert!(content.iter().all(|(key, value)| map.get(key) == Some(value)));
        content
    }

    quickcheck! {
        fn behaves_like_an_ordered_map_and_snapshots_do_not_change(steps: Vec<(u8, u8)>) -> bool {
            let (mut map, mut model) = (Map::default(), BTreeMap::new());
            // As many keys as make the steps fall into buckets before, at and after their split.
            for number in 0..3 * MAX_LOAD {
                map.insert(key(number), key(0));
                model.insert(key(number), key(0));
            }
            let mut snapshots = Vec::new();
            for (step, number) in steps {
                let name = key(usize::from(number));
                match step % 4 {
                    0 => snapshots.push((map.clone(), model.clone())),
                    1 => assert_eq!(map.remove(&name), model.remove(&name)),
                    _ => {
                        map.insert(name.clone(), key(usize::from(step)));
                        model.insert(name, key(usize::from(step)));
                    }
                }
            }
            snapshots.push((map, model));
            snapshots.iter().all(|(map, model)| content(map) == *model)
        }
    }

    #[test]
    fn grows_by_one_bucket_at_a_time_and_keeps_every_key() {
        let mut map = Map::default();
        for number in 0..20_000 {
            let before = map.buckets;
            map.insert(key(number), key(number));
            assert!(map.buckets - before <= 1);
        }
        assert!(map.len() <= MAX_LOAD * map.buckets);
        assert_eq!(content(&map).len(), 20_000);
        let fullest = map.groups.iter().flat_map(|group| &group.0).map(|bucket| bucket.len()).max();
        assert!(fullest < Some(4 * MAX_LOAD), "{fullest:?}");
    }

    #[test]
    fn a_write_after_a_snapshot_copies_one_bucket_and_shares_the_rest() {
        let mut map = Map::default();
        for number in 0..20_000 {
            map.insert(key(number), key(number));
        }
        let snapshot = map.clone();
        map.insert(key(7), key(8));
        let shared = |a: &Map, b: &Map| {
            let pairs = a.groups.iter().zip(b.groups.iter());
            pairs
                .filter(|(a, b)| !Arc::ptr_eq(a, b))
                .flat_map(|(a, b)| a.0.iter().zip(&b.0))
                .filter(|(a, b)| !Arc::ptr_eq(a, b))
                .count()
        };
        assert_eq!(shared(&map, &snapshot), 1);
        assert_eq!(snapshot.get(b"7"), Some(&key(7)));
        map.remove(b"none");
        assert_eq!(shared(&map, &snapshot), 1, "a miss copies nothing");
    }
}
