//! The keys that the unapplied entries of a log may change.
//!
//! The group's task writes it and any thread reads it, without a lock. It counts keys by their hashes, so it may name a key
//! that no entry touches, and never misses one that an entry touches:
//!
//! * An entry is added before the index of the entry is published as received, and removed once its effect can be read and
//!   the applied index is published. A reader that loads the received index first, and then this, sees every entry up to
//!   that index, or its effect.
//! * The entries of which nothing is known, because they were there before anything was tracked, touch every key.

use bytes::Bytes;
use leasehold_core::Index;
use leasehold_raft::wire::{Entry, Payload};
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The number of counters. While 300 keys are in flight, one read in fifty waits for a key that only shares its counter.
const COUNTERS: usize = 1 << 14;

/// The keys that entries may change which this node has received and not applied.
#[derive(Debug)]
pub struct TouchedKeys {
    /// Made once entries are tracked.
    counters: OnceLock<Box<[AtomicU32]>>,
    /// The number of entries that may change any key, and one more if there are entries that were not tracked.
    any: AtomicU32,
    /// The latest time of an entry.
    time: AtomicU64,
    seed: u64,
}

impl TouchedKeys {
    pub(crate) fn new(seed: u64) -> TouchedKeys {
        TouchedKeys { counters: OnceLock::new(), any: AtomicU32::new(0), time: AtomicU64::new(0), seed }
    }

    /// Returns true if an entry may change this key.
    pub fn may_contain(&self, key: &[u8]) -> bool {
        let Some(counters) = self.counters.get() else { return true };
        let count = counters[usize::from(self.place(key))].load(Ordering::Acquire);
        count > 0 || self.any.load(Ordering::Acquire) > 0
    }

    /// Returns the latest time of an entry: the entries may also end keys that end by themselves at this time. Check it
    /// after the keys.
    pub fn time(&self) -> u64 {
        self.time.load(Ordering::Acquire)
    }

    fn place(&self, key: &[u8]) -> u16 {
        // Truncated on purpose: these are the lowest bits.
        (xxh3_64_with_seed(key, self.seed) as usize % COUNTERS) as u16
    }

    fn add(&self, place: u16) {
        if let Some(counters) = self.counters.get() {
            counters[usize::from(place)].fetch_add(1, Ordering::AcqRel);
        }
    }

    fn remove(&self, place: u16) {
        if let Some(counters) = self.counters.get() {
            counters[usize::from(place)].fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Returns what a command may change, as [`StateMachine::touches`](crate::ports::StateMachine::touches) does.
pub(crate) type Touches = fn(&Bytes, &mut dyn FnMut(&[u8])) -> Option<u64>;

/// An entry that is tracked.
#[derive(Clone, Copy, Debug)]
struct Tracked {
    index: Index,
    /// The number of its keys.
    keys: usize,
    /// True if it may change any key.
    any: bool,
}

/// The entries behind [`TouchedKeys`].
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    /// False while no reader asks.
    enabled: bool,
    entries: VecDeque<Tracked>,
    /// The places of their keys, in the order of the entries.
    places: VecDeque<u16>,
    /// The last index of the entries that were not tracked; 0 if all of them are applied.
    unknown_through: Index,
}

impl Tracker {
    /// Begins to track the entries after `last`, the last one of the log, or ends tracking. It may be repeated.
    pub(crate) fn set_enabled(&mut self, keys: &TouchedKeys, enabled: bool, last: Index) {
        if std::mem::replace(&mut self.enabled, enabled) != enabled && enabled {
            keys.counters.get_or_init(|| (0..COUNTERS).map(|_| AtomicU32::new(0)).collect());
            self.set_unknown(keys, last);
        }
    }

    /// Adds entries that the log takes. They replace those from the first of them on. `touches` is that of the state
    /// machine.
    pub(crate) fn append(&mut self, keys: &TouchedKeys, entries: &[Entry], touches: Touches) {
        let Some(first) = entries.first().filter(|_| self.enabled) else { return };
        while let Some(tracked) = self.entries.pop_back_if(|tracked| tracked.index >= first.index) {
            let kept = self.places.len() - tracked.keys;
            self.places.drain(kept..).for_each(|place| keys.remove(place));
            keys.any.fetch_sub(tracked.any.into(), Ordering::AcqRel);
        }
        self.set_unknown(keys, self.unknown_through.min(first.index - 1));
        for entry in entries {
            let Payload::Command(command) = &entry.payload else { continue };
            // A leader opens its term with an empty command, which no state machine sees.
            if command.is_empty() {
                continue;
            }
            let before = self.places.len();
            let time = touches(command, &mut |key| {
                let place = keys.place(key);
                keys.add(place);
                self.places.push_back(place);
            });
            keys.any.fetch_add(time.is_none().into(), Ordering::AcqRel);
            keys.time.fetch_max(time.unwrap_or_default(), Ordering::AcqRel);
            let keys = self.places.len() - before;
            self.entries.push_back(Tracked { index: entry.index, keys, any: time.is_none() });
        }
    }

    /// Has the entries through the last of these touch every key, without a look at them: a leader does not read as its
    /// followers do, and reads of a later term wait until these entries are applied.
    pub(crate) fn append_unseen(&mut self, keys: &TouchedKeys, entries: &[Entry]) {
        if let Some(last) = entries.last().filter(|_| self.enabled) {
            self.set_unknown(keys, last.index);
        }
    }

    fn set_unknown(&mut self, keys: &TouchedKeys, through: Index) {
        let before = std::mem::replace(&mut self.unknown_through, through);
        match (before > 0, through > 0) {
            (false, true) => drop(keys.any.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(keys.any.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
    }

    /// Removes the entries through `applied`, which was published.
    pub(crate) fn applied(&mut self, keys: &TouchedKeys, applied: Index) {
        while let Some(tracked) = self.entries.pop_front_if(|tracked| tracked.index <= applied) {
            self.places.drain(..tracked.keys).for_each(|place| keys.remove(place));
            keys.any.fetch_sub(tracked.any.into(), Ordering::AcqRel);
        }
        if self.unknown_through <= applied {
            self.set_unknown(keys, 0);
        }
        if self.entries.is_empty() && self.unknown_through == 0 {
            keys.time.store(0, Ordering::Release);
        }
    }

    /// Removes all entries: the log begins with a snapshot, whose index was published as applied.
    pub(crate) fn reset(&mut self, keys: &TouchedKeys) {
        self.applied(keys, Index::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    /// Reads a command that consists of keys of one byte. `*` is every key, and digits are the time.
    fn touches(command: &Bytes, touch: &mut dyn FnMut(&[u8])) -> Option<u64> {
        let mut time = Some(0);
        for byte in command {
            match byte {
                b'*' => time = None,
                b'0'..=b'9' => time = time.map(|time| time.max(u64::from(byte - b'0'))),
                key => touch(&[*key]),
            }
        }
        time
    }

    fn entry(index: Index, command: &'static str) -> Entry {
        Entry { term: 1, index, payload: Payload::Command(Bytes::from_static(command.as_bytes())) }
    }

    /// Returns a tracker for a log that is empty.
    fn tracker(keys: &TouchedKeys) -> Tracker {
        let mut tracker = Tracker::default();
        tracker.set_enabled(keys, true, 0);
        tracker
    }

    fn contained<const N: usize>(keys: &TouchedKeys, of: [&str; N]) -> [bool; N] {
        of.map(|key| keys.may_contain(key.as_bytes()))
    }

    #[test]
    fn a_key_is_contained_from_the_entry_that_touches_it_until_that_is_applied() {
        let keys = TouchedKeys::new(7);
        assert!(keys.may_contain(b"a"), "nothing is known yet");
        let mut tracker = tracker(&keys);
        assert_eq!(contained(&keys, ["a", "b"]), [false, false]);
        tracker.append(&keys, &[entry(1, ""), entry(2, "a3"), entry(3, "ab2")], touches);
        assert_eq!((contained(&keys, ["a", "b", "c"]), keys.time()), ([true, true, false], 3));
        tracker.applied(&keys, 2);
        assert_eq!((contained(&keys, ["a", "b"]), keys.time()), ([true, true], 3));
        tracker.applied(&keys, 3);
        assert_eq!((contained(&keys, ["a", "b"]), keys.time()), ([false, false], 0));
    }

    #[test]
    fn an_entry_that_may_change_any_key_contains_every_key() {
        let keys = TouchedKeys::new(7);
        let mut tracker = tracker(&keys);
        tracker.append(&keys, &[entry(1, "a"), entry(2, "*"), entry(3, "*")], touches);
        tracker.applied(&keys, 2);
        assert!(keys.may_contain(b"z"));
        tracker.applied(&keys, 3);
        assert!(!keys.may_contain(b"z"));
    }

    #[test]
    fn entries_that_another_leader_replaces_are_forgotten() {
        let keys = TouchedKeys::new(7);
        let mut tracker = tracker(&keys);
        tracker.append(&keys, &[entry(1, "a"), entry(2, "b"), entry(3, "*")], touches);
        tracker.append(&keys, &[entry(2, "c")], touches);
        assert_eq!(contained(&keys, ["a", "b", "c"]), [true, false, true]);
        tracker.reset(&keys);
        assert_eq!(contained(&keys, ["a", "b", "c"]), [false; 3]);
    }

    #[test]
    fn entries_from_before_tracking_began_contain_every_key() {
        let keys = TouchedKeys::new(7);
        let mut tracker = Tracker::default();
        tracker.append(&keys, &[entry(1, "a")], touches);
        tracker.set_enabled(&keys, true, 5);
        tracker.append(&keys, &[entry(6, "b")], touches);
        tracker.applied(&keys, 4);
        assert!(keys.may_contain(b"z"));
        // Another leader replaces the last of them, and some are left.
        tracker.append(&keys, &[entry(5, "c")], touches);
        assert!(keys.may_contain(b"z"));
        tracker.applied(&keys, 5);
        assert_eq!(contained(&keys, ["b", "c", "z"]), [false; 3]);
        // Those of the time as a leader, and those that were tracked when tracking ended.
        tracker.append_unseen(&keys, &[entry(6, "d")]);
        tracker.append(&keys, &[entry(7, "e")], touches);
        tracker.set_enabled(&keys, false, 7);
        assert!(keys.may_contain(b"z") && keys.may_contain(b"e"));
        tracker.applied(&keys, 6);
        assert_eq!(contained(&keys, ["e", "z"]), [true, false]);
        tracker.append(&keys, &[entry(8, "f")], touches);
        tracker.set_enabled(&keys, true, 8);
        assert!(keys.may_contain(b"z"), "the entries between are not known");
        tracker.applied(&keys, 8);
        assert_eq!(contained(&keys, ["e", "f", "z"]), [false; 3]);
    }

    /// A step of a log: it is appended to, from some entries before its end, or applied.
    type Step = (bool, u8, Vec<u8>);

    quickcheck! {
        fn exactly_the_keys_of_the_unapplied_entries_are_contained(steps: Vec<Step>) -> bool {
            let keys = TouchedKeys::new(1);
            let mut tracker = tracker(&keys);
            let (mut log, mut applied) = (Vec::<Vec<u8>>::new(), 0);
            for (appends, number, commands) in steps {
                if appends && !commands.is_empty() {
                    let kept = log.len().saturating_sub(usize::from(number % 4)).max(applied);
                    log.truncate(kept);
                    log.extend(commands.into_iter().map(|key| vec![b'a' + key % 26; usize::from(key % 3)]));
                    let entries = log.iter().enumerate().skip(kept).map(|(place, command)| {
                        let payload = Payload::Command(Bytes::copy_from_slice(command));
                        Entry { term: 1, index: place as Index + 1, payload }
                    });
                    tracker.append(&keys, &entries.collect::<Vec<_>>(), touches);
                } else {
                    applied = (applied + usize::from(number % 4)).min(log.len());
                    tracker.applied(&keys, applied as Index);
                }
                // No two of these keys share a counter under this seed.
                for key in b'a'..=b'z' {
                    let expected = log[applied..].iter().any(|command| command.contains(&key));
                    assert_eq!(keys.may_contain(&[key]), expected);
                }
            }
            true
        }
    }
}
