//! A hash map with an O(1) snapshot: a clone shares every part with the original, and a write copies the parts that it
//! changes.
//!
//! Linear hashing spreads the entries over buckets of at most [`MAX_LOAD`] entries on average. The table grows
//! and shrinks by one bucket at a time, so no insertion rehashes the whole map. Buckets are collected in groups, and groups in a
//! directory. Each of the three levels is behind an [`Arc`]: after a snapshot, writes copy the directory once, and once
//! each group and bucket that they change. The cost of such a copy does not depend on the number of keys, except for
//! one pointer per 8,192 keys in the directory.
//!
//! The hash of a key depends on the [`Seed`] only, which all nodes of a cluster share. It gives the key its
//! [position](Seed::position), and a scan visits the keys in the order of their positions. So a scan can be continued
//! on another node, and while the table grows.

use bytes::Bytes;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use siphasher::sip::SipHasher13;
use std::array;
use std::fmt;
use std::iter;
use std::mem;
use std::sync::Arc;
use std::vec;

/// Mean entries per bucket at which the next insertion adds a bucket. Fewer make a lookup miss the processor's caches
/// more often, more make the first write to a bucket after a snapshot slower.
const MAX_LOAD: usize = 128;
/// Buckets in a group.
const GROUP_BUCKETS: usize = 64;
/// An estimate of the memory that an entry takes beyond its key and value.
pub(super) const ENTRY_BYTES: usize = 128;
/// The lowest bit of a hash that selects a bucket. The table inside a bucket uses the bits below it and the highest
/// ones.
const BUCKET_SHIFT: u32 = 32;
/// The bits of a position. Some clients keep a cursor in a floating-point number, which has no more.
const POSITION_BITS: u32 = 53;
/// The first number after all positions.
const END: u64 = 1 << POSITION_BITS;
/// The ranges of positions that one call of a scan visits at most, each of which has [`MAX_LOAD`] entries on average, or
/// up to twice as many. The number of buckets is no measure of it, because it depends on what was inserted and removed
/// before, and nodes with equal content must return the same. A range has at most about eight buckets.
const MAX_SCANNED_RANGES: u64 = 128;
/// Random draws: the fewest entries that a range has on average, which is at most twice as many; the places in a range,
/// more than it ever has entries; and the most draws.
const MIN_RANGE_ENTRIES: usize = 128;
const RANGE_PLACES: u64 = 512;
const MAX_DRAWS: usize = 64;

/// A value whose memory a map accounts for.
pub(crate) trait Weigh: Clone {
    /// Returns about how many bytes of memory it takes besides its own size.
    fn weight(&self) -> u64;

    /// Returns the part of it that a scan looks at or returns, in bytes.
    fn scanned(&self) -> u64 {
        0
    }
}

impl Weigh for Bytes {
    fn scanned(&self) -> u64 {
        self.len() as u64
    }

    fn weight(&self) -> u64 {
        self.len() as u64
    }
}

/// The keys of a hash function. The order of a scan follows from it, so all nodes of a cluster use the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(u64, u64);

impl Seed {
    /// Returns the seed of the cluster with this name.
    pub(crate) fn of_cluster(name: &str) -> Seed {
        let half = |number| SipHasher13::new_with_keys(number, 0).hash(name.as_bytes());
        Seed(half(1), half(2))
    }

    fn hash(self, key: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.0, self.1).hash(key)
    }

    /// Returns the place of a key in the order of a scan. Several keys may have the same.
    ///
    /// The bits that select a bucket come first, the lowest one first of all. A bucket is split by the next higher bit,
    /// so its two halves take its place in the order.
    pub(super) fn position(self, key: &[u8]) -> u64 {
        position_of(self.hash(key))
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Seed")
    }
}

type Table<V> = HashTable<(Bytes, V)>;
type Bucket<V> = Arc<Table<V>>;
/// An entry with its position.
type Positioned<'a, V> = (u64, &'a (Bytes, V));

#[derive(Clone)]
pub(super) struct Group<V>([Bucket<V>; GROUP_BUCKETS]);

/// The content of a map in pieces of limited size.
pub(super) type Pieces<V> = vec::IntoIter<Arc<Group<V>>>;

/// Keys and their values.
#[derive(Clone)]
pub(crate) struct Map<V> {
    seed: Seed,
    len: usize,
    /// The memory of all entries.
    used_bytes: u64,
    /// Buckets in use; the last group may have more, all empty.
    buckets: usize,
    groups: Arc<Vec<Arc<Group<V>>>>,
}

impl<V> fmt::Debug for Map<V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Map").field("len", &self.len).field("buckets", &self.buckets).finish_non_exhaustive()
    }
}

impl<V> Group<V> {
    fn empty() -> Arc<Group<V>> {
        let bucket = Bucket::default();
        Arc::new(Group(array::from_fn(|_| bucket.clone())))
    }
}

impl<V: Weigh> Map<V> {
    /// Returns an empty map.
    pub(crate) fn new(seed: Seed) -> Map<V> {
        Map { seed, len: 0, used_bytes: 0, buckets: 1, groups: Arc::new(vec![Group::empty()]) }
    }

    /// Returns the seed of its hash function.
    pub(super) fn seed(&self) -> Seed {
        self.seed
    }

    /// Returns the number of keys.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no keys.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns about how many bytes of memory the entries take.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Returns the value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        let hash = self.seed.hash(key);
        let bucket = self.bucket(bucket_of(hash, self.buckets));
        bucket.find(hash, |(other, _)| other == key).map(|(_, value)| value)
    }

    /// Returns the bytes that a key and its value count in [`used_bytes`](Self::used_bytes).
    pub(crate) fn bytes_of(&self, key: &[u8]) -> Option<u64> {
        self.get(key).map(|value| entry_bytes(key, value))
    }

    /// Sets the value of a key and returns the one before.
    pub(crate) fn insert(&mut self, key: Bytes, value: V) -> Option<V> {
        let (seed, hash) = (self.seed, self.seed.hash(&key));
        let at = bucket_of(hash, self.buckets);
        match bucket_mut(&mut self.groups, at).entry(hash, |(other, _)| *other == key, rehash(seed)) {
            Slot::Occupied(mut slot) => {
                self.used_bytes += value.weight();
                let before = mem::replace(&mut slot.get_mut().1, value);
                self.used_bytes -= before.weight();
                Some(before)
            }
            Slot::Vacant(slot) => {
                self.used_bytes += entry_bytes(&key, &value);
                slot.insert((key, value));
                self.len += 1;
                if self.len > MAX_LOAD * self.buckets {
                    self.add_bucket();
                }
                None
            }
        }
    }

    /// Changes the value of a key in its place. Returns `None` if the key does not exist.
    pub(super) fn change<T>(&mut self, key: &[u8], change: impl FnOnce(&mut V) -> T) -> Option<T> {
        // A miss must not copy the bucket.
        self.get(key)?;
        let hash = self.seed.hash(key);
        let bucket = bucket_mut(&mut self.groups, bucket_of(hash, self.buckets));
        let (_, value) = bucket.find_mut(hash, |(other, _)| other == key)?;
        let before = value.weight();
        let outcome = change(value);
        self.used_bytes += value.weight();
        self.used_bytes -= before;
        Some(outcome)
    }

    /// Removes a key and returns its value.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<V> {
        // A miss must not copy the bucket.
        self.get(key)?;
        let hash = self.seed.hash(key);
        let bucket = bucket_mut(&mut self.groups, bucket_of(hash, self.buckets));
        let ((key, value), _) = bucket.find_entry(hash, |(other, _)| other == key).ok()?.remove();
        self.len -= 1;
        self.used_bytes -= entry_bytes(&key, &value);
        // A quarter, so that keys that come and go do not make it grow and shrink.
        if self.len < MAX_LOAD * (self.buckets - 1) / 4 {
            self.remove_bucket();
        }
        Some(value)
    }

    /// Returns every key and its value, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &V)> {
        let buckets = self.groups.iter().flat_map(|group| &group.0);
        buckets.flat_map(|bucket| bucket.iter()).map(|(key, value)| (key, value))
    }

    /// Returns every key and its value, in the order of a scan.
    pub(super) fn iter_in_order(&self) -> impl Iterator<Item = (&Bytes, &V)> {
        let mut next = 0;
        let buckets = iter::from_fn(move || {
            let (entries, after) = (next < END).then(|| self.entries_at(next, END))?;
            next = after;
            Some(sorted(entries))
        });
        buckets.flatten().map(|(_, (key, value))| (key, value))
    }

    /// Returns the keys and values from a cursor on, each with the cursor after it. The order is the same as long as the
    /// map does not change. The first cursor is 0.
    pub(super) fn iter_from(&self, cursor: u64) -> impl Iterator<Item = (&Bytes, &V, u64)> {
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

    /// Appends the next entries of a scan to `found`, until it has `count` or they weigh `max_bytes`, and returns the
    /// cursor for the call after it, which is 0 at the end. The first cursor is 0. There may be no entry, and a few more
    /// than `count` if they have the same position. Equal content gives the same entries and cursor, whatever was
    /// inserted and removed before.
    ///
    /// A cursor is a position. It stays valid when the map grows or shrinks, and on another map with the same seed. A key
    /// that is present from the first to the last call is returned exactly once.
    pub(super) fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        max_bytes: u64,
        found: &mut Vec<(&'a Bytes, &'a V)>,
    ) -> u64 {
        let (mut next, mut last, mut bytes, most) = (cursor, None, 0, found.len() + count.max(1));
        let range = 1 << (POSITION_BITS - self.depth(MAX_LOAD));
        let stop = cursor.saturating_add(MAX_SCANNED_RANGES * range).min(END);
        while next < stop {
            let (entries, end) = self.entries_at(next, stop);
            for (position, (key, value)) in sorted(entries) {
                // The entries of one position are returned together, because a cursor cannot separate them.
                if (found.len() >= most || bytes >= max_bytes) && last != Some(position) {
                    return position;
                }
                last = Some(position);
                bytes += key.len() as u64 + value.scanned();
                found.push((key, value));
            }
            next = end;
        }
        if stop < END { stop } else { 0 }
    }

    /// Returns how often the positions can be halved so that each part has at least `entries` entries on average.
    fn depth(&self, entries: usize) -> u32 {
        (self.len / entries).max(1).ilog2()
    }

    /// Returns a random entry; each is equally likely. `draw` returns a random number below its argument. Equal content
    /// and equal draws give the same entry, whatever was inserted and removed before.
    pub(super) fn random(&self, mut draw: impl FnMut(u64) -> u64) -> Option<(&Bytes, &V)> {
        // The positions are divided into ranges of so many entries on average, and each range has the same number of
        // places, of which some are empty.
        let depth = self.depth(MIN_RANGE_ENTRIES);
        let (width, places) = (POSITION_BITS - depth, if depth == 0 { self.len as u64 } else { RANGE_PLACES });
        let mut start = 0;
        for _ in 0..MAX_DRAWS {
            start = draw(1 << depth) << width;
            let place = usize::try_from(draw(places)).unwrap_or(usize::MAX);
            let (mut next, end, mut entries) = (start, start + (1 << width), Vec::new());
            while next < end {
                let (more, after) = self.entries_at(next, end);
                entries.extend(more);
                next = after;
            }
            if place < entries.len() {
                return sorted(entries).nth(place).map(|(_, (key, value))| (key, value));
            }
        }
        // Reached only if somebody chose keys whose positions are close together.
        let entry = |cursor| {
            let (mut cursor, mut found) = (cursor, Vec::new());
            while found.is_empty() {
                cursor = self.scan(cursor, 1, u64::MAX, &mut found);
                if cursor == 0 {
                    break;
                }
            }
            found.first().copied()
        };
        entry(start).or_else(|| entry(0))
    }

    /// Returns the content, for a caller that drops it step by step. Returns `None` if
    /// another version shares the directory; nothing large is dropped then.
    pub(super) fn into_pieces(self) -> Option<Pieces<V>> {
        Arc::into_inner(self.groups).map(Vec::into_iter)
    }

    fn bucket(&self, number: usize) -> &Table<V> {
        &self.groups[number / GROUP_BUCKETS].0[number % GROUP_BUCKETS]
    }

    /// Returns the entries of one bucket whose positions are in `from..to`, in no particular order. The bucket is the one
    /// of the position `from`. Also returns the first position after the bucket.
    fn entries_at(&self, from: u64, to: u64) -> (Vec<Positioned<'_, V>>, u64) {
        let bits = ((from >> (POSITION_BITS - u32::BITS)) as u32).reverse_bits();
        let number = bucket_of(u64::from(bits) << BUCKET_SHIFT, self.buckets);
        // The buckets have one bit more since they were split.
        let doubled = self.buckets.next_power_of_two();
        let is_whole = number < doubled / 2 && number + doubled / 2 >= self.buckets;
        let width = POSITION_BITS - doubled.ilog2() + u32::from(is_whole);
        let positioned = self.bucket(number).iter().map(|entry| (self.seed.position(&entry.0), entry));
        let entries = positioned.filter(|(position, _)| (from..to).contains(position)).collect();
        (entries, ((from >> width) + 1) << width)
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
            let hash = self.seed.hash(&entry.0);
            let to = if bucket_of(hash, self.buckets) == added { &mut moved } else { &mut kept };
            to.insert_unique(hash, entry, rehash(self.seed));
        }
        *bucket_mut(&mut self.groups, split) = kept;
        *bucket_mut(&mut self.groups, added) = moved;
    }

    /// Moves the entries of the last bucket to the one from which it was split.
    fn remove_bucket(&mut self) {
        let removed = self.buckets - 1;
        let into = removed - (1 << removed.ilog2());
        let entries = mem::take(bucket_mut(&mut self.groups, removed));
        let bucket = bucket_mut(&mut self.groups, into);
        for entry in entries {
            bucket.insert_unique(self.seed.hash(&entry.0), entry, rehash(self.seed));
        }
        self.buckets = removed;
        if removed.is_multiple_of(GROUP_BUCKETS) {
            Arc::make_mut(&mut self.groups).pop();
        }
    }
}

/// Returns entries in the order of a scan.
fn sorted<V>(mut entries: Vec<Positioned<'_, V>>) -> impl Iterator<Item = Positioned<'_, V>> {
    entries.sort_unstable_by(|(one, (one_key, _)), (other, (other_key, _))| (one, one_key).cmp(&(other, other_key)));
    entries.into_iter()
}

fn entry_bytes<V: Weigh>(key: &[u8], value: &V) -> u64 {
    (ENTRY_BYTES + key.len()) as u64 + value.weight()
}

fn bucket_mut<V: Weigh>(groups: &mut Arc<Vec<Arc<Group<V>>>>, at: usize) -> &mut Table<V> {
    let group = Arc::make_mut(&mut Arc::make_mut(groups)[at / GROUP_BUCKETS]);
    Arc::make_mut(&mut group.0[at % GROUP_BUCKETS])
}

fn rehash<V>(seed: Seed) -> impl Fn(&(Bytes, V)) -> u64 {
    move |(key, _)| seed.hash(key)
}

/// Returns the bucket of a hash while `buckets` are in use.
fn bucket_of(hash: u64, buckets: usize) -> usize {
    let bits = (hash >> BUCKET_SHIFT) as usize;
    let mask = buckets.next_power_of_two() - 1;
    let at = bits & mask;
    // The upper half of the range is in use only in part; the other buckets are not split yet.
    if at < buckets { at } else { at & (mask >> 1) }
}

fn position_of(hash: u64) -> u64 {
    let first = u64::from(((hash >> BUCKET_SHIFT) as u32).reverse_bits());
    let rest = hash & u64::from(u32::MAX);
    (first << BUCKET_SHIFT | rest) >> (u64::BITS - POSITION_BITS)
}

#[cfg(test)]
mod tests;
