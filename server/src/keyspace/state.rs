//! Copies of the state: reading them record by record, and building one from records.

use super::content::Content;
use super::deadlines::Deadlines;
use super::garbage::Garbage;
use super::hash::Hash;
use super::map::Seed;
use super::reclaim::Reclaimer;
use super::record::{self, Decoded, Head};
use super::value::{Data, HashId, StoredHash, Value};
use bytes::Bytes;
use leasehold_node::ports::{self, Cursor, InvalidRecord, Record};
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

/// The keys and values as of one moment. Taking one costs a reference count, and so does dropping one: the last
/// snapshot of a large map hands it to another thread.
#[derive(Debug)]
pub struct Snapshot {
    /// `None` only while it is dropped.
    content: Option<Content>,
    reclaimer: Reclaimer,
    /// What only a state that is built from records has.
    built: Option<Built>,
}

/// What a keyspace needs besides the content.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) deadlines: Deadlines,
    /// The keys of the hashes.
    keys: HashMap<HashId, Bytes>,
    /// The fields of hashes whose key is not known.
    fields: HashMap<HashId, Hash>,
}

impl Snapshot {
    /// Returns a copy of a state.
    pub(super) fn of(content: Content, reclaimer: Reclaimer) -> Snapshot {
        Snapshot { content: Some(content), reclaimer, built: None }
    }

    /// Returns a state without keys, to insert records into.
    pub(crate) fn empty(seed: Seed) -> Snapshot {
        let built = Some(Built::default());
        Snapshot { content: Some(Content::new(seed)), reclaimer: Reclaimer::default(), built }
    }

    /// Returns true if records have other kinds than 0, which the first releases did not know.
    pub(crate) fn has_kinds(&self) -> bool {
        self.content().has_versions
    }

    pub(crate) fn content(&self) -> &Content {
        self.content.as_ref().expect("the content is taken only when the snapshot is dropped")
    }

    /// Exchanges its content for that of a keyspace, and returns the deadlines of the former and what it has to remove
    /// from its records.
    pub(super) fn swap(&mut self, content: &mut Content) -> (Deadlines, Garbage) {
        if let Some(own) = &mut self.content {
            mem::swap(own, content);
        }
        match self.built.take() {
            // A copy of a state has no records without a key.
            None => (Deadlines::of(content), Garbage::default()),
            Some(Built { deadlines, keys, fields }) => {
                self.reclaimer.drop_later(keys);
                // Only what this node had not removed yet when it stopped.
                let mut garbage = Garbage::default();
                fields.into_iter().for_each(|(id, fields)| garbage.add(Arc::new(StoredHash { id, fields })));
                (deadlines, garbage)
            }
        }
    }

    fn insert_value(&mut self, key: Bytes, (changed, deadline): Head, data: Data) {
        let (Some(content), Some(built)) = (&mut self.content, &mut self.built) else { return };
        if let Some(deadline) = deadline {
            built.deadlines.insert(deadline, key.clone());
        }
        let former = content.map.insert(key.clone(), Value { data, deadline, changed });
        if let Some(deadline) = former.and_then(|former| former.deadline).filter(|former| Some(*former) != deadline) {
            built.deadlines.remove(deadline, &key);
        }
    }

    fn insert_field(&mut self, id: HashId, field: Bytes, value: Bytes) {
        let (Some(content), Some(built)) = (&mut self.content, &mut self.built) else { return };
        let seed = content.map.seed();
        let Some(key) = built.keys.get(&id) else {
            let fields = built.fields.entry(id).or_insert_with(|| Hash::new(seed));
            return drop(fields.insert(field, value));
        };
        content.map.change(key, |found| {
            if let Data::Hash(hash) = &mut found.data {
                Arc::make_mut(hash).fields.insert(field, value);
            }
        });
    }
}

impl ports::State for Snapshot {
    fn insert(&mut self, record: Record) -> Result<(), InvalidRecord> {
        match record::decode(record)? {
            Decoded::String { key, head, value } => self.insert_value(key, head, Data::String(value)),
            Decoded::Field { id, field, value } => self.insert_field(id, field, value),
            Decoded::Hash { key, head, id } => {
                let (Some(content), Some(built)) = (&self.content, &mut self.built) else { return Ok(()) };
                built.keys.insert(id, key.clone());
                let fields = built.fields.remove(&id).unwrap_or_else(|| Hash::new(content.map.seed()));
                self.insert_value(key, head, Data::Hash(Arc::new(StoredHash { id, fields })));
            }
            Decoded::Time(log_time) => {
                if let Some(content) = &mut self.content {
                    (content.log_time, content.has_versions) = (log_time, true);
                }
            }
        }
        Ok(())
    }

    /// Returns the records of each key, those of the fields of a hash after its own, and the record of the time last. The
    /// first number of a cursor is the place of a key. The second is 0 before the key's record; after it, it is one more
    /// than the place of a field.
    fn records(&self, (first, skipped): Cursor) -> impl Iterator<Item = (Record, Cursor)> + '_ {
        let content = self.content();
        let time = (content.has_versions && (first, skipped) < (u64::MAX, 1))
            .then(|| (record::encode_time(content.log_time), (u64::MAX, 1)));
        let mut at = first;
        let records = content.map.iter_from(first).flat_map(move |(key, value, after)| {
            let place = mem::replace(&mut at, after);
            let done = if place == first { skipped } else { 0 };
            records_of(key, value, (place, done), after)
        });
        records.chain(time)
    }
}

/// Returns the records of a key from a cursor on. The next key has the place `after`.
fn records_of<'a>(
    key: &'a Bytes,
    value: &'a Value,
    (place, done): Cursor,
    after: u64,
) -> impl Iterator<Item = (Record, Cursor)> + 'a {
    let hash = match &value.data {
        Data::Hash(hash) => Some(hash),
        Data::String(_) => None,
    };
    let next = if hash.is_some() { (place, 1) } else { (after, 0) };
    let own = (done == 0).then(|| (record::encode(key, value), next));
    let fields = hash.into_iter().flat_map(move |hash| {
        let fields = hash.fields.iter_from(done.saturating_sub(1));
        fields
            .map(move |(field, value, after)| (record::encode_field(hash.id, field, value.clone()), (place, after + 1)))
    });
    own.into_iter().chain(fields)
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(content) = self.content.take() {
            self.reclaimer.drop_map(content.map);
        }
    }
}
