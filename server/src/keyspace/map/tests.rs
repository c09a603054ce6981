use super::*;
use quickcheck::quickcheck;
use std::collections::BTreeMap;

fn key(number: usize) -> Bytes {
    Bytes::from(number.to_string())
}

fn seed() -> Seed {
    Seed::of_cluster("test")
}

fn content(map: &Map<Bytes>) -> BTreeMap<Bytes, Bytes> {
    let content: BTreeMap<_, _> = map.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    assert_eq!(content.len(), map.len());
    assert_eq!(content.iter().map(|(key, value)| entry_bytes(key, value)).sum::<u64>(), map.used_bytes());
    assert!(content.iter().all(|(key, value)| map.get(key) == Some(value)));
    content
}

quickcheck! {
    fn behaves_like_an_ordered_map_and_snapshots_do_not_change(steps: Vec<(u8, u8)>) -> bool {
        let (mut map, mut model) = (Map::new(seed()), BTreeMap::new());
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
    let mut map = Map::new(seed());
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
    let mut map = Map::new(seed());
    for number in 0..20_000 {
        map.insert(key(number), key(number));
    }
    let snapshot = map.clone();
    map.insert(key(7), key(8));
    let shared = |a: &Map<Bytes>, b: &Map<Bytes>| {
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

#[test]
fn shrinks_by_one_bucket_at_a_time_and_keeps_every_key() {
    let mut map = Map::new(seed());
    for number in 0..20_000 {
        map.insert(key(number), key(number));
    }
    for number in 0..19_900 {
        let before = map.buckets;
        assert_eq!(map.remove(&key(number)), Some(key(number)));
        assert!(before - map.buckets <= 1);
    }
    assert!(map.buckets < 8, "{} buckets", map.buckets);
    assert_eq!(map.groups.len(), 1);
    assert_eq!(content(&map), (19_900..20_000).map(|number| (key(number), key(number))).collect());
    (19_900..20_000).for_each(|number| drop(map.remove(&key(number))));
    assert_eq!((map.len(), map.used_bytes(), map.buckets), (0, 0, 1));
}

#[test]
fn a_change_in_place_is_accounted_for_and_a_miss_copies_nothing() {
    let mut map = Map::new(seed());
    map.insert(key(1), key(1));
    let snapshot = map.clone();
    assert_eq!(map.change(b"2", |_| ()), None);
    assert!(Arc::ptr_eq(&map.groups, &snapshot.groups));
    assert_eq!(map.change(b"1", |value| mem::replace(value, Bytes::from_static(b"longer"))), Some(key(1)));
    assert_eq!(map.used_bytes(), snapshot.used_bytes() + 5);
    assert_eq!(snapshot.get(b"1"), Some(&key(1)));
}

/// Returns the keys of a whole scan and runs `between` after each call.
fn scan(map: &mut Map<Bytes>, count: usize, mut between: impl FnMut(&mut Map<Bytes>)) -> Vec<Bytes> {
    let (mut cursor, mut keys) = (0, Vec::new());
    loop {
        let mut found = Vec::new();
        cursor = map.scan(cursor, count, u64::MAX, &mut found);
        assert!(found.len() <= count, "these keys have distinct positions");
        assert!(cursor < 1 << 53, "a cursor fits into a floating-point number");
        keys.extend(found.into_iter().map(|(key, _)| key.clone()));
        if cursor == 0 {
            return keys;
        }
        between(map);
    }
}

fn with_keys(numbers: impl IntoIterator<Item = usize>) -> Map<Bytes> {
    let mut map = Map::new(seed());
    numbers.into_iter().for_each(|number| drop(map.insert(key(number), Bytes::new())));
    map
}

#[test]
fn the_order_of_a_scan_does_not_depend_on_the_history() {
    for len in [0, 1, 10, MAX_LOAD, MAX_LOAD + 1, 1000, 3 * MAX_LOAD * GROUP_BUCKETS] {
        let mut map = with_keys(0..len);
        let keys = scan(&mut map, 100, |_| ());
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), len);
        assert_eq!(keys.len(), len, "each once");
        let mut other = with_keys((0..2 * len).rev());
        (len..2 * len).for_each(|number| drop(other.remove(&key(number))));
        assert_eq!(scan(&mut other, 7, |_| ()), keys);
        let positions: Vec<_> = keys.iter().map(|key| seed().position(key)).collect();
        assert!(positions.is_sorted());
    }
}

#[test]
fn a_scan_continues_on_another_map_and_while_the_map_grows_and_shrinks() {
    let lasting = || (0..1000).map(key);
    for first in [1000, 8000] {
        let mut next = first;
        let mut keys = scan(&mut with_keys(0..first), 50, |map| {
            // A node that has loaded a snapshot: the same keys, inserted in another order.
            let mut other = Map::new(seed());
            let entries: Vec<_> = map.iter().collect();
            entries.iter().rev().for_each(|(key, value)| drop(other.insert((*key).clone(), (*value).clone())));
            *map = other;
            if first == 1000 {
                let more = if next < 8000 { 100 } else { 0 };
                (next..next + more).for_each(|number| drop(map.insert(key(number), Bytes::new())));
                next += more;
            } else {
                (1000.max(next - 100)..next).for_each(|number| drop(map.remove(&key(number))));
                next = 1000.max(next - 100);
            }
        });
        let returned = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), returned, "no key is returned twice");
        assert!(lasting().all(|key| keys.binary_search(&key).is_ok()), "every lasting key is returned");
    }
}

#[test]
fn a_scan_is_bounded_by_bytes_and_ends_at_a_cursor_behind_all_positions() {
    let map = with_keys(0..1000);
    let mut found = Vec::new();
    let cursor = map.scan(0, 1000, 1, &mut found);
    assert_eq!(found.len(), 1);
    assert_eq!(cursor, seed().position(scan(&mut map.clone(), 10, |_| ())[1].as_ref()), "the second key is the next");
    for cursor in [END, u64::MAX] {
        assert_eq!(map.scan(cursor, 10, u64::MAX, &mut Vec::new()), 0, "no scan returned this cursor");
    }
}

#[test]
fn one_call_of_a_scan_visits_a_part_that_does_not_depend_on_the_history() {
    // Keys were removed, but too few for the buckets to become fewer, and all at the beginning.
    let mut map = with_keys(0..200_000);
    let is_removed = |key: &Bytes| seed().position(key) < END / 10 * 7;
    (0..200_000).map(key).filter(is_removed).for_each(|key| drop(map.remove(&key)));
    // As a node that has started from the records.
    let mut other = Map::new(seed());
    map.iter().for_each(|(key, value)| drop(other.insert(key.clone(), value.clone())));
    assert!(map.buckets > 3 * other.buckets, "{} and {} buckets", map.buckets, other.buckets);
    let (mut cursor, mut returned) = (0, Vec::new());
    loop {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        let next = map.scan(cursor, 5000, u64::MAX, &mut one);
        assert_eq!(other.scan(cursor, 5000, u64::MAX, &mut two), next);
        assert_eq!(one, two);
        returned.push(one.len());
        assert!(next > cursor || next == 0);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(returned.iter().sum::<usize>(), map.len());
    assert_eq!(returned[0], 0, "the first call visits a part of the positions");
    assert!(returned[1..].iter().all(|returned| *returned > 0), "{returned:?}");
}

#[test]
fn every_entry_is_drawn_about_equally_often_and_the_history_does_not_matter() {
    for len in [1, 5, 300] {
        let map = with_keys(0..len);
        let mut other = with_keys((0..20 * len).rev());
        (len..20 * len).for_each(|number| drop(other.remove(&key(number))));
        let (mut random, mut same) = (fastrand::Rng::with_seed(1), fastrand::Rng::with_seed(1));
        let mut drawn = BTreeMap::new();
        for _ in 0..50 * len {
            let (key, _) = map.random(|below| random.u64(..below)).expect("there are keys");
            assert_eq!(other.random(|below| same.u64(..below)).map(|(key, _)| key), Some(key));
            *drawn.entry(key.clone()).or_insert(0) += 1;
        }
        assert_eq!(drawn.len(), len);
        assert!(drawn.values().all(|times| (20..100).contains(times)), "{drawn:?}");
    }
    assert!(with_keys([]).random(|_| 0).is_none());
}

#[test]
fn draws_that_find_no_entry_end() {
    // One range has all of the entries, and every draw selects another one.
    let map = with_keys(0..100_000);
    let mut crowded = Map::new(seed());
    let first = |key: &&Bytes| seed().position(key) < END / 16;
    let keys: Vec<_> = map.iter().map(|(key, _)| key).filter(first).take(2000).cloned().collect();
    keys.iter().for_each(|key| drop(crowded.insert(key.clone(), Bytes::new())));
    let (key, _) = crowded.random(|below| below - 1).expect("there are keys");
    assert_eq!(seed().position(key), keys.iter().map(|key| seed().position(key)).min().unwrap_or_default());
}
