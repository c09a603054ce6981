//! Fields and their values: the value of a key that is a hash.

use super::map::{ENTRY_BYTES, Map, Seed, Weigh};
use bytes::Bytes;
use std::mem;
use std::sync::Arc;

/// The most fields that are kept in a vector.
pub(super) const MAX_FEW: usize = 128;
/// The number of fields at which a map becomes a vector again. It is less than [`MAX_FEW`], so that fields that come and
/// go do not convert it each time.
const MIN_MANY: usize = 64;

/// The fields of a hash. A clone costs no time in proportion to them: it shares them, and a write copies what it
/// changes.
///
/// Equal fields are returned in the same order and drawn by the same numbers, whatever was inserted and removed before,
/// on every node of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Hash(Fields);

#[derive(Clone, Debug)]
enum Fields {
    Few(Arc<Few>),
    Many(Box<Map<Bytes>>),
}

#[derive(Clone, Debug)]
struct Few {
    seed: Seed,
    used_bytes: u64,
    /// In the order of their positions in a scan, and of their names.
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
struct Field {
    position: u64,
    name: Bytes,
    value: Bytes,
}

impl Few {
    fn new(seed: Seed) -> Few {
        Few { seed, used_bytes: 0, fields: Vec::new() }
    }

    fn find(&self, name: &[u8]) -> Result<usize, (usize, u64)> {
        let position = self.seed.position(name);
        let found = self.fields.binary_search_by(|field| (field.position, &field.name[..]).cmp(&(position, name)));
        found.map_err(|at| (at, position))
    }
}

impl PartialEq for Hash {
    fn eq(&self, other: &Hash) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Hash {}

impl Weigh for Hash {
    fn weight(&self) -> u64 {
        match &self.0 {
            Fields::Few(few) => few.used_bytes,
            Fields::Many(map) => map.used_bytes(),
        }
    }
}

impl Hash {
    /// Returns a hash without fields.
    pub(crate) fn new(seed: Seed) -> Hash {
        Hash(Fields::Few(Arc::new(Few::new(seed))))
    }

    /// Returns the number of fields.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Fields::Few(few) => few.fields.len(),
            Fields::Many(map) => map.len(),
        }
    }

    /// Returns whether there are no fields.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the value of a field.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Bytes> {
        match &self.0 {
            Fields::Few(few) => few.find(name).ok().map(|at| &few.fields[at].value),
            Fields::Many(map) => map.get(name),
        }
    }

    /// Sets the value of a field and returns the one before.
    pub(super) fn insert(&mut self, name: Bytes, value: Bytes) -> Option<Bytes> {
        let few = match &mut self.0 {
            Fields::Few(few) => few,
            Fields::Many(map) => return map.insert(name, value),
        };
        match few.find(&name) {
            Ok(at) => {
                let few = Arc::make_mut(few);
                few.used_bytes += value.len() as u64;
                let before = mem::replace(&mut few.fields[at].value, value);
                few.used_bytes -= before.len() as u64;
                Some(before)
            }
            Err((at, position)) if few.fields.len() < MAX_FEW => {
                let few = Arc::make_mut(few);
                few.used_bytes += field_bytes(&name, &value);
                few.fields.insert(at, Field { position, name, value });
                None
            }
            Err(_) => {
                let mut map = Map::new(few.seed);
                for field in &few.fields {
                    map.insert(field.name.clone(), field.value.clone());
                }
                map.insert(name, value);
                self.0 = Fields::Many(Box::new(map));
                None
            }
        }
    }

    /// Removes a field and returns its value.
    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Bytes> {
        match &mut self.0 {
            Fields::Few(few) => {
                let at = few.find(name).ok()?;
                let few = Arc::make_mut(few);
                let field = few.fields.remove(at);
                few.used_bytes -= field_bytes(&field.name, &field.value);
                Some(field.value)
            }
            Fields::Many(map) => {
                let value = map.remove(name)?;
                if map.len() <= MIN_MANY {
                    let mut few = Few { used_bytes: map.used_bytes(), ..Few::new(map.seed()) };
                    few.fields.extend(map.iter_in_order().map(|(name, value)| Field {
                        position: map.seed().position(name),
                        name: name.clone(),
                        value: value.clone(),
                    }));
                    self.0 = Fields::Few(Arc::new(few));
                }
                Some(value)
            }
        }
    }

    /// Returns the fields and their values, in the order of a scan.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        let (few, many) = match &self.0 {
            Fields::Few(few) => (Some(few.fields.iter().map(|field| (&field.name, &field.value))), None),
            Fields::Many(map) => (None, Some(map.iter_in_order())),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }

    /// Returns the fields and values from a cursor on, each with the cursor after it. The order is the same as long as
    /// the hash does not change. The first cursor is 0.
    pub(super) fn iter_from(&self, cursor: u64) -> impl Iterator<Item = (&Bytes, &Bytes, u64)> {
        let (few, many) = match &self.0 {
            Fields::Few(few) => {
                let skipped = usize::try_from(cursor).unwrap_or(usize::MAX);
                let fields = few.fields.iter().skip(skipped).zip(cursor + 1..);
                (Some(fields.map(|(field, after)| (&field.name, &field.value, after))), None)
            }
            Fields::Many(map) => (None, Some(map.iter_from(cursor))),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }

    /// Appends the next fields of a scan to `found`, as [`Map::scan`] does, and returns the next cursor. Few fields are
    /// returned all at once.
    pub(crate) fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        max_bytes: u64,
        found: &mut Vec<(&'a Bytes, &'a Bytes)>,
    ) -> u64 {
        let count = if self.len() <= MAX_FEW { MAX_FEW } else { count };
        let few = match &self.0 {
            Fields::Few(few) => few,
            Fields::Many(map) => return map.scan(cursor, count, max_bytes, found),
        };
        let (mut last, mut bytes) = (None, 0);
        for Field { position, name, value } in
            &few.fields[few.fields.partition_point(|field| field.position < cursor)..]
        {
            if bytes >= max_bytes && last != Some(*position) {
                return *position;
            }
            last = Some(*position);
            bytes += (name.len() + value.len()) as u64;
            found.push((name, value));
        }
        0
    }

    /// Returns a random field, as [`Map::random`] does.
    pub(crate) fn random(&self, mut draw: impl FnMut(u64) -> u64) -> Option<(&Bytes, &Bytes)> {
        match &self.0 {
            Fields::Few(few) if few.fields.is_empty() => None,
            Fields::Few(few) => {
                // The map draws a range first, and so few fields are one range.
                draw(1);
                let at = usize::try_from(draw(few.fields.len() as u64)).ok()?;
                few.fields.get(at).map(|field| (&field.name, &field.value))
            }
            Fields::Many(map) => map.random(draw),
        }
    }
}

fn field_bytes(name: &Bytes, value: &Bytes) -> u64 {
    (ENTRY_BYTES + name.len() + value.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;
    use std::collections::BTreeMap;

    fn name(number: usize) -> Bytes {
        Bytes::from(number.to_string())
    }

    fn new_hash() -> Hash {
        Hash::new(Seed::of_cluster("test"))
    }

    fn with_fields(numbers: impl IntoIterator<Item = usize>) -> Hash {
        let mut hash = new_hash();
        numbers.into_iter().for_each(|number| drop(hash.insert(name(number), name(number))));
        hash
    }

    fn content(hash: &Hash) -> BTreeMap<Bytes, Bytes> {
        let content: BTreeMap<_, _> = hash.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        assert_eq!((content.len(), content.is_empty()), (hash.len(), hash.is_empty()));
        assert_eq!(content.iter().map(|(name, value)| field_bytes(name, value)).sum::<u64>(), hash.weight());
        assert!(content.iter().all(|(name, value)| hash.get(name) == Some(value)));
        content
    }

    quickcheck! {
        fn behaves_like_an_ordered_map_and_clones_do_not_change(first: u8, steps: Vec<(u8, u8)>) -> bool {
            // Around the limits at which the representation changes.
            let first = usize::from(first);
            let mut hash = with_fields(0..first);
            let mut model: BTreeMap<_, _> = (0..first).map(|number| (name(number), name(number))).collect();
            let mut clones = Vec::new();
            for (step, number) in steps {
                let field = name(usize::from(number));
                match step % 4 {
                    0 => clones.push((hash.clone(), model.clone())),
                    1 | 2 => assert_eq!(hash.remove(&field), model.remove(&field)),
                    _ => assert_eq!(hash.insert(field.clone(), name(7)), model.insert(field, name(7))),
                }
            }
            clones.push((hash, model));
            clones.iter().all(|(hash, model)| content(hash) == *model)
        }
    }

    #[test]
    fn fields_that_come_and_go_at_a_limit_do_not_convert_a_hash() {
        let is_few = |hash: &Hash| matches!(hash.0, Fields::Few(_));
        let mut hash = with_fields(0..MAX_FEW);
        assert!(is_few(&hash));
        hash.insert(name(MAX_FEW), name(1));
        assert!(!is_few(&hash));
        (MIN_MANY + 1..=MAX_FEW).for_each(|number| drop(hash.remove(&name(number))));
        assert!(!is_few(&hash));
        hash.remove(&name(MIN_MANY));
        assert!(is_few(&hash));
        assert_eq!(hash, with_fields(0..MIN_MANY));
    }

    #[test]
    fn equal_fields_have_one_order_and_are_drawn_alike_whatever_was_removed() {
        for len in [1, MIN_MANY + 1, MAX_FEW, 500] {
            let hash = with_fields(0..len);
            let mut other = with_fields((0..1000).rev());
            (len..1000).for_each(|number| drop(other.remove(&name(number))));
            assert!(hash.iter().eq(other.iter()));
            assert_eq!(hash.weight(), other.weight());
            let (mut random, mut same) = (fastrand::Rng::with_seed(3), fastrand::Rng::with_seed(3));
            for _ in 0..20 {
                assert_eq!(hash.random(|below| random.u64(..below)), other.random(|below| same.u64(..below)));
            }
            for cursor in [0, 1 << 51, 1 << 52, 3 << 51] {
                let (mut one, mut two) = (Vec::new(), Vec::new());
                let next = hash.scan(cursor, 10, 1000, &mut one);
                assert_eq!(other.scan(cursor, 10, 1000, &mut two), next);
                assert_eq!(one, two);
            }
        }
        assert_eq!(new_hash().random(|_| 0), None);
    }

    #[test]
    fn few_fields_are_scanned_at_once_and_many_or_long_ones_in_parts() {
        let few = with_fields(0..MAX_FEW);
        let mut found = Vec::new();
        assert_eq!(few.scan(0, 1, u64::MAX, &mut found), 0);
        assert!(found.iter().copied().eq(few.iter()));
        for (hash, max_bytes) in [(few, 1), (with_fields(0..1000), u64::MAX)] {
            let (mut cursor, mut calls, mut found) = (0, 0, Vec::new());
            loop {
                cursor = hash.scan(cursor, 10, max_bytes, &mut found);
                calls += 1;
                if cursor == 0 {
                    break;
                }
            }
            assert!(found.into_iter().eq(hash.iter()));
            assert!(calls >= 100, "{calls} calls");
        }
    }
}
